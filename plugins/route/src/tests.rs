//! Every key of the configuration, as the README shows it, over real batches.

use serde_json::{Value as Json, json};
use tollgate_plugin::Error;
use tollgate_plugin::test::{self, Outcome};

use crate::Route;

#[track_caller]
fn route(config: &str, batch: impl Into<test::Request>) -> Outcome {
    test::run::<Route>(config, batch).unwrap()
}

/// Records whose body says who they are.
fn logs(records: Json) -> test::Request {
    test::logs(json!({ "service.name": "oxygen" }), records)
}

fn bodies(records: Vec<Json>) -> Vec<String> {
    records.iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_first_rule_that_matches_has_the_record() {
    let config = r#"
        [[rules]]
        when = { attribute = "level", equals = "error" }
        to = ["default", "alerts"]

        [[rules]]
        when = { attribute = "noise", present = true }
        discard = true

        [[rules]]
        when = { attribute = "level", present = true }
        to = "archive"
    "#;
    let out = route(
        config,
        logs(json!([
            { "body": "both", "attributes": { "level": "error", "noise": 1 } },
            { "body": "noise", "attributes": { "level": "info", "noise": 1 } },
            { "body": "info", "attributes": { "level": "info" } },
            { "body": "none" },
        ])),
    );
    assert_eq!(bodies(out.routed_to(&["default", "alerts"])), ["both"]);
    assert_eq!(bodies(out.routed_to(&["archive"])), ["info"]);
    assert_eq!(bodies(out.records()), ["none"]);
    assert_eq!(out.discarded, 1);
}

#[test]
fn a_rule_without_a_condition_takes_the_rest() {
    let config = r#"
        [[rules]]
        when = { severity_at_least = "warn" }
        to = "default"
        [[rules]]
        discard = true
    "#;
    let out = route(config, logs(json!([{ "body": "a", "severityNumber": 13 }, { "body": "b" }])));
    // "default" is where it would have gone anyway, whether it leaves as a part or stays.
    let mut kept = bodies(out.records());
    kept.extend(bodies(out.routed_to(&["default"])));
    assert_eq!(kept, ["a"]);
    assert_eq!(out.discarded, 1);
}

#[test]
fn goes_by_resource_scope_signal_and_pattern() {
    let record = |body: &str| json!({ "body": { "stringValue": body } });
    let batch = json!({ "resourceLogs": [
        {
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "oxygen" } }] },
            "scopeLogs": [
                { "scope": { "name": "checkout" }, "logRecords": [record("a"), record("health check")] },
                { "scope": { "name": "cart" }, "logRecords": [record("b")] },
            ],
        },
        { "scopeLogs": [{ "logRecords": [record("c")] }] },
    ] });
    let by = |when: &str| {
        let out = route(&format!("[[rules]]\nwhen = {when}\nto = \"x\"\n"), batch.clone());
        let (there, here) = (bodies(out.routed_to(&["x"])), bodies(out.records()));
        assert_eq!(there.len() + here.len(), 4, "{when}");
        there
    };
    assert_eq!(by(r#"{ resource = "service.name", equals = "oxygen" }"#), ["a", "health check", "b"]);
    assert_eq!(by(r#"{ resource = "service.name", present = false }"#), ["c"]);
    assert_eq!(by(r#"{ scope = "@name", equals = "cart" }"#), ["b"]);
    assert_eq!(by(r#"{ field = "body", matches = "^health" }"#), ["health check"]);
    assert_eq!(by(r#"{ signal = "logs" }"#).len(), 4);
    assert_eq!(by(r#"{ signal = ["traces", "metrics"] }"#).len(), 0);
    assert_eq!(
        by(
            r#"{ all = [{ scope = "@name", equals = "checkout" }, { not = { field = "body", matches = "health" } }] }"#
        ),
        ["a"]
    );
}

#[test]
fn samples_by_trace() {
    let ids: Vec<String> = (1..=400u128).map(|n| format!("{:032x}", n * 0x9e37_79b9_7f4a_7c15)).collect();
    let of = |id: &String, body: &str| json!({ "traceId": id, "spanId": "1111111111111111", "body": body });
    let records: Vec<Json> = ids.iter().flat_map(|id| [of(id, id), of(id, id)]).collect();
    let spans: Vec<Json> =
        ids.iter().map(|id| json!({ "traceId": id, "spanId": "1111111111111111", "name": id })).collect();

    let config = "[[rules]]\nkeep = 0.25\n";
    let out = route(config, logs(records.into()));
    let mut kept = bodies(out.records());
    assert_eq!(out.discarded as usize, 800 - kept.len());
    assert!((150..250).contains(&kept.len()), "{}", kept.len());
    kept.dedup();

    // The same traces in another signal.
    let out = route(config, test::spans(json!({}), spans.into()));
    let names: Vec<String> =
        out.records().iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, kept);
}

#[test]
fn what_has_no_trace_is_in_every_sample_unless_told_otherwise() {
    let config = "[[rules]]\nkeep = 0.0\n";
    assert_eq!(route(config, logs(json!([{ "body": "a" }]))).discarded, 0);
    let points = || test::data_points(json!({}), "m", json!([{ "asInt": "1" }]));
    assert_eq!(route(config, points()).discarded, 0);

    let config = "without_trace_id = \"out\"\n[[rules]]\nkeep = 1.0\n";
    assert_eq!(route(config, logs(json!([{ "body": "a" }]))).discarded, 1);
    assert_eq!(route(config, points()).discarded, 1);
}

#[test]
fn a_sample_goes_somewhere_and_the_rest_on() {
    let config = r#"
        [[rules]]
        sample = 0.0
        to = "everything"
        [[rules]]
        when = { field = "body", equals = "a" }
        sample = 1.0
        to = ["default", "mirror"]
    "#;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let out = route(config, logs(json!([{ "body": "a", "traceId": id }, { "body": "b", "traceId": id }])));
    assert_eq!(bodies(out.routed_to(&["default", "mirror"])), ["a"]);
    assert_eq!(bodies(out.records()), ["b"]);
}

/// Loses and doubles nothing, whatever the rules and the batch.
#[test]
fn every_record_ends_in_one_place() {
    let config = r#"
        [[rules]]
        when = { any = [{ attribute = "n", below = 10 }, { resource = "service.name", equals = "nobody" }] }
        to = "few"
        [[rules]]
        when = { not = { attribute = "n", below = 30 } }
        discard = true
        [[rules]]
        when = { all = [{ attribute = "n", at_least = 20 }, { resource = "service.name", equals = "oxygen" }] }
        to = ["default", "some"]
    "#;
    let records: Vec<Json> =
        (0..40).map(|n| json!({ "body": n.to_string(), "attributes": { "n": n } })).collect();
    let out = route(config, logs(records.into()));
    assert_eq!(out.routed_to(&["few"]).len(), 10);
    assert_eq!(out.routed_to(&["default", "some"]).len(), 10);
    assert_eq!(out.discarded, 10);
    assert_eq!(bodies(out.records()), (10..20).map(|n: i64| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn registers_where_it_may_send() {
    let config = r#"
        [[rules]]
        when = { signal = "logs" }
        to = ["default", "b", "a"]
        [[rules]]
        to = "b"
    "#;
    let plugin = test::Instance::<Route>::new(config).unwrap();
    assert_eq!(plugin.registration().destinations, ["a", "b"]);
}

#[test]
fn mistakes_have_their_place() {
    let mistake = |config: &str, pointer: &str, message: &str| match test::Instance::<Route>::new(config) {
        Err(Error::BadConfig(mistake)) => {
            assert_eq!(mistake.pointer, pointer, "{}", mistake.message);
            assert!(mistake.message.contains(message), "{}", mistake.message);
        }
        other => panic!("{:?}", other.map(|plugin| plugin.registration().clone())),
    };
    mistake("", "", "missing field `rules`");
    mistake("[[rules]]\nto = \"x\"\ndiscard = true", "/rules/0", "one of `to`, `discard = true` and `keep`");
    mistake(
        "[[rules]]\nwhen = { signal = \"logs\" }",
        "/rules/0",
        "one of `to`, `discard = true` and `keep`",
    );
    mistake("[[rules]]\nto = []", "/rules/0", "names no destination");
    mistake("[[rules]]\nkeep = 1.5", "/rules/0/keep", "from 0 to 1");
    mistake("[[rules]]\nkeep = 0.5\nsample = 0.5", "/rules/0", "without `sample`");
    mistake(
        "[[rules]]\nto = \"x\"\n[[rules]]\nwhen = { attribut = \"x\" }",
        "/rules/1/when/attribut",
        "unknown field",
    );
    mistake("[[rules]]\nto = \"x\"\nwhen = { any = [] }", "/rules/0/when", "an empty list");
}
