//! What one scrape gathers, and how it is written.

use super::{
    cells::{BOUNDS_MICROS, Histogram},
    table::{Kind, Metric},
};
use prometheus::{Encoder, TextEncoder, proto};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

/// Somebody who keeps numbers of its own and is asked for them at a scrape.
pub trait Source: Send + Sync {
    /// Puts every number into `out`. Called from a thread that may block, briefly: the
    /// scraper waits.
    fn samples(&self, out: &mut Samples);
}

/// The samples of one scrape.
#[derive(Default)]
pub struct Samples(BTreeMap<Metric, BTreeMap<Vec<String>, Value>>);

enum Value {
    Number(f64),
    Histogram(Histogram),
}

impl Samples {
    /// A counter's or gauge's value. Values of the same series are added up: those, say, that the
    /// old and the new configuration hold while requests of both are under way. So a time is put once.
    ///
    /// The labels are the table's, in its order. In a debug build anything else panics; in a
    /// release build it is left out, since one wrong line would cost the operator the scrape.
    pub fn put(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        if !fits(metric, labels, &[Kind::Counter, Kind::Gauge]) {
            return;
        }
        match self.series(metric, labels).or_insert(Value::Number(0.0)) {
            Value::Number(sum) => *sum += value,
            Value::Histogram(_) => {} // no metric has both
        }
    }

    /// A histogram's state.
    pub(super) fn histogram(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: Histogram) {
        if fits(metric, labels, &[Kind::Histogram]) {
            self.series(metric, labels).or_insert(Value::Histogram(value));
        }
    }

    fn series(
        &mut self,
        metric: Metric,
        labels: &[(&'static str, &str)],
    ) -> std::collections::btree_map::Entry<'_, Vec<String>, Value> {
        let values = labels.iter().map(|(_, value)| (*value).to_owned()).collect();
        self.0.entry(metric).or_default().entry(values)
    }

    /// In the text exposition format, in the table's order.
    pub(super) fn render(self) -> String {
        let families: Vec<_> = self.0.into_iter().map(|(metric, series)| family(metric, series)).collect();
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics could not be written completely");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Whether the table has this metric with these labels and as one of these kinds.
fn fits(metric: Metric, labels: &[(&'static str, &str)], kinds: &[Kind]) -> bool {
    let family = metric.family();
    let fits = kinds.contains(&family.kind) && labels.iter().map(|(name, _)| name).eq(family.labels);
    debug_assert!(fits, "{}: {labels:?} or its kind is not the table's", family.name);
    fits
}

fn family(metric: Metric, series: BTreeMap<Vec<String>, Value>) -> proto::MetricFamily {
    let known = metric.family();
    let mut family = proto::MetricFamily::default();
    family.set_name(known.name.to_owned());
    family.set_help(known.help.to_owned());
    family.set_field_type(match known.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    family.set_metric(series.into_iter().map(|(values, value)| sample(metric, values, value)).collect());
    family
}

fn sample(metric: Metric, label_values: Vec<String>, value: Value) -> proto::Metric {
    let known = metric.family();
    let mut sample = proto::Metric::default();
    sample.set_label(known.labels.iter().zip(label_values).map(|(name, value)| label(name, value)).collect());
    match value {
        Value::Histogram(histogram) => sample.set_histogram(cumulative(&histogram)),
        Value::Number(value) if known.kind == Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
        Value::Number(value) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
    }
    sample
}

fn label(name: &str, value: String) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}

fn cumulative(histogram: &Histogram) -> proto::Histogram {
    let mut count = 0;
    let counts = histogram.buckets.each_ref().map(|bucket| {
        count += bucket.load(Relaxed);
        count
    });
    let mut written = proto::Histogram::default();
    written.set_bucket(
        BOUNDS_MICROS
            .iter()
            .zip(counts)
            .map(|(bound, count)| {
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound as f64 / 1e6);
                bucket.set_cumulative_count(count);
                bucket
            })
            .collect(),
    );
    written.set_sample_count(count);
    written.set_sample_sum(histogram.sum_micros.load(Relaxed) as f64 / 1e6);
    written
}
