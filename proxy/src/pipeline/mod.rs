//! The data path: one function to read, `Door::forward`.
//!
//! A request passes route, client, tenant, admission, body, document, plugins and exporter. Each room says
//! what it has to say in its own words; here they are put together, and every "no" becomes the [`Refusal`]
//! that its sender is told.

mod batch;
mod config;
mod delivery;
mod intake;
mod journey;
mod plugins;
mod scrape;
mod state;

pub use config::{DoorConfig, TenantConfig, Upstreams};
pub use plugins::Plugins;
pub use scrape::Scrape;
pub use state::{Build, BuildError, Shared, State, Watch, Watched};

use crate::{
    admission,
    client::Client,
    exporter::Export,
    listener::{Body, Connection, Peer, Service},
    otlp::{
        self, AnswerBody, BodyLimits, Compression, Document, Doors, EmptyBody, Encoding, PartialSuccess,
        Pieces, Protocol, Refusal, Route, Signal, cors::Allowed, grpc,
    },
    plugin::{self, Begun, Chain, Transformed},
    telemetry::events,
    tenant,
};
use batch::{Batch, Form, Message};
use delivery::Delivery;
use http::{HeaderValue, Request, Response, Version, header, request::Parts};
use intake::{Intake, Received};
use journey::Journey;
use state::Tenant;
use std::sync::Arc;

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
        let (head, body) = request.into_parts();
        let client = self.config.client.identify(connection.peer, &head.headers);
        journey.client(client, &head.headers);
        let page = self.config.cors.allowed(&head.headers);
        let mut response = match otlp::check_framing(&head, ambiguous_length) {
            Err(refusal) => self.answer(&head, Err(refusal), &mut journey),
            Ok(()) if grpc::is_health_check(&head) => {
                self.health(body, !connection.drains(), &mut journey).await
            }
            Ok(()) => match page.as_ref().filter(|page| page.only_asks(&head.method, &head.headers)) {
                Some(page) => self.permit(page, &head, &mut journey),
                None => {
                    let done = self.forward(&head, body, client, &mut journey).await;
                    self.answer(&head, done, &mut journey)
                }
            },
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
    /// One request from its head to what became of it.
    async fn forward<'a>(
        &'a self,
        head: &Parts,
        body: Body,
        client: Client,
        journey: &mut Journey<'a>,
    ) -> Result<Done, Refusal> {
        // What for, and whose it is. Nothing of the body is kept before this is known.
        let route = otlp::route(head, &self.doors)?;
        let signal = route.signal;
        journey.route(&route);
        let tenant = self.authenticate(head, client, &route, journey).await?;
        let upstream = tenant.upstream(signal).ok_or(Refusal::NoUpstream(signal))?;
        let chain = tenant.chain(signal)?;

        // May it come in, and what is it.
        let state = &self.state;
        let mut intake = Intake::admit(
            &self.config,
            state,
            (tenant, upstream),
            chain.is_some(),
            &route,
            &body,
            journey.began(),
        )?;
        let Some(received) = intake.receive(body, head.version, journey).await? else {
            // Where cloudflared loses a body, it says that there is none; an empty one in chunks is whole.
            let through_cloudflared =
                intake.announced == Some(0) && client.through_proxy && head.headers.contains_key("cf-ray");
            return self.empty(&route, through_cloudflared, tenant);
        };
        let Received { wire, compression, plain } = received;
        let encoding = route.protocol.encoding();
        if let Some(found) = otlp::misposted(signal, encoding, &plain) {
            return Err(Refusal::Misposted { declared: signal, found });
        }

        // In the form that the plugins want, or without any, the upstream.
        let wanted = match chain {
            Some(_) => Encoding::Protobuf,
            None => upstream.form_of(encoding, compression).0.encoding(),
        };
        let form = Form { signal, came: encoding, wanted, compression };
        let inflated = plain.len();
        let more_max = intake.more_max();
        let batch = form.decode(plain, more_max, |more| intake.hold(more), &tenant.metrics)?;
        journey.decoded(inflated, batch.records);
        if batch.is_nothing {
            return Ok(Done { signal, partial: None }); // Loki would refuse it
        }

        // The tenant's plugins have their turn: what stays, what goes elsewhere, what goes nowhere.
        let delivery = match (chain, batch.message) {
            (Some(chain), Message::Document(document)) => {
                let left_out = batch.left_out;
                let transformed =
                    self.transform(tenant, chain, document, left_out, &mut intake, journey).await?;
                Delivery::split(tenant, upstream, form, transformed, wire, &mut intake)?
            }
            // No plugin asks for what is never looked into; were it to, nothing may slip past it.
            (Some(_), Message::Opaque(_)) => return Err(Refusal::NotTranscoded { signal, came: encoding }),
            (None, message) => Delivery::whole(upstream, form, Batch { message, ..batch }, wire),
        };
        if delivery.is_nothing() {
            return Ok(Done { signal, partial: None });
        }

        // Send it on, to all destinations or to none.
        let parcels = delivery.pack(tenant, &mut intake)?;
        intake.in_time()?;
        let id = journey.id();
        let export = |protocol, compression, body| Export {
            signal,
            protocol,
            compression,
            body,
            headers: &head.headers,
            tenant_headers: &tenant.config.upstream_headers,
            request_id: id.header(),
            deadline: intake.deadline,
        };
        let partial = parcels.send(journey, route.timeout.is_some(), export).await?;
        journey.delivered(partial.as_ref());
        Ok(Done { signal, partial })
    }

    /// Has a tenant's plugins work on a batch. Room is held before they do: for what they need to find their
    /// way in it, and as much again as there is for what they may write.
    async fn transform(
        &self,
        tenant: &Tenant,
        chain: &Chain,
        document: Document,
        left_out: u64,
        intake: &mut Intake<'_, '_>,
        journey: &mut Journey<'_>,
    ) -> Result<Transformed, Refusal> {
        intake.keep(document.rows_bytes()).map_err(|refusal| match refusal {
            Refusal::TooLarge { .. } => Refusal::TooManyRecords(document.records()),
            refusal => refusal,
        })?;
        let room = (document.bytes().len() as u64).min(intake.more_max());
        intake.hold(room)?;
        let signal = document.signal();
        let watch = self.state.shared.watch.as_ref().map(|watch| (watch, document.bytes().clone()));
        let batch = plugin::Batch::new(document).with_left_out(left_out);
        let transformed = match chain.begin(batch, intake.deadline) {
            Ok(Begun::Done(transformed)) => Ok(transformed),
            Ok(Begun::Waits(waiting)) => {
                // Many may wait: what was made of each of them so far is held as its own.
                intake.hold(room.max(waiting.bytes_made()))?;
                waiting.go_on().await
            }
            Err(failure) => Err(failure),
        };
        journey.transformed(&transformed);
        if let Some((watch, before)) = watch {
            watch(&Watched { tenant: &tenant.config.name, signal, before, after: &transformed });
        }
        Ok(transformed?)
    }

    /// Whose request it is.
    async fn authenticate<'a>(
        &'a self,
        head: &Parts,
        client: Client,
        route: &Route<'_>,
        journey: &mut Journey<'a>,
    ) -> Result<&'a Tenant, Refusal> {
        let worker = client.through_proxy.then(|| head.headers.get("cf-worker")).flatten();
        let attempt = tenant::Attempt {
            authorization: head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes),
            address: address(client.address),
            cf_worker: worker.map(HeaderValue::as_bytes),
            path_prefix: route.prefix,
            listener: &self.config.listener,
        };
        let known = self.state.tenants.authenticate(&attempt).await?;
        let tenant = self.state.tenant(&known.tenant).ok_or(Refusal::BadCredentials)?;
        journey.tenant(tenant, known);
        Ok(tenant)
    }

    /// What became of a request, in the sender's own protocol.
    fn answer(
        &self,
        head: &Parts,
        done: Result<Done, Refusal>,
        journey: &mut Journey<'_>,
    ) -> Response<AnswerBody> {
        let protocol = otlp::protocol_of(head);
        let answers = &self.state.answers;
        let request_id = journey.request_id();
        let response = match &done {
            Ok(Done { signal, partial }) => answers.success(*signal, protocol, partial.as_ref(), request_id),
            Err(refusal) => answers.refusal(refusal, protocol, request_id),
        };
        journey.end(protocol, done.as_ref().err());
        response
    }

    /// Tells a browser that the page may send. It asks without credentials, so anybody may.
    fn permit(&self, page: &Allowed, head: &Parts, journey: &mut Journey<'_>) -> Response<AnswerBody> {
        let mut response = self.state.answers.no_content(journey.request_id());
        page.permit(&head.headers, response.headers_mut());
        journey.answered(response.status());
        response
    }

    /// Answers a health check: of anybody, since it says no more than that the socket is open.
    async fn health(&self, body: Body, is_serving: bool, journey: &mut Journey<'_>) -> Response<AnswerBody> {
        let limits = BodyLimits {
            wire: grpc::HEALTH_BYTES_MAX,
            decompressed: grpc::HEALTH_BYTES_MAX,
            timeout: self.config.body_timeout,
        };
        let read = otlp::read(body, &limits, Pieces::of(Version::HTTP_2).joined(), |_| Ok(())).await;
        let answer = read.and_then(|framed| {
            let (message, _) = grpc::unframe(framed, Compression::Identity)?;
            grpc::health(&message.to_bytes(), is_serving).ok_or(Refusal::UnknownService)
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

impl From<plugin::Failure> for Refusal {
    fn from(failure: plugin::Failure) -> Self {
        match failure {
            plugin::Failure::Rejected { text, .. } => Refusal::PluginRejected(text),
            plugin::Failure::Failed { plugin, .. } => Refusal::PluginFailed { plugin },
            plugin::Failure::Malformed(what) => Refusal::Malformed(what),
            plugin::Failure::Late => Refusal::Late,
            plugin::Failure::Busy { retry_after } => Refusal::PluginsBusy(retry_after),
        }
    }
}
