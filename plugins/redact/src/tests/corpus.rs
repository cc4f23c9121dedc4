//! The lines of `corpus/`: in each file those that a pattern finds, with what is left of them behind `=>`,
//! and those that it leaves alone. `{40}` stands for so many hexadecimal digits, `{A16}` for capitals,
//! `{a34}` for letters: a key that looks real would worry whoever scans this repository.

use super::{redact, redacted};
use crate::builtin::Builtin;

fn check(file: &str, config: &str, lines: &str) {
    let mut plugin = redact(config);
    let mut wrong = Vec::new();
    for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (before, after) = line.split_once(" => ").unwrap_or((line, line));
        let (before, after) = (filled(before), filled(after));
        let found = redacted(&mut plugin, &before);
        if found != after {
            wrong.push(format!("{before}\n  is {found}\n  not {after}"));
        }
    }
    assert!(wrong.is_empty(), "corpus/{file}.txt\n{}", wrong.join("\n"));
}

fn filled(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, (kind, count, after))) = next_fill(rest) {
        out.push_str(before);
        let of = match kind {
            "A" => "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "a" => "AbCdEfGhIjKlMnOpQrStUvWxYz",
            _ => "0123456789abcdef",
        };
        out.extend(of.chars().cycle().take(count));
        rest = after;
    }
    out + rest
}

fn next_fill(line: &str) -> Option<(&str, (&str, usize, &str))> {
    line.match_indices('{').find_map(|(start, _)| {
        let (inside, after) = line[start + 1..].split_once('}')?;
        let digits = inside.trim_start_matches(['A', 'a']);
        let kind = &inside[..inside.len() - digits.len()];
        Some((&line[..start], (kind, digits.parse().ok()?, after)))
    })
}

macro_rules! corpus {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            check($file, concat!("patterns = ['", $file, "']"), include_str!(concat!("../../corpus/", $file, ".txt")));
        })*

        #[test]
        fn every_pattern_has_a_corpus() {
            assert!(Builtin::ALL.iter().all(|builtin| [$($file),*].contains(&builtin.name())));
        }
    };
}

corpus! {
    api_keys: "api-key",
    bearers: "bearer",
    card_numbers: "card-number",
    emails: "email",
    ibans: "iban",
    ipv4_addresses: "ipv4",
    ipv6_addresses: "ipv6",
    jwts: "jwt",
    private_keys: "private-key",
    url_passwords: "url-password",
    url_queries: "url-query",
}

#[test]
fn what_is_no_secret_stays() {
    let all: Vec<String> = Builtin::ALL.iter().map(|builtin| format!("'{}'", builtin.name())).collect();
    let config = format!("patterns = [{}]", all.join(", "));
    check("stays", &config, include_str!("../../corpus/stays.txt"));
}
