//! Every metric: counted without contention, read at a scrape.
//!
//! What a request counts goes to handles that were resolved when the configuration was built
//! ([`TenantMetrics`], [`UpstreamMetrics`], [`PluginMetrics`]), into the cells of its own thread.
//! What other rooms keep for themselves they are asked for at a scrape ([`Source`]). Both meet in
//! [`Samples`], which knows only the metrics of the table ([`Metric`]).
//!
//! Of the `prometheus` crate the exposition format is used, not its counters: those are one atomic
//! each for all threads, and a request that counts some thirty of them would have most of these
//! cache lines fetched from another core.
//!
//! The series of a tenant, plugin or upstream that a reload removes are shown once more, so that
//! nothing they counted is lost, and are then gone. Label values come from the configuration or
//! from small sets in the code, never from a sender.

mod cells;
mod process;
mod sample;
mod table;
#[cfg(test)]
mod tests;

pub use sample::{Samples, Source};
pub use table::{Kind, Metric};

use super::{
    Outcome,
    access::{Access, Refused, Steps, micros},
    log,
};
use crate::otlp::{Leniencies, Leniency, Signal};
use cells::{Histogram, Sharded, Tally};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// All metrics of the process.
#[derive(Default)]
pub struct Metrics {
    strangers: TenantMetrics,
    tenants: Named<TenantSeries>,
    upstreams: Named<UpstreamSeries>,
    /// By tenant, then by plugin.
    plugins: Named<Named<PluginSeries>>,
    steps: Sharded<StepCells>,
    refusals: Tally<Refused>,
    reloads: Reloads,
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

impl Metrics {
    /// At zero. The configuration counts as loaded now.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handles of a tenant. Counts go on where a handle of this name is still in use.
    pub fn tenant(&self, tenant: &str) -> TenantMetrics {
        TenantMetrics(self.tenants.series(tenant))
    }

    /// The handles for requests of which no tenant is known: shown with `tenant=""`.
    pub fn strangers(&self) -> &TenantMetrics {
        &self.strangers
    }

    /// The handles of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics(self.upstreams.series(upstream))
    }

    /// The handles of a tenant's plugin.
    pub fn plugin(&self, plugin: &str, tenant: &str) -> PluginMetrics {
        let of_tenant = self.plugins.series(tenant);
        PluginMetrics { series: of_tenant.series(plugin), _of_tenant: of_tenant }
    }

    /// Counts a request that has ended, with its bytes, times and refusal; `signal` is its tenant's
    /// handle, or that of [`Metrics::strangers`]. Its records are counted apart
    /// ([`SignalMetrics::records_in`]).
    pub fn ended(&self, signal: SignalMetrics<'_>, access: &Access<'_>) {
        let cells = signal.here();
        add(&cells.requests[access.outcome as usize], 1);
        add(&cells.bytes, access.bytes);
        add(&cells.bytes_inflated, access.bytes_inflated);
        cells.seconds.observe(micros(access.steps.total));
        self.steps.here().observe(&access.steps);
        if let Some(refused) = access.refusal {
            self.refusals.add(refused);
        }
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, success: bool) {
        if success {
            self.reloads.last_success_millis.store(now_millis(), Relaxed);
        }
        add(if success { &self.reloads.success } else { &self.reloads.failure }, 1);
    }

    /// Has `source` asked at every scrape from now on.
    pub fn attach(&self, source: Arc<dyn Source>) {
        self.sources.lock().push(source);
    }

    /// Everything, in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let mut samples = Samples::default();
        self.collect(&mut samples);
        let sources = self.sources.lock().clone();
        for source in sources {
            source.samples(&mut samples);
        }
        samples.render()
    }

    /// What this room keeps.
    fn collect(&self, out: &mut Samples) {
        self.strangers.0.collect("", out);
        self.tenants.collect(out, |name, series, out| series.collect(name, out));
        self.upstreams.collect(out, |name, series, out| series.collect(name, out));
        self.plugins.collect(out, |tenant, plugins, out| {
            plugins.collect(out, |plugin, series, out| series.collect(plugin, tenant, out));
        });
        for step in Step::ALL {
            let seconds =
                self.steps.fold(Histogram::default(), |sum, cells| sum.plus(&cells.0[step as usize]));
            out.histogram(Metric::StepSeconds, &[("step", step.name())], seconds);
        }
        for (refused, count) in self.refusals.counts() {
            out.put(Metric::Refusals, &[("room", refused.by), ("reason", refused.reason)], count as f64);
        }
        self.reloads.collect(out);
        out.put(Metric::LogLinesDropped, &[], log::lines_dropped() as f64);
        out.put(Metric::BuildInfo, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        process::collect(out);
    }
}

/// Handles of one tenant. Cheap to clone; a request borrows it. The default is no metric's: it counts
/// for nobody.
#[derive(Clone, Default)]
pub struct TenantMetrics(Arc<TenantSeries>);

impl TenantMetrics {
    /// The handles of one signal; of none, for requests that asked for no signal.
    pub fn signal(&self, signal: impl Into<Option<Signal>>) -> SignalMetrics<'_> {
        SignalMetrics { series: &self.0, slot: signal.into().map_or(NO_SIGNAL, |signal| signal as usize) }
    }

    /// Counts what was taken although the specification does not allow a sender to write it.
    pub fn lenient(&self, leniencies: &Leniencies) {
        for (leniency, count) in leniencies.iter() {
            add(&self.0.leniencies[leniency as usize], count);
        }
    }

    /// Counts a request whose body was lost on its way through a tunnel.
    pub fn body_lost(&self) {
        add(&self.0.body_lost, 1);
    }
}

/// Handles of one tenant and signal.
#[derive(Clone, Copy)]
pub struct SignalMetrics<'a> {
    series: &'a TenantSeries,
    slot: usize,
}

impl<'a> SignalMetrics<'a> {
    /// Counts the records of a batch that came in. What became of them is said to what is returned.
    pub fn records_in(self, records: u64) -> Records<'a> {
        add(&self.here().records_in, records);
        Records { signal: self, unsettled: records }
    }

    fn here(&self) -> &'a SignalCells {
        &self.series.signals.here()[self.slot]
    }
}

/// Records that came in and of which nobody has said yet what became of them. Those for which
/// nobody ever does have failed: that is what dropping it counts, so that every record that came
/// in is accounted for once its request is over.
#[must_use = "records count as failed unless they are settled"]
pub struct Records<'a> {
    signal: SignalMetrics<'a>,
    unsettled: u64,
}

impl Records<'_> {
    /// Upstreams took them, all but those that they `rejected` and those that plugins `discarded`.
    pub fn delivered(mut self, rejected: u64, discarded: u64) {
        self.settle(RecordState::Refused, rejected);
        self.settle(RecordState::Discarded, discarded);
        self.settle(RecordState::Delivered, u64::MAX);
    }

    /// They were refused for good, here or by the upstream.
    pub fn refused(mut self) {
        self.settle(RecordState::Refused, u64::MAX);
    }

    /// They could not be delivered; the sender may try again.
    pub fn failed(self) {}

    /// Counts `records` of them, or as many as are left.
    fn settle(&mut self, state: RecordState, records: u64) {
        let settled = records.min(self.unsettled);
        if settled == 0 {
            return;
        }
        self.unsettled -= settled;
        // Released, so that a scrape which sees it sees them come in too.
        self.signal.here().records_settled[state as usize].fetch_add(settled, Release);
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        self.settle(RecordState::Failed, u64::MAX);
    }
}

/// What became of a record.
#[derive(Clone, Copy)]
enum RecordState {
    Delivered,
    Discarded,
    Refused,
    Failed,
}

impl RecordState {
    const ALL: [(RecordState, &str); 4] = [
        (RecordState::Delivered, "delivered"),
        (RecordState::Discarded, "discarded"),
        (RecordState::Refused, "refused"),
        (RecordState::Failed, "failed"),
    ];
}

/// The slot after the signals': requests that asked for none.
const NO_SIGNAL: usize = Signal::ALL.len();

#[derive(Default)]
struct TenantSeries {
    signals: Sharded<[SignalCells; NO_SIGNAL + 1]>,
    body_lost: AtomicU64,
    leniencies: [AtomicU64; Leniency::ALL.len()],
}

#[derive(Default)]
struct SignalCells {
    requests: [AtomicU64; Outcome::ALL.len()],
    bytes: AtomicU64,
    bytes_inflated: AtomicU64,
    records_in: AtomicU64,
    records_settled: [AtomicU64; RecordState::ALL.len()],
    seconds: Histogram,
}

impl TenantSeries {
    fn collect(&self, tenant: &str, out: &mut Samples) {
        for slot in 0..=NO_SIGNAL {
            let signal = Signal::ALL.get(slot).map_or("", |signal| signal.name());
            self.collect_signal(slot, &[("tenant", tenant), ("signal", signal)], out);
        }
        out.put(Metric::BodyLost, &[("tenant", tenant)], self.body_lost.load(Relaxed) as f64);
        for leniency in Leniency::ALL {
            let count = self.leniencies[leniency as usize].load(Relaxed);
            if count > 0 {
                let labels = [("tenant", tenant), ("kind", leniency.name())];
                out.put(Metric::JsonLeniencies, &labels, count as f64);
            }
        }
    }

    /// A signal that was never sent has no series: with a thousand tenants and four signals most
    /// would stay at zero for ever.
    fn collect_signal(&self, slot: usize, labels: &[(&'static str, &str); 2], out: &mut Samples) {
        let sum = |cell: &dyn Fn(&SignalCells) -> u64| {
            self.signals.fold(0, |sum, shard| sum + cell(&shard[slot])) as f64
        };
        // Before those that came in, so that no scrape sees more records leave than come.
        let settled = RecordState::ALL
            .map(|(state, name)| (name, sum(&|cells| cells.records_settled[state as usize].load(Acquire))));
        let records_in = sum(&|cells| cells.records_in.load(Relaxed));
        let requests = Outcome::ALL
            .map(|outcome| (outcome, sum(&|cells| cells.requests[outcome as usize].load(Relaxed))));
        if records_in == 0.0 && requests.iter().all(|(_, count)| *count == 0.0) {
            return;
        }
        let [tenant, signal] = *labels;
        for (outcome, count) in requests {
            out.put(Metric::Requests, &[tenant, signal, ("outcome", outcome.name())], count);
        }
        out.put(Metric::RequestBytes, labels, sum(&|cells| cells.bytes.load(Relaxed)));
        out.put(Metric::RequestBytesInflated, labels, sum(&|cells| cells.bytes_inflated.load(Relaxed)));
        for (state, count) in [("in", records_in)].into_iter().chain(settled) {
            out.put(Metric::Records, &[tenant, signal, ("state", state)], count);
        }
        let seconds = self.signals.fold(Histogram::default(), |sum, shard| sum.plus(&shard[slot].seconds));
        out.histogram(Metric::RequestSeconds, labels, seconds);
    }
}

/// Handles of one upstream. The default is no metric's: it counts for nobody.
#[derive(Clone, Default)]
pub struct UpstreamMetrics(Arc<UpstreamSeries>);

impl UpstreamMetrics {
    /// Counts a request to it: how it ended, in a word of the code's, and how long it took.
    pub fn ended(&self, outcome: &'static str, took: Duration) {
        self.0.requests.add(outcome);
        self.0.seconds.here().observe(micros(took));
    }
}

#[derive(Default)]
struct UpstreamSeries {
    requests: Tally<&'static str>,
    seconds: Sharded<Histogram>,
}

impl UpstreamSeries {
    fn collect(&self, name: &str, out: &mut Samples) {
        let upstream = ("upstream", name);
        for (outcome, count) in self.requests.counts() {
            out.put(Metric::UpstreamRequests, &[upstream, ("outcome", outcome)], count as f64);
        }
        out.histogram(
            Metric::UpstreamSeconds,
            &[upstream],
            self.seconds.fold(Histogram::default(), Histogram::plus),
        );
    }
}

/// Handles of a tenant's plugin. The default is no metric's: it counts for nobody.
#[derive(Clone, Default)]
pub struct PluginMetrics {
    series: Arc<PluginSeries>,
    /// A tenant's plugins are shown while one of them has a handle.
    _of_tenant: Arc<Named<PluginSeries>>,
}

impl PluginMetrics {
    /// The counters of its own, by name.
    pub fn counters(&self) -> Vec<(String, u64)> {
        self.series.counters.lock().iter().map(|(name, count)| (name.to_string(), *count)).collect()
    }

    /// Counts a call: how it ended, in a word of the code's, and how long it took.
    pub fn called(&self, outcome: &'static str, took: Duration) {
        self.series.calls.add(outcome);
        self.series.seconds.here().observe(micros(took));
    }

    /// Counts a call that was refused, since too many waited.
    pub fn was_busy(&self) {
        self.series.calls.add("busy");
    }

    /// A call waits for a thread, until what this gives is dropped.
    pub fn wait(&self) -> WaitingCall {
        self.series.waiting.fetch_add(1, Relaxed);
        WaitingCall(self.series.clone())
    }

    /// Counts a failure of a kind that the code names.
    pub fn failed(&self, kind: &'static str) {
        self.series.failures.add(kind);
    }

    /// Counts the records of a batch that it worked on, by what it did to them.
    pub fn records(&self, changed: u64, discarded: u64, routed: u64) {
        let cells = self.series.records.here();
        for (cell, count) in cells.iter().zip([changed, discarded, routed]) {
            add(cell, count);
        }
    }

    /// Counts lines of its log that were left out.
    pub fn log_lines_dropped(&self, lines: u64) {
        if lines > 0 {
            add(&self.series.log_lines_dropped, lines);
        }
    }

    /// Instances that were made, or are gone.
    pub fn instances_made(&self, count: i64) {
        self.series.instances.fetch_add(count, Relaxed);
    }

    /// The memory of an instance, in bytes, before and now.
    pub fn memory_changed(&self, before: u64, now: u64) {
        if before != now {
            // Below zero only for a moment, while two threads count.
            self.series.memory_bytes.fetch_add(now.wrapping_sub(before), Relaxed);
        }
    }

    /// Counts what it counted and was left out.
    pub fn counts_dropped(&self, counts: u64) {
        if counts > 0 {
            add(&self.series.counts_dropped, counts);
        }
    }

    /// Adds to a counter of its own; one beyond `counters_max` is left out, and that is counted.
    pub fn count(&self, counter: &str, amount: u64, counters_max: usize) {
        let mut counters = self.series.counters.lock();
        if let Some(count) = counters.get_mut(counter) {
            *count = count.saturating_add(amount);
        } else if counters.len() < counters_max {
            counters.insert(counter.into(), amount);
        } else {
            self.counts_dropped(1);
        }
    }
}

/// A call of a plugin that waits for a thread.
pub struct WaitingCall(Arc<PluginSeries>);

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
struct PluginSeries {
    calls: Tally<&'static str>,
    waiting: AtomicU64,
    failures: Tally<&'static str>,
    seconds: Sharded<Histogram>,
    records: Sharded<[AtomicU64; 3]>,
    log_lines_dropped: AtomicU64,
    instances: AtomicI64,
    memory_bytes: AtomicU64,
    counters: Mutex<BTreeMap<Box<str>, u64>>,
    counts_dropped: AtomicU64,
}

impl PluginSeries {
    fn collect(&self, plugin: &str, tenant: &str, out: &mut Samples) {
        let labels = [("plugin", plugin), ("tenant", tenant)];
        let [plugin, tenant] = labels;
        for (outcome, count) in self.calls.counts() {
            out.put(Metric::PluginCalls, &[plugin, tenant, ("outcome", outcome)], count as f64);
        }
        out.put(Metric::PluginCallsWaiting, &labels, self.waiting.load(Relaxed) as f64);
        for (kind, count) in self.failures.counts() {
            out.put(Metric::PluginFailures, &[plugin, tenant, ("kind", kind)], count as f64);
        }
        let seconds = self.seconds.fold(Histogram::default(), Histogram::plus);
        out.histogram(Metric::PluginSeconds, &labels, seconds);
        for (place, effect) in ["changed", "discarded", "routed"].into_iter().enumerate() {
            let count = self.records.fold(0, |sum, cells| sum + cells[place].load(Relaxed));
            out.put(Metric::PluginRecords, &[plugin, tenant, ("effect", effect)], count as f64);
        }
        let dropped = self.log_lines_dropped.load(Relaxed);
        out.put(Metric::PluginLogLinesDropped, &labels, dropped as f64);
        out.put(Metric::PluginInstances, &labels, self.instances.load(Relaxed) as f64);
        out.put(Metric::PluginMemory, &labels, self.memory_bytes.load(Relaxed) as f64);
        for (counter, count) in &*self.counters.lock() {
            out.put(Metric::PluginCounter, &[plugin, tenant, ("counter", counter)], *count as f64);
        }
        out.put(Metric::PluginCountsDropped, &labels, self.counts_dropped.load(Relaxed) as f64);
    }
}

/// The steps of a request that are timed.
#[derive(Clone, Copy)]
enum Step {
    Auth,
    Read,
    Decode,
    Transform,
    Export,
}

impl Step {
    const ALL: [Step; 5] = [Step::Auth, Step::Read, Step::Decode, Step::Transform, Step::Export];

    fn name(self) -> &'static str {
        match self {
            Step::Auth => "auth",
            Step::Read => "read",
            Step::Decode => "decode",
            Step::Transform => "transform",
            Step::Export => "export",
        }
    }
}

#[derive(Default)]
struct StepCells([Histogram; Step::ALL.len()]);

impl StepCells {
    fn observe(&self, steps: &Steps) {
        for step in Step::ALL {
            let took = match step {
                Step::Auth => steps.auth,
                Step::Read => steps.read,
                Step::Decode => steps.decode,
                Step::Transform => steps.transform,
                Step::Export => steps.export,
            };
            if let Some(took) = took {
                self.0[step as usize].observe(micros(took));
            }
        }
    }
}

/// How reloads went.
struct Reloads {
    success: AtomicU64,
    failure: AtomicU64,
    last_success_millis: AtomicU64,
}

impl Default for Reloads {
    fn default() -> Self {
        let last_success_millis = AtomicU64::new(now_millis());
        Self { success: AtomicU64::new(0), failure: AtomicU64::new(0), last_success_millis }
    }
}

impl Reloads {
    fn collect(&self, out: &mut Samples) {
        for (result, count) in [("success", &self.success), ("failure", &self.failure)] {
            out.put(Metric::ConfigReloads, &[("result", result)], count.load(Relaxed) as f64);
        }
        let last_success = self.last_success_millis.load(Relaxed) as f64 / 1000.0;
        out.put(Metric::ConfigLastReloadSuccess, &[], last_success);
    }
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn add(cell: &AtomicU64, count: u64) {
    cell.fetch_add(count, Relaxed);
}

/// Series by the name that the configuration gives them.
struct Named<T>(Mutex<BTreeMap<Box<str>, Arc<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Named<T> {
    fn series(&self, name: &str) -> Arc<T> {
        Arc::clone(self.0.lock().entry(name.into()).or_default())
    }

    /// Shows all, and forgets those of which nobody has a handle any more: they cannot change.
    fn collect(&self, out: &mut Samples, show: impl Fn(&str, &T, &mut Samples)) {
        self.0.lock().retain(|name, series| {
            // Before they are shown: who lets go of a handle meanwhile may just have counted.
            let used = Arc::strong_count(series) > 1;
            show(name, series, out);
            used
        });
    }
}
