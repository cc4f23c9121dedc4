//! The wire document's index against prost: whatever prost decodes is indexed, with at least its
//! records; whatever is indexed lies inside its parent and leaves as it came.
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
use tollgate_document::{Document, Signal, document::Entry};

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
        let document = document.as_ref().expect("what prost decodes is indexed");
        // Where a oneof is set twice, prost forgets the first.
        assert!(document.records() as usize >= records);
    }
    let Ok(document) = document else { return };
    assert_eq!(document.bytes().to_bytes(), *bytes);
    let index = document.index();
    assert_eq!(index.records.len() as u64, document.records());
    let whole = 0..bytes.len();
    assert!(index.resources.iter().all(|entry| within(entry, &whole)));
    let inside = |entries: &[Entry], parents: &[Entry]| {
        assert!(entries.iter().all(|entry| within(entry, &parents[entry.parent as usize].range())));
    };
    inside(&index.scopes, &index.resources);
    if signal == Signal::Metrics {
        inside(&index.metrics, &index.scopes);
        inside(&index.records, &index.metrics);
    } else {
        inside(&index.records, &index.scopes);
    }
}

fn within(entry: &Entry, outer: &std::ops::Range<usize>) -> bool {
    let range = entry.range();
    outer.start <= range.start && range.start <= range.end && range.end <= outer.end
}

fn data_points(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}
