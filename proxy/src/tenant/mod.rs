//! Who is this: credentials, their verification, and the limit on failed logins.
//!
//! A sender's way: a Basic credential that verified before is known by its keyed digest, a bearer
//! token by one look-up; neither waits, locks, or is ever limited. What is not known yet is charged as
//! a failure, hashed on a few threads of low priority, and refunded if it was good. From then on it is
//! known: each credential has one place for the digest of the one secret that fits it, so that no
//! flood of bad logins can push a good sender out, and nothing has to be evicted.
//!
//! Whoever fails learns nothing from it: an unknown user, a wrong password, an expired credential and
//! another tenant's door give the same answer, after the same work. (Users whose hashes have other
//! parameters than most do take another time.)
//!
//! The room knows no HTTP beyond the `Authorization` header, and no status.

mod authenticate;
mod directory;
mod failures;
pub mod hash;
mod header;
mod pool;
#[cfg(test)]
mod tests;

pub use authenticate::{Address, Attempt, Counters, Denial, Tenants};
pub use directory::Known;
pub use hash::{HashError, PasswordHash, Secret, SecretError, parse_token_hash};

/// What the fuzz targets may see of this room.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::header::{Presented, Scratch};

    /// The user name and the secret of a Basic header.
    pub fn read_basic(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        match Presented::read(header, &mut Scratch::default()) {
            Ok(Presented::Basic(basic)) => Some((basic.user.to_vec(), basic.secret.to_vec())),
            _ => None,
        }
    }
}

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
    /// The only door of its tenant, as `/shop`; none: the bare paths. At any other door it is refused
    /// as if it were unknown.
    pub path_prefix: Option<Arc<str>>,
    /// The proof.
    pub proof: Proof,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

/// What a sender has to show.
#[derive(Clone, PartialEq, Eq, Hash)]
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
