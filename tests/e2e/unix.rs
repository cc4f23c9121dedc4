//! Unix sockets: whose they are, what is in the way, what is left behind, and whom they trust.

use crate::kit::{Behaviour, Connection, Folder, Request, Tollgate, Upstream, fails_to_start, log_request};
use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::PathBuf,
};

/// A socket `otlp.sock` with these keys.
fn config(upstream: &Upstream, socket: &str, keys: &str) -> String {
    format!(
        r#"
[listener.door]
bind = "unix:{socket}"
{keys}

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

fn request() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

fn socket(tollgate: &Tollgate) -> PathBuf {
    tollgate.folder().join("otlp.sock")
}

const IN_FOLDER: &str = "$DIR/otlp.sock";

#[test]
fn a_socket_has_the_mode_and_group_that_were_asked_for() {
    // SAFETY: both only return a number.
    let (user, own_group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let group = if user == 0 { 4242 } else { own_group }; // only root may give a file away
    let upstream = Upstream::start(Behaviour::ok());
    let keys = format!("mode = \"0620\"\ngroup = {group}");
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, &keys));
    let file = fs::metadata(socket(&tollgate)).expect("the socket");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o620);
    assert_eq!(file.gid(), group);
    assert_eq!(Connection::unix(&socket(&tollgate)).send(&request()).status, 200);
    let others: Vec<_> = fs::read_dir(tollgate.folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with("otlp.sock"))
        .collect();
    assert_eq!(others, ["otlp.sock"], "nothing else is left beside it");
}

#[test]
fn without_a_mode_nobody_but_user_and_group_may_connect() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let mode = fs::metadata(socket(&tollgate)).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn a_socket_that_a_dead_process_left_is_replaced() {
    let folder = Folder::create();
    let path = folder.path().join("otlp.sock");
    drop(UnixListener::bind(&path).expect("binding")); // closes it, and leaves its file
    let stale = fs::metadata(&path).expect("the file").ino();
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start_in(folder, &config(&upstream, IN_FOLDER, ""));
    assert_ne!(fs::metadata(&path).expect("the socket").ino(), stale);
    assert_eq!(Connection::unix(&socket(&tollgate)).send(&request()).status, 200);
}

#[test]
fn a_killed_tollgate_leaves_a_socket_that_the_next_one_takes() {
    let upstream = Upstream::start(Behaviour::ok());
    let shared = Folder::create();
    let path = shared.path().join("otlp.sock");
    let config = config(&upstream, path.to_str().expect("text"), "");
    let mut tollgate = Tollgate::start(&config);
    tollgate.signal("KILL");
    tollgate.wait();
    assert!(path.exists());
    let _next = Tollgate::start(&config);
    assert_eq!(Connection::unix(&path).send(&request()).status, 200);
}

#[test]
fn a_socket_that_somebody_answers_on_is_not_taken_away() {
    let upstream = Upstream::start(Behaviour::ok());
    let first = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let path = socket(&first);
    let second = Folder::create();
    let (status, text) = fails_to_start(&second, &config(&upstream, path.to_str().expect("text"), ""));
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("another process is listening on it"), "{text}");
    assert!(text.contains(path.to_str().expect("text")), "{text}");
    assert_eq!(Connection::unix(&path).send(&request()).status, 200, "the first goes on");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::create();
    let path = folder.path().join("otlp.sock");
    fs::write(&path, "a letter").expect("writing");
    let upstream = Upstream::start(Behaviour::ok());
    let (status, text) = fails_to_start(&folder, &config(&upstream, IN_FOLDER, ""));
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("no socket"), "{text}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "a letter");
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let upstream = Upstream::start(Behaviour::ok());
    let (status, text) =
        fails_to_start(&Folder::create(), &config(&upstream, "/no/such/folder/otlp.sock", ""));
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("cannot listen on /no/such/folder/otlp.sock"), "{text}");
}

#[test]
fn the_file_is_gone_with_the_process() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let path = socket(&tollgate);
    assert!(path.exists());
    tollgate.signal("TERM");
    assert_eq!(tollgate.wait(), 0);
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_somebody_elses_by_now_stays() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let path = socket(&tollgate);
    fs::remove_file(&path).expect("removing");
    let _other = UnixListener::bind(&path).expect("binding");
    tollgate.signal("TERM");
    assert_eq!(tollgate.wait(), 0);
    assert!(path.exists());
}

#[test]
fn a_peer_of_a_trusted_socket_names_the_client() {
    let upstream = Upstream::start(Behaviour::ok());
    let keys =
        "trusted_proxies = [\"unix\"]\nclient_ip_header = \"CF-Connecting-IP\"\nanswer_within = \"85s\"";
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, keys));
    let from = |address: &str| {
        let request = request().header("CF-Connecting-IP", address).header("Cf-Ray", "8f00-AMS");
        let answer = Connection::unix(&socket(&tollgate)).send(&request);
        assert_eq!(answer.status, 200);
        tollgate.access_line(&answer)
    };
    let line = from("203.0.113.7");
    assert_eq!((line["client"].as_str(), line["cf_ray"].as_str()), (Some("203.0.113.7"), Some("8f00-AMS")));
    // So the limit of failed logins is for each client, not for the socket.
    let wrong = |address: &str| {
        let request = Request::post("/v1/logs", "").login("nobody", "x").header("CF-Connecting-IP", address);
        Connection::unix(&socket(&tollgate)).send(&request).status
    };
    let statuses: Vec<_> = (0..7).map(|_| wrong("203.0.113.8")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(wrong("203.0.113.9"), 401);
}

#[test]
fn a_peer_of_a_socket_that_is_not_trusted_names_nobody() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let request =
        request().header("CF-Connecting-IP", "203.0.113.7").header("X-Forwarded-For", "203.0.113.7");
    let answer = Connection::unix(&socket(&tollgate)).send(&request);
    assert_eq!(answer.status, 200);
    assert!(!tollgate.access_line(&answer).to_string().contains("203.0.113.7"));
}

#[test]
fn a_reload_keeps_the_socket_and_its_connections() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let inode = || fs::metadata(socket(&tollgate)).expect("the socket").ino();
    let before = inode();
    let mut sender = Connection::unix(&socket(&tollgate));
    assert_eq!(sender.send(&request()).status, 200);
    assert!(tollgate.reload_files());
    assert_eq!(inode(), before);
    assert_eq!(sender.send(&request()).status, 200);
    assert_eq!(Connection::unix(&socket(&tollgate)).send(&request()).status, 200);
}

#[test]
fn a_reload_changes_the_mode_of_the_same_socket() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream, IN_FOLDER, ""));
    let mut sender = Connection::unix(&socket(&tollgate));
    assert_eq!(sender.send(&request()).status, 200);
    let before = fs::metadata(socket(&tollgate)).expect("the socket");
    assert!(tollgate.reload(&config(&upstream, IN_FOLDER, "mode = \"0600\"")));
    let after = fs::metadata(socket(&tollgate)).expect("the socket");
    assert_eq!((after.permissions().mode() & 0o777, after.ino()), (0o600, before.ino()));
    assert_eq!(sender.send(&request()).status, 200);
    assert_eq!(Connection::unix(&socket(&tollgate)).send(&request()).status, 200);
}
