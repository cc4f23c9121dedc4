//! TLS and HTTP/2 towards senders: versions, certificates, many streams, and those who misbehave.

use crate::kit::{
    Behaviour, Folder, Request, Tollgate, Upstream, basic, eventually,
    frames::{self, Frames, frame},
    http2::Http2,
    log_request,
    scripted::Scripted,
    tls::{Authority, hello},
};
use rustls::{
    ProtocolVersion,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// `door` with TLS, `plain` without.
fn config(upstream: SocketAddr, door: &str) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"
{door}

[listener.plain]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"
limits = {{ body = "32MiB", decompressed = "32MiB", requests_per_second = 10000, bytes_per_second = "1GiB", in_flight = 1000 }}

[upstream.collector]
endpoint = "http://{upstream}"
"#
    )
}

const SELF_SIGNED: &str = "tls = { self_signed = [\"localhost\", \"127.0.0.1\"] }";

fn request() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

#[test]
fn tls_1_2_and_1_3_serve_with_any_alpn_that_is_http() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let address = tollgate.address("door");
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for alpn in [&[][..], &["http/1.1"][..]] {
            let stream = hello().version(version).alpn(alpn).connect(address).expect("a handshake");
            assert_eq!(stream.session().protocol_version(), Some(name));
            let settled = alpn.first().map(|name| name.as_bytes());
            assert_eq!(stream.session().alpn_protocol(), settled);
            let mut sender = crate::kit::Connection::over(stream);
            for _ in 0..3 {
                assert_eq!(sender.send(&request()).status, 200, "{name:?}, {alpn:?}");
            }
        }
        for alpn in [&["h2"][..], &["http/1.1", "h2"][..]] {
            let stream = hello().version(version).alpn(alpn).connect(address).expect("a handshake");
            assert_eq!(stream.session().alpn_protocol(), Some(&b"h2"[..]), "preferred where both can");
            let sender = Http2::tls(address, hello().version(version).alpn(alpn).config());
            assert_eq!(sender.send(&request()).status, 200, "{name:?}, {alpn:?}");
        }
        // HTTP/2 by prior knowledge, inside TLS without ALPN.
        let sender = Http2::tls(address, hello().version(version).config());
        assert_eq!(sender.send(&request()).status, 200, "{name:?}");
    }
    assert!(hello().alpn(&["spdy/3"]).connect(address).is_err(), "nothing in common");
}

#[test]
fn a_certificate_from_files_is_the_one_that_is_shown() {
    let authority = Authority::create();
    let certificate = authority.issue(&["localhost"]);
    let folder = Folder::create();
    std::fs::write(folder.path().join("edge.pem"), certificate.chain.clone() + authority.pem())
        .expect("writing");
    std::fs::write(folder.path().join("edge.key"), &certificate.key).expect("writing");
    let upstream = Upstream::start(Behaviour::ok());
    let door = "tls = { certificate = \"edge.pem\", key = \"edge.key\" }";
    let tollgate = Tollgate::start_in(folder, &config(upstream.address(), door));
    let mut sender = hello().believing(authority.pem()).sender(tollgate.address("door"));
    assert_eq!(sender.send(&request()).status, 200);
    let stream = hello().connect(tollgate.address("door")).expect("a handshake");
    let issued = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).expect("a certificate");
    assert_eq!(stream.certificate(), issued);
    assert_eq!(stream.session().peer_certificates().map(<[_]>::len), Some(2), "the whole chain");
    let other = Authority::create();
    assert!(hello().believing(other.pem()).connect(tollgate.address("door")).is_err());
}

#[test]
fn a_self_signed_certificate_stays_the_same_over_a_reload() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let shown = || hello().connect(tollgate.address("door")).expect("a handshake").certificate();
    let before = shown();
    assert!(tollgate.reload_files());
    assert_eq!(shown(), before);
    assert!(tollgate.reload(&config(upstream.address(), "tls = { self_signed = [\"other.example.com\"] }")));
    assert_ne!(shown(), before);
}

/// Answers nobody before so many requests have arrived.
fn upstream_that_waits_for(requests: usize) -> Scripted {
    let together = Arc::new(Barrier::new(requests));
    Scripted::start(move |peer, _| {
        loop {
            peer.request()?;
            together.wait();
            peer.answer(200, "")?;
        }
    })
}

#[test]
fn streams_of_one_connection_are_served_at_once_over_tls_and_plain() {
    let upstream = upstream_that_waits_for(16);
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let senders = [
        Http2::tls(tollgate.address("door"), hello().alpn(&["h2"]).config()),
        Http2::plain(tollgate.address("plain")),
    ];
    for sender in senders {
        for _ in 0..3 {
            let answers = sender.send_all(&vec![request(); 16]);
            assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        }
    }
    assert_eq!(upstream.seen().len(), 2 * 3 * 16);
    assert!(upstream.seen().iter().all(|seen| seen.body == log_request("hello")));
    let labels = [("listener", "plain")];
    assert_eq!(tollgate.metric("tollgate_connections_total", &labels), 1.0);
}

#[test]
fn large_bodies_on_many_streams_arrive_unharmed() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let sender = Http2::tls(tollgate.address("door"), hello().alpn(&["h2"]).config());
    let bodies: Vec<_> =
        (0..8_u8).map(|i| log_request(&char::from(b'a' + i).to_string().repeat(1 << 20))).collect();
    let requests: Vec<_> =
        bodies.iter().map(|body| Request::post("/v1/logs", body.clone()).login("oxygen", "secret")).collect();
    let answers = sender.send_all(&requests);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let mut arrived: Vec<_> = upstream.seen().into_iter().map(|seen| seen.body).collect();
    arrived.sort();
    assert!(arrived == bodies);
}

#[test]
fn strangers_at_the_tls_port_disturb_nobody_and_are_counted() {
    let upstream = Upstream::start(Behaviour::ok());
    let door = format!("{SELF_SIGNED}\ntimeouts = {{ handshake = \"500ms\" }}");
    let tollgate = Tollgate::start(&config(upstream.address(), &door));
    let address = tollgate.address("door");
    let mut good = hello().sender(address);
    assert_eq!(good.send(&request()).status, 200);
    let silent: Vec<_> = (0..5).map(|_| TcpStream::connect(address).expect("connecting")).collect();
    let mut hello_cut = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello_cut.extend([7; 40]);
    let garbage: [&[u8]; 4] = [
        b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-x\r\n",
        &[0xff; 4096],
        &hello_cut,
    ];
    for bytes in garbage {
        let mut stranger = TcpStream::connect(address).expect("connecting");
        stranger.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a time limit");
        let _ = stranger.write_all(bytes);
        assert_eq!(good.send(&request()).status, 200, "meanwhile");
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer); // ends, by whichever way
        assert!(!answer.starts_with(b"HTTP"), "nobody is served in the clear at a TLS port");
    }
    let failed = || tollgate.metric("tollgate_tls_handshakes_failed_total", &[("listener", "door")]);
    eventually("each is counted", || (failed() == 9.0).then_some(()));
    drop(silent);
    assert_eq!(good.send(&request()).status, 200);
    assert_eq!(hello().sender(address).send(&request()).status, 200);
    eventually("only the good sender's connection is left", || {
        (tollgate.metric("tollgate_connections", &[("listener", "door")]) == 1.0).then_some(())
    });
}

#[test]
fn a_connection_has_no_more_streams_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, peak) = (now.clone(), most.clone());
    let upstream = Scripted::start(move |peer, _| {
        loop {
            peer.request()?;
            peak.fetch_max(counting.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20)); // the others have their chance
            counting.fetch_sub(1, SeqCst);
            peer.answer(200, "")?;
        }
    });
    let door = format!("{SELF_SIGNED}\nlimits = {{ streams = 4 }}");
    let tollgate = Tollgate::start(&config(upstream.address(), &door));
    // One that keeps to the announced number…
    let sender = Http2::tls(tollgate.address("door"), hello().alpn(&["h2"]).config());
    assert_eq!(sender.send(&request()).status, 200);
    let answers = sender.send_all(&vec![request(); 32]);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(most.load(SeqCst) <= 4, "{most:?}");
    // …and one that does not.
    let stream = hello().alpn(&["h2"]).connect(tollgate.address("door")).expect("a handshake");
    let mut sender = Frames::over(stream).expect("the preface");
    let settings = sender.find(|frame| frame.kind == frames::SETTINGS).expect("settings");
    assert_eq!(settings.setting(3), Some(4), "the number is announced");
    let login = basic("oxygen", "secret");
    for stream in [1, 3, 5, 7, 9] {
        sender.write(&frames::post(stream, &[("authorization", &login)])).expect("writing");
    }
    let refused = sender.find(|frame| frame.kind == frames::RST_STREAM).expect("a refusal");
    assert_eq!((refused.stream, refused.number()), (9, frames::REFUSED_STREAM));
    sender.write(&frame(frames::DATA, frames::END_STREAM, 1, &log_request("hello"))).expect("writing");
    let answer = sender.find(|frame| frame.kind == frames::HEADERS).expect("an answer");
    assert_eq!(answer.stream, 1, "the others are served");
}

#[test]
fn rapid_reset_ends_the_connection_and_nothing_else() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let mut good = hello().sender(tollgate.address("door"));
    assert_eq!(good.send(&request()).status, 200);
    let login = basic("oxygen", "secret");
    let mut flood = Vec::new();
    for i in 0..2000 {
        flood.extend(frames::post(2 * i + 1, &[("authorization", &login)]));
        flood.extend(frame(frames::RST_STREAM, 0, 2 * i + 1, &frames::CANCEL.to_be_bytes()));
    }
    let stream = TcpStream::connect(tollgate.address("plain")).expect("connecting");
    stream.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a time limit");
    let mut sender = Frames::over(stream).expect("the preface");
    let _ = sender.write(&flood); // may be cut short
    let end = sender.find(|frame| frame.kind == frames::GOAWAY);
    match end {
        Ok(goaway) => assert_eq!(goaway.number(), 11, "ENHANCE_YOUR_CALM"),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection ended"),
    }
    assert_eq!(good.send(&request()).status, 200);
    eventually("nothing is left of it", || {
        (tollgate.metric("tollgate_in_flight_requests", &[]) == 0.0).then_some(())
    });
}

#[test]
fn what_http2_buffers_before_a_login_is_bounded() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let address = tollgate.address("plain");
    let stranger = Request::post("/v1/logs", vec![b'x'; 1 << 20]).header("Authorization", "Bearer wrong");
    assert_eq!(Http2::plain(address).send(&stranger).status, 401);
    let before = tollgate.resident_bytes();
    let mut most = 0;
    let senders: Vec<_> = (0..6).map(|_| Http2::plain(address)).collect();
    std::thread::scope(|scope| {
        let sending: Vec<_> = senders
            .iter()
            .map(|sender| scope.spawn(|| sender.try_send_all(&vec![stranger.clone(); 32])))
            .collect();
        while sending.iter().any(|sending| !sending.is_finished()) {
            most = most.max(tollgate.resident_bytes());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for sending in sending {
            let answers = sending.join().expect("the sender");
            assert!(
                answers.iter().all(
                    |answer| matches!(answer, Ok(answer) if answer.status == 401 || answer.status == 429)
                ),
                "{answers:?}"
            );
        }
    });
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 48, "{grown} MiB for 192 MiB of strangers' bodies");
}

#[test]
fn a_sender_that_ignores_the_window_is_cut_off() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let stream = TcpStream::connect(tollgate.address("plain")).expect("connecting");
    stream.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a time limit");
    let mut sender = Frames::over(stream).expect("the preface");
    let settings = sender.find(|frame| frame.kind == frames::SETTINGS).expect("settings");
    assert_eq!(settings.setting(4), Some(256 << 10), "a stream's window");
    let update =
        sender.find(|frame| frame.kind == frames::WINDOW_UPDATE && frame.stream == 0).expect("an update");
    assert_eq!(update.number(), (1 << 20) - 65_535, "the connection's window");
    let before = tollgate.resident_bytes();
    sender.write(&frames::post(1, &[("authorization", &basic("oxygen", "secret"))])).expect("writing");
    let piece = frame(frames::DATA, 0, 1, &[0; 16_384]);
    let flooded = (0..4096).try_for_each(|_| sender.write(&piece));
    let end = sender.find(|frame| matches!(frame.kind, frames::GOAWAY | frames::RST_STREAM));
    match end {
        Ok(end) => assert!(matches!(end.number(), 3 | 11), "FLOW_CONTROL_ERROR: {end:?}"),
        Err(error) => assert!(flooded.is_err(), "{error}"),
    }
    assert!(tollgate.resident_bytes().saturating_sub(before) < 32 << 20);
}

#[test]
fn a_refusal_reaches_an_http2_sender_while_its_body_is_still_coming() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address(), SELF_SIGNED));
    let senders = [
        Http2::tls(tollgate.address("door"), hello().alpn(&["h2"]).config()),
        Http2::plain(tollgate.address("plain")),
    ];
    for sender in senders {
        for size in [100, 16 << 10, 256 << 10, 1 << 20, 20 << 20] {
            for _ in 0..3 {
                let stranger = Request::post("/v1/logs", vec![b'x'; size]);
                let answer = sender.try_send(&stranger);
                assert!(matches!(&answer, Ok(answer) if answer.status == 401), "{size}: {answer:?}");
            }
            let large = Request::post("/v1/logs", vec![b'x'; (32 << 20) + size]).login("oxygen", "secret");
            if size < 1 << 20 {
                let answer = sender.try_send(&large);
                assert!(matches!(&answer, Ok(answer) if answer.status == 413), "{size}: {answer:?}");
            }
            assert_eq!(sender.send(&request()).status, 200, "the connection goes on after {size}");
        }
    }
    assert!(upstream.seen().iter().all(|seen| seen.body == log_request("hello")));
}
