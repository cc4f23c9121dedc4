//! What is sent: OTLP log requests in protobuf and JSON, shaped like the logs of Shopify's Oxygen, with 14
//! attributes to a record. Written field by field, so that the load does not depend on what it measures.

/// What the resource is called.
const RESOURCE: [(&str, &str); 7] = [
    ("service.name", "oxygen"),
    ("service.namespace", "shopify"),
    ("service.version", "2026.10.3"),
    ("cloud.provider", "cloudflare"),
    ("deployment.environment.name", "production"),
    ("telemetry.sdk.name", "shopify-oxygen"),
    ("telemetry.sdk.language", "webjs"),
];
const SCOPE: (&str, &str) = ("oxygen.log-drain", "1.4.2");
const SEVERITY: (u64, &str) = (9, "INFO");

/// An `ExportLogsServiceRequest` with so many records: 1 kB for one, 67 kB for a hundred. The same
/// bytes at every call.
pub fn logs(records: usize) -> Vec<u8> {
    let mut resource = Vec::new();
    for (key, value) in RESOURCE {
        bytes(&mut resource, 1, &attribute(key, &Value::from(value)));
    }

    let mut scope_logs = Vec::new();
    let mut scope = Vec::new();
    bytes(&mut scope, 1, SCOPE.0.as_bytes());
    bytes(&mut scope, 2, SCOPE.1.as_bytes());
    bytes(&mut scope_logs, 1, &scope);
    for index in 0..records as u64 {
        bytes(&mut scope_logs, 2, &Record::new(index).protobuf());
    }

    let mut resource_logs = Vec::new();
    bytes(&mut resource_logs, 1, &resource);
    bytes(&mut resource_logs, 2, &scope_logs);

    let mut request = Vec::new();
    bytes(&mut request, 1, &resource_logs);
    request
}

/// The same in OTLP/JSON, as JavaScript's exporter writes it.
pub fn logs_json(records: usize) -> Vec<u8> {
    let resource = RESOURCE.map(|(key, value)| attribute_json(key, &Value::from(value))).join(",");
    let records: Vec<String> = (0..records as u64).map(|index| Record::new(index).json()).collect();
    let (name, version) = SCOPE;
    format!(
        "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":[{resource}]}},\"scopeLogs\":[{{\"scope\":\
         {{\"name\":\"{name}\",\"version\":\"{version}\"}},\"logRecords\":[{}]}}]}}]}}",
        records.join(",")
    )
    .into_bytes()
}

/// Spreads a counter over all 64 bits (splitmix64): values that look random and come again.
pub fn scatter(counter: u64) -> u64 {
    let mut x = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A `LogRecord` with what Oxygen writes about a request.
struct Record {
    at_ns: u64,
    body: String,
    attributes: [(&'static str, Value); 14],
}

impl Record {
    fn new(index: u64) -> Self {
        let random = scatter(index);
        let at_ns = 1_795_000_000_000_000_000 + index * 1_000_003;
        let path = format!("/products/handmade-{:04x}", random & 0xffff);
        let request_id = format!("{random:016x}-{:012x}", scatter(random) >> 16);
        let url = format!(
            "https://shop.example{path}?variant={}&utm_source=newsletter&utm_medium=email&utm_campaign=autumn-sale&utm_content=hero-banner&ref=home",
            random % 100_000_000
        );
        let body = format!("GET {path} 200 in {} ms", random % 900);
        let attributes = [
            ("hostname", "shop.example".into()),
            ("shop_id", Value::Number(60_123_456_789)),
            ("storefront_id", Value::Number(1_000_012_345)),
            ("deployment_id", Value::Number(3_456_789)),
            ("timestamp", Value::Number(at_ns / 1_000_000)),
            ("request_id", Value::Text(request_id)),
            ("path", Value::Text(path)),
            ("idx", Value::Number(index)),
            ("type", "request".into()),
            ("code", Value::Number(200)),
            ("method", "GET".into()),
            ("url", Value::Text(url)),
            (
                "user_agent",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36".into(),
            ),
            ("level", "info".into()),
        ];
        Self { at_ns, body, attributes }
    }

    fn observed_ns(&self) -> u64 {
        self.at_ns + 1_000
    }

    fn protobuf(&self) -> Vec<u8> {
        let mut record = Vec::new();
        fixed64(&mut record, 1, self.at_ns);
        number(&mut record, 2, SEVERITY.0);
        bytes(&mut record, 3, SEVERITY.1.as_bytes());
        bytes(&mut record, 5, &any(&Value::from(self.body.as_str())));
        for (key, value) in &self.attributes {
            bytes(&mut record, 6, &attribute(key, value));
        }
        fixed64(&mut record, 11, self.observed_ns());
        record
    }

    fn json(&self) -> String {
        let attributes: Vec<String> =
            self.attributes.iter().map(|(key, value)| attribute_json(key, value)).collect();
        format!(
            "{{\"timeUnixNano\":\"{}\",\"observedTimeUnixNano\":\"{}\",\"severityNumber\":{},\
             \"severityText\":\"{}\",\"body\":{},\"attributes\":[{}]}}",
            self.at_ns,
            self.observed_ns(),
            SEVERITY.0,
            SEVERITY.1,
            any_json(&Value::from(self.body.as_str())),
            attributes.join(",")
        )
    }
}

enum Value {
    Text(String),
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A `KeyValue`.
fn attribute(key: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, key.as_bytes());
    bytes(&mut out, 2, &any(value));
    out
}

fn attribute_json(key: &str, value: &Value) -> String {
    format!("{{\"key\":\"{key}\",\"value\":{}}}", any_json(value))
}

/// An `AnyValue`.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => bytes(&mut out, 1, text.as_bytes()),
        Value::Number(value) => number(&mut out, 3, *value),
    }
    out
}

/// No text here needs an escape.
fn any_json(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{{\"stringValue\":\"{text}\"}}"),
        Value::Number(value) => format!("{{\"intValue\":\"{value}\"}}"),
    }
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_sizes_that_the_report_speaks_of() {
        let sizes = [1, 100, 1000].map(|records| logs(records).len());
        assert!((800..1100).contains(&sizes[0]), "{sizes:?}");
        assert!((64_000..70_000).contains(&sizes[1]), "{sizes:?}");
        assert!((640_000..700_000).contains(&sizes[2]), "{sizes:?}");
    }
}
