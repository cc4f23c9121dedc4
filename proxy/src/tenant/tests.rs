//! The door as a whole. Hashes are of the cheapest parameters that are taken.

use super::{authenticate::Tenants, *};
use crate::clock::Clock;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_lite_join::join_all;
use std::{
    net::IpAddr,
    sync::{OnceLock, atomic::Ordering::Relaxed},
};

/// Several futures on one task, polled in turn: what `join_all` of the futures crates does.
mod futures_lite_join {
    use std::{future::poll_fn, pin::Pin, task::Poll};

    pub(super) async fn join_all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
        let mut pending: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
        let mut outputs: Vec<Option<T>> = pending.iter().map(|_| None).collect();
        poll_fn(|context| {
            for (future, output) in pending.iter_mut().zip(&mut outputs) {
                if output.is_none()
                    && let Poll::Ready(value) = future.as_mut().poll(context)
                {
                    *output = Some(value);
                }
            }
            if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        outputs.into_iter().flatten().collect()
    }
}

/// A cheap Argon2id hash of "secret", made once.
fn secret_hash() -> PasswordHash {
    static HASH: OnceLock<PasswordHash> = OnceLock::new();
    HASH.get_or_init(|| cheap_hash("secret")).clone()
}

fn cheap_hash(secret: &str) -> PasswordHash {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    let params = Params::new(hash::ARGON2_WORK_KIB_MIN / 4, 4, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    PasswordHash::parse(&argon2.hash_password(secret.as_bytes()).unwrap().to_string()).unwrap()
}

fn credential(tenant: &str, proof: Proof) -> Credential {
    let name = format!("{tenant}-key").into();
    Credential { tenant: tenant.into(), name, path_prefix: None, proof, expires: None }
}

fn basic(user: &str, hash: PasswordHash) -> Credential {
    credential("shop", Proof::Basic { user: user.into(), hash })
}

struct Door {
    tenants: Tenants,
    clock: Clock,
}

impl Door {
    fn new(credentials: Vec<Credential>) -> Self {
        Self::limited(credentials, FailureLimits::default())
    }

    fn limited(credentials: Vec<Credential>, failures: FailureLimits) -> Self {
        let clock = Clock::by_hand();
        let tenants = Tenants::with_clock(&Config { credentials, failures }, None, clock.clone());
        Self { tenants, clock }
    }

    fn reload(&mut self, credentials: Vec<Credential>) {
        let config = Config { credentials, failures: FailureLimits::default() };
        self.tenants = Tenants::new(&config, Some(&self.tenants));
    }

    async fn show(&self, header: &str) -> Result<&Known, Denial> {
        self.show_from("203.0.113.7", header).await
    }

    async fn show_from(&self, address: &str, header: &str) -> Result<&Known, Denial> {
        self.tenants.authenticate(&attempt(address, header)).await
    }

    async fn login(&self, user: &str, secret: &str) -> Result<&Known, Denial> {
        self.show(&authorization(user, secret)).await
    }

    fn hashes(&self) -> u64 {
        self.tenants.counters().hashes.load(Relaxed)
    }

    /// Occupies every hashing thread until told to end.
    fn plug(&self) -> Vec<std::sync::mpsc::Sender<()>> {
        self.tenants.plug()
    }
}

fn attempt<'a>(address: &str, header: &'a str) -> Attempt<'a> {
    Attempt {
        authorization: Some(header.as_bytes()),
        address: Address::Ip(address.parse().unwrap()),
        cf_worker: None,
        path_prefix: None,
        listener: "tunnel",
    }
}

fn authorization(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

fn is_limited(result: &Result<&Known, Denial>) -> bool {
    matches!(result, Err(Denial::Limited { .. }))
}

#[tokio::test]
async fn a_good_sender_costs_one_hash_ever() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    for _ in 0..10 {
        let known = door.login("ann", "secret").await.unwrap();
        assert_eq!((&*known.tenant, &*known.name), ("shop", "shop-key"));
    }
    assert_eq!(door.hashes(), 1);
    let known = door.tenants.credentials().next().unwrap();
    assert_eq!(known.logins(), 10);
    assert_eq!(
        known.last_used().unwrap().duration_since(door.clock.wall()).unwrap_or_default(),
        Duration::ZERO
    );
    assert_eq!(door.tenants.failure_entries(), 0, "every charge was refunded");
}

#[tokio::test]
async fn whoever_fails_gets_one_answer() {
    let mut elsewhere = basic("eve", secret_hash());
    elsewhere.path_prefix = Some("/eve".into());
    let mut expired = basic("old", secret_hash());
    expired.expires = Some(SystemTime::UNIX_EPOCH);
    let token = hash::token();
    let bearer = credential("shop", Proof::Bearer(parse_token_hash(&token.1).unwrap()));
    let door = Door::new(vec![basic("ann", secret_hash()), elsewhere, expired, bearer]);
    for (user, secret) in [
        ("ann", "wrong"),
        ("bob", "secret"),
        ("eve", "secret"),
        ("old", "secret"),
        ("Ann", "secret"),
        ("ann", ""),
        ("ann", "secret\0"),
        ("", ""),
    ] {
        assert_eq!(door.login(user, secret).await.unwrap_err(), Denial::Wrong, "{user}");
    }
    assert_eq!(door.show(&format!("Bearer {}x", token.0)).await.unwrap_err(), Denial::Wrong);
    assert_eq!(door.hashes(), 8, "each costs one hash, the tokens none");
    let counters = door.tenants.counters();
    let counted = [
        &counters.wrong_password,
        &counters.unknown_user,
        &counters.wrong_door,
        &counters.expired,
        &counters.unknown_token,
    ];
    assert_eq!(counted.map(|counter| counter.load(Relaxed)), [3, 3, 1, 1, 1]);
}

#[tokio::test]
async fn no_header_counts_for_nothing_and_a_bad_one_for_its_address() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    let missing = Attempt { authorization: None, ..attempt("203.0.113.7", "") };
    for _ in 0..100 {
        assert_eq!(door.tenants.authenticate(&missing).await.unwrap_err(), Denial::Missing);
    }
    for _ in 0..50 {
        assert_eq!(door.show("Basic !").await.unwrap_err(), Denial::Malformed);
    }
    assert!(is_limited(&door.show("Basic !").await));
    assert!(is_limited(&door.login("ann", "secret").await));
    assert_eq!(door.tenants.authenticate(&missing).await.unwrap_err(), Denial::Missing);
    assert_eq!(door.hashes(), 0);
}

#[tokio::test]
async fn tokens_are_looked_up_and_never_limited() {
    let token = hash::token();
    let bearer = credential("shop", Proof::Bearer(parse_token_hash(&token.1).unwrap()));
    let door = Door::new(vec![bearer]);
    for n in 0..5 {
        assert_eq!(door.show(&format!("Bearer guess-{n}")).await.unwrap_err(), Denial::Wrong);
    }
    assert!(is_limited(&door.show("Bearer guess").await));
    for _ in 0..100 {
        assert_eq!(&*door.show(&format!("bearer {}", token.0)).await.unwrap().tenant, "shop");
    }
    assert_eq!(door.hashes(), 0);
    // Without any user there is nothing for a hash to hide.
    let other = door.show_from("203.0.113.8", &authorization("ann", "secret")).await;
    assert_eq!((other.unwrap_err(), door.hashes()), (Denial::Wrong, 0));
}

#[tokio::test]
async fn tokens_under_slow_hashes() {
    let door = Door::new(vec![
        credential("one", Proof::SlowBearer(cheap_hash("first"))),
        credential("two", Proof::SlowBearer(secret_hash())),
        basic("", secret_hash()),
    ]);
    assert_eq!(&*door.show("Bearer secret").await.unwrap().tenant, "two");
    assert_eq!(&*door.show("Bearer secret").await.unwrap().tenant, "two");
    assert_eq!(door.hashes(), 2, "each tried once");
    assert_eq!(door.show("Bearer other").await.unwrap_err(), Denial::Wrong);
    assert_eq!(&*door.login("", "secret").await.unwrap().tenant, "shop", "not the token of the same text");
}

#[tokio::test]
async fn rotation_both_are_good_until_one_expires() {
    let mut old = basic("ann", secret_hash());
    let mut next = basic("ann", cheap_hash("next"));
    next.name = "next".into();
    let mut door = Door::new(vec![old.clone(), next.clone()]);
    old.expires = Some(door.clock.wall() + Duration::from_secs(60));
    door.reload(vec![old.clone(), next.clone()]);
    assert_eq!(&*door.login("ann", "secret").await.unwrap().name, "shop-key");
    assert_eq!(&*door.login("ann", "next").await.unwrap().name, "next");
    door.clock.advance(Duration::from_secs(59));
    door.login("ann", "secret").await.unwrap();
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(door.login("ann", "secret").await.unwrap_err(), Denial::Wrong);
    assert_eq!(door.tenants.counters().expired.load(Relaxed), 1);
    door.login("ann", "next").await.unwrap();
}

#[tokio::test]
async fn the_same_secret_in_a_newer_credential_outlives_the_older_one() {
    let mut old = basic("ann", secret_hash());
    let mut door = Door::new(vec![]);
    old.expires = Some(door.clock.wall() + Duration::from_secs(60));
    let mut next = basic("ann", cheap_hash("secret"));
    next.name = "next".into();
    door.reload(vec![old, next]);
    assert_eq!(&*door.login("ann", "secret").await.unwrap().name, "shop-key");
    door.clock.advance(Duration::from_secs(60));
    assert_eq!(&*door.login("ann", "secret").await.unwrap().name, "next");
    assert_eq!(&*door.login("ann", "secret").await.unwrap().name, "next");
    assert_eq!(door.hashes(), 2);
}

#[tokio::test]
async fn the_same_secret_in_an_expired_credential_hides_no_good_one() {
    let mut old = basic("ann", secret_hash());
    old.expires = Some(SystemTime::UNIX_EPOCH);
    let mut next = basic("ann", cheap_hash("secret"));
    next.name = "next".into();
    let door = Door::new(vec![old, next]);
    assert_eq!(&*door.login("ann", "secret").await.unwrap().name, "next");
    assert_eq!(door.hashes(), 1);
}

#[tokio::test]
async fn five_failures_for_a_name_fifty_for_an_address() {
    let door = Door::new(vec![basic("ann", secret_hash()), basic("bob", secret_hash())]);
    for n in 0..5 {
        assert_eq!(door.login("ann", &format!("guess {n}")).await.unwrap_err(), Denial::Wrong);
    }
    assert_eq!(door.hashes(), 5);
    let Err(Denial::Limited { retry_after }) = door.login("ann", "secret").await else {
        panic!("a sixth guess, even a good one, since it is not known to be");
    };
    assert_eq!(door.hashes(), 5, "no hash beyond the limit");
    door.login("bob", "secret").await.expect("another name is let by");
    door.show_from("203.0.113.8", &authorization("ann", "secret")).await.expect("another address is let by");
    door.login("ann", "secret").await.expect("and then it is known, wherever it comes from");
    for n in 0..3 {
        let limited = door.login("ann", &format!("guess {n}")).await;
        assert!(is_limited(&limited), "a wrong one is still limited");
    }
    door.clock.advance(retry_after);
    assert_eq!(door.login("ann", "guess").await.unwrap_err(), Denial::Wrong);
}

#[tokio::test]
async fn an_address_is_limited_whatever_the_names() {
    let token = hash::token();
    let bearer = credential("shop", Proof::Bearer(parse_token_hash(&token.1).unwrap()));
    let door = Door::new(vec![bearer]);
    for n in 0..50 {
        assert_eq!(door.login(&format!("user {n}"), "guess").await.unwrap_err(), Denial::Wrong);
    }
    let limited = door.login("another", "guess").await;
    assert!(is_limited(&limited));
    assert_eq!(door.tenants.counters().limited_by_address.load(Relaxed), 1);
    // The name that is limited too is told the longer of both waits.
    for _ in 0..5 {
        assert_eq!(
            door.show_from("203.0.113.9", &authorization("ann", "guess")).await.unwrap_err(),
            Denial::Wrong
        );
    }
    door.clock.advance(Duration::from_secs(20));
    for n in 0..45 {
        door.show_from("203.0.113.9", &authorization(&format!("user {n}"), "guess")).await.unwrap_err();
    }
    let name = door.show_from("203.0.113.9", &authorization("ann", "guess")).await.unwrap_err();
    let Denial::Limited { retry_after } = name else { panic!("limited both ways") };
    door.clock.advance(retry_after);
    assert_eq!(
        door.show_from("203.0.113.9", &authorization("ann", "guess")).await.unwrap_err(),
        Denial::Wrong
    );
}

#[tokio::test]
async fn ipv6_is_limited_by_64_bits_and_ipv4_in_any_form_by_the_address() {
    let door = Door::new(vec![]);
    let limited = async |first: &str, second: &str| {
        for _ in 0..5 {
            door.show_from(first, "Bearer guess").await.unwrap_err();
        }
        is_limited(&door.show_from(second, "Bearer guess").await)
    };
    assert!(limited("2001:db8::1", "2001:db8::ffff:1").await);
    assert!(!limited("2001:db8:0:1::1", "2001:db8:0:2::1").await);
    assert!(limited("192.0.2.1", "::ffff:192.0.2.1").await);
    assert!(!limited("192.0.2.2", "192.0.2.3").await);
    assert!(!limited("2a06:98c0:3600::104", "2a06:98c0:3600::103").await);
    let unix = Attempt { address: Address::Unix, ..attempt("::", "Bearer guess") };
    for _ in 0..5 {
        assert_eq!(door.tenants.authenticate(&unix).await.unwrap_err(), Denial::Wrong);
    }
    assert!(is_limited(&door.tenants.authenticate(&unix).await));
}

#[tokio::test]
async fn behind_cloudflares_shared_address_each_zone_is_its_own() {
    let door = Door::new(vec![]);
    let from = |address: &str, zone: &'static str, header: &'static str| Attempt {
        cf_worker: Some(zone.as_bytes()),
        ..attempt(address, header)
    };
    let worker = "2a06:98c0:3600::103";
    for _ in 0..50 {
        door.tenants.authenticate(&from(worker, "evil.example", "Basic !")).await.unwrap_err();
    }
    assert!(is_limited(&door.tenants.authenticate(&from(worker, "evil.example", "Basic !")).await));
    let shop = door.tenants.authenticate(&from(worker, "shop.example", "Bearer guess")).await;
    assert_eq!(shop.unwrap_err(), Denial::Wrong);
    // Elsewhere a zone widens nothing: the address is one.
    for _ in 0..50 {
        door.tenants.authenticate(&from("192.0.2.1", "evil.example", "Basic !")).await.unwrap_err();
    }
    assert!(is_limited(&door.tenants.authenticate(&from("192.0.2.1", "shop.example", "Bearer guess")).await));
}

#[tokio::test]
async fn a_flood_does_not_lock_a_known_sender_out() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    door.login("ann", "secret").await.unwrap();
    for n in 0..200 {
        door.login("ann", &format!("guess {n}")).await.unwrap_err();
        door.show("Bearer guess").await.unwrap_err();
    }
    assert!(is_limited(&door.login("ann", "guess").await));
    door.login("ann", "secret").await.unwrap();
}

#[tokio::test]
async fn the_same_secret_at_once_is_hashed_once() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    let plugs = door.plug();
    let header = authorization("ann", "secret");
    let logins = join_all((0..100).map(|_| door.show(&header)));
    let unplug = async { drop(plugs) };
    let (logins, ()) = tokio::join!(logins, unplug);
    assert!(logins.iter().all(Result::is_ok), "none of them is taken for a flood");
    let counters = door.tenants.counters();
    assert_eq!((door.hashes(), counters.coalesced.load(Relaxed)), (1, 99));
    assert_eq!(door.tenants.failure_entries_exactly(), 0);
}

#[tokio::test]
async fn the_same_wrong_secret_at_once_is_hashed_once_and_counted_each_time() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    let plugs = door.plug();
    let header = authorization("ann", "wrong");
    let logins = join_all((0..20).map(|_| door.show(&header)));
    let unplug = async { drop(plugs) };
    let (logins, ()) = tokio::join!(logins, unplug);
    assert_eq!(door.hashes(), 1);
    assert_eq!(logins.iter().filter(|login| matches!(login, Err(Denial::Wrong))).count(), 5);
    assert_eq!(logins.iter().filter(|login| is_limited(login)).count(), 15);
}

#[tokio::test]
async fn a_full_queue_is_busy_and_counts_nothing() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    let plugs = door.plug();
    let waiting_max = Tenants::HASHES_WAITING_MAX;
    let headers: Vec<(String, String)> = (0..waiting_max + 10)
        .map(|n| (format!("198.51.100.{n}"), authorization("ann", &format!("guess {n}"))))
        .collect();
    let logins = join_all(headers.iter().map(|(address, header)| door.show_from(address, header)));
    let unplug = async {
        assert_eq!(door.tenants.hashes_waiting(), waiting_max);
        assert_eq!(door.tenants.failure_entries_exactly(), 2 * waiting_max, "who is busy was refunded");
        drop(plugs);
    };
    let (logins, ()) = tokio::join!(logins, unplug);
    let busy = |login: &&Result<_, Denial>| matches!(login, Err(Denial::Busy { retry_after }) if *retry_after >= Duration::from_secs(1));
    assert_eq!(logins.iter().filter(busy).count(), 10);
    assert_eq!(door.hashes(), waiting_max as u64);
    assert_eq!(door.tenants.counters().busy.load(Relaxed), 10);
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_but_its_failure() {
    let door = Door::new(vec![basic("ann", secret_hash())]);
    let plugs = door.plug();
    let header = authorization("ann", "secret");
    for _ in 0..3 {
        let mut login = Box::pin(door.show(&header));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(login.as_mut().poll(context).is_pending()));
        assert!(polled.await);
    }
    drop(plugs);
    door.login("ann", "secret").await.unwrap();
    assert_eq!(door.hashes(), 1, "what nobody waited for was not computed");
    assert_eq!(door.tenants.hashes_waiting(), 0);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_unchanged_credentials_only() {
    let (ann, bob) = (basic("ann", secret_hash()), basic("bob", secret_hash()));
    let mut door = Door::new(vec![ann.clone(), bob.clone()]);
    door.login("ann", "secret").await.unwrap();
    door.login("bob", "secret").await.unwrap();
    let mut renamed = ann.clone();
    renamed.name = "renamed".into();
    renamed.path_prefix = Some("/shop".into());
    door.reload(vec![renamed, basic("bob", cheap_hash("other"))]);
    let header = authorization("ann", "secret");
    let at_its_door = Attempt { path_prefix: Some("/shop"), ..attempt("203.0.113.7", &header) };
    let known = door.tenants.authenticate(&at_its_door).await.unwrap();
    assert_eq!((&*known.name, known.logins(), door.hashes()), ("renamed", 2, 2), "known without a hash");
    assert_eq!(door.login("ann", "secret").await.unwrap_err(), Denial::Wrong, "the bare path is closed");
    assert_eq!(door.login("bob", "secret").await.unwrap_err(), Denial::Wrong, "a changed hash revokes");
    door.reload(vec![ann]);
    assert_eq!(door.login("bob", "other").await.unwrap_err(), Denial::Wrong, "as does removal");
    // Failures outlive reloads too.
    for n in 0..4 {
        assert!(door.login("bob", &format!("guess {n}")).await.is_err());
    }
    assert!(is_limited(&door.login("bob", "guess").await));
}

#[tokio::test]
async fn hashes_under_way_are_not_shared_across_a_reload() {
    let mut door = Door::new(vec![basic("ann", cheap_hash("old"))]);
    let plugs = door.plug();
    let header = authorization("ann", "secret");
    let config =
        Config { credentials: vec![basic("ann", secret_hash())], failures: FailureLimits::default() };
    let next = Tenants::new(&config, Some(&door.tenants));
    let request = attempt("203.0.113.7", &header);
    let (before, after, ()) =
        tokio::join!(door.tenants.authenticate(&request), next.authenticate(&request), async { drop(plugs) });
    assert_eq!(before.unwrap_err(), Denial::Wrong);
    after.expect("the new credential is good, whatever the old directory says");
    door.tenants = next;
    door.login("ann", "secret").await.unwrap();
}

#[tokio::test]
async fn an_unknown_user_costs_what_most_users_cost() {
    let bcrypt =
        |secret: &str| PasswordHash::parse(&bcrypt::hash(secret, hash::BCRYPT_COST_MIN).unwrap()).unwrap();
    let door = Door::new(vec![
        basic("ann", bcrypt("a")),
        basic("bob", bcrypt("b")),
        basic("eve", secret_hash()),
        basic("eve", cheap_hash("next")),
    ]);
    assert_eq!(door.tenants.decoy_costs(), vec![bcrypt("c").cost()]);
    assert_eq!(door.login("nobody", "a").await.unwrap_err(), Denial::Wrong);
    assert_eq!(door.hashes(), 1);
    door.login("ann", "a").await.unwrap();
    // Where everyone has two, so has nobody.
    let door = Door::new(vec![basic("eve", secret_hash()), basic("eve", cheap_hash("next"))]);
    assert_eq!(door.tenants.decoy_costs().len(), 2);
}

#[tokio::test]
async fn exactly_one_secret_fits_a_hash() {
    let long = "p".repeat(80);
    let bcrypt =
        |secret: &str| PasswordHash::parse(&bcrypt::hash(secret, hash::BCRYPT_COST_MIN).unwrap()).unwrap();
    let door = Door::new(vec![basic("ann", bcrypt(&long[..72])), basic("nul", bcrypt("secret"))]);
    assert_eq!(door.login("ann", &long).await.unwrap_err(), Denial::Wrong, "bcrypt alone would take it");
    assert_eq!(door.login("nul", "secret\0").await.unwrap_err(), Denial::Wrong);
    assert_eq!(
        door.login("nul", "secret\0secret").await.unwrap_err(),
        Denial::Wrong,
        "bcrypt alone would take it"
    );
    door.login("ann", &long[..72]).await.unwrap();
    door.login("nul", "secret").await.unwrap();
    assert_eq!(door.hashes(), 5, "each took its time");
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let hash = secret_hash();
    let credential = basic("ann", hash.clone());
    let config = Config { credentials: vec![credential], failures: FailureLimits::default() };
    let header = authorization("ann", "secret");
    let tenants = Tenants::new(&config, None);
    let known = tenants.authenticate(&attempt("::1", &header)).await.unwrap();
    let shown = format!("{config:?} {tenants:?} {known:?} {:?} {hash:?}", attempt("::1", &header));
    assert!(shown.contains("ann"));
    for secret in ["secret", "argon2", header.trim_start_matches("Basic ")] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn futures_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let door = Door::new(vec![]);
    is_send(&door.tenants.authenticate(&attempt("::1", "")));
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Tenants>();
}

mod logging {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> Vec<serde_json::Value> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
        }
    }

    #[tokio::test]
    async fn each_failure_is_one_line_of_documented_form() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        // With one subscriber only, whether an event is wanted is asked of the thread that first meets
        // it, which may be another test's.
        let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let door = Door::new(vec![basic("ann", secret_hash())]);
        door.login("ann", "secret").await.unwrap();
        assert!(lines.take().is_empty(), "a good login is not logged here");
        let header = authorization("a\nnn", "hunter2");
        let strange = Attempt { cf_worker: Some(b"shop.example"), ..attempt("2001:db8::1", &header) };
        door.tenants.authenticate(&strange).await.unwrap_err();
        let [line] = &lines.take()[..] else { panic!("one line") };
        assert_eq!((&line["target"], &line["level"]), (&"tollgate::auth".into(), &"WARN".into()));
        let expected = serde_json::json!({
            "message": "login failed", "address": "2001:db8::/64", "user": "a\\nnn", "reason": "unknown_user",
            "key": "", "zone": "shop.example", "listener": "tunnel",
        });
        assert_eq!(line["fields"], expected);
        assert!(!line.to_string().contains("hunter2"));
        for _ in 0..5 {
            door.show("Bearer guess").await.unwrap_err();
        }
        assert_eq!(lines.take().len(), 5);
        for _ in 0..1000 {
            assert!(is_limited(&door.show("Bearer guess").await));
        }
        let [line] = &lines.take()[..] else { panic!("one line for a key and second") };
        assert_eq!(
            (&line["fields"]["reason"], &line["fields"]["key"]),
            (&"limited".into(), &"address_and_user".into())
        );
        door.clock.advance(Duration::from_secs(1));
        assert!(is_limited(&door.show("Bearer guess").await));
        assert_eq!(lines.take().len(), 1);
        for n in 0..10_000_u32 {
            let address = IpAddr::from((0xc000_0200 + n).to_be_bytes()).to_string();
            for _ in 0..6 {
                door.show_from(&address, "Bearer guess").await.unwrap_err();
            }
        }
        let limited = lines.take().iter().filter(|line| line["fields"]["reason"] == "limited").count();
        assert!((1..=256).contains(&limited), "{limited}");
    }
}
