//! Who the benchmark says it is, and the request that it makes. Nothing here is a secret: the
//! proxies live on loopback for seconds.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::fmt::Write;

/// The one sender with Basic credentials.
pub const USER: &str = "bench";
/// Its password.
pub const PASSWORD: &str = "not-a-secret";
/// The password under Argon2id, at the cost that Tollgate's documentation advises.
pub const PASSWORD_ARGON2: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$dG9sbGdhdGUtYmVuY2htaw$c3BkdNiNzVNBr6yagqBHzqiQ5BSgfBtiuHnmPWFNWMc";
/// The password under bcrypt at its lowest cost: for peers whose fast path is not a cache.
pub const PASSWORD_BCRYPT: &str = "$2b$04$bE7qZEbfbESrWkTsW0frYuP3Ukjpb8s56ILC6LtcopZFgjmkZ08Q.";

/// `Authorization` for a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// One of the users who have not been there before; they share the password.
pub fn newcomer(number: usize) -> String {
    format!("{USER}-{number}")
}

/// The bearer token of one of many tenants.
pub fn token(tenant: usize) -> String {
    format!("tollgate-benchmark-token-{tenant:06}")
}

/// `Authorization` for a token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A token as Tollgate's configuration keeps it.
pub fn token_hash(token: &str) -> String {
    let mut text = "sha256:".to_owned();
    for byte in digest::digest(&digest::SHA256, token.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A whole `POST /v1/logs` of JSON.
pub fn post_json(authorization: &str, body: &[u8]) -> Vec<u8> {
    post_as("application/json", authorization, "", body)
}

/// A whole `POST /v1/logs` of protobuf; `more` are further header lines, each with its end.
pub fn post(authorization: &str, more: &str, body: &[u8]) -> Vec<u8> {
    post_as("application/x-protobuf", authorization, more, body)
}

fn post_as(media_type: &str, authorization: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST /v1/logs HTTP/1.1\r\n\
         Host: localhost\r\n\
         User-Agent: tollgate-benchmark\r\n\
         Authorization: {authorization}\r\n\
         Content-Type: {media_type}\r\n\
         Content-Length: {length}\r\n\
         {more}\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
