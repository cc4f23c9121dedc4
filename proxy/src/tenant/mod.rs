//! Who is this: credentials, their verification, and the limit on failed logins.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Everything this room is told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Every credential of every tenant.
    pub credentials: Vec<Credential>,
    /// The limit on failed logins.
    pub failures: FailureLimits,
}

/// A proof on record.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its name in metrics and logs: `name` of the configuration, else the user name (with
    /// `-2`, `-3` … where one user has several), else `token-1` ….
    pub name: Arc<str>,
    /// The proof.
    pub proof: Proof,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

/// What a sender has to show.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user name.
        user: Arc<str>,
        /// The hash of the password.
        hash: PasswordHash,
    },
    /// HTTP Bearer (RFC 6750) with a random token: SHA-256 of it.
    Bearer([u8; 32]),
    /// HTTP Bearer with a token kept under a slow hash, for those who bring such hashes along. Each
    /// has to be tried in turn, so there are at most [`SLOW_TOKENS_MAX`] of them.
    SlowBearer(PasswordHash),
}

/// How many bearer tokens under a slow hash are taken, over all tenants: an unknown token costs one
/// slow hash for each of them.
pub const SLOW_TOKENS_MAX: usize = 4;

impl fmt::Debug for Proof {
    /// Never shows a hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Basic { user, .. } => write!(f, "Basic({user})"),
            Proof::Bearer(_) | Proof::SlowBearer(_) => f.write_str("Bearer"),
        }
    }
}

/// A password hash in PHC (`$argon2id$…`) or bcrypt (`$2b$…`) form, checked to be well formed and
/// within the cost limits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash(Arc<str>);

impl fmt::Debug for PasswordHash {
    /// Never shows the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Why a hash cannot be used. `Display` says what would be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HashError {
    /// Fields between `$` are missing: a shell or Compose took them for variables.
    #[error("its `$` fields are missing, as if a shell or Docker Compose had replaced them as variables")]
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

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// [`HashError`], with the remedy in its text.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        Ok(Self(text.into()))
    }
}

/// Reads `sha256:` and 64 hexadecimal digits (or unpadded base64url of 32 bytes).
///
/// # Errors
/// [`HashError::Unknown`] says what would be right.
pub fn parse_token_hash(_text: &str) -> Result<[u8; 32], HashError> {
    Err(HashError::Unknown("not yet".into()))
}

/// The limit on failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimits {
    /// Failures of one address with one user name (and one `CF-Worker` zone) in a window. 5.
    pub events: u8,
    /// Failures of one address in a window, whatever the names. 50.
    pub address_events: u8,
    /// The window. 60 s.
    pub window: Duration,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { events: 5, address_events: 50, window: Duration::from_secs(60) }
    }
}
