//! What comes in of a request: admitted, read, inflated, under limits all the way.

use super::{
    DoorConfig,
    journey::Journey,
    state::{State, Tenant, Upstream},
};
use crate::{
    admission::{self, Permit, Share},
    listener::Body,
    otlp::{self, BodyLimits, Chunks, Compression, Encoding, Pieces, Protocol, Refusal, Route, grpc},
};
use http::Version;
use http_body::Body as _;
use std::time::{Duration, Instant};

/// A request that is in, and what it may take.
pub(super) struct Intake<'r, 'a> {
    route: &'r Route<'r>,
    /// Kept to the end: with it go the request's place and the bytes reserved for it.
    permit: Permit<'a>,
    limits: BodyLimits,
    /// The most bytes that are ever held for one request.
    room: u64,
    /// Of them, those that are.
    held: u64,
    /// When somebody's patience for the answer ends.
    pub(super) deadline: Option<Instant>,
    /// Plugins will look into it.
    has_plugins: bool,
    /// The body's length, where its head says it.
    pub(super) announced: Option<u64>,
}

/// A message as it came, and without its compression.
pub(super) struct Received {
    pub(super) wire: Chunks,
    pub(super) compression: Compression,
    pub(super) plain: Chunks,
}

impl<'r, 'a> Intake<'r, 'a> {
    /// May it come in. What is announced is reserved before a byte of it is read.
    pub(super) fn admit(
        door: &DoorConfig,
        state: &'a State,
        (tenant, upstream): (&'a Tenant, &'a Upstream),
        has_plugins: bool,
        route: &'r Route<'r>,
        body: &Body,
        began: Instant,
    ) -> Result<Self, Refusal> {
        let patience = door.answer_within.into_iter().chain(route.timeout).min();
        let deadline = patience.map(|limit| began + limit);
        let left = time_left(deadline)?;
        let room = admission::bytes_max(&tenant.gate, &upstream.gate, &state.all);
        let limits = BodyLimits {
            wire: tenant.config.limits.body.min(room),
            decompressed: tenant.config.limits.decompressed,
            timeout: left.map_or(door.body_timeout, |left| left.min(door.body_timeout)),
        };
        let announced = body.size_hint().exact();
        if let Some(announced) = announced {
            limits.check(announced)?;
            // What plugins leave of it may be smaller.
            if !has_plugins && upstream.keeps(route.protocol.encoding(), route.compression) {
                upstream.check_size(announced)?;
            }
        }
        let permit = admission::admit(&tenant.gate, &upstream.gate, &state.all, announced)?;
        Ok(Self { route, permit, limits, room, held: 0, deadline, announced, has_plugins })
    }

    /// Reads the body and inflates it. Each piece is charged as it comes, whatever becomes of the rest.
    /// `None`: there are no bytes at all.
    pub(super) async fn receive(
        &mut self,
        body: Body,
        version: Version,
        journey: &mut Journey<'_>,
    ) -> Result<Option<Received>, Refusal> {
        let Self { route, permit, limits, has_plugins, .. } = self;
        // What is looked into only here and there may stay in the pieces that it comes in.
        let pieces = match (route.protocol.encoding(), route.compression) {
            (Encoding::Protobuf, Compression::Identity) if !*has_plugins => Pieces::of(version),
            _ => Pieces::of(version).joined(),
        };
        let mut arrived = 0;
        let read = otlp::read(body, limits, pieces, |total| {
            permit.charge(total - arrived);
            arrived = total;
            Ok(permit.reserve(total)?)
        });
        let wire = read.await;
        journey.read(arrived);
        let wire = wire.map_err(|refusal| match refusal {
            // The sender's own patience, not ours.
            Refusal::BodyTimeout(_) if route.timeout.is_some() => self.in_time().err().unwrap_or(refusal),
            refusal => refusal,
        })?;
        if wire.is_empty() {
            return Ok(None);
        }
        let (wire, compression) = match self.route.protocol {
            Protocol::Http(_) => (wire, self.route.compression),
            Protocol::Grpc => grpc::unframe(wire, self.route.compression)?,
        };
        self.held = wire.len() as u64;
        let limits = BodyLimits { decompressed: self.more_max(), ..self.limits };
        let held = self.held;
        let plain =
            otlp::inflate(compression, &wire, &limits, |total| Ok(self.permit.reserve(held + total)?))?;
        self.held += plain.len() as u64;
        Ok(Some(Received { wire, compression, plain }))
    }

    /// How many bytes may be made of what came, at most.
    pub(super) fn more_max(&self) -> u64 {
        self.limits.decompressed.min(self.room.saturating_sub(self.held))
    }

    /// Asks for so many bytes beside what is held.
    pub(super) fn hold(&mut self, more: u64) -> Result<(), Refusal> {
        Ok(self.permit.reserve(self.held + more)?)
    }

    /// Holds so many bytes more to the end, beside what is held.
    pub(super) fn keep(&mut self, more: u64) -> Result<(), Refusal> {
        if more > self.room.saturating_sub(self.held) {
            return Err(Refusal::TooLarge { limit: self.room, decompressed: true });
        }
        self.hold(more)?;
        self.held += more;
        Ok(())
    }

    /// Splits off the place at the tenant's own upstream.
    pub(super) fn split_upstream(&mut self) -> Option<Share<'a>> {
        self.permit.split_upstream()
    }

    /// Refuses what nobody waits for any more.
    pub(super) fn in_time(&self) -> Result<(), Refusal> {
        time_left(self.deadline).map(drop)
    }
}

/// How long somebody waits yet for the answer; `None`: as long as it takes.
fn time_left(deadline: Option<Instant>) -> Result<Option<Duration>, Refusal> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left == Some(Duration::ZERO) { Err(Refusal::Late) } else { Ok(left) }
}
