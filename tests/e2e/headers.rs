//! Which of a sender's headers an upstream sees, and which it gets from us.

use crate::{
    kit::{Behaviour, Request, Tollgate, Upstream, log_request, with},
    otlp::config,
};

fn batch() -> Request {
    Request::post("/v1/logs", log_request("hello")).by_shop()
}

#[test]
fn what_is_not_for_an_upstream_is_stripped() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let stripped = [
        // who the sender is to us
        ("Proxy-Authorization", "Basic c2VjcmV0"),
        ("Cookie", "session=secret"),
        ("X-Scope-OrgID", "somebody-else"),
        // what a tunnel or another proxy said
        ("CF-Connecting-IP", "203.0.113.9"),
        ("CF-Ray", "8f2c1e0b7d4a9c33-FRA"),
        ("CF-Worker", "example.com"),
        ("CF-IPCountry", "DE"),
        ("CF-Visitor", "{\"scheme\":\"https\"}"),
        ("Cf-Warp-Tag-Id", "c9b2"),
        ("Cdn-Loop", "cloudflare"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "otlp.example.com"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("True-Client-IP", "203.0.113.9"),
        // what ends at this hop
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "Expires"),
        ("Upgrade", "h2c"),
        ("Connection", "keep-alive, X-Named-One"),
        ("X-Named-One", "ends here"),
        ("X-Named-Two", "ends here too"),
        // what is said of the body and of the answer anew
        ("Accept", "text/html"),
        ("Accept-Encoding", "br"),
        ("Expect", "100-continue"),
    ];
    let mut request = batch().another("Connection", "x-named-TWO");
    for (name, value) in stripped {
        request = request.another(name, value);
    }
    assert_eq!(tollgate.send(&request).status, 200);
    let seen = upstream.last();
    for (name, _) in stripped.into_iter().chain([("Authorization", "")]) {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[test]
fn what_is_about_the_data_is_kept() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let kept = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=value"),
        ("baggage", "shop=1"),
        ("User-Agent", "OTel-OTLP-Exporter-Rust/0.31.0"),
        ("X-Custom", "one"),
        ("X-Custom", "two"),
        ("X-Empty", ""),
        ("x-vercel-signature", "0123"),
    ];
    let mut request = batch();
    for (name, value) in kept {
        request = request.another(name, value);
    }
    assert_eq!(tollgate.send(&request).status, 200);
    let seen = upstream.last();
    for (name, value) in kept {
        let expected = if name == "X-Custom" { "one, two" } else { value };
        assert_eq!(seen.header(name).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn the_upstreams_and_the_tenants_headers_replace_a_senders() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(
        &config(&upstream),
        "upstream.collector",
        "headers = { Authorization = \"Bearer for-the-collector\", X-Both = \"upstream\" }",
    );
    let config = with(
        &config,
        "tenant.shop",
        "upstream_headers = { X-Scope-OrgID = \"${tenant}\", X-Both = \"tenant\", X-Tenant = \"tenant\" }",
    );
    let tollgate = Tollgate::start(&config);
    let request = batch()
        .header("X-Scope-OrgID", "somebody-else")
        .header("X-Both", "sender")
        .another("X-Both", "sender again")
        .header("X-Tenant", "sender");
    assert_eq!(tollgate.send(&request).status, 200);
    let seen = upstream.last();
    let header = |name: &str| seen.header(name).unwrap_or_default();
    assert_eq!(header("authorization"), "Bearer for-the-collector");
    assert_eq!(header("x-scope-orgid"), "shop");
    assert_eq!(header("x-both"), "upstream");
    assert_eq!(header("x-tenant"), "tenant");
}

#[test]
fn no_tenant_passes_for_another_by_a_header_that_it_has_not_itself() {
    let upstream = Upstream::start(Behaviour::ok());
    let before = config(&upstream);
    let other = r#"
[tenant.bakery]
credentials = [{ user = "bakery", password_hash = "$SECRET" }]
upstream = "collector"
upstream_headers = { X-Tenant = "bakery" }
"#;
    let tollgate = Tollgate::start(&before);
    let request = batch().header("X-Tenant", "bakery");
    assert_eq!(tollgate.send(&request).status, 200);
    assert_eq!(upstream.last().header("x-tenant").as_deref(), Some("bakery"), "of no meaning yet");
    assert!(tollgate.reload(&format!("{before}{other}")));
    assert_eq!(tollgate.send(&request).status, 200);
    assert_eq!(upstream.last().header("x-tenant"), None);
    let bakery = Request::post("/v1/logs", log_request("hello")).login("bakery", "secret");
    assert_eq!(tollgate.send(&bakery.header("X-Tenant", "shop")).status, 200);
    assert_eq!(upstream.last().header("x-tenant").as_deref(), Some("bakery"));
}

#[test]
fn the_host_is_the_upstreams_own_or_the_one_that_is_configured() {
    let upstream = Upstream::start(Behaviour::ok());
    let plain = Tollgate::start(&config(&upstream));
    assert_eq!(plain.send(&batch()).status, 200);
    assert_eq!(upstream.last().header("host"), Some(upstream.address().to_string()));
    let renamed = with(&config(&upstream), "upstream.collector", "host = \"alloy.home.example.com\"");
    let renamed = Tollgate::start(&renamed);
    assert_eq!(renamed.send(&batch().header("Host", "evil.example.com")).status, 200);
    assert_eq!(upstream.last().header("host").as_deref(), Some("alloy.home.example.com"));
}

#[test]
fn one_request_id_is_in_the_answer_the_log_and_at_the_upstream() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let answer = tollgate.send(&batch().header("X-Request-Id", "mine"));
    let id = answer.header("x-request-id").map(str::to_owned);
    assert_eq!(upstream.last().header("x-request-id"), id);
    assert_eq!(tollgate.access_line(&answer)["status"], 200);
}

#[test]
fn the_type_is_sent_bare_because_loki_and_prometheus_take_no_other() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    let request = Request::json("/v1/logs", json).by_shop();
    let request = request.header("Content-Type", "application/json; charset=utf-8");
    assert_eq!(tollgate.send(&request).status, 200);
    assert_eq!(upstream.last().header("content-type").as_deref(), Some("application/json"));
}

#[test]
fn the_endpoints_path_stands_before_the_signals() {
    let upstream = Upstream::start(Behaviour::ok());
    let address = upstream.address();
    let below = config(&upstream).replace(&format!("http://{address}"), &format!("http://{address}/otlp"));
    let tollgate = Tollgate::start(&below);
    assert_eq!(tollgate.send(&batch()).status, 200);
    assert_eq!(upstream.last().target, "/otlp/v1/logs");
}
