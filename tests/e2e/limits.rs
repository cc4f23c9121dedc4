//! What a tenant, an upstream and a client may use up, and what those learn who may not.

use crate::{
    kit::{
        Answer, Behaviour, Connection, Request, Tollgate, Upstream, compress, eventually, log_request, with,
    },
    otlp::config,
};

fn batch() -> Request {
    Request::post("/v1/logs", log_request("hello")).by_shop()
}

fn of_size(bytes: usize) -> Request {
    Request::post("/v1/logs", log_request(&"x".repeat(bytes))).by_shop()
}

/// A second tenant with an upstream of its own.
fn with_cafe(config: &str, upstream: &Upstream) -> String {
    format!(
        r#"{config}
[tenant.cafe]
credentials = [{{ user = "barista", password_hash = "$SECRET" }}]
upstream = "other"

[upstream.other]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, limit: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.status_message().contains(limit), "{}", answer.status_message());
    let wait: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("Retry-After");
    assert!(wait >= 1);
}

fn denials(tollgate: &Tollgate, scope: &str, limit: &str) -> f64 {
    tollgate.metric("tollgate_admission_denials_total", &[("scope", scope), ("limit", limit)])
}

const GAUGES: [&str; 6] = [
    "tollgate_in_flight_requests",
    "tollgate_in_flight_bytes",
    "tollgate_tenant_in_flight_requests",
    "tollgate_tenant_in_flight_bytes",
    "tollgate_upstream_in_flight_requests",
    "tollgate_upstream_in_flight_bytes",
];

/// Waits until nothing is held for anybody.
#[track_caller]
pub fn wait_until_idle(tollgate: &Tollgate) {
    eventually("the return of every permit", || {
        GAUGES.iter().all(|gauge| tollgate.metric(gauge, &[]) == 0.0).then_some(())
    });
}

/// Sends a request without waiting for its answer, until the upstream has it.
#[track_caller]
fn send_to_hang(tollgate: &Tollgate, upstream: &Upstream, request: &Request) -> Connection {
    let before = upstream.seen().len();
    let mut sender = tollgate.connect();
    sender.write(&request.head()).and_then(|()| sender.write(&request.body)).expect("writing");
    eventually("the arrival at the upstream", || (upstream.seen().len() > before).then_some(()));
    sender
}

#[test]
fn requests_per_second_of_a_tenant() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with_cafe(&config(&upstream), &upstream) + "[tenant.shop.limits]\nrequests_per_second = 1\n";
    let tollgate = Tollgate::start(&config);
    let mut sender = tollgate.connect();
    // On a slow machine a second may pass between two requests, but not between all of them.
    let refused = (0..1000).map(|_| sender.send(&batch())).find(|answer| answer.status != 200);
    let refused = refused.expect("the limit was never met");
    assert_refused(&refused, 429, "requests_per_second");
    assert!(denials(&tollgate, "tenant", "requests_per_second") >= 1.0);
    assert_eq!(tollgate.access_line(&refused)["reason"], "tenant_limit");
    assert_eq!(
        sender.send(&batch().login("barista", "secret")).status,
        200,
        "another tenant's rate is its own"
    );
}

#[test]
fn bytes_per_second_of_a_tenant_go_into_debt() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate =
        Tollgate::start(&(config(&upstream) + "[tenant.shop.limits]\nbytes_per_second = \"1KiB\"\n"));
    let mut sender = tollgate.connect();
    assert_eq!(sender.send(&of_size(100 << 10)).status, 200, "a body larger than the rate comes in");
    let refused = sender.send(&batch());
    assert_refused(&refused, 429, "bytes_per_second");
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((10..=100).contains(&wait), "until the debt is paid: {wait}");
}

#[test]
fn requests_in_flight_of_a_tenant() {
    let upstream = Upstream::start(Behaviour::Hang);
    let tollgate = Tollgate::start(&(config(&upstream) + "[tenant.shop.limits]\nin_flight = 1\n"));
    let hung = send_to_hang(&tollgate, &upstream, &batch());
    assert_eq!(tollgate.metric("tollgate_tenant_in_flight_requests", &[("tenant", "shop")]), 1.0);
    assert_refused(&tollgate.send(&batch()), 429, "in_flight");
    assert_eq!(denials(&tollgate, "tenant", "in_flight"), 1.0);
    drop(hung);
    wait_until_idle(&tollgate);
    upstream.behave(Behaviour::ok());
    assert_eq!(tollgate.send(&batch()).status, 200);
}

#[test]
fn bytes_in_flight_of_a_tenant_are_taken_when_they_are_announced() {
    let upstream = Upstream::start(Behaviour::ok());
    let limits =
        "[tenant.shop.limits]\nbody = \"64KiB\"\ndecompressed = \"64KiB\"\nin_flight_bytes = \"128KiB\"\n";
    let tollgate = Tollgate::start(&(config(&upstream) + limits));
    let held = || tollgate.metric("tollgate_tenant_in_flight_bytes", &[("tenant", "shop")]);
    let announcement = of_size(60_000).head();
    let announced: Vec<Connection> = (1..=2)
        .map(|n| {
            let mut sender = tollgate.connect();
            sender.write(&announcement).expect("announcing a body");
            eventually("the reservation", || (held() > 60_000.0 * f64::from(n)).then_some(()));
            sender
        })
        .collect();
    assert_refused(&tollgate.send(&of_size(60_000)), 429, "in_flight_bytes");
    // Nobody knows how long a chunked body gets: it is refused where it no longer fits.
    assert_refused(&tollgate.send(&of_size(60_000).chunked(1000)), 429, "in_flight_bytes");
    assert_eq!(tollgate.send(&batch().chunked(10)).status, 200, "what is left serves small ones");
    drop(announced);
    wait_until_idle(&tollgate);
    assert_eq!(tollgate.send(&of_size(60_000)).status, 200);
}

#[test]
fn what_a_body_inflates_to_is_held_too() {
    let upstream = Upstream::start(Behaviour::Hang);
    let tollgate = Tollgate::start(&config(&upstream));
    let body = compress("gzip", &log_request(&"x".repeat(1 << 20)));
    assert!(body.len() < 64 << 10);
    let request = Request::post("/v1/logs", body).by_shop().header("Content-Encoding", "gzip");
    let _hung = send_to_hang(&tollgate, &upstream, &request);
    for gauge in
        ["tollgate_tenant_in_flight_bytes", "tollgate_upstream_in_flight_bytes", "tollgate_in_flight_bytes"]
    {
        assert!(tollgate.metric(gauge, &[]) >= f64::from(1 << 20), "{gauge}");
    }
}

#[test]
fn a_full_upstream_is_503_for_all_its_tenants_and_for_them_only() {
    let upstream = Upstream::start(Behaviour::Hang);
    let other = Upstream::start(Behaviour::ok());
    let config = with_cafe(&config(&upstream), &other)
        + r#"[upstream.collector.limits]
in_flight = 2

[tenant.neighbour]
credentials = [{ user = "neighbour", password_hash = "$SECRET" }]
upstream = "collector"
"#;
    let tollgate = Tollgate::start(&config);
    let hung = [send_to_hang(&tollgate, &upstream, &batch()), send_to_hang(&tollgate, &upstream, &batch())];
    for user in ["oxygen", "neighbour"] {
        let refused = tollgate.send(&batch().login(user, "secret"));
        assert_refused(&refused, 503, "in_flight");
        assert_eq!(tollgate.access_line(&refused)["reason"], "overload");
    }
    assert_eq!(denials(&tollgate, "upstream", "in_flight"), 2.0);
    for _ in 0..20 {
        assert_eq!(tollgate.send(&batch().login("barista", "secret")).status, 200);
    }
    drop(hung);
    wait_until_idle(&tollgate);
}

#[test]
fn the_limit_over_all_tenants_is_503() {
    let upstream = Upstream::start(Behaviour::Hang);
    let other = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&(with_cafe(&config(&upstream), &other) + "[limits]\nin_flight = 1\n"));
    let hung = send_to_hang(&tollgate, &upstream, &batch());
    assert_refused(&tollgate.send(&batch().login("barista", "secret")), 503, "in_flight");
    assert_eq!(denials(&tollgate, "all", "in_flight"), 1.0);
    drop(hung);
    wait_until_idle(&tollgate);
    assert_eq!(tollgate.send(&batch().login("barista", "secret")).status, 200);
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let upstream = Upstream::start(Behaviour::Hang);
    let config = with(&config(&upstream), "tenant.shop", "limits = { in_flight = 1 }")
        .replace("upstream = \"collector\"", "upstream = { logs = \"collector\" }");
    let tollgate = Tollgate::start(&config);
    let _hung = send_to_hang(&tollgate, &upstream, &batch());
    let large = Request::post("/v1/logs", vec![b'x'; 3 << 20]);
    let larger = Request::post("/v1/logs", vec![b'x'; 30 << 20]);
    let to = |path: &str| Request { target: path.into(), ..large.clone() };
    for (status, request) in [
        (401, large.clone()),
        (401, large.clone().login("oxygen", "wrong")),
        (403, to("/v1/traces").by_shop()),
        (404, to("/nowhere").by_shop()),
        (413, larger.by_shop()),
        (415, large.clone().by_shop().header("Content-Encoding", "br")),
        (429, large.clone().by_shop()),
    ] {
        for request in [request.clone(), request.header("Expect", "100-continue")] {
            let mut sender = tollgate.connect();
            sender.write(&request.head()).expect("writing the head");
            let answer = sender.read_answer().expect("an answer to the head alone");
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn an_expected_continue_comes_when_the_body_is_wanted() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let request = batch().header("Expect", "100-continue");
    let mut sender = tollgate.connect();
    sender.write(&request.head()).expect("writing the head");
    assert_eq!(sender.read_line(), "HTTP/1.1 100 Continue");
    sender.write(&request.body).expect("writing the body");
    assert_eq!(sender.read_answer().expect("an answer").status, 200);
}

#[test]
fn permits_return_after_refusals_aborts_and_timeouts() {
    let upstream = Upstream::start(Behaviour::Hang);
    let config = with(
        &config(&upstream),
        "upstream.collector",
        "timeouts = { request = \"200ms\", connect = \"100ms\" }",
    );
    let config = with(&config, "tenant.shop", "limits = { body = \"64KiB\", decompressed = \"64KiB\" }");
    let tollgate = Tollgate::start(&config);
    let bomb = Request::post("/v1/logs", compress("gzip", &[0; 1 << 20])).by_shop();
    for (status, request) in [
        (504, batch()),
        (413, of_size(100_000)),
        (413, of_size(100_000).chunked(1000)),
        (413, bomb.header("Content-Encoding", "gzip")),
        (400, Request::post("/v1/logs", "x").by_shop()),
        (415, batch().header("Content-Encoding", "br")),
        (401, batch().login("oxygen", "wrong")),
    ] {
        assert_eq!(tollgate.send(&request).status, status);
        wait_until_idle(&tollgate);
    }
    for behaviour in [
        Behaviour::Close,
        Behaviour::Reset,
        Behaviour::Garbage,
        Behaviour::HalfAnswer,
        Behaviour::status(500),
    ] {
        upstream.behave(behaviour);
        assert!(tollgate.send(&batch()).status >= 500);
        wait_until_idle(&tollgate);
    }
    // Senders that go away: in the middle of the body, in chunks or not, and while they wait.
    for request in [of_size(50_000), of_size(50_000).chunked(1000)] {
        let mut sender = tollgate.connect();
        sender
            .write(&request.head())
            .and_then(|()| sender.write(&request.body[..20_000]))
            .expect("writing half");
        eventually("the reservation", || (tollgate.metric(GAUGES[1], &[]) > 0.0).then_some(()));
        drop(sender);
        wait_until_idle(&tollgate);
    }
}

#[test]
fn memory_stays_flat_while_large_bodies_are_refused_and_broken_off() {
    let upstream = Upstream::start(Behaviour::ok());
    let config =
        with(&config(&upstream), "tenant.shop", "limits = { bytes_per_second = \"1GiB\", in_flight = 1000 }");
    let config = config + "[limits]\nin_flight_bytes = \"32MiB\"\n";
    let tollgate = Tollgate::start(&config);
    assert_eq!(tollgate.send(&of_size(4_000_000)).status, 200);
    let (small, large) = (of_size(4_000_000), of_size(40_000_000));
    let bomb = compress("gzip", &vec![0; 64 << 20]);
    let bomb = Request::post("/v1/logs", bomb).by_shop().header("Content-Encoding", "gzip");
    let mut halves = Vec::new();
    let (mut at_first, mut peak) = (0, 0);
    for round in 0..40 {
        for request in
            [&large, &small.clone().login("oxygen", "wrong"), &small.clone().without("Authorization")]
        {
            let answer = tollgate.send(request);
            assert!(matches!(answer.status, 401 | 413 | 429), "{}", answer.text());
        }
        // 503: what is announced below leaves no room to inflate anything.
        assert!(matches!(tollgate.send(&bomb).status, 413 | 503));
        // Half of a large body, and then nothing: 20 of 4 MB announce more than there is.
        let mut sender = tollgate.connect();
        if sender.write(&small.head()).and_then(|()| sender.write(&small.body[..2_000_000])).is_ok() {
            halves.push(sender);
        }
        if round % 10 == 9 {
            halves.clear();
        }
        let of_first = if round < 10 { &mut at_first } else { &mut peak };
        *of_first = tollgate.resident_bytes().max(*of_first);
    }
    // Ten rounds fill what there is to fill; a single leaked body in each of the others would show.
    assert!(peak < at_first + (64 << 20), "{} MiB grew to {} MiB", at_first >> 20, peak >> 20);
    assert!(peak < 512 << 20, "{} MiB, of which the budget is 32", peak >> 20);
    drop(halves);
    wait_until_idle(&tollgate);
    assert_eq!(tollgate.send(&batch()).status, 200);
}

#[test]
fn a_client_has_so_many_connections_and_a_trusted_proxy_any_number() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream)
        + "[listener.door.limits]\nconnections_per_client = 2\n\
           [listener.tunnel]\nbind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
           limits = { connections_per_client = 2 }\n";
    let tollgate = Tollgate::start(&config);
    let mut first = tollgate.connect();
    let mut second = tollgate.connect();
    assert_eq!((first.send(&batch()).status, second.send(&batch()).status), (200, 200));
    assert!(tollgate.connect().is_closed(), "the third is closed at once");
    let refused = || {
        tollgate.metric("tollgate_connections_refused_total", &[("listener", "door"), ("reason", "client")])
    };
    assert_eq!(refused(), 1.0);
    drop(first);
    eventually("the place of the first", || {
        (tollgate.metric("tollgate_connections", &[("listener", "door")]) < 2.0).then_some(())
    });
    assert_eq!(tollgate.send(&batch()).status, 200);
    let mut tunnel: Vec<_> = (0..10).map(|_| Connection::tcp(tollgate.address("tunnel"))).collect();
    for connection in &mut tunnel {
        assert_eq!(connection.send(&batch()).status, 200);
    }
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let upstream = Upstream::start(Behaviour::ok());
    let limits = "[listener.door.limits]\nconnections = 2\nconnections_per_client = 2\n";
    let tollgate = Tollgate::start(&(config(&upstream) + limits));
    let mut first = tollgate.connect();
    let mut second = tollgate.connect();
    assert_eq!((first.send(&batch()).status, second.send(&batch()).status), (200, 200));
    eventually("the full house", || {
        (tollgate.metric("tollgate_listeners_saturated_total", &[("listener", "door")]) >= 1.0).then_some(())
    });
    let mut third = tollgate.connect();
    third.write(&batch().head()).and_then(|()| third.write(&batch().body)).expect("the kernel keeps it");
    assert_eq!(first.send(&batch()).status, 200, "who is in is served");
    assert_eq!(upstream.seen().len(), 3);
    drop(second);
    assert_eq!(third.read_answer().expect("an answer once there is room").status, 200);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate =
        Tollgate::start(&(config(&upstream) + "[listener.door.limits]\nheader_bytes = \"8KiB\"\n"));
    assert_eq!(tollgate.send(&batch().header("X-Large", &"x".repeat(6_000))).status, 200);
    let mut sender = tollgate.connect();
    assert_eq!(sender.send(&batch().header("X-Large", &"x".repeat(10_000))).status, 431);
    assert!(sender.is_closed());
    let many = (0..150).fold(batch(), |request, n| request.header(&format!("X-{n}"), "x"));
    assert_eq!(tollgate.send(&many).status, 431);
    let long = Request { target: format!("/v1/logs?{}", "x".repeat(10_000)), ..batch() };
    assert!(matches!(tollgate.send(&long).status, 414 | 431));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(tollgate.send(&batch()).status, 200);
}

#[test]
fn what_can_never_fit_is_413_and_not_try_again() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "upstream.collector", "limits = { in_flight_bytes = \"1MiB\", body = \"1MiB\" }");
    let tollgate = Tollgate::start(&config);
    assert_eq!(tollgate.send(&of_size(2 << 20)).status, 413, "announced");
    assert_eq!(tollgate.send(&of_size(2 << 20).chunked(64 << 10)).status, 413, "in chunks");
    let plain = log_request(&"x".repeat(2 << 20));
    let zipped = Request::post("/v1/logs", compress("gzip", &plain)).by_shop();
    assert_eq!(tollgate.send(&zipped.header("Content-Encoding", "gzip")).status, 413, "inflated");
    assert_eq!(tollgate.send(&of_size(256 << 10)).status, 200);
    assert!(upstream.seen().len() == 1);
}

#[test]
fn a_body_may_leave_larger_than_it_may_come() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "upstream.collector", "compression = \"none\"");
    let config = with(&config, "tenant.shop", "limits = { body = \"64KiB\", decompressed = \"4MiB\" }");
    let tollgate = Tollgate::start(&config);
    let plain = log_request(&"x".repeat(1 << 20));
    let zipped = Request::post("/v1/logs", compress("gzip", &plain)).by_shop();
    let answer = tollgate.send(&zipped.header("Content-Encoding", "gzip"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.last().body, plain);
}

#[test]
fn an_upload_that_is_broken_off_is_charged() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "tenant.shop", "limits = { bytes_per_second = \"64KiB\" }");
    let tollgate = Tollgate::start(&config);
    let request = of_size(1 << 20);
    let mut sender = tollgate.connect();
    sender.write(&request.head()).expect("writing the head");
    sender.write(&request.body[..request.body.len() - 1]).expect("writing nearly all of the body");
    eventually("the arrival", || {
        (tollgate.metric("tollgate_tenant_in_flight_requests", &[("tenant", "shop")]) == 1.0).then_some(())
    });
    drop(sender);
    wait_until_idle(&tollgate);
    assert_refused(&tollgate.send(&batch()), 429, "bytes_per_second");
}
