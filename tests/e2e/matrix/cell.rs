//! What is crossed with what.

use crate::kit::basic;

/// One way from a sender to a destination.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub sender: &'static str,
    /// As `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    pub protocol: &'static str,
    pub compression: &'static str,
    pub to: Destination,
}

/// An upstream as Tollgate's configuration has it. Each is a tenant's, and is chosen by its credentials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Destination {
    pub peer: Peer,
    pub encoding: &'static str,
    pub compression: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Peer {
    HttpSink,
    GrpcSink,
    HttpCollector,
    GrpcCollector,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::HttpSink => "http-sink",
            Peer::GrpcSink => "grpc-sink",
            Peer::HttpCollector => "http-collector",
            Peer::GrpcCollector => "grpc-collector",
        }
    }

    pub fn speaks_grpc(self) -> bool {
        matches!(self, Peer::GrpcSink | Peer::GrpcCollector)
    }
}

impl Destination {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for peer in [Peer::HttpSink, Peer::GrpcSink, Peer::HttpCollector, Peer::GrpcCollector] {
            let encodings: &[_] = if peer.speaks_grpc() { &["keep"] } else { &["keep", "protobuf", "json"] };
            for encoding in encodings {
                for compression in ["keep", "none", "gzip", "zstd"] {
                    all.push(Self { peer, encoding, compression });
                }
            }
        }
        all
    }

    /// The name of the upstream, its tenant and the tenant's user.
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.peer.name(), self.encoding, self.compression)
    }
}

impl Cell {
    /// Every cell of a sender.
    pub fn all(sender: &'static str, compressions: &[&'static str]) -> Vec<Self> {
        let mut all = Vec::new();
        for protocol in ["http/protobuf", "http/json", "grpc"] {
            for compression in compressions {
                for to in Destination::all() {
                    all.push(Self { sender, protocol, compression, to });
                }
            }
        }
        all.retain(|cell| cell.sender_can());
        all
    }

    pub fn name(&self) -> String {
        let Self { sender, protocol, compression, to } = self;
        format!("{sender} {protocol} {compression} to {}", to.name())
    }

    /// By TLS in each protocol once, else by plain TCP.
    pub fn tls(&self) -> bool {
        self.compression == "gzip"
    }

    pub fn authorization(&self) -> String {
        basic(&self.to.name(), "secret")
    }

    /// The encoding in which it leaves Tollgate.
    pub fn leaves_as_json(&self) -> bool {
        match self.to.encoding {
            "keep" => !self.to.peer.speaks_grpc() && self.comes_as_json(),
            encoding => encoding == "json",
        }
    }

    fn comes_as_json(&self) -> bool {
        self.protocol == "http/json"
    }

    /// The compression in which it leaves Tollgate, if any.
    pub fn leaves_compressed(&self) -> Option<&'static str> {
        match (self.to.compression, self.compression) {
            ("keep", "deflate") if self.to.peer.speaks_grpc() => Some("gzip"), // that all of them read
            ("keep", "none") | ("none", _) => None,
            ("keep", compression) | (compression, _) => Some(compression),
        }
    }

    /// Go's gRPC has no deflate.
    fn sender_can(&self) -> bool {
        (self.sender, self.protocol, self.compression) != ("collector", "grpc", "deflate")
    }
}
