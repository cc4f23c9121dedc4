//! From an `Authorization` header to a known sender, or a denial.

use super::{
    Config, FailureLimits,
    directory::{Directory, Known, Record},
    failures::{self, Charge, Effort, Failures, Refused},
    hash::{self, PasswordHash, Secret, token_digest},
    header::{Basic, Presented, Scratch},
    pool::{self, Full, GivenUp, Pool},
};
use crate::{clock::Clock, telemetry::events};
use aws_lc_rs::hmac;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// What a request shows of who sent it.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The `Authorization` header, if there is one.
    pub authorization: Option<&'a [u8]>,
    /// The client's address, as far as it can be believed.
    pub address: Address,
    /// The `CF-Worker` header, from trusted proxies only: the zone of the Worker that sends.
    pub cf_worker: Option<&'a [u8]>,
    /// The prefix under which the request came, as `/shop`; none: the bare path.
    pub path_prefix: Option<&'a str>,
    /// The listener's name, for the log.
    pub listener: &'a str,
}

impl fmt::Debug for Attempt<'_> {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("address", &self.address)
            .field("path_prefix", &self.path_prefix)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Where a client calls from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// From this address.
    Ip(IpAddr),
    /// Through a Unix socket, with nothing said about who is behind it. All of these are one.
    Unix,
}

/// All Workers' requests to other zones come from this address (Cloudflare's documentation of
/// `CF-Connecting-IP`).
const SHARED_WORKER_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2a06, 0x98c0, 0x3600, 0, 0, 0, 0, 0x103);

impl Address {
    /// The address that limits go by: one for each /64 of IPv6, which is the least that a customer
    /// gets, but for Cloudflare's shared one.
    fn grouped(self) -> Self {
        match self {
            Self::Ip(ip) => match ip.to_canonical() {
                IpAddr::V6(v6) if v6 != SHARED_WORKER_ADDRESS => {
                    Self::Ip(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into())
                }
                other => Self::Ip(other),
            },
            Self::Unix => Self::Unix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A grouped address as the log shows it: `2001:db8:1:2::/64`, which whoever bans by it can use.
struct Network(Address);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Ip(IpAddr::V6(ip)) if ip != SHARED_WORKER_ADDRESS => write!(f, "{ip}/64"),
            other => other.fmt(f),
        }
    }
}

/// Why a sender is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No `Authorization` header. Counts for nothing.
    Missing,
    /// The header cannot be read.
    Malformed,
    /// Unknown user, wrong secret, unknown token, expired, or another tenant's door: the sender
    /// cannot tell which.
    Wrong,
    /// Too many failures, and this credential has not been verified lately.
    Limited {
        /// When one more may be tried.
        retry_after: Duration,
    },
    /// Too many hashes wait. Nothing is known about the sender, nothing was counted.
    Busy {
        /// When there should be room.
        retry_after: Duration,
    },
}

/// What happened at the door, since the start; reloads go on counting.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests without an `Authorization` header.
    pub missing: AtomicU64,
    /// Failures: the header could not be read.
    pub malformed: AtomicU64,
    /// Failures: no such user.
    pub unknown_user: AtomicU64,
    /// Failures: the user exists, the password is another.
    pub wrong_password: AtomicU64,
    /// Failures: no such token.
    pub unknown_token: AtomicU64,
    /// Failures: the secret was right, but the credential had expired.
    pub expired: AtomicU64,
    /// Failures: the secret was right, but the path was not its tenant's.
    pub wrong_door: AtomicU64,
    /// Attempts refused since their address and user name had too many failures.
    pub limited_by_address_and_user: AtomicU64,
    /// Attempts refused since their address had too many failures.
    pub limited_by_address: AtomicU64,
    /// Attempts refused since the table of failures had no place left.
    pub limited_by_full_table: AtomicU64,
    /// Slow hashes computed, those for unknown users included.
    pub hashes: AtomicU64,
    /// Logins that waited for a slow hash. All others were known: [`Known::logins`] less these.
    pub verified_by_hash: AtomicU64,
    /// Attempts that waited for a hash under way for the same secret.
    pub coalesced: AtomicU64,
    /// Attempts denied as [`Denial::Busy`].
    pub busy: AtomicU64,
}

/// Why a login failed, for log and counters; the sender is told none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Malformed,
    UnknownUser,
    WrongPassword,
    UnknownToken,
    Expired,
    WrongDoor,
}

impl Known {
    /// Whether this is the time and the door for it.
    fn usable(&self, path_prefix: Option<&str>, now: SystemTime) -> Result<(), Reason> {
        if self.path_prefix.as_deref() != path_prefix {
            return Err(Reason::WrongDoor);
        }
        if self.expires.is_some_and(|expires| now >= expires) {
            return Err(Reason::Expired);
        }
        Ok(())
    }
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::UnknownToken => "unknown_token",
            Self::Expired => "expired",
            Self::WrongDoor => "wrong_door",
        }
    }

    fn counter(self, counters: &Counters) -> &AtomicU64 {
        match self {
            Self::Malformed => &counters.malformed,
            Self::UnknownUser => &counters.unknown_user,
            Self::WrongPassword => &counters.wrong_password,
            Self::UnknownToken => &counters.unknown_token,
            Self::Expired => &counters.expired,
            Self::WrongDoor => &counters.wrong_door,
        }
    }

    fn denial(self) -> Denial {
        match self {
            Self::Malformed => Denial::Malformed,
            _ => Denial::Wrong,
        }
    }
}

/// The door: every credential, and what must outlive a reload. Immutable; a reload makes a new one
/// from the old.
pub struct Tenants {
    directory: Directory,
    limits: FailureLimits,
    failures: Arc<Failures>,
    lasting: Arc<Lasting>,
    /// Which of the directories this is: hashes under way are shared only by attempts on one of them.
    generation: u64,
}

/// What stays the same over reloads.
struct Lasting {
    pool: Pool,
    digest_key: hmac::Key,
    counters: Arc<Counters>,
    log_brake: LogBrake,
    clock: Clock,
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("credentials", &self.directory.all).finish_non_exhaustive()
    }
}

impl Tenants {
    /// Makes the door. `previous` is the one before a reload: what was learnt about credentials whose
    /// user and hash are as before, failures (while the window is as before), hashes under way and
    /// counters carry over.
    pub fn new(config: &Config, previous: Option<&Tenants>) -> Self {
        Self::with_clock(config, previous, Clock::system())
    }

    pub(super) fn with_clock(config: &Config, previous: Option<&Tenants>, clock: Clock) -> Self {
        let lasting = previous.map_or_else(|| Arc::new(Lasting::new(clock)), |old| old.lasting.clone());
        let failures = previous.filter(|old| old.failures.window() == config.failures.window).map_or_else(
            || Arc::new(Failures::new(config.failures.window, lasting.clock.clone())),
            |old| old.failures.clone(),
        );
        Self {
            directory: Directory::new(config, previous.map(|old| &old.directory)),
            limits: config.failures,
            failures,
            lasting,
            generation: previous.map_or(0, |old| old.generation + 1),
        }
    }

    /// Says who sends, or why nobody does. Waits only where a hash has to be computed, which happens
    /// once for each good secret.
    ///
    /// # Errors
    /// [`Denial`], when the sender is not known. Failures are logged and counted here.
    pub async fn authenticate(&self, attempt: &Attempt<'_>) -> Result<&Known, Denial> {
        match self.recognise(attempt) {
            Recognised::Known(known) => Ok(known),
            Recognised::Denied(denial) => Err(denial),
            // In a box: few requests need it, and all would be as large as it.
            Recognised::Unverified(guess) => Box::pin(self.verify(attempt, guess)).await,
        }
    }

    /// Every credential, with its last use, name and expiry.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.directory.all.iter()
    }

    /// What happened at this door, reloads included.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.lasting.counters
    }

    /// How many hashes wait for a thread now.
    pub fn hashes_waiting(&self) -> usize {
        self.lasting.pool.waiting()
    }

    /// How many hashes may wait.
    pub const HASHES_WAITING_MAX: usize = pool::WAITING_MAX;

    /// How many keys (an address, or an address with a user name) have failures now: an estimate from
    /// a sample of the table.
    pub fn failure_entries(&self) -> usize {
        self.failures.entries()
    }

    /// How many keys can have failures at once.
    pub const FAILURE_ENTRIES_MAX: usize = failures::ENTRIES_MAX;
}

/// What can be said without a hash.
enum Recognised<'a> {
    Known(&'a Known),
    Denied(Denial),
    Unverified(Guess<'a>),
}

/// A secret that fits nothing known yet.
struct Guess<'a> {
    digest: [u8; 32],
    user: Box<[u8]>,
    secret: Secret,
    /// What it is tried against; none: decoys.
    candidates: Option<&'a [Arc<Known>]>,
    /// What to call it if it fits none of them.
    reason: Reason,
}

/// What a secret's digest says about credentials.
enum Fit<'a> {
    Good(&'a Known),
    /// It fits, but only where it may not be used.
    Refused(Reason),
    None,
}

impl Tenants {
    /// The path of nearly all requests: no wait, no lock.
    fn recognise(&self, attempt: &Attempt<'_>) -> Recognised<'_> {
        let Some(header) = attempt.authorization else {
            self.lasting.counters.missing.fetch_add(1, Relaxed);
            return Recognised::Denied(Denial::Missing);
        };
        let mut scratch = Scratch::default();
        match Presented::read(header, &mut scratch) {
            Ok(Presented::Basic(basic)) => self.recognise_basic(attempt, &basic),
            Ok(Presented::Bearer(token)) => self.recognise_bearer(attempt, token),
            Err(_) => Recognised::Denied(self.fail(attempt, b"", Reason::Malformed)),
        }
    }

    fn recognise_basic(&self, attempt: &Attempt<'_>, basic: &Basic<'_>) -> Recognised<'_> {
        let digest = self.lasting.digest(b'B', basic.user, basic.secret);
        let candidates = self.directory.user(basic.user);
        let reason = if candidates.is_some() { Reason::WrongPassword } else { Reason::UnknownUser };
        self.recognise_slow(attempt, digest, basic, candidates, reason)
    }

    fn recognise_bearer(&self, attempt: &Attempt<'_>, token: &[u8]) -> Recognised<'_> {
        if let Some(known) = self.directory.token(&token_digest(token)) {
            return match self.enter(known, attempt) {
                Ok(()) => Recognised::Known(known),
                Err(reason) => Recognised::Denied(self.fail(attempt, b"", reason)),
            };
        }
        let candidates = self.directory.slow_tokens();
        if candidates.is_empty() {
            return Recognised::Denied(self.fail(attempt, b"", Reason::UnknownToken));
        }
        let digest = self.lasting.digest(b'T', b"", token);
        let shown = Basic { user: b"", secret: token };
        self.recognise_slow(attempt, digest, &shown, Some(candidates), Reason::UnknownToken)
    }

    fn recognise_slow<'a>(
        &'a self,
        attempt: &Attempt<'_>,
        digest: [u8; 32],
        shown: &Basic<'_>,
        candidates: Option<&'a [Arc<Known>]>,
        reason: Reason,
    ) -> Recognised<'a> {
        let fit = self.fit(attempt, candidates, &digest);
        let refusal = match fit {
            Fit::Good(known) => return Recognised::Known(known),
            Fit::Refused(reason) => reason,
            Fit::None => reason,
        };
        // A credential that the secret is known to fit needs no hash, only the others do.
        let needs_hash = match candidates {
            Some(candidates) => candidates.iter().any(|known| !known.record.verified(&digest)),
            None => !self.directory.decoys.is_empty(),
        };
        if !needs_hash {
            return Recognised::Denied(self.fail(attempt, shown.user, refusal));
        }
        Recognised::Unverified(Guess {
            digest,
            user: shown.user.into(),
            secret: Secret::new(shown.secret),
            candidates,
            reason,
        })
    }

    /// Finds the credential that a digest is known to fit, by preference one that is good.
    fn fit<'a>(
        &self,
        attempt: &Attempt<'_>,
        candidates: Option<&'a [Arc<Known>]>,
        digest: &[u8; 32],
    ) -> Fit<'a> {
        let mut fit = Fit::None;
        for known in candidates.unwrap_or_default() {
            if known.record.verified(digest) {
                match self.enter(known, attempt) {
                    Ok(()) => return Fit::Good(known),
                    Err(reason) => fit = Fit::Refused(reason),
                }
            }
        }
        fit
    }

    /// Lets a sender in whose secret is right, if this is the time and the door for it.
    fn enter(&self, known: &Known, attempt: &Attempt<'_>) -> Result<(), Reason> {
        let now = self.lasting.clock.wall();
        known.usable(attempt.path_prefix, now)?;
        known.record.touch(now);
        Ok(())
    }

    /// The path of the first request with a secret, and of every wrong one.
    ///
    /// If the sender goes away meanwhile its charge stays: else a flood that hangs up early would cost
    /// hashes and never be counted.
    async fn verify<'a>(&'a self, attempt: &Attempt<'_>, guess: Guess<'a>) -> Result<&'a Known, Denial> {
        let Lasting { pool, counters, .. } = &*self.lasting;
        let key = (guess.digest, self.generation);
        // Whoever waits for a hash that is under way anyhow is charged when it turns out wrong, so that
        // a good sender's first requests, all at once, are not taken for a flood.
        let (ticket, charged) = match pool.join(&key) {
            Some(ticket) => {
                counters.coalesced.fetch_add(1, Relaxed);
                (ticket, None)
            }
            None => {
                let charged = self.charge(attempt, &guess.user, Effort::Hash)?;
                match pool.submit(key, self.hashing(attempt, &guess)) {
                    Ok(ticket) => (ticket, Some(charged)),
                    Err(Full { retry_after }) => return Err(self.busy(Some(charged), retry_after)),
                }
            }
        };
        if let Err(GivenUp) = ticket.done().await {
            return Err(self.busy(charged, Duration::from_secs(1)));
        }
        let reason = match self.fit(attempt, guess.candidates, &guess.digest) {
            Fit::Good(known) => {
                counters.verified_by_hash.fetch_add(1, Relaxed);
                self.refund(charged);
                return Ok(known);
            }
            Fit::Refused(reason) => reason,
            Fit::None => guess.reason,
        };
        if charged.is_none() {
            return Err(self.fail_with(attempt, &guess.user, reason, Effort::Hash));
        }
        Err(self.failed(attempt, &guess.user, reason))
    }

    /// The work for the pool: tries the secret against each credential until one fits, and remembers
    /// it there. Says whether it could be computed. Credentials that would be refused come last, in
    /// case that the same secret fits a good one.
    fn hashing(&self, attempt: &Attempt<'_>, guess: &Guess<'_>) -> impl FnOnce() -> bool + Send + use<> {
        let now = self.lasting.clock.wall();
        let tried: Vec<(PasswordHash, Option<Arc<Record>>)> = match &guess.candidates {
            Some(candidates) => {
                let untried = candidates.iter().filter(|known| !known.record.verified(&guess.digest));
                let (good, refused): (Vec<&Arc<Known>>, Vec<&Arc<Known>>) =
                    untried.partition(|known| known.usable(attempt.path_prefix, now).is_ok());
                let in_order = good.into_iter().chain(refused);
                in_order
                    .filter_map(|known| Some((known.slow_hash()?.clone(), Some(known.record.clone()))))
                    .collect()
            }
            None => self.directory.decoys.iter().map(|decoy| (decoy.clone(), None)).collect(),
        };
        let (secret, digest) = (Secret::new(guess.secret.expose()), guess.digest);
        let counters = self.lasting.counters.clone();
        move || {
            for (hash, record) in tried {
                counters.hashes.fetch_add(1, Relaxed);
                match (hash.verify(secret.expose()), record) {
                    (Ok(true), Some(record)) => {
                        record.remember(digest);
                        return true;
                    }
                    (Ok(_), _) => {}
                    (Err(hash::OutOfMemory), _) => return false,
                }
            }
            true
        }
    }
}

/// Failures that were charged before it was known whether they are some.
struct Charged {
    address_and_user: Charge,
    address: Charge,
}

/// Which limit an attempt met.
#[derive(Debug, Clone, Copy)]
enum Limit {
    AddressAndUser,
    Address,
    FullTable,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::AddressAndUser => "address_and_user",
            Self::Address => "address",
            Self::FullTable => "table_full",
        }
    }

    fn counter(self, counters: &Counters) -> &AtomicU64 {
        match self {
            Self::AddressAndUser => &counters.limited_by_address_and_user,
            Self::Address => &counters.limited_by_address,
            Self::FullTable => &counters.limited_by_full_table,
        }
    }
}

impl Tenants {
    /// A failure that took no hash.
    fn fail(&self, attempt: &Attempt<'_>, user: &[u8], reason: Reason) -> Denial {
        self.fail_with(attempt, user, reason, Effort::Nothing)
    }

    fn fail_with(&self, attempt: &Attempt<'_>, user: &[u8], reason: Reason, effort: Effort) -> Denial {
        let charged = match reason {
            Reason::Malformed => self.charge_address(attempt, user, effort).map(drop),
            _ => self.charge(attempt, user, effort).map(drop),
        };
        match charged {
            Ok(()) => self.failed(attempt, user, reason),
            Err(limited) => limited,
        }
    }

    /// Counts and logs a failure that was charged.
    fn failed(&self, attempt: &Attempt<'_>, user: &[u8], reason: Reason) -> Denial {
        reason.counter(&self.lasting.counters).fetch_add(1, Relaxed);
        log(attempt, user, reason.name(), "");
        reason.denial()
    }

    /// Charges both keys of an attempt, or none.
    fn charge(&self, attempt: &Attempt<'_>, user: &[u8], effort: Effort) -> Result<Charged, Denial> {
        let zone = attempt.cf_worker.unwrap_or_default();
        let narrow = self.failures.key((0_u8, attempt.address.grouped(), user, zone));
        match self.failures.charge(narrow, self.limits.events, effort) {
            Ok(address_and_user) => match self.charge_address(attempt, user, effort) {
                Ok(address) => Ok(Charged { address_and_user, address }),
                Err(denial) => {
                    self.failures.refund(address_and_user);
                    Err(denial)
                }
            },
            Err(Refused::Limited { retry_after }) => {
                // The address may have to wait for longer than the name.
                let address = self.failures.wait(self.wide_key(attempt), self.limits.address_events);
                let refused = Refused::Limited { retry_after: retry_after.max(address) };
                Err(self.limited(attempt, user, Limit::AddressAndUser, narrow, refused))
            }
            Err(full) => Err(self.limited(attempt, user, Limit::AddressAndUser, narrow, full)),
        }
    }

    /// Charges an address alone; behind Cloudflare's shared address, a zone.
    fn charge_address(&self, attempt: &Attempt<'_>, user: &[u8], effort: Effort) -> Result<Charge, Denial> {
        let wide = self.wide_key(attempt);
        self.failures
            .charge(wide, self.limits.address_events, effort)
            .map_err(|refused| self.limited(attempt, user, Limit::Address, wide, refused))
    }

    fn wide_key(&self, attempt: &Attempt<'_>) -> failures::Key {
        let address = attempt.address.grouped();
        let shared = address == Address::Ip(SHARED_WORKER_ADDRESS.into());
        let zone = attempt.cf_worker.filter(|_| shared).unwrap_or_default();
        self.failures.key((1_u8, address, zone))
    }

    fn refund(&self, charged: Option<Charged>) {
        if let Some(Charged { address_and_user, address }) = charged {
            self.failures.refund(address_and_user);
            self.failures.refund(address);
        }
    }

    fn busy(&self, charged: Option<Charged>, retry_after: Duration) -> Denial {
        self.refund(charged);
        self.lasting.counters.busy.fetch_add(1, Relaxed);
        Denial::Busy { retry_after }
    }

    fn limited(
        &self,
        attempt: &Attempt<'_>,
        user: &[u8],
        limit: Limit,
        key: failures::Key,
        refused: Refused,
    ) -> Denial {
        let (limit, retry_after) = match refused {
            Refused::Limited { retry_after } => (limit, retry_after),
            Refused::Full { retry_after } => (Limit::FullTable, retry_after),
        };
        limit.counter(&self.lasting.counters).fetch_add(1, Relaxed);
        if self.lasting.log_brake.lets_by(key, self.lasting.clock.now_ns()) {
            log(attempt, user, "limited", limit.name());
        }
        Denial::Limited { retry_after }
    }
}

fn log(attempt: &Attempt<'_>, user: &[u8], reason: &'static str, key: &'static str) {
    let zone = attempt.cf_worker.unwrap_or_default();
    events::login_failed(&Network(attempt.address.grouped()), user, reason, key, zone, attempt.listener);
}

impl Lasting {
    fn new(clock: Clock) -> Self {
        let mut random = [0; 32];
        hash::fill_random(&mut random);
        Self {
            pool: Pool::new(pool::threads_max(), pool::WAITING_MAX),
            digest_key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            counters: Arc::default(),
            log_brake: LogBrake::default(),
            clock,
        }
    }

    /// The keyed digest of what a sender shows: scheme ‖ user ‖ 0 ‖ secret. The key is random and
    /// never leaves the process, so the digests are worth nothing outside.
    fn digest(&self, scheme: u8, user: &[u8], secret: &[u8]) -> [u8; 32] {
        let mut tag = hmac::Context::with_key(&self.digest_key);
        [&[scheme], user, &[0], secret].into_iter().for_each(|part| tag.update(part));
        let tag = tag.sign();
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        digest
    }
}

/// At most one `limited` line for a key and second, and no more than there are slots over all keys:
/// a flood must not fill the disk. Keys that share a slot share its line.
struct LogBrake([AtomicU32; 256]);

impl Default for LogBrake {
    fn default() -> Self {
        Self([const { AtomicU32::new(u32::MAX) }; 256])
    }
}

impl LogBrake {
    fn lets_by(&self, key: failures::Key, now_ns: u64) -> bool {
        let second = (now_ns / 1_000_000_000) as u32;
        self.0[key.slot(self.0.len())].swap(second, Relaxed) != second
    }
}

#[cfg(test)]
impl Tenants {
    /// Occupies every hashing thread until what is returned is dropped.
    pub(super) fn plug(&self) -> Vec<std::sync::mpsc::Sender<()>> {
        let plug = |n: u8| {
            let (begun, has_begun) = std::sync::mpsc::channel();
            let (end, may_end) = std::sync::mpsc::channel();
            let work = move || begun.send(()).is_ok() && may_end.recv().is_err();
            let ticket = self.lasting.pool.submit(([n; 32], u64::MAX), work).expect("an empty queue");
            has_begun.recv().expect("a thread begins");
            drop(ticket);
            end
        };
        (0..pool::threads_max()).map(|n| plug(n as u8)).collect()
    }

    pub(super) fn decoy_costs(&self) -> Vec<hash::Cost> {
        self.directory.decoys.iter().map(PasswordHash::cost).collect()
    }

    pub(super) fn failure_entries_exactly(&self) -> usize {
        self.failures.entries_exactly()
    }
}
