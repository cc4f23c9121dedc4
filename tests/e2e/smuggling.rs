//! Requests that two readers may understand differently (RFC 9112, 11.2): each is refused, nothing
//! hidden in it reaches the upstream, and its connection is not used again.

use crate::{
    kit::{Behaviour, Tollgate, Upstream, basic, log_request},
    otlp::config,
};

/// A whole request that would be served, to be hidden in another one.
fn smuggled() -> Vec<u8> {
    let body = log_request("smuggled");
    let mut request = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n\
         Authorization: {}\r\nContent-Length: {}\r\n\r\n",
        basic("oxygen", "secret"),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}

/// A request of this line and these headers besides what every good one has, and this body.
fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{line}\r\nContent-Type: application/x-protobuf\r\nAuthorization: {}\r\n{headers}\r\n",
        basic("oxygen", "secret")
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    request("POST /v1/logs HTTP/1.1", &format!("Host: x\r\n{headers}"), body)
}

fn start() -> (Tollgate, Upstream) {
    let upstream = Upstream::start(Behaviour::ok());
    (Tollgate::start(&config(&upstream)), upstream)
}

/// Sends the request and, behind it, one that would be served. There must be one refusal at most,
/// and then the end.
#[track_caller]
fn assert_refused(tollgate: &Tollgate, upstream: &Upstream, what: &str, request: &[u8]) {
    let mut sender = tollgate.connect();
    let _ = sender.write(request); // it may be closed before all is written
    let _ = sender.write(&smuggled());
    let answers = sender.read_to_end();
    assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{what}: more than one answer:\n{answers}");
    assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 4"), "{what}: not refused:\n{answers}");
    assert!(upstream.seen().is_empty(), "{what}: reached the upstream: {:?}", upstream.seen());
}

const CHUNKED_BATCH: &[u8] = b"0\r\n\r\n";

#[test]
fn the_requests_that_all_others_are_made_from_are_served() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let sized = format!("Content-Length: {}\r\n", batch.len());
    let chunk = [format!("{:x}\r\n", batch.len()).as_bytes(), &batch, b"\r\n0\r\n\r\n"].concat();
    for (what, good) in [
        ("a sized one", post(&sized, &batch)),
        ("one in chunks", post("Transfer-Encoding: chunked\r\n", &chunk)),
        ("the smuggled one", smuggled()),
    ] {
        let mut sender = tollgate.connect();
        sender.write(&good).expect("writing");
        assert_eq!(sender.read_answer().expect("an answer").status, 200, "{what}");
        sender.write(&smuggled()).expect("writing a second one");
        assert_eq!(sender.read_answer().expect("a second answer").status, 200, "{what}");
    }
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn a_length_beside_chunks_is_refused() {
    let (tollgate, upstream) = start();
    let hidden = [CHUNKED_BATCH, &smuggled()].concat();
    let length = hidden.len();
    for (what, headers) in [
        ("CL.TE", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned()),
        ("in other cases", format!("CONTENT-LENGTH: {length}\r\ntransfer-encoding: Chunked\r\n")),
        ("CL of 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned()),
    ] {
        assert_refused(&tollgate, &upstream, what, &post(&headers, &hidden));
        // Behind empty lines, which a server passes over in front of a request.
        let behind = [b"\r\n\r\n", &post(&headers, &hidden)[..]].concat();
        assert_refused(&tollgate, &upstream, &format!("{what} behind empty lines"), &behind);
    }
}

#[test]
fn a_length_beside_chunks_is_refused_on_a_connection_in_use_too() {
    let (tollgate, upstream) = start();
    let mut sender = tollgate.connect();
    sender.write(&smuggled()).expect("a good request");
    assert_eq!(sender.read_answer().expect("an answer").status, 200);
    // One that is refused before its body comes, which is then read away.
    sender.write(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n").expect("a head");
    assert_eq!(sender.read_answer().expect("an answer").status, 415);
    sender.write(b"ab\r\n\r\ncd").expect("its body");
    sender.write(&smuggled()).expect("another good one");
    assert_eq!(sender.read_answer().expect("an answer").status, 200);
    let ambiguous = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    sender.write(&post(ambiguous, CHUNKED_BATCH)).expect("writing");
    let answers = sender.read_to_end();
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn lengths_that_are_none_or_differ_are_refused() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let length = batch.len();
    for headers in [
        format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length + 1),
        format!("Content-Length: {length}, {}\r\n", length + 1),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: -{length}\r\n"),
        format!("Content-Length: 0x{length:x}\r\n"),
        format!("Content-Length: {length} 5\r\n"),
        "Content-Length: \r\n".to_owned(),
        "Content-Length: 18446744073709551616\r\n".to_owned(),
    ] {
        assert_refused(&tollgate, &upstream, &headers, &post(&headers, &batch));
    }
}

#[test]
fn transfer_encodings_other_than_chunked_once_are_refused() {
    let (tollgate, upstream) = start();
    for headers in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_refused(&tollgate, &upstream, headers, &post(headers, CHUNKED_BATCH));
    }
    let old = request("POST /v1/logs HTTP/1.0", "Host: x\r\nTransfer-Encoding: chunked\r\n", CHUNKED_BATCH);
    let mut sender = tollgate.connect();
    let _ = sender.write(&old);
    let answers = sender.read_to_end();
    assert!(answers.is_empty() || answers.contains(" 400 "), "HTTP/1.0 knows no chunks: {answers}");
    assert!(upstream.seen().is_empty());
}

#[test]
fn heads_that_are_written_wrongly_are_refused() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let sized = format!("Content-Length: {}\r\n", batch.len());
    for (what, headers) in [
        ("a folded line", "X-Folded: one\r\n two\r\n"),
        ("a folded line of one tab", "X-Folded: one\r\n\ttwo\r\n"),
        ("a fold in front", " X-First: one\r\n"),
        ("a space before the colon", "X-Space : one\r\n"),
        ("a length with a space before the colon", "Content-Length : 5\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a bare CR in a value", "X-Bare: one\rX-Two: two\r\n"),
        ("a bare CR before a length", "X-Bare: one\rContent-Length: 5\r\n"),
        ("NUL in a value", "X-Nul: o\0ne\r\n"),
        ("NUL in a name", "X-N\0ul: one\r\n"),
        ("a control character", "X-Control: \x01\r\n"),
        ("no colon", "X-Nothing\r\n"),
        ("no name", ": value\r\n"),
        ("a name that is no token", "X(Comment): one\r\n"),
        ("UTF-8 in a name", "X-ä: one\r\n"),
    ] {
        assert_refused(&tollgate, &upstream, what, &post(&format!("{headers}{sized}"), &batch));
    }
    for line in [
        "POST  /v1/logs HTTP/1.1",
        "POST /v1/logs  HTTP/1.1",
        "POST /v1/lo gs HTTP/1.1",
        "POST /v1/logs\tHTTP/1.1",
        "POST /v1/logs HTTP/1.1 ",
        "POST /v1/logs HTTP/1.2",
        "POST /v1/logs HTTP/2.0",
        "POST /v1/logs HTTP/0.9",
        "POST /v1/logs http/1.1",
        "POST /v1/logs",
        "PO\0ST /v1/logs HTTP/1.1",
        "PO(ST /v1/logs HTTP/1.1",
    ] {
        assert_refused(&tollgate, &upstream, line, &request(line, &format!("Host: x\r\n{sized}"), &batch));
    }
}

#[test]
fn chunks_that_are_written_wrongly_are_refused() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let length = batch.len();
    let with_size = |size: &str| [size.as_bytes(), &batch, b"\r\n0\r\n\r\n"].concat();
    let cases = [
        ("no digits", with_size("\r\n")),
        ("no number", with_size("xyz\r\n")),
        ("0x", with_size(&format!("0x{length:x}\r\n"))),
        ("a sign", with_size(&format!("+{length:x}\r\n"))),
        ("negative", with_size("-1\r\n")),
        ("a space in front", with_size(&format!(" {length:x}\r\n"))),
        ("two numbers", with_size(&format!("{length:x} 5\r\n"))),
        ("more than 64 bits", with_size("10000000000000000\r\n")),
        ("wrapping around to the right length", with_size(&format!("1{length:016x}\r\n"))),
        ("a bare LF after the size", with_size(&format!("{length:x}\n"))),
        ("a bare LF in an extension", with_size(&format!("{length:x};a\nb\r\n"))),
        ("a bare CR in an extension", with_size(&format!("{length:x};a\rb\r\n"))),
        ("an extension without end", with_size(&format!("{length:x};{}\r\n", "a".repeat(100_000)))),
        ("a chunk longer than its size", [b"1\r\n", &batch[..], b"\r\n0\r\n\r\n"].concat()),
        ("a chunk without its end", [format!("{length:x}\r\n").as_bytes(), &batch, b"0\r\n\r\n"].concat()),
        ("a bare LF after a chunk", [format!("{length:x}\r\n").as_bytes(), &batch, b"\n0\r\n\r\n"].concat()),
    ];
    for (what, body) in cases {
        assert_refused(&tollgate, &upstream, what, &post("Transfer-Encoding: chunked\r\n", &body));
    }
}

#[test]
fn a_host_that_is_missing_or_there_twice_is_refused() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let sized = format!("Content-Length: {}\r\n", batch.len());
    let line = "POST /v1/logs HTTP/1.1";
    for (what, headers) in [
        ("missing", sized.clone()),
        ("twice", format!("Host: x\r\nHost: y\r\n{sized}")),
        ("twice the same", format!("Host: x\r\nHost: x\r\n{sized}")),
    ] {
        assert_refused(&tollgate, &upstream, what, &request(line, &headers, &batch));
    }
}

#[test]
fn trailers_do_not_become_headers() {
    let (tollgate, upstream) = start();
    let batch = log_request("hello");
    let chunk =
        [format!("{:x}\r\n", batch.len()).as_bytes(), &batch, b"\r\n0\r\nX-Trailer: one\r\n\r\n"].concat();
    let mut sender = tollgate.connect();
    sender.write(&post("Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n", &chunk)).expect("writing");
    assert_eq!(sender.read_answer().expect("an answer").status, 200);
    assert_eq!(upstream.last().header("x-trailer"), None);
    assert_eq!(upstream.last().body, batch);
    // Nor does a trailer let a sender in.
    let chunk = format!("0\r\nAuthorization: {}\r\n\r\n", basic("oxygen", "secret"));
    sender
        .write(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n")
        .expect("a head");
    sender.write(format!("Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes()).expect("the rest");
    assert_eq!(sender.read_answer().expect("an answer").status, 401);
}
