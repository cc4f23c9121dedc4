//! Translation between the encodings, under the limits of a request.

use super::{Chunks, Leniencies, Refusal, Signal};
use bytes::Bytes;
use tollgate_document::{self as document, NoRoom, Untranslated};

/// Translates a batch from OTLP/JSON to protobuf; see [`document::to_protobuf`]. `hold` is asked before
/// more than that many bytes of it are kept.
///
/// # Errors
/// More bytes than `limit`, what `hold` says, or what is wrong and where.
pub fn to_protobuf(
    signal: Signal,
    json: &[u8],
    limit: u64,
    hold: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<(Bytes, Leniencies), Refusal> {
    under(hold, |hold| document::to_protobuf(signal, json, limit, hold))
}

/// Translates a batch from protobuf to OTLP/JSON; see [`document::to_json`]. `hold` is asked before
/// more than that many bytes of it are kept.
///
/// # Errors
/// More bytes than `limit`, what `hold` says, or what is wrong and where.
pub fn to_json(
    signal: Signal,
    protobuf: &Chunks,
    limit: u64,
    hold: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    under(hold, |hold| document::to_json(signal, protobuf, limit, hold))
}

/// Translates, and gives what `hold` said where it said no.
fn under<T>(
    mut hold: impl FnMut(u64) -> Result<(), Refusal>,
    translate: impl FnOnce(&mut dyn FnMut(u64) -> Result<(), NoRoom>) -> Result<T, Untranslated>,
) -> Result<T, Refusal> {
    let mut denied = None;
    let translated = translate(&mut |bytes| {
        hold(bytes).map_err(|refusal| {
            denied = Some(refusal);
            NoRoom
        })
    });
    translated.map_err(|why| match why {
        Untranslated::Malformed(what) => Refusal::Malformed(what),
        Untranslated::TooLarge { limit } => Refusal::TooLarge { limit, decompressed: true },
        Untranslated::Signal { signal, came } => Refusal::NotTranscoded { signal, came },
        Untranslated::NoRoom => denied.unwrap_or_else(|| Refusal::Malformed(why.to_string())),
    })
}
