//! The protocol: routes, encodings, bodies and answers of OTLP/HTTP and OTLP/gRPC.
//!
//! This room is the only home of the status codes that a sender sees, and it knows nothing of
//! tenants, limits or upstreams: what they decide reaches it as a [`Refusal`].
//!
//! Source: the OpenTelemetry protocol specification 1.11 (`docs/specification.md` of
//! opentelemetry-proto), "the specification" below.

mod answer;
mod body;
pub mod cors;
pub mod grpc;
mod refusal;
mod route;
mod translate;

pub use answer::{AnswerBody, Answers, PartialSuccess, REQUEST_ID, error_message, printable};
pub use body::{BodyLimits, Pieces, inflate, read};
pub use cors::Cors;
pub use refusal::Refusal;
pub use route::{Doors, Route, check_framing, protocol_of, route};
pub use tollgate_document::{
    Chunks, Document, Encoding, Leniencies, Leniency, Signal, count_records, is_known, misposted,
};
pub use translate::{to_json, to_protobuf};

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
