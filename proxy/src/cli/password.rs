//! `tollgate hash-password`.

use super::print;
use anyhow::{Context, ensure};
use clap::Args;
use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
};
use tollgate::tenant::hash;

/// A password may be this long: bytes that are read from standard input, at most.
const PASSWORD_BYTES_MAX: u64 = 4096;

#[derive(Args)]
pub(super) struct PasswordArgs {
    /// bcrypt instead of Argon2id, for a file that is shared with Caddy
    #[arg(long, conflicts_with = "token")]
    bcrypt: bool,
    /// Make a random bearer token instead, and print it with its `sha256:` hash
    #[arg(long)]
    token: bool,
}

pub(super) fn hash_password(args: &PasswordArgs) -> anyhow::Result<ExitCode> {
    if args.token {
        let (token, token_hash) = hash::token();
        return print(format!("token       {token}\ntoken_hash  {token_hash}\n").as_bytes());
    }
    let password = read_password()?;
    ensure!(!password.is_empty(), "the password is empty");
    let text = if args.bcrypt { hash::bcrypt(&password)? } else { hash::argon2id(&password)? };
    print(format!("{text}\n").as_bytes())
}

fn read_password() -> anyhow::Result<Vec<u8>> {
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ").context("reading the password")?;
        let again = rpassword::prompt_password("Again: ").context("reading the password")?;
        ensure!(password == again, "the two are not the same");
        return Ok(password.into_bytes());
    }
    let mut password = Vec::new();
    let mut input = std::io::stdin().lock().take(PASSWORD_BYTES_MAX + 1);
    input.read_to_end(&mut password).context("reading the password from standard input")?;
    ensure!(
        password.len() as u64 <= PASSWORD_BYTES_MAX,
        "the password is longer than {PASSWORD_BYTES_MAX} bytes"
    );
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    Ok(password)
}
