use super::super::tests::{FINITE, batches, decode};
use super::*;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{NumberDataPoint, exemplar, metric::Data, number_data_point},
    trace::v1::Span,
};
use proptest::prelude::*;
use prost::Message as _;

const NO_LIMIT: u64 = u64::MAX;

fn read(signal: Signal, json: &str) -> Result<(Bytes, Leniencies), String> {
    to_protobuf(signal, json.as_bytes(), NO_LIMIT, |_| Ok(())).map_err(|why| why.to_string())
}

/// Reads one log record.
fn log_record(json: &str) -> Result<(LogRecord, Leniencies), String> {
    let batch = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{json}]}}]}}]}}"#);
    let (bytes, leniencies) = read(Signal::Logs, &batch)?;
    let request = ExportLogsServiceRequest::decode(bytes.clone()).unwrap();
    assert_eq!(request.encode_to_vec(), bytes, "written as prost writes it");
    Ok((request.resource_logs[0].scope_logs[0].log_records[0].clone(), leniencies))
}

/// Reads one span.
fn span(json: &str) -> Result<Span, String> {
    let batch = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{json}]}}]}}]}}"#);
    let (bytes, _) = read(Signal::Traces, &batch)?;
    let request = ExportTraceServiceRequest::decode(bytes).unwrap();
    Ok(request.resource_spans[0].scope_spans[0].spans[0].clone())
}

/// Reads one metric.
fn metric(json: &str) -> Result<Data, String> {
    let batch = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{json}]}}]}}]}}"#);
    let (bytes, _) = read(Signal::Metrics, &batch)?;
    let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
    Ok(request.resource_metrics[0].scope_metrics[0].metrics[0].data.clone().unwrap())
}

fn text(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.to_owned()))
}

#[test]
fn log_records_are_read_as_they_are_meant() {
    let record = LogRecord::default;
    let body = |value: Option<Value>| LogRecord { body: Some(AnyValue { value }), ..record() };
    let any = |value| AnyValue { value };
    let cases = [
        ("{}", record()),
        (" { } ", record()),
        (
            r#"{"timeUnixNano":"1544712660300000000"}"#,
            LogRecord { time_unix_nano: 1_544_712_660_300_000_000, ..record() },
        ),
        (
            r#"{"timeUnixNano":1544712660300000000}"#,
            LogRecord { time_unix_nano: 1_544_712_660_300_000_000, ..record() },
        ),
        (r#"{"timeUnixNano":"18446744073709551615"}"#, LogRecord { time_unix_nano: u64::MAX, ..record() }),
        (
            r#"{"timeUnixNano":1544712660300000001.0}"#,
            LogRecord { time_unix_nano: 1_544_712_660_300_000_001, ..record() },
        ),
        (r#"{"timeUnixNano" : 1e3 , "flags":1.0}"#, LogRecord { time_unix_nano: 1000, flags: 1, ..record() }),
        (r#"{"timeUnixNano":"1.5e1","flags":"7"}"#, LogRecord { time_unix_nano: 15, flags: 7, ..record() }),
        (r#"{"timeUnixNano":0,"severityText":"","traceId":"","attributes":[],"flags":-0}"#, record()),
        (r#"{"timeUnixNano":null,"body":null,"attributes":null,"severityText":null}"#, record()),
        (r#"{"severityText":null,"severityText":"a"}"#, LogRecord { severity_text: "a".into(), ..record() }),
        (r#"{"severityNumber":9}"#, LogRecord { severity_number: 9, ..record() }),
        (r#"{"severityNumber":-1}"#, LogRecord { severity_number: -1, ..record() }),
        (
            r#"{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eEE19b7ec3c1b174"}"#,
            LogRecord {
                trace_id: 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes().into(),
                span_id: 0xeee1_9b7e_c3c1_b174_u64.to_be_bytes().into(),
                ..record()
            },
        ),
        (r#"{"body":{}}"#, body(None)),
        (r#"{"body":{"stringValue":null}}"#, body(None)),
        (r#"{"body":{"stringValue":""}}"#, body(text(""))),
        (r#"{"body":{"stringValue":"\u00e9\n\ud83d\ude00 é"}}"#, body(text("é\n😀 é"))),
        (r#"{"body":{"boolValue":false}}"#, body(Some(Value::BoolValue(false)))),
        (r#"{"body":{"intValue":"-5"}}"#, body(Some(Value::IntValue(-5)))),
        (r#"{"body":{"intValue":0}}"#, body(Some(Value::IntValue(0)))),
        (r#"{"body":{"intValue":-9223372036854775808}}"#, body(Some(Value::IntValue(i64::MIN)))),
        (r#"{"body":{"doubleValue":0}}"#, body(Some(Value::DoubleValue(0.0)))),
        (r#"{"body":{"doubleValue":"-Infinity"}}"#, body(Some(Value::DoubleValue(f64::NEG_INFINITY)))),
        (r#"{"body":{"doubleValue":"1.25"}}"#, body(Some(Value::DoubleValue(1.25)))),
        (r#"{"body":{"doubleValue":0.1e-6}}"#, body(Some(Value::DoubleValue(1e-7)))),
        (r#"{"body":{"bytesValue":"+/8="}}"#, body(Some(Value::BytesValue(vec![0xfb, 0xff])))),
        (r#"{"body":{"bytesValue":"-_8"}}"#, body(Some(Value::BytesValue(vec![0xfb, 0xff])))),
        (r#"{"body":{"bytesValue":""}}"#, body(Some(Value::BytesValue(vec![])))),
        (
            r#"{"body":{"arrayValue":{"values":[{},{"stringValue":"a"},{"arrayValue":{}}]}}}"#,
            body(Some(Value::ArrayValue(ArrayValue {
                values: vec![any(None), any(text("a")), any(Some(Value::ArrayValue(ArrayValue::default())))],
            }))),
        ),
        (
            r#"{"body":{"kvlistValue":{"values":[{"key":"a"},{"value":{}},{}]}}}"#,
            body(Some(Value::KvlistValue(KeyValueList {
                values: vec![
                    KeyValue { key: "a".into(), ..KeyValue::default() },
                    KeyValue { value: Some(any(None)), ..KeyValue::default() },
                    KeyValue::default(),
                ],
            }))),
        ),
    ];
    for (json, expected) in cases {
        let read = log_record(json);
        assert_eq!(read, Ok((expected, Leniencies::default())), "{json}");
    }
}

#[test]
fn what_goes_beyond_the_specification_is_taken_and_counted() {
    use Leniency::*;
    let cases: [(&str, LogRecord, &[Leniency]); 6] = [
        (
            r#"{"severityNumber":"SEVERITY_NUMBER_INFO"}"#,
            LogRecord { severity_number: 9, ..LogRecord::default() },
            &[EnumName],
        ),
        (
            r#"{"severityText":"\ud83d\u0041\udc00\ud83d\ude00\ud83d\ud83d"}"#,
            LogRecord {
                severity_text: "\u{fffd}A\u{fffd}😀\u{fffd}\u{fffd}".into(), ..LogRecord::default()
            },
            &[LoneSurrogate; 4],
        ),
        (
            r#"{"severityNumber":"9"}"#,
            LogRecord { severity_number: 9, ..LogRecord::default() },
            &[EnumString],
        ),
        (
            r#"{"severity_text":"a","event_name":"b"}"#,
            LogRecord { severity_text: "a".into(), event_name: "b".into(), ..LogRecord::default() },
            &[SnakeCase, SnakeCase],
        ),
        (
            r#"{"new":{"deep":[[{"a":1}]]},"New":null,"severityText":"a"}"#,
            LogRecord { severity_text: "a".into(), ..LogRecord::default() },
            &[UnknownField, UnknownField],
        ),
        (
            r#"{"body":{"futureValue":5}}"#,
            LogRecord { body: Some(AnyValue::default()), ..LogRecord::default() },
            &[UnknownField],
        ),
    ];
    for (json, expected, needed) in cases {
        let (record, leniencies) = log_record(json).unwrap();
        assert_eq!(record, expected, "{json}");
        for leniency in Leniency::ALL {
            let count = needed.iter().filter(|&&one| one == leniency).count() as u64;
            assert_eq!(leniencies.count(leniency), count, "{json} {}", leniency.name());
        }
        assert_eq!(leniencies.iter().map(|(_, count)| count).sum::<u64>(), needed.len() as u64);
    }
}

#[test]
fn spans_and_metrics_keep_what_is_set() {
    let read =
        span(r#"{"kind":"SPAN_KIND_SERVER","flags":257,"status":{"code":2},"links":[{}],"events":[{}]}"#);
    let read = read.unwrap();
    assert_eq!((read.kind, read.flags, read.links.len(), read.events.len()), (2, 257, 1, 1));
    assert_eq!(read.status.unwrap().code, 2);
    assert!(span(r#"{"status":{}}"#).unwrap().status.is_some());

    let json = r#"{"histogram":{"dataPoints":[{"sum":0,"bucketCounts":["1",0,2],"explicitBounds":[0,-0.0,"NaN"]},{}]}}"#;
    let Data::Histogram(histogram) = metric(json).unwrap() else { panic!() };
    let point = &histogram.data_points[0];
    assert_eq!((point.sum, point.min, point.bucket_counts.as_slice()), (Some(0.0), None, &[1, 0, 2][..]));
    assert_eq!(point.explicit_bounds[1].to_bits(), (-0.0f64).to_bits());
    assert!(point.explicit_bounds[2].is_nan());
    assert_eq!(histogram.data_points[1].sum, None);

    let json = r#"{"gauge":{"dataPoints":[{"asInt":"-3","exemplars":[{"asDouble":0}]},{"asInt":0},{"asDouble":1}]}}"#;
    let Data::Gauge(gauge) = metric(json).unwrap() else { panic!() };
    let values: Vec<_> = gauge.data_points.iter().map(|point| point.value).collect();
    use number_data_point::Value::{AsDouble, AsInt};
    assert_eq!(values, [Some(AsInt(-3)), Some(AsInt(0)), Some(AsDouble(1.0))]);
    assert_eq!(gauge.data_points[0].exemplars[0].value, Some(exemplar::Value::AsDouble(0.0)));
    assert_eq!(gauge.data_points[1], NumberDataPoint { value: Some(AsInt(0)), ..Default::default() });

    let json = r#"{"exponentialHistogram":{"dataPoints":[{"scale":-2,"positive":{"offset":-1,"bucketCounts":[1,300]}}]}}"#;
    let Data::ExponentialHistogram(histogram) = metric(json).unwrap() else { panic!() };
    let point = &histogram.data_points[0];
    let buckets = point.positive.as_ref().unwrap();
    assert_eq!((point.scale, buckets.offset, buckets.bucket_counts.as_slice()), (-2, -1, &[1, 300][..]));
}

#[test]
fn what_would_lose_data_is_refused_with_its_place() {
    let at = |path: &str| format!("resourceLogs[0].scopeLogs[0].logRecords[0]{path}: ");
    let long = "x".repeat(100);
    let cases: Vec<(String, String)> = [
        (
            r#"{"timeUnixNano":"yesterday"}"#,
            ".timeUnixNano",
            r#"expected a 64-bit unsigned integer, got "yesterday""#,
        ),
        (r#"{"timeUnixNano":-1}"#, ".timeUnixNano", "expected a 64-bit unsigned integer, got -1"),
        (r#"{"timeUnixNano":1.5}"#, ".timeUnixNano", "expected a 64-bit unsigned integer, got 1.5"),
        (
            r#"{"timeUnixNano":18446744073709551616}"#,
            ".timeUnixNano",
            "expected a 64-bit unsigned integer, got 18446744073709551616",
        ),
        (r#"{"timeUnixNano":""}"#, ".timeUnixNano", r#"expected a 64-bit unsigned integer, got """#),
        (r#"{"timeUnixNano":true}"#, ".timeUnixNano", "expected a 64-bit unsigned integer, got true"),
        (r#"{"timeUnixNano":{}}"#, ".timeUnixNano", "expected a 64-bit unsigned integer, got an object"),
        (r#"{"flags":4294967296}"#, ".flags", "expected a 32-bit unsigned integer, got 4294967296"),
        (r#"{"severityText":5}"#, ".severityText", "expected a string, got 5"),
        (
            r#"{"severityNumber":"INFO"}"#,
            ".severityNumber",
            r#"expected the number of an enum value, 0 to 24, got "INFO""#,
        ),
        (
            r#"{"severityNumber":9.5}"#,
            ".severityNumber",
            "expected the number of an enum value, 0 to 24, got 9.5",
        ),
        (r#"{"traceId":"5b8e"}"#, ".traceId", r#"expected 32 hex digits, got "5b8e""#),
        (r#"{"spanId":"eee19b7ec3c1b17x"}"#, ".spanId", r#"expected 16 hex digits, got "eee19b7ec3c1b17x""#),
        (r#"{"spanId":7}"#, ".spanId", "expected 16 hex digits, got 7"),
        (r#"{"body":"text"}"#, ".body", r#"expected an object, got "text""#),
        (r#"{"body":[]}"#, ".body", "expected an object, got a list"),
        (r#"{"body":{"boolValue":"true"}}"#, ".body.boolValue", r#"expected true or false, got "true""#),
        (r#"{"body":{"doubleValue":1e999}}"#, ".body.doubleValue", "expected a number, got 1e999"),
        (r#"{"body":{"doubleValue":"inf"}}"#, ".body.doubleValue", r#"expected a number, got "inf""#),
        (r#"{"body":{"bytesValue":"a"}}"#, ".body.bytesValue", r#"expected base64, got "a""#),
        (r#"{"body":{"bytesValue":"+_8="}}"#, ".body.bytesValue", r#"expected base64, got "+_8=""#),
        (
            r#"{"body":{"intValue":-9223372036854775809}}"#,
            ".body.intValue",
            "expected a 64-bit integer, got -9223372036854775809",
        ),
        (
            r#"{"body":{"intValue":"9223372036854775808"}}"#,
            ".body.intValue",
            r#"expected a 64-bit integer, got "9223372036854775808""#,
        ),
        (
            r#"{"body":{"intValue":1,"stringValue":"a"}}"#,
            ".body.stringValue",
            "set although intValue is set too: only one may be",
        ),
        (r#"{"attributes":{}}"#, ".attributes", "expected a list, got an object"),
        (r#"{"attributes":"a"}"#, ".attributes", r#"expected a list, got "a""#),
        (r#"{"attributes":[{},null]}"#, ".attributes[1]", "expected an object, got null"),
        (r#"{"attributes":[{},[]]}"#, ".attributes[1]", "expected an object, got a list"),
        (
            r#"{"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":{}}]}}}]}"#,
            ".attributes[0].value.arrayValue.values[0].intValue",
            "expected a 64-bit integer, got an object",
        ),
        (r#"{"severityText":"a","severityText":"a"}"#, ".severityText", "set twice"),
        (r#"{"severityText":"","severity_text":"a"}"#, ".severityText", "set twice"),
        (r#"{"attributes":[],"attributes":[]}"#, ".attributes", "set twice"),
    ]
    .into_iter()
    .map(|(json, path, what)| (json.to_owned(), format!("{}{what}", at(path))))
    .chain([
        (
            format!(r#"{{"flags":"{long}"}}"#),
            format!("{}expected a 32-bit unsigned integer, got \"{}\"…", at(".flags"), &long[..40]),
        ),
        (
            r#"{"flags":"a\r\n\u001b"}"#.to_owned(),
            format!("{}expected a 32-bit unsigned integer, got \"a\\r\\n\\u{{1b}}\"", at(".flags")),
        ),
    ])
    .collect();
    for (json, message) in cases {
        assert_eq!(log_record(&json), Err(message), "{json}");
    }
}

#[test]
fn what_is_no_json_object_is_refused_with_line_and_column() {
    let cases = [
        ("", "the body is not a JSON object"),
        ("[]", "the body is not a JSON object"),
        ("null", "the body is not a JSON object"),
        ("\u{feff}{}", "the body is not a JSON object"),
        ("{", "not JSON: expected a comma or } at line 1 column 2"),
        ("{}{}", "not JSON: expected the end at line 1 column 3"),
        ("{} x", "not JSON: expected the end at line 1 column 4"),
        ("{\"resourceLogs\":[\n{},]}", "resourceLogs[1]: not JSON: expected a value at line 2 column 4"),
        (
            r#"{"resourceLogs":[{"schemaUrl":"\ud8"}]}"#,
            "resourceLogs[0].schemaUrl: not JSON: expected four hex digits at line 1 column 34",
        ),
        (
            "{\"resourceLogs\":[{\"schemaUrl\":\"a\tb\"}]}",
            "resourceLogs[0].schemaUrl: not JSON: expected no control character in a string at line 1 column 33",
        ),
        (
            r#"{"resourceLogs":[{"schemaUrl":1e999}]}"#,
            "resourceLogs[0].schemaUrl: expected a string, got 1e999",
        ),
    ];
    for (json, message) in cases {
        assert_eq!(read(Signal::Logs, json).map(drop), Err(message.to_owned()), "{json}");
    }
    let broken = to_protobuf(Signal::Logs, b"{\"a\":\"\xff\"}", NO_LIMIT, |_| Ok(()));
    assert_eq!(broken, Err(Untranslated::Malformed("the body is not UTF-8 at byte 6".to_owned())));
    assert!(read(Signal::Profiles, "{}").is_err());
}

/// A body of so many lists inside each other.
fn nested(depth: usize) -> String {
    let lists = depth - 1;
    let open = r#"{"kvlistValue":{"values":[{"value":"#.repeat(lists);
    format!(r#"{{"body":{open}{{"intValue":1}}{}}}"#, "}]}}".repeat(lists))
}

#[test]
fn values_may_be_inside_each_other_up_to_a_bound() {
    assert!(log_record(&nested(ANY_VALUE_DEPTH_MAX)).is_ok());
    let error = log_record(&nested(ANY_VALUE_DEPTH_MAX + 1)).unwrap_err();
    assert!(error.ends_with("values[0].value: more than 28 values inside each other"), "{error}");
    assert!(log_record(&nested(100_000)).is_err());
    // Also where the way to them is the longest, and the deepest of them is a list.
    let deep = nested(ANY_VALUE_DEPTH_MAX).replace(r#"{"intValue":1}"#, r#"{"kvlistValue":{"values":[{}]}}"#);
    let deep = deep.strip_prefix(r#"{"body":"#).and_then(|deep| deep.strip_suffix('}')).unwrap();
    let json = format!(
        r#"{{"gauge":{{"dataPoints":[{{"exemplars":[{{"filteredAttributes":[{{"value":{deep}}}]}}]}}]}}}}"#
    );
    assert!(metric(&json).is_ok());
    // What is not known is skipped within a bound too.
    let unknown = |depth| format!(r#"{{"new":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(log_record(&unknown(127)).is_ok());
    assert!(log_record(&unknown(100_000)).is_err());
}

#[test]
fn what_is_written_is_asked_for_and_limited() {
    let json =
        format!(r#"{{"resourceLogs":[{}{{}}]}}"#, r#"{"schemaUrl":"a long enough text"},"#.repeat(1000));
    let (bytes, _) = read(Signal::Logs, &json).unwrap();
    let length = bytes.len() as u64;
    for limit in [0, 1, 100, length - 1, length, length + 1, NO_LIMIT] {
        let mut held = 0;
        let read = to_protobuf(Signal::Logs, json.as_bytes(), limit, |total| {
            assert!(total >= held && total <= limit);
            held = total;
            Ok(())
        });
        match read {
            Ok((read, _)) => assert!(limit >= length && read == bytes && held >= length),
            Err(refusal) => {
                assert!(limit < length);
                assert_eq!(refusal, Untranslated::TooLarge { limit });
            }
        }
    }
    let refused = to_protobuf(Signal::Logs, json.as_bytes(), NO_LIMIT, |_| Err(NoRoom));
    assert_eq!(refused, Err(Untranslated::NoRoom));
    // Doubles grow from two bytes to eight.
    let zeros =
        format!(r#"{{"histogram":{{"dataPoints":[{{"explicitBounds":[0{}]}}]}}}}"#, ",0".repeat(10_000));
    let Ok(Data::Histogram(histogram)) = metric(&zeros) else { panic!() };
    assert_eq!(histogram.data_points[0].explicit_bounds.len(), 10_001);
}

#[test]
fn the_examples_of_opentelemetry_proto_are_read_as_its_crate_reads_them() {
    fn check<M: serde::de::DeserializeOwned + prost::Message + Default + PartialEq + fmt::Debug>(
        signal: Signal,
        json: &str,
    ) {
        let (bytes, leniencies) = read(signal, json).unwrap();
        assert_eq!(M::decode(bytes).unwrap(), serde_json::from_str::<M>(json).unwrap());
        assert_eq!(leniencies, Leniencies::default());
    }
    check::<ExportLogsServiceRequest>(Signal::Logs, include_str!("../../../../../tests/examples/logs.json"));
    check::<ExportTraceServiceRequest>(
        Signal::Traces,
        include_str!("../../../../../tests/examples/traces.json"),
    );
    check::<ExportMetricsServiceRequest>(
        Signal::Metrics,
        include_str!("../../../../../tests/examples/metrics.json"),
    );
}

proptest! {
    #[test]
    fn what_the_crate_writes_as_json_is_read_as_it_writes_it_in_protobuf(batch in batches(FINITE)) {
        let json = batch.crate_json(); // doubles that are no numbers it writes as null
        let (bytes, _) = read(batch.signal(), &json).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
        prop_assert_eq!(decode(batch.signal(), &bytes), batch, "{}", json);
    }

    #[test]
    fn no_text_makes_the_reader_panic(json in r#"\{("(resourceLogs|scope_logs|body|intValue|x)":|[\[\]{},:]|"\\u[0-9a-f]{4}"|-?[0-9]{1,25}(\.[0-9])?(e[0-9])?|null|true| |"a"){0,40}\}?"#) {
        for signal in Signal::ALL {
            let _ = read(signal, &json);
        }
    }
}
