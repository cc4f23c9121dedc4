//! A batch: checked as deep as its encoding allows, in the encoding that its plugins or its upstream want.

use crate::{
    otlp::{self, Chunks, Compression, Document, Encoding, Leniency, Refusal, Signal},
    telemetry::metrics::TenantMetrics,
};

/// What becomes of a message on its way through.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) signal: Signal,
    /// What it came in.
    pub(super) came: Encoding,
    /// What its plugins or its upstream want.
    pub(super) wanted: Encoding,
    /// What it came compressed with.
    pub(super) compression: Compression,
}

/// A message that may be sent on.
pub(super) struct Batch {
    /// As it leaves, uncompressed.
    pub(super) message: Message,
    /// Log records, spans or data points; none can be told of profiles.
    pub(super) records: u64,
    /// Whether there is nothing in it to deliver: no record, and nothing that nobody knows here.
    pub(super) is_nothing: bool,
    /// How many fields of what came are not in the message: those of JSON that OTLP does not know, which no
    /// translation keeps.
    pub(super) left_out: u64,
}

/// A batch's bytes.
pub(super) enum Message {
    /// Protobuf, its framing checked.
    Document(Document),
    /// JSON, or what is never looked into.
    Opaque(Chunks),
}

impl Message {
    pub(super) fn into_chunks(self) -> Chunks {
        match self {
            Message::Document(document) => document.into_bytes(),
            Message::Opaque(message) => message,
        }
    }
}

impl Form {
    /// Checks a message, and translates it where its upstream wants another encoding. `hold` is asked
    /// before more than that many bytes of the translation are kept, `limit` at most.
    pub(super) fn decode(
        self,
        plain: Chunks,
        limit: u64,
        hold: impl FnMut(u64) -> Result<(), Refusal>,
        metrics: &TenantMetrics,
    ) -> Result<Batch, Refusal> {
        let signal = self.signal;
        match (signal, self.came, self.wanted) {
            (Signal::Profiles, came, wanted) if came != wanted => {
                Err(Refusal::NotTranscoded { signal, came })
            }
            (Signal::Profiles, Encoding::Protobuf, _) => {
                Ok(Batch { message: Message::Opaque(plain), records: 0, is_nothing: false, left_out: 0 })
            }
            (_, Encoding::Protobuf, Encoding::Protobuf) => protobuf(signal, plain),
            (_, Encoding::Protobuf, Encoding::Json) => {
                let batch = protobuf(signal, plain)?;
                if batch.records == 0 && !batch.is_nothing {
                    return Err(all_unknown());
                }
                let json = otlp::to_json(signal, &batch.message.into_chunks(), limit, hold)?;
                Ok(Batch { message: Message::Opaque(json.into()), ..batch })
            }
            (_, Encoding::Json, Encoding::Protobuf) => {
                let (translated, leniencies) = otlp::to_protobuf(signal, &plain.to_bytes(), limit, hold)?;
                metrics.lenient(&leniencies);
                let left_out = leniencies.count(Leniency::UnknownField);
                let batch = protobuf(signal, translated.into())?;
                if batch.is_nothing && left_out > 0 {
                    return Err(all_unknown());
                }
                Ok(Batch { left_out, ..batch })
            }
            (_, Encoding::Json, Encoding::Json) => {
                let json = plain.to_bytes();
                let records = otlp::count_records(signal, &json).map_err(Refusal::Malformed)?;
                let is_nothing = records == 0 && signal != Signal::Profiles && {
                    // Nothing at all, or something that is no OTLP: that is not passed over in silence.
                    let (_, leniencies) = otlp::to_protobuf(signal, &json, limit, hold)?;
                    leniencies.count(Leniency::UnknownField) == 0
                };
                Ok(Batch { message: Message::Opaque(plain), records, is_nothing, left_out: 0 })
            }
        }
    }
}

/// What nobody knows is left out of a translation. Where that is all there is, it would be lost.
fn all_unknown() -> Refusal {
    Refusal::Malformed("there is no record in it, but fields that OTLP does not know".to_owned())
}

fn protobuf(signal: Signal, message: Chunks) -> Result<Batch, Refusal> {
    let document = Document::parse(signal, message).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let records = document.records();
    let is_nothing = records == 0 && otlp::is_known(signal, document.bytes());
    Ok(Batch { records, is_nothing, message: Message::Document(document), left_out: 0 })
}
