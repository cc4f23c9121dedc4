//! The wire document against prost: whatever prost decodes is taken, with at least its records; whatever is
//! taken has all its rows in a batch, each in one above it, and leaves as it came.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    metrics::v1::metric::Data,
};
use prost::Message;
use tollgate_document::{Batch, Document, Signal, batch::Level};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let logs = ExportLogsServiceRequest::decode(data).ok().map(|request| {
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        scopes.map(|scope| scope.log_records.len()).sum()
    });
    check(Signal::Logs, &bytes, logs);
    let spans = ExportTraceServiceRequest::decode(data).ok().map(|request| {
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    });
    check(Signal::Traces, &bytes, spans);
    let points = ExportMetricsServiceRequest::decode(data).ok().map(|request| {
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics).filter_map(|metric| metric.data);
        metrics.map(|data| data_points(&data)).sum()
    });
    check(Signal::Metrics, &bytes, points);
});

fn check(signal: Signal, bytes: &Bytes, decoded: Option<usize>) {
    let document = Document::parse(signal, bytes.clone());
    if let Some(records) = decoded {
        let document = document.as_ref().expect("what prost decodes is taken");
        // Where a oneof is set twice, prost forgets the first.
        assert!(document.records() as usize >= records);
    }
    let Ok(document) = document else { return };
    assert_eq!(document.bytes().to_bytes(), *bytes);
    let records = document.records();
    let mut batch = Batch::new(document);
    assert_eq!(batch.records(), records);
    let mut count = |level| batch.count(level).expect("rows down to the records need no reading");
    let counts = LEVELS.map(&mut count);
    assert_eq!(u64::from(counts[3]), records);
    let above = match signal {
        Signal::Metrics => [None, Some(0), Some(1), Some(2)],
        _ => [None, Some(0), None, Some(1)],
    };
    for (level, above) in LEVELS.into_iter().zip(above) {
        let parents = batch.parents(level).expect("rows down to the records need no reading");
        let in_order = parents.is_sorted();
        assert!(in_order && above.is_none_or(|above| parents.iter().all(|&parent| parent < counts[above])));
    }
    assert_eq!(batch.message().to_bytes(), *bytes);
}

/// Down to the records.
const LEVELS: [Level; 4] = [Level::Resource, Level::Scope, Level::Metric, Level::Record];

fn data_points(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}
