use super::*;
use crate::wire::GROUP_DEPTH_MAX;
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

/// A field of a message: its number, wire type 2, and its content.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | WIRE_LEN);
    out.extend(varint(content.len() as u64));
    out.extend_from_slice(content);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn parse(signal: Signal, bytes: impl Into<Bytes>) -> Result<Document, Malformed> {
    Document::parse(signal, bytes.into())
}

/// Where the parts of a batch are, level by level.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    resources: Vec<Entry>,
    scopes: Vec<Entry>,
    metrics: Vec<Entry>,
    records: Vec<Entry>,
}

fn parts(document: &Document) -> Parts {
    let mut parts = Parts::default();
    document.walk(&mut |level, entry, _| {
        let entries = match level {
            Level::Resource => &mut parts.resources,
            Level::Scope => &mut parts.scopes,
            Level::Metric => &mut parts.metrics,
            Level::Record => &mut parts.records,
        };
        entries.push(entry);
        entries.len() as u32 - 1
    });
    let Parts { resources, scopes, metrics, records } = &parts;
    let found = [resources, scopes, metrics, records].map(Vec::len);
    assert_eq!(Level::ALL.map(|level| document.count(level)), found, "what was counted is what is there");
    parts
}

/// The content of each entry, with its parent's row.
fn contents<'d>(bytes: &'d Bytes, entries: &[Entry]) -> Vec<(u32, &'d [u8])> {
    entries.iter().map(|entry| (entry.parent, &bytes[entry.range()])).collect()
}

#[test]
fn a_walk_finds_where_everything_is() {
    let scope = |records: &[&[u8]]| records.iter().flat_map(|record| field(2, record)).collect::<Vec<u8>>();
    let scopes = [scope(&[b"\x08\x01", b""]), scope(&[]), scope(&[b"\x08\x02"])];
    let resources = [
        [field(1, b""), field(2, &scopes[0]), field(2, &scopes[1])].concat(),
        [field(2, &scopes[2]), field(3, b"schema")].concat(),
    ];
    let batch: Vec<u8> = resources.iter().flat_map(|resource| field(1, resource)).collect();
    for signal in [Signal::Logs, Signal::Traces] {
        let document = parse(signal, batch.clone()).unwrap();
        let parts = parts(&document);
        assert_eq!(
            contents(&document.bytes().to_bytes(), &parts.resources),
            [(0, &resources[0][..]), (0, &resources[1])]
        );
        let expected = [(0, &scopes[0][..]), (0, &scopes[1]), (1, &scopes[2])];
        assert_eq!(contents(&document.bytes().to_bytes(), &parts.scopes), expected);
        assert_eq!(
            contents(&document.bytes().to_bytes(), &parts.records),
            [(0, &b"\x08\x01"[..]), (0, b""), (2, b"\x08\x02")]
        );
        assert!(parts.metrics.is_empty());
        assert_eq!((document.records(), document.signal()), (3, signal));
        assert_eq!(document.bytes().to_bytes(), batch);
    }
}

#[test]
fn the_records_of_metrics_are_their_data_points() {
    let point = |text: &str| field(1, text.as_bytes());
    let metrics = [
        [field(1, b"name"), field(5, &[point("a"), point("b")].concat())].concat(),
        field(7, &[point("c"), b"\x10\x02".to_vec()].concat()),
        field(1, b"no data"),
        field(9, &point("d")),
        field(10, &point("e")),
        field(11, &point("f")),
        field(6, &point("a number that no metric has")),
    ];
    let scope: Vec<u8> = metrics.iter().flat_map(|metric| field(2, metric)).collect();
    let document = parse(Signal::Metrics, field(1, &field(2, &scope))).unwrap();
    let parts = parts(&document);
    let bytes = document.bytes().to_bytes();
    let contents_of_metrics: Vec<&[u8]> =
        contents(&bytes, &parts.metrics).into_iter().map(|(_, content)| content).collect();
    assert_eq!(contents_of_metrics, metrics.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let points = contents(&bytes, &parts.records);
    let expected: [(u32, &[u8]); 6] = [(0, b"a"), (0, b"b"), (1, b"c"), (3, b"d"), (4, b"e"), (5, b"f")];
    assert_eq!(points, expected);
}

#[test]
fn nothing_is_a_batch_of_nothing() {
    let document = parse(Signal::Logs, "").unwrap();
    assert_eq!((document.records(), parts(&document)), (0, Parts::default()));
}

#[test]
fn tags_and_lengths_of_many_bytes_are_read() {
    let record = vec![b'x'; 300];
    let batch = field(1, &[field(536_870_911, b"the last field"), field(2, &field(2, &record))].concat());
    assert_eq!(parse(Signal::Logs, batch).unwrap().records(), 1);
    // The same numbers, written longer than they need be.
    let longer = [0x8a, 0x80, 0x80, 0x00, 0x84, 0x80, 0x00, 0x92, 0x00, 0x81, 0x00, 0x00];
    let document = parse(Signal::Logs, longer.to_vec());
    assert!(document.is_err(), "a length of 1 holds no two bytes of tag");
    let longer = [0x8a, 0x80, 0x00, 0x85, 0x80, 0x00, 0x92, 0x00, 0x82, 0x00, 0x12, 0x00].to_vec();
    assert!(parse(Signal::Logs, longer).is_err(), "a scope beyond its resource");
    let longer = [0x8a, 0x80, 0x00, 0x86, 0x80, 0x00, 0x92, 0x00, 0x82, 0x00, 0x12, 0x00].to_vec();
    assert_eq!(parse(Signal::Logs, longer).unwrap().records(), 1);
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let unknown = [
        &[0x78, 0x05][..],                                       // a number
        &[0x79, 1, 2, 3, 4, 5, 6, 7, 8],                         // 64 bits
        &[0x7a, 0x02, 0xff, 0xff],                               // bytes
        &[0x7d, 1, 2, 3, 4],                                     // 32 bits
        &[0x7b, 0x7c],                                           // an empty group
        &[0x7b, 0x0a, 0x01, 0xff, 0x83, 0x01, 0x84, 0x01, 0x7c], // a group with bytes and a group
    ]
    .concat();
    let record = [&unknown[..], b"\x08\x01"].concat();
    let scope = [&unknown[..], &field(2, &record), &unknown].concat();
    let resource = [&unknown[..], &field(2, &scope), &unknown].concat();
    let batch = [&unknown[..], &field(1, &resource), &unknown].concat();
    let document = parse(Signal::Logs, batch.clone()).unwrap();
    assert_eq!(contents(&document.bytes().to_bytes(), &parts(&document).records), [(0, &record[..])]);
    assert_eq!(document.bytes().to_bytes(), batch);
}

#[test]
fn what_is_inside_a_record_is_not_looked_at() {
    let garbage = field(1, &field(2, &field(2, b"\xff\xff\xff")));
    assert_eq!(parse(Signal::Logs, garbage.clone()).unwrap().records(), 1);
    assert!(parse(Signal::Metrics, garbage).is_err(), "a metric is looked into, for its points");
    let point = field(1, &field(2, &field(2, &field(5, &field(1, b"\xff\xff\xff")))));
    assert_eq!(parse(Signal::Metrics, point).unwrap().records(), 1);
}

#[test]
fn framing_that_breaks_is_refused_with_its_place() {
    let ten = [0xff; 10];
    let cases: [(&str, Vec<u8>); 17] = [
        ("a field number that cannot be at byte 1", vec![0x00]),
        ("a field number that cannot be at byte 1", vec![0x02, 0x00]),
        ("a field number that cannot be at byte 5", vec![0x80, 0x80, 0x80, 0x80, 0x10, 0x00]),
        ("a message expected, another wire type at byte 1", vec![0x08, 0x01]),
        ("a message expected, another wire type at byte 1", vec![0x0b, 0x0c]),
        ("a length beyond the end at byte 2", vec![0x0a, 0x01]),
        ("a length beyond the end at byte 11", [&[0x0a], &[0xff; 9][..], &[0x01]].concat()),
        ("a number of more than 64 bits at byte 1", [&[0x78], &[0xff; 9][..], &[0x02]].concat()),
        ("a number of more than 64 bits at byte 1", [&[0x78], &ten[..], &[0x01]].concat()),
        ("a number without end at byte 1", vec![0x78, 0x80]),
        ("a number without end at byte 0", vec![0x8a]),
        ("a value beyond the end at byte 1", vec![0x79, 1, 2, 3, 4, 5, 6, 7]),
        ("a value beyond the end at byte 1", vec![0x7d, 1, 2, 3]),
        ("the end of a group that never began at byte 1", vec![0x7c]),
        ("the end of another group at byte 3", vec![0x7b, 0x84, 0x01]),
        ("a wire type that does not exist at byte 1", vec![0x7e]),
        ("a wire type that does not exist at byte 1", vec![0x7f]),
    ];
    for (expected, bytes) in cases {
        let error = parse(Signal::Logs, bytes.clone()).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{bytes:02x?}: {error}");
    }
    let largest = [&[0x78], &[0xff; 9][..], &[0x01]].concat();
    assert!(parse(Signal::Logs, largest).is_ok(), "all of 64 bits");
}

#[test]
fn groups_nest_only_so_deeply() {
    let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    assert!(parse(Signal::Logs, nested(GROUP_DEPTH_MAX)).is_ok());
    assert!(parse(Signal::Logs, nested(GROUP_DEPTH_MAX + 1)).is_err());
    assert!(parse(Signal::Logs, vec![0x7b; 1 << 20]).is_err(), "no stack is used up");
}

/// A value with some of everything in it.
fn example(signal: Signal) -> Vec<u8> {
    let value = |value| AnyValue { value: Some(value) };
    let attributes = vec![KeyValue {
        key: "k".into(),
        value: Some(value(any_value::Value::ArrayValue(ArrayValue {
            values: vec![value(any_value::Value::IntValue(-1)), value(any_value::Value::DoubleValue(0.5))],
        }))),
        ..Default::default()
    }];
    let resource = Some(Resource { attributes: attributes.clone(), ..Default::default() });
    let scope = Some(InstrumentationScope { name: "scope".into(), ..Default::default() });
    match signal {
        Signal::Traces => ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource,
                scope_spans: vec![ScopeSpans {
                    scope,
                    spans: vec![Span {
                        attributes,
                        events: vec![span::Event::default()],
                        ..Default::default()
                    }],
                    schema_url: "u".into(),
                }],
                ..Default::default()
            }],
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource,
                scope_metrics: vec![ScopeMetrics {
                    scope,
                    metrics: vec![Metric {
                        name: "m".into(),
                        data: Some(metric::Data::Sum(Sum {
                            data_points: vec![NumberDataPoint { attributes, ..Default::default() }],
                            is_monotonic: true,
                            ..Default::default()
                        })),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        }
        .encode_to_vec(),
        Signal::Logs | Signal::Profiles => ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource,
                scope_logs: vec![ScopeLogs {
                    scope,
                    log_records: vec![LogRecord { attributes, ..Default::default() }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        }
        .encode_to_vec(),
    }
}

const INDEXED: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

#[test]
fn a_cut_or_a_flipped_bit_anywhere_never_panics() {
    for signal in INDEXED {
        let whole = example(signal);
        assert_eq!(parse(signal, whole.clone()).unwrap().records(), 1, "{signal}");
        for cut in 1..whole.len() {
            // One resource is all there is, so a cut is always inside of it.
            assert!(parse(signal, whole[..cut].to_vec()).is_err(), "{signal} cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = parse(signal, flipped);
        }
    }
}

/// Counts of records in each metric, scope and resource.
type Shape = Vec<Vec<Vec<(u8, usize)>>>;

fn shapes() -> impl Strategy<Value = Shape> {
    vec(vec(vec((0..6_u8, 0..4_usize), 0..4), 0..4), 0..4)
}

fn metric_of(kind: u8, points: usize) -> Metric {
    let data = match kind {
        0 => Some(metric::Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); points] })),
        1 => Some(metric::Data::Sum(Sum {
            data_points: vec![NumberDataPoint { flags: 7, ..Default::default() }; points],
            ..Default::default()
        })),
        2 => Some(metric::Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint::default(); points],
            aggregation_temporality: 2,
        })),
        3 => Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint::default(); points],
            aggregation_temporality: 1,
        })),
        4 => Some(metric::Data::Summary(Summary { data_points: vec![SummaryDataPoint::default(); points] })),
        _ => None,
    };
    Metric { name: "m".into(), data, ..Default::default() }
}

proptest! {
    #[test]
    fn what_prost_encodes_is_indexed_with_the_right_counts(shape in shapes(), body in ".{0,200}") {
        let record = LogRecord {
            body: Some(AnyValue { value: Some(any_value::Value::StringValue(body.clone())) }),
            ..Default::default()
        };
        let logs = ExportLogsServiceRequest {
            resource_logs: shape.iter().map(|scopes| ResourceLogs {
                scope_logs: scopes.iter().map(|records| ScopeLogs {
                    log_records: vec![record.clone(); records.len()],
                    ..Default::default()
                }).collect(),
                schema_url: body.clone(),
                ..Default::default()
            }).collect(),
        };
        let scopes: usize = shape.iter().map(Vec::len).sum();
        let metrics: usize = shape.iter().flatten().map(Vec::len).sum();
        let document = parse(Signal::Logs, logs.encode_to_vec()).unwrap();
        let found = parts(&document);
        prop_assert_eq!((found.resources.len(), found.scopes.len()), (shape.len(), scopes));
        prop_assert_eq!(found.records.len(), metrics);
        let bytes = document.bytes().to_bytes();
        for entry in &found.records {
            prop_assert_eq!(LogRecord::decode(&bytes[entry.range()]).unwrap(), record.clone());
        }
        let parents = found.scopes.iter().map(|scope| scope.parent as usize);
        let expected = shape.iter().enumerate().flat_map(|(row, scopes)| scopes.iter().map(move |_| row));
        prop_assert!(parents.eq(expected));

        let batch = ExportMetricsServiceRequest {
            resource_metrics: shape.iter().map(|scopes| ResourceMetrics {
                scope_metrics: scopes.iter().map(|metrics| ScopeMetrics {
                    metrics: metrics.iter().map(|&(kind, points)| metric_of(kind, points)).collect(),
                    ..Default::default()
                }).collect(),
                ..Default::default()
            }).collect(),
        };
        let points: usize =
            shape.iter().flatten().flatten().map(|&(kind, points)| if kind < 5 { points } else { 0 }).sum();
        let document = parse(Signal::Metrics, batch.encode_to_vec()).unwrap();
        prop_assert_eq!(parts(&document).metrics.len(), metrics);
        prop_assert_eq!(document.records(), points as u64);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        for signal in INDEXED {
            let _ = parse(signal, bytes.clone());
        }
    }

    /// Where prost decodes a batch the index accepts it: it knows no fewer messages, only less of each.
    /// It counts the same, too, but for one difference: of a metric with several kinds of data prost
    /// keeps the last, while the index counts the points of all.
    #[test]
    fn what_prost_decodes_is_accepted(
        signal in prop::sample::select(INDEXED.to_vec()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        repeat in 1..3_usize,
    ) {
        let mut bytes = example(signal).repeat(repeat);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let indexed = parse(signal, bytes.clone()).map(|document| document.records() as usize);
        let decoded = match signal {
            Signal::Traces => ExportTraceServiceRequest::decode(&bytes[..]).map(|batch| {
                let scopes = batch.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                scopes.map(|scope| scope.spans.len()).sum()
            }),
            Signal::Metrics => ExportMetricsServiceRequest::decode(&bytes[..]).map(|_| usize::MAX),
            Signal::Logs | Signal::Profiles => ExportLogsServiceRequest::decode(&bytes[..]).map(|batch| {
                let scopes = batch.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
                scopes.map(|scope| scope.log_records.len()).sum::<usize>()
            }),
        };
        if let Ok(decoded) = decoded {
            prop_assert!(indexed.is_ok(), "prost decodes it: {indexed:?}");
            prop_assert!(decoded == usize::MAX || indexed == Ok(decoded));
        }
    }
}

proptest! {
    /// Wherever a batch was cut on its way, also within a tag or a length.
    #[test]
    fn pieces_are_read_as_one(shape in shapes(), cuts in vec(any::<prop::sample::Index>(), 0..8), flip in any::<Option<prop::sample::Index>>()) {
        let mut batch = ExportMetricsServiceRequest {
            resource_metrics: shape.iter().map(|scopes| ResourceMetrics {
                scope_metrics: scopes.iter().map(|metrics| ScopeMetrics {
                    metrics: metrics.iter().map(|&(kind, points)| metric_of(kind, points)).collect(),
                    ..Default::default()
                }).collect(),
                schema_url: "s".repeat(200),
                ..Default::default()
            }).collect(),
        }.encode_to_vec();
        if let (Some(flip), false) = (flip, batch.is_empty()) {
            let at = flip.index(batch.len());
            batch[at] ^= 0xff;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(batch.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Chunks::default();
        let mut from = 0;
        for cut in cuts.into_iter().chain([batch.len()]) {
            pieces.push(Bytes::copy_from_slice(&batch[from..cut]));
            from = cut;
        }
        let one = parse(Signal::Metrics, batch.clone());
        let several = Document::parse(Signal::Metrics, pieces);
        prop_assert_eq!(one.as_ref().err(), several.as_ref().err());
        if let (Ok(one), Ok(several)) = (one, several) {
            prop_assert_eq!(one.records(), several.records());
            prop_assert_eq!(parts(&one), parts(&several));
            prop_assert_eq!(several.bytes().to_bytes(), batch);
        }
    }
}
