mod cases;
mod discarded;
mod generate;
mod limits;
mod malformed;
mod model;
mod operations;
mod reads;
mod redaction;

use super::*;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue as ProtoKeyValue, KeyValueList, any_value,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use std::time::{Duration, Instant};

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

/// How many cases a property is tried with: so many, or what `PROPTEST_CASES` says.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
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

fn redact_bodies(text_before: &str, expressions: &[(&str, Action)]) -> (String, Vec<u64>) {
    let mut request = request(1);
    records(&mut request)[0].body = Some(text(text_before));
    let mut batch = batch(&request);
    batch.begin(limits());
    let redactions: Vec<Redaction> = expressions
        .iter()
        .map(|(expression, action)| Redaction {
            pattern: Pattern::compile(expression, Check::None, 1 << 20).unwrap(),
            action: action.clone(),
        })
        .collect();
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    let counts = batch.redact(&redactions, &selection).unwrap();
    batch.commit().unwrap();
    match records(&mut decoded(&batch))[0].body.take().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => (text, counts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_group_named_secret_goes() {
    let mask = |mask: &str| Action::Mask(mask.to_owned());
    let query = r"(?-u)[?&](?:token|key)=(?<secret>[^&\s]+)";
    let (body, counts) = redact_bodies("/a?token=x&b=1&key=y z", &[(query, mask("*"))]);
    assert_eq!((body.as_str(), &counts[..]), ("/a?token=*&b=1&key=* z", &[2][..]));
}

#[test]
fn what_an_action_made_is_not_found_again() {
    let key = HashKey::new(&[7; 16], None).unwrap();
    let query = r"(?-u)token=(?<secret>[^&\s]+)";
    let once = redact_bodies("token=x", &[(query, Action::Hash(key.clone()))]);
    assert_eq!((once.0.len(), &once.1[..]), ("token=".len() + 16, &[1][..]));
    // Nor by another redaction; what only touches it is.
    let mask = |mask: &str| Action::Mask(mask.to_owned());
    let (body, counts) =
        redact_bodies("token=sk_1 token=x.sk_2.y", &[("sk_[0-9]", mask("[key]")), (query, mask("[token]"))]);
    assert_eq!((body.as_str(), &counts[..]), ("token=[key] token=[token]", &[2, 1][..]));
}

#[test]
fn values_go_by_their_key_wherever_it_is() {
    let value = |value| Some(AnyValue { value: Some(value) });
    let list = |values| any_value::Value::KvlistValue(KeyValueList { values });
    let pair = |key: &str, of| ProtoKeyValue { key: key.to_owned(), value: value(of), ..Default::default() };
    let secrets = |inner: any_value::Value| {
        vec![
            pair("password", any_value::Value::DoubleValue(1.5)),
            pair(
                "user",
                list(vec![pair("password", inner.clone()), pair("n", any_value::Value::IntValue(1))]),
            ),
            pair("password", inner),
        ]
    };
    let mask = || any_value::Value::StringValue("*".to_owned());
    let masked = || {
        vec![
            pair("password", mask()),
            pair("user", list(vec![pair("password", mask()), pair("n", any_value::Value::IntValue(1))])),
            pair("password", mask()),
        ]
    };
    let mut request = request(1);
    let nested = list(vec![attribute("a", "b")]);
    records(&mut request)[0].attributes = secrets(nested.clone());
    records(&mut request)[0].body = value(list(secrets(nested)));
    request.resource_logs[0].resource.as_mut().unwrap().attributes.push(attribute("password", "x"));
    let keys = Pattern::compile("^password$", Check::None, 1 << 20).unwrap();

    let mut masking = batch(&request);
    masking.begin(limits());
    assert_eq!(masking.redact_keys(&keys, &Action::Mask("*".to_owned())).unwrap(), 7);
    masking.commit().unwrap();
    let mut expected = request.clone();
    records(&mut expected)[0].attributes = masked();
    records(&mut expected)[0].body = value(list(masked()));
    expected.resource_logs[0].resource.as_mut().unwrap().attributes[1] = attribute("password", "*");
    assert_eq!(decoded(&masking), expected);

    let mut removing = batch(&request);
    removing.begin(limits());
    assert_eq!(removing.redact_keys(&keys, &Action::Remove).unwrap(), 7);
    removing.commit().unwrap();
    let left = || vec![pair("user", list(vec![pair("n", any_value::Value::IntValue(1))]))];
    records(&mut expected)[0].attributes = left();
    records(&mut expected)[0].body = value(list(left()));
    expected.resource_logs[0].resource.as_mut().unwrap().attributes.pop();
    assert_eq!(decoded(&removing), expected);
}

#[test]
fn integers_go_from_attributes_and_bodies() {
    let card = || Some(AnyValue { value: Some(any_value::Value::IntValue(4_111_111_111_111_111)) });
    let mut request = request(1);
    let list = any_value::Value::ArrayValue(ArrayValue { values: vec![card().unwrap()] });
    let attributes = &mut records(&mut request)[0].attributes;
    attributes.push(ProtoKeyValue { key: "a".to_owned(), value: card(), ..Default::default() });
    let list = Some(AnyValue { value: Some(list) });
    attributes.push(ProtoKeyValue { key: "b".to_owned(), value: list, ..Default::default() });
    records(&mut request)[0].body = card();
    let mut batch = batch(&request);
    batch.begin(limits());
    let pattern = Pattern::compile(r"^4\d{15}$", Check::Luhn, 1 << 20).unwrap();
    let redaction = Redaction { pattern, action: Action::Mask("*".to_owned()) };
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    assert_eq!(batch.redact(&[redaction], &selection).unwrap(), [3]);
}

#[test]
fn an_excepted_key_holds_in_bodies_too() {
    let mut request = request(1);
    let secret = || vec![attribute("id", "ann@example.com"), attribute("user", "ann@example.com")];
    let list = KeyValueList { values: secret() };
    records(&mut request)[0].attributes = secret();
    records(&mut request)[0].body = Some(AnyValue { value: Some(any_value::Value::KvlistValue(list)) });
    let mut batch = batch(&request);
    batch.begin(limits());
    let compile = |expression| Pattern::compile(expression, Check::None, 1 << 20).unwrap();
    let redaction = Redaction { pattern: compile("[a-z]+@[a-z.]+"), action: Action::Mask("*".to_owned()) };
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: Some(compile("^id$")) };
    assert_eq!(batch.redact(&[redaction], &selection).unwrap(), [2]);
}
