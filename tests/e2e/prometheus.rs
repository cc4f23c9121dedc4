//! A real Prometheus behind Tollgate: what was sent is found in it, and the sender is answered in OTLP's
//! words, which Prometheus's own are not.

use crate::kit::{
    Answer, Connection, Folder, Request, Tollgate, compress, eventually, free_address, has,
    real::{Running, now_nanos, peer, url_encoded},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

const MINUTE_NANOS: u64 = 60_000_000_000;

struct Prometheus {
    _process: Running,
    _folder: Folder,
    address: SocketAddr,
}

impl Prometheus {
    fn start() -> Option<Self> {
        let program = peer("prometheus");
        if !has("prometheus", program.is_some()) {
            return None;
        }
        let folder = Folder::create();
        let address = free_address();
        let config = "otlp: { promote_resource_attributes: [service.name] }\n\
                      storage: { tsdb: { out_of_order_time_window: 30m } }\n";
        let path = folder.path().join("prometheus.yaml");
        fs::write(&path, config).expect("writing Prometheus's configuration");
        let mut command = Command::new(program?);
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-otlp-receiver", "--log.level=error"])
            .current_dir(folder.path());
        let child = command.stdin(Stdio::null()).spawn().expect("starting Prometheus");
        let prometheus = Self { _process: Running(child), _folder: folder, address };
        eventually("Prometheus is ready", || {
            let answer = Connection::try_tcp(address).ok()?.try_send(&get("/-/ready")).ok()?;
            (answer.status == 200).then_some(())
        });
        Some(prometheus)
    }

    /// The value of each series that a query finds.
    fn query(&self, query: &str) -> Vec<(Value, String)> {
        let answer =
            Connection::tcp(self.address).send(&get(&format!("/api/v1/query?query={}", url_encoded(query))));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let said: Value = serde_json::from_slice(&answer.body).expect("Prometheus answers in JSON");
        let found = said["data"]["result"].as_array().cloned().unwrap_or_default();
        let values = found.into_iter().map(|series| {
            let value = series["value"][1].as_str().unwrap_or_default().to_owned();
            (series["metric"].clone(), value)
        });
        values.collect()
    }

    /// Waits for the one series that a query finds: its labels and its value.
    #[track_caller]
    fn one(&self, query: &str) -> (Value, String) {
        let mut found = eventually(query, || Some(self.query(query)).filter(|found| !found.is_empty()));
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found.remove(0)
    }
}

fn get(target: &str) -> Request {
    Request::post(target, "").method("GET")
}

fn start(prometheus: &Prometheus) -> Tollgate {
    Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "prometheus"

[upstream.prometheus]
endpoint = "http://{}/api/v1/otlp"
"#,
        prometheus.address
    ))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

fn point(value: f64, time_nanos: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("currency", "EUR")],
        start_time_unix_nano: time_nanos - MINUTE_NANOS,
        time_unix_nano: time_nanos,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    }
}

fn gauge(name: &str, unit: &str, value: f64, time_nanos: u64) -> Metric {
    Metric {
        name: name.into(),
        unit: unit.into(),
        data: Some(Data::Gauge(Gauge { data_points: vec![point(value, time_nanos)] })),
        ..Default::default()
    }
}

fn sum(name: &str, temporality: AggregationTemporality, value: f64, time_nanos: u64) -> Metric {
    Metric {
        name: name.into(),
        data: Some(Data::Sum(Sum {
            data_points: vec![point(value, time_nanos)],
            aggregation_temporality: temporality.into(),
            is_monotonic: true,
        })),
        ..Default::default()
    }
}

fn histogram(name: &str, time_nanos: u64) -> Metric {
    let point = HistogramDataPoint {
        start_time_unix_nano: time_nanos - MINUTE_NANOS,
        time_unix_nano: time_nanos,
        count: 6,
        sum: Some(31.5),
        // opentelemetry-proto would write `null` for none.
        min: Some(0.5),
        max: Some(20.0),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![1.0, 10.0],
        ..Default::default()
    };
    Metric {
        name: name.into(),
        unit: "s".into(),
        data: Some(Data::Histogram(Histogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        })),
        ..Default::default()
    }
}

fn batch(service: &str, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", service)],
                ..Default::default()
            }),
            scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
            ..Default::default()
        }],
    }
}

fn send(
    tollgate: &Tollgate,
    batch: &ExportMetricsServiceRequest,
    encoding: &str,
    compression: &str,
) -> Answer {
    let (media_type, plain) = match encoding {
        // With a parameter, which Prometheus itself does not take.
        "json" => ("application/json; charset=utf-8", serde_json::to_vec(batch).expect("OTLP JSON")),
        _ => ("application/x-protobuf", batch.encode_to_vec()),
    };
    let request = Request::post("/v1/metrics", compress(compression, &plain)).by_shop();
    let request = request.header("Content-Type", media_type);
    tollgate.send(&match compression {
        "identity" => request,
        other => request.header("Content-Encoding", other),
    })
}

const ENCODINGS: [(&str, &str, &str); 2] =
    [("protobuf", "application/x-protobuf", ""), ("json", "application/json", "{}")];

#[test]
fn what_was_sent_is_found_in_prometheus() {
    let Some(prometheus) = Prometheus::start() else { return };
    let tollgate = start(&prometheus);
    for (encoding, media_type, success) in ENCODINGS {
        for compression in ["identity", "gzip"] {
            let service = format!("{encoding}-{compression}");
            let now = now_nanos();
            let metrics = vec![
                gauge("cart.fill", "1", 0.25, now),
                sum("cart.checkouts", AggregationTemporality::Cumulative, 42.0, now),
                histogram("cart.time", now),
            ];
            let answer = send(&tollgate, &batch(&service, metrics), encoding, compression);
            assert_eq!((answer.status, answer.text().as_str()), (200, success), "{service}");
            assert_eq!(answer.header("content-type"), Some(media_type), "{service}");

            let (labels, value) = prometheus.one(&format!("cart_fill_ratio{{job=\"{service}\"}}"));
            assert_eq!(value, "0.25", "{service}");
            assert_eq!(labels["currency"], "EUR", "{service}: {labels}");
            assert_eq!(labels["service_name"], service, "{labels}");
            for (query, wanted) in [
                ("cart_checkouts_total", "42"),
                ("cart_time_seconds_sum", "31.5"),
                ("cart_time_seconds_count", "6"),
            ] {
                assert_eq!(
                    prometheus.one(&format!("{query}{{job=\"{service}\"}}")).1,
                    wanted,
                    "{service} {query}"
                );
            }
            let bucket = format!("cart_time_seconds_bucket{{job=\"{service}\",le=\"10\"}}");
            assert_eq!(prometheus.one(&bucket).1, "3", "{service}");
        }
    }
}

#[test]
fn a_success_without_a_type_is_made_anew() {
    let Some(prometheus) = Prometheus::start() else { return };
    let batch = batch("itself", vec![gauge("cart.fill", "1", 0.5, now_nanos())]);
    let itself = Request::post("/api/v1/otlp/v1/metrics", batch.encode_to_vec());
    let answer = Connection::tcp(prometheus.address).send(&itself);
    assert_eq!((answer.status, answer.header("content-type"), answer.body.len()), (200, None, 0));
    let tollgate = start(&prometheus);
    for (encoding, media_type, success) in ENCODINGS {
        let answer = send(&tollgate, &batch, encoding, "identity");
        assert_eq!((answer.status, answer.text().as_str()), (200, success), "{encoding}");
        assert_eq!(answer.header("content-type"), Some(media_type), "{encoding}");
    }
}

#[test]
fn a_delta_sum_is_final_and_costs_the_batch() {
    let Some(prometheus) = Prometheus::start() else { return };
    let tollgate = start(&prometheus);
    for (encoding, media_type, _) in ENCODINGS {
        let now = now_nanos();
        let gauge = gauge("cart.fill", "1", 0.5, now);
        let delta = sum("cart.checkouts", AggregationTemporality::Delta, 1.0, now);
        let answer = send(&tollgate, &batch(encoding, vec![gauge.clone(), delta]), encoding, "gzip");
        assert_eq!(answer.status, 500, "which no sender tries again: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(media_type), "Prometheus itself says text/plain");
        assert_eq!(answer.header("retry-after"), None);
        let (code, words, _) = answer.rpc_status();
        assert_eq!(code, 13, "INTERNAL");
        assert!(words.contains("the destination failed: ") && words.contains("temporality"), "{words}");

        // What comes later is found, and the gauge that came before it is not.
        let later = batch(&format!("{encoding}-later"), vec![gauge]);
        assert_eq!(send(&tollgate, &later, encoding, "gzip").status, 200);
        prometheus.one(&format!("cart_fill_ratio{{job=\"{encoding}-later\"}}"));
        assert!(prometheus.query(&format!("{{job=\"{encoding}\"}}")).is_empty(), "{encoding}");
    }
}

#[test]
fn a_sample_that_is_too_old_is_refused_in_prometheuss_words() {
    let Some(prometheus) = Prometheus::start() else { return };
    let tollgate = start(&prometheus);
    let now = now_nanos();
    let fresh = batch("old", vec![gauge("cart.fill", "1", 0.5, now)]);
    assert_eq!(send(&tollgate, &fresh, "protobuf", "identity").status, 200);
    for (encoding, media_type, _) in ENCODINGS {
        let old = batch("old", vec![gauge("cart.fill", "1", 0.5, now - 180 * MINUTE_NANOS)]);
        let answer = send(&tollgate, &old, encoding, "identity");
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert!(answer.status_message().contains("too old"), "{}", answer.status_message());
    }
}
