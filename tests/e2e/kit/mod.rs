//! What the scenarios are written with: Tollgate as a process, senders on raw sockets, and upstreams
//! that behave as they are told. Everything binds loopback on port 0, or on a [`free_port`] where it must
//! be known before; nothing sleeps and hopes: [`eventually`] asks until it is so.

pub mod frames;
mod http;
pub mod http2;
pub mod real;
pub mod scripted;
pub mod tls;
mod tollgate;
mod upstream;

pub use self::{
    http::{Answer, Connection, Field, Request, grpc_frame, protobuf_fields},
    tollgate::{Folder, SECRET_HASH, Tollgate, command, fails_to_start, tollgate},
    upstream::{Behaviour, Seen, Upstream},
};

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How long anything is waited for before a test fails. Far more than anything takes, since the
/// machine may be busy; it bounds a hang and proves nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of loopback that stays free until the test binds it: for programs that cannot say which one
/// they were given, for servers that end or come again while the test looks, and for none at all.
///
/// It is below those that the kernel gives to outgoing connections and to who binds port 0 (from 32768 on
/// Linux, from 49152 elsewhere), so nothing else that runs is given it; nor is it given here twice.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 16_384..32_768;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id(); // other tests that run now begin elsewhere
    let free = PORTS.into_iter().find_map(|_| {
        let turn = first.wrapping_add(GIVEN.fetch_add(1, Relaxed));
        let port = u16::try_from(PORTS.start + turn % (PORTS.end - PORTS.start)).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    free.expect("a free port")
}

/// The same with its address.
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Whether a scenario that needs a tool may run. Without the tool it is skipped, loudly; with
/// `TOLLGATE_TEST_REQUIRE=all` its absence is a failure.
pub fn has(tool: &str, found: bool) -> bool {
    if !found {
        let required = std::env::var("TOLLGATE_TEST_REQUIRE").is_ok_and(|required| required == "all");
        assert!(!required, "{tool} is missing, and TOLLGATE_TEST_REQUIRE=all");
        eprintln!("SKIPPED: {tool} is missing");
    }
    found
}

/// A configuration with more lines in one of its tables.
#[track_caller]
pub fn with(config: &str, table: &str, lines: &str) -> String {
    let head = format!("[{table}]\n");
    assert!(config.contains(&head), "{head} is missing:\n{config}");
    config.replace(&head, &format!("{head}{lines}\n"))
}

/// Compresses as a sender would.
pub fn compress(name: &str, plain: &[u8]) -> Vec<u8> {
    use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
    use std::io::Write as _;
    match name.to_ascii_lowercase().as_str() {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("writing to memory")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("writing to memory")
        }
        "zstd" => zstd::encode_all(plain, 1).expect("writing to memory"),
        _ => plain.to_vec(),
    }
}

/// An `ExportLogsServiceRequest` with one record of this body, byte by byte:
/// resource_logs { scope_logs { log_records { body { string_value } } } }.
pub fn log_request(body: &str) -> Vec<u8> {
    log_requests(&[body])
}

/// The same with several records.
pub fn log_requests(bodies: &[&str]) -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(content);
        out
    }
    let records: Vec<u8> =
        bodies.iter().flat_map(|body| field(2, &field(5, &field(1, body.as_bytes())))).collect();
    field(1, &field(2, &records))
}

/// `Authorization: Basic …`
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}
