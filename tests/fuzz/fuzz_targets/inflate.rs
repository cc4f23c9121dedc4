//! Compressed bodies: no panic, and never more than the limit.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use tollgate::otlp::{BodyLimits, Compression, Document, Signal, count_records, inflate};

const LIMITS: BodyLimits =
    BodyLimits { wire: 1 << 20, decompressed: 1 << 20, timeout: Duration::from_secs(1) };

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let compression = [Compression::Identity, Compression::Gzip, Compression::Deflate, Compression::Zstd]
        [choice as usize % 4];
    let mut held = 0;
    let plain = inflate(compression, &Bytes::copy_from_slice(body).into(), &LIMITS, |total| {
        held = total;
        Ok(())
    });
    assert!(held <= 2 * LIMITS.decompressed + (64 << 10));
    if let Ok(plain) = plain {
        assert!(plain.len() as u64 <= LIMITS.decompressed);
        let _ = count_records(Signal::Metrics, &plain.to_bytes());
        let _ = Document::parse(Signal::Metrics, plain);
    }
});
