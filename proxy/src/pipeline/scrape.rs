//! The numbers that rooms keep themselves, by name, whenever somebody asks for metrics.

use super::{
    Door,
    state::{State, Upstream},
};
use crate::{
    admission::{Gate, Limit, Scope},
    config::Config,
    listener::Listener,
    telemetry::{Metric, Samples, Source},
    tenant::Tenants,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// Knows where the numbers are.
pub struct Scrape {
    /// The state in force.
    pub state: Arc<ArcSwap<State>>,
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// The listeners at work.
    pub listeners: Arc<Mutex<Vec<Arc<Listener<Door>>>>>,
}

impl Source for Scrape {
    fn samples(&self, out: &mut Samples) {
        let state = self.state.load_full();
        admission(&state, out);
        plugins(&state, out);
        logins(&state.tenants, out);
        for upstream in state.upstreams.values() {
            exporting(upstream, out);
        }
        for listener in self.listeners.lock().iter() {
            listening(listener, out);
        }
        certificates(&self.config.load(), out);
    }
}

fn admission(state: &State, out: &mut Samples) {
    out.put(Metric::InFlightRequests, &[], state.all.in_flight() as f64);
    out.put(Metric::InFlightBytes, &[], state.all.in_flight_bytes() as f64);
    denials(Scope::All, [&state.all].into_iter(), out);
    denials(Scope::Tenant, state.by_name.values().map(|tenant| &tenant.gate), out);
    denials(Scope::Upstream, state.upstreams.values().map(|upstream| &upstream.gate), out);
    for (name, tenant) in &state.by_name {
        let labels = [("tenant", &**name)];
        out.put(Metric::TenantInFlightRequests, &labels, tenant.gate.in_flight() as f64);
        out.put(Metric::TenantInFlightBytes, &labels, tenant.gate.in_flight_bytes() as f64);
    }
    for (name, upstream) in &state.upstreams {
        let labels = [("upstream", &**name)];
        out.put(Metric::UpstreamInFlightRequests, &labels, upstream.gate.in_flight() as f64);
        out.put(Metric::UpstreamInFlightBytes, &labels, upstream.gate.in_flight_bytes() as f64);
    }
}

fn plugins(state: &State, out: &mut Samples) {
    for (name, tenant) in state.by_name.iter().filter(|(_, tenant)| !tenant.config.plugins.is_empty()) {
        let is_missing = u8::from(!tenant.is_served());
        out.put(Metric::PluginsUnavailable, &[("tenant", &**name)], f64::from(is_missing));
    }
}

fn denials<'g>(scope: Scope, gates: impl Iterator<Item = &'g Arc<Gate>> + Clone, out: &mut Samples) {
    for limit in Limit::ALL {
        let sum: u64 = gates.clone().map(|gate| gate.denials(limit)).sum();
        out.put(Metric::AdmissionDenials, &[("scope", scope.name()), ("limit", limit.name())], sum as f64);
    }
}

fn logins(tenants: &Tenants, out: &mut Samples) {
    let counters = tenants.counters();
    let from_cache: u64 = tenants.credentials().map(|known| known.logins()).sum();
    let by_hash = counters.verified_by_hash.load(Relaxed);
    let results = [
        ("known", from_cache.saturating_sub(by_hash)),
        ("verified_by_hash", by_hash),
        ("missing", counters.missing.load(Relaxed)),
        ("malformed", counters.malformed.load(Relaxed)),
        ("unknown_user", counters.unknown_user.load(Relaxed)),
        ("wrong_password", counters.wrong_password.load(Relaxed)),
        ("unknown_token", counters.unknown_token.load(Relaxed)),
        ("expired", counters.expired.load(Relaxed)),
        ("wrong_door", counters.wrong_door.load(Relaxed)),
        ("limited_by_address_and_user", counters.limited_by_address_and_user.load(Relaxed)),
        ("limited_by_address", counters.limited_by_address.load(Relaxed)),
        ("limited_by_full_table", counters.limited_by_full_table.load(Relaxed)),
        ("busy", counters.busy.load(Relaxed)),
        ("coalesced", counters.coalesced.load(Relaxed)),
    ];
    for (result, count) in results {
        out.put(Metric::Logins, &[("result", result)], count as f64);
    }
    out.put(Metric::LoginHashes, &[], counters.hashes.load(Relaxed) as f64);
    out.put(Metric::LoginHashesWaiting, &[], tenants.hashes_waiting() as f64);
    out.put(Metric::TableEntries, &[("table", "login_failures")], tenants.failure_entries() as f64);
    for known in tenants.credentials() {
        let labels = [("tenant", &*known.tenant), ("credential", &*known.name)];
        if let Some(last_used) = known.last_used() {
            out.put(Metric::CredentialLastUsed, &labels, seconds(last_used));
        }
        if let Some(expires) = known.expires {
            out.put(Metric::CredentialExpiry, &labels, seconds(expires));
        }
    }
}

fn listening(listener: &Listener<Door>, out: &mut Samples) {
    let name = listener.config().name;
    let labels = [("listener", &*name)];
    let counters = &listener.counters;
    out.put(Metric::Connections, &labels, counters.open.load(Relaxed) as f64);
    out.put(Metric::ConnectionsAccepted, &labels, counters.accepted.load(Relaxed) as f64);
    out.put(Metric::AcceptErrors, &labels, counters.accept_errors.load(Relaxed) as f64);
    out.put(Metric::TlsHandshakesFailed, &labels, counters.failed_handshakes.load(Relaxed) as f64);
    out.put(Metric::ListenersSaturated, &labels, counters.saturated.load(Relaxed) as f64);
    out.put(Metric::BadHeads, &labels, counters.bad_heads.load(Relaxed) as f64);
    out.put(Metric::ConnectionsTimedOut, &labels, counters.timed_out.load(Relaxed) as f64);
    let labels = [("listener", &*name), ("reason", "client")];
    out.put(Metric::ConnectionsRefused, &labels, counters.refused_client.load(Relaxed) as f64);
}

fn exporting(upstream: &Upstream, out: &mut Samples) {
    let counters = &upstream.exporter.counters;
    let labels = [("upstream", upstream.name())];
    out.put(Metric::UpstreamConnections, &labels, counters.open.load(Relaxed) as f64);
    for (result, count) in [("success", &counters.connects), ("failure", &counters.connect_failures)] {
        let labels = [("upstream", upstream.name()), ("result", result)];
        out.put(Metric::UpstreamConnects, &labels, count.load(Relaxed) as f64);
    }
}

fn certificates(config: &Config, out: &mut Samples) {
    let listeners = config
        .listeners
        .iter()
        .filter_map(|(listener, _)| Some(("listener", &listener.name, &listener.tls.as_ref()?.identity)));
    let upstreams = config.upstreams.iter().filter_map(|(upstream, _)| {
        Some(("upstream", &upstream.name, upstream.tls.as_ref()?.identity.as_ref()?))
    });
    for (owner, name, identity) in listeners.chain(upstreams) {
        out.put(Metric::CertificateExpiry, &[("owner", owner), ("name", name)], seconds(identity.not_after));
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
