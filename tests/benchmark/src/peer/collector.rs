//! The OpenTelemetry Collector: the alternative door that speaks OTLP itself.

use super::{Peer, Setup, Tls};
use crate::{
    form::Form,
    native::INSERTED,
    scenario::Transform,
    sender::{PASSWORD, USER},
};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The Collector with a receiver, an exporter and nothing between them: no processor, no queue, no
/// compression, no metrics of its own. It has no access log. Its password stands in clear text, since
/// its extension would compute a hash for every request.
pub struct Collector {
    /// The program.
    pub program: PathBuf,
}

impl Peer for Collector {
    fn name(&self) -> &'static str {
        "collector"
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn version_argument(&self) -> &'static str {
        "--version"
    }

    /// It decodes every record and writes it anew, with fields that were left out because they are empty.
    fn keeps_bytes(&self) -> bool {
        false
    }

    fn command(&self, setup: &Setup) -> Result<Command> {
        let configuration = setup.folder.join("collector.yaml");
        fs::write(&configuration, text(setup))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(configuration);
        Ok(command)
    }
}

/// What its processor looks for: Go's regular expressions, as its documentation has them. It checks no
/// digits.
const EMAIL: &str = r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}";
const CARD: &str = "(4[0-9]{12}(?:[0-9]{3})?)|(5[1-5][0-9]{14})";

fn text(setup: &Setup) -> String {
    let Setup { listen, sink, tls, form, transform, .. } = setup;
    let grpc = *form == Form::Grpc;
    let receiver = if grpc { "grpc" } else { "http" };
    let compression = if *form == Form::Gzip { "gzip" } else { "none" };
    let exporter = if grpc { "otlp" } else { "otlphttp" };
    // Go keeps two idle connections by default and dials for every other request.
    let connections = match setup.collector_defaults {
        true => "",
        false => "max_idle_conns: 256\n    max_idle_conns_per_host: 256",
    };
    let processors = match transform {
        Transform::None => "",
        Transform::Relabel => "processors: [attributes]",
        Transform::RelabelRedact => "processors: [attributes, redaction]",
    };
    let inserted: Vec<String> = INSERTED
        .iter()
        .map(|(key, value)| format!("      - {{ key: {key}, value: \"{value}\", action: insert }}"))
        .collect();
    let inserted = inserted.join("\n");
    let tls = match tls {
        None => String::new(),
        Some(Tls { certificate, key, .. }) => {
            format!("tls: {{ cert_file: {}, key_file: {} }}", certificate.display(), key.display())
        }
    };
    format!(
        r#"
extensions:
  basicauth/server:
    htpasswd:
      inline: "{USER}:{PASSWORD}"

receivers:
  otlp:
    protocols:
      {receiver}:
        endpoint: {listen}
        auth: {{ authenticator: basicauth/server }}
        {tls}

processors:
  attributes:
    actions:
{inserted}
  redaction:
    allow_all_keys: true
    blocked_values:
      - '{EMAIL}'
      - '{CARD}'

exporters:
  otlphttp:
    endpoint: http://{sink}
    compression: {compression}
    {connections}
    sending_queue: {{ enabled: false }}
    retry_on_failure: {{ enabled: false }}
  otlp:
    endpoint: {sink}
    compression: none
    tls: {{ insecure: true }}
    sending_queue: {{ enabled: false }}
    retry_on_failure: {{ enabled: false }}

service:
  extensions: [basicauth/server]
  telemetry:
    metrics: {{ level: none }}
    logs: {{ level: warn }}
  pipelines:
    logs:
      receivers: [otlp]
      {processors}
      exporters: [{exporter}]
"#
    )
}
