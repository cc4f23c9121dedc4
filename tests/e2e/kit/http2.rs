//! HTTP/2: senders and upstreams.

use super::{Answer, PATIENCE, Request, Seen, free_address, grpc_frame};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2 as client, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A sender's HTTP/2 connection.
pub struct Http2 {
    runtime: Runtime,
    sender: client::SendRequest<Full<Bytes>>,
}

impl Http2 {
    /// By prior knowledge.
    pub fn plain(address: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = runtime
            .block_on(async { handshake(TcpStream::connect(address).await.expect("connecting")).await });
        Self { runtime, sender }
    }

    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let tcp = TcpStream::connect(address).await.expect("connecting");
            let name = ServerName::try_from("localhost").expect("a name");
            let tls = TlsConnector::from(config).connect(name, tcp).await.expect("a handshake");
            handshake(tls).await
        });
        Self { runtime, sender }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// One request, one answer, or why not.
    pub fn try_send(&self, request: &Request) -> Result<Answer, String> {
        self.try_send_all(std::slice::from_ref(request)).remove(0)
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        self.try_send(request).expect("an answer")
    }

    /// All at once, each on a stream of its own.
    pub fn try_send_all(&self, requests: &[Request]) -> Vec<Result<Answer, String>> {
        let tasks: Vec<_> = requests
            .iter()
            .map(|request| {
                let (mut sender, request) = (self.sender.clone(), into_http(request));
                self.runtime.spawn(async move {
                    let exchange = async {
                        sender.ready().await.map_err(|error| error.to_string())?;
                        let response =
                            sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
                        let (parts, body) = response.into_parts();
                        let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
                        let mut headers = texts(&parts.headers);
                        headers.extend(body.trailers().map(texts).unwrap_or_default());
                        Ok(Answer { status: parts.status.as_u16(), headers, body: body.to_bytes().into() })
                    };
                    match tokio::time::timeout(PATIENCE, exchange).await {
                        Ok(done) => done,
                        Err(_) => Err("no answer in time".to_owned()),
                    }
                })
            })
            .collect();
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.expect("the task"));
            }
            answers
        })
    }

    #[track_caller]
    pub fn send_all(&self, requests: &[Request]) -> Vec<Answer> {
        self.try_send_all(requests).into_iter().map(|answer| answer.expect("an answer")).collect()
    }
}

async fn handshake<S>(stream: S) -> client::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("an HTTP/2 handshake");
    tokio::spawn(connection);
    sender
}

/// The same request for HTTP/2, which has the host in its target and needs no length.
fn into_http(request: &Request) -> http::Request<Full<Bytes>> {
    let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or("localhost", |(_, value)| value.as_str());
    let mut built = http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{host}{}", request.target));
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        built = built.header(name, value);
    }
    built.body(Full::new(request.body.clone().into())).expect("a request")
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let texts = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()));
    texts.collect()
}

/// What an HTTP/2 upstream answers.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: Option<u16>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(&'static str, String)>,
    /// Never, in fact.
    pub hangs: bool,
}

impl Reply {
    /// A message and a status behind it.
    pub fn grpc(message: &[u8]) -> Self {
        Self {
            headers: vec![("content-type", "application/grpc".into())],
            body: grpc_frame(0, message),
            trailers: vec![("grpc-status", "0".into())],
            ..Self::default()
        }
    }

    /// A status alone.
    pub fn grpc_status(code: u32, message: &str) -> Self {
        let mut headers =
            vec![("content-type", "application/grpc".into()), ("grpc-status", code.to_string())];
        headers.push(("grpc-message", message.to_owned()));
        Self { headers, ..Self::default() }
    }

    pub fn and(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    let value = |value: &str| http::HeaderValue::from_str(value).expect("a value");
    headers.iter().map(|(name, text)| (http::HeaderName::from_static(name), value(text))).collect()
}

/// An upstream that speaks HTTP/2 and answers 200, or what it is told.
pub struct Http2Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    reply: Arc<Mutex<Reply>>,
    _runtime: Runtime,
}

impl Http2Upstream {
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::start_at(free_address(), tls)
    }

    pub fn start_at(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(address)).expect("a port");
        let reply = Arc::<Mutex<Reply>>::default();
        let replies = reply.clone();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (into, counter) = (seen.clone(), connections.clone());
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let connection = counter.fetch_add(1, SeqCst);
                let (into, tls) = ((into.clone(), replies.clone()), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, into, connection).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(tcp).await {
                                serve(stream, into, connection).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, connections, reply, _runtime: runtime }
    }

    /// From now on.
    pub fn reply(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn serve<S>(stream: S, (seen, reply): (Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Reply>>), connection: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (seen, reply) = (seen.clone(), reply.lock().clone());
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let mut headers: Vec<(String, String)> = head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
                    .collect();
                headers.push((
                    ":authority".to_owned(),
                    head.uri.authority().map_or(String::new(), |a| a.to_string()),
                ));
                headers.push((":scheme".to_owned(), head.uri.scheme_str().unwrap_or_default().to_owned()));
                let (target, body) = (head.uri.path().to_owned(), body.to_bytes().into());
                seen.lock().push(Seen { target, headers, body, connection });
            }
            if reply.hangs {
                std::future::pending::<()>().await;
            }
            let trailers = (!reply.trailers.is_empty()).then(|| Ok(header_map(&reply.trailers)));
            let body = Full::new(Bytes::from(reply.body)).with_trailers(std::future::ready(trailers));
            let mut response = http::Response::new(body);
            *response.headers_mut() = header_map(&reply.headers);
            if let Some(status) = reply.status {
                *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            }
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
