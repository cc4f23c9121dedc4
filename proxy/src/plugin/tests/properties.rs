//! What holds for the first-party plugins in the sandbox, whatever they are given: of batches of any shape,
//! with fields that nobody knows at every place, nothing is lost and nothing doubled.

use super::*;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::KeyValue,
    metrics::v1::metric::Data,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A number that no version of OTLP has.
const UNKNOWN: u32 = 2_000;

/// Makes a request of random bytes; when these are used up, everything that is left is small.
#[derive(Default)]
struct Maker {
    entropy: Vec<u8>,
    /// The level of each record that was made; its place is its id.
    levels: Vec<&'static str>,
    /// The unknown fields; each holds its place here as a text.
    unknown: Vec<Unknown>,
    /// The id of the record that is being made.
    record: Option<usize>,
}

#[derive(Clone)]
struct Unknown {
    /// The ids of the records that it stands above or in.
    records: std::ops::Range<usize>,
    is_in_record: bool,
}

impl Maker {
    fn byte(&mut self) -> usize {
        usize::from(self.entropy.pop().unwrap_or(0))
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.byte() % of.len()]
    }

    /// A message: some fields of its own, some of its messages below, and here and there what nobody knows.
    fn message(&mut self, fields: impl FnOnce(&mut Self, &mut Vec<u8>)) -> Vec<u8> {
        let first = self.levels.len();
        let place = self.byte() % 6;
        let mut unknown = Vec::new();
        let number = self.unknown.len();
        if place < 2 {
            put(&mut unknown, UNKNOWN, mark(number).as_bytes());
            let records = self.record.map_or(first..first, |id| id..id + 1);
            self.unknown.push(Unknown { records, is_in_record: self.record.is_some() });
        }
        let mut content = Vec::new();
        fields(self, &mut content);
        if place < 2 && self.record.is_none() {
            self.unknown[number].records.end = self.levels.len();
        }
        let (before, behind) = if place == 0 { (unknown, content) } else { (content, unknown) };
        [before, behind].concat()
    }

    /// So many messages under a number, at most.
    fn messages(&mut self, out: &mut Vec<u8>, number: u32, most: usize, make: impl Fn(&mut Self) -> Vec<u8>) {
        let count = if self.entropy.is_empty() { 0 } else { self.byte() % (most + 1) };
        for _ in 0..count {
            let message = make(self);
            put(out, number, &message);
        }
    }

    fn request(&mut self, signal: Signal) -> Vec<u8> {
        self.message(|source, out| {
            source.messages(out, 1, 4, |source| {
                source.message(|source, out| {
                    let resource = source.message(|source, out| source.attributes(out, 1, &[]));
                    put(out, 1, &resource);
                    source.messages(out, 2, 3, |source| source.scope(signal));
                })
            });
        })
    }

    fn scope(&mut self, signal: Signal) -> Vec<u8> {
        self.message(|source, out| {
            let scope = source.message(|source, out| {
                put(out, 1, b"scope of bob@example.com");
                source.attributes(out, 3, &[]);
            });
            put(out, 1, &scope);
            source.messages(out, 2, 5, |source| match signal {
                Signal::Metrics => source.metric(),
                _ => source.record(signal, if signal == Signal::Logs { 6 } else { 9 }),
            });
        })
    }

    fn metric(&mut self) -> Vec<u8> {
        // A gauge, a sum, a histogram, an exponential one and a summary, and where their points have attributes.
        let (kind, attributes) = self.pick(&[(5, 7), (7, 7), (9, 9), (10, 1), (11, 7)]);
        self.message(|source, out| {
            put(out, 1, b"metric");
            let points = source.message(|source, out| {
                source.messages(out, 1, 4, |source| source.record(Signal::Metrics, attributes));
            });
            put(out, kind, &points);
        })
    }

    fn record(&mut self, signal: Signal, attributes: u32) -> Vec<u8> {
        self.record = Some(self.levels.len());
        let record = self.message(|source, out| {
            let id = source.levels.len().to_string();
            let level = source.pick(&["debug", "info", "warn", "error", "fatal"]);
            source.levels.push(level);
            source.attributes(out, attributes, &[("id", &id), ("level", level), ("tmp", "goes")]);
            match signal {
                Signal::Logs => {
                    let body = source.value("user=ann card 4111 1111 1111 1111");
                    put(out, 5, &body);
                }
                Signal::Traces => {
                    put(out, 5, b"GET /?token=secret");
                    for number in [11, 13] {
                        let attributes = if number == 11 { 3 } else { 4 };
                        source.messages(out, number, 2, |source| {
                            source.message(|source, out| source.attributes(out, attributes, &[]))
                        });
                    }
                }
                _ => {}
            }
        });
        self.record = None;
        record
    }

    /// Some that are looked for, which hold nothing unknown since they are written anew, and others.
    fn attributes(&mut self, out: &mut Vec<u8>, number: u32, known: &[(&str, &str)]) {
        for (key, value) in known {
            let value = KeyValue { key: (*key).to_owned(), value: Some(text(value)), ..Default::default() };
            put(out, number, &value.encode_to_vec());
        }
        self.messages(out, number, 3, |source| source.attribute(0));
    }

    fn attribute(&mut self, depth: usize) -> Vec<u8> {
        let key = self.pick(&["a", "mail", "http.url", "service.name", ""]);
        self.message(|source, out| {
            put(out, 1, key.as_bytes());
            let value = match source.byte() % 4 {
                0 if depth < 4 => source.message(|source, out| {
                    let list =
                        source.message(|source, out| source.messages(out, 1, 3, |s| s.attribute(depth + 1)));
                    put(out, 6, &list);
                }),
                1 => source.value("write to ann@example.com, or 203.0.113.7"),
                2 => source.value("Bearer 0123456789abcdef"),
                _ => source.value("plain"),
            };
            put(out, 2, &value);
        })
    }

    fn value(&mut self, text: &str) -> Vec<u8> {
        self.message(|_, out| put(out, 1, text.as_bytes()))
    }
}

fn put(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn mark(number: usize) -> String {
    format!("<{number}>")
}

/// The ids of the records in a request, with the other attributes of each.
fn records(signal: Signal, request: &[u8]) -> Vec<(usize, BTreeMap<String, String>)> {
    let attributes: Vec<Vec<KeyValue>> = match signal {
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request).unwrap();
            let scopes = request.resource_logs.into_iter().flat_map(|of| of.scope_logs);
            scopes.flat_map(|of| of.log_records).map(|record| record.attributes).collect()
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
            scopes.flat_map(|of| of.spans).map(|record| record.attributes).collect()
        }
        _ => {
            let request = ExportMetricsServiceRequest::decode(request).unwrap();
            let scopes = request.resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
            let points = scopes.flat_map(|of| of.metrics).flat_map(|metric| match metric.data.unwrap() {
                Data::Gauge(of) => of.data_points.into_iter().map(|point| point.attributes).collect(),
                Data::Sum(of) => of.data_points.into_iter().map(|point| point.attributes).collect(),
                Data::Histogram(of) => of.data_points.into_iter().map(|point| point.attributes).collect(),
                Data::Summary(of) => of.data_points.into_iter().map(|point| point.attributes).collect(),
                Data::ExponentialHistogram(of) => {
                    of.data_points.into_iter().map(|point| point.attributes).collect::<Vec<_>>()
                }
            });
            points.collect()
        }
    };
    let read = attributes.into_iter().map(|attributes| {
        let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
            any_value::Value::StringValue(text) => Some((attribute.key.clone(), text)),
            _ => None,
        };
        let texts: BTreeMap<_, _> = attributes.iter().filter_map(text).collect();
        (texts["id"].parse().unwrap(), texts)
    });
    read.collect()
}

fn builtin(builtin: Builtin, config: serde_json::Value) -> Config {
    Config {
        name: builtin.name().into(),
        component: Source::Builtin(builtin),
        config,
        secrets: Secrets::default(),
        on_failure: None,
        limits: Limits { time: Duration::from_secs(60), ..Limits::default() },
    }
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let relabel = json!({
        "set": { "stage": "test" },
        "rename": { "level": "severity" },
        "remove": "tmp",
        "resource": { "insert": { "cluster": "one" } },
        "extract": { "pattern": "user=(?<user>\\w+)" },
    });
    let patterns = ["email", "card-number", "iban", "ipv4", "ipv6", "jwt", "bearer", "api-key", "url-query"];
    let level = |level: &str| json!({ "attribute": "severity", "equals": level });
    let rules = json!([
        { "when": level("debug"), "discard": true },
        { "when": level("error"), "to": "archive" },
        { "when": level("fatal"), "to": ["default", "archive"] },
        { "when": level("warn"), "to": "default" },
    ]);
    let plugins = [
        builtin(Builtin::Relabel, relabel),
        builtin(Builtin::Redact, json!({ "patterns": patterns })),
        builtin(Builtin::Route, json!({ "rules": rules })),
    ];
    Chain::build(&HOST, &someone(), &plugins, &["archive"], &Metrics::new()).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_loses_and_doubles_nothing(
        signal in prop::sample::select(&[Signal::Logs, Signal::Traces, Signal::Metrics][..]),
        entropy in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut source = Maker { entropy, ..Default::default() };
        let request = source.request(signal);
        let Maker { levels, unknown, .. } = source;
        let document = Document::parse(signal, bytes::Bytes::from(request)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let done = runtime.block_on(CHAIN.run(Batch::new(document), None)).unwrap();

        // What arrives where.
        let mut arrived: BTreeMap<&str, Vec<bytes::Bytes>> = BTreeMap::new();
        if let Some(batch) = &done.batch {
            arrived.entry("default").or_default().push(batch.message().to_bytes());
        }
        for routed in &done.routed {
            for destination in &routed.destinations {
                arrived.entry(destination).or_default().push(routed.message.to_bytes());
            }
        }
        for (destination, wanted) in
            [("default", &["info", "warn", "fatal"][..]), ("archive", &["error", "fatal"])]
        {
            let arrived = arrived.get(destination).map_or(&[][..], Vec::as_slice);
            let mut there: Vec<_> = arrived.iter().flat_map(|request| records(signal, request)).collect();
            there.sort();
            let ids: Vec<usize> = there.iter().map(|(id, _)| *id).collect();
            let expected: Vec<usize> =
                (0..levels.len()).filter(|id| wanted.contains(&levels[*id])).collect();
            prop_assert_eq!(&ids, &expected, "at {}", destination);
            for (id, texts) in &there {
                prop_assert_eq!((&*texts["severity"], &*texts["stage"]), (levels[*id], "test"));
                prop_assert!(!texts.contains_key("level") && !texts.contains_key("tmp"));
                prop_assert_eq!(texts.get("user").map(|user| &**user), (signal == Signal::Logs).then_some("ann"));
            }
            for (number, field) in unknown.iter().enumerate() {
                let mark = mark(number);
                let times: usize =
                    arrived.iter().map(|request| memchr::memmem::find_iter(request, &mark).count()).sum();
                let is_wanted = field.records.clone().any(|id| ids.contains(&id));
                match field.is_in_record {
                    true => prop_assert_eq!(times, usize::from(is_wanted), "field {} at {}", number, destination),
                    // It goes with every part of what it stands above: what stayed here, what was routed here.
                    false => prop_assert!(
                        (usize::from(is_wanted)..=arrived.len()).contains(&times),
                        "field {} is {} times at {}", number, times, destination
                    ),
                }
            }
        }
        let discarded = levels.iter().filter(|level| **level == "debug").count() as u64;
        prop_assert_eq!(done.discarded, discarded);
        let routed: u64 = done.routed.iter().map(|routed| routed.records).sum();
        let stay = done.batch.as_ref().map_or(0, |batch| batch.records());
        prop_assert_eq!(discarded + routed + stay, levels.len() as u64);
        for request in arrived.values().flatten() {
            for secret in ["@example.com", "4111", "203.0.113.7", "0123456789abcdef", "token=secret"] {
                prop_assert!(memchr::memmem::find(request, secret.as_bytes()).is_none(), "{secret} is left");
            }
        }
    }
}
