//! The Collector's `attributes`, `resource` and `redaction` processors beside `builtin:relabel` and
//! `builtin:redact`: what arrives is the same, row by row, or the corpus says why not.

mod corpus;
mod notation;
mod place;

use crate::kit::{
    Behaviour, Connection, Folder, Request, Tollgate, Upstream, eventually, has,
    real::{Running, peer},
};
use corpus::{Case, NOTHING, Side};
use place::{Batch, Place};
use serde_json::json;
use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The Collector before a sink, with a socket and pipelines for each case.
struct Collector {
    process: Running,
    folder: Folder,
    sink: Upstream,
}

impl Collector {
    fn start(program: &Path, cases: &[Case]) -> Self {
        let folder = Folder::create();
        let sink = Upstream::start(Behaviour::ok());
        // Its configuration is YAML, of which JSON is a part.
        let (mut receivers, mut processors, mut pipelines) = (json!({}), json!({}), json!({}));
        for (number, case) in cases.iter().enumerate() {
            let receiver = format!("otlp/{number}");
            let socket = socket(folder.path(), number);
            receivers[&receiver] =
                json!({ "protocols": { "http": { "endpoint": socket, "transport": "unix" } } });
            let mut names = Vec::new();
            for (kind, config) in &case.collector {
                let name = format!("{kind}/{number}");
                processors[&name] = json!(config);
                names.push(name);
            }
            for signal in case.places().map(Place::signal) {
                pipelines[format!("{signal}/{number}")] =
                    json!({ "receivers": [receiver], "processors": names, "exporters": ["otlp_http"] });
            }
        }
        let config = json!({
            "receivers": receivers,
            "processors": processors,
            "exporters": { "otlp_http": {
                "endpoint": format!("http://{}", sink.address()),
                "compression": "none",
                "sending_queue": { "enabled": false },
                "retry_on_failure": { "enabled": false },
            } },
            "service": {
                "telemetry": { "metrics": { "level": "none" }, "logs": { "level": "fatal" } },
                "pipelines": pipelines,
            },
        });
        let path = folder.path().join("collector.yaml");
        fs::write(&path, config.to_string()).expect("writing the Collector's configuration");
        let child = Command::new(program).arg("--config").arg(path).stdin(Stdio::null()).spawn();
        let mut process = Running(child.expect("starting the Collector"));
        for number in 0..cases.len() {
            eventually("the Collector's socket", || {
                if let Ok(Some(status)) = process.0.try_wait() {
                    panic!("it ended with {status}");
                }
                UnixStream::connect(socket(folder.path(), number)).ok()
            });
        }
        Self { process, folder, sink }
    }

    fn pass(&self, number: usize, place: Place, batch: &Batch) -> Result<Option<Batch>, String> {
        let connection = Connection::unix(&socket(self.folder.path(), number));
        pass(connection, request(place, batch), &self.sink, place)
    }
}

fn socket(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number}.sock"))
}

/// Tollgate before a sink, with a tenant for each case. What comes as JSON leaves as protobuf.
fn tollgate(cases: &[Case]) -> (Tollgate, Upstream) {
    let sink = Upstream::start(Behaviour::ok());
    let mut config = toml::Table::try_from(json!({
        "plugin_cache": false,
        "log": { "access": false },
        "listener": { "door": { "bind": "127.0.0.1:0" } },
        "upstream": { "sink": { "endpoint": format!("http://{}", sink.address()), "encoding": "protobuf" } },
        "plugin": {},
        "tenant": {},
    }))
    .expect("a table");
    let mut put = |table: &str, name: &str, value: serde_json::Value| {
        let value = toml::Value::try_from(value).expect("a value of TOML");
        config[table].as_table_mut().expect("a table").insert(name.to_owned(), value);
    };
    for (number, case) in cases.iter().enumerate() {
        let tenant = tenant(number);
        let mut plugins = Vec::new();
        // What is removed is not looked into.
        for kind in ["relabel", "redact"] {
            if let Some(of_plugin) = case.tollgate.get(kind) {
                let name = format!("{tenant}-{kind}");
                put("plugin", &name, json!({ "component": format!("builtin:{kind}"), "config": of_plugin }));
                plugins.push(name);
            }
        }
        assert_eq!(plugins.len(), case.tollgate.len(), "{}: a plugin that is not built in", case.name);
        let credentials = json!([{ "user": tenant, "password_hash": "$SECRET" }]);
        put("tenant", &tenant, json!({ "credentials": credentials, "upstream": "sink", "plugins": plugins }));
    }
    (Tollgate::start(&config.to_string()), sink)
}

fn tenant(number: usize) -> String {
    format!("case-{number}")
}

fn request(place: Place, batch: &Batch) -> Request {
    Request::post(&format!("/v1/{}", place.signal()), batch.encode())
}

/// Sends; what arrives at the sink, if anything does.
fn pass(
    mut connection: Connection,
    request: Request,
    sink: &Upstream,
    place: Place,
) -> Result<Option<Batch>, String> {
    let before = sink.seen().len();
    let answer = connection.send(&request);
    if answer.status != 200 {
        return Err(format!("answered with {}: {}", answer.status, answer.text()));
    }
    match &sink.seen()[before..] {
        [] => Ok(None),
        [seen] => Ok(Some(Batch::decode(place.signal(), &seen.body))),
        several => Err(format!("arrived {} times", several.len())),
    }
}

/// What became of each row. The rest of the batch must be what was sent.
fn outcome(
    place: Place,
    case: &Case,
    sent: &Batch,
    arrived: Result<Option<Batch>, String>,
) -> Result<Vec<String>, String> {
    let Some(mut arrived) = arrived? else {
        return Ok(vec![NOTHING.to_owned(); case.rows.len()]);
    };
    let rows = place.exchange(&mut arrived, case.rows.iter().map(|row| row.sent.as_str()));
    let rows = rows.ok_or_else(|| format!("not every row arrives: {arrived:#?}"))?;
    match crate::matrix::first_difference(sent, &arrived) {
        None => Ok(rows),
        Some(difference) => Err(format!("something else is not what was sent: {difference}")),
    }
}

#[test]
fn processors_and_plugins_do_the_same_or_it_is_said_why_not() {
    let mut cases = corpus::read();
    let Some(program) = peer("otelcol") else {
        has("otelcol", false);
        return;
    };
    let only = std::env::var("TOLLGATE_TEST_CASE").unwrap_or_default();
    cases.retain(|case| case.name.contains(&only));
    assert!(!cases.is_empty(), "no case has {only:?} in its name");
    let mut collector = Collector::start(&program, &cases);
    let (tollgate, sink) = tollgate(&cases);
    let (mut compared, mut faults) = (0, Vec::new());
    for (number, case) in cases.iter().enumerate() {
        for place in case.places() {
            let sent = place.plant(case.rows.iter().map(|row| row.sent.as_str()));
            let protobuf = request(place, &sent).login(&tenant(number), "secret");
            let json = Request::json(&protobuf.target, &sent.to_json()).login(&tenant(number), "secret");
            let sides = [
                (Side::Collector, "protobuf", collector.pass(number, place, &sent)),
                (Side::Tollgate, "protobuf", pass(tollgate.connect(), protobuf, &sink, place)),
                (Side::Tollgate, "JSON", pass(tollgate.connect(), json, &sink, place)),
            ];
            for (side, encoding, arrived) in sides {
                let mut fault = |what: String| {
                    faults.push(format!("{}, {place:?} as {encoding}: {side:?}: {what}", case.name))
                };
                let rows = outcome(place, case, &sent, arrived).unwrap_or_else(|what| {
                    fault(what);
                    Vec::new()
                });
                compared += rows.len();
                for (row, arrived) in case.rows.iter().zip(rows) {
                    let meant = row.meant(side);
                    if arrived != meant {
                        fault(format!("{}\n  meant   {meant}\n  arrived {arrived}", row.sent));
                    }
                }
            }
        }
    }
    assert!(collector.process.0.try_wait().expect("asking for its end").is_none(), "the Collector has ended");
    assert!(faults.is_empty(), "{} of {compared}:\n{}", faults.len(), faults.join("\n"));
    assert!(!only.is_empty() || compared >= 4500, "{compared} rows compared");
}
