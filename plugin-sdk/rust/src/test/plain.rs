//! OTLP/JSON that reads well: attributes as an object, values as they are.

use serde_json::{Map, Value as Json, json};

use super::Request;

/// A request of logs: one resource, and its records. Attributes and bodies are plain:
///
/// ```
/// # use serde_json::json;
/// # use tollgate_plugin::test;
/// test::logs(json!({ "service.name": "oxygen" }), json!([
///     { "body": "hello", "severityNumber": 9, "attributes": { "level": "info" } },
/// ]));
/// ```
pub fn logs(resource: Json, records: Json) -> Request {
    json!({ "resourceLogs": [{
        "resource": { "attributes": attributes(resource) },
        "scopeLogs": [{ "logRecords": list(records).map(written).collect::<Vec<_>>() }],
    }] })
    .into()
}

/// A request of spans, in the same form; so are their events and links.
pub fn spans(resource: Json, spans: Json) -> Request {
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(resource) },
        "scopeSpans": [{ "spans": list(spans).map(written).collect::<Vec<_>>() }],
    }] })
    .into()
}

/// A request of one gauge and its data points, in the same form.
pub fn data_points(resource: Json, metric: &str, points: Json) -> Request {
    json!({ "resourceMetrics": [{
        "resource": { "attributes": attributes(resource) },
        "scopeMetrics": [{ "metrics": [{
            "name": metric,
            "gauge": { "dataPoints": list(points).map(written).collect::<Vec<_>>() },
        }] }],
    }] })
    .into()
}

pub(super) fn resources(request: &Json) -> Vec<Json> {
    of_resources(request)
        .map(|resource| read(resource.get("resource").cloned().unwrap_or_default()))
        .collect()
}

pub(super) fn records(request: &Json) -> Vec<Json> {
    let mut records = Vec::new();
    for scope in of_resources(request)
        .flat_map(|resource| elements(resource, &["scopeLogs", "scopeSpans", "scopeMetrics"]))
    {
        records.extend(elements(scope, &["logRecords", "spans"]));
        for metric in elements(scope, &["metrics"]) {
            let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
            let data = kinds.iter().filter_map(|kind| metric.get(kind));
            records.extend(data.flat_map(|data| elements(data, &["dataPoints"])));
        }
    }
    records.into_iter().cloned().map(read).collect()
}

fn of_resources(request: &Json) -> impl Iterator<Item = &Json> {
    elements(request, &["resourceLogs", "resourceSpans", "resourceMetrics"])
}

fn elements<'a>(of: &'a Json, keys: &'a [&str]) -> impl Iterator<Item = &'a Json> {
    keys.iter().filter_map(|key| of.get(key)?.as_array()).flatten()
}

fn list(json: Json) -> impl Iterator<Item = Json> {
    match json {
        Json::Array(list) => list,
        one => vec![one],
    }
    .into_iter()
}

/// The plain form in OTLP's. A body that is in OTLP's own form already stays.
fn written(record: Json) -> Json {
    let Json::Object(fields) = record else { return record };
    let written = fields.into_iter().map(|(key, value)| {
        let value = match key.as_str() {
            "attributes" | "filteredAttributes" => attributes(value),
            "body" => any_value(value),
            "events" | "links" | "exemplars" => list(value).map(written).collect(),
            _ => value,
        };
        (key, value)
    });
    Json::Object(written.collect())
}

fn attributes(object: Json) -> Json {
    let Json::Object(fields) = object else { return object };
    fields.into_iter().map(|(key, value)| json!({ "key": key, "value": any_value(value) })).collect()
}

fn any_value(value: Json) -> Json {
    match value {
        Json::Null => json!({}),
        Json::Bool(boolean) => json!({ "boolValue": boolean }),
        Json::Number(number) => match number.as_i64() {
            Some(int) => json!({ "intValue": int.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        Json::String(text) => json!({ "stringValue": text }),
        Json::Array(values) => {
            let values: Vec<Json> = values.into_iter().map(any_value).collect();
            json!({ "arrayValue": { "values": values } })
        }
        object @ Json::Object(_) => json!({ "kvlistValue": { "values": attributes(object) } }),
    }
}

/// OTLP's form in the plain one.
fn read(record: Json) -> Json {
    let Json::Object(fields) = record else { return record };
    let mut plain = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "attributes" | "filteredAttributes" => object(value),
            "body" => plain_value(value),
            "events" | "links" | "exemplars" => list(value).map(read).collect(),
            _ => value,
        };
        plain.insert(key, value);
    }
    plain.entry("attributes").or_insert_with(|| json!({}));
    Json::Object(plain)
}

fn object(attributes: Json) -> Json {
    let entry = |attribute: Json| {
        let key = attribute.get("key")?.as_str()?.to_owned();
        Some((key, plain_value(attribute.get("value").cloned().unwrap_or_default())))
    };
    Json::Object(list(attributes).filter_map(entry).collect())
}

fn plain_value(value: Json) -> Json {
    let Json::Object(fields) = value else { return value };
    let Some((kind, value)) = fields.into_iter().next() else { return Json::Null };
    match kind.as_str() {
        "intValue" => value.as_str().and_then(|text| text.parse::<i64>().ok()).map_or(value, Json::from),
        "arrayValue" => {
            list(value.get("values").cloned().unwrap_or_else(|| json!([]))).map(plain_value).collect()
        }
        "kvlistValue" => object(value.get("values").cloned().unwrap_or_else(|| json!([]))),
        _ => value,
    }
}
