//! Senders in browsers: what a page's browser asks, and what it has to be told.

use crate::kit::{Answer, Behaviour, Request, Tollgate, Upstream, log_request};

struct Setup {
    tollgate: Tollgate,
    upstream: Upstream,
}

fn setup() -> Setup {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"
cors = {{ origins = ["https://shop.example", "https://*.preview.example"] }}

[listener.closed]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    ));
    Setup { tollgate, upstream }
}

/// What a browser asks before a script's request with these headers.
fn question(origin: &str) -> Request {
    let mut request = Request::post("/v1/logs", "").method("OPTIONS").without("Content-Type");
    request.sized = false;
    request
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type,x-custom")
}

fn lets_see(answer: &Answer, origin: &str) -> bool {
    answer.header("access-control-allow-origin") == Some(origin)
        && answer.headers("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin"))
}

#[test]
fn a_browser_is_told_without_credentials_that_a_page_may_send() {
    let setup = setup();
    for origin in ["https://shop.example", "https://pr-7.preview.example"] {
        let answer = setup.tollgate.send(&question(origin));
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
        assert!(lets_see(&answer, origin), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("authorization,content-type,x-custom")
        );
        assert!(answer.header("access-control-max-age").is_some());
        let line = setup.tollgate.access_line(&answer);
        assert_eq!((&line["status"], &line["outcome"]), (&204.into(), &"answered".into()), "{line}");
    }
    assert!(setup.upstream.seen().is_empty());
}

#[test]
fn other_pages_and_listeners_are_not_opened() {
    let setup = setup();
    for origin in ["https://evil.example", "http://shop.example", "https://preview.example", "null"] {
        let answer = setup.tollgate.send(&question(origin));
        assert_eq!(answer.status, 405, "{origin}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    let mut closed = crate::kit::Connection::tcp(setup.tollgate.address("closed"));
    let answer = closed.send(&question("https://shop.example"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
}

#[test]
fn a_question_that_two_may_read_differently_is_not_answered() {
    let setup = setup();
    let answer = setup.tollgate.send(&question("https://shop.example").another("Host", "elsewhere.example"));
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{answer:?}");
    let mut call = Request::grpc("/grpc.health.v1.Health/Check", b"").another("Host", "elsewhere.example");
    let answer = setup.tollgate.send(&call);
    assert_eq!((answer.grpc_status(), answer.header("connection")), (3, Some("close")), "{answer:?}");
    call = call.method("GET");
    assert_eq!(setup.tollgate.send(&call).status, 400, "nothing but POST is answered as a call");
}

#[test]
fn a_page_sees_every_answer() {
    let setup = setup();
    let origin = "https://shop.example";
    let good = Request::post("/v1/logs", log_request("hello")).by_shop().header("Origin", origin);
    let wrong_path = Request::post("/v2/logs", "").header("Origin", origin);
    for (request, status) in [
        (good.clone(), 200),
        (good.clone().without("Authorization"), 401),
        (good.clone().header("Content-Type", "text/plain"), 415),
        (wrong_path, 404),
    ] {
        let answer = setup.tollgate.send(&request);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(lets_see(&answer, origin), "{answer:?}");
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("retry-after") && exposed.contains("x-request-id"), "{answer:?}");
    }
    let answer = setup.tollgate.send(&good.without("Origin"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    assert_eq!(setup.upstream.seen().len(), 2);
}
