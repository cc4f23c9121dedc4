//! Password and token hashes: reading them, checking secrets against them, making new ones.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::phc};
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine, engine::general_purpose};
use std::{fmt, hint, sync::Arc};

/// A password hash in PHC (`$argon2id$…`) or bcrypt (`$2b$…`) form, checked to be well formed and
/// within the cost limits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(Arc<Kind>);

#[derive(PartialEq, Eq, Hash)]
enum Kind {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: Box<[u8]>, output: Box<[u8]> },
    Bcrypt { log2_rounds: u32, text: Box<str> },
}

impl fmt::Debug for PasswordHash {
    /// Never shows the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Why a hash cannot be used. `Display` says what would be right, and never shows what was given,
/// since that may be a password in clear text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HashError {
    /// Fields between `$` are missing: a shell or Compose took them for variables.
    #[error(
        "its `$` fields are missing, as if a shell or Docker Compose had replaced them as variables: \
         put it in single quotes for a shell, double each `$` for Compose, or use `password_hash_file`"
    )]
    Eaten,
    /// Not a hash that Tollgate knows.
    #[error("{0}")]
    Unknown(String),
    /// Parameters below the floor: too cheap to try out.
    #[error("too weak: {0}")]
    Weak(String),
    /// Parameters that cost more than about a second of CPU.
    #[error("too costly: {0}")]
    Costly(String),
}

/// Least memory of an Argon2id hash: 4 MiB, below which a graphics card tries thousands at a time.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 4 << 10;
/// Most memory of an Argon2id hash: 256 MiB, which every hash under way takes.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 << 10;
/// Least work of an Argon2id hash, memory times passes: 19 MiB, about ten milliseconds of a core for
/// each guess. OWASP's least parameters (m=19456,t=2 and their equivalents) do twice that.
pub const ARGON2_WORK_KIB_MIN: u32 = 19 << 10;
/// Most work of an Argon2id hash, memory times passes: 1 GiB, about a second of a core.
pub const ARGON2_WORK_KIB_MAX: u32 = 1 << 20;
/// Most lanes of an Argon2id hash. They are computed one after the other.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Least cost of a bcrypt hash, again about ten milliseconds for each guess. OWASP recommends 10.
pub const BCRYPT_COST_MIN: u32 = 8;
/// Most cost of a bcrypt hash: Caddy's default, about a second of a core.
pub const BCRYPT_COST_MAX: u32 = 14;
/// The most bytes of a secret that bcrypt looks at.
pub const BCRYPT_SECRET_BYTES_MAX: usize = 72;

impl PasswordHash {
    /// Reads a hash; white space around it is ignored.
    ///
    /// # Errors
    /// [`HashError`], with the remedy in its text.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let text = text.trim();
        let fields = text.matches('$').count();
        let kind = match text.get(..4) {
            Some("$arg") if text.starts_with("$argon2id$") && fields == 5 => parse_argon2id(text)?,
            Some("$2a$" | "$2b$" | "$2y$") if fields == 3 => parse_bcrypt(text)?,
            _ => return Err(diagnose(text)),
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Whether this is the secret's hash. Costs what the hash's parameters say, whatever the secret.
    ///
    /// Exactly one secret fits a hash: bcrypt takes a NUL for the end and looks at 72 bytes only, so
    /// longer secrets and those with a NUL are computed like all others, but never fit.
    pub(super) fn verify(&self, secret: &[u8]) -> Result<bool, OutOfMemory> {
        let fits = match &*self.0 {
            Kind::Argon2id { memory_kib, passes, lanes, salt, output } => {
                let params = Params::new(*memory_kib, *passes, *lanes, Some(output.len()));
                let argon2 =
                    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| OutOfMemory)?);
                let mut computed = vec![0; output.len()];
                argon2.hash_password_into(secret, salt, &mut computed).map_err(|_| OutOfMemory)?;
                verify_slices_are_equal(&computed, output).is_ok()
            }
            Kind::Bcrypt { text, .. } => {
                let seen = &secret[..secret.len().min(BCRYPT_SECRET_BYTES_MAX)];
                bcrypt::verify(seen, text).unwrap_or(false) && seen.len() == secret.len()
            }
        };
        Ok(fits && !secret.contains(&0))
    }

    /// What a verification costs.
    pub(super) fn cost(&self) -> Cost {
        match *self.0 {
            Kind::Argon2id { memory_kib, passes, lanes, .. } => Cost::Argon2id { memory_kib, passes, lanes },
            Kind::Bcrypt { log2_rounds, .. } => Cost::Bcrypt { log2_rounds },
        }
    }

    /// A hash of this cost that no secret fits (its salt and output are random), for names that do
    /// not exist.
    pub(super) fn decoy(cost: Cost) -> Self {
        let mut random = [0; 48];
        fill_random(&mut random);
        let (salt, output) = random.split_at(16);
        Self(Arc::new(match cost {
            Cost::Argon2id { memory_kib, passes, lanes } => {
                Kind::Argon2id { memory_kib, passes, lanes, salt: salt.into(), output: output.into() }
            }
            Cost::Bcrypt { log2_rounds } => {
                let (salt, output) = (bcrypt::BASE_64.encode(salt), bcrypt::BASE_64.encode(&output[..23]));
                Kind::Bcrypt { log2_rounds, text: format!("$2b${log2_rounds:02}${salt}{output}").into() }
            }
        }))
    }
}

/// What verifying a hash costs: equal costs take equal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cost {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    Bcrypt { log2_rounds: u32 },
}

/// No memory was to be had for a hash: nothing is known about the secret.
#[derive(Debug)]
pub(super) struct OutOfMemory;

fn parse_argon2id(text: &str) -> Result<Kind, HashError> {
    let malformed = |what: &str| HashError::Unknown(format!("an argon2id hash, but {what}; {REMEDY}"));
    let phc = phc::PasswordHash::new(text).map_err(|_| malformed("its fields cannot be read"))?;
    if phc.version != Some(19) {
        return Err(malformed("not of version 19 (`v=19`)"));
    }
    if phc.params.iter().any(|(name, _)| !matches!(name.as_str(), "m" | "t" | "p")) {
        return Err(malformed("with parameters other than m, t and p"));
    }
    let params = Params::try_from(&phc).map_err(|_| malformed("its parameters are impossible"))?;
    let (Some(salt), Some(output)) = (phc.salt, phc.hash) else {
        return Err(malformed("without a salt or without the hash itself"));
    };
    if output.len() < 16 {
        return Err(HashError::Weak(format!("its hash is less than 16 bytes long; {REMEDY}")));
    }
    let (memory_kib, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let work_kib = u64::from(memory_kib) * u64::from(passes);
    if memory_kib < ARGON2_MEMORY_KIB_MIN || work_kib < u64::from(ARGON2_WORK_KIB_MIN) {
        return Err(HashError::Weak(format!(
            "m={memory_kib},t={passes}; at least m={ARGON2_MEMORY_KIB_MIN} and m × t = {ARGON2_WORK_KIB_MIN} are \
             wanted; {REMEDY}"
        )));
    }
    if memory_kib > ARGON2_MEMORY_KIB_MAX
        || work_kib > u64::from(ARGON2_WORK_KIB_MAX)
        || lanes > ARGON2_LANES_MAX
    {
        return Err(HashError::Costly(format!(
            "m={memory_kib},t={passes},p={lanes}; at most m={ARGON2_MEMORY_KIB_MAX}, m × t = {ARGON2_WORK_KIB_MAX} \
             and p={ARGON2_LANES_MAX} are taken; {REMEDY}"
        )));
    }
    Ok(Kind::Argon2id { memory_kib, passes, lanes, salt: salt[..].into(), output: output.as_bytes().into() })
}

fn parse_bcrypt(text: &str) -> Result<Kind, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| {
        HashError::Unknown(format!(
            "a bcrypt hash that cannot be read: cut off, or its `$` replaced; {REMEDY}"
        ))
    })?;
    let log2_rounds = parts.get_cost();
    if log2_rounds < BCRYPT_COST_MIN {
        return Err(HashError::Weak(format!(
            "bcrypt cost {log2_rounds}; at least {BCRYPT_COST_MIN} is wanted; {REMEDY}"
        )));
    }
    if log2_rounds > BCRYPT_COST_MAX {
        return Err(HashError::Costly(format!(
            "bcrypt cost {log2_rounds}; at most {BCRYPT_COST_MAX} is taken; {REMEDY}"
        )));
    }
    Ok(Kind::Bcrypt { log2_rounds, text: text.into() })
}

const REMEDY: &str = "make one with `tollgate hash-password`";

/// Says what is wrong with a text that is no hash of ours, without repeating it.
fn diagnose(text: &str) -> HashError {
    if looks_eaten(text) {
        return HashError::Eaten;
    }
    let what = match text {
        "" => "it is empty",
        _ if text.contains("$$") => "each `$` is doubled, as Docker Compose wants it: here they stand once",
        _ if text.starts_with("JDJ") => {
            "base64 of a bcrypt hash, as older Caddyfiles have it: decode it with `base64 -d`, or"
        }
        _ => FOREIGN
            .iter()
            .find(|(prefix, _)| {
                text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            })
            .map_or("not a password hash (clear text never stands in a configuration)", |(_, what)| what),
    };
    HashError::Unknown(format!("{what}; {REMEDY}"))
}

/// Hashes that others use.
const FOREIGN: [(&str, &str); 15] = [
    ("$argon2i$", "argon2i is weaker than argon2id, which is taken"),
    ("$argon2d$", "argon2d is for other ends; argon2id is taken"),
    ("$2x$", "`$2x$` marks bcrypt hashes of a faulty program"),
    ("{SHA", "unsalted SHA, tried out at billions of guesses a second"),
    ("{SSHA", "salted SHA, tried out at billions of guesses a second"),
    ("$apr1$", "MD5 as `htpasswd` makes it; `htpasswd -B` makes bcrypt"),
    ("$1$", "MD5 crypt is not taken"),
    ("$5$", "SHA-256 crypt is not taken"),
    ("$6$", "SHA-512 crypt is not taken"),
    ("$y$", "yescrypt is not taken"),
    ("$7$", "scrypt is not taken"),
    ("$scrypt$", "scrypt is not taken"),
    ("$pbkdf2", "PBKDF2 is not taken"),
    ("sha256:", "the hash of a token, which belongs in `token_hash`"),
    ("tg_", "a token in clear text; the hash made with it belongs in `token_hash`"),
];

/// Whether this was one of our hashes before something replaced its `$name`s. What is left of
/// `$argon2id$v=19$m=…` in a shell is `=19=19456,t=2,p=1…`, of `$2a$14$…` it is `a4` and what follows
/// the first dot or slash; others drop the dollars only.
fn looks_eaten(text: &str) -> bool {
    let fields = text.matches('$').count();
    let argon2 = fields < 5 && (text.contains("argon2") || (text.contains(",t=") && text.contains(",p=")));
    let bytes = text.as_bytes();
    let bcrypt = match *text.trim_start_matches('$').as_bytes() {
        [b'2', b'a' | b'b' | b'y', b'$', _, ..] => true,
        [b'2', b'a' | b'b' | b'y', c, d, ..] => c.is_ascii_digit() && d.is_ascii_digit(),
        _ => false,
    };
    let bcrypt_in_shell = matches!(
        bytes,
        [b'a' | b'b' | b'y', b'0'..=b'9'] | [b'a' | b'b' | b'y', b'0'..=b'9', b'.' | b'/', ..]
    );
    argon2 || (fields < 3 && (bcrypt || bcrypt_in_shell))
}

/// Reads `sha256:` and 64 hexadecimal digits (or base64url of 32 bytes).
///
/// # Errors
/// [`HashError::Unknown`] says what would be right.
pub fn parse_token_hash(text: &str) -> Result<[u8; 32], HashError> {
    let text = text.trim();
    let unknown =
        |what: &str| HashError::Unknown(format!("{what}; `tollgate hash-password --token` makes one"));
    let Some(digits) = text.strip_prefix(TOKEN_HASH_PREFIX) else {
        return Err(match text {
            _ if text.starts_with(TOKEN_PREFIX) => {
                unknown("the token itself in clear text, where its hash belongs")
            }
            _ if decode_hex(text).is_some() => unknown("`sha256:` is missing in front"),
            _ => unknown("not the hash of a token, `sha256:` and 64 hexadecimal digits"),
        });
    };
    decode_hex(digits)
        .or_else(|| general_purpose::URL_SAFE_NO_PAD_INDIFFERENT.decode(digits).ok()?.try_into().ok())
        .ok_or_else(|| unknown("after `sha256:` come 64 hexadecimal digits, or 43 characters of base64url"))
}

const TOKEN_HASH_PREFIX: &str = "sha256:";
const TOKEN_PREFIX: &str = "tg_";

fn decode_hex(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

/// The form under which a bearer token is looked up.
pub(super) fn token_digest(token: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    bytes
}

/// Why a secret cannot be hashed: it could never be used to log in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A NUL in it.
    #[error("there is a NUL character in it, where some programs would end it")]
    Nul,
    /// More than bcrypt looks at.
    #[error("it is longer than the 72 bytes that bcrypt looks at: use argon2id")]
    TooLong,
    /// The machine has not enough memory, or no random numbers.
    #[error("it could not be hashed: {0}")]
    Failed(String),
}

/// Hashes a secret with Argon2id at OWASP's least parameters, m=19456,t=2,p=1: a few hundredths of a
/// second and 19 MiB.
///
/// # Errors
/// [`SecretError`] where the secret cannot be used.
pub fn argon2id(secret: &[u8]) -> Result<String, SecretError> {
    check(secret)?;
    let failed = |error: &dyn fmt::Display| SecretError::Failed(error.to_string());
    let params = Params::new(19 << 10, 2, 1, None).map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(secret).map_err(|error| failed(&error))?.to_string())
}

/// Hashes a secret with bcrypt at cost 12, for programs that know nothing newer.
///
/// # Errors
/// [`SecretError`] where the secret cannot be used.
pub fn bcrypt(secret: &[u8]) -> Result<String, SecretError> {
    check(secret)?;
    if secret.len() > BCRYPT_SECRET_BYTES_MAX {
        return Err(SecretError::TooLong);
    }
    bcrypt::hash(secret, 12).map_err(|error| SecretError::Failed(error.to_string()))
}

fn check(secret: &[u8]) -> Result<(), SecretError> {
    match secret {
        [] => Err(SecretError::Empty),
        _ if secret.contains(&0) => Err(SecretError::Nul),
        _ => Ok(()),
    }
}

/// Makes a bearer token of 256 random bits: in clear text for the sender, and as the `sha256:…` hash
/// for the configuration.
pub fn token() -> (String, String) {
    let mut random = [0; 32];
    fill_random(&mut random);
    let clear = format!("{TOKEN_PREFIX}{}", general_purpose::URL_SAFE_NO_PAD.encode(random));
    let digits: String = token_digest(clear.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    (clear, format!("{TOKEN_HASH_PREFIX}{digits}"))
}

/// Fills with random bytes. A machine without randomness must not go on.
pub(super) fn fill_random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("invariant: the system has random numbers");
}

/// A secret in clear text. It cannot be printed, and is wiped when dropped.
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes a secret over.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The clear text, for hashing and for showing it to its owner.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites what was secret, in a way that the compiler does not leave out.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    hint::black_box(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON2ID: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";

    fn text(error: HashError) -> String {
        error.to_string()
    }

    #[test]
    fn what_it_makes_it_takes_and_verifies() {
        for made in [argon2id(b"secret").unwrap(), bcrypt(b"secret").unwrap()] {
            let hash = PasswordHash::parse(&format!(" {made}\n")).unwrap();
            assert!(hash.verify(b"secret").unwrap());
            assert!(!hash.verify(b"Secret").unwrap());
            assert!(!PasswordHash::decoy(hash.cost()).verify(b"secret").unwrap());
            assert_eq!(PasswordHash::decoy(hash.cost()).cost(), hash.cost());
        }
        assert!(argon2id(b"secret").unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(argon2id(b""), Err(SecretError::Empty));
        assert_eq!(argon2id(b"a\0b"), Err(SecretError::Nul));
        assert_eq!(bcrypt(&[b'a'; 73]), Err(SecretError::TooLong));
    }

    #[test]
    fn hashes_of_other_programs() {
        for (secret, hash) in [
            // Caddy's documentation, PHP's and the reference implementation's tests.
            ("rasmuslerdorf", "$2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a"),
            (
                "password",
                "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            ),
        ] {
            let parsed = PasswordHash::parse(hash).unwrap();
            assert!(parsed.verify(secret.as_bytes()).unwrap(), "{hash}");
            assert!(!parsed.verify(b"other").unwrap());
        }
    }

    #[test]
    fn too_weak_and_too_costly() {
        let argon2 = |parameters: &str| PasswordHash::parse(&ARGON2ID.replace("m=19456,t=2,p=1", parameters));
        for good in [
            "m=4096,t=5,p=1",
            "m=7168,t=5,p=1",
            "m=12288,t=3,p=1",
            "m=47104,t=1,p=1",
            "m=65536,t=3,p=4",
            "m=262144,t=4,p=1",
        ] {
            assert!(argon2(good).is_ok(), "{good}");
        }
        for weak in ["m=4095,t=100,p=1", "m=4096,t=3,p=1", "m=19455,t=1,p=1"] {
            assert!(matches!(argon2(weak), Err(HashError::Weak(_))), "{weak}");
        }
        for costly in ["m=262145,t=1,p=1", "m=262144,t=5,p=1", "m=19456,t=4294967295,p=1", "m=19456,t=2,p=17"]
        {
            assert!(matches!(argon2(costly), Err(HashError::Costly(_))), "{costly}");
        }
        for bad in ["m=19456,t=2", "m=19456,t=2,p=0", "m=19456,t=2,p=1,keyid=AAAA", "m=x,t=2,p=1"] {
            let expected = bad == "m=19456,t=2";
            assert_eq!(argon2(bad).is_ok(), expected, "{bad}");
        }
        let bcrypt = |cost: u32| {
            PasswordHash::parse(&format!(
                "$2a${cost:02}$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a"
            ))
        };
        assert!(matches!(bcrypt(7), Err(HashError::Weak(_))));
        assert!(bcrypt(8).is_ok() && bcrypt(14).is_ok());
        assert!(matches!(bcrypt(15), Err(HashError::Costly(_))));
        assert!(matches!(bcrypt(31), Err(HashError::Costly(_))));
    }

    #[test]
    fn dollars_that_were_eaten() {
        for eaten in [
            // A shell, double quotes; the same by a shell that keeps digits; Compose; `sed s/.//`.
            "=19=19456,t=2,p=1",
            "=19=19456,t=2,p=1/abc+def",
            "argon2id=19=19456,t=2,p=1",
            "$argon2id=19,m=19456,t=2,p=1",
            "argon2idv=19m=19456,t=2,p=1c29tZXNhbHQMTIz",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
            "a4/vGA1O9wmRjr",
            "a4",
            "b2.vGA",
            "2a14abc",
            "$2a14abc",
            "2y$10$.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a",
            "2b12.vGA1O9wmRjrwAVXD98HNOgsNpDczlqm3Jq7KnEd1rVAGv3Fykk1a",
        ] {
            assert_eq!(PasswordHash::parse(eaten).unwrap_err(), HashError::Eaten, "{eaten}");
        }
    }

    #[test]
    fn what_is_not_a_hash_is_told_the_remedy_and_never_shown() {
        for (given, says) in [
            ("", "empty"),
            ("hunter2-in-clear", "not a password hash"),
            ("$2", "not a password hash"),
            ("$", "not a password hash"),
            ("é€", "not a password hash"),
            ("JDJhJDE0JExuenZ3", "base64"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA"),
            ("$apr1$abcdefgh$abcdefghijklmnopqrstuv", "MD5"),
            ("$6$salt$hash", "SHA-512"),
            ("$$2a$$14$$abc", "doubled"),
            (&ARGON2ID.replace("argon2id", "argon2i"), "argon2id"),
            (&ARGON2ID.replace("argon2id", "argon2d"), "argon2id"),
            (&ARGON2ID.replace("v=19", "v=16"), "version 19"),
            (&ARGON2ID.replace("c29tZXNhbHRzb21lc2FsdA", "!"), "cannot be read"),
            ("$2a$10$short", "cannot be read"),
            ("sha256:abc", "token_hash"),
            ("tg_abc", "clear text"),
        ] {
            let message = text(PasswordHash::parse(given).unwrap_err());
            assert!(message.contains(says), "{given}: {message}");
            assert!(message.contains("tollgate hash-password"), "{message}");
            assert!(given.len() < 6 || !message.contains(given), "{message}");
        }
    }

    #[test]
    fn token_hashes() {
        let (clear, hash) = token();
        assert_eq!((clear.len(), &clear[..3], hash.len()), (46, "tg_", 71));
        assert_ne!(token().0, clear);
        let digest = parse_token_hash(&hash).unwrap();
        assert_eq!(digest, token_digest(clear.as_bytes()));
        assert_eq!(parse_token_hash(&hash.to_uppercase().replace("SHA256", "sha256")), Ok(digest));
        let short = format!("sha256:{}", general_purpose::URL_SAFE_NO_PAD.encode(digest));
        assert_eq!(parse_token_hash(&short), Ok(digest));
        for (given, says) in [
            (clear.as_str(), "clear text"),
            (&hash[7..], "in front"),
            ("", "not the hash"),
            ("sha256:", "64 hexadecimal"),
            (&hash[..70], "64 hexadecimal"),
            (&format!("{hash}0"), "64 hexadecimal"),
        ] {
            let message = text(parse_token_hash(given).unwrap_err());
            assert!(message.contains(says) && message.contains("hash-password --token"), "{message}");
        }
    }

    #[test]
    fn what_is_wiped_is_gone() {
        let mut bytes = *b"secret";
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 6]);
    }
}
