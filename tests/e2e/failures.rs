//! Plugins that fail or say no: what the sender is told, what arrives, and what the operator sees.

#[path = "../guests/built.rs"]
mod guests;

use crate::{
    kit::{Behaviour, Request, Tollgate, Upstream},
    plugins::{DOOR, arrived, logs, with_plugin},
};
use guests::MISBEHAVING;

/// A plugin that does this with a batch of several records, and nothing with one alone.
fn plugin(action: &str, more: &str) -> String {
    let component = MISBEHAVING.display();
    format!("component = \"{component}\"\nconfig.do = \"{action}\"\n{more}")
}

/// Two records, on which the plugin does what it does.
fn two() -> Request {
    Request::post("/v1/logs", logs(&[("a", ""), ("b", "")])).by_shop()
}

fn one() -> Request {
    Request::post("/v1/logs", logs(&[("alone", "")])).by_shop()
}

fn count(tollgate: &Tollgate, metric: &str, label: &str, value: &str) -> f64 {
    tollgate.metric(metric, &[("plugin", "own"), ("tenant", "shop"), (label, value)])
}

#[test]
fn a_batch_that_a_plugin_fails_on_is_refused_for_now() {
    let endless = "limits.time = \"200ms\"";
    for (action, more, kind, cause) in [
        ("change half and panic", "", "trap", "mid-batch, on purpose"),
        ("change half and fail", "", "error", "half of it, on purpose"),
        ("change half and loop", endless, "time", "(limits.time)"),
        ("mark", "limits.edit_bytes = 1", "limit", "(limits.edit_bytes)"),
    ] {
        let upstream = Upstream::start(Behaviour::ok());
        let tollgate = Tollgate::start(&with_plugin(&upstream, "", &plugin(action, more)));
        let answer = tollgate.send(&two());
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{action}");
        assert!(answer.status_message().contains("plugin own"), "{}", answer.status_message());
        assert!(!answer.text().contains(cause), "that is for the operator: {}", answer.text());
        assert!(upstream.seen().is_empty(), "{action}");

        let line = tollgate.access_line(&answer);
        assert_eq!((&line["refused_by"], &line["reason"]), (&"plugin".into(), &"plugin_failed".into()));
        assert_eq!(line["plugins"], "own:failed");
        let said = tollgate.wait_for_line("plugin failed");
        assert_eq!((&said["tenant"], &said["kind"]), (&"shop".into(), &kind.into()));
        assert!(said["cause"].as_str().is_some_and(|said| said.contains(cause)), "{said}");
        assert_eq!(count(&tollgate, "tollgate_plugin_failures_total", "kind", kind), 1.0);
        assert_eq!(count(&tollgate, "tollgate_plugin_calls_total", "outcome", "failed"), 1.0);
        let failed = [("tenant", "shop"), ("state", "failed")];
        assert_eq!(tollgate.metric("tollgate_records_total", &failed), 2.0);

        if more.is_empty() {
            assert_eq!(tollgate.send(&one()).status, 200, "the next is served");
        }
    }
}

#[test]
fn a_batch_that_a_plugin_fails_on_goes_on_without_it_where_that_is_said() {
    for action in ["change half and panic", "change half and fail"] {
        let upstream = Upstream::start(Behaviour::ok());
        let forward = plugin(action, "on_failure = \"forward\"");
        let tollgate = Tollgate::start(&with_plugin(&upstream, "", &forward));
        let sent = two();
        let answer = tollgate.send(&sent);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(upstream.last().body == sent.body, "{action}: as it came, not half done");
        let line = tollgate.access_line(&answer);
        assert!(line["plugins"].as_str().is_some_and(|plugins| plugins.starts_with("own:passed:")), "{line}");
        assert_eq!(count(&tollgate, "tollgate_plugin_calls_total", "outcome", "passed"), 1.0);
        tollgate.wait_for_line("plugin failed");
    }
}

#[test]
fn a_batch_that_a_plugin_rejects_is_refused_for_good_in_its_words() {
    let upstream = Upstream::start(Behaviour::ok());
    // Whatever is to become of its failures: this is none.
    let forward = plugin("reject", "on_failure = \"forward\"");
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", &forward));
    let answer = tollgate.send(&two());
    assert_eq!((answer.status, answer.header("retry-after")), (400, None));
    assert!(answer.status_message().contains("no\\u{1b}[2J"), "{}", answer.status_message());
    assert!(upstream.seen().is_empty());
    let line = tollgate.access_line(&answer);
    assert_eq!((&line["refused_by"], &line["reason"]), (&"plugin".into(), &"plugin_rejected".into()));
    let said = tollgate.wait_for_line("plugin rejected a batch");
    assert_eq!((&said["level"], &said["plugin"]), (&"INFO".into(), &"own".into()));
    assert!(said["text"].as_str().is_some_and(|text| text.starts_with("no")), "{said}");
    assert_eq!(count(&tollgate, "tollgate_plugin_calls_total", "outcome", "rejected"), 1.0);
    assert_eq!(count(&tollgate, "tollgate_plugin_failures_total", "kind", "error"), 0.0);
    let refused = [("tenant", "shop"), ("state", "refused")];
    assert_eq!(tollgate.metric("tollgate_records_total", &refused), 2.0);
    assert_eq!(tollgate.send(&one()).status, 200);
    assert_eq!(arrived(&upstream), ["alone"]);
}

/// Everybody waits for a start: what does not end is waited for once, whoever has it.
#[test]
fn a_plugin_that_does_not_start_in_time_is_tried_once() {
    let upstream = Upstream::start(Behaviour::ok());
    let own = plugin("say so and loop in configure", "limits.time = \"10ms\"");
    let mut config = with_plugin(&upstream, "", &own);
    for tenant in ["blog", "docs"] {
        let table = DOOR[DOOR.find("[tenant.shop]").expect("it")..].replace("shop", tenant);
        config += &table.replace("oxygen", tenant);
        config += "plugins = [\"own\"]\n";
    }
    config += "[tenant.well]\ncredentials = [{ user = \"well\", password_hash = \"$SECRET\" }]\nupstream = \"own\"\n";
    let tollgate = Tollgate::start(&config);
    let send = |user: &str| {
        let answer = tollgate.send(&Request::post("/v1/logs", logs(&[("a", "")])).login(user, "secret"));
        (answer.status, answer.header("retry-after").map(str::to_owned))
    };
    for user in ["oxygen", "blog", "docs"] {
        assert_eq!(send(user), (503, Some("5".to_owned())), "{user}");
    }
    assert_eq!(send("well").0, 200);
    for tenant in ["shop", "blog", "docs"] {
        assert_eq!(tollgate.metric("tollgate_plugins_unavailable", &[("tenant", tenant)]), 1.0);
    }
    assert_eq!(tollgate.log_text().matches("it begins").count(), 1, "{}", tollgate.log_text());
}
