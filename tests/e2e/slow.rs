//! Senders that are slow, that stop in the middle, and that go away.

use crate::{
    kit::{Behaviour, Connection, Request, Tollgate, Upstream, eventually, log_request, with},
    limits::wait_until_idle,
    otlp::config,
};

fn batch() -> Request {
    Request::post("/v1/logs", log_request("hello")).by_shop()
}

fn start(timeouts: &str) -> (Tollgate, Upstream) {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream) + &format!("[listener.door.timeouts]\n{timeouts}\n");
    (Tollgate::start(&config), upstream)
}

fn timed_out(tollgate: &Tollgate) -> f64 {
    tollgate.metric("tollgate_connections_timed_out_total", &[("listener", "door")])
}

#[track_caller]
fn wait_until_closed(tollgate: &Tollgate) {
    eventually("the end of every connection", || {
        (tollgate.metric("tollgate_connections", &[]) == 0.0).then_some(())
    });
}

#[test]
fn a_head_that_does_not_end_is_cut_and_counted_once() {
    let (tollgate, upstream) = start("headers = \"300ms\"");
    let mut sender = tollgate.connect();
    let head = batch().head();
    sender.write(&head[..head.len() / 2]).expect("writing half a head");
    assert!(sender.is_closed());
    wait_until_closed(&tollgate); // it lingers for a moment, since the sender has not closed
    assert_eq!(timed_out(&tollgate), 1.0);
    assert!(upstream.seen().is_empty());
    assert_eq!(tollgate.send(&batch()).status, 200);
}

#[test]
fn a_head_that_trickles_is_cut_too() {
    let (tollgate, upstream) = start("headers = \"500ms\"");
    let mut sender = tollgate.connect();
    sender.write(b"POST /v1/logs HTTP/1.1\r\n").expect("the request line");
    // A header every now and then does not buy more time. The write fails once the cut is known.
    eventually("the cut", || {
        let written = sender.write(b"X-Slow: yes\r\n");
        (written.is_err() || timed_out(&tollgate) > 0.0).then_some(())
    });
    assert!(sender.is_closed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_second_head_on_the_same_connection_has_its_own_time() {
    let (tollgate, upstream) = start("headers = \"300ms\"");
    let mut sender = tollgate.connect();
    assert_eq!(sender.send(&batch()).status, 200);
    sender.write(b"POST /v1/lo").expect("a second head's beginning");
    assert!(sender.is_closed());
    assert_eq!(upstream.seen().len(), 1);
}

/// A request and the beginning of the next one's head, in one piece.
fn one_and_a_half() -> (Vec<u8>, Vec<u8>) {
    let mut bytes = [batch().head(), batch().body].concat();
    let rest = bytes.clone();
    bytes.extend_from_slice(&rest[..30]);
    (bytes, rest[30..].to_vec())
}

#[test]
fn a_head_that_began_behind_a_request_is_kept_over_a_pause() {
    let (tollgate, upstream) = start("headers = \"3s\"");
    let (begun, rest) = one_and_a_half();
    let mut sender = tollgate.connect();
    sender.write(&begun).expect("a request and a half");
    assert_eq!(sender.read_answer().expect("the first answer").status, 200);
    // A head that begins now is cut after 3 s; an idle connection gives its buffers back after 2 s.
    let mut slow = tollgate.connect();
    slow.write(b"POST /v1/lo").expect("half a head");
    assert!(slow.is_closed());
    sender.write(&rest).expect("the rest");
    assert_eq!(sender.read_answer().expect("the second answer").status, 200);
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(sender.send(&batch()).status, 200);
}

#[test]
fn a_head_that_began_behind_a_request_has_its_time_too() {
    let (tollgate, _upstream) = start("headers = \"300ms\"");
    let mut sender = tollgate.connect();
    sender.write(&one_and_a_half().0).expect("a request and a half");
    assert_eq!(sender.read_answer().expect("the first answer").status, 200);
    assert!(sender.is_closed());
    wait_until_closed(&tollgate);
    assert_eq!(timed_out(&tollgate), 1.0);
}

#[test]
fn a_body_that_does_not_end_is_answered_503() {
    let (tollgate, upstream) = start("body = \"1s\"");
    for request in [batch(), batch().chunked(10)] {
        let mut sender = tollgate.connect();
        let half = &request.body[..request.body.len() / 2];
        sender.write(&request.head()).and_then(|()| sender.write(half)).expect("writing half a body");
        let answer = sender.read_answer().expect("an answer");
        assert_eq!(answer.status, 503, "408 would be final for an OTLP sender");
        assert!(answer.status_message().contains("did not arrive within 1s"), "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
        assert_eq!(tollgate.access_line(&answer)["reason"], "body_timeout");
        assert!(sender.is_closed());
    }
    assert!(upstream.seen().is_empty());
    wait_until_idle(&tollgate);
}

#[test]
fn an_idle_connection_is_closed() {
    let (tollgate, _upstream) = start("idle = \"1s\"");
    let mut silent = tollgate.connect();
    let mut used = tollgate.connect();
    assert_eq!(used.send(&batch()).status, 200);
    assert!(silent.is_closed());
    assert!(used.is_closed());
    drop((silent, used));
    wait_until_closed(&tollgate);
    assert_eq!(timed_out(&tollgate), 2.0);
}

#[test]
fn a_request_under_way_is_not_idle() {
    let (tollgate, upstream) = start("idle = \"1s\"\nheaders = \"300ms\"");
    upstream.behave(Behaviour::Hang);
    let mut waiting = tollgate.connect();
    waiting.write(&batch().head()).and_then(|()| waiting.write(&batch().body)).expect("writing");
    eventually("the arrival at the upstream", || (!upstream.seen().is_empty()).then_some(()));
    // One that begins to idle now is closed; by then the other's time would have been over as well.
    assert!(tollgate.connect().is_closed());
    assert_eq!(tollgate.metric("tollgate_in_flight_requests", &[]), 1.0);
}

#[test]
fn the_rest_of_a_refused_body_is_no_head() {
    let (tollgate, _upstream) = start("headers = \"300ms\"");
    let refused = Request::post("/v1/logs", vec![b'x'; 1000]);
    let mut sender = tollgate.connect();
    sender.write(&refused.head()).expect("writing the head");
    assert_eq!(sender.read_answer().expect("an answer to the head").status, 401);
    sender.write(&refused.body).expect("writing the body behind the answer");
    // A head that begins now is cut; by then the time of one that began before would be over too.
    let mut slow = tollgate.connect();
    slow.write(b"POST /v1/lo").expect("half a head");
    assert!(slow.is_closed());
    assert_eq!(sender.send(&batch()).status, 200, "the connection is idle, and serves the next request");
}

#[test]
fn half_a_tls_handshake_is_cut() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&upstream)
        + "[listener.tls]\nbind = \"127.0.0.1:0\"\ntls = { self_signed = [\"localhost\"] }\n\
           timeouts = { handshake = \"300ms\" }\n";
    let tollgate = Tollgate::start(&config);
    // A record header that announces a ClientHello, and a bit of it.
    for half in [&[][..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]] {
        let mut sender = Connection::tcp(tollgate.address("tls"));
        sender.write(half).expect("writing half a handshake");
        assert!(sender.is_closed());
    }
    let failed = || tollgate.metric("tollgate_tls_handshakes_failed_total", &[("listener", "tls")]);
    assert_eq!(failed(), 2.0);
    let mut plain = Connection::tcp(tollgate.address("tls"));
    plain.write(&batch().head()).expect("plain HTTP");
    plain.read_to_end();
    eventually("the count", || (failed() == 3.0).then_some(()));
}

#[test]
fn a_sender_that_vanishes_in_its_body_is_counted_as_aborted() {
    let (tollgate, upstream) = start("body = \"5m\"");
    for (n, request) in [(1.0, batch()), (2.0, batch().chunked(10))] {
        let mut sender = tollgate.connect();
        let half = &request.body[..request.body.len() / 2];
        sender.write(&request.head()).and_then(|()| sender.write(half)).expect("writing half a body");
        eventually("the admission", || {
            (tollgate.metric("tollgate_in_flight_requests", &[]) == 1.0).then_some(())
        });
        drop(sender);
        wait_until_idle(&tollgate);
        let aborted = [("tenant", "shop"), ("signal", "logs"), ("outcome", "aborted")];
        eventually("the count", || (tollgate.metric("tollgate_requests_total", &aborted) == n).then_some(()));
    }
    assert!(upstream.seen().is_empty());
    eventually("the access line", || tollgate.log_text().contains("\"outcome\":\"aborted\"").then_some(()));
}

#[test]
fn a_sender_that_does_not_wait_for_the_answer_is_counted_as_aborted() {
    let (tollgate, upstream) = start("body = \"5m\"");
    upstream.behave(Behaviour::Hang);
    let mut sender = tollgate.connect();
    sender.write(&batch().head()).and_then(|()| sender.write(&batch().body)).expect("writing");
    eventually("the arrival at the upstream", || (!upstream.seen().is_empty()).then_some(()));
    drop(sender);
    wait_until_idle(&tollgate);
    eventually("the count", || {
        let cancelled = [("upstream", "collector"), ("outcome", "cancelled")];
        (tollgate.metric("tollgate_upstream_requests_total", &cancelled) == 1.0).then_some(())
    });
    let aborted = [("tenant", "shop"), ("signal", "logs"), ("outcome", "aborted")];
    assert_eq!(tollgate.metric("tollgate_requests_total", &aborted), 1.0);
}

#[test]
fn a_connection_that_nobody_took_yet_is_served_in_a_drain() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "tenant.shop", "limits = { in_flight = 200 }");
    let mut tollgate = Tollgate::start(&config);
    // While it stands still, the system takes the connections and queues the signal behind them.
    tollgate.signal("STOP");
    let mut senders: Vec<_> = (0..150).map(|_| tollgate.connect()).collect();
    for sender in &mut senders {
        sender.write(&[batch().head(), batch().body].concat()).expect("writing");
    }
    tollgate.signal("TERM");
    tollgate.signal("CONT");
    for mut sender in senders {
        assert_eq!(sender.read_answer().expect("an answer").status, 200);
    }
    assert_eq!(upstream.seen().len(), 150);
    assert_eq!(tollgate.wait(), 0);
}

#[test]
fn a_head_that_cannot_be_read_is_counted() {
    let (tollgate, _upstream) = start("");
    let long = "x".repeat(100 << 10);
    let heads = ["POST /v1/logs\r\n\r\n".to_owned(), format!("POST / HTTP/1.1\r\nX-Long: {long}\r\n\r\n")];
    for (head, (count, status)) in heads.iter().zip([(1.0, 400), (2.0, 431)]) {
        let mut sender = tollgate.connect();
        let _ = sender.write(head.as_bytes()); // may be refused before its end
        assert_eq!(sender.read_answer().expect("an answer").status, status);
        drop(sender);
        let counted = || tollgate.metric("tollgate_bad_heads_total", &[("listener", "door")]);
        eventually("the count", || (counted() == count).then_some(()));
    }
    assert_eq!(tollgate.send(&batch()).status, 200);
}
