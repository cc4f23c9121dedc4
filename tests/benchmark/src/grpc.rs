//! As much OTLP/gRPC as a load generator and a sink need of each other, over hyper's HTTP/2.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming, client::conn::http2 as client, server::conn::http2 as server, service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::TcpStream, time::Duration};
use tokio::{runtime::Runtime, time::timeout};

const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
/// A flag and a length.
const PREFIX_BYTES: usize = 5;

/// A message in its frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A sender's connection, on its own thread.
pub struct Connection {
    runtime: Runtime,
    sender: client::SendRequest<Full<Bytes>>,
    authorization: HeaderValue,
}

impl Connection {
    /// Speaks HTTP/2 by prior knowledge.
    pub fn open(stream: TcpStream, authorization: &str) -> Result<Self> {
        let runtime = runtime()?;
        stream.set_nonblocking(true)?;
        let sender = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
            let (sender, connection) = client::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self { runtime, sender, authorization: HeaderValue::from_str(authorization)? })
    }

    /// Sends a framed message; 200 for a call that succeeded, so that both protocols count alike.
    pub fn ask(&mut self, framed: &[u8], time_max: Duration) -> Result<u16> {
        let mut request = Request::post(format!("http://localhost{PATH}"));
        if let Some(headers) = request.headers_mut() {
            headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::AUTHORIZATION, self.authorization.clone());
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(framed)))?;
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            timeout(time_max, async {
                sender.ready().await?;
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = body.collect().await?;
                let trailers = body.trailers().unwrap_or(&head.headers);
                match trailers.get(STATUS).context("no grpc-status")?.to_str()? {
                    "0" => Ok(200),
                    code => bail!("grpc-status {code}: {:?}", trailers.get("grpc-message")),
                }
            })
            .await?
        })
    }
}

/// Serves a sink's connection: each message is read to its end and counted, and succeeds.
pub fn serve(stream: TcpStream, count: fn(u64)) -> Result<()> {
    stream.set_nonblocking(true)?;
    runtime()?.block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let service = service_fn(move |request: Request<Incoming>| async move {
            let mut bytes = 0;
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
            count(bytes.saturating_sub(PREFIX_BYTES) as u64);
            let trailers = HeaderMap::from_iter([(
                header::HeaderName::from_static(STATUS),
                HeaderValue::from_static("0"),
            )]);
            let body = Full::new(Bytes::from_static(&[0; PREFIX_BYTES]));
            let mut response = Response::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))));
            response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
            Ok::<_, Infallible>(response)
        });
        server::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(1000)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .serve_connection(stream, service)
            .await?;
        Ok(())
    })
}
