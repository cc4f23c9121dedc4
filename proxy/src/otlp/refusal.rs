//! Every reason for which a sender is refused, and what each is told: the one place that knows.

use super::{EmptyBody, Encoding, Signal, grpc::code};
use http::StatusCode;
use std::{borrow::Cow, sync::Arc, time::Duration};

/// Wait that is proposed where nobody knows better: long enough not to make things worse, short
/// enough that a sender's queue holds.
const RETRY_DEFAULT: Duration = Duration::from_secs(5);

/// Why a request is not served.
///
/// Texts from outside (an upstream's words) go to the sender; they never hold secrets of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No OTLP path; what the sender may have meant.
    UnknownPath(&'static str),
    /// An OTLP path, but not a POST.
    Method(Signal),
    /// A service of which no health is known.
    UnknownService,
    /// A media type that OTLP/HTTP does not know, or none.
    ContentType(Option<String>),
    /// gRPC over HTTP/1.1, as what stands in between may make of it.
    GrpcWithoutHttp2,
    /// The upstream wants another encoding, and there is none of this signal's batches.
    NotTranscoded {
        /// What it carries.
        signal: Signal,
        /// What it came in.
        came: Encoding,
    },
    /// A compression that we do not read.
    ContentEncoding(String),
    /// A head that two readers may understand differently.
    BadHead(&'static str),
    /// The body is not what its head says: where, and what is wrong.
    Malformed(String),
    /// A batch of another signal than its path or method says.
    Misposted {
        /// What the path says.
        declared: Signal,
        /// What the batch is.
        found: Signal,
    },
    /// More bytes than allowed, as they come or after decompression.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// Whether it is the limit for decompressed bytes.
        decompressed: bool,
    },
    /// More records than there is room for what plugins need to find them.
    TooManyRecords(u64),
    /// The body took too long.
    BodyTimeout(Duration),
    /// The time was over that the sender, or whoever is in front of us, waits for the answer.
    Late,
    /// The sender went away before the end of its body.
    BodyBroken,
    /// Zero bytes where a message was meant: a tunnel lost it.
    BodyLost(EmptyBody),
    /// No credentials.
    NoCredentials,
    /// An `Authorization` header that cannot be read, or credentials that are not good here. That
    /// is all a sender learns.
    BadCredentials,
    /// Too many failed logins.
    LoginsLimited(Duration),
    /// Too many logins that wait for a hash.
    LoginsBusy(Duration),
    /// The tenant has no upstream for this signal.
    NoUpstream(Signal),
    /// The tenant has used up what it may.
    TenantLimit {
        /// Which limit.
        limit: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// We or the upstream have too much to do.
    Overload {
        /// Which limit.
        limit: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// A plugin says that the batch is not to pass; its words.
    PluginRejected(String),
    /// A plugin failed, and without it the batch may not pass: a mistake of this proxy's operator or of
    /// the plugin's author.
    PluginFailed {
        /// Which.
        plugin: Arc<str>,
    },
    /// Plugins have too much to do.
    PluginsBusy(Duration),
    /// The tenant's plugins could not be loaded.
    PluginsUnavailable,
    /// A plugin does not let a signal pass that it cannot look into.
    SignalRefused {
        /// What it carries.
        signal: Signal,
        /// Which.
        plugin: Arc<str>,
    },
    /// The upstream takes no body of this size.
    TooLargeForUpstream(Option<u64>),
    /// The upstream says that the batch is wrong; its words.
    Rejected(String),
    /// The upstream cannot take it now; it may be retried.
    UpstreamBusy {
        /// 429, 502, 503 or 504.
        status: StatusCode,
        /// When the upstream wants to be asked again.
        retry_after: Option<Duration>,
        /// Its words.
        message: String,
    },
    /// The upstream refuses us: a mistake of this proxy's operator, not of the sender.
    UpstreamMisconfigured,
    /// The upstream failed for good (500, 501); its words.
    UpstreamFailed(String),
    /// The upstream cannot be reached.
    UpstreamUnreachable,
    /// The upstream's answer is missing or broken.
    UpstreamBroken,
    /// The upstream did not answer in time.
    UpstreamTimeout,
}

impl Refusal {
    /// The status. By the specification a sender tries again after 429, 502, 503 and 504 only.
    pub fn status(&self) -> StatusCode {
        use Refusal::*;
        match self {
            ContentType(_)
            | ContentEncoding(_)
            | GrpcWithoutHttp2
            | NotTranscoded { .. }
            | SignalRefused { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            UnknownPath(_) | UnknownService => StatusCode::NOT_FOUND,
            Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            BadHead(_) | Malformed(_) | Misposted { .. } | Rejected(_) | PluginRejected(_) | BodyBroken => {
                StatusCode::BAD_REQUEST
            }
            BodyLost(EmptyBody::Retry) => StatusCode::SERVICE_UNAVAILABLE,
            BodyLost(EmptyBody::Refuse | EmptyBody::Accept) => StatusCode::BAD_REQUEST,
            TooLarge { .. } | TooManyRecords(_) | TooLargeForUpstream(_) => StatusCode::PAYLOAD_TOO_LARGE,
            NoCredentials | BadCredentials => StatusCode::UNAUTHORIZED,
            NoUpstream(_) => StatusCode::FORBIDDEN,
            LoginsLimited(_) | TenantLimit { .. } => StatusCode::TOO_MANY_REQUESTS,
            // 408 would be final for an OTLP sender; a slow network passes.
            BodyTimeout(_) | LoginsBusy(_) | Overload { .. } => StatusCode::SERVICE_UNAVAILABLE,
            PluginFailed { .. } | PluginsBusy(_) | PluginsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            UpstreamMisconfigured | UpstreamUnreachable => StatusCode::SERVICE_UNAVAILABLE,
            UpstreamBusy { status, .. } => *status,
            UpstreamFailed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            UpstreamBroken => StatusCode::BAD_GATEWAY,
            UpstreamTimeout | Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether the sender tries again by the specification.
    pub fn is_passing(&self) -> bool {
        matches!(self.status().as_u16(), 429 | 502..=504)
    }

    /// The code of a gRPC answer. OTLP's table of codes to try again after agrees with
    /// [`is_passing`](Self::is_passing), RESOURCE_EXHAUSTED by the `RetryInfo` that goes with it.
    pub fn grpc_code(&self) -> u32 {
        use Refusal::*;
        match self {
            UnknownPath(_) | Method(_) | GrpcWithoutHttp2 | ContentEncoding(_) | SignalRefused { .. } => {
                code::UNIMPLEMENTED
            }
            _ => self.code(),
        }
    }

    /// The `google.rpc.Code` that goes with the status.
    pub fn code(&self) -> u32 {
        match self.status().as_u16() {
            401 => code::UNAUTHENTICATED,
            403 => code::PERMISSION_DENIED,
            404 => code::NOT_FOUND,
            405 => code::UNIMPLEMENTED,
            413 | 429 => code::RESOURCE_EXHAUSTED,
            500 => code::INTERNAL,
            502 | 503 => code::UNAVAILABLE,
            504 => code::DEADLINE_EXCEEDED,
            _ => code::INVALID_ARGUMENT,
        }
    }

    /// When to come back, where coming back makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        use Refusal::*;
        match self {
            LoginsLimited(wait) | LoginsBusy(wait) | PluginsBusy(wait) => Some(*wait),
            TenantLimit { retry_after, .. } | Overload { retry_after, .. } => Some(*retry_after),
            UpstreamBusy { retry_after, .. } => Some(retry_after.unwrap_or(RETRY_DEFAULT)),
            _ if self.is_passing() => Some(RETRY_DEFAULT),
            _ => None,
        }
    }

    /// What the sender is told: what is wrong, and what to do.
    pub fn message(&self) -> Cow<'static, str> {
        use Refusal::*;
        match self {
            UnknownPath(hint) => format!("no such path: {hint}").into(),
            GrpcWithoutHttp2 => {
                "gRPC needs HTTP/2 all the way, which a tunnel or a proxy on it does not give: \
                                 set the exporter's protocol to http/protobuf"
                    .into()
            }
            UnknownService => "no such service".into(),
            NotTranscoded { signal, came } => {
                format!("the destination takes {signal} in another encoding than {}", came.name()).into()
            }
            Method(signal) => format!("{signal} are sent with POST").into(),
            ContentType(None) => {
                "the Content-Type is missing: application/x-protobuf or application/json".into()
            }
            ContentType(Some(other)) => {
                format!("unknown Content-Type {other:?}: use application/x-protobuf or application/json")
                    .into()
            }
            ContentEncoding(other) => {
                format!("unknown compression {other:?} (Content-Encoding): use gzip, zstd, deflate or none")
                    .into()
            }
            BadHead(what) => format!("the request cannot be read safely: {what}").into(),
            Malformed(what) => what.clone().into(),
            Misposted { declared, found } => format!(
                "these are {found}, sent where {declared} belong: send them to {}, over gRPC to {}",
                found.path(),
                found.grpc_path()
            )
            .into(),
            TooLarge { limit, decompressed: false } => {
                format!("the body is larger than {limit} bytes: send smaller batches").into()
            }
            TooLarge { limit, decompressed: true } => {
                format!("the body is larger than {limit} bytes after decompression: send smaller batches")
                    .into()
            }
            TooManyRecords(records) => {
                format!("{records} records are more than plugins have room for: send smaller batches").into()
            }
            BodyTimeout(limit) => format!("the body did not arrive within {limit:?}").into(),
            Late => "the time for an answer was over before the batch could be sent on: try again".into(),
            BodyBroken => "the body ended too early".into(),
            BodyLost(_) => "the body is empty although its headers say otherwise: a tunnel lost it; \
                            with cloudflared, run it with --protocol http2"
                .into(),
            NoCredentials => "credentials are missing: send an Authorization header, Basic or Bearer".into(),
            BadCredentials => "the credentials are not valid here".into(),
            LoginsLimited(_) => "too many failed logins: wait before you try again".into(),
            LoginsBusy(_) => "too many logins at once: try again".into(),
            NoUpstream(signal) => format!("this tenant may not send {signal}").into(),
            TenantLimit { limit, .. } => format!("your limit of {limit} is reached: slow down").into(),
            Overload { limit, .. } => format!("the limit of {limit} is reached here: try again").into(),
            PluginRejected(words) if words.is_empty() => "the batch was refused".into(),
            PluginRejected(words) => words.clone().into(),
            PluginFailed { plugin } => format!(
                "plugin {plugin} failed on the batch; the operator of this proxy has to mend that: try again"
            )
            .into(),
            PluginsBusy(_) => "too many batches wait to be worked on: try again".into(),
            PluginsUnavailable => "the plugins that have to work on what you send could not be loaded; the \
                                   operator of this proxy has to mend that: try again"
                .into(),
            SignalRefused { signal, plugin } => {
                format!("{signal} are not taken here: plugin {plugin} cannot look into them").into()
            }
            TooLargeForUpstream(Some(limit)) => {
                format!("the destination takes no more than {limit} bytes at once: send smaller batches")
                    .into()
            }
            TooLargeForUpstream(None) => {
                "the destination takes no batch of this size: send smaller batches".into()
            }
            Rejected(words) => format!("the destination refused the batch: {words}").into(),
            UpstreamBusy { message, .. } if message.is_empty() => "the destination is busy: try again".into(),
            UpstreamBusy { message, .. } => format!("the destination is busy: {message}").into(),
            UpstreamMisconfigured => {
                "the destination refuses this proxy; its operator has to mend that: try again".into()
            }
            UpstreamFailed(words) => format!("the destination failed: {words}").into(),
            UpstreamUnreachable => "the destination cannot be reached: try again".into(),
            UpstreamBroken => "the destination did not answer properly: try again".into(),
            UpstreamTimeout => "the destination did not answer in time: try again".into(),
        }
    }

    /// The room that refused, for metrics and logs.
    pub fn room(&self) -> &'static str {
        use Refusal::*;
        match self {
            UnknownPath(_)
            | Method(_)
            | UnknownService
            | ContentType(_)
            | GrpcWithoutHttp2
            | NotTranscoded { .. }
            | ContentEncoding(_)
            | BadHead(_)
            | Malformed(_)
            | Misposted { .. }
            | TooLarge { .. }
            | BodyTimeout(_)
            | Late
            | BodyBroken
            | BodyLost(_) => "otlp",
            NoCredentials | BadCredentials | LoginsLimited(_) | LoginsBusy(_) | NoUpstream(_) => "tenant",
            TenantLimit { .. } | Overload { .. } => "admission",
            PluginRejected(_)
            | PluginFailed { .. }
            | TooManyRecords(_)
            | PluginsBusy(_)
            | PluginsUnavailable
            | SignalRefused { .. } => "plugin",
            TooLargeForUpstream(_)
            | Rejected(_)
            | UpstreamBusy { .. }
            | UpstreamMisconfigured
            | UpstreamFailed(_)
            | UpstreamUnreachable
            | UpstreamBroken
            | UpstreamTimeout => "exporter",
        }
    }

    /// The reason in one word, for metrics and logs.
    pub fn reason(&self) -> &'static str {
        use Refusal::*;
        match self {
            UnknownPath(_) => "unknown_path",
            UnknownService => "unknown_service",
            Method(_) => "method",
            ContentType(_) => "content_type",
            GrpcWithoutHttp2 => "grpc_without_http2",
            NotTranscoded { .. } => "not_transcoded",
            ContentEncoding(_) => "content_encoding",
            BadHead(_) => "bad_head",
            Malformed(_) => "malformed",
            Misposted { .. } => "misposted",
            TooLarge { decompressed: false, .. } => "too_large",
            TooLarge { decompressed: true, .. } => "too_large_decompressed",
            TooManyRecords(_) => "too_many_records",
            BodyTimeout(_) => "body_timeout",
            Late => "late",
            BodyBroken => "body_broken",
            BodyLost(_) => "body_lost",
            NoCredentials => "no_credentials",
            BadCredentials => "bad_credentials",
            LoginsLimited(_) => "logins_limited",
            LoginsBusy(_) => "logins_busy",
            NoUpstream(_) => "no_upstream",
            TenantLimit { .. } => "tenant_limit",
            Overload { .. } => "overload",
            PluginRejected(_) => "plugin_rejected",
            PluginFailed { .. } => "plugin_failed",
            PluginsBusy(_) => "plugins_busy",
            PluginsUnavailable => "plugins_unavailable",
            SignalRefused { .. } => "signal_refused",
            TooLargeForUpstream(_) => "too_large_for_upstream",
            Rejected(_) => "rejected",
            UpstreamBusy { .. } => "upstream_busy",
            UpstreamMisconfigured => "upstream_misconfigured",
            UpstreamFailed(_) => "upstream_failed",
            UpstreamUnreachable => "upstream_unreachable",
            UpstreamBroken => "upstream_broken",
            UpstreamTimeout => "upstream_timeout",
        }
    }
}
