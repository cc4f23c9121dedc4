//! Tollgate, with everything behind it.

use super::{
    batch::{Batch, SIGNALS},
    cell::{Cell, Destination, Peer},
    difference::first_difference,
    meant::Sender,
};
use crate::kit::{
    Behaviour, Folder, Seen, Tollgate, Upstream, free_port,
    http2::{Http2Upstream, Reply},
    real::{Running, wait_for_port},
    tls::Authority,
};
use std::{
    collections::HashMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Lab {
    tollgate: Tollgate,
    pub otelcol: PathBuf,
    http: Upstream,
    grpc: Http2Upstream,
    _collector: Running,
    /// To which the Collector sends on what it got, as protobuf.
    behind_collector: Upstream,
}

impl Lab {
    pub fn start(otelcol: PathBuf) -> Self {
        let folder = Folder::create();
        let authority = Authority::create();
        let door = authority.issue(&["localhost"]);
        for (name, pem) in
            [("authority.pem", authority.pem()), ("door.pem", &door.chain), ("door.key", &door.key)]
        {
            fs::write(folder.path().join(name), pem).expect("writing a certificate");
        }
        let (http, behind_collector) = (Upstream::start(Behaviour::ok()), Upstream::start(Behaviour::ok()));
        let grpc = Http2Upstream::start(None);
        grpc.reply(Reply::grpc(b""));
        let (http_port, grpc_port) = (free_port(), free_port());
        let forwarding = forwarding(http_port, grpc_port, &behind_collector);
        let collector = start_collector(&otelcol, folder.path(), &forwarding, &[http_port, grpc_port]);
        let ports = |peer| match peer {
            Peer::HttpSink => http.address().port(),
            Peer::GrpcSink => grpc.address().port(),
            Peer::HttpCollector => http_port,
            Peer::GrpcCollector => grpc_port,
        };
        let tollgate = Tollgate::start_in(folder, &config(ports));
        Self { tollgate, otelcol, http, grpc, _collector: collector, behind_collector }
    }

    /// Where the sender of a cell sends to.
    pub fn endpoint(&self, cell: &Cell) -> String {
        match cell.tls() {
            true => format!("https://localhost:{}", self.tollgate.address("tls").port()),
            false => format!("http://{}", self.tollgate.address("plain")),
        }
    }

    /// Who signed Tollgate's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder().join("authority.pem")
    }

    pub fn folder(&self) -> &Path {
        self.tollgate.folder()
    }

    /// Everything that was sent in these cells arrived: once, in the form that was configured, and as it
    /// was meant. Says of each cell that failed what is wrong.
    #[track_caller]
    pub fn compare(&self, sender: Sender, cells: &[Cell]) {
        let mut arrived = self.arrivals();
        let mut failures = Vec::new();
        for cell in cells {
            for signal in SIGNALS {
                let arrivals = arrived.remove(&(signal, cell.name())).unwrap_or_default();
                if let Err(failure) = judge(sender, cell, signal, &arrivals) {
                    failures.push(format!("{}, {signal}: {failure}", cell.name()));
                }
            }
        }
        failures.extend(arrived.keys().map(|(signal, cell)| format!("{cell}, {signal}: nobody sent that")));
        let (failed, all) = (failures.len(), cells.len() * SIGNALS.len());
        failures.truncate(30); // one fault fails whole rows
        assert!(failures.is_empty(), "{failed} of {all} batches failed:\n{}", failures.join("\n"));
    }

    fn arrivals(&self) -> HashMap<(&'static str, String), Vec<Arrival>> {
        let http = self.http.seen().into_iter().map(|seen| Arrival::over_http("http-sink", &seen));
        let grpc = self.grpc.seen().into_iter().map(|seen| Arrival::over_grpc(&seen));
        let behind =
            self.behind_collector.seen().into_iter().map(|seen| Arrival::over_http("collector", &seen));
        let mut arrivals = HashMap::<_, Vec<_>>::new();
        for arrival in http.chain(grpc).chain(behind) {
            arrivals.entry((arrival.signal, arrival.batch.cell().to_owned())).or_default().push(arrival);
        }
        arrivals
    }
}

/// A batch as it reached a sink.
struct Arrival {
    sink: &'static str,
    signal: &'static str,
    json: bool,
    compression: Option<String>,
    batch: Batch,
}

impl Arrival {
    fn over_http(sink: &'static str, seen: &Seen) -> Self {
        let signal = SIGNALS.into_iter().find(|signal| seen.target == format!("/v1/{signal}"));
        let signal = signal.unwrap_or_else(|| panic!("something arrived at {}", seen.target));
        let compression = seen.header("content-encoding");
        let body = decompress(compression.as_deref(), &seen.body);
        let json = match seen.header("content-type").as_deref() {
            Some("application/json") => true,
            Some("application/x-protobuf") => false,
            other => panic!("something of the type {other:?} arrived"),
        };
        let batch = if json { Batch::from_json } else { Batch::from_protobuf };
        Self { sink, signal, json, compression, batch: batch(signal, &body) }
    }

    fn over_grpc(seen: &Seen) -> Self {
        let signal = match seen.target.as_str() {
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => "logs",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => "traces",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => "metrics",
            other => panic!("something arrived at {other}"),
        };
        let (head, message) = seen.body.split_at(5);
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        assert_eq!(head[1..], length, "one message and no more");
        let compression = (head[0] == 1).then(|| seen.header("grpc-encoding").expect("a compression"));
        let batch = Batch::from_protobuf(signal, &decompress(compression.as_deref(), message));
        Self { sink: "grpc-sink", signal, json: false, compression, batch }
    }
}

fn decompress(compression: Option<&str>, body: &[u8]) -> Vec<u8> {
    match compression {
        None => body.to_vec(),
        Some("gzip") => read_all(flate2::read::GzDecoder::new(body)),
        Some("deflate") => read_all(flate2::read::ZlibDecoder::new(body)),
        Some("zstd") => zstd::decode_all(body).expect("zstd arrived"),
        Some(other) => panic!("something compressed with {other} arrived"),
    }
}

fn read_all(mut decoder: impl Read) -> Vec<u8> {
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).expect("what arrived can be decompressed");
    plain
}

/// What is wrong with what arrived of a cell.
fn judge(sender: Sender, cell: &Cell, signal: &str, arrivals: &[Arrival]) -> Result<(), String> {
    let [arrival] = arrivals else { return Err(format!("arrived {} times", arrivals.len())) };
    let (sink, form) = match cell.to.peer {
        Peer::HttpSink | Peer::GrpcSink => {
            let compression = cell.leaves_compressed().map(str::to_owned);
            (cell.to.peer.name(), (cell.leaves_as_json(), compression))
        }
        Peer::HttpCollector | Peer::GrpcCollector => ("collector", (false, None)),
    };
    if arrival.sink != sink {
        return Err(format!("meant for the {sink}, arrived at the {}", arrival.sink));
    }
    if (arrival.json, arrival.compression.clone()) != form {
        let (json, compression) = (arrival.json, &arrival.compression);
        return Err(format!("JSON, compression: meant {form:?}, arrived {:?}", (json, compression)));
    }
    let meant = sender.meant(&cell.name(), arrival.json).of(signal);
    first_difference(&meant, &arrival.batch).map_or(Ok(()), Err)
}

/// A tenant for each destination, on a port with TLS and on one without.
fn config(port: impl Fn(Peer) -> u16) -> String {
    let mut config = r#"
[listener.plain]
bind = "127.0.0.1:0"

[listener.plain.limits]
connections_per_client = 10000

[listener.tls]
bind = "127.0.0.1:0"
tls = { certificate = "door.pem", key = "door.key" }

[listener.tls.limits]
connections_per_client = 10000
"#
    .to_owned();
    for to in Destination::all() {
        let (name, port, compression) = (to.name(), port(to.peer), to.compression);
        let spoken = match to.peer.speaks_grpc() {
            true => "protocol = \"grpc\"".to_owned(),
            false => format!("encoding = \"{}\"", to.encoding),
        };
        config += &format!(
            r#"
[tenant.{name}]
credentials = [{{ user = "{name}", password_hash = "$SECRET" }}]
upstream = "{name}"

[upstream.{name}]
endpoint = "http://127.0.0.1:{port}"
compression = "{compression}"
{spoken}
"#
        );
    }
    config
}

/// A Collector that sends on what it gets before it answers.
fn forwarding(http: u16, grpc: u16, to: &Upstream) -> String {
    format!(
        r#"
receivers:
  otlp:
    protocols:
      http: {{ endpoint: "127.0.0.1:{http}" }}
      grpc: {{ endpoint: "127.0.0.1:{grpc}" }}
exporters:
  otlp_http:
    endpoint: "http://{}"
    compression: none
    timeout: 60s
    sending_queue: {{ enabled: false }}
    retry_on_failure: {{ enabled: false }}
service:
  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: error }} }}
  pipelines:
    logs: {{ receivers: [otlp], exporters: [otlp_http] }}
    traces: {{ receivers: [otlp], exporters: [otlp_http] }}
    metrics: {{ receivers: [otlp], exporters: [otlp_http] }}
"#,
        to.address()
    )
}

/// Starts a Collector, and waits until it listens on these ports.
pub fn start_collector(program: &Path, folder: &Path, config: &str, ports: &[u16]) -> Running {
    let path = folder.join(format!("collector-{}.yaml", ports[0]));
    fs::write(&path, config).expect("writing the Collector's configuration");
    let child = Command::new(program).arg("--config").arg(path).stdin(Stdio::null()).spawn();
    let mut process = Running(child.expect("starting the Collector"));
    for port in ports {
        wait_for_port(*port, &mut process);
    }
    process
}
