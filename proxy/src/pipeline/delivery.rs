//! A batch over its destinations: what each of them gets, in the form that it wants; all of it let in
//! before any of it is sent; sent to all at once; and what they said, told as one.

use super::{
    batch::{Batch, Form},
    intake::Intake,
    journey::Journey,
    state::{Tenant, Upstream},
};
use crate::{
    admission::{self, Share},
    exporter::{self, Export, Outcome, Status},
    otlp::{Chunks, Compression, Encoding, PartialSuccess, Protocol, Refusal, Signal},
    plugin::{DEFAULT_DESTINATION, Transformed},
    telemetry::events,
};
use futures_util::future::join_all;
use std::{collections::HashSet, slice, time::Instant};

/// A batch, and where it goes.
pub(super) struct Delivery<'a> {
    signal: Signal,
    /// How it came: what upstreams that keep that get it in.
    came: (Encoding, Compression),
    /// What goes to the tenant's own upstream.
    own: Option<Part<'a>>,
    /// What goes elsewhere. No upstream stands here twice, and the tenant's own not at all.
    others: Vec<Part<'a>>,
}

/// What goes to one upstream.
struct Part<'a> {
    upstream: &'a Upstream,
    message: Chunks,
    encoding: Encoding,
    records: u64,
    /// Where nothing was changed in it: the bytes that came.
    wire: Option<Chunks>,
}

impl<'a> Delivery<'a> {
    /// All of it goes to the tenant's own upstream.
    pub(super) fn whole(upstream: &'a Upstream, form: Form, batch: Batch, wire: Chunks) -> Self {
        let Form { signal, came, wanted, compression } = form;
        let message = batch.message.into_chunks();
        let own = Part { upstream, message, encoding: wanted, records: batch.records, wire: Some(wire) };
        Self { signal, came: (came, compression), own: Some(own), others: Vec::new() }
    }

    /// It goes where plugins sent it.
    ///
    /// # Errors
    /// Where a plugin names what the tenant does not have, or more was made of the batch than may be held.
    pub(super) fn split(
        tenant: &'a Tenant,
        upstream: &'a Upstream,
        form: Form,
        transformed: Transformed,
        wire: Chunks,
        intake: &mut Intake<'_, '_>,
    ) -> Result<Self, Refusal> {
        let Transformed { batch, routed, discarded, .. } = transformed;
        let Form { signal, came, compression, .. } = form;
        let is_whole = routed.is_empty() && discarded == 0;
        let own = batch.map(|batch| {
            let wire = (is_whole && !batch.is_changed()).then_some(wire);
            let records = batch.records();
            Part { upstream, message: batch.into_message(), encoding: Encoding::Protobuf, records, wire }
        });
        let mut delivery = Self { signal, came: (came, compression), own, others: Vec::new() };
        for part in routed {
            let upstreams = part.destinations.iter().map(|name| match &**name {
                DEFAULT_DESTINATION => Some(upstream),
                name => tenant.routes.get(name).map(|upstream| &**upstream),
            });
            // The host lets a plugin name nothing else; nothing may be lost by a mistake of ours.
            let upstreams = upstreams.collect::<Option<Vec<_>>>().filter(|upstreams| !upstreams.is_empty());
            let mut known = HashSet::new();
            for to in upstreams.ok_or(Refusal::PluginsUnavailable)? {
                if known.insert(to.name()) {
                    delivery.add(to, upstream, part.message.clone(), part.records);
                }
            }
        }
        let made = delivery.parts().filter(|part| part.wire.is_none()).map(|part| part.message.len() as u64);
        intake.keep(made.sum())?;
        Ok(delivery)
    }

    /// Two requests of a signal, one after the other, are one request with the parts of both.
    fn add(&mut self, to: &'a Upstream, own: &Upstream, message: Chunks, records: u64) {
        let is_own = to.name() == own.name();
        let known = match is_own {
            true => self.own.as_mut(),
            false => self.others.iter_mut().find(|part| part.upstream.name() == to.name()),
        };
        if let Some(part) = known {
            message.pieces().for_each(|piece| part.message.push(piece.clone()));
            part.records += records;
            return;
        }
        let part = Part { upstream: to, message, encoding: Encoding::Protobuf, records, wire: None };
        if is_own { self.own = Some(part) } else { self.others.push(part) }
    }

    fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        self.own.iter().chain(&self.others)
    }

    /// Whether there is nothing left to deliver.
    pub(super) fn is_nothing(&self) -> bool {
        self.parts().next().is_none()
    }

    /// Brings every part into the form that its upstream wants, and has all of them let in, or none.
    ///
    /// # Errors
    /// What a translation cannot hold, what is too large for its upstream, what has no room there now.
    pub(super) fn pack(self, tenant: &Tenant, intake: &mut Intake<'_, 'a>) -> Result<Parcels<'a>, Refusal> {
        let Self { signal, came, own, others } = self;
        let mut pack = |part: Part<'a>| part.pack(signal, came, tenant, intake);
        let mut own = own.map(&mut pack).transpose()?;
        let mut others = others.into_iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let gates = others.iter().map(|parcel| (&*parcel.upstream.gate, parcel.body.len() as u64));
        let shares = admission::share(gates)?;
        if !others.is_empty() {
            // Each part gives its place back when its own upstream has answered: one that hangs keeps
            // nobody from another.
            let share = intake.split_upstream();
            own.iter_mut().zip(share).for_each(|(own, share)| own.share = Some(share));
            others.iter_mut().zip(shares).for_each(|(part, share)| part.share = Some(share));
        }
        Ok(Parcels { own, others })
    }
}

impl<'a> Part<'a> {
    fn pack(
        self,
        signal: Signal,
        came: (Encoding, Compression),
        tenant: &Tenant,
        intake: &mut Intake<'_, '_>,
    ) -> Result<Parcel<'a>, Refusal> {
        let Self { upstream, message, encoding, records, wire } = self;
        let (protocol, compression) = upstream.form_of(came.0, came.1);
        let wanted = protocol.encoding();
        let body = match wire {
            Some(wire) if (wanted, compression) == came => wire,
            _ => {
                let message = if wanted == encoding {
                    message
                } else {
                    let form = Form { signal, came: encoding, wanted, compression };
                    let more_max = intake.more_max();
                    let batch = form.decode(message, more_max, |more| intake.hold(more), &tenant.metrics)?;
                    let translated = batch.message.into_chunks();
                    intake.keep(translated.len() as u64)?;
                    translated
                };
                match compression {
                    // In the pieces that it is in: no copy only to join them.
                    Compression::Identity => message,
                    // What was inflated is not kept while the upstream takes its time.
                    _ => exporter::compress(compression, &message.to_bytes())
                        .map_err(|error| Refusal::Malformed(error.to_string()))?
                        .into(),
                }
            }
        };
        upstream.check_size(body.len() as u64)?;
        Ok(Parcel { upstream, protocol, compression, body, records, share: None })
    }
}

/// A batch that is ready to leave.
pub(super) struct Parcels<'a> {
    own: Option<Parcel<'a>>,
    others: Vec<Parcel<'a>>,
}

/// What one upstream is sent.
pub(super) struct Parcel<'a> {
    upstream: &'a Upstream,
    pub(super) protocol: Protocol,
    pub(super) compression: Compression,
    pub(super) body: Chunks,
    records: u64,
    /// Its place at the upstream; that of a batch which goes nowhere else is the request's.
    share: Option<Share<'a>>,
}

/// How sending a part ended.
pub(super) struct Sent<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) outcome: Outcome,
    pub(super) status: Option<Status>,
    records: u64,
}

impl<'a> Parcels<'a> {
    /// Sends every part, all at once, and tells what became of them. A sender that is impatient gave the
    /// upstreams little time.
    pub(super) async fn send<'e>(
        self,
        journey: &mut Journey<'a>,
        is_impatient: bool,
        export: impl Fn(Protocol, Compression, Chunks) -> Export<'e>,
    ) -> Result<Option<PartialSuccess>, Refusal> {
        let mut parcels = self.own.into_iter().chain(self.others);
        let Some(first) = parcels.next() else { return Ok(None) };
        journey.sending(first.upstream);
        let send = |parcel: Parcel<'a>| {
            let Parcel { upstream, protocol, compression, body, records, share } = parcel;
            send(upstream, export(protocol, compression, body), records, share)
        };
        let Some(second) = parcels.next() else {
            let sent = send(first).await;
            journey.sent(slice::from_ref(&sent));
            return reply(sent.outcome, sent.upstream, is_impatient);
        };
        let sent = join_all([first, second].into_iter().chain(parcels).map(send)).await;
        journey.sent(&sent);
        let told = sent.into_iter().map(|sent| Told {
            upstream: sent.upstream.name(),
            records: sent.records,
            said: reply(sent.outcome, sent.upstream, is_impatient),
        });
        merge(told.collect())
    }
}

/// Sends to one upstream. It is counted however it ends, also when nobody waits for it any more.
async fn send<'a>(
    upstream: &'a Upstream,
    export: Export<'_>,
    records: u64,
    _share: Option<Share<'a>>,
) -> Sent<'a> {
    let mut call = Call { upstream, began: Instant::now(), outcome: CANCELLED };
    let (outcome, status) = upstream.exporter.send(export).await;
    call.outcome = outcome.name();
    Sent { upstream, outcome, status, records }
}

/// How an export ended whose sender went away first.
const CANCELLED: &str = "cancelled";

/// A request to an upstream that is under way.
struct Call<'a> {
    upstream: &'a Upstream,
    began: Instant,
    outcome: &'static str,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.upstream.metrics.ended(self.outcome, self.began.elapsed());
    }
}

/// What the sender is told of what one upstream said. A sender that gave the upstream little time has
/// nothing to complain of.
fn reply(
    outcome: Outcome,
    upstream: &Upstream,
    is_impatient: bool,
) -> Result<Option<PartialSuccess>, Refusal> {
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
        Outcome::Timeout if is_impatient => Err(Refusal::UpstreamTimeout),
        Outcome::Timeout => {
            upstream.complaint.log(|| events::upstream_timed_out(name));
            Err(Refusal::UpstreamTimeout)
        }
    }
}

/// What one of several upstreams made of its part.
struct Told<'a> {
    upstream: &'a str,
    records: u64,
    said: Result<Option<PartialSuccess>, Refusal>,
}

/// What the sender is told of what several upstreams said.
///
/// - One refuses for now: the sender has to come back with all of it, and what the others took may come
///   to them twice. Of several, the longest wait counts.
/// - All refuse for good: so does the answer, in the words of the first.
/// - Else it is a success, but for the records of those that refuse.
fn merge(told: Vec<Told<'_>>) -> Result<Option<PartialSuccess>, Refusal> {
    let refusals = || told.iter().filter_map(|told| told.said.as_ref().err());
    let passing = refusals().filter(|refusal| refusal.is_passing());
    // The first of equals, since `max_by_key` takes the last.
    if let Some(longest) = passing.rev().max_by_key(|refusal| refusal.retry_after()) {
        return Err(longest.clone());
    }
    if refusals().count() == told.len()
        && let Some(first) = refusals().next()
    {
        return Err(first.clone());
    }
    let mut partial = PartialSuccess::default();
    for Told { upstream, records, said } in &told {
        let (rejected, words) = match said {
            Ok(None) => continue,
            Ok(Some(partial)) => (partial.rejected, partial.message.as_str().into()),
            Err(refusal) => (*records, refusal.message()),
        };
        partial.rejected += rejected.min(*records);
        let gap = if partial.message.is_empty() { "" } else { "; " };
        partial.message += &format!("{gap}{upstream}: {words}");
    }
    Ok((partial != PartialSuccess::default()).then_some(partial))
}

#[cfg(test)]
mod tests;
