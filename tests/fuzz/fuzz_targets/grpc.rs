//! gRPC's frames and statuses: no panic, what a frame holds is what was in it, and what is written is read.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate::otlp::{Chunks, Compression, grpc};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    frames(choice, body);
    statuses(body);
    if let Ok(value) = HeaderValue::from_bytes(body)
        && let Some(timeout) = grpc::read_timeout(&value)
    {
        assert!(grpc::read_timeout(&grpc::write_timeout(timeout)).is_some_and(|read| read <= timeout));
    }
    let _ = grpc::health(body, true);
    let _ = grpc::retry_info(body);
});

/// A body in pieces of any size.
fn chunks(body: &[u8], piece: usize) -> Chunks {
    let mut chunks = Chunks::default();
    body.chunks(piece).for_each(|piece| chunks.push(Bytes::copy_from_slice(piece)));
    chunks
}

fn frames(choice: u8, body: &[u8]) {
    let named = if choice & 1 == 0 { Compression::Identity } else { Compression::Gzip };
    let piece = usize::from(choice >> 1) + 1;
    if let Ok((message, compression)) = grpc::unframe(chunks(body, piece), named) {
        assert_eq!(message.to_bytes(), body[5..], "the whole message and nothing else");
        let is_compressed = compression != Compression::Identity;
        let framed = grpc::frame(message, is_compressed).expect("shorter than 4 GiB");
        assert_eq!(framed.to_bytes(), *body);
    }
    let framed = grpc::frame(chunks(body, piece), choice & 1 != 0).expect("shorter than 4 GiB");
    let (message, compression) = grpc::unframe(framed, named).expect("what was framed");
    assert_eq!((message.to_bytes(), compression), (Bytes::copy_from_slice(body), named));
    // An upstream's answer, which may be compressed too: a bomb has to end.
    let mut headers = HeaderMap::new();
    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    let _ = grpc::message(&headers, &Bytes::copy_from_slice(body));
}

fn statuses(body: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, part) in ["grpc-status", "grpc-message", "grpc-status-details-bin"]
        .into_iter()
        .zip(body.split(|byte| *byte == b'\n'))
    {
        if let Ok(value) = HeaderValue::from_bytes(part) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let _ = grpc::Status::read(&headers);
    let message = String::from_utf8_lossy(body);
    let mut headers = HeaderMap::new();
    grpc::Status::write(&mut headers, 3, &message, body);
    let status = grpc::Status::read(&headers).expect("what was written");
    assert_eq!((status.code, status.message.as_str()), (3, &*message));
}
