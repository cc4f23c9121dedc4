//! Records are counted so that none goes missing: in = delivered + refused + failed.

use crate::{
    kit::{Behaviour, Request, Tollgate, Upstream, compress, eventually, log_requests},
    limits::wait_until_idle,
    otlp::config,
};

const STATES: [&str; 3] = ["delivered", "refused", "failed"];

fn records(tollgate: &Tollgate, tenant: &str, signal: &str, state: &str) -> f64 {
    let labels = [("tenant", tenant), ("signal", signal), ("state", state)];
    tollgate.metric("tollgate_records_total", &labels)
}

/// What a tenant's records of a signal became: delivered, refused, failed.
#[track_caller]
fn balance(tollgate: &Tollgate, tenant: &str, signal: &str) -> [f64; 3] {
    let became = STATES.map(|state| records(tollgate, tenant, signal, state));
    let came = records(tollgate, tenant, signal, "in");
    assert_eq!(came, became.iter().sum::<f64>(), "{tenant} {signal}: {became:?}");
    became
}

/// `partial_success { rejected }` as an upstream writes it.
fn rejects(records: u8) -> Behaviour {
    let body = vec![0x0a, 0x06, 0x08, records, 0x12, 0x02, b'n', b'o'];
    Behaviour::Answer(200, vec![("Content-Type", "application/x-protobuf".into())], body)
}

#[test]
fn the_records_of_every_tenant_and_signal_balance() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream)
        + "timeouts = { connect = \"100ms\", request = \"300ms\" }\n\
           limits = { body = \"100KiB\" }\n\
           [tenant.cafe]\n\
           credentials = [{ user = \"barista\", password_hash = \"$SECRET\" }]\n\
           upstream = \"collector\"\n";
    let tollgate = Tollgate::start(&config);
    let (three, five) = (log_requests(&["a", "b", "c"]), log_requests(&["a", "b", "c", "d", "e"]));
    let large = compress("gzip", &log_requests(&["x".repeat(100).as_str(); 2000]));
    let paths = [("logs", "/v1/logs"), ("traces", "/v1/traces"), ("metrics", "/v1/metrics")];
    // The behaviour, the body, the status; and what three or five records become by it.
    let steps: [(Behaviour, &[u8], u16, [f64; 3]); 11] = [
        (Behaviour::ok(), &three, 200, [3.0, 0.0, 0.0]),
        (rejects(2), &five, 200, [3.0, 2.0, 0.0]),
        (rejects(100), &five, 200, [0.0, 5.0, 0.0]),
        (Behaviour::text(400, "no"), &three, 400, [0.0, 3.0, 0.0]),
        (Behaviour::text(413, "no"), &three, 413, [0.0, 3.0, 0.0]),
        (Behaviour::text(500, "no"), &three, 500, [0.0, 3.0, 0.0]),
        (Behaviour::text(429, "later"), &three, 429, [0.0, 0.0, 3.0]),
        (Behaviour::text(403, "who"), &three, 503, [0.0, 0.0, 3.0]),
        (Behaviour::Close, &three, 502, [0.0, 0.0, 3.0]),
        (Behaviour::Garbage, &three, 502, [0.0, 0.0, 3.0]),
        (Behaviour::Hang, &three, 504, [0.0, 0.0, 3.0]),
    ];
    for (user, tenant) in [("oxygen", "shop"), ("barista", "cafe")] {
        for (signal, path) in paths {
            let mut expected = [0.0; 3];
            for (behaviour, body, status, became) in &steps {
                upstream.behave(behaviour.clone());
                let answer = tollgate.send(&Request::post(path, *body).login(user, "secret"));
                assert_eq!(answer.status, *status, "{}", answer.text());
                for (sum, became) in expected.iter_mut().zip(became) {
                    *sum += became;
                }
                assert_eq!(balance(&tollgate, tenant, signal), expected, "{tenant} {signal} after {status}");
            }
            // What is refused before it is counted changes nothing.
            upstream.behave(Behaviour::ok());
            for (status, request) in [
                (401, Request::post(path, three.clone())),
                (400, Request::post(path, &three[1..]).login(user, "secret")),
                (413, Request::post(path, vec![0; 5 << 20]).login(user, "secret")),
                (200, Request::post(path, "").login(user, "secret")),
            ] {
                assert_eq!(tollgate.send(&request).status, status);
            }
            assert_eq!(balance(&tollgate, tenant, signal), expected, "{tenant} {signal}");
            // Another compression would make it larger than the upstream takes: only known at the end.
            let request = Request::post(path, large.clone()).header("Content-Encoding", "gzip");
            assert_eq!(tollgate.send(&request.login(user, "secret")).status, 200);
            expected[0] += 2000.0;
            // A sender that goes away while the upstream has its batch.
            upstream.behave(Behaviour::Hang);
            let before = upstream.seen().len();
            let request = Request::post(path, five.clone()).login(user, "secret");
            let mut sender = tollgate.connect();
            sender.write(&request.head()).and_then(|()| sender.write(&request.body)).expect("writing");
            eventually("the arrival at the upstream", || (upstream.seen().len() > before).then_some(()));
            drop(sender);
            wait_until_idle(&tollgate);
            expected[2] += 5.0;
            assert_eq!(balance(&tollgate, tenant, signal), expected, "{tenant} {signal} after an abort");
        }
    }
}

#[test]
fn records_refused_since_they_no_longer_fit_the_upstream_are_refused() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream) + "compression = \"none\"\nlimits = { body = \"100KiB\" }\n";
    let tollgate = Tollgate::start(&config);
    let large = compress("gzip", &log_requests(&["x".repeat(200 << 10).as_str()]));
    let request = Request::post("/v1/logs", large).by_shop().header("Content-Encoding", "gzip");
    let answer = tollgate.send(&request);
    assert_eq!(answer.status, 413);
    assert!(answer.status_message().contains("102400 bytes"), "{}", answer.text());
    assert_eq!(balance(&tollgate, "shop", "logs"), [0.0, 1.0, 0.0]);
    assert!(upstream.seen().is_empty());
}

#[test]
fn records_of_json_are_counted_as_those_of_protobuf_are() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"a","gauge":{"dataPoints":[{},{}]}},{"name":"b","summary":{"dataPoints":[{}]}}]}]}]}"#;
    let profiles = r#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{},{}]}]}]}"#;
    for (path, body, signal, expected) in
        [("/v1/metrics", metrics, "metrics", 3.0), ("/v1development/profiles", profiles, "profiles", 0.0)]
    {
        assert_eq!(tollgate.send(&Request::json(path, body).by_shop()).status, 200);
        assert_eq!(balance(&tollgate, "shop", signal), [expected, 0.0, 0.0], "{signal}");
    }
}
