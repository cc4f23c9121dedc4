//! Plugins in the data path: what leaves and where to, what the sender is told, and what happens where a
//! plugin cannot be had.

use crate::kit::{
    Answer, Behaviour, Folder, Request, SECRET_HASH, Seen, Tollgate, Upstream, compress, eventually,
    fails_to_start, http2::Http2Upstream, tollgate,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message;
use std::{fs, os::unix::fs::PermissionsExt};

/// Records go where their attribute `to` says; `nowhere` is discarded, and without it they stay.
const SPLIT: &str = r#"
[plugin.split]
component = "builtin:route"

[plugin.split.config]
rules = [
  { when = { attribute = "to", equals = "nowhere" }, discard = true },
  { when = { attribute = "to", equals = "archive" }, to = "archive" },
  { when = { attribute = "to", equals = "loki" }, to = "loki" },
  { when = { attribute = "to", equals = "both" }, to = ["default", "archive"] },
  { when = { attribute = "to", equals = "twins" }, to = ["archive", "archive-too"] },
]
"#;

/// The tenant's own upstream and two further ones.
struct Scene {
    own: Upstream,
    archive: Upstream,
    loki: Upstream,
    tollgate: Tollgate,
}

impl Scene {
    fn start() -> Self {
        Self::start_with("", "")
    }

    /// With more lines in the table of the own upstream, and in that of the archive.
    fn start_with(of_own: &str, of_archive: &str) -> Self {
        let [own, archive, loki] = [(); 3].map(|()| Upstream::start(Behaviour::ok()));
        let config = format!(
            r#"
plugin_cache = false
{DOOR}
plugins = ["split"]
routes = {{ archive = "archive", archive-too = "archive", loki = "loki" }}
{SPLIT}
[upstream.own]
endpoint = "http://{}"
{of_own}

[upstream.archive]
endpoint = "http://{}"
{of_archive}

[upstream.loki]
endpoint = "http://{}"
"#,
            own.address(),
            archive.address(),
            loki.address()
        );
        let tollgate = Tollgate::start(&config);
        Self { own, archive, loki, tollgate }
    }

    fn send(&self, records: &[(&str, &str)]) -> Answer {
        self.tollgate.send(&Request::post("/v1/logs", logs(records)).by_shop())
    }

    fn records(&self, state: &str) -> f64 {
        self.tollgate.metric("tollgate_records_total", &[("tenant", "shop"), ("state", state)])
    }
}

/// A listener and a tenant; more lines of the tenant's table may follow.
pub const DOOR: &str = r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{ user = "oxygen", password_hash = "$SECRET" }]
upstream = "own"
"#;

/// A door whose tenant has one plugin.
pub fn with_plugin(upstream: &Upstream, of_upstream: &str, plugin: &str) -> String {
    format!(
        "plugin_cache = false\n{DOOR}plugins = [\"own\"]\n\n[plugin.own]\n{plugin}\n\n\
         [upstream.own]\nendpoint = \"http://{}\"\n{of_upstream}\n",
        upstream.address()
    )
}

/// A batch of records, each with a body and where it goes.
pub fn logs(records: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) });
    let attribute = |to: &str| KeyValue { key: "to".to_owned(), value: text(to), ..KeyValue::default() };
    let record = |(body, to): &(&str, &str)| LogRecord {
        body: text(body),
        attributes: (!to.is_empty()).then(|| attribute(to)).into_iter().collect(),
        ..LogRecord::default()
    };
    let log_records = records.iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

/// The bodies of what arrived last, sorted; none, where nothing did.
pub fn arrived(upstream: &Upstream) -> Vec<String> {
    upstream.seen().last().map(|seen| bodies(&seen.body)).unwrap_or_default()
}

fn bodies(message: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(message).expect("protobuf");
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let records = scopes.flat_map(|scope| scope.log_records);
    let mut bodies: Vec<String> = records
        .filter_map(|record| match record.body?.value? {
            Any::StringValue(text) => Some(text),
            _ => None,
        })
        .collect();
    bodies.sort();
    bodies
}

/// What the sender is told of the records that were refused: how many, and in which words.
fn partial(answer: &Answer) -> (i64, String) {
    let response = ExportLogsServiceResponse::decode(&*answer.body).expect("protobuf");
    let partial = response.partial_success.unwrap_or_default();
    (partial.rejected_log_records, partial.error_message)
}

fn header_of(seen: &Seen, name: &str) -> String {
    seen.header(name).unwrap_or_default()
}

#[test]
fn every_record_goes_where_it_was_sent() {
    let scene = Scene::start();
    let answer = scene.send(&[
        ("stays", ""),
        ("filed", "archive"),
        ("shown", "loki"),
        ("everywhere", "both"),
        ("once", "twins"),
        ("gone", "nowhere"),
    ]);
    assert_eq!((answer.status, partial(&answer)), (200, (0, String::new())));
    assert_eq!(arrived(&scene.own), ["everywhere", "stays"]);
    assert_eq!(arrived(&scene.archive), ["everywhere", "filed", "once"], "once, under two names of one");
    assert_eq!(arrived(&scene.loki), ["shown"]);
    assert_eq!(scene.archive.seen().len(), 1, "three parts are one request");
    let ids = [&scene.own, &scene.archive, &scene.loki].map(|to| header_of(&to.last(), "x-request-id"));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    let line = scene.tollgate.access_line(&answer);
    assert_eq!(line["records"], 6);
    assert_eq!(line["records_discarded"], 1);
    assert_eq!(line["records_routed"], 4);
    assert_eq!(line["outcome"], "delivered");
    assert_eq!(line["upstream"], "own");
    assert_eq!(line["destinations"], "own:delivered,archive:delivered,loki:delivered");
    let plugins = line["plugins"].as_str().expect("how they fared");
    assert!(plugins.starts_with("split:forwarded:"), "{plugins}");
    assert!(line["transform_us"].is_u64());
    let states = ["in", "delivered", "discarded", "refused", "failed"].map(|state| scene.records(state));
    assert_eq!(states, [6.0, 5.0, 1.0, 0.0, 0.0]);
    for upstream in ["own", "archive", "loki"] {
        let labels = [("upstream", upstream), ("outcome", "delivered")];
        assert_eq!(scene.tollgate.metric("tollgate_upstream_requests_total", &labels), 1.0, "{upstream}");
    }
}

#[test]
fn what_several_upstreams_say_is_told_as_one() {
    let scene = Scene::start();
    let ok = Behaviour::ok;
    let refuse = || Behaviour::text(400, "no labels");
    let busy = |status, seconds: &str| {
        Behaviour::Answer(status, vec![("Retry-After", seconds.to_owned())], b"busy".to_vec())
    };
    // The own upstream, the archive and Loki; the status, the wait, and the records of a partial success.
    let table = [
        (ok(), ok(), ok(), 200, None, 0),
        (ok(), refuse(), ok(), 200, None, 2),
        (refuse(), ok(), refuse(), 200, None, 2),
        (refuse(), refuse(), refuse(), 400, None, 0),
        (ok(), busy(503, "7"), ok(), 503, Some("7"), 0),
        (busy(429, "3"), busy(503, "20"), refuse(), 503, Some("20"), 0),
        (busy(429, "30"), busy(503, "20"), ok(), 429, Some("30"), 0),
        (ok(), Behaviour::text(500, "never"), ok(), 200, None, 2),
        (ok(), Behaviour::text(401, "who are you"), ok(), 503, Some("5"), 0),
        (ok(), Behaviour::Close, ok(), 502, Some("5"), 0),
    ];
    for (number, (own, archive, loki, status, wait, rejected)) in table.into_iter().enumerate() {
        scene.own.behave(own);
        scene.archive.behave(archive);
        scene.loki.behave(loki);
        let before = scene.loki.seen().len();
        let answer = scene.send(&[("a", ""), ("b", "archive"), ("c", "archive"), ("d", "loki")]);
        assert_eq!(answer.status, status, "line {number}: {}", answer.text());
        assert_eq!(answer.header("retry-after"), wait, "line {number}");
        assert_eq!(scene.loki.seen().len(), before + 1, "line {number}: all are sent to at once");
        if status == 200 {
            let (records, words) = partial(&answer);
            assert_eq!(records, rejected, "line {number}: {words}");
        }
    }
    scene.own.behave(ok());
    scene.archive.behave(refuse());
    scene.loki.behave(ok());
    let answer = scene.send(&[("a", ""), ("b", "archive"), ("c", "loki")]);
    let words = "archive: the destination refused the batch: no labels".to_owned();
    assert_eq!(partial(&answer), (1, words));
    let line = scene.tollgate.access_line(&answer);
    assert_eq!(line["destinations"], "own:delivered,archive:rejected,loki:delivered");
    let settled: f64 =
        ["delivered", "discarded", "refused", "failed"].map(|state| scene.records(state)).iter().sum();
    assert_eq!(scene.records("in"), settled);
}

#[test]
fn nothing_leaves_unless_every_upstream_has_room() {
    let scene = Scene::start_with("", "limits = { in_flight = 1, body = 2000 }");
    let large = "x".repeat(3000);
    let answer = scene.send(&[("a", ""), (&large, "archive")]);
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.status_message().contains("2000 bytes"), "{}", answer.status_message());

    scene.archive.behave(Behaviour::Hang);
    let door = scene.tollgate.address("door");
    let waiting = std::thread::spawn(move || {
        let request = Request::post("/v1/logs", logs(&[("b", "archive")])).by_shop();
        let _ = crate::kit::Connection::tcp(door).try_send(&request);
    });
    let in_flight =
        || scene.tollgate.metric("tollgate_upstream_in_flight_requests", &[("upstream", "archive")]);
    eventually("the archive is busy", || (in_flight() == 1.0).then_some(()));
    let answer = scene.send(&[("c", ""), ("d", "archive"), ("e", "loki")]);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
    assert_eq!(scene.tollgate.access_line(&answer)["reason"], "overload");
    assert_eq!((scene.own.seen().len(), scene.loki.seen().len()), (0, 0), "nobody got anything");
    let labels = [("scope", "upstream"), ("limit", "in_flight")];
    assert_eq!(scene.tollgate.metric("tollgate_admission_denials_total", &labels), 1.0);
    drop(scene);
    waiting.join().expect("the sender");
}

#[test]
fn an_upstream_that_hangs_keeps_nobody_from_another() {
    let scene = Scene::start_with("limits = { in_flight = 1 }", "");
    scene.archive.behave(Behaviour::Hang);
    let door = scene.tollgate.address("door");
    let in_flight =
        |upstream| scene.tollgate.metric("tollgate_upstream_in_flight_requests", &[("upstream", upstream)]);
    // One goes to the archive only, and one to both: the own upstream answers, and the archive does not.
    let mut waiting = Vec::new();
    for records in [&[("a", "archive")][..], &[("b", "archive"), ("c", "")]] {
        let request = Request::post("/v1/logs", logs(records)).by_shop();
        waiting.push(std::thread::spawn(move || {
            let _ = crate::kit::Connection::tcp(door).try_send(&request);
        }));
        eventually("the archive hangs, and the own upstream is free", || {
            ((in_flight("archive"), in_flight("own")) == (waiting.len() as f64, 0.0)).then_some(())
        });
    }
    assert_eq!(scene.send(&[("d", "")]).status, 200);
    drop(scene);
    waiting.into_iter().for_each(|sender| sender.join().expect("a sender"));
}

#[test]
fn records_that_are_smaller_than_what_it_takes_to_find_them_are_refused() {
    let upstream = Upstream::start(Behaviour::ok());
    let plugin = "component = \"builtin:relabel\"\nconfig.set = { a = \"b\" }";
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", plugin));
    // A scope of two million records without anything in them: 4 MB, or 4 kB with gzip.
    let records = [0x12, 0].repeat(2_000_000);
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        [out, content.to_vec()].concat()
    };
    let request = field(1, &field(2, &records));
    let sent = Request::post("/v1/logs", compress("gzip", &request)).header("Content-Encoding", "gzip");
    let answer = tollgate.send(&sent.by_shop());
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.status_message().contains("2000000 records"), "{}", answer.status_message());
    assert_eq!(tollgate.access_line(&answer)["reason"], "too_many_records");
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_batch_of_which_nothing_is_left_is_answered_and_not_sent() {
    let scene = Scene::start();
    let answer = scene.send(&[("a", "nowhere"), ("b", "nowhere")]);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(scene.own.seen().is_empty());
    let line = scene.tollgate.access_line(&answer);
    assert_eq!((&line["outcome"], &line["records_discarded"]), (&"answered".into(), &2.into()));
    assert_eq!(["in", "delivered", "discarded"].map(|state| scene.records(state)), [2.0, 0.0, 2.0]);
    // All of it elsewhere: the own upstream gets nothing.
    let answer = scene.send(&[("a", "archive")]);
    assert_eq!(answer.status, 200);
    assert_eq!((scene.own.seen().len(), arrived(&scene.archive)), (0, vec!["a".to_owned()]));
    let line = scene.tollgate.access_line(&answer);
    assert_eq!((&line["upstream"], &line["records_routed"]), (&"archive".into(), &1.into()));
}

#[test]
fn parts_leave_in_the_form_that_each_upstream_wants() {
    let scene = Scene::start_with("encoding = \"json\"\ncompression = \"none\"", "compression = \"gzip\"");
    let body = logs(&[("a", ""), ("b", "archive"), ("c", "loki")]);
    let mut request = Request::post("/v1/logs", compress("zstd", &body)).by_shop();
    request = request.header("Content-Encoding", "zstd");
    assert_eq!(scene.tollgate.send(&request).status, 200);
    let (own, archive, loki) = (scene.own.last(), scene.archive.last(), scene.loki.last());
    let json: serde_json::Value = serde_json::from_slice(&own.body).expect("JSON");
    assert_eq!(json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"], "a");
    assert_eq!(header_of(&archive, "content-encoding"), "gzip");
    assert_eq!(header_of(&loki, "content-encoding"), "zstd", "as it came");
    assert_eq!(bodies(&zstd::decode_all(&*loki.body).expect("zstd")), ["c"]);
}

#[test]
fn what_no_plugin_changed_leaves_as_the_bytes_that_came() {
    let upstream = Upstream::start(Behaviour::ok());
    // A plugin that looks at every record and finds nothing to do.
    let plugin = "component = \"builtin:relabel\"\nconfig.update = { \"not.there\" = \"x\" }";
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", plugin));
    let json = r#"{ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [ {"body":{"stringValue":"hello"}} ]}]}], "ours": 1 }"#;
    for (path, message, media_type) in [
        ("/v1/logs", logs(&[("a", ""), ("b", "")]), "application/x-protobuf"),
        ("/v1/logs", json.as_bytes().to_vec(), "application/json"),
    ] {
        for compression in ["identity", "gzip", "zstd", "deflate"] {
            let sent = compress(compression, &message);
            let request = Request::post(path, sent.clone()).header("Content-Type", media_type).by_shop();
            let answer = tollgate.send(&request.header("Content-Encoding", compression));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = upstream.last();
            assert!(seen.body == sent, "{media_type} {compression}");
            assert_eq!(header_of(&seen, "content-type"), media_type);
            let line = tollgate.access_line(&answer);
            assert!(line["plugins"].as_str().is_some_and(|plugins| plugins.starts_with("own:forwarded:")));
            assert_eq!(line["destinations"], serde_json::Value::Null);
        }
    }
}

#[test]
fn unknown_fields_of_json_go_where_a_plugin_drops_them() {
    let upstream = Upstream::start(Behaviour::ok());
    let record = r#"{"body":{"stringValue":"hello"},"mystery":"ann@example.com"}"#;
    let json = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}],"x":"bob@example.com"}}"#
    );
    for (unknown_fields, stay) in [("keep", true), ("drop", false)] {
        let plugin = format!("component = \"builtin:redact\"\nconfig.unknown_fields = \"{unknown_fields}\"");
        let tollgate = Tollgate::start(&with_plugin(&upstream, "", &plugin));
        let answer = tollgate.send(&Request::json("/v1/logs", &json).by_shop());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = String::from_utf8(upstream.last().body).expect("JSON");
        assert!(seen.contains("hello"), "{seen}");
        assert_eq!((seen.contains("ann@"), seen.contains("bob@")), (stay, stay), "{unknown_fields}: {seen}");
    }
}

#[test]
fn what_a_plugin_changed_leaves_as_it_came_in_encoding_and_compression() {
    let upstream = Upstream::start(Behaviour::ok());
    let plugin = "component = \"builtin:relabel\"\nconfig.insert = { processed_by = \"tollgate\" }";
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", plugin));
    let sent = compress("gzip", &logs(&[("a", "")]));
    let request = Request::post("/v1/logs", sent).header("Content-Encoding", "gzip").by_shop();
    assert_eq!(tollgate.send(&request).status, 200);
    let seen = upstream.last();
    assert_eq!(header_of(&seen, "content-encoding"), "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*seen.body), &mut plain).expect("gzip");
    assert!(plain.windows(12).any(|piece| piece == b"processed_by"));

    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;
    assert_eq!(tollgate.send(&Request::json("/v1/logs", json).by_shop()).status, 200);
    let seen: serde_json::Value = serde_json::from_slice(&upstream.last().body).expect("JSON");
    let record = &seen["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "hello");
    assert_eq!(record["attributes"][0]["key"], "processed_by");
}

#[test]
fn grpc_passes_plugins_too() {
    let upstream = Http2Upstream::start(None);
    let plugin = "component = \"builtin:relabel\"\nconfig.insert = { processed_by = \"tollgate\" }";
    let config = format!(
        "plugin_cache = false\n{DOOR}plugins = [\"own\"]\n\n[plugin.own]\n{plugin}\n\n\
         [upstream.own]\nendpoint = \"http://{}\"\nprotocol = \"grpc\"\n",
        upstream.address()
    );
    let tollgate = Tollgate::start(&config);
    upstream.reply(crate::kit::http2::Reply::grpc(&[]));
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let sender = crate::kit::http2::Http2::plain(tollgate.address("door"));
    let answer = sender.send(&Request::grpc(path, &logs(&[("a", "")])).by_shop());
    assert_eq!(answer.grpc_status(), 0, "{}", answer.grpc_message());
    let seen = upstream.seen().pop().expect("a call");
    assert!(seen.body.windows(12).any(|piece| piece == b"processed_by"));
}

/// Two tenants; the first has a plugin whose file is not there.
fn with_missing_plugin(upstream: &Upstream) -> String {
    with_plugin(upstream, "", "component = \"nowhere.wasm\"")
        + "\n[tenant.blog]\ncredentials = [{ user = \"blog\", password_hash = \"$SECRET\" }]\nupstream = \"own\"\n"
}

#[test]
fn a_plugin_that_does_not_load_stops_only_its_tenants() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&with_missing_plugin(&upstream));
    let request = || Request::post("/v1/logs", logs(&[("a", "")]));
    let answer = tollgate.send(&request().by_shop());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(answer.status_message().contains("plugins"), "{}", answer.status_message());
    assert!(!answer.text().contains("nowhere"), "where files are is nothing for a sender");
    let line = tollgate.access_line(&answer);
    assert_eq!((&line["refused_by"], &line["reason"]), (&"plugin".into(), &"plugins_unavailable".into()));
    assert_eq!(tollgate.send(&request().login("blog", "secret")).status, 200);
    assert_eq!(tollgate.metric("tollgate_plugins_unavailable", &[("tenant", "shop")]), 1.0);
    assert!(!tollgate.admin("/metrics").text().contains("tollgate_plugins_unavailable{tenant=\"blog\"}"));
    let said = tollgate.wait_for_line(
        "plugin does not load: its tenant is refused until it is mended and the configuration reloaded",
    );
    assert_eq!(
        (&said["level"], &said["tenant"], &said["plugin"]),
        (&"ERROR".into(), &"shop".into(), &"own".into())
    );
    assert!(said["why"].as_str().is_some_and(|why| why.contains("nowhere.wasm")), "{said}");

    // Without the plugin it goes on at once.
    assert!(tollgate.reload(&with_missing_plugin(&upstream).replace("plugins = [\"own\"]", "plugins = []")));
    assert_eq!(tollgate.send(&request().by_shop()).status, 200);
    assert!(!tollgate.reload(&with_missing_plugin(&upstream)), "a reload may stop nobody who is served");
    assert!(tollgate.log_text().contains("nowhere.wasm"));
    assert_eq!(tollgate.send(&request().by_shop()).status, 200);
}

#[test]
fn a_plugin_that_does_not_load_stops_a_strict_start() {
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    let text = with_missing_plugin(&upstream).replace("$SECRET", SECRET_HASH);
    let path = folder.path().join("tollgate.toml");
    fs::write(&path, text).expect("writing");
    let path = path.display().to_string();
    let said = |arguments: &[&str]| {
        let output = tollgate(&[arguments, &["--config", &path]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = said(&["check"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("warning: plugin `own` does not load"), "{words}");
    assert!(words.contains("component = \"nowhere.wasm\""), "{words}");
    for command in ["check", "run"] {
        let (code, words) = said(&[command, "--strict"]);
        assert_eq!(code, Some(78), "{command}: {words}");
        assert!(words.contains("error: plugin `own` does not load"), "{command}: {words}");
    }
}

#[test]
fn what_a_plugin_says_of_its_configuration_is_shown_at_its_place() {
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    for (plugin, place, words) in [
        ("component = \"builtin:relabel\"\nconfig.insrt = { a = \"b\" }", "tollgate.toml:13:", "insrt"),
        (
            "component = \"builtin:route\"\nconfig.rules = [{ to = \"archive\" }]",
            "",
            "unknown destination `archive`",
        ),
    ] {
        let config = with_plugin(&upstream, "", plugin);
        let (code, said) = fails_to_start(&folder, &config);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(place) && said.contains(words), "{place} {words}:\n{said}");
        let path = folder.path().join("tollgate.toml").display().to_string();
        let checked = tollgate(&["check", "--config", &path]);
        assert_eq!(checked.status.code(), Some(78));
        assert!(String::from_utf8_lossy(&checked.stderr).contains(words));
    }
}

#[test]
fn a_reload_brings_other_plugins_and_a_bad_one_changes_nothing() {
    let upstream = Upstream::start(Behaviour::ok());
    let plugin = |value: &str| {
        let plugin =
            format!("component = \"builtin:relabel\"\nconfig.insert = {{ processed_by = \"{value}\" }}");
        with_plugin(&upstream, "", &plugin)
    };
    let tollgate = Tollgate::start(&plugin("first"));
    let processed_by = || {
        assert_eq!(tollgate.send(&Request::post("/v1/logs", logs(&[("a", "")])).by_shop()).status, 200);
        let body = upstream.last().body;
        ["first", "second"]
            .into_iter()
            .find(|value| body.windows(value.len()).any(|at| at == value.as_bytes()))
    };
    assert_eq!(processed_by(), Some("first"));
    assert!(tollgate.reload(&plugin("second")));
    assert_eq!(processed_by(), Some("second"));
    for bad in [
        plugin("third").replace("config.insert", "config.insrt"),
        plugin("third").replace("builtin:relabel", "nowhere.wasm"),
        plugin("third").replace("[\"own\"]", "[\"other\"]"),
    ] {
        assert!(!tollgate.reload(&bad));
        assert_eq!(processed_by(), Some("second"));
    }
    assert!(
        tollgate.reload(
            &with_plugin(&upstream, "", "component = \"builtin:relabel\"").replace("[\"own\"]", "[]")
        )
    );
    assert_eq!(processed_by(), None);
}

#[test]
fn a_stop_does_not_wait_for_plugins_to_load() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = |plugin| with_plugin(&upstream, "", plugin);
    let mut tollgate = Tollgate::start(&config("component = \"builtin:route\"\nconfig.rules = []"));
    // Not compiled yet, which takes a while.
    tollgate.rewrite(&config("component = \"builtin:relabel\"\nconfig.set = { a = \"b\" }"));
    tollgate.signal("HUP");
    tollgate.signal("TERM");
    assert_eq!(tollgate.wait(), 0);
    assert!(tollgate.lines("configuration reloaded").is_empty());
}

#[test]
fn plugins_are_compiled_ahead_of_a_start() {
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    let path = folder.path().join("tollgate.toml");
    let config =
        with_plugin(&upstream, "", "component = \"builtin:relabel\"").replace("$SECRET", SECRET_HASH);
    let compile = |config: &str| {
        fs::write(&path, config).expect("writing");
        let output = tollgate(&["plugin", "compile", "--config", &path.display().to_string()]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = compile(&config);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("plugin_cache"), "{said}");

    let cached = config.replace("plugin_cache = false", "plugin_cache = \"cache\"");
    let (code, said) = compile(&cached);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("builtin:relabel: ready in"), "{said}");
    assert!(fs::read_dir(folder.path().join("cache")).expect("the cache").next().is_some());

    // What is not kept is not ready, whether it was compiled or not.
    let cache = folder.path().join("cache");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("it is ours");
    for _ in 0..2 {
        let (code, said) = compile(&cached);
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("ready"), "{said}");
        for words in ["builtin:relabel: is compiled, and cannot be kept", "may be written by other users"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(said.contains(&cache.display().to_string()), "{said}");
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).expect("it is ours");

    let (code, said) = compile(&cached.replace("builtin:relabel", "nowhere.wasm"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nowhere.wasm"), "{said}");
}

#[test]
fn what_redact_cannot_read_is_refused() {
    let upstream = Upstream::start(Behaviour::ok());
    let redact = "component = \"builtin:redact\"\nconfig.patterns = [\"email\"]";
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", redact));
    let profiles = || Request::post("/v1development/profiles", b"\x0a\x00".to_vec()).by_shop();
    let answer = tollgate.send(&profiles());
    assert_eq!(answer.status, 415, "{}", answer.text());
    let message = answer.status_message();
    assert!(message.contains("plugin own") && message.contains("profiles"), "{message}");
    assert!(answer.header("retry-after").is_none(), "and not to be tried again");
    let line = tollgate.access_line(&answer);
    assert_eq!((&line["refused_by"], &line["reason"]), (&"plugin".into(), &"signal_refused".into()));
    assert!(upstream.seen().is_empty());
    let mail = Request::post("/v1/logs", logs(&[("ann@example.com", "")])).by_shop();
    assert_eq!(tollgate.send(&mail).status, 200);
    assert_eq!(arrived(&upstream), ["[email]"]);

    // Other plugins let them pass.
    let relabel = "component = \"builtin:relabel\"\nconfig.set = { a = \"b\" }";
    let tollgate = Tollgate::start(&with_plugin(&upstream, "", relabel));
    assert_eq!(tollgate.send(&profiles()).status, 200);
    assert_eq!(upstream.last().body, b"\x0a\x00");
}

#[test]
fn a_plugin_at_work_is_counted() {
    let scene = Scene::start();
    assert_eq!(scene.send(&[("a", ""), ("b", "archive"), ("c", "nowhere")]).status, 200);
    let labels = [("plugin", "split"), ("tenant", "shop")];
    let count =
        |name: &str, label, value| scene.tollgate.metric(name, &[&labels[..], &[(label, value)]].concat());
    assert_eq!(count("tollgate_plugin_calls_total", "outcome", "forwarded"), 1.0);
    let effect = |effect| count("tollgate_plugin_records_total", "effect", effect);
    assert_eq!(["discarded", "routed"].map(effect), [1.0, 1.0]);
    assert_eq!(scene.tollgate.metric("tollgate_plugins_unavailable", &[("tenant", "shop")]), 0.0);
    assert_eq!(scene.tollgate.metric("tollgate_step_seconds_count", &[("step", "transform")]), 1.0);
}
