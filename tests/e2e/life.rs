//! A life under traffic: reloads, credentials that come and go, listeners that come and go, and the
//! end. No request is lost by any of it.

use crate::kit::{
    Answer, Behaviour, Connection, Folder, Request, Tollgate, Upstream, command, eventually,
    frames::{self, Frames, frame},
    free_address,
    http2::Http2,
    log_request,
    scripted::Scripted,
    tls::{Authority, hello},
};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

/// An Argon2id hash of "other".
fn other_hash() -> String {
    let mut command = command();
    command.arg("hash-password").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("starting tollgate");
    use std::io::Write;
    child.stdin.take().expect("stdin is piped").write_all(b"other").expect("writing");
    let output = child.wait_with_output().expect("waiting");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

const CREDENTIAL: &str = "{ user = \"oxygen\", password_hash = \"$SECRET\" }";

/// `head` stands before the tables, `tail` behind them.
fn config_with(upstream: SocketAddr, head: &str, credentials: &str, tail: &str) -> String {
    format!(
        r#"
{head}

[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{credentials}]
upstream = "collector"
limits = {{ requests_per_second = 100000, bytes_per_second = "1GiB" }}

[upstream.collector]
endpoint = "http://{upstream}"

{tail}
"#
    )
}

fn config(upstream: SocketAddr) -> String {
    config_with(upstream, "", CREDENTIAL, "")
}

fn with_second(upstream: SocketAddr, second: SocketAddr) -> String {
    config_with(upstream, "", CREDENTIAL, &format!("[listener.second]\nbind = \"{second}\""))
}

fn request() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

/// Sends without waiting for the answer.
fn begin(sender: &mut Connection, request: &Request) {
    sender.write(&request.head()).and_then(|()| sender.write(&request.body)).expect("writing");
}

/// Senders on kept connections, as long as the test goes on: what did not end well.
struct Load<'t> {
    ends: &'t AtomicBool,
    sent: &'t AtomicUsize,
    /// Senders that are connected and had an answer.
    began: &'t AtomicUsize,
}

impl Load<'_> {
    /// Until the end, or until the connection's end is announced: 200 to everything.
    fn http1(&self, address: SocketAddr) -> Result<(), String> {
        let mut sender = Connection::tcp(address);
        if sender.send(&request()).status == 200 {
            self.began.fetch_add(1, SeqCst);
            self.sent.fetch_add(1, SeqCst);
        }
        while !self.ends.load(SeqCst) {
            begin(&mut sender, &request());
            let answer = sender.read_answer().map_err(|error| format!("HTTP/1.1: {error}"))?;
            if answer.status != 200 {
                return Err(format!("HTTP/1.1: {} {}", answer.status, answer.text()));
            }
            self.sent.fetch_add(1, SeqCst);
            if closes(&answer) {
                return Ok(()); // it drains: this one would go elsewhere
            }
        }
        Ok(())
    }

    fn http2(&self, address: SocketAddr) -> Result<(), String> {
        let sender = Http2::plain(address);
        if sender.send(&request()).status == 200 {
            self.began.fetch_add(1, SeqCst);
            self.sent.fetch_add(1, SeqCst);
        }
        while !self.ends.load(SeqCst) {
            for answer in sender.try_send_all(&vec![request(); 4]) {
                match answer {
                    Ok(answer) if answer.status == 200 => drop(self.sent.fetch_add(1, SeqCst)),
                    Ok(answer) => return Err(format!("HTTP/2: {} {}", answer.status, answer.text())),
                    // Not processed, says the other side, or never sent: a sender may send it again.
                    Err(_) if sender.is_closed() => return Ok(()),
                    Err(error) if error.contains("GoAway") || error.contains("Canceled") => return Ok(()),
                    Err(error) => return Err(format!("HTTP/2: {error}")),
                }
            }
        }
        Ok(())
    }
}

fn closes(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Runs `scene` while senders send; says how many requests were answered 200, which all were.
#[track_caller]
fn under_load(tollgate: &Tollgate, scene: impl FnOnce(&AtomicUsize)) -> usize {
    let (ends, sent, began) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let load = Load { ends: &ends, sent: &sent, began: &began };
    let address = tollgate.address("door");
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|i| {
                let load = &load;
                scope.spawn(move || if i < 4 { load.http1(address) } else { load.http2(address) })
            })
            .collect();
        eventually("the load is on", || (began.load(SeqCst) == 6 && sent.load(SeqCst) > 50).then_some(()));
        scene(&sent);
        ends.store(true, SeqCst);
        for sender in senders {
            assert_eq!(sender.join().expect("a sender"), Ok(()));
        }
    });
    sent.load(SeqCst)
}

/// Waits until so many more requests were answered.
#[track_caller]
fn go_on(sent: &AtomicUsize, more: usize) {
    let wanted = sent.load(SeqCst) + more;
    eventually("the load goes on", || (sent.load(SeqCst) >= wanted).then_some(()));
}

#[test]
fn reloads_under_load_lose_no_request() {
    let upstreams = [Scripted::start(Scripted::good), Scripted::start(Scripted::good)];
    let tollgate = Tollgate::start(&config(upstreams[0].address()));
    let answered = under_load(&tollgate, |sent| {
        for round in 0..10 {
            // Another upstream, other limits, another name of the header: everything is made anew.
            let head =
                format!("headers = {{ X-Round = \"{round}\" }}\nlimits = {{ in_flight = {} }}", 500 + round);
            let config = config_with(upstreams[round % 2].address(), &head, CREDENTIAL, "");
            assert!(tollgate.reload(&config), "{}", tollgate.log_text());
            go_on(sent, 30);
            assert_eq!(tollgate.send(&request()).header("x-round"), Some(round.to_string().as_str()));
        }
    });
    let arrived = upstreams[0].seen().len() + upstreams[1].seen().len();
    assert_eq!(arrived, answered + 10, "each was delivered once");
    assert!(upstreams.iter().all(|upstream| upstream.seen().len() > 100));
    assert_eq!(tollgate.metric("tollgate_config_reloads_total", &[("result", "success")]), 10.0);
    assert_eq!(
        tollgate.metric("tollgate_connections_total", &[("listener", "door")]),
        16.0,
        "no connection was closed"
    );
}

#[test]
fn a_bad_file_changes_nothing_and_is_said_where() {
    let upstream = Upstream::start(Behaviour::ok());
    let good = config(upstream.address());
    let tollgate = Tollgate::start(&good);
    let before = tollgate.metric("tollgate_config_last_reload_success_timestamp_seconds", &[]);
    for (bad, place, words) in [
        (good.replace("upstream = \"collector\"", "upstream = \"colector\""), "tollgate.toml:9:", "colector"),
        (good.replace("[tenant.shop]", "[tenant.shop"), "tollgate.toml:7:", ""),
        (good.replace("$SECRET", "plain text"), "tollgate.toml:8:", "password_hash"),
    ] {
        assert!(!tollgate.reload(&bad));
        let line = tollgate.lines("reload failed, the configuration before goes on").pop().expect("the line");
        assert_eq!(line["level"], "ERROR");
        let error = line["error"].as_str().expect("why");
        assert!(error.contains(place) && error.contains(words), "{place} {words}: {error}");
        assert!(!error.contains("plain text"), "{error}");
        assert_eq!(tollgate.send(&request()).status, 200);
    }
    assert_eq!(tollgate.metric("tollgate_config_reloads_total", &[("result", "failure")]), 3.0);
    assert_eq!(tollgate.metric("tollgate_config_last_reload_success_timestamp_seconds", &[]), before);
    assert!(tollgate.reload(&good));
    assert_eq!(tollgate.metric("tollgate_config_reloads_total", &[("result", "success")]), 1.0);
}

#[test]
fn a_listener_that_cannot_be_bound_fails_the_whole_reload() {
    let upstream = Upstream::start(Behaviour::ok());
    let good = config(upstream.address());
    let tollgate = Tollgate::start(&good);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let tail = format!("[listener.second]\nbind = \"{address}\"");
    let without = "{ user = \"somebody\", password_hash = \"$SECRET\" }";
    assert!(!tollgate.reload(&config_with(upstream.address(), "", without, &tail)));
    assert!(tollgate.log_text().contains(&format!("cannot listen on {address}")));
    assert_eq!(tollgate.send(&request()).status, 200, "the credential is the old one too");
}

#[test]
fn a_removed_credential_is_revoked_at_once_on_open_connections() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address()));
    let mut http1 = tollgate.connect();
    let http2 = Http2::plain(tollgate.address("door"));
    assert_eq!((http1.send(&request()).status, http2.send(&request()).status), (200, 200));
    let other = other_hash();
    let changed = format!("{{ user = \"oxygen\", password_hash = \"{other}\" }}");
    assert!(tollgate.reload(&config_with(upstream.address(), "", &changed, "")));
    assert_eq!((http1.send(&request()).status, http2.send(&request()).status), (401, 401));
    let renewed = Request::post("/v1/logs", log_request("hello")).login("oxygen", "other");
    assert_eq!((http1.send(&renewed).status, http2.send(&renewed).status), (200, 200));
    // The tenant goes as a whole, and comes back.
    let somebody = "{ user = \"somebody\", password_hash = \"$SECRET\" }";
    let gone = config_with(upstream.address(), "", somebody, "").replace("tenant.shop", "tenant.else");
    assert!(tollgate.reload(&gone));
    assert_eq!((http1.send(&renewed).status, http2.send(&renewed).status), (401, 401));
    assert!(tollgate.reload(&config(upstream.address())));
    assert_eq!((http1.send(&request()).status, http2.send(&request()).status), (200, 200));
    assert_eq!(upstream.seen().len(), 6);
}

#[test]
fn credentials_are_rotated_without_a_gap() {
    let upstream = Scripted::start(Scripted::good);
    let tollgate = Tollgate::start(&config(upstream.address()));
    let other = other_hash();
    let both = format!("{CREDENTIAL}, {{ name = \"next\", user = \"oxygen\", password_hash = \"{other}\" }}");
    let renewed = Request::post("/v1/logs", log_request("hello")).login("oxygen", "other");
    under_load(&tollgate, |sent| {
        assert_eq!(tollgate.send(&renewed).status, 401);
        assert!(tollgate.reload(&config_with(upstream.address(), "", &both, "")));
        go_on(sent, 50);
        let answer = tollgate.send(&renewed);
        assert_eq!(answer.status, 200);
        assert_eq!(tollgate.access_line(&answer)["credential"], "next");
    });
    let next = format!("{{ user = \"oxygen\", password_hash = \"{other}\" }}");
    assert!(tollgate.reload(&config_with(upstream.address(), "", &next, "")));
    assert_eq!((tollgate.send(&request()).status, tollgate.send(&renewed).status), (401, 200));
}

#[test]
fn an_expired_credential_is_refused() {
    let upstream = Upstream::start(Behaviour::ok());
    let expiring = CREDENTIAL.replace(" }", ", expires = 2099-01-01 }");
    let tollgate = Tollgate::start(&config_with(upstream.address(), "", &expiring, ""));
    let mut sender = tollgate.connect();
    assert_eq!(sender.send(&request()).status, 200);
    let expired = CREDENTIAL.replace(" }", ", expires = 2020-01-01 }");
    assert!(tollgate.reload(&config_with(upstream.address(), "", &expired, "")));
    assert_eq!(sender.send(&request()).status, 401, "although it was verified before");
}

#[test]
fn secret_files_are_read_again() {
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    let write = |folder: &Path, hash: &str, key: &str| {
        fs::write(folder.join("hash"), format!("{hash}\n")).expect("writing");
        fs::write(folder.join("key"), format!("{key}\n")).expect("writing");
    };
    write(folder.path(), include_str!("kit/secret.hash").trim(), "Bearer one");
    let credentials = "{ user = \"oxygen\", password_hash_file = \"hash\" }";
    let config = config_with(upstream.address(), "", credentials, "").replace(
        "[upstream.collector]",
        "[upstream.collector]\nheaders = { Authorization = { file = \"key\" } }",
    );
    let tollgate = Tollgate::start_in(folder, &config);
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(upstream.last().header("authorization").as_deref(), Some("Bearer one"));
    write(tollgate.folder(), &other_hash(), "Bearer two");
    assert_eq!(tollgate.send(&request()).status, 200, "nothing happens before the reload");
    assert!(tollgate.reload_files());
    assert_eq!(tollgate.send(&request()).status, 401);
    let renewed = Request::post("/v1/logs", log_request("hello")).login("oxygen", "other");
    assert_eq!(tollgate.send(&renewed).status, 200);
    assert_eq!(upstream.last().header("authorization").as_deref(), Some("Bearer two"));
    fs::remove_file(tollgate.folder().join("key")).expect("removing");
    assert!(!tollgate.reload_files());
    assert_eq!(tollgate.send(&renewed).status, 200);
    let log = tollgate.log_text();
    assert!(!log.contains("Bearer one") && !log.contains("Bearer two"), "{log}");
}

#[test]
fn a_changed_certificate_is_shown_to_new_connections_while_old_ones_live_on() {
    let upstream = Upstream::start(Behaviour::ok());
    let (first, second) = (Authority::create(), Authority::create());
    let write = |folder: &Path, authority: &Authority| {
        let certificate = authority.issue(&["localhost"]);
        fs::write(folder.join("edge.pem"), certificate.chain).expect("writing");
        fs::write(folder.join("edge.key"), certificate.key).expect("writing");
    };
    let folder = Folder::create();
    write(folder.path(), &first);
    let config = config(upstream.address()).replace(
        "bind = \"127.0.0.1:0\"",
        "bind = \"127.0.0.1:0\"\ntls = { certificate = \"edge.pem\", key = \"edge.key\" }",
    );
    let tollgate = Tollgate::start_in(folder, &config);
    let address = tollgate.address("door");
    let mut old = hello().believing(first.pem()).sender(address);
    let old_http2 = Http2::tls(address, hello().believing(first.pem()).alpn(&["h2"]).config());
    assert_eq!((old.send(&request()).status, old_http2.send(&request()).status), (200, 200));
    write(tollgate.folder(), &second);
    assert!(tollgate.reload_files());
    let mut new = hello().believing(second.pem()).sender(address);
    assert_eq!(new.send(&request()).status, 200);
    assert!(hello().believing(first.pem()).connect(address).is_err());
    assert_eq!((old.send(&request()).status, old_http2.send(&request()).status), (200, 200));
    // A key that does not fit is a mistake, and changes nothing.
    fs::write(tollgate.folder().join("edge.key"), first.issue(&["localhost"]).key).expect("writing");
    assert!(!tollgate.reload_files());
    assert!(tollgate.log_text().contains("does not belong to the certificate"));
    assert_eq!(hello().believing(second.pem()).sender(address).send(&request()).status, 200);
}

#[test]
fn an_added_listener_serves_and_a_removed_one_ends_politely() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(upstream.address()));
    let second = free_address();
    assert!(tollgate.reload(&with_second(upstream.address(), second)));
    let mut idle = Connection::tcp(second);
    assert_eq!(idle.send(&request()).status, 200);
    let mut busy = Connection::tcp(second);
    upstream.behave(Behaviour::Hang);
    let held = upstream.seen().len();
    begin(&mut busy, &request());
    eventually("the request is under way", || (upstream.seen().len() > held).then_some(()));
    upstream.behave(Behaviour::ok());

    assert!(tollgate.reload(&config(upstream.address())));
    tollgate.wait_for_line("listener removed");
    eventually("nobody listens there any more", || TcpStream::connect(second).err());
    // A connection that is idle takes one more request, and says that it is the last.
    let answer = idle.send(&request());
    assert_eq!((answer.status, closes(&answer)), (200, true));
    assert!(idle.is_closed());
    // The one under way is not cut: the upstream ends it.
    let mut busy_still = tollgate.connect();
    assert_eq!(busy_still.send(&request()).status, 200, "the other listener goes on");
    drop(upstream);
    drop(busy);
}

#[test]
fn a_request_under_way_on_a_removed_listener_is_answered() {
    let release = std::sync::Arc::new(std::sync::Barrier::new(2));
    let wait = release.clone();
    let upstream = Scripted::start(move |peer, _| {
        peer.request()?;
        wait.wait();
        peer.answer(200, "")
    });
    let second = free_address();
    let tollgate = Tollgate::start(&with_second(upstream.address(), second));
    let mut sender = Connection::tcp(second);
    begin(&mut sender, &request());
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    assert!(tollgate.reload(&config(upstream.address())));
    eventually("nobody listens there any more", || TcpStream::connect(second).err());
    release.wait();
    let answer = sender.read_answer().expect("an answer");
    assert_eq!((answer.status, closes(&answer)), (200, true));
    assert!(sender.is_closed());
}

#[test]
fn each_listener_keeps_its_own_settings_over_a_reload() {
    let upstream = Upstream::start(Behaviour::ok());
    // Both on a port that the system chooses, which is not the same one.
    let tail = "[listener.second]\nbind = \"127.0.0.1:0\"\npath_aliases = [\"/otlp\"]";
    let config = config_with(upstream.address(), "", CREDENTIAL, tail);
    let tollgate = Tollgate::start(&config);
    let status = |listener: &str| {
        let mut request = request();
        request.target = "/otlp/v1/logs".to_owned();
        Connection::tcp(tollgate.address(listener)).send(&request).status
    };
    assert_eq!((status("door"), status("second")), (404, 200));
    assert!(tollgate.reload_files());
    assert_eq!((status("door"), status("second")), (404, 200));
    assert_eq!(tollgate.lines("listening").len(), 2, "the sockets are the same");
    assert!(tollgate.reload(&config.replace("/otlp", "/other")));
    assert_eq!((status("door"), status("second")), (404, 404));
}

#[test]
fn changed_limits_keep_what_is_in_flight() {
    let upstream = Upstream::start(Behaviour::Hang);
    let limits = |in_flight: usize| {
        config(upstream.address()).replace("limits = {", &format!("limits = {{ in_flight = {in_flight}, "))
    };
    let tollgate = Tollgate::start(&limits(8));
    let mut held: Vec<_> = (0..4).map(|_| tollgate.connect()).collect();
    held.iter_mut().for_each(|sender| begin(sender, &request()));
    eventually("they are under way", || (upstream.seen().len() == 4).then_some(()));
    let in_flight = || tollgate.metric("tollgate_tenant_in_flight_requests", &[("tenant", "shop")]);
    assert_eq!(in_flight(), 4.0);
    assert!(tollgate.reload(&limits(4)));
    assert_eq!(in_flight(), 4.0, "counted on");
    let answer = tollgate.send(&request());
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.status_message().contains("in_flight"), "{}", answer.status_message());
    assert!(tollgate.reload(&limits(5)));
    upstream.behave(Behaviour::ok());
    assert_eq!(tollgate.send(&request()).status, 200, "one more than are held");
    drop(held);
    eventually("what was in flight is given back", || (in_flight() == 0.0).then_some(()));
}

#[test]
fn a_changed_connection_limit_closes_nobody_and_holds_for_the_next() {
    let upstream = Upstream::start(Behaviour::ok());
    let limit = |connections: usize| {
        let keys = format!(
            "bind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\nlimits = {{ connections = {connections}, connections_per_client = 1 }}"
        );
        config(upstream.address()).replace("bind = \"127.0.0.1:0\"", &keys)
    };
    let tollgate = Tollgate::start(&limit(6));
    let count = || tollgate.metric("tollgate_connections", &[("listener", "door")]);
    let open = |connections: usize| -> Vec<_> { (0..connections).map(|_| tollgate.connect()).collect() };
    let mut old = open(6);
    assert!(old.iter_mut().all(|sender| sender.send(&request()).status == 200));
    assert!(tollgate.reload(&limit(3)));
    assert!(old.iter_mut().all(|sender| sender.send(&request()).status == 200), "those that are open stay");
    drop(old);
    eventually("all are closed", || (count() == 0.0).then_some(()));
    let mut new = open(5);
    new.iter_mut().for_each(|sender| begin(sender, &request()));
    for sender in &mut new[..3] {
        assert_eq!(sender.read_answer().expect("an answer").status, 200);
    }
    for _ in 0..20 {
        assert_eq!(count(), 3.0, "the others wait");
    }
    drop(new.drain(..2));
    for sender in &mut new[1..] {
        assert_eq!(sender.read_answer().expect("an answer").status, 200, "until there is room");
    }
    assert!(tollgate.reload(&limit(8)));
    assert!(open(5).iter_mut().all(|sender| sender.send(&request()).status == 200), "and then there is more");
}

#[test]
fn a_drain_under_load_loses_no_request() {
    let upstream = Scripted::start(Scripted::good);
    let mut tollgate = Tollgate::start(&config(upstream.address()));
    let answered = under_load(&tollgate, |_| {
        tollgate.signal("TERM");
        tollgate.wait_for_line("ended");
    });
    assert_eq!(tollgate.wait(), 0);
    assert_eq!(upstream.seen().len(), answered, "each was delivered once, and answered");
    let line = tollgate.wait_for_line("ended");
    assert_eq!(line["connections_cut"], 0, "{line}");
}

#[test]
fn readiness_flips_before_anything_ends_and_idle_connections_are_told() {
    let upstream = Upstream::start(Behaviour::Hang);
    let address = free_address();
    let config = config(upstream.address()).replace("127.0.0.1:0", &address.to_string());
    let mut tollgate = Tollgate::start(&config);
    let admin = tollgate.admin_address();
    let (mut busy, mut idle) = (tollgate.connect(), tollgate.connect());
    let idle_http2 = Http2::plain(tollgate.address("door"));
    begin(&mut busy, &request());
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    upstream.behave(Behaviour::ok());
    assert_eq!((idle.send(&request()).status, idle_http2.send(&request()).status), (200, 200));
    assert_eq!(tollgate.admin("/readyz").status, 200);
    tollgate.signal("TERM");
    tollgate.wait_for_line("draining");
    let ask = |path: &str| Connection::tcp(admin).send(&Request::post(path, "").method("GET"));
    assert_eq!((ask("/readyz").status, ask("/healthz").status), (503, 200));
    assert!(ask("/readyz").text().contains("draining"));
    eventually("new connections are refused", || TcpStream::connect(address).err());
    let answer = idle.send(&request());
    assert_eq!((answer.status, closes(&answer)), (200, true));
    eventually("the HTTP/2 connection is told", || idle_http2.is_closed().then_some(()));
    assert_eq!(ask("/metrics").status, 200, "the last numbers can be had");
    drop(busy);
    assert_eq!(tollgate.wait(), 0);
}

#[test]
fn an_http2_stream_under_way_is_answered_in_a_drain() {
    let release = std::sync::Arc::new(std::sync::Barrier::new(2));
    let wait = release.clone();
    let upstream = Scripted::start(move |peer, _| {
        peer.request()?;
        wait.wait();
        peer.answer(200, "")
    });
    let mut tollgate = Tollgate::start(&config(upstream.address()));
    let stream = TcpStream::connect(tollgate.address("door")).expect("connecting");
    stream.set_read_timeout(Some(crate::kit::PATIENCE)).expect("a time limit");
    let mut sender = Frames::over(stream).expect("the preface");
    let login = crate::kit::basic("oxygen", "secret");
    sender.write(&frames::post(1, &[("authorization", &login)])).expect("writing");
    sender.write(&frame(frames::DATA, frames::END_STREAM, 1, &log_request("hello"))).expect("writing");
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    tollgate.signal("TERM");
    let goaway = sender.find(|frame| frame.kind == frames::GOAWAY).expect("the end is announced");
    assert_eq!(goaway.number(), 0, "NO_ERROR");
    release.wait();
    let answer = sender.find(|frame| frame.kind == frames::HEADERS).expect("an answer");
    assert_eq!((answer.stream, answer.payload.first()), (1, Some(&0x88)), ":status: 200");
    assert_eq!(tollgate.wait(), 0);
}

#[test]
fn a_request_that_hangs_is_cut_at_the_drain_limit() {
    let upstream = Upstream::start(Behaviour::Hang);
    let head = "drain = { timeout = \"300ms\" }";
    let mut tollgate = Tollgate::start(&config_with(upstream.address(), head, CREDENTIAL, ""));
    let mut sender = tollgate.connect();
    begin(&mut sender, &request());
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    tollgate.signal("TERM");
    assert_eq!(tollgate.wait(), 0);
    assert!(sender.read_answer().is_err());
    assert_eq!(tollgate.wait_for_line("ended")["connections_cut"], 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    for signals in [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"]] {
        let upstream = Upstream::start(Behaviour::Hang);
        let head = "drain = { timeout = \"1h\" }";
        let mut tollgate = Tollgate::start(&config_with(upstream.address(), head, CREDENTIAL, ""));
        let mut sender = tollgate.connect();
        begin(&mut sender, &request());
        eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
        tollgate.signal(signals[0]);
        tollgate.wait_for_line("draining");
        tollgate.signal(signals[1]);
        assert_eq!(tollgate.wait(), 1, "{signals:?}");
    }
}

#[test]
fn a_restart_on_the_same_port_needs_no_waiting() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut tollgate = Tollgate::start(&config(upstream.address()));
    let address = tollgate.address("door");
    let config = config(upstream.address()).replace("127.0.0.1:0", &address.to_string());
    for _ in 0..3 {
        let mut sender = Connection::tcp(address);
        assert_eq!(sender.send(&request()).status, 200);
        tollgate.signal("TERM");
        assert_eq!(sender.send(&request()).status, 200);
        assert_eq!(tollgate.wait(), 0);
        tollgate = Tollgate::start(&config);
    }
}

#[test]
fn accept_errors_are_survived() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut shell = std::process::Command::new("sh");
    // Both limits, because Tollgate raises the soft one to the hard one.
    shell.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tollgate")]);
    let tollgate = Tollgate::start_by(shell, Folder::create(), &config(upstream.address()));
    let mut first = tollgate.connect();
    assert_eq!(first.send(&request()).status, 200);
    assert_eq!(tollgate.metric("process_max_fds", &[]), 40.0);
    let mut crowd: Vec<_> = (0..60).map(|_| TcpStream::connect(tollgate.address("door"))).collect();
    let line = tollgate.wait_for_line("cannot accept a connection, trying on");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(first.send(&request()).status, 200, "those that are open are served");
    crowd.clear();
    let answer = eventually("new ones are served again", || {
        let mut sender = Connection::over(TcpStream::connect(tollgate.address("door")).ok()?);
        sender.write(&request().head()).and_then(|()| sender.write(&request().body)).ok()?;
        sender.read_answer().ok()
    });
    assert_eq!(answer.status, 200);
    assert!(tollgate.metric("tollgate_accept_errors_total", &[("listener", "door")]) > 0.0);
}

#[test]
fn what_takes_a_restart_is_said() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config_with(upstream.address(), "workers = 1", CREDENTIAL, ""));
    assert!(tollgate.reload(&config_with(upstream.address(), "workers = 2", CREDENTIAL, "")));
    tollgate.wait_for_line("a change of `workers` takes a restart");
    assert_eq!(tollgate.send(&request()).status, 200);
}
