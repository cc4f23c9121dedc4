//! In which form batches come in and leave: what a sender speaks and the upstream wants.

use crate::{grpc, payload, sender};
use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use std::{io::Write, time::Duration};

/// A form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Protobuf over HTTP, in and out.
    Protobuf,
    /// The same, compressed with gzip.
    Gzip,
    /// JSON over HTTP in, protobuf over HTTP out.
    Json,
    /// Protobuf over gRPC, in and out.
    Grpc,
}

impl Form {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Form::Protobuf => "HTTP",
            Form::Gzip => "HTTP, gzip",
            Form::Json => "JSON → protobuf",
            Form::Grpc => "gRPC",
        }
    }

    /// Whether what leaves are the bytes that came.
    pub fn keeps_bytes(self) -> bool {
        self != Form::Json
    }

    /// So many log records, as a sender's body or message.
    pub fn body(self, records: usize) -> Result<Vec<u8>> {
        Ok(match self {
            Form::Protobuf | Form::Grpc => payload::logs(records),
            Form::Json => payload::logs_json(records),
            Form::Gzip => {
                // As Go's and Python's senders do it.
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&payload::logs(records))?;
                encoder.finish()?
            }
        })
    }

    /// What a connection of this form is given to ask: over HTTP the whole request, over gRPC the frame.
    pub fn request(self, authorization: &str, body: &[u8]) -> Vec<u8> {
        match self {
            Form::Protobuf => sender::post(authorization, "", body),
            Form::Gzip => sender::post(authorization, "Content-Encoding: gzip\r\n", body),
            Form::Json => sender::post_json(authorization, body),
            Form::Grpc => grpc::frame(body),
        }
    }
}

/// CPU time that this machine takes to inflate a gzip body once, with nothing around it.
pub fn bare_inflate(body: &[u8]) -> Result<Duration> {
    const TIMES: u32 = 200;
    let own = || crate::measure::cpu_time(std::process::id());
    let mut plain = Vec::new();
    let before = own()?;
    for _ in 0..TIMES {
        plain.clear();
        std::io::copy(&mut flate2::bufread::GzDecoder::new(body), &mut plain)?;
    }
    Ok((own()? - before) / TIMES)
}
