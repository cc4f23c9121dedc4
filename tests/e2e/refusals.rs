//! A refusal reaches its sender while the body is still on its way: over TCP, TLS and Unix sockets,
//! whatever the sender does with a write that fails. What cloudflared makes of a lost one: 502, and a
//! retry of what was refused for good.

use crate::kit::{
    Answer, Behaviour, Connection, Folder, Request, Tollgate, Upstream, basic, has, log_request, tls::hello,
};
use std::{path::PathBuf, process::Command};

/// One tenant that may send 64 bytes, another that may send a megabyte; a name may fail to log in so
/// many times.
fn config(upstream: &Upstream, failures: u8) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[listener.tls]
bind = "127.0.0.1:0"
tls = {{ self_signed = ["localhost"] }}

[listener.unix]
bind = "unix:$DIR/otlp.sock"
trusted_proxies = ["unix"]
client_ip_header = "CF-Connecting-IP"
answer_within = "85s"

[auth.failures]
events = {failures}
address_events = 255

[defaults.tenant]
upstream = "collector"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
limits = {{ body = "1MiB", requests_per_second = 10000, bytes_per_second = "1GiB" }}

[tenant.small]
credentials = [{{ user = "small", password_hash = "$SECRET" }}]
limits = {{ body = 64, requests_per_second = 10000, bytes_per_second = "1GiB" }}

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

struct Doors {
    tollgate: Tollgate,
    upstream: Upstream,
}

const DOORS: [&str; 3] = ["tcp", "tls", "unix"];

impl Doors {
    fn open() -> Self {
        Self::open_with(100)
    }

    fn open_with(failures: u8) -> Self {
        let upstream = Upstream::start(Behaviour::ok());
        Self { tollgate: Tollgate::start(&config(&upstream, failures)), upstream }
    }

    fn connect(&self, door: &str) -> Connection {
        match door {
            "tcp" => self.tollgate.connect(),
            "tls" => hello().sender(self.tollgate.address("tls")),
            _ => Connection::unix(&self.socket()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.tollgate.folder().join("otlp.sock")
    }
}

fn good() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

fn body(bytes: usize) -> Request {
    Request::post("/v1/logs", vec![b'x'; bytes])
}

/// Whether it is a whole answer of Tollgate's own.
#[track_caller]
fn check(answer: &Answer, status: u16, context: &str) {
    assert_eq!(answer.status, status, "{context}: {}", answer.text());
    assert!(!answer.status_message().is_empty(), "{context}");
    assert!(answer.header("x-request-id").is_some(), "{context}");
}

const SIZES: [usize; 5] = [100, 16 << 10, 256 << 10, 1 << 20, 20 << 20];

/// At all doors at once: a sender that is held up in its write waits for the end of our lingering.
fn at_each_door(scenario: impl Fn(&str) + Sync) {
    std::thread::scope(|threads| {
        for door in DOORS {
            threads.spawn(|| scenario(door));
        }
    });
}

/// So often each; a lost answer is a matter of chance.
fn tries(size: usize) -> usize {
    if size > 1 << 20 { 3 } else { 10 }
}

#[test]
fn a_401_reaches_a_sender_that_only_reads_after_writing() {
    let doors = Doors::open();
    at_each_door(|door| {
        for size in SIZES {
            for _ in 0..tries(size) {
                let answer = doors.connect(door).send(&body(size));
                check(&answer, 401, &format!("{door}, {size}"));
            }
        }
    });
    assert!(doors.upstream.seen().is_empty());
}

#[test]
fn a_413_reaches_a_sender_that_only_reads_after_writing() {
    let doors = Doors::open();
    at_each_door(|door| {
        for size in SIZES {
            for _ in 0..tries(size) {
                let answer = doors.connect(door).send(&body(size).login("small", "secret"));
                check(&answer, 413, &format!("{door}, {size}"));
            }
        }
    });
    assert!(doors.upstream.seen().is_empty());
}

#[test]
fn a_429_reaches_a_sender_that_only_reads_after_writing() {
    let doors = Doors::open_with(1);
    check(&doors.connect("tcp").send(&body(100).login("nobody", "x")), 401, "the first");
    at_each_door(|door| {
        for size in SIZES {
            for _ in 0..tries(size) {
                let stranger = body(size).login("nobody", "x").header("CF-Connecting-IP", "127.0.0.1");
                let answer = doors.connect(door).send(&stranger);
                check(&answer, 429, &format!("{door}, {size}"));
                assert!(answer.header("retry-after").is_some());
            }
        }
    });
}

#[test]
fn a_refusal_in_the_middle_of_a_chunked_body_reaches_its_sender() {
    let doors = Doors::open();
    at_each_door(|door| {
        for (size, chunk) in [(2 << 20, 1000), (20 << 20, 64 << 10)] {
            for _ in 0..3 {
                let answer = doors.connect(door).send(&body(size).login("oxygen", "secret").chunked(chunk));
                check(&answer, 413, &format!("{door}, {size}"));
                let answer = doors.connect(door).send(&body(size).chunked(chunk));
                check(&answer, 401, &format!("{door}, {size}"));
            }
        }
    });
    assert!(doors.upstream.seen().is_empty());
}

#[test]
fn a_refusal_comes_before_the_body_does() {
    let doors = Doors::open();
    for door in DOORS {
        for (request, status) in [
            (body(20 << 20), 401),
            (body(20 << 20).login("oxygen", "secret"), 413),
            (body(100).header("Content-Type", "text/plain").login("oxygen", "secret"), 415),
        ] {
            let mut sender = doors.connect(door);
            sender.write(&request.head()).and_then(|()| sender.write(&request.body[..50])).expect("writing");
            check(&sender.read_answer().expect("an answer"), status, door);
        }
    }
}

#[test]
fn a_connection_goes_on_after_a_small_refused_body() {
    let doors = Doors::open();
    for door in DOORS {
        let mut sender = doors.connect(door);
        for round in 0..20 {
            check(&sender.send(&body(100)), 401, door);
            check(&sender.send(&body(16 << 10).chunked(1000)), 401, door);
            check(&sender.send(&body(200 << 10).login("small", "secret")), 413, door);
            let answer = sender.send(&good());
            assert_eq!(answer.status, 200, "{door}, round {round}");
        }
    }
    let hello = log_request("hello");
    assert!(
        doors.upstream.seen().iter().all(|seen| seen.body == hello),
        "nothing of a refused body is a request"
    );
    assert_eq!(doors.upstream.seen().len(), 3 * 20);
}

#[test]
fn a_connection_ends_after_a_large_refused_body() {
    let doors = Doors::open();
    for door in DOORS {
        let mut sender = doors.connect(door);
        let request = body(20 << 20);
        sender.write(&request.head()).expect("writing the head");
        let written = sender.write(&request.body);
        check(&sender.read_answer().expect("an answer"), 401, door);
        assert!(written.is_err(), "{door}: 20 MB of a stranger are not read to their end");
        assert!(sender.is_closed(), "{door}");
    }
    for (listener, door) in [("door", "tcp"), ("tls", "tls"), ("unix", "unix")] {
        crate::kit::eventually("the connection is gone", || {
            let open = doors.tollgate.metric("tollgate_connections", &[("listener", listener)]);
            (open == 0.0).then_some(())
        });
        assert_eq!(doors.connect(door).send(&good()).status, 200);
    }
}

#[test]
fn what_a_refused_sender_makes_us_read_is_bounded() {
    // One that never stops: its upload is cut, not drunk for ever.
    let doors = Doors::open();
    at_each_door(|door| {
        let mut sender = doors.connect(door);
        let mut request = body(0);
        request.sized = false;
        let request = request.another("Transfer-Encoding", "chunked");
        sender.write(&request.head()).expect("writing the head");
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend([b'x'; 0x10000]);
        chunk.extend(b"\r\n");
        let taken = (0..4096).take_while(|_| sender.write(&chunk).is_ok()).count() * 0x10000;
        // 1 MiB beside the answer, 4 MiB lingering, and what the kernel's buffers hold.
        assert!(taken < 32 << 20, "{door}: {} MiB were taken", taken >> 20);
        check(&sender.read_answer().expect("an answer"), 401, door);
    });
}

/// The client in tests/tunnel, which treats an origin as cloudflared does. `idle`, its third
/// question, takes two minutes: `go run . -origin … idle` by hand, against any running Tollgate.
fn tunnel() -> Option<(Folder, PathBuf)> {
    let version = Command::new("go").arg("version").output();
    if !has("go", version.is_ok_and(|output| output.status.success())) {
        return None;
    }
    let folder = Folder::create();
    let program = folder.path().join("tunnel");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tunnel");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(source).output();
    let built = built.expect("running go");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some((folder, program))
}

fn origins(doors: &Doors) -> Vec<Vec<String>> {
    let tls = format!("https://{}", doors.tollgate.address("tls"));
    let tcp = format!("http://{}", doors.tollgate.address("door"));
    let unix = format!("unix:{}", doors.socket().display());
    let origin = |origin: String| vec!["-origin".to_owned(), origin];
    let mut http2 = origin(tls.clone());
    http2.push("-http2-origin".to_owned());
    vec![origin(tcp), origin(tls), http2, origin(unix)]
}

#[test]
fn cloudflared_loses_no_refusal() {
    let Some((_folder, program)) = tunnel() else { return };
    let doors = Doors::open();
    for origin in origins(&doors) {
        let run = Command::new(&program)
            .args(&origin)
            .args(["-tries", "30", "refusals"])
            .output()
            .expect("running it");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{origin:?}:\n{text}{}", String::from_utf8_lossy(&run.stderr));
        assert!(!text.contains("502"), "{origin:?}:\n{text}");
    }
}

#[test]
fn each_shape_in_which_cloudflared_brings_otlp_gets_its_answer() {
    let Some((_folder, program)) = tunnel() else { return };
    let doors = Doors::open();
    for origin in origins(&doors) {
        let is_unix = origin[1].starts_with("unix:"); // and so a trusted proxy, known to lose bodies
        let login = basic("oxygen", "secret");
        let run = Command::new(&program).args(&origin).args(["-authorization", &login, "shapes"]).output();
        let run = run.expect("running it");
        let text = String::from_utf8_lossy(&run.stdout);
        // Over HTTP/2 Go itself refuses to send a head above the size that we announce.
        let is_http2 = origin.len() > 2;
        let lost = text.lines().filter(|line| line.contains(" 502 (")).count();
        assert_eq!(
            lost,
            usize::from(is_http2),
            "{origin:?}:\n{text}{}",
            String::from_utf8_lossy(&run.stderr)
        );
        assert_eq!(run.status.code(), Some(i32::from(is_http2)), "{origin:?}:\n{text}");
        // The name fills 40 columns, then comes the status.
        let status_of = |name: &str| -> u16 {
            let line = text.lines().find(|line| line.trim_start().starts_with(name));
            let line = line.unwrap_or_else(|| panic!("{origin:?}: {name} is missing:\n{text}"));
            line.get(41..44).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let empty = if is_unix { 400 } else { 200 };
        for (name, wanted) in [
            ("Content-Length", 200),
            ("chunked", 200),
            ("gzip, Content-Length", 200),
            ("gzip, chunked", 200),
            ("truly empty, Content-Length 0", empty),
            ("truly empty, chunked (HTTP/2 tunnel)", 200), // what is lost is announced as nothing
            ("body lost by a QUIC tunnel, gzip", 400),
            ("Expect: 100-continue", 200),
            ("after it", 200),
            ("bad credential", 401),
        ] {
            assert_eq!(status_of(name), wanted, "{origin:?}, {name}:\n{text}");
        }
        assert_eq!(status_of("100 kB header"), if is_http2 { 502 } else { 431 }, "{text}");
    }
    let hello = log_request("hello");
    assert!(doors.upstream.seen().len() >= 4 * 6);
    assert!(
        doors
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.body == hello || seen.header("content-encoding").is_some())
    );
}
