//! Tollgate as a process.

use super::{Answer, Connection, PATIENCE, Request, eventually};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// An Argon2id hash of "secret" with the cheapest parameters allowed, so that tests do not wait.
pub const SECRET_HASH: &str = include_str!("secret.hash").trim_ascii_end();

/// A command that is not `run`.
pub fn tollgate(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().expect("running tollgate")
}

/// The program, not run yet.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_remove("TOLLGATE_CONFIG");
    command
}

/// A folder of a test's own, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tollgate-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running Tollgate. Its configuration is `tollgate.toml` in a folder of its own; `$SECRET` in it
/// is the hash of "secret", and `$DIR` the folder.
pub struct Tollgate {
    child: Child,
    folder: Folder,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Tollgate {
    /// Starts, and waits until it is ready. An `[admin]` listener is added.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::start_in(Folder::create(), config)
    }

    /// The same in a folder that holds files already.
    #[track_caller]
    pub fn start_in(folder: Folder, config: &str) -> Self {
        Self::start_by(command(), folder, config)
    }

    /// The same by another command, such as a shell that sets limits and then becomes Tollgate.
    #[track_caller]
    pub fn start_by(mut command: Command, folder: Folder, config: &str) -> Self {
        write_config(&folder, config);
        let mut child = command
            .args(["run", "--config"])
            .arg(folder.path().join("tollgate.toml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting tollgate");
        let stderr = child.stderr.take().expect("stderr is piped");
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let log = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                log.lock().push(value);
            }
        });
        let mut tollgate = Self { child, folder, lines };
        tollgate.wait_until_ready();
        tollgate
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        eventually("the start", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("tollgate ended with {status}:\n{}", self.log_text());
            }
            let admin = self.find_line("admin listens")?["address"].as_str()?.parse().ok()?;
            let ready = Connection::tcp(admin).send(&Request::post("/readyz", "").method("GET"));
            (ready.status == 200).then_some(())
        });
    }

    /// The address of a TCP listener.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        eventually("the listener's line", || {
            let lines = self.lines.lock();
            let line = lines
                .iter()
                .rev()
                .find(|line| message(line) == "listening" && line["listener"] == listener)?;
            line["address"].as_str()?.parse().ok()
        })
    }

    /// A new connection to the listener `door`.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::tcp(self.address("door"))
    }

    /// Sends on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        self.connect().send(request)
    }

    /// The sum of a metric's series that have these labels.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let lines = self.metrics();
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let of_name = lines.iter().filter(|(series, _)| {
            let bare = series.split('{').next().unwrap_or_default();
            bare == name && wanted.iter().all(|label| series.contains(label.as_str()))
        });
        of_name.map(|(_, value)| value).sum()
    }

    /// Every series.
    #[track_caller]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.admin("/metrics");
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Asks the admin listener.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Answer {
        Connection::tcp(self.admin_address()).send(&Request::post(path, "").method("GET"))
    }

    pub fn admin_address(&self) -> SocketAddr {
        let line = self.find_line("admin listens").expect("the admin's line");
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("its address")
    }

    /// Waits for an event of this message.
    #[track_caller]
    pub fn wait_for_line(&self, message: &str) -> Value {
        eventually(message, || self.find_line(message))
    }

    fn find_line(&self, wanted: &str) -> Option<Value> {
        self.lines.lock().iter().find(|line| message(line) == wanted).cloned()
    }

    /// Every event of this message so far.
    pub fn lines(&self, wanted: &str) -> Vec<Value> {
        self.lines.lock().iter().filter(|line| message(line) == wanted).cloned().collect()
    }

    /// Waits for the access line of a request, by the id in its answer.
    #[track_caller]
    pub fn access_line(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("a request id").to_owned();
        eventually("the access line", || {
            let lines = self.lines.lock();
            lines.iter().find(|line| line["target"] == "access" && line["request_id"] == id.as_str()).cloned()
        })
    }

    /// Everything logged so far, for a failing test and for looking for secrets.
    pub fn log_text(&self) -> String {
        self.lines.lock().iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process's status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") << 10
    }

    /// Writes a new configuration, which nobody reads yet.
    pub fn rewrite(&self, config: &str) {
        write_config(&self.folder, config);
    }

    /// Writes a new configuration and has it read; waits for the outcome. Says whether it was taken.
    #[track_caller]
    pub fn reload(&self, config: &str) -> bool {
        self.rewrite(config);
        self.reload_files()
    }

    /// Has the configuration read again.
    #[track_caller]
    pub fn reload_files(&self) -> bool {
        let count = || self.lines("configuration reloaded").len() + self.failed_reloads();
        let (before, failed_before) = (count(), self.failed_reloads());
        self.signal("HUP");
        eventually("the reload", || (count() > before).then_some(()));
        self.failed_reloads() == failed_before
    }

    fn failed_reloads(&self) -> usize {
        self.lines("reload failed, the configuration before goes on").len()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the end; the exit status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("the end", || child.try_wait().expect("waiting"));
        status.code().unwrap_or(-1)
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- tollgate's log (patience was {PATIENCE:?})\n{}", self.log_text());
        }
    }
}

fn message(line: &Value) -> &str {
    line["message"].as_str().or_else(|| line["fields"]["message"].as_str()).unwrap_or_default()
}

fn write_config(folder: &Folder, config: &str) {
    let mut text =
        config.replace("$SECRET", SECRET_HASH).replace("$DIR", &folder.path().display().to_string());
    if !text.contains("[admin]") {
        text += "\n[admin]\nbind = \"127.0.0.1:0\"\n";
    }
    fs::write(folder.path().join("tollgate.toml"), text).expect("writing the configuration");
}

/// Runs with a configuration that cannot be served: the exit status, and what was said.
#[track_caller]
pub fn fails_to_start(folder: &Folder, config: &str) -> (i32, String) {
    write_config(folder, config);
    let mut command = command();
    command.args(["run", "--config"]).arg(folder.path().join("tollgate.toml")).current_dir(folder.path());
    run_to_end(command, "")
}

/// Runs a command that ends by itself, with this on its standard input: the exit status, and all that
/// it printed on standard error.
#[track_caller]
pub fn run_to_end(mut command: Command, input: &str) -> (i32, String) {
    use std::io::{Read, Write};
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting tollgate");
    child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).expect("writing");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("waiting") {
            Some(status) => break status,
            None if std::time::Instant::now() > deadline => {
                let _ = child.kill();
                panic!("it runs on: {:?}", reader.join());
            }
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    let text = reader.join().expect("the reader").expect("text");
    (status.code().unwrap_or(-1), text)
}
