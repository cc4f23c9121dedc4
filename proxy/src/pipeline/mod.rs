//! The data path: one function to read, `Door::forward`.
//!
//! A request passes route, client, tenant, admission, body, document, plugins (their place), and
//! exporter. Each room says what it has to say in its own words; here they are put together, and
//! every "no" becomes the [`Refusal`] that its sender is told.

mod batch;
mod config;
mod journey;
mod scrape;
mod state;

pub use config::{DoorConfig, TenantConfig, Upstreams};
pub use scrape::Scrape;
pub use state::{Build, BuildError, Shared, State};

use crate::{
    admission,
    exporter::{self, Export, Outcome},
    listener::{Body, Connection, Peer, Service},
    otlp::{
        self, AnswerBody, BodyLimits, Compression, Doors, EmptyBody, Encoding, PartialSuccess, Pieces,
        Protocol, Refusal, Signal, cors::Allowed, grpc,
    },
    telemetry::events,
    tenant,
};
use batch::Form;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use journey::Journey;
use state::{Tenant, Upstream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a listener's requests pass through.
pub struct Door {
    config: DoorConfig,
    doors: Doors,
    state: Arc<State>,
}

impl Door {
    /// The way from this listener through this state.
    pub fn new(config: DoorConfig, state: Arc<State>) -> Self {
        let doors = Doors { aliases: config.path_aliases.clone(), tenants: state.prefixes() };
        Self { config, doors, state }
    }
}

impl Service for Door {
    type Answer = AnswerBody;

    async fn call(
        &self,
        request: Request<Body>,
        connection: &Connection,
        ambiguous_length: bool,
    ) -> Response<AnswerBody> {
        let mut journey = Journey::begin(&self.state, &self.config, &request);
        let headers = request.headers();
        let protocol = otlp::protocol_of(headers);
        let page = self.config.cors.allowed(headers);
        let mut response = if protocol == Protocol::Grpc && request.uri().path() == grpc::HEALTH_PATH {
            self.health(request, connection, &mut journey).await
        } else if let Some(page) = page.as_ref().filter(|page| page.only_asks(request.method(), headers)) {
            self.permit(page, &request, connection.peer, &mut journey)
        } else {
            self.export(request, connection.peer, ambiguous_length, protocol, &mut journey).await
        };
        if let Some(page) = page {
            page.expose(response.headers_mut());
        }
        response
    }

    fn is_proxy(&self, peer: Peer) -> bool {
        self.config.client.trusts(peer)
    }
}

/// A request that needs no refusal.
struct Done {
    signal: Signal,
    partial: Option<PartialSuccess>,
}

impl Door {
    /// A batch, and its answer in the sender's own protocol.
    async fn export<'a>(
        &'a self,
        request: Request<Body>,
        peer: Peer,
        ambiguous_length: bool,
        protocol: Protocol,
        journey: &mut Journey<'a>,
    ) -> Response<AnswerBody> {
        let done = self.forward(request, peer, ambiguous_length, journey).await;
        let answers = &self.state.answers;
        let request_id = journey.request_id();
        let response = match &done {
            Ok(Done { signal, partial }) => answers.success(*signal, protocol, partial.as_ref(), request_id),
            Err(refusal) => answers.refusal(refusal, protocol, request_id),
        };
        journey.end(protocol, done.as_ref().err());
        response
    }

    /// One request from its head to what became of it.
    async fn forward<'a>(
        &'a self,
        request: Request<Body>,
        peer: Peer,
        ambiguous_length: bool,
        journey: &mut Journey<'a>,
    ) -> Result<Done, Refusal> {
        let (head, mut body) = request.into_parts();

        // Who is calling, and what for.
        let client = self.config.client.identify(peer, &head.headers);
        journey.client(client, &head.headers);
        if ambiguous_length {
            return Err(Refusal::BadHead("both a Content-Length and a Transfer-Encoding"));
        }
        let route = otlp::route(&head, &self.doors)?;
        let signal = route.signal;
        journey.route(&route);

        // Whose it is. Nothing of the body is kept before this is known.
        let from_proxy = |name: &str| client.through_proxy.then(|| head.headers.get(name)).flatten();
        let attempt = tenant::Attempt {
            authorization: head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes),
            address: address(client.address),
            cf_worker: from_proxy("cf-worker").map(HeaderValue::as_bytes),
            path_prefix: route.prefix,
            listener: &self.config.listener,
        };
        let known = self.state.tenants.authenticate(&attempt).await?;
        let tenant = self.state.tenant(&known.tenant).ok_or(Refusal::BadCredentials)?;
        journey.tenant(tenant, known);
        let upstream = tenant.upstream(signal).ok_or(Refusal::NoUpstream(signal))?;

        // May it come in. What is announced is reserved before a byte of it is read.
        let announced = body.size_hint().exact();
        let patience = self.config.answer_within.into_iter().chain(route.timeout).min();
        let deadline = patience.map(|limit| journey.began() + limit);
        let left = time_left(deadline)?;
        let room = admission::bytes_max(&tenant.gate, &upstream.gate, &self.state.all);
        let limits = BodyLimits {
            wire: tenant.config.limits.body.min(room),
            decompressed: tenant.config.limits.decompressed,
            timeout: left.map_or(self.config.body_timeout, |left| left.min(self.config.body_timeout)),
        };
        if let Some(announced) = announced {
            limits.check(announced)?;
            if upstream.form_of(route.protocol.encoding(), route.compression).1 == route.compression {
                upstream.check_size(announced)?;
            }
        }
        let mut permit = admission::admit(&tenant.gate, &upstream.gate, &self.state.all, announced)?;

        // Read, check, count. Each piece is charged as it comes, whatever becomes of the rest.
        let mut arrived = 0;
        // What is looked into only here and there may stay in the pieces that it comes in.
        let pieces = match (route.protocol.encoding(), route.compression) {
            (Encoding::Protobuf, Compression::Identity) if head.version == Version::HTTP_2 => Pieces::Http2,
            (Encoding::Protobuf, Compression::Identity) => Pieces::Http1,
            _ => Pieces::Joined,
        };
        let read = otlp::read(&mut body, &limits, pieces, |total| {
            permit.charge(total - arrived);
            arrived = total;
            Ok(permit.reserve(total)?)
        });
        let wire = read.await;
        journey.read(arrived);
        let wire = wire.map_err(|refusal| match refusal {
            Refusal::BodyTimeout(_) if route.timeout.is_some() => {
                time_left(deadline).err().unwrap_or(refusal)
            }
            refusal => refusal,
        })?;
        if wire.is_empty() {
            // Where cloudflared loses a body, it says that there is none; an empty one in chunks is whole.
            let through_cloudflared = announced == Some(0) && from_proxy("cf-ray").is_some();
            return self.empty(&route, through_cloudflared, tenant);
        }
        let (wire, came) = match route.protocol {
            Protocol::Http(_) => (wire, route.compression),
            Protocol::Grpc => grpc::unframe(wire, route.compression)?,
        };
        let held = wire.len() as u64;
        let limits =
            BodyLimits { decompressed: limits.decompressed.min(room.saturating_sub(held)), ..limits };
        let plain = otlp::inflate(came, &wire, &limits, |total| Ok(permit.reserve(held + total)?))?;
        let encoding = route.protocol.encoding();
        if let Some(found) = otlp::misposted(signal, encoding, &plain) {
            return Err(Refusal::Misposted { declared: signal, found });
        }

        // In the form that the upstream wants.
        let (protocol, compression) = upstream.form_of(encoding, came);
        let form = Form { signal, came: encoding, wanted: protocol.encoding() };
        let inflated = plain.len();
        let held = held + inflated as u64;
        let room = limits.decompressed.min(room.saturating_sub(held));
        let hold = |total| Ok(permit.reserve(held + total)?);
        let batch = form.decode(plain, room, hold, &tenant.metrics)?;
        journey.decoded(inflated, batch.records);
        if batch.is_nothing {
            return Ok(Done { signal, partial: None }); // Loki would refuse it
        }

        // The tenant's plugins will have their turn on `batch` here.

        // Send it on.
        let body = if form.is_kept() && compression == came {
            wire
        } else {
            let compressed = exporter::compress(compression, &batch.message.to_bytes());
            compressed.map_err(|error| Refusal::Malformed(error.to_string()))?.into()
        };
        drop(batch.message); // what was inflated is not kept while the upstream takes its time
        upstream.check_size(body.len() as u64)?;
        time_left(deadline)?;
        let export = Export {
            signal,
            protocol,
            compression,
            body,
            headers: &head.headers,
            tenant_headers: &tenant.config.upstream_headers,
            request_id: journey.request_id(),
            deadline,
        };
        let outcome = journey.export(upstream, export).await;
        Ok(Done { signal, partial: reply(outcome, upstream)? })
    }

    /// Tells a browser that the page may send. It asks without credentials, so anybody may.
    fn permit(
        &self,
        page: &Allowed,
        request: &Request<Body>,
        peer: Peer,
        journey: &mut Journey<'_>,
    ) -> Response<AnswerBody> {
        journey.client(self.config.client.identify(peer, request.headers()), request.headers());
        let mut response = self.state.answers.no_content(journey.request_id());
        page.permit(request.headers(), response.headers_mut());
        journey.answered(response.status());
        response
    }

    /// Answers a health check: of anybody, since it says no more than that the socket is open.
    async fn health(
        &self,
        request: Request<Body>,
        connection: &Connection,
        journey: &mut Journey<'_>,
    ) -> Response<AnswerBody> {
        let (head, body) = request.into_parts();
        journey.client(self.config.client.identify(connection.peer, &head.headers), &head.headers);
        let limits = BodyLimits {
            wire: grpc::HEALTH_BYTES_MAX,
            decompressed: grpc::HEALTH_BYTES_MAX,
            timeout: self.config.body_timeout,
        };
        let read = otlp::read(body, &limits, Pieces::Joined, |_| Ok(())).await;
        let answer = read.and_then(|framed| {
            let (message, _) = grpc::unframe(framed, Compression::Identity)?;
            grpc::health(&message.to_bytes(), !connection.drains()).ok_or(Refusal::UnknownService)
        });
        journey.end(Protocol::Grpc, answer.as_ref().err());
        match answer {
            Ok(message) => self.state.answers.grpc_success(message, journey.request_id()),
            Err(refusal) => self.state.answers.refusal(&refusal, Protocol::Grpc, journey.request_id()),
        }
    }

    /// Zero bytes: a truly empty message, or one that a tunnel lost on the way.
    fn empty(
        &self,
        route: &otlp::Route<'_>,
        through_cloudflared: bool,
        tenant: &Tenant,
    ) -> Result<Done, Refusal> {
        // No compressed stream is empty. Nor is a frame, but calls hardly ever come through a tunnel.
        let compressed = route.protocol != Protocol::Grpc && route.compression != Compression::Identity;
        let lost = compressed || through_cloudflared;
        if lost {
            tenant.metrics.body_lost();
            events::body_lost(&tenant.config.name, route.signal, &self.config.listener);
        }
        match self.config.empty_body {
            EmptyBody::Retry if lost && through_cloudflared => Err(Refusal::BodyLost(EmptyBody::Retry)),
            _ if route.protocol == Protocol::Grpc && !lost => Err(grpc::no_frame()),
            _ if compressed => Err(Refusal::BodyLost(EmptyBody::Refuse)),
            EmptyBody::Refuse if lost => Err(Refusal::BodyLost(EmptyBody::Refuse)),
            _ => Ok(Done { signal: route.signal, partial: None }),
        }
    }
}

/// How long somebody waits yet for the answer; `None`: as long as it takes.
fn time_left(deadline: Option<Instant>) -> Result<Option<Duration>, Refusal> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left == Some(Duration::ZERO) { Err(Refusal::Late) } else { Ok(left) }
}

/// What the sender is told of what the upstream said.
fn reply(outcome: Outcome, upstream: &Upstream) -> Result<Option<PartialSuccess>, Refusal> {
    let name = upstream.name();
    match outcome {
        Outcome::Delivered(partial) => Ok(partial),
        Outcome::Rejected(words) => Err(Refusal::Rejected(words)),
        Outcome::TooLarge => Err(Refusal::TooLargeForUpstream(None)),
        Outcome::Busy { status, retry_after, message } => {
            Err(Refusal::UpstreamBusy { status, retry_after, message })
        }
        Outcome::Misconfigured(words) => {
            upstream.complaint.log(|| events::upstream_refuses_us(name, &words));
            Err(Refusal::UpstreamMisconfigured)
        }
        Outcome::Failed(words) => Err(Refusal::UpstreamFailed(words)),
        Outcome::Unreachable(why) => {
            upstream.complaint.log(|| events::upstream_unreachable(name, &why));
            Err(Refusal::UpstreamUnreachable)
        }
        Outcome::Broken(why) => {
            upstream.complaint.log(|| events::upstream_broken(name, &why));
            Err(Refusal::UpstreamBroken)
        }
        Outcome::Timeout => {
            upstream.complaint.log(|| events::upstream_timed_out(name));
            Err(Refusal::UpstreamTimeout)
        }
    }
}

fn address(peer: Peer) -> tenant::Address {
    match peer {
        Peer::Ip(address) => tenant::Address::Ip(address),
        Peer::Unix => tenant::Address::Unix,
    }
}

impl From<tenant::Denial> for Refusal {
    fn from(denial: tenant::Denial) -> Self {
        match denial {
            tenant::Denial::Missing => Refusal::NoCredentials,
            tenant::Denial::Malformed | tenant::Denial::Wrong => Refusal::BadCredentials,
            tenant::Denial::Limited { retry_after } => Refusal::LoginsLimited(retry_after),
            tenant::Denial::Busy { retry_after } => Refusal::LoginsBusy(retry_after),
        }
    }
}

impl From<admission::Denial> for Refusal {
    fn from(denial: admission::Denial) -> Self {
        let admission::Denial { scope, limit, retry_after } = denial;
        match scope {
            admission::Scope::Tenant => Refusal::TenantLimit { limit: limit.name(), retry_after },
            admission::Scope::Upstream | admission::Scope::All => {
                Refusal::Overload { limit: limit.name(), retry_after }
            }
        }
    }
}
