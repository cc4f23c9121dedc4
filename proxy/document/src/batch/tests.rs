use super::*;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue as ProtoKeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use std::time::Duration;

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: &str) -> ProtoKeyValue {
    ProtoKeyValue { key: key.to_owned(), value: Some(text(value)), ..Default::default() }
}

fn request(records: usize) -> ExportLogsServiceRequest {
    let record = |number: usize| LogRecord {
        body: Some(text(&format!("body {number}"))),
        attributes: vec![attribute("level", "info"), attribute("n", &number.to_string())],
        ..Default::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "shop")],
                ..Default::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope { name: "scope".to_owned(), ..Default::default() }),
                log_records: (0..records).map(record).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn batch(request: &ExportLogsServiceRequest) -> Batch {
    Batch::new(Document::parse(Signal::Logs, bytes::Bytes::from(request.encode_to_vec())).unwrap())
}

fn limits() -> Limits {
    Limits { bytes: 1 << 20, deadline: Instant::now() + Duration::from_secs(60) }
}

fn decoded(batch: &Batch) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(batch.message().to_bytes()).unwrap()
}

fn records(request: &mut ExportLogsServiceRequest) -> &mut Vec<LogRecord> {
    &mut request.resource_logs[0].scope_logs[0].log_records
}

#[test]
fn a_batch_without_edits_is_the_bytes_that_came() {
    let request = request(3);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.update(&Column::attribute(Level::Record, "nothing"), &"x".into(), &Rows::All).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!((effects.changed, batch.is_changed()), (0, false));
    assert_eq!(batch.message().to_bytes(), request.encode_to_vec());
}

#[test]
fn writes_go_where_they_belong() {
    let mut request = request(3);
    let mut batch = batch(&request);
    batch.begin(limits());
    let record = |key: &str| Column::attribute(Level::Record, key);
    batch.set(&record("a"), &"1".into(), &Rows::All).unwrap();
    batch.insert(&record("level"), &"warn".into(), &Rows::All).unwrap();
    batch.update(&record("level"), &Value::Int(3), &Rows::Only(vec![2])).unwrap();
    batch
        .set(&Column::field(Level::Record, Field::TraceId), &Value::Bytes(vec![7; 16]), &Rows::Only(vec![0]))
        .unwrap();
    batch.set(&Column::attribute(Level::Resource, "r"), &"2".into(), &Rows::All).unwrap();
    batch.set(&Column::field(Level::Scope, Field::Version), &"3".into(), &Rows::All).unwrap();
    batch.remove(&record("n"), &Rows::Only(vec![1])).unwrap();
    assert_eq!(batch.commit().unwrap().changed, 3);
    for record in records(&mut request) {
        record.attributes.push(attribute("a", "1"));
    }
    let level = AnyValue { value: Some(any_value::Value::IntValue(3)) };
    records(&mut request)[2].attributes[0].value = Some(level);
    records(&mut request)[0].trace_id = vec![7; 16];
    records(&mut request)[1].attributes.remove(1);
    let resource = &mut request.resource_logs[0];
    resource.resource.as_mut().unwrap().attributes.push(attribute("r", "2"));
    resource.scope_logs[0].scope.as_mut().unwrap().version = "3".to_owned();
    assert_eq!(decoded(&batch), request);
}

#[test]
fn what_is_undone_never_was() {
    let request = request(2);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.set(&Column::attribute(Level::Record, "a"), &"1".into(), &Rows::All).unwrap();
    batch.discard(Level::Record, &Rows::Only(vec![0])).unwrap();
    batch.undo();
    assert_eq!(batch.message().to_bytes(), request.encode_to_vec());
}

#[test]
fn routed_rows_leave_and_lose_nothing() {
    let mut request = request(4);
    let mut batch = batch(&request);
    batch.begin(limits());
    let archive = ["archive".to_owned()];
    batch.route(Level::Record, &Rows::Only(vec![1, 3]), &archive).unwrap();
    batch.discard(Level::Record, &Rows::Only(vec![0])).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!((effects.discarded, effects.routed.len(), batch.records()), (1, 1, 1));
    let routed = ExportLogsServiceRequest::decode(effects.routed[0].message.to_bytes()).unwrap();
    let mut expected = request.clone();
    *records(&mut expected) = vec![records(&mut request)[1].clone(), records(&mut request)[3].clone()];
    assert_eq!((routed, effects.routed[0].records), (expected, 2));
    let stays = records(&mut request)[2].clone();
    *records(&mut request) = vec![stays];
    assert_eq!(decoded(&batch), request);
}

#[test]
fn a_batch_that_is_routed_as_a_whole_is_the_bytes_that_came() {
    let request = request(2);
    let mut batch = batch(&request);
    batch.begin(limits());
    batch.route(Level::Resource, &Rows::All, &["archive".to_owned()]).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!(effects.routed[0].message.to_bytes(), request.encode_to_vec());
    assert_eq!((batch.records(), batch.message().len()), (0, 0));
}

#[test]
fn secrets_go_from_every_text() {
    let mut request = request(2);
    records(&mut request)[1].attributes.push(attribute("user", "ann@example.com, bob@example.com"));
    records(&mut request)[0].severity_text = "ann@example.com".to_owned();
    request.resource_logs[0].schema_url = "https://ann@example.com/".to_owned();
    let mut batch = batch(&request);
    batch.begin(limits());
    let pattern = Pattern::compile(r"[a-z]+@[a-z.]+", Check::None, 1 << 20).unwrap();
    let redaction = Redaction { pattern, action: Action::Mask("[email]".to_owned()) };
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    assert_eq!(batch.redact(&[redaction], &selection).unwrap(), [4]);
    batch.commit().unwrap();
    records(&mut request)[1].attributes[2] = attribute("user", "[email], [email]");
    records(&mut request)[0].severity_text = "[email]".to_owned();
    request.resource_logs[0].schema_url = "https://[email]/".to_owned();
    assert_eq!(decoded(&batch), request);
}
