//! A collector that prints what arrives, for the demo.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use std::{convert::Infallible, io::Write, time::Duration};
use tokio::net::TcpListener;
use tollgate::otlp::{self, BodyLimits, Compression, Signal};

/// More than the demo's tenant may send.
const LIMITS: BodyLimits =
    BodyLimits { wire: 64 << 20, decompressed: 64 << 20, timeout: Duration::from_secs(60) };
/// Lines of one request that are printed.
const LINES_MAX: usize = 200;

/// What is printed of a request.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shows {
    /// That it arrived: what it was is known.
    Arrival,
    /// What is in it, too.
    Batch,
}

/// Prints every request for as long as the runtime lives.
pub(super) async fn serve(listener: TcpListener, shows: Shows) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, shows));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(request: Request<Incoming>, shows: Shows) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let value = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = value(header::CONTENT_TYPE).to_owned();
    let compression = match value(header::CONTENT_ENCODING) {
        "gzip" => Compression::Gzip,
        "deflate" => Compression::Deflate,
        "zstd" => Compression::Zstd,
        _ => Compression::Identity,
    };
    let body = Limited::new(body, LIMITS.wire as usize).collect().await;
    let text = match body.map(|body| otlp::inflate(compression, &body.to_bytes().into(), &LIMITS, |_| Ok(())))
    {
        Ok(Ok(plain)) => readable(head.uri.path(), &content_type, &plain.to_bytes()),
        _ => "(cannot be read)".to_owned(),
    };
    let tenant = value(header::HeaderName::from_static("x-scope-orgid"));
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "─── arrived: {} of tenant {tenant}, {content_type}", head.uri.path());
    for line in text.lines().take(if shows == Shows::Batch { LINES_MAX } else { 0 }) {
        let _ = writeln!(out, "    {line}");
    }
    let _ = out.flush();
    let answer = if content_type == "application/json" { Bytes::from_static(b"{}") } else { Bytes::new() };
    let mut response = Response::new(Full::new(answer));
    if let Ok(content_type) = content_type.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

/// OTLP/JSON, indented.
fn readable(path: &str, content_type: &str, body: &Bytes) -> String {
    let signal = Signal::ALL.into_iter().find(|signal| path.ends_with(signal.path()));
    let json = match (content_type, signal) {
        ("application/json", _) => serde_json::from_slice(body).ok(),
        (_, Some(Signal::Logs)) => to_json::<ExportLogsServiceRequest>(body),
        (_, Some(Signal::Traces)) => to_json::<ExportTraceServiceRequest>(body),
        (_, Some(Signal::Metrics)) => to_json::<ExportMetricsServiceRequest>(body),
        _ => None,
    };
    json.and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| format!("({} bytes)", body.len()))
}

fn to_json<M: Message + Default + serde::Serialize>(body: &Bytes) -> Option<serde_json::Value> {
    serde_json::to_value(M::decode(body.clone()).ok()?).ok()
}
