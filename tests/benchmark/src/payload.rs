//! What is sent: OTLP log requests in protobuf, shaped like the logs of Shopify's Oxygen, with 14
//! attributes to a record. Written field by field, so that the load does not depend on what it measures.

/// An `ExportLogsServiceRequest` with so many records: 1 kB for one, 67 kB for a hundred. The same
/// bytes at every call.
pub fn logs(records: usize) -> Vec<u8> {
    let mut resource = Vec::new();
    for (key, value) in [
        ("service.name", "oxygen"),
        ("service.namespace", "shopify"),
        ("service.version", "2026.10.3"),
        ("cloud.provider", "cloudflare"),
        ("deployment.environment.name", "production"),
        ("telemetry.sdk.name", "shopify-oxygen"),
        ("telemetry.sdk.language", "webjs"),
    ] {
        bytes(&mut resource, 1, &attribute(key, Value::Text(value)));
    }

    let mut scope_logs = Vec::new();
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"oxygen.log-drain");
    bytes(&mut scope, 2, b"1.4.2");
    bytes(&mut scope_logs, 1, &scope);
    for index in 0..records as u64 {
        bytes(&mut scope_logs, 2, &record(index));
    }

    let mut resource_logs = Vec::new();
    bytes(&mut resource_logs, 1, &resource);
    bytes(&mut resource_logs, 2, &scope_logs);

    let mut request = Vec::new();
    bytes(&mut request, 1, &resource_logs);
    request
}

/// Spreads a counter over all 64 bits (splitmix64): values that look random and come again.
pub fn scatter(counter: u64) -> u64 {
    let mut x = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A `LogRecord` with what Oxygen writes about a request.
fn record(index: u64) -> Vec<u8> {
    let random = scatter(index);
    let at_ns = 1_795_000_000_000_000_000 + index * 1_000_003;
    let path = format!("/products/handmade-{:04x}", random & 0xffff);
    let request_id = format!("{random:016x}-{:012x}", scatter(random) >> 16);
    let url = format!(
        "https://shop.example{path}?variant={}&utm_source=newsletter&utm_medium=email&utm_campaign=autumn-sale&utm_content=hero-banner&ref=home",
        random % 100_000_000
    );

    let mut record = Vec::new();
    fixed64(&mut record, 1, at_ns);
    number(&mut record, 2, 9);
    bytes(&mut record, 3, b"INFO");
    bytes(&mut record, 5, &any(Value::Text(&format!("GET {path} 200 in {} ms", random % 900))));
    for (key, value) in [
        ("hostname", Value::Text("shop.example")),
        ("shop_id", Value::Number(60_123_456_789)),
        ("storefront_id", Value::Number(1_000_012_345)),
        ("deployment_id", Value::Number(3_456_789)),
        ("timestamp", Value::Number(at_ns / 1_000_000)),
        ("request_id", Value::Text(&request_id)),
        ("path", Value::Text(&path)),
        ("idx", Value::Number(index)),
        ("type", Value::Text("request")),
        ("code", Value::Number(200)),
        ("method", Value::Text("GET")),
        ("url", Value::Text(&url)),
        (
            "user_agent",
            Value::Text(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            ),
        ),
        ("level", Value::Text("info")),
    ] {
        bytes(&mut record, 6, &attribute(key, value));
    }
    fixed64(&mut record, 11, at_ns + 1_000);
    record
}

enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

/// A `KeyValue`.
fn attribute(key: &str, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, key.as_bytes());
    bytes(&mut out, 2, &any(value));
    out
}

/// An `AnyValue`.
fn any(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => bytes(&mut out, 1, text.as_bytes()),
        Value::Number(value) => number(&mut out, 3, value),
    }
    out
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
