//! Connections to an upstream that the upstream closes while nobody looks.

use crate::kit::{Request, Tollgate, log_request};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
    time::{Duration, Instant},
};

#[test]
fn an_idle_connection_that_was_closed_is_not_waited_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (close, closing) = mpsc::channel::<()>();
    let (closed, has_closed) = mpsc::channel::<()>();
    // One request on each connection, which looks as if it stayed open until the test says so.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = closing.recv();
            drop(stream);
            let _ = closed.send(());
        }
    });
    let tollgate = Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{address}"
"#
    ));
    let request = Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret");
    for _ in 0..5 {
        let began = Instant::now();
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        close.send(()).expect("the upstream");
        has_closed.recv().expect("the upstream");
    }
}
