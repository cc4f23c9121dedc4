//! OTLP/HTTP: what comes in, what goes out, what is answered.

use crate::kit::{Behaviour, Request, Tollgate, Upstream, log_request};

/// One listener, one tenant, one upstream.
pub fn config(upstream: &Upstream) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

#[test]
fn a_batch_leaves_as_the_bytes_that_came() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let batch = log_request("hello");
    let answer = tollgate.send(&Request::post("/v1/logs", batch.clone()).login("oxygen", "secret"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    assert!(answer.body.is_empty(), "partial_success is unset on full success");
    let seen = upstream.last();
    assert_eq!(seen.target, "/v1/logs");
    assert_eq!(seen.body, batch);
    assert_eq!(seen.header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(seen.header("authorization"), None);
    let line = tollgate.access_line(&answer);
    assert_eq!(line["records"], 1);
    assert_eq!(line["tenant"], "shop");
}
