//! Real programs beside Tollgate: where they are, and what all of them need.

use super::{PATIENCE, eventually};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A peer that `tests/peers` made, in `target/peers/bin` or `$TOLLGATE_PEERS`; else one of this system.
pub fn peer(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("TOLLGATE_PEERS").map_or_else(|| repository("target/peers/bin"), PathBuf::from);
    Some(folder.join(name)).filter(|path| path.exists()).or_else(|| on_path(name))
}

/// A program of this system.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Runs to the end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("running {command:?}: {error}"))
}

/// What a program wrote, for an assertion's message.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The wall clock as OTLP writes it.
pub fn now_nanos() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since_1970.as_nanos()).expect("a clock before 2554")
}

/// A text as the value of a query's parameter.
pub fn url_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Waits until a port takes connections.
#[track_caller]
pub fn wait_for_port(port: u16, process: &mut Running) {
    eventually("a listening port", || {
        if let Ok(Some(status)) = process.0.try_wait() {
            panic!("it ended with {status}");
        }
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

/// A certificate for these names and its key, as `NAME.pem` and `NAME.key` in a folder. It signed
/// itself, so it is its own authority.
pub fn write_certificate(folder: &Path, name: &str, names: &[&str]) -> PathBuf {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let path = folder.join(format!("{name}.pem"));
    fs::write(&path, made.cert.pem()).expect("writing the certificate");
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).expect("writing the key");
    path
}

/// A TLS stream to `localhost` that trusts this certificate and speaks HTTP/1.1.
pub fn tls(address: SocketAddr, certificate: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(certificate).expect("reading the certificate");
    for certificate in tollgate::tls::certificates(&pem).expect("a certificate in PEM") {
        roots.add(certificate).expect("a usable certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = "localhost".try_into().expect("a server name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    let stream = TcpStream::connect(address).expect("connecting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    StreamOwned::new(connection, stream)
}
