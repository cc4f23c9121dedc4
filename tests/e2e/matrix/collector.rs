//! The Collector as a sender: an exporter for each cell.

use super::{
    batch::SIGNALS,
    cell::Cell,
    lab::{Lab, start_collector},
    meant::Sender,
};
use crate::kit::{Connection, Request, free_port};
use std::fmt::Write;

/// Has a Collector send one batch of each signal in each of these cells. It answers when all of them
/// have been answered.
#[track_caller]
pub fn feed(lab: &Lab, cells: &[Cell]) {
    let port = free_port();
    let _collector = start_collector(&lab.otelcol, lab.folder(), &config(lab, cells, port), &[port]);
    let batches = Sender::Collector.meant("each exporter's own", false);
    for signal in SIGNALS {
        let request = Request::post(&format!("/v1/{signal}"), batches.of(signal).to_protobuf());
        let answer = Connection::tcp(([127, 0, 0, 1], port).into()).send(&request);
        // partial_success {}: nothing was rejected
        assert_eq!((answer.status, answer.text().as_str()), (200, "\n\0"), "not all {signal} were sent");
    }
}

/// For each cell a pipeline of each signal, which writes the cell's name into the resource.
fn config(lab: &Lab, cells: &[Cell], port: u16) -> String {
    let (mut processors, mut exporters, mut pipelines) = (String::new(), String::new(), String::new());
    for (number, cell) in cells.iter().enumerate() {
        let _ = writeln!(
            processors,
            "  resource/{number}: {{ attributes: [{{ key: cell, value: \"{}\", action: upsert }}] }}",
            cell.name()
        );
        let kind = if cell.protocol == "grpc" { "otlp_grpc" } else { "otlp_http" };
        exporters += &exporter(lab, cell, &format!("{kind}/{number}"));
        for signal in SIGNALS {
            let _ = writeln!(
                pipelines,
                "    {signal}/{number}: {{ receivers: [otlp], processors: [resource/{number}], \
                 exporters: [{kind}/{number}] }}"
            );
        }
    }
    format!(
        r#"
receivers:
  otlp: {{ protocols: {{ http: {{ endpoint: "127.0.0.1:{port}" }} }} }}
processors:
{processors}
exporters:
{exporters}
service:
  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: error }} }}
  pipelines:
{pipelines}
"#
    )
}

fn exporter(lab: &Lab, cell: &Cell, name: &str) -> String {
    let encoding = match cell.protocol {
        "http/protobuf" => "encoding: proto",
        "http/json" => "encoding: json",
        _ => "",
    };
    let tls = match cell.tls() {
        true => format!("{{ ca_file: {} }}", lab.authority().display()),
        false => "{ insecure: true }".to_owned(),
    };
    format!(
        r#"
  {name}:
    endpoint: "{}"
    headers: {{ authorization: "{}" }}
    compression: {}
    tls: {tls}
    timeout: 60s
    sending_queue: {{ enabled: false }}
    retry_on_failure: {{ enabled: false }}
    {encoding}
"#,
        lab.endpoint(cell),
        cell.authorization(),
        cell.compression,
    )
}
