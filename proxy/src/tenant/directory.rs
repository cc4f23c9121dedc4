//! Every credential, and what is known of it: made anew at each reload, with what was learnt carried
//! over.

use super::{
    Config, Credential, Proof,
    hash::{Cost, PasswordHash},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// A credential, and so whoever has shown it.
pub struct Known {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The credential's name in metrics and logs.
    pub name: Arc<str>,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
    pub(super) path_prefix: Option<Arc<str>>,
    proof: Proof,
    pub(super) record: Arc<Record>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .field("proof", &self.proof)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Known {
    /// When it was used last, to the second; none: not since the start.
    pub fn last_used(&self) -> Option<SystemTime> {
        let seconds = self.record.last_used_s.load(Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// How often it was used since the start.
    pub fn logins(&self) -> u64 {
        self.record.logins.load(Relaxed)
    }

    /// The slow hash, if it is one that the pool verifies.
    pub(super) fn slow_hash(&self) -> Option<&PasswordHash> {
        match &self.proof {
            Proof::Basic { hash, .. } | Proof::SlowBearer(hash) => Some(hash),
            Proof::Bearer(_) => None,
        }
    }
}

/// What was learnt about a credential. It lasts as long as user and hash stay as they are.
#[derive(Default)]
pub(super) struct Record {
    /// The keyed digest of the one secret that fits, once it was shown.
    verified: OnceLock<[u8; 32]>,
    /// Seconds since 1970.
    last_used_s: AtomicU64,
    logins: AtomicU64,
}

impl Record {
    /// Whether the secret of this digest was verified.
    pub(super) fn verified(&self, digest: &[u8; 32]) -> bool {
        self.verified.get().is_some_and(|verified| verify_slices_are_equal(verified, digest).is_ok())
    }

    /// Remembers the digest of the secret that fits. Only one does.
    pub(super) fn remember(&self, digest: [u8; 32]) {
        self.verified.get_or_init(|| digest);
    }

    pub(super) fn touch(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Written once a second, so that cores can share the line in between.
        if self.last_used_s.load(Relaxed) != seconds {
            self.last_used_s.store(seconds, Relaxed);
        }
        self.logins.fetch_add(1, Relaxed);
    }
}

/// Several credentials of one user.
type Candidates = Box<[Arc<Known>]>;

pub(super) struct Directory {
    pub(super) all: Vec<Arc<Known>>,
    by_user: HashMap<Box<[u8]>, Candidates>,
    by_token: HashMap<[u8; 32], Arc<Known>>,
    slow_tokens: Candidates,
    /// What a user who does not exist is checked against, so that it takes as long.
    pub(super) decoys: Vec<PasswordHash>,
}

impl Directory {
    pub(super) fn new(config: &Config, previous: Option<&Directory>) -> Self {
        let before = || previous.iter().flat_map(|directory| &directory.all);
        let by_proof: HashMap<_, _> = before().map(|known| (&known.proof, &known.record)).collect();
        // Two credentials may have the same proof, each with a life of its own.
        let by_name: HashMap<_, _> =
            before().map(|known| ((&known.tenant, &known.name, &known.proof), &known.record)).collect();
        let learnt = |credential: &Credential| {
            let named = by_name.get(&(&credential.tenant, &credential.name, &credential.proof));
            named.or_else(|| by_proof.get(&credential.proof)).map(|record| Arc::clone(record))
        };
        let all: Vec<Arc<Known>> = config
            .credentials
            .iter()
            .map(|credential| {
                Arc::new(Known {
                    tenant: credential.tenant.clone(),
                    name: credential.name.clone(),
                    expires: credential.expires,
                    path_prefix: credential.path_prefix.clone(),
                    record: learnt(credential).unwrap_or_default(),
                    proof: credential.proof.clone(),
                })
            })
            .collect();
        let (mut by_user, mut by_token, mut slow_tokens) = (HashMap::new(), HashMap::new(), Vec::new());
        for known in &all {
            match &known.proof {
                Proof::Basic { user, .. } => {
                    by_user.entry(user.as_bytes().into()).or_insert_with(Vec::new).push(known.clone());
                }
                Proof::Bearer(digest) => drop(by_token.insert(*digest, known.clone())),
                Proof::SlowBearer(_) => slow_tokens.push(known.clone()),
            }
        }
        let by_user: HashMap<Box<[u8]>, Candidates> =
            by_user.into_iter().map(|(user, candidates)| (user, candidates.into())).collect();
        Self { decoys: decoys(by_user.values()), all, by_user, by_token, slow_tokens: slow_tokens.into() }
    }

    /// The credentials of a user; names are compared byte by byte.
    pub(super) fn user(&self, name: &[u8]) -> Option<&[Arc<Known>]> {
        self.by_user.get(name).map(|candidates| &**candidates)
    }

    /// The credential of a random token.
    pub(super) fn token(&self, digest: &[u8; 32]) -> Option<&Known> {
        self.by_token.get(digest).map(|known| &**known)
    }

    /// The tokens that each have to be tried.
    pub(super) fn slow_tokens(&self) -> &[Arc<Known>] {
        &self.slow_tokens
    }
}

/// Hashes that cost what most users' hashes cost, dearer ones where as many have them.
fn decoys<'a>(users: impl Iterator<Item = &'a Candidates>) -> Vec<PasswordHash> {
    let mut frequency: HashMap<Vec<Cost>, usize> = HashMap::new();
    for user in users {
        let mut costs: Vec<Cost> =
            user.iter().filter_map(|known| known.slow_hash()).map(PasswordHash::cost).collect();
        costs.sort_unstable();
        *frequency.entry(costs).or_default() += 1;
    }
    let commonest = frequency.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    commonest.map(|(costs, _)| costs.into_iter().map(PasswordHash::decoy).collect()).unwrap_or_default()
}
