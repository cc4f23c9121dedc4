//! Every key of the configuration, as the README shows it, over real batches.

use serde_json::{Value as Json, json};
use tollgate_plugin::test::{self, Outcome};
use tollgate_plugin::{Error, Signal};

use crate::Relabel;

mod field;

/// One record and its resource through the plugin.
#[track_caller]
fn relabel(config: &str, resource: Json, record: Json) -> Outcome {
    test::run::<Relabel>(config, test::logs(resource, record)).unwrap()
}

/// What becomes of a record's attributes.
#[track_caller]
fn attributes(config: &str, attributes: Json) -> Json {
    let out = relabel(config, json!({}), json!({ "body": "hello", "attributes": attributes }));
    out.records()[0]["attributes"].clone()
}

#[track_caller]
fn mistake(config: &str, pointer: &str, message: &str) {
    match test::Instance::<Relabel>::new(config) {
        Err(Error::BadConfig(mistake)) => {
            assert_eq!(mistake.pointer, pointer, "{}", mistake.message);
            assert!(mistake.message.contains(message), "{}", mistake.message);
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("no mistake in {config}"),
    }
}

#[test]
fn sets_inserts_and_updates() {
    let config = r#"
        set = { a = "set", new = 1 }
        insert = { b = "inserted", inserted = true }
        update = { c = "updated", absent = 1.5 }
    "#;
    assert_eq!(
        attributes(config, json!({ "a": 0, "b": 0, "c": 0 })),
        json!({ "a": "set", "b": 0, "c": "updated", "new": 1, "inserted": true })
    );
}

#[test]
fn sets_lists_and_tables() {
    assert_eq!(
        attributes(r#"set = { list = ["a", 1], table = { k = "v" } }"#, json!({})),
        json!({ "list": ["a", 1], "table": { "k": "v" } })
    );
}

#[test]
fn removes_keeps_renames_and_copies_by_key() {
    let before = json!({ "a": 1, "b": 2, "c": 3 });
    assert_eq!(attributes(r#"remove = "a""#, before.clone()), json!({ "b": 2, "c": 3 }));
    assert_eq!(attributes(r#"remove = ["a", "c", "x"]"#, before.clone()), json!({ "b": 2 }));
    assert_eq!(attributes(r#"keep = ["a", "c.", "b"]"#, before.clone()), json!({ "a": 1, "b": 2 }));
    assert_eq!(attributes(r#"rename = { a = "z" }"#, before.clone()), json!({ "z": 1, "b": 2, "c": 3 }));
    assert_eq!(attributes(r#"copy = { a = "z" }"#, before), json!({ "a": 1, "b": 2, "c": 3, "z": 1 }));
}

#[test]
fn works_on_keys_by_pattern() {
    let before = json!({ "http.method": "GET", "http.url": "/", "other": 1 });
    assert_eq!(attributes(r#"remove = { pattern = '^http\.' }"#, before.clone()), json!({ "other": 1 }));
    assert_eq!(attributes(r#"keep = { pattern = '^o' }"#, before.clone()), json!({ "other": 1 }));
    assert_eq!(
        attributes(r#"rename = [{ pattern = '^http\.(.*)$', to = "web.$1" }]"#, before.clone()),
        json!({ "web.method": "GET", "web.url": "/", "other": 1 })
    );
    assert_eq!(
        attributes(r#"copy = [{ pattern = '^http\.m', to = "m" }]"#, before.clone())["method"],
        json!("GET")
    );
    assert_eq!(
        attributes(r#"update = [{ pattern = '^http\.', value = "x" }]"#, before),
        json!({ "http.method": "x", "http.url": "x", "other": 1 })
    );
}

#[test]
fn hashes_with_and_without_a_key() {
    let before = json!({ "user": "ann", "user.id": 7, "other": "ann" });
    let plain = attributes(r#"hash = ["user"]"#, before.clone());
    // printf ann | sha256sum
    assert_eq!(plain["user"], "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1");
    let keyed = attributes(
        r#"hash_key = "0123456789abcdef"
           hash = { pattern = "^user" }"#,
        before,
    );
    assert_ne!(keyed["user"], plain["user"]);
    assert_ne!(keyed["user.id"], json!(7));
    assert_eq!(keyed["other"], "ann");
}

#[test]
fn happens_in_the_documented_order() {
    let config = r#"
        hash = "b"
        update = { e = "updated" }
        insert = { d = "inserted", e = "inserted" }
        set = { c = "set" }
        copy = { b = "c" }
        rename = { a = "b" }
        remove = "b"
    "#;
    let after = attributes(config, json!({ "a": "a", "b": "gone" }));
    assert_eq!(after["c"], "set");
    assert_eq!(after["d"], "inserted");
    assert_eq!(after["e"], "updated");
    assert_eq!(after["b"].as_str().unwrap().len(), 64);
    assert_eq!(after.get("a"), None);
}

/// What the blog's Alloy processors did between its receiver and its Loki exporter.
#[test]
fn does_what_the_alloy_processors_did() {
    let config = r#"
        insert = { processed_by = "tollgate", "loki.attribute.labels" = "level, shop_id, deployment_id", "loki.format" = "raw" }
        resource.insert = { "loki.resource.labels" = "service.name" }
    "#;
    let out = relabel(
        config,
        json!({ "service.name": "oxygen" }),
        json!({ "body": "GET /", "attributes": { "level": "info" } }),
    );
    assert_eq!(
        out.records()[0]["attributes"],
        json!({
            "level": "info",
            "processed_by": "tollgate",
            "loki.attribute.labels": "level, shop_id, deployment_id",
            "loki.format": "raw",
        })
    );
    assert_eq!(
        out.resources()[0]["attributes"],
        json!({ "service.name": "oxygen", "loki.resource.labels": "service.name" })
    );
}

#[test]
fn works_at_every_level() {
    let config = r#"
        set = { at = "record" }
        resource.set = { at = "resource" }
        scope.set = { at = "scope" }
        metric.set = { at = "metric" }
        event.set = { at = "event" }
        link.set = { at = "link" }
        exemplar.set = { at = "exemplar" }
    "#;
    let mut plugin = test::Instance::<Relabel>::new(config).unwrap();
    let spans = plugin
        .run(test::spans(
            json!({}),
            json!([{
                "traceId": "11111111111111111111111111111111", "spanId": "1111111111111111", "name": "GET",
                "events": [{ "name": "e" }],
                "links": [{ "traceId": "22222222222222222222222222222222", "spanId": "2222222222222222" }],
            }]),
        ))
        .unwrap();
    let span = &spans.records()[0];
    assert_eq!(span["attributes"]["at"], "record");
    assert_eq!(span["events"][0]["attributes"]["at"], "event");
    assert_eq!(span["links"][0]["attributes"]["at"], "link");
    assert_eq!(spans.resources()[0]["attributes"]["at"], "resource");

    let points = plugin
        .run(test::data_points(
            json!({}),
            "temperature",
            json!([{ "asDouble": 21.5, "exemplars": [{ "asDouble": 21.0 }] }]),
        ))
        .unwrap();
    assert_eq!(points.records()[0]["attributes"]["at"], "record");
    assert_eq!(points.records()[0]["exemplars"][0]["filteredAttributes"]["at"], "exemplar");
    let text = points.batch.to_string();
    assert!(
        text.contains(r#""stringValue":"metric""#) && text.contains(r#""stringValue":"scope""#),
        "{text}"
    );
}

#[test]
fn copies_from_an_outer_level() {
    let out = relabel(
        r#"copy = [{ from = "service.name", level = "resource", to = "service" }, { from = "@body", to = "line" }]"#,
        json!({ "service.name": "oxygen" }),
        json!({ "body": "hello" }),
    );
    assert_eq!(out.records()[0]["attributes"], json!({ "service": "oxygen", "line": "hello" }));
}

#[test]
fn chooses_rows_by_conditions() {
    let marked = |when: &str| -> Vec<bool> {
        let config = format!("[[rules]]\nwhen = {when}\nset = {{ marked = true }}\n");
        let records = json!([
            { "body": "a", "severityNumber": 9, "attributes": { "level": "info", "code": 200 } },
            { "body": "timeout after 30 ms", "severityNumber": 17, "attributes": { "level": "error", "code": 504 } },
            { "body": "c", "attributes": { "user": "ann" } },
        ]);
        let out =
            test::run::<Relabel>(&config, test::logs(json!({ "service.name": "oxygen" }), records)).unwrap();
        out.records().iter().map(|record| record["attributes"].get("marked").is_some()).collect()
    };
    let (yes, no) = (true, false);
    for (when, expected) in [
        (r#"{ attribute = "level", equals = "error" }"#, [no, yes, no]),
        (r#"{ attribute = "level", one_of = ["error", "info"] }"#, [yes, yes, no]),
        (r#"{ attribute = "level", matches = "^e" }"#, [no, yes, no]),
        (r#"{ attribute = "user", present = true }"#, [no, no, yes]),
        (r#"{ attribute = "user", present = false }"#, [yes, yes, no]),
        (r#"{ attribute = "code", at_least = 500 }"#, [no, yes, no]),
        (r#"{ attribute = "code", at_least = 100, below = 500 }"#, [yes, no, no]),
        (r#"{ field = "body", matches = 'after \d+ ms' }"#, [no, yes, no]),
        (r#"{ attribute = "@@body", equals = "a" }"#, [no, no, no]),
        (r#"{ severity_at_least = "warn" }"#, [no, yes, no]),
        (r#"{ severity_below = "warn" }"#, [yes, no, no]),
        (r#"{ signal = "logs" }"#, [yes, yes, yes]),
        (r#"{ signal = ["traces", "metrics"] }"#, [no, no, no]),
        (r#"{ resource = "service.name", equals = "oxygen" }"#, [yes, yes, yes]),
        (r#"{ resource = "service.name", equals = "other" }"#, [no, no, no]),
        (r#"{ not = { attribute = "level", equals = "error" } }"#, [yes, no, yes]),
        (
            r#"{ any = [{ attribute = "user", present = true }, { attribute = "code", equals = 200 }] }"#,
            [yes, no, yes],
        ),
        (
            r#"{ all = [{ attribute = "code", present = true }, { resource = "service.name", matches = "^ox" }, { severity_below = "error" }] }"#,
            [yes, no, no],
        ),
        (
            r#"{ all = [{ any = [{ attribute = "user", present = true }, { attribute = "code", equals = 200 }] }, { not = { resource = "service.name", equals = "x" } }] }"#,
            [yes, no, yes],
        ),
        (r#"{ field = "event_name", present = false }"#, [yes, yes, yes]),
        (r#"{ metric = "@name", present = true }"#, [no, no, no]),
        (r#"{ metric = "@name", present = false }"#, [yes, yes, yes]),
    ] {
        assert_eq!(marked(when), expected, "{when}");
    }
}

/// Rows are narrowed from the outside in, over several resources and scopes.
#[test]
fn conditions_of_several_levels_meet() {
    let record = |n: i64| json!({ "attributes": [{ "key": "n", "value": { "intValue": n.to_string() } }] });
    let resource = |name: &str, scope: &str, from: i64| {
        json!({
            "resource": { "attributes": [{ "key": "service", "value": { "stringValue": name } }] },
            "scopeLogs": [
                { "scope": { "name": scope }, "logRecords": [record(from), record(from + 1)] },
                { "scope": { "name": "other" }, "logRecords": [record(from + 2)] },
            ],
        })
    };
    let batch =
        json!({ "resourceLogs": [resource("a", "x", 0), resource("b", "x", 3), resource("a", "y", 6)] });
    let config = r#"
        [[rules]]
        when = { all = [{ attribute = "n", at_least = 1 }, { scope = "@name", equals = "x" }, { resource = "service", equals = "a" }] }
        set = { marked = true }
        [[rules]]
        when = { any = [{ scope = "@name", equals = "y" }, { attribute = "n", equals = 5 }] }
        set = { other = true }
    "#;
    let out = test::run::<Relabel>(config, batch).unwrap();
    let with = |key: &str| -> Vec<i64> {
        let records = out.records();
        let marked = records.iter().filter(|record| record["attributes"].get(key).is_some());
        marked.map(|record| record["attributes"]["n"].as_i64().unwrap()).collect()
    };
    assert_eq!(with("marked"), [1]);
    assert_eq!(with("other"), [5, 6, 7]);
}

#[test]
fn extracts_into_attributes_and_fields() {
    let config = r#"
        extract = [
            'user=(?<user>\w+)',
            { pattern = 'traceparent=00-([0-9a-f]{32})-([0-9a-f]{16})', into = { 1 = "@trace_id", 2 = "@span_id" } },
            { from = "url", pattern = '^[^?]*', into = { 0 = "path" } },
        ]
    "#;
    let out = relabel(
        config,
        json!({}),
        json!({
            "body": "user=ann traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "attributes": { "url": "/cart?token=x" },
        }),
    );
    let record = &out.records()[0];
    assert_eq!(record["attributes"], json!({ "url": "/cart?token=x", "user": "ann", "path": "/cart" }));
    assert_eq!(record["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(record["spanId"], "00f067aa0ba902b7");
    assert_eq!(out.counters.get("extract_invalid"), None);
}

#[test]
fn leaves_invalid_ids_out_and_counts_them() {
    let config = r#"
        [[extract]]
        pattern = 'trace=(?<t>\w*) span=(?<s>\w*)'
        into = { t = "@trace_id", s = "@span_id" }
    "#;
    let zeros = "00000000000000000000000000000000";
    for (body, span_id, invalid) in [
        (format!("trace={zeros} span=00f067aa0ba902b7"), json!("00f067aa0ba902b7"), 1),
        ("trace=4bf9 span=0000000000000000".to_owned(), Json::Null, 2),
    ] {
        let out = relabel(config, json!({}), json!({ "body": body }));
        let record = &out.records()[0];
        assert!(matches!(&record["traceId"], Json::Null | Json::String(_)));
        assert_eq!(record["traceId"].as_str().unwrap_or_default(), "");
        assert_eq!(record["spanId"].as_str().unwrap_or_default(), span_id.as_str().unwrap_or_default());
        assert_eq!(out.counters["extract_invalid"], invalid, "{body}");
    }
}

/// Whether an expression certainly has a group is the host's to say; that it certainly has not is known.
#[test]
fn groups_are_in_their_expression() {
    mistake(
        r#"extract = [{ pattern = 'user=(?<user>\w+)', into = { q = "x" } }]"#,
        "/extract/0/into/q",
        "the pattern has no group `q`: it would be `(?<q>…)`",
    );
    mistake(r#"extract = { pattern = '(a)', into = { q = "x" } }"#, "/extract/into/q", "no group `q`");
    mistake(
        r#"[resource]
        extract = [{ from = "k", pattern = '(?<a>a)' }, { from = "k", pattern = '(?<a>a)', into = { a = "a", 2 = "x" } }]"#,
        "/resource/extract/1/into/2",
        "no group 2: there are at most 1, and 0 is the whole match",
    );
    mistake(
        r#"rules = [{ set = { a = 1 } }, { extract = [{ pattern = '(?<a>a)', into = { "a/b~c" = "x" } }] }]"#,
        "/rules/1/extract/0/into/a~1b~0c",
        "no group `a/b~c`",
    );
    let taken =
        r#"extract = [{ pattern = '(?x) ( ?P<a>\w ) ( [(] )', into = { a = "a", 0 = "b", 2 = "c" } }]"#;
    let out = relabel(taken, json!({}), json!({ "body": "x(" }));
    assert_eq!(out.records()[0]["attributes"], json!({ "a": "x", "b": "x(", "c": "(" }));
}

#[test]
fn lifts_pinos_lines() {
    let config = "
        parse_json = true
        severity = true
    ";
    let line = r#"{"level":50,"time":1700000000000,"pid":7,"msg":"no stock","req":{"method":"GET"},"ok":false,"none":null}"#;
    let out = relabel(config, json!({}), json!({ "body": line }));
    let record = &out.records()[0];
    assert_eq!(record["body"], line);
    assert_eq!(record["severityNumber"], 17);
    assert_eq!(record["severityText"], "ERROR");
    assert_eq!(
        record["attributes"],
        json!({
            "level": "error", "time": 1_700_000_000_000_i64, "pid": 7, "msg": "no stock",
            "req.method": "GET", "ok": false,
        })
    );
}

#[test]
fn parses_what_is_asked_for() {
    let config = r#"
        [parse_json]
        from = "payload"
        fields = ["a", "b"]
        prefix = "p."
        body = "message"
        nested = "whole"
        overwrite = false
    "#;
    let payload = r#" {"a": {"x": [1, 2.5]}, "b": "new", "c": 1, "message": "hello"}"#;
    let out = relabel(config, json!({}), json!({ "attributes": { "payload": payload, "p.b": "old" } }));
    let record = &out.records()[0];
    assert_eq!(record["body"], "hello");
    assert_eq!(record["attributes"], json!({ "payload": payload, "p.b": "old", "p.a": { "x": [1, 2.5] } }));
}

#[test]
fn counts_what_is_no_json_and_what_is_too_much() {
    let fields: serde_json::Map<String, Json> = (0..200).map(|n| (format!("k{n}"), json!(n))).collect();
    let records =
        json!([{ "body": "plain" }, { "body": "{broken" }, { "body": Json::from(fields).to_string() }]);
    let out = test::run::<Relabel>("parse_json = true", test::logs(json!({}), records)).unwrap();
    assert_eq!(out.counters["parse_json_invalid"], 1);
    assert_eq!(out.counters["parse_json_left_out"], 72);
    assert_eq!(out.records()[2]["attributes"].as_object().unwrap().len(), 128);
}

#[test]
fn maps_severities_both_ways() {
    let severity = |config: &str, record: Json| {
        let out = relabel(config, json!({}), record);
        let record = out.records()[0].clone();
        (
            record["severityNumber"].clone(),
            record["severityText"].clone(),
            record["attributes"]["level"].clone(),
        )
    };
    let level = |level: Json| json!({ "attributes": { "level": level } });
    let mapped = |number: i64, text: &str, level: &str| (json!(number), json!(text), json!(level));

    assert_eq!(severity("severity = true", level(json!(10))), mapped(1, "TRACE", "trace"));
    assert_eq!(severity("severity = true", level(json!(35))), mapped(9, "INFO", "info"));
    assert_eq!(severity("severity = true", level(json!("60"))), mapped(21, "FATAL", "fatal"));
    assert_eq!(severity("severity = true", level(json!("Warning"))), mapped(13, "WARN", "warn"));
    assert_eq!(
        severity(r#"severity = "@severity_text""#, json!({ "severityText": "err" })),
        mapped(17, "ERROR", "error")
    );
    assert_eq!(
        severity(r#"severity = "@severity_number""#, json!({ "severityNumber": 10 })),
        mapped(10, "INFO", "info")
    );
    assert_eq!(
        severity(r#"severity = { map = { Loud = "error" }, attribute = false }"#, level(json!("LOUD"))),
        mapped(17, "ERROR", "LOUD")
    );
    let keep = json!({ "severityNumber": 9, "attributes": { "level": "error" } });
    assert_eq!(severity("severity = { overwrite = false }", keep.clone()).0, json!(9));
    assert_eq!(severity("severity = true", keep).0, json!(17));

    let out = relabel("severity = true", json!({}), level(json!("loud")));
    assert_eq!(out.counters["severity_unknown"], 1);
    assert_eq!(out.records()[0]["attributes"]["level"], "loud");
}

/// A rule that a signal has no use for does nothing in it, and fails nothing.
#[test]
fn leaves_signals_alone_that_do_not_have_it() {
    let config = r#"
        severity = true
        parse_json = true
        extract = ['(?<x>\w+)']
        set = { "@severity_text" = "x", "@body" = "y" }
        [[rules]]
        when = { field = "body", present = true }
        set = { marked = true }
    "#;
    let mut plugin = test::Instance::<Relabel>::new(config).unwrap();
    let span = json!([{ "traceId": "11111111111111111111111111111111", "spanId": "1111111111111111", "name": "GET" }]);
    assert_eq!(plugin.run(test::spans(json!({}), span)).unwrap().records()[0]["attributes"], json!({}));
    let points = test::data_points(json!({}), "m", json!([{ "asInt": "1" }]));
    assert_eq!(plugin.run(points).unwrap().records()[0]["attributes"], json!({}));
}

#[test]
fn sees_only_the_signals_that_it_changes() {
    let signals =
        |config: &str| test::Instance::<Relabel>::new(config).unwrap().registration().signals.clone();
    assert_eq!(signals("severity = true"), [Signal::Logs]);
    assert_eq!(signals("link.remove = \"x\""), [Signal::Traces]);
    assert_eq!(signals("metric.set = { x = 1 }"), [Signal::Metrics]);
    assert_eq!(signals("remove = \"x\"").len(), 3);
    assert_eq!(signals("").len(), 0);
}

/// They would hold for no row.
#[test]
fn conditions_on_one_of_nothing_are_mistakes() {
    for when in [
        r#"{ attribute = "level", one_of = [] }"#,
        "{ any = [] }",
        r#"{ attribute = "level", present = true, any = [] }"#,
        "{ signal = [] }",
    ] {
        mistake(&format!("[[rules]]\nwhen = {when}"), "/rules/0/when", "an empty list");
    }
    mistake("[[rules]]\nwhen = { not = { any = [] } }", "/rules/0/when/not", "an empty list");
    mistake("[[rules]]\nwhen = { all = [] }", "/rules/0/when", "an empty condition");
}

#[test]
fn fields_do_not_take_every_value() {
    let trace_id = "a trace's id: 32 hexadecimal digits, not all zero";
    mistake(r#"set = { "@trace_id" = "zz" }"#, "/set/@trace_id", trace_id);
    mistake(r#"set = [{ key = "@trace_id", value = "00f067aa0ba902b7" }]"#, "/set/0", trace_id);
    mistake(
        r#"insert = { "@span_id" = "0000000000000000" }"#,
        "/insert/@span_id",
        "a span's id: 16 hexadecimal digits, not all zero",
    );
    mistake(r#"set = { "@severity_number" = "high" }"#, "/set/@severity_number", "an integer from 1 to 24");
    mistake(r#"update = { "@severity_number" = 99 }"#, "/update/@severity_number", "an integer from 1 to 24");
    mistake(r#"update = [{ key = "@kind", value = 6 }]"#, "/update/0", "an integer from 0 to 5");
    mistake(r#"set = { "@status_code" = 3 }"#, "/set/@status_code", "an integer from 0 to 2");
    mistake(r#"set = { "@flags" = 4294967296 }"#, "/set/@flags", "an integer from 0 to 4294967295");
    let time = "nanoseconds since 1970, an integer not below 0";
    mistake(r#"set = { "@time_unix_nano" = "2026-01-01T00:00:00Z" }"#, "/set/@time_unix_nano", time);
    mistake(r#"set = { "@end_time_unix_nano" = -1 }"#, "/set/@end_time_unix_nano", time);
    mistake(r#"set = { "@severity_text" = 1 }"#, "/set/@severity_text", "a text");
    mistake(r#"metric.set = { "@unit" = ["By"] }"#, "/metric/set/@unit", "a text");
    mistake(r#"exemplar.set = { "@number" = "1" }"#, "/exemplar/set/@number", "a number");
    mistake(
        "rules = [{ set = { \"@trace_id\" = true } }]",
        "/rules/0/set/@trace_id",
        "`@trace_id` holds a trace's id",
    );
}

#[test]
fn hashes_are_texts() {
    mistake(r#"hash = ["a", "@trace_id"]"#, "/hash/1", "a hash is a text, and `@trace_id` holds none");
    mistake(r#"hash = "@severity_number""#, "/hash", "`copy` it to an attribute and hash that");
    mistake(r#"link.hash = ["@flags"]"#, "/link/hash/0", "a hash is a text");
    let config = r#"hash = ["@body", "@severity_text"]"#;
    let out = relabel(config, json!({}), json!({ "body": "ann", "severityText": "ann" }));
    // printf ann | sha256sum
    let hashed = "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1";
    assert_eq!(out.records()[0]["body"], hashed);
    assert_eq!(out.records()[0]["severityText"], hashed);
}

#[test]
fn fields_do_not_take_every_field() {
    mistake(r#"copy = { "@trace_id" = "@span_id" }"#, "/copy/@trace_id", "a span's id");
    mistake(r#"copy = { "@severity_number" = "@severity_text" }"#, "/copy/@severity_number", "a text");
    mistake(
        r#"link.copy = [{ from = "@kind", level = "record", to = "@trace_id" }]"#,
        "/link/copy/0",
        "`@kind` is never what `@trace_id` holds: a trace's id",
    );
}

#[test]
fn names_attributes_whose_keys_begin_with_an_at() {
    let before = json!({ "@body": 1, "@@x": 2, "c": 3 });
    for (config, after) in [
        (r#"remove = "@@body""#, json!({ "@@x": 2, "c": 3 })),
        (r#"keep = ["@@body", "c"]"#, json!({ "@body": 1, "c": 3 })),
        (r#"keep = { pattern = '^@b' }"#, json!({ "@body": 1 })),
        (r#"rename = { "@@body" = "b", "@@@x" = "@@y" }"#, json!({ "b": 1, "@y": 2, "c": 3 })),
        (r#"rename = [{ from = "c", to = "@@c" }]"#, json!({ "@body": 1, "@@x": 2, "@c": 3 })),
        (r#"rename = [{ pattern = '^c$', to = "@@$0" }]"#, json!({ "@body": 1, "@@x": 2, "@c": 3 })),
        (r#"copy = { "@@body" = "@@c" }"#, json!({ "@body": 1, "@@x": 2, "c": 3, "@c": 1 })),
        (r#"copy = [{ pattern = '^c$', to = "@@c" }]"#, json!({ "@body": 1, "@@x": 2, "c": 3, "@c": 3 })),
        (r#"set = { "@@body" = 4 }"#, json!({ "@body": 4, "@@x": 2, "c": 3 })),
        (
            r#"rules = [{ when = { attribute = "@@body", equals = 1 }, remove = "c" }]"#,
            json!({ "@body": 1, "@@x": 2 }),
        ),
        (
            r#"rules = [{ when = { record = "@@@x", equals = 2 }, remove = "c" }]"#,
            json!({ "@body": 1, "@@x": 2 }),
        ),
    ] {
        assert_eq!(attributes(config, before.clone()), after, "{config}");
    }
    assert_eq!(
        attributes(r#"severity = { from = "l", attribute = "@@level" }"#, json!({ "l": "warn" })),
        json!({ "l": "warn", "@level": "warn" })
    );
}

#[test]
fn a_field_is_no_attribute() {
    let copied = "`copy` it in one rule and `remove` it in the next";
    let doubled = "an attribute of this name is written `@@body`";
    mistake(r#"rename = { "@body" = "line" }"#, "/rename/@body", copied);
    mistake(r#"rename = { "@body" = "line" }"#, "/rename/@body", doubled);
    mistake(r#"rename = { line = "@body" }"#, "/rename/line", copied);
    mistake(r#"rename = { "@timestamp" = "time" }"#, "/rename/@timestamp", "`@@timestamp`");
    mistake(r#"rename = [{ from = "@body", to = "line" }]"#, "/rename/0/from", copied);
    mistake(r#"rename = [{ from = "line", to = "@body" }]"#, "/rename/0/to", copied);
    mistake(r#"rename = [{ pattern = '^l', to = "@$0" }]"#, "/rename/0/to", "`@@$0`");
    mistake(r#"keep = ["a", "@body"]"#, "/keep/1", "`keep` leaves fields as they are");
    mistake(r#"keep = ["a", "@body"]"#, "/keep/1", doubled);
    mistake("keep = { pattern = '[' }", "/keep/pattern", "unclosed");
    mistake(r#"copy = [{ pattern = '^l', to = "@body" }]"#, "/copy/0", "`from` copies to it");
    mistake(r#"copy = [{ pattern = '^l', to = "@$0" }]"#, "/copy/0/to", "`@@$0`");
    mistake(r#"remove = "@timestamp""#, "/remove", "`@@timestamp`");
    mistake(r#"severity = { attribute = "@body" }"#, "/severity", doubled);
    mistake(
        r#"rules = [{ when = { attribute = "@body", present = true }, remove = "a" }]"#,
        "/rules/0/when",
        "`field = \"body\"`",
    );
    mistake(
        r#"rules = [{ when = { attribute = "@timestamp", present = true }, remove = "a" }]"#,
        "/rules/0/when/attribute",
        "`@@timestamp`",
    );
}

#[test]
fn mistakes_have_their_place() {
    mistake(
        "sett = { a = 1 }",
        "/sett",
        "unknown key `sett`; there are parse_json, extract, severity, remove",
    );
    mistake("resource.when = { signal = \"logs\" }", "/resource/when", "conditions go into `rules`");
    mistake(
        "[[rules]]\nset = { a = 1 }\n[[rules]]\nwhen = { attribute = \"x\" }",
        "/rules/1/when",
        "a place without a test",
    );
    mistake("[[rules]]\nwhen = { equals = 1 }", "/rules/0/when", "a test without a place");
    mistake("[[rules]]\nwhen = {}", "/rules/0/when", "an empty condition");
    mistake(
        "[[rules]]\nwhen = { attribute = \"x\", matches = \"(\" }",
        "/rules/0/when/matches",
        "unclosed group",
    );
    mistake(
        "[[rules]]\nlevel = \"resource\"\nwhen = { record = \"x\", present = true }",
        "/rules/0",
        "the rule's level would be `record`",
    );
    mistake(
        "[[rules]]\nlevel = \"records\"",
        "/rules/0/level",
        "no level `records`; there are resource, scope",
    );
    mistake("set = { \"@trace\" = 1 }", "/set/@trace", "no field `trace`");
    mistake("resource.set = { \"@body\" = \"x\" }", "/resource", "a resource has no field `body`");
    mistake("scope.remove = [\"@kind\"]", "/scope", "a scope has no field `kind`");
    mistake("hash_key = \"short\"", "/hash_key", "16");
    mistake("extract = 'no group'", "/extract", "no named group");
    mistake("remove = [\"a\", { pattern = '[' }]", "/remove/1/pattern", "unclosed");
    mistake("rename = [{ to = \"x\" }]", "/rename/0", "either `from` or `pattern`");
    mistake("resource.severity = true", "/resource", "only records have a severity");
}
