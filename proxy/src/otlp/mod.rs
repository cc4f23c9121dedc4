//! The protocol: routes, encodings, bodies and answers of OTLP/HTTP and OTLP/gRPC.
//!
//! This room is the only home of the status codes that a sender sees, and it knows nothing of
//! tenants, limits or upstreams: what they decide reaches it as a [`Refusal`].
//!
//! Source: the OpenTelemetry protocol specification 1.11 (`docs/specification.md` of
//! opentelemetry-proto), "the specification" below.

mod answer;
mod body;
mod chunks;
pub mod cors;
pub mod document;
pub mod grpc;
mod json;
mod misposted;
mod refusal;
mod route;
mod schema;
mod wire;

pub use answer::{AnswerBody, Answers, PartialSuccess, REQUEST_ID, error_message, printable};
pub use body::{BodyLimits, Pieces, inflate, read};
pub use chunks::Chunks;
pub use cors::Cors;
pub use document::Document;
pub use json::{Leniencies, Leniency, count_records, to_json, to_protobuf};
pub use misposted::{is_known, misposted};
pub use refusal::Refusal;
pub use route::{Doors, Route, check_framing, protocol_of, route};

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

/// What is spoken with a sender or an upstream. The names are those of `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `http/protobuf` or `http/json`.
    Http(Encoding),
    /// `grpc`: protobuf in frames.
    Grpc,
}

impl Protocol {
    /// How its messages are written.
    pub const fn encoding(self) -> Encoding {
        match self {
            Protocol::Http(encoding) => encoding,
            Protocol::Grpc => Encoding::Protobuf,
        }
    }
}

/// How a body is compressed on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 (zlib), which HTTP calls "deflate"; raw RFC 1951 streams are taken too.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The name in `Content-Encoding`, configuration, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::Identity => "identity",
            Compression::Gzip => "gzip",
            Compression::Deflate => "deflate",
            Compression::Zstd => "zstd",
        }
    }
}

/// What is answered to zero bytes that came through a tunnel known to lose bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptyBody {
    /// 400: the sender drops the batch and logs an error. The loss is seen. The default.
    #[default]
    Refuse,
    /// 200: as for a truly empty request.
    Accept,
    /// 503: the sender tries again, in case that the tunnel keeps the body this time.
    Retry,
}
