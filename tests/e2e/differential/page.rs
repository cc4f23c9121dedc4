//! `docs/compatibility.md`: every difference, below what is written by hand.

use crate::kit::real::repository;
use std::{env, fs};

pub struct Difference<'c> {
    pub topic: &'c str,
    pub name: &'c str,
    pub reason: &'c str,
    pub collector: String,
    pub tollgate: String,
    /// What Tollgate answers with that Collector behind it.
    pub in_line: Option<String>,
}

const PAGE: &str = "docs/compatibility.md";
const MARK: &str =
    "<!-- What follows is written by `UPDATE_EXPECT=1 cargo test -p tollgate --test e2e differential`. -->\n";

/// Compares the page with what was found; with `UPDATE_EXPECT` in the environment, rewrites it.
pub fn compare(cases: usize, differences: &[Difference<'_>]) {
    let page = fs::read_to_string(repository(PAGE)).unwrap_or_default();
    let head = page.split(MARK).next().unwrap_or_default();
    let wanted = format!("{head}{MARK}{}", render(cases, differences));
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(repository(PAGE), wanted).expect("writing the page");
        return;
    }
    let lacks = |one: &str, other: &str| -> String {
        one.lines().filter(|line| !other.contains(line)).map(|line| format!("{line}\n")).collect()
    };
    assert!(
        page == wanted,
        "{PAGE} does not say what is so; UPDATE_EXPECT=1, if that is meant. It lacks:\n{}It should not say:\n{}",
        lacks(&wanted, &page),
        lacks(&page, &wanted)
    );
}

/// A section for each topic, in it a table for each reason.
fn render(cases: usize, differences: &[Difference<'_>]) -> String {
    let mut page = format!(
        "\nOf {cases} requests, {} are answered alike; {} are not.\n",
        cases - differences.len(),
        differences.len()
    );
    let (mut topic, mut reasons): (&str, Vec<&str>) = ("", Vec::new());
    for first in differences {
        if first.topic != topic {
            page += &format!("\n## {}\n", first.topic);
            (topic, reasons) = (first.topic, Vec::new());
        }
        if reasons.contains(&first.reason) {
            continue;
        }
        reasons.push(first.reason);
        page += &format!(
            "\n{}\n\n| request | OpenTelemetry Collector | Tollgate |\n|---|---|---|\n",
            first.reason
        );
        let of_reason =
            differences.iter().filter(|one| (one.topic, one.reason) == (first.topic, first.reason));
        for one in of_reason {
            let cell = |text: &str| text.replace('|', "\\|");
            let in_line = one
                .in_line
                .as_ref()
                .map_or(String::new(), |answer| format!("; with that Collector behind it: {answer}"));
            let (name, collector, tollgate) = (cell(one.name), cell(&one.collector), cell(&one.tollgate));
            page += &format!("| {name} | {collector} | {tollgate}{} |\n", cell(&in_line));
        }
    }
    page
}
