//! Single cases: what went wrong once, and what is easily overlooked.

use super::{super::*, attribute, batch, decoded, limits, operations::pattern, records, request, text};
use crate::wire::put_bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::any_value,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;

fn of(signal: Signal, bytes: &[u8]) -> Batch {
    let mut batch = Batch::new(Document::parse(signal, bytes::Bytes::from(bytes.to_vec())).unwrap());
    batch.begin(limits());
    batch
}

fn record(key: &str) -> Column {
    Column::attribute(Level::Record, key)
}

/// The attributes of the first record.
fn attributes(batch: &mut Batch) -> Vec<(String, Value)> {
    let attributes = batch.attributes(Level::Record, 0).unwrap().into_iter();
    attributes.map(|attribute| (attribute.key, attribute.value)).collect()
}

fn with(pairs: &[(&str, &str)]) -> Batch {
    let mut request = request(1);
    records(&mut request)[0].attributes = pairs.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut batch = batch(&request);
    batch.begin(limits());
    batch
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

#[test]
fn what_is_edited_and_leaves_is_edited() {
    let request = request(2);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.set(&record("a"), &"1".into(), &Rows::All).unwrap();
    batch.route(Level::Record, &Rows::All, &["archive".to_owned()]).unwrap();
    let effects = batch.commit().unwrap();
    let routed = ExportLogsServiceRequest::decode(effects.routed[0].message.to_bytes()).unwrap();
    let routed = &routed.resource_logs[0].scope_logs[0].log_records;
    assert!(routed.iter().all(|record| record.attributes[2] == attribute("a", "1")));
    assert_eq!((effects.changed, batch.is_changed()), (0, true));
}

#[test]
fn what_is_left_of_an_edit_may_be_nothing() {
    // A scope with a schema URL, and nothing else.
    let mut batch = of(Signal::Logs, b"\x0a\x05\x12\x03\x1a\x01u");
    batch.remove(&Column::field(Level::Scope, Field::SchemaUrl), &Rows::All).unwrap();
    batch.commit().unwrap();
    assert!(batch.is_changed());
    assert_eq!(batch.message().to_bytes(), &b"\x0a\x02\x12\x00"[..]);
}

#[test]
fn levels_that_a_signal_has_not_have_no_rows() {
    let request = request(2);
    let mut batch = batch(&request);
    batch.begin(limits());
    for level in [Level::Metric, Level::Event, Level::Link, Level::Exemplar] {
        batch.discard(level, &Rows::All).unwrap();
        batch.set(&Column::attribute(level, "a"), &"1".into(), &Rows::All).unwrap();
        let one = Rows::Only(vec![0]);
        assert!(matches!(batch.discard(level, &one), Err(EditError::BadArgument(_))));
        assert!(matches!(
            batch.set(&Column::attribute(level, "a"), &"1".into(), &one),
            Err(EditError::BadArgument(_))
        ));
        assert_eq!(batch.count(level), Ok(0));
    }
    batch.route(Level::Metric, &Rows::All, &["archive".to_owned()]).unwrap();
    assert_eq!(batch.commit().unwrap().routed.len(), 0);
    assert_eq!(decoded(&batch), request);
}

#[test]
fn effects_come_in_the_order_of_the_calls() {
    let mut batch = with(&[("k", "0"), ("k", "1")]);
    let key = Target::Attribute("k".to_owned());
    batch.set(&record("k"), &"2".into(), &Rows::All).unwrap();
    batch.set_cell(Level::Record, 0, &key, &"3".into()).unwrap();
    assert_eq!(batch.get_cell(Level::Record, 0, &key), Ok(Some("3".into())));
    batch.set(&record("k"), &"4".into(), &Rows::All).unwrap();
    batch.remove(&record("k"), &Rows::All).unwrap();
    batch.update(&record("k"), &"5".into(), &Rows::All).unwrap();
    batch.insert(&record("k"), &"6".into(), &Rows::All).unwrap();
    batch.insert(&record("k"), &"7".into(), &Rows::All).unwrap();
    assert_eq!(attributes(&mut batch), named(&[("k", "6")]));
}

#[test]
fn keys_are_renamed_all_at_once() {
    let mut batch = with(&[("xx", "1"), ("x", "2"), ("y", "3")]);
    batch.rename_keys(Level::Record, &pattern("^x"), "", &Rows::All).unwrap();
    assert_eq!(attributes(&mut batch), named(&[("y", "3"), ("x", "1"), ("", "2")]));
    let mut batch = with(&[("a", "1"), ("ab", "2")]);
    batch.copy_keys(Level::Record, &pattern("^a"), "ab", &Rows::All).unwrap();
    assert_eq!(attributes(&mut batch), named(&[("a", "1"), ("ab", "1"), ("abb", "2")]));
}

#[test]
fn a_renamed_key_takes_the_place_of_another() {
    let mut batch = with(&[("a", "1"), ("b", "2"), ("a", "3")]);
    batch.rename(Level::Record, "a", "b", &Rows::All).unwrap();
    batch.rename(Level::Record, "none", "b", &Rows::All).unwrap();
    assert_eq!(attributes(&mut batch), named(&[("b", "1")]));
}

#[test]
fn a_status_that_is_not_there_is_not_made_by_removing() {
    let span = b"\x0a\x04\x12\x02\x12\x00";
    let mut batch = of(Signal::Traces, span);
    batch.set(&Column::field(Level::Record, Field::Name), &"n".into(), &Rows::All).unwrap();
    batch.remove(&Column::field(Level::Record, Field::StatusMessage), &Rows::All).unwrap();
    batch.commit().unwrap();
    assert_eq!(batch.message().to_bytes(), &b"\x0a\x07\x12\x05\x12\x03\x2a\x01n"[..]);
}

#[test]
fn an_empty_resource_stays_where_its_url_is_set() {
    let mut batch = of(Signal::Logs, b"\x0a\x02\x0a\x00");
    batch.set(&Column::field(Level::Resource, Field::SchemaUrl), &"u".into(), &Rows::All).unwrap();
    batch.commit().unwrap();
    assert_eq!(batch.message().to_bytes(), &b"\x0a\x05\x0a\x00\x1a\x01u"[..]);
}

#[test]
fn what_is_not_edited_stays_to_the_byte_beside_what_is() {
    // Two resources, the length of the first written with a byte more than it needs.
    let mut batch = of(Signal::Logs, b"\x0a\x82\x00\x12\x00\x0a\x02\x12\x00");
    batch.set(&Column::field(Level::Scope, Field::SchemaUrl), &"u".into(), &Rows::Only(vec![1])).unwrap();
    batch.commit().unwrap();
    assert_eq!(batch.message().to_bytes(), &b"\x0a\x82\x00\x12\x00\x0a\x05\x12\x03\x1a\x01u"[..]);
}

#[test]
fn what_a_translation_left_out_is_unknown_too() {
    let mut batch = batch(&request(2)).with_left_out(3);
    batch.begin(limits());
    batch.commit().unwrap();
    assert!(!batch.is_changed(), "as long as nobody removes it");
    batch.begin(limits());
    assert_eq!(batch.remove_unknown_fields(), Ok(3));
    assert_eq!(batch.remove_unknown_fields(), Ok(0));
    batch.undo();
    assert!(!batch.is_changed());
    batch.begin(limits());
    assert_eq!(batch.remove_unknown_fields(), Ok(3));
    batch.commit().unwrap();
    assert!(batch.is_changed(), "what came is not what leaves");
    assert_eq!(batch.message().to_bytes(), request(2).encode_to_vec());
}

#[test]
fn unknown_fields_go_from_everywhere() {
    // In the request, a resource, a scope, a metric, a sum and a data point.
    let unknown = b"\x98\x06\x01"; // 99: 1
    let mut content = unknown.to_vec();
    for number in [1, 7, 2, 2, 1] {
        let mut out = unknown.to_vec();
        put_bytes(&mut out, number, &content);
        content = out;
    }
    let mut batch = of(Signal::Metrics, &content);
    assert_eq!(batch.remove_unknown_fields(), Ok(6));
    assert_eq!(batch.remove_unknown_fields(), Ok(0));
    batch.commit().unwrap();
    assert!(batch.is_changed());
    assert_eq!(batch.message().to_bytes(), &b"\x0a\x08\x12\x06\x12\x04\x3a\x02\x0a\x00"[..]);
    batch.begin(limits());
    assert_eq!(batch.remove_unknown_fields(), Ok(0));
}

#[test]
fn what_left_before_a_replacement_stays_so() {
    let mut request = request(4);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.discard(Level::Record, &Rows::Only(vec![0])).unwrap();
    batch.route(Level::Record, &Rows::Only(vec![1]), &["archive".to_owned()]).unwrap();
    let mut otlp = ExportLogsServiceRequest::decode(&batch.to_otlp().unwrap()[..]).unwrap();
    records(&mut otlp)[0].severity_text = "replaced".to_owned();
    batch.replace(otlp.encode_to_vec()).unwrap();
    assert_eq!(batch.count(Level::Record), Ok(2));
    batch.route(Level::Record, &Rows::Only(vec![1]), &["archive".to_owned()]).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!((effects.discarded, effects.changed, batch.records()), (1, 1, 1));
    let bodies = |request: &ExportLogsServiceRequest| {
        request.resource_logs[0].scope_logs[0].log_records[0].body.clone()
    };
    let routed: Vec<_> = effects
        .routed
        .iter()
        .map(|routed| bodies(&ExportLogsServiceRequest::decode(routed.message.to_bytes()).unwrap()))
        .collect();
    assert_eq!(routed, [Some(text("body 1")), Some(text("body 3"))]);
    assert_eq!(records(&mut decoded(&batch))[0].severity_text, "replaced");
    records(&mut request).truncate(0);
}

#[test]
fn a_replacement_is_whole_down_to_its_last_value() {
    let came = request(2);
    let mut batch = batch(&came);
    batch.begin(limits());
    // A record, fine by its length, with an attribute that is not; and values nested without end.
    let list_of = |value: Vec<u8>| {
        let (mut list, mut value_of_list) = (Vec::new(), Vec::new());
        put_bytes(&mut list, 1, &value);
        put_bytes(&mut value_of_list, 5, &list);
        value_of_list
    };
    let mut nested = Vec::new();
    put_bytes(&mut nested, 5, &(0..300).fold(Vec::new(), |value, _| list_of(value)));
    for record in [&[0x32, 2, 0x0a, 5][..], &[&[0x2a][..], &[0x12, 3, 0x0a, 1, 0xff]].concat(), &nested] {
        let request = [2, 2, 1].into_iter().fold(record.to_vec(), |content, number| {
            let mut out = Vec::new();
            put_bytes(&mut out, number, &content);
            out
        });
        let refused = batch.replace(request);
        assert!(matches!(&refused, Err(EditError::BadArgument(_))), "{refused:?}");
    }
    // Records of two bytes cost more than they are.
    batch.begin(Limits { bytes: 100_000, ..limits() });
    let mut scope = Vec::new();
    put_bytes(&mut scope, 2, &[0x12, 0].repeat(10_000));
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &scope);
    assert_eq!(batch.replace(request), Err(EditError::Exhausted(Exhausted::Bytes)));
    batch.undo();
    assert_eq!(decoded(&batch), came);
}

#[test]
fn edits_before_and_after_a_replacement_are_undone() {
    let request = request(2);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.set(&record("first"), &"1".into(), &Rows::All).unwrap();
    batch.commit().unwrap();
    let before = batch.message().to_bytes();
    batch.begin(limits());
    batch.set(&record("second"), &"1".into(), &Rows::All).unwrap();
    batch.discard(Level::Record, &Rows::Only(vec![0])).unwrap();
    batch.replace(request.encode_to_vec()).unwrap();
    batch.set(&record("third"), &"1".into(), &Rows::All).unwrap();
    batch.replace(Vec::new()).unwrap();
    batch.undo();
    assert_eq!((batch.message().to_bytes(), batch.records()), (before, 2));
    batch.begin(limits());
    let effects = batch.commit().unwrap();
    assert_eq!((effects.changed, effects.discarded), (0, 0));
}

#[test]
fn containers_without_rows_go_and_those_that_came_so_stay() {
    let scope =
        |records: usize| ScopeLogs { log_records: vec![LogRecord::default(); records], ..Default::default() };
    let resource = |key: &str, scope_logs| ResourceLogs {
        resource: Some(Resource { attributes: vec![attribute("r", key)], ..Default::default() }),
        scope_logs,
        ..Default::default()
    };
    let mut request = ExportLogsServiceRequest {
        resource_logs: vec![
            resource("full", vec![scope(1), scope(0), scope(2)]),
            resource("none", vec![]),
            resource("gone", vec![scope(1)]),
        ],
    };
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.discard(Level::Record, &Rows::Only(vec![0, 3])).unwrap();
    assert_eq!(batch.commit().unwrap().discarded, 2);
    request.resource_logs.remove(2);
    request.resource_logs[0].scope_logs.remove(0);
    assert_eq!(decoded(&batch), request);
}

#[test]
fn a_field_that_cannot_hold_a_hash_is_not_left_clear() {
    let mut batch = with(&[]);
    for field in [Field::TraceId, Field::TimeUnixNano, Field::SeverityNumber, Field::Flags] {
        let hashed = batch.hash(&Column::field(Level::Record, field), None, &Rows::All);
        assert!(matches!(hashed, Err(EditError::Unsupported(_))), "{field:?}");
    }
    batch.hash(&Column::field(Level::Record, Field::Body), None, &Rows::All).unwrap();
}

#[test]
fn what_is_no_text_is_hashed_as_its_json() {
    let mut batch = with(&[]);
    let sha256 = |json: &str| {
        let mut hashed = Vec::new();
        hash::put_hash(None, json.as_bytes(), &mut hashed);
        Value::Text(String::from_utf8(hashed).unwrap())
    };
    // [1, "a\"", {"k": null, "b": bytes 0xff}, true]
    let list = b"\x2a\x28\x0a\x02\x18\x01\x0a\x04\x0a\x02a\"\x0a\x18\x32\x16\x0a\x05\x0a\x01k\x12\x00\x0a\x0d\x0a\x01b\x12\x03\x3a\x01\xff\x1a\x03xyz\x0a\x02\x10\x01";
    for (value, json) in [
        (Value::Encoded(list.to_vec()), "[1,\"a\\\"\",{\"k\":null,\"b\":\"/w==\"},true]"),
        (Value::Empty, "null"),
        (Value::Boolean(false), "false"),
        (Value::Int(-7), "-7"),
        (Value::Double(2.5), "2.5"),
        (Value::Bytes(b"abc".to_vec()), "abc"),
        ("abc".into(), "abc"),
    ] {
        batch.set(&record("k"), &value, &Rows::All).unwrap();
        batch.hash(&record("k"), None, &Rows::All).unwrap();
        assert_eq!(attributes(&mut batch), [("k".to_owned(), sha256(json))], "{json}");
    }
    assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into());
}

#[test]
fn a_part_of_a_text_that_is_no_text_becomes_bytes() {
    let mut batch = with(&[]);
    batch.set(&record("k"), &Value::Bytes(b"a=\xff\xfe b=c".to_vec()), &Rows::All).unwrap();
    let into =
        ["1", "2"].map(|group| Capture { group: group.to_owned(), to: Target::Attribute(group.to_owned()) });
    batch.extract(&record("k"), &pattern(r"(?-u:a=(\S+) b=(\S+))"), &into, &Rows::All).unwrap();
    assert_eq!(
        attributes(&mut batch)[1..],
        [("1".to_owned(), Value::Bytes(vec![0xff, 0xfe])), ("2".to_owned(), "c".into()),]
    );
    // As bytes on the wire too: a receiver refuses texts that are no UTF-8, and with them the batch.
    batch.commit().unwrap();
    let value = records(&mut decoded(&batch))[0].attributes[1].value.clone().unwrap().value;
    assert_eq!(value, Some(any_value::Value::BytesValue(vec![0xff, 0xfe])));
}

#[test]
fn what_is_unknown_in_a_value_hides_nothing() {
    // An attribute k whose value is a text and a field that nobody knows.
    let mut record_bytes = Vec::new();
    put_bytes(&mut record_bytes, 6, b"\x0a\x01k\x12\x0b\x0a\x06secret\x98\x06\x01");
    let mut content = record_bytes;
    for number in [2, 2, 1] {
        let mut out = Vec::new();
        put_bytes(&mut out, number, &content);
        content = out;
    }
    let mut batch = of(Signal::Logs, &content);
    assert_eq!(batch.find(&record("k"), &Test::Matches(pattern("secret")), &Rows::All), Ok(vec![0]));
    assert_eq!(batch.read_texts(&record("k"), &Rows::All), Ok(vec![Some("secret".to_owned())]));
}

#[test]
fn nothing_below_a_key_that_is_excepted_is_looked_into() {
    let mut batch = with(&[]);
    // cold: {hot: "secret"}
    let cold = b"\x32\x13\x0a\x11\x0a\x03hot\x12\x0a\x0a\x08a secret";
    batch.set(&record("cold"), &Value::Encoded(cold.to_vec()), &Rows::All).unwrap();
    batch.set(&record("hot"), &"secret".into(), &Rows::All).unwrap();
    let redaction = Redaction { pattern: pattern("secret"), action: Action::Mask("-".to_owned()) };
    let selection = Selection {
        places: Places::ALL,
        only_keys: Some(pattern("hot")),
        except_keys: Some(pattern("cold")),
    };
    assert_eq!(batch.redact(&[redaction], &selection), Ok(vec![1]));
    assert_eq!(attributes(&mut batch)[1], ("hot".to_owned(), "-".into()));
}

#[test]
fn the_first_match_is_one_that_passes_its_check() {
    let card = Pattern::compile(r"(\d{4}) (\d{4})", Check::Luhn, 1 << 20).unwrap();
    let mut batch = with(&[("k", "1234 5678, 4111 1113, 0000 1111")]);
    let into = [Capture { group: "2".to_owned(), to: Target::Attribute("found".to_owned()) }];
    let extracted = batch.extract(&record("k"), &card, &into, &Rows::All).unwrap();
    assert_eq!(extracted, Extracted { matched: 1, invalid: 0 });
    let found = attributes(&mut batch)[1].1.clone();
    assert!(found == "1113".into() || found == "1111".into(), "{found:?}");
    let renamed = Pattern::compile(r"\d+", Check::Luhn, 1 << 20).unwrap();
    let mut batch = with(&[("1 18 1", "v")]);
    batch.rename_keys(Level::Record, &renamed, "card", &Rows::All).unwrap();
    assert_eq!(attributes(&mut batch), named(&[("1 card 1", "v")]));
}

#[test]
fn flags_of_32_bits_are_written_as_they_are_read() {
    let flags = Column::field(Level::Record, Field::Flags);
    let mut batch = of(Signal::Metrics, b"\x0a\x08\x12\x06\x12\x04\x3a\x02\x0a\x00");
    batch.set(&flags, &Value::Int(u32::MAX.into()), &Rows::All).unwrap();
    assert_eq!(batch.read_values(&flags, &Rows::All), Ok(vec![Some(Value::Int(u32::MAX.into()))]));
    assert!(matches!(batch.set(&flags, &Value::Int(1 << 32), &Rows::All), Err(EditError::BadArgument(_))));
}

#[test]
fn an_empty_scope_that_is_discarded_does_not_go_along() {
    let scopes = b"\x0a\x06\x12\x02\x12\x00\x12\x00"; // one with a record, one without
    let mut batch = of(Signal::Logs, scopes);
    batch.route(Level::Resource, &Rows::All, &["archive".to_owned()]).unwrap();
    batch.discard(Level::Scope, &Rows::Only(vec![1])).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!(effects.routed[0].message.to_bytes(), &b"\x0a\x04\x12\x02\x12\x00"[..]);
}

#[test]
fn an_unset_any_value_is_there_and_empty() {
    let mut batch = with(&[]);
    batch.set(&record("k"), &Value::Empty, &Rows::All).unwrap();
    assert_eq!(batch.find(&record("k"), &Test::Present, &Rows::All), Ok(vec![0]));
    batch.commit().unwrap();
    let value = records(&mut decoded(&batch))[0].attributes[0].value.clone();
    assert!(value.is_none_or(
        |any| any.value.is_none() || any.value == Some(any_value::Value::StringValue(String::new()))
    ));
}

#[test]
fn a_large_batch_leaves_in_the_pieces_that_it_has() {
    let mut request = request(100);
    for (number, record) in records(&mut request).iter_mut().enumerate() {
        record.body = Some(text(&"long ".repeat(number * 50)));
    }
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.set(&record("new"), &"value".into(), &Rows::Only((0..100).step_by(3).collect())).unwrap();
    batch.commit().unwrap();
    batch.begin(limits());
    batch.remove(&record("new"), &Rows::Only(vec![3, 99])).unwrap();
    batch.set(&Column::field(Level::Scope, Field::Version), &"2".into(), &Rows::All).unwrap();
    batch.commit().unwrap();
    let message = batch.message().to_bytes();
    let pieces = batch.into_message();
    assert!(pieces.pieces().len() > 2);
    assert_eq!(pieces.to_bytes(), message);
}

#[test]
fn a_level_that_a_signal_does_not_have_is_one_without_rows() {
    let mut batch = of(Signal::Logs, &request(1).encode_to_vec());
    for level in [Level::Metric, Level::Event, Level::Link, Level::Exemplar] {
        let (key, name) = (Column::attribute(level, "a"), Column::field(level, Field::Name));
        assert_eq!((batch.count(level), batch.parents(level)), (Ok(0), Ok(Vec::new())));
        batch.set(&name, &Value::Int(1), &Rows::All).unwrap();
        batch.hash(&name, None, &Rows::All).unwrap();
        batch.write_texts(&key, Vec::new(), &Rows::All).unwrap();
        assert_eq!(batch.find(&key, &Test::Absent, &Rows::All), Ok(Vec::new()));
        assert_eq!(batch.read_texts(&name, &Rows::All), Ok(Vec::new()));
        batch.discard(level, &Rows::All).unwrap();
        batch.copy(&Column::attribute(Level::Resource, "service.name"), &key, &Rows::All).unwrap();
        let no_row = batch.get_cell(level, 0, &Target::Attribute("a".to_owned()));
        assert!(matches!(no_row, Err(EditError::BadArgument(_))));
    }
    let name = Column::field(Level::Metric, Field::Name);
    batch.copy(&name, &record("metric"), &Rows::All).unwrap();
    assert_eq!(batch.find(&record("level"), &Test::Present, &Rows::Under(Level::Metric, vec![])), Ok(vec![]));
    let no_metric = batch.find(&record("level"), &Test::Present, &Rows::Under(Level::Metric, vec![0]));
    assert!(matches!(no_metric, Err(EditError::BadArgument(_))));
    let upside_down = batch.find(&name, &Test::Present, &Rows::Under(Level::Event, vec![]));
    assert!(matches!(upside_down, Err(EditError::BadArgument(_))));
    assert_eq!(batch.commit().unwrap().changed, 0);
    assert!(!batch.is_changed());
}
