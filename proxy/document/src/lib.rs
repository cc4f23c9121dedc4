//! OTLP batches as the bytes that they are: looked into, edited, translated between protobuf and JSON.
//!
//! The proxy works on a batch with this, and so do tests of plugins, which run without a proxy.
//!
//! ```text
//! batch       a batch that plugins work on: read and edited, row by row or many at once
//! chunks      bytes in pieces, as they came off the wire
//! wire        protobuf's wire format: read without decoding, written a field at a time
//! schema      the messages of OTLP: the only place that knows their fields
//! document    a batch, its framing checked, walked down to its records
//! json        OTLP/JSON: looked into, read, written
//! misposted   batches that were posted to the path of another signal
//! ```

pub mod batch;
mod chunks;
mod document;
mod json;
mod misposted;
mod schema;
pub mod wire;

pub use batch::Batch;
pub use chunks::Chunks;
pub use document::Document;
pub use json::{Leniencies, Leniency, NoRoom, Untranslated, count_records, to_json, to_protobuf};
pub use misposted::{is_known, misposted};

use std::fmt;

/// What a batch carries. Each has its own path and its own message types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// `ExportLogsServiceRequest`
    Logs,
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportMetricsServiceRequest`
    Metrics,
    /// `ExportProfilesServiceRequest`, still in development: carried as it is, never looked into.
    Profiles,
}

impl Signal {
    /// Every signal, in the order of documentation and metrics.
    pub const ALL: [Signal; 4] = [Signal::Logs, Signal::Traces, Signal::Metrics, Signal::Profiles];

    /// The name in configuration, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Profiles => "profiles",
        }
    }

    /// The path by the specification, which is also the one that upstreams get.
    pub const fn path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Profiles => "/v1development/profiles",
        }
    }

    /// The path of the signal's `Export` method.
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Profiles => {
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
            }
        }
    }

    /// The name of the signal's service: the path without its method.
    pub fn grpc_service(self) -> &'static str {
        self.grpc_path().trim_start_matches('/').trim_end_matches("/Export")
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Binary protobuf, `application/x-protobuf`.
    Protobuf,
    /// OTLP/JSON, `application/json`.
    Json,
}

impl Encoding {
    /// The media type by the specification, without parameters.
    pub const fn media_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Protobuf => "protobuf",
            Encoding::Json => "json",
        }
    }
}
