//! Credentials: who gets in, what a failure costs, and that no secret is ever shown.

use crate::kit::{
    Answer, Behaviour, Connection, Request, Tollgate, Upstream, basic, eventually, log_request,
};
use std::time::{SystemTime, UNIX_EPOCH};

const TOKEN: &str = "tgt_4f1d2c7e9b8a60351f2e3d4c5b6a7988";
const SECOND_PASSWORD: &str = "the-password-after-rotation";
/// Everything that must never be seen in a log, whole or as base64.
const WRONG_PASSWORD: &str = "a-password-that-fits-nobody";

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bcrypt(password: &str) -> String {
    bcrypt::hash(password, 8).expect("a hash")
}

/// A door for everybody, and a tunnel whose peers may name the client.
fn config(upstream: &Upstream) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[listener.tunnel]
bind = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]
client_ip_header = "CF-Connecting-IP"

[listener.proxied]
bind = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]

[tenant.shop]
credentials = [
  {{ user = "oxygen", password_hash = "$SECRET" }},
  {{ name = "2026-12", user = "oxygen", password_hash = "{second}" }},
  {{ name = "machine", token_hash = "sha256:{token}" }},
  {{ user = "retired", password_hash = "$SECRET", expires = 2020-01-01 }},
]
upstream = "collector"

[tenant.cafe]
credentials = [{{ user = "barista", password_hash = "$SECRET" }}]
path_prefix = "/cafe"
upstream = "collector"

[upstream.collector]
endpoint = "http://{address}"
"#,
        second = bcrypt(SECOND_PASSWORD),
        token = sha256(TOKEN),
        address = upstream.address()
    )
}

fn start() -> (Tollgate, Upstream) {
    let upstream = Upstream::start(Behaviour::ok());
    (Tollgate::start(&config(&upstream)), upstream)
}

fn batch() -> Request {
    Request::post("/v1/logs", log_request("hello"))
}

/// A request that comes from this address, as the tunnel says.
fn from(address: &str) -> Request {
    batch().header("CF-Connecting-IP", address)
}

fn through(tollgate: &Tollgate, listener: &str, request: &Request) -> Answer {
    Connection::tcp(tollgate.address(listener)).send(request)
}

fn hashes(tollgate: &Tollgate) -> f64 {
    tollgate.metric("tollgate_login_hashes_total", &[])
}

fn logins(tollgate: &Tollgate, result: &str) -> f64 {
    tollgate.metric("tollgate_logins_total", &[("result", result)])
}

/// The attempt's status, many times over on one connection.
fn statuses(tollgate: &Tollgate, listener: &str, request: &Request, times: usize) -> Vec<u16> {
    let mut sender = Connection::tcp(tollgate.address(listener));
    (0..times).map(|_| sender.send(request).status).collect()
}

#[test]
fn missing_credentials_are_401_and_count_for_nothing() {
    let (tollgate, upstream) = start();
    assert_eq!(statuses(&tollgate, "door", &batch(), 60), [401; 60]);
    let answer = tollgate.send(&batch());
    assert!(answer.status_message().contains("credentials are missing"), "{}", answer.text());
    assert!(upstream.seen().is_empty());
    assert_eq!(logins(&tollgate, "missing"), 61.0);
    assert_eq!(hashes(&tollgate), 0.0);
    assert_eq!(tollgate.send(&batch().by_shop()).status, 200);
    assert!(tollgate.lines("login failed").is_empty());
}

#[test]
fn a_401_says_how_to_log_in() {
    let (tollgate, _upstream) = start();
    for request in [batch(), batch().login("oxygen", WRONG_PASSWORD)] {
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 401);
        let challenges = answer.headers("www-authenticate");
        assert_eq!(challenges, ["Basic realm=\"tollgate\", charset=\"UTF-8\"", "Bearer realm=\"tollgate\""]);
    }
    assert!(tollgate.send(&batch().by_shop()).headers("www-authenticate").is_empty());
}

#[test]
fn every_kind_of_failure_gets_the_same_answer_and_its_own_name_for_the_operator() {
    let (tollgate, upstream) = start();
    let bearer = |token: &str| batch().header("Authorization", &format!("Bearer {token}"));
    let elsewhere = |target: &str| Request::post(target, log_request("hello"));
    let cases = [
        ("wrong_password", batch().login("oxygen", WRONG_PASSWORD)),
        ("unknown_user", batch().login("nobody", WRONG_PASSWORD)),
        ("expired", batch().login("retired", "secret")),
        ("unknown_token", bearer("another-token")),
        ("wrong_door", batch().login("barista", "secret")),
        ("wrong_door", elsewhere("/cafe/v1/logs").by_shop()),
        ("malformed", batch().header("Authorization", "Basic !!!")),
        ("malformed", batch().header("Authorization", "Digest username=\"oxygen\"")),
        ("malformed", batch().header("Authorization", "Basic bm9jb2xvbg==")),
    ];
    let mut first: Option<String> = None;
    for (reason, request) in cases {
        let before = logins(&tollgate, reason);
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 401, "{reason}");
        assert_eq!(logins(&tollgate, reason), before + 1.0, "{reason}");
        let message = answer.status_message();
        assert_eq!(*first.get_or_insert(message.clone()), message, "{reason} can be told from the others");
        eventually("the log line", || {
            tollgate.lines("login failed").into_iter().find(|line| line["reason"] == reason)
        });
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_unknown_user_costs_the_same_hash_as_a_known_one() {
    let (tollgate, _upstream) = start();
    tollgate.send(&batch().login("nobody", WRONG_PASSWORD));
    assert!(hashes(&tollgate) >= 1.0);
}

#[test]
fn a_rotation_keeps_both_passwords_good_and_tells_which_is_used() {
    let (tollgate, upstream) = start();
    for (credential, password) in [("oxygen", "secret"), ("2026-12", SECOND_PASSWORD)] {
        let labels = [("tenant", "shop"), ("credential", credential)];
        let last_used = || tollgate.metric("tollgate_credential_last_used_timestamp_seconds", &labels);
        assert_eq!(last_used(), 0.0, "{credential}");
        let answer = tollgate.send(&batch().login("oxygen", password));
        assert_eq!(answer.status, 200, "{credential}");
        assert_eq!(tollgate.access_line(&answer)["credential"], credential);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!((last_used() - now).abs() < 3600.0, "{credential}: {}", last_used());
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_bearer_token_takes_no_slow_hash() {
    let (tollgate, _upstream) = start();
    for scheme in ["Bearer", "bearer"] {
        let answer = tollgate.send(&batch().header("Authorization", &format!("{scheme} {TOKEN}")));
        assert_eq!(answer.status, 200);
        assert_eq!(tollgate.access_line(&answer)["credential"], "machine");
    }
    assert_eq!(hashes(&tollgate), 0.0);
    assert_eq!(logins(&tollgate, "known"), 2.0);
}

#[test]
fn a_good_password_is_hashed_once() {
    let (tollgate, _upstream) = start();
    assert_eq!(statuses(&tollgate, "door", &batch().by_shop(), 20), [200; 20]);
    let after = hashes(&tollgate);
    assert!((1.0..=2.0).contains(&after), "one for each credential of the user at most: {after}");
    assert_eq!(logins(&tollgate, "verified_by_hash"), 1.0);
    assert_eq!(logins(&tollgate, "known"), 19.0);
}

#[test]
fn a_tenant_is_found_behind_its_own_door_only() {
    let (tollgate, _upstream) = start();
    let behind = Request::post("/cafe/v1/logs", log_request("hello")).login("barista", "secret");
    let answer = tollgate.send(&behind);
    assert_eq!(answer.status, 200);
    assert_eq!(tollgate.access_line(&answer)["tenant"], "cafe");
    assert_eq!(tollgate.send(&batch().login("barista", "secret")).status, 401);
}

#[test]
fn after_five_failures_comes_429_and_no_hash() {
    let (tollgate, _upstream) = start();
    let wrong = batch().login("oxygen", WRONG_PASSWORD);
    assert_eq!(statuses(&tollgate, "door", &wrong, 5), [401; 5]);
    let before = hashes(&tollgate);
    let answer = tollgate.send(&wrong);
    assert_eq!(answer.status, 429);
    assert!(answer.status_message().contains("too many failed logins"));
    let wait: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("Retry-After");
    assert!((1..=69).contains(&wait), "within the window of a minute: {wait}");
    assert_eq!(statuses(&tollgate, "door", &wrong, 10), [429; 10]);
    // The right password does not help who has not shown it before …
    assert_eq!(tollgate.send(&batch().by_shop()).status, 429);
    assert_eq!(hashes(&tollgate), before, "a limited attempt is not worth a hash");
    assert_eq!(logins(&tollgate, "limited_by_address_and_user"), 12.0);
    // … while other users of the same address are served.
    let token = batch().header("Authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(tollgate.send(&token).status, 200);
    assert_eq!(tollgate.send(&batch().login("nobody", WRONG_PASSWORD)).status, 401);
    let limited = eventually("a line of the limit", || {
        tollgate.lines("login failed").into_iter().find(|line| line["reason"] == "limited")
    });
    assert_eq!(limited["key"], "address_and_user");
}

#[test]
fn a_verified_sender_passes_while_its_address_is_limited() {
    let (tollgate, _upstream) = start();
    assert_eq!(tollgate.send(&batch().by_shop()).status, 200);
    let wrong = batch().login("oxygen", WRONG_PASSWORD);
    assert!(statuses(&tollgate, "door", &wrong, 8).ends_with(&[429, 429, 429]));
    assert_eq!(statuses(&tollgate, "door", &batch().by_shop(), 10), [200; 10]);
}

#[test]
fn an_address_has_fifty_failures_whatever_the_names() {
    let (tollgate, _upstream) = start();
    let mut sender = tollgate.connect();
    let statuses: Vec<u16> = (0..52)
        .map(|n| sender.send(&batch().header("Authorization", &format!("Bearer token-{n}"))).status)
        .collect();
    // Tokens have no user name, so the narrow limit comes first for them; names differ below.
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[5..], [429; 47]);
    let left = 50 - 5;
    let statuses: Vec<u16> =
        (0..left + 3).map(|n| sender.send(&batch().login(&format!("user{n}"), "x")).status).collect();
    assert_eq!(statuses[..left], vec![401; left]);
    assert_eq!(statuses[left..], [429; 3]);
    assert_eq!(logins(&tollgate, "limited_by_address"), 3.0);
    // Another address is not concerned.
    assert_eq!(through(&tollgate, "tunnel", &from("203.0.113.7").by_shop()).status, 200);
}

#[test]
fn an_untrusted_peer_cannot_change_its_address() {
    let (tollgate, _upstream) = start();
    for n in 0..8 {
        let forged = format!("203.0.113.{n}");
        let attempt = from(&forged)
            .header("X-Forwarded-For", &forged)
            .header("Forwarded", &format!("for={forged}"))
            .header("CF-Worker", &format!("zone{n}.example"))
            .login("oxygen", WRONG_PASSWORD);
        let answer = tollgate.send(&attempt);
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "attempt {n}");
        assert_eq!(tollgate.access_line(&answer)["client"], "127.0.0.1");
    }
}

#[test]
fn a_trusted_proxy_names_the_address_that_is_limited() {
    let (tollgate, _upstream) = start();
    let wrong = |address: &str| from(address).login("oxygen", WRONG_PASSWORD);
    assert!(statuses(&tollgate, "tunnel", &wrong("203.0.113.7"), 6).ends_with(&[401, 429]));
    assert_eq!(statuses(&tollgate, "tunnel", &wrong("203.0.113.8"), 1), [401]);
    // A customer has a whole /64 of IPv6.
    for n in 0..6 {
        let answer = through(&tollgate, "tunnel", &wrong(&format!("2001:db8:1:2:{n}::{n}")));
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "address {n} of the network");
    }
    assert_eq!(statuses(&tollgate, "tunnel", &wrong("2001:db8:1:3::1"), 1), [401]);
    let addresses: Vec<_> =
        tollgate.lines("login failed").iter().map(|line| line["address"].clone()).collect();
    assert!(addresses.iter().any(|address| address == "2001:db8:1:2::/64"), "{addresses:?}");
    // In X-Forwarded-For only the last hop is the proxy's word.
    for n in 0..6 {
        let listed = batch()
            .header("X-Forwarded-For", &format!("198.51.100.{n}, 203.0.113.9"))
            .login("oxygen", WRONG_PASSWORD);
        let answer = through(&tollgate, "proxied", &listed);
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "attempt {n}");
        assert_eq!(tollgate.access_line(&answer)["client"], "203.0.113.9");
    }
}

/// Cloudflare's, for Workers of every zone.
const SHARED_WORKER_ADDRESS: &str = "2a06:98c0:3600::103";

#[test]
fn workers_behind_the_shared_address_are_told_apart_by_their_zone() {
    let (tollgate, _upstream) = start();
    let wrong =
        |zone: &str| from(SHARED_WORKER_ADDRESS).header("CF-Worker", zone).login("oxygen", WRONG_PASSWORD);
    assert!(statuses(&tollgate, "tunnel", &wrong("evil.example"), 6).ends_with(&[401, 429]));
    assert_eq!(statuses(&tollgate, "tunnel", &wrong("shop.example"), 1), [401]);
    let good = from(SHARED_WORKER_ADDRESS).header("CF-Worker", "shop.example").by_shop();
    assert_eq!(through(&tollgate, "tunnel", &good).status, 200);
    // The limit on the whole address is a zone's too.
    let mut sender = Connection::tcp(tollgate.address("tunnel"));
    for n in 0..60 {
        sender.send(&wrong("evil.example").login(&format!("user{n}"), "x"));
    }
    assert!(logins(&tollgate, "limited_by_address") > 0.0);
    assert_eq!(statuses(&tollgate, "tunnel", &wrong("shop.example"), 1), [401]);
    let lines = tollgate.lines("login failed");
    assert!(lines.iter().any(|line| line["zone"] == "evil.example"));
}

#[test]
fn a_flood_from_many_addresses_locks_no_good_sender_out() {
    let (tollgate, _upstream) = start();
    assert_eq!(through(&tollgate, "tunnel", &from("203.0.113.7").by_shop()).status, 200);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let tollgate = &tollgate;
            scope.spawn(move || {
                let mut sender = Connection::tcp(tollgate.address("tunnel"));
                for n in 0..100 {
                    let wrong = from(&format!("10.{thread}.{n}.1")).login("oxygen", &format!("guess-{n}"));
                    let status = sender.send(&wrong).status;
                    assert!(matches!(status, 401 | 503), "{status}");
                }
            });
        }
        let good = from("203.0.113.7").by_shop();
        assert_eq!(statuses(&tollgate, "tunnel", &good, 50), [200; 50]);
    });
    // Who is new has to wait for a hash at most.
    assert_eq!(
        through(&tollgate, "tunnel", &from("203.0.113.8").login("oxygen", SECOND_PASSWORD)).status,
        200
    );
}

#[test]
fn a_failed_login_leaves_a_line_that_cannot_be_forged() {
    let (tollgate, _upstream) = start();
    let user = "eve\n{\"message\"=\"login ok\"}\u{1b}[2J";
    assert_eq!(tollgate.send(&batch().login(user, WRONG_PASSWORD)).status, 401);
    let line = tollgate.wait_for_line("login failed");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["target"], "tollgate::auth");
    assert_eq!(line["address"], "127.0.0.1");
    assert_eq!(line["reason"], "unknown_user");
    assert_eq!(line["listener"], "door");
    assert_eq!(line["user"], "eve\\n{\"message\"=\"login ok\"}\\u{1b}[2J");
    assert!(tollgate.lines("login ok").is_empty());
}

#[test]
fn no_secret_is_ever_logged_or_shown() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream) + "headers = { Authorization = \"Bearer for-the-collector\" }\n";
    let tollgate = Tollgate::start(&(config.clone() + "[log]\nlevel = \"trace\"\n"));
    let authorizations = [
        basic("oxygen", "secret"),
        basic("oxygen", SECOND_PASSWORD),
        basic("oxygen", WRONG_PASSWORD),
        basic("nobody", WRONG_PASSWORD),
        format!("Bearer {TOKEN}"),
        format!("Bearer {TOKEN}x"),
        format!("Basic {WRONG_PASSWORD}"),
        format!("Digest {WRONG_PASSWORD}"),
        format!("{WRONG_PASSWORD}:{WRONG_PASSWORD}"),
    ];
    let mut last = None;
    for authorization in &authorizations {
        for path in ["/v1/logs", "/cafe/v1/logs", "/nowhere"] {
            let request = Request::post(path, log_request("hello")).header("Authorization", authorization);
            let answer = tollgate.send(&request.header("Cookie", &format!("session={WRONG_PASSWORD}")));
            assert!(!answer.text().contains(WRONG_PASSWORD) && !answer.text().contains(TOKEN));
            last = Some(answer);
        }
    }
    assert!(tollgate.reload(&config));
    tollgate.access_line(&last.expect("an answer"));
    let shown = tollgate.log_text() + &tollgate.admin("/metrics").text();
    assert!(shown.contains("wrong_password") && shown.contains("malformed"), "the log is there");
    let secrets = [SECOND_PASSWORD, WRONG_PASSWORD, TOKEN, "for-the-collector", "$argon2id", "$2b$"]
        .into_iter()
        .map(str::to_owned)
        .chain(authorizations.iter().filter_map(|value| Some(value.split_once(' ')?.1.to_owned())))
        .chain([sha256(TOKEN)]);
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret} is in the log or the metrics");
    }
}
