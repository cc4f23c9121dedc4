//! What is remembered of a request on its way, and told when it ends, however it ends.

use super::{
    DoorConfig,
    delivery::Sent,
    state::{Shared, State, Tenant, Upstream},
};
use crate::{
    client::Client,
    exporter,
    listener::{Body, Peer},
    otlp::{Compression, PartialSuccess, Protocol, Refusal, Route, Signal, grpc},
    plugin::{Failure, Transformed},
    telemetry::{self, Access, Steps, access::Refused},
    tenant::Known,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use std::{
    fmt::Write,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

/// A request on its way. When it is dropped, its access line is written and it is counted: also when
/// its sender went away and nobody is left to answer.
///
/// It borrows what it names: a count of holders would be written by every thread for every request.
pub(super) struct Journey<'a> {
    state: &'a State,
    listener: &'a str,
    id: RequestId,
    method: Method,
    version: Version,
    began: Instant,
    last_step: Instant,
    steps: Steps,
    client: Option<Client>,
    cf_ray: Option<HeaderValue>,
    tenant: Option<&'a Tenant>,
    known: Option<&'a Known>,
    signal: Option<Signal>,
    protocol: Option<Protocol>,
    compression: Option<Compression>,
    bytes: u64,
    bytes_inflated: u64,
    records: u64,
    /// Of the records, those that a partial success names.
    rejected: u64,
    /// Of the records, those that plugins took out, and those that they sent elsewhere.
    worked_on: Option<WorkedOn>,
    /// The upstream that it is sent to; of several, the tenant's own.
    upstream: Option<&'a Upstream>,
    upstream_status: Option<exporter::Status>,
    /// What became of it at each of several upstreams.
    destinations: Option<String>,
    status: Option<StatusCode>,
    grpc_status: Option<u32>,
    outcome: telemetry::Outcome,
    refused: Option<Refused>,
}

/// What plugins did with a batch.
struct WorkedOn {
    discarded: u64,
    routed: u64,
    /// How each of them fared.
    notes: String,
}

impl<'a> Journey<'a> {
    pub(super) fn begin(state: &'a State, door: &'a DoorConfig, request: &Request<Body>) -> Self {
        let now = Instant::now();
        Self {
            state,
            listener: &door.listener,
            id: next_id(&state.shared),
            method: request.method().clone(),
            version: request.version(),
            began: now,
            last_step: now,
            steps: Steps::default(),
            client: None,
            cf_ray: None,
            tenant: None,
            known: None,
            signal: None,
            protocol: None,
            compression: None,
            bytes: 0,
            bytes_inflated: 0,
            records: 0,
            rejected: 0,
            worked_on: None,
            upstream: None,
            upstream_status: None,
            destinations: None,
            status: None,
            grpc_status: None,
            outcome: telemetry::Outcome::Aborted,
            refused: None,
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    pub(super) fn request_id(&self) -> HeaderValue {
        self.id.header()
    }

    pub(super) fn client(&mut self, client: Client, headers: &HeaderMap) {
        self.client = Some(client);
        if client.through_proxy {
            self.cf_ray = headers.get("cf-ray").cloned();
        }
    }

    pub(super) fn route(&mut self, route: &Route<'_>) {
        self.signal = Some(route.signal);
        self.protocol = Some(route.protocol);
        self.compression = Some(route.compression);
    }

    pub(super) fn tenant(&mut self, tenant: &'a Tenant, known: &'a Known) {
        self.tenant = Some(tenant);
        self.known = Some(known);
        self.steps.auth = Some(self.step());
    }

    /// The body arrived, or as much of it as was taken.
    pub(super) fn read(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.steps.read = Some(self.step());
    }

    pub(super) fn decoded(&mut self, bytes: usize, records: u64) {
        self.bytes_inflated = bytes as u64;
        self.records = records;
        self.steps.decode = Some(self.step());
    }

    /// Plugins worked on it.
    pub(super) fn transformed(&mut self, transformed: &Result<Transformed, Failure>) {
        self.steps.transform = Some(self.step());
        self.worked_on = Some(match transformed {
            Ok(Transformed { routed, discarded, notes, .. }) => {
                let notes = notes
                    .iter()
                    .map(|note| format!("{}:{}:{}", note.plugin, note.outcome, note.took.as_micros()));
                WorkedOn {
                    discarded: *discarded,
                    routed: routed.iter().map(|routed| routed.records).sum(),
                    notes: notes.collect::<Vec<_>>().join(","),
                }
            }
            Err(failure) => {
                let notes = match failure {
                    Failure::Rejected { plugin, .. } => format!("{plugin}:rejected"),
                    Failure::Failed { plugin, .. } => format!("{plugin}:failed"),
                    Failure::Malformed(_) => "malformed".to_owned(),
                    Failure::Late => "late".to_owned(),
                    Failure::Busy { .. } => "busy".to_owned(),
                };
                WorkedOn { discarded: 0, routed: 0, notes }
            }
        });
    }

    /// It leaves for this upstream, and perhaps for others.
    pub(super) fn sending(&mut self, upstream: &'a Upstream) {
        self.upstream = Some(upstream);
        self.step();
    }

    /// Every upstream that it was sent to said what became of it, the one that was named first.
    pub(super) fn sent(&mut self, sent: &[Sent<'_>]) {
        self.steps.export = Some(self.step());
        self.upstream_status = sent.first().and_then(|sent| sent.status);
        if sent.len() > 1 {
            let mut destinations = String::new();
            for Sent { upstream, outcome, .. } in sent {
                let gap = if destinations.is_empty() { "" } else { "," };
                let _ = write!(destinations, "{gap}{}:{}", upstream.name(), outcome.name()); // a String takes all
            }
            self.destinations = Some(destinations);
        }
    }

    /// It was delivered, all of it but what this names.
    pub(super) fn delivered(&mut self, partial: Option<&PartialSuccess>) {
        self.rejected = partial.map_or(0, |partial| partial.rejected);
    }

    /// The answer is made, in this protocol.
    pub(super) fn end(&mut self, protocol: Protocol, refusal: Option<&Refusal>) {
        if refusal == Some(&Refusal::BodyBroken) {
            return; // nobody is left to be refused: aborted
        }
        self.status = Some(refusal.map_or(StatusCode::OK, Refusal::status));
        self.grpc_status =
            (protocol == Protocol::Grpc).then(|| refusal.map_or(grpc::code::OK, Refusal::grpc_code));
        self.refused = refusal.map(|refusal| Refused { by: refusal.room(), reason: refusal.reason() });
        self.outcome = match refusal {
            None if self.upstream.is_some() => telemetry::Outcome::Delivered,
            None => telemetry::Outcome::Answered,
            Some(Refusal::Late) => telemetry::Outcome::Failed,
            // There was nothing wrong with it, as far as is known.
            Some(refusal) if self.steps.decode.is_some() && refusal.is_passing() => {
                telemetry::Outcome::Failed
            }
            Some(_) => telemetry::Outcome::Refused,
        };
    }

    /// It is answered with this, and there was nothing to deliver.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.outcome = telemetry::Outcome::Answered;
    }

    fn step(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - self.last_step;
        self.last_step = now;
        took
    }

    /// Whatever came in is delivered, refused or failed.
    fn settle_records(&self, tenant: &Tenant, signal: Signal) {
        let records = tenant.metrics.signal(signal).records_in(self.records);
        match self.outcome {
            telemetry::Outcome::Delivered | telemetry::Outcome::Answered => {
                let discarded = self.worked_on.as_ref().map_or(0, |worked_on| worked_on.discarded);
                records.delivered(self.rejected, discarded);
            }
            telemetry::Outcome::Refused => records.refused(),
            telemetry::Outcome::Failed | telemetry::Outcome::Aborted => records.failed(),
        }
    }
}

impl Drop for Journey<'_> {
    fn drop(&mut self) {
        self.steps.total = self.began.elapsed();
        let access = Access {
            time: SystemTime::now(),
            request_id: std::str::from_utf8(&self.id.0).unwrap_or_default(),
            cf_ray: self.cf_ray.as_ref().map(HeaderValue::as_bytes),
            listener: self.listener,
            client: match self.client.map(|client| client.address) {
                Some(Peer::Ip(address)) => Some(address),
                Some(Peer::Unix) | None => None,
            },
            protocol: self.version,
            method: self.method.as_str(),
            tenant: self.tenant.map(|tenant| &*tenant.config.name),
            credential: self.known.map(|known| &*known.name),
            signal: self.signal,
            encoding: self.protocol.map(Protocol::encoding),
            compression: self.compression,
            status: self.status.map(|status| status.as_u16()),
            grpc_status: self.grpc_status,
            outcome: self.outcome,
            bytes: self.bytes,
            bytes_inflated: self.bytes_inflated,
            records: self.records,
            records_discarded: self.worked_on.as_ref().map(|worked_on| worked_on.discarded),
            records_routed: self.worked_on.as_ref().map(|worked_on| worked_on.routed),
            plugins: self.worked_on.as_ref().map(|worked_on| worked_on.notes.as_str()),
            upstream: self.upstream.map(Upstream::name),
            upstream_status: match self.upstream_status {
                Some(exporter::Status::Http(status)) => Some(status.as_u16()),
                _ => None,
            },
            upstream_grpc_status: match self.upstream_status {
                Some(exporter::Status::Grpc(code)) => Some(code),
                _ => None,
            },
            destinations: self.destinations.as_deref(),
            steps: self.steps,
            refusal: self.refused,
        };
        let shared = &self.state.shared;
        let metrics = match self.tenant {
            Some(tenant) => tenant.metrics.signal(self.signal),
            None => shared.metrics.strangers().signal(self.signal),
        };
        shared.metrics.ended(metrics, &access);
        shared.access.write(&access);
        if let (Some(tenant), Some(signal)) = (self.tenant, self.signal) {
            self.settle_records(tenant, signal);
        }
    }
}

/// What a request is called in every log, and by every upstream.
#[derive(Clone, Copy)]
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    pub(super) fn header(self) -> HeaderValue {
        let id = HeaderValue::from_bytes(&self.0);
        let mut id = id.expect("invariant: hexadecimal digits are a header value");
        id.set_sensitive(true); // no other request has it: HPACK need not remember it
        id
    }
}

fn next_id(shared: &Shared) -> RequestId {
    let number = u64::from(shared.id_prefix) << 32 | shared.next_id.fetch_add(1, Relaxed) & 0xffff_ffff;
    RequestId(hex(number))
}

fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|i| b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 15])
}
