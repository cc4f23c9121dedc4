"""Sends the same records in every way there is, each way with an SDK of its own, as an application does.

Standard input is a list of cells in JSON: a cell's name, protocol, endpoint, authorization, compression
("none", "gzip" or "deflate") and certificate (to be believed, or null). The name stands in the resource. What is
sent is what tests/e2e/matrix/meant.rs expects; so ids and times are set, not taken.
The exit status is 0 if every export succeeded.
"""

import dataclasses
import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.common.http import Compression as JsonCompression
from opentelemetry.exporter.otlp.json.http import _log_exporter as json_logs
from opentelemetry.exporter.otlp.json.http import metric_exporter as json_metrics
from opentelemetry.exporter.otlp.json.http import trace_exporter as json_traces
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.trace import Status, StatusCode, TraceFlags, TraceState

START = 1_767_225_600_123_456_789
SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
TRACE_ID = 0x0102030405060708090A0B0C0D0E0F10
KINDS = {
    "text": 'Größe 42 – 日本語 🧥\n\t"\\\x00\x7f',
    "empty": "",
    "true": True,
    "false": False,
    "zero": 0,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "beyond 2^53": 2**53 + 1,
    "tenth": 0.1,
    "long": 94.52706955539223,
    "tiny": 5e-324,
    "huge": sys.float_info.max,
    "whole": 42.0,
    "minus zero": -0.0,
    "no number": float("nan"),
    "endless": float("-inf"),
    "texts": ["eu", "", "us"],
    "bytes": bytes([0, 127, 128, 255]),
    "mixed": ["a", 1, 1.5, True, b"\xff", [[]], {"deep": [{"er": None}]}],
    "map": {"a": "x", "b": {"c": -1, "d": {}}},
    "nothing": None,
}


class Ids(IdGenerator):
    """Span ids that are counted."""

    def __init__(self):
        self.last = 0

    def generate_trace_id(self):
        return TRACE_ID

    def generate_span_id(self):
        self.last += 1
        return 0xA0B0C0D0E0F00000 + self.last


def timed(value):
    """What the SDK collected, with times that are known."""
    if isinstance(value, (list, tuple)):
        return [timed(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    times = {"start_time_unix_nano": START, "time_unix_nano": START + 1}

    def change(name):
        known = getattr(value, name)
        return known if known is None else times.get(name, timed(known))

    names = [field.name for field in dataclasses.fields(value)]
    return dataclasses.replace(value, **{name: change(name) for name in names})


def context(span_id, is_remote=False):
    state = TraceState([("rojo", "00f067aa0ba902b7"), ("congo", "t61rcWkgMzE")])
    return SpanContext(TRACE_ID, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED), state)


def within(span_context):
    return trace.set_span_in_context(NonRecordingSpan(span_context))


def send_traces(provider):
    tracer = provider.get_tracer("storefront.router", "2026.4.0", SCHEMA, {"team": "edge"})
    outer = tracer.start_span(
        "GET /products/{handle}",
        context=within(context(0xFFFFFFFFFFFFFFFF, is_remote=True)),
        kind=SpanKind.SERVER,
        attributes=KINDS,
        links=[Link(context(0x00000000000000FF), {"why": "retry"})],
        start_time=START,
    )
    outer.add_event("cache.miss", KINDS, timestamp=START + 10)
    outer.add_event("later", timestamp=START + 20)
    within_outer = trace.set_span_in_context(outer)
    inner = tracer.start_span("query", within_outer, SpanKind.CLIENT, start_time=START + 30)
    inner.set_status(Status(StatusCode.ERROR, "throttled – später"))
    inner.end(START + 40)
    outer.set_status(Status(StatusCode.OK))
    outer.end(START + 2_000_000_000)


def send_logs(provider):
    logger = provider.get_logger("storefront.log", "2026.4.0", SCHEMA, {"team": "edge"})
    logger.emit(
        timestamp=START,
        observed_timestamp=START + 1,
        context=within(context(0xA0B0C0D0E0F00001)),
        severity_number=SeverityNumber.WARN2,
        severity_text="Warning",
        body=KINDS,
        attributes=KINDS,
        event_name="cart.abandoned",
    )
    logger.emit(timestamp=START + 2, observed_timestamp=START + 3, body="plain")


def send_metrics(provider):
    meter = provider.get_meter("storefront.meter", "2026.4.0", SCHEMA, {"team": "edge"})
    requests = meter.create_counter("storefront.requests", "{request}", "Requests served")
    requests.add(2**53 + 1, {"http.route": "/products/{handle}", "cached": True})
    requests.add(1, {"http.route": "/cart", "cached": False})
    meter.create_up_down_counter("storefront.balance", "EUR").add(-1.25)
    meter.create_gauge("storefront.load").set(0.1, {"sizes": ["S", "L"]})
    latency = meter.create_histogram("storefront.latency", "ms", explicit_bucket_boundaries_advisory=[0.5, 10.0])
    latency.record(0.25, {"cached": True})
    latency.record(5.0, {"cached": True}, within(context(0xA0B0C0D0E0F00001)))
    latency.record(100.0, {"cached": True})
    size = meter.create_histogram("storefront.size", "By")
    for value in (0, 1, 2, 4):
        size.record(value)


def exporters(cell):
    """The exporters of a cell: traces, logs, metrics."""
    protocol, endpoint, compression = cell["protocol"], cell["endpoint"], cell["compression"]
    headers = {"authorization": cell["authorization"]}
    if protocol == "grpc":
        options = {"endpoint": endpoint, "insecure": cell["certificate"] is None, "headers": headers, "timeout": 60}
        of_grpc = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
        options["compression"] = of_grpc.get(compression, grpc.Compression.NoCompression)
        if cell["certificate"] is not None:
            authority = pathlib.Path(cell["certificate"]).read_bytes()
            options["credentials"] = grpc.ssl_channel_credentials(authority)
        modules, paths = (grpc_traces, grpc_logs, grpc_metrics), ("", "", "")
    else:
        options = {"headers": headers, "certificate_file": cell["certificate"], "timeout": 60}
        of_http = Compression if protocol == "http/protobuf" else JsonCompression
        options["compression"] = of_http(compression)
        modules = (http_traces, http_logs, http_metrics)
        if protocol == "http/json":
            modules = (json_traces, json_logs, json_metrics)
        paths = ("/v1/traces", "/v1/logs", "/v1/metrics")
    classes = zip(modules, ("OTLPSpanExporter", "OTLPLogExporter", "OTLPMetricExporter"), paths)
    return [getattr(module, name)(**{**options, "endpoint": endpoint + path}) for module, name, path in classes]


def watch(exporter, failures, name, change=lambda batch: batch):
    """Has the exporter's failures noted."""
    export = exporter.export

    def watched(batch, *args, **more):
        result = export(change(batch), *args, **more)
        if result.name != "SUCCESS":
            failures.append(f"{name}: {type(exporter).__module__}: {result.name}")
        return result

    exporter.export = watched
    return exporter


def send(cell):
    failures = []
    spans, logs, metrics = exporters(cell)
    resource = Resource({"service.name": "oxygen", "cell": cell["name"], "shop.id": 42}, SCHEMA)

    tracers = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(watch(spans, failures, cell["name"])))
    send_traces(tracers)
    tracers.shutdown()

    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(watch(logs, failures, cell["name"])))
    send_logs(loggers)
    loggers.shutdown()

    reader = PeriodicExportingMetricReader(watch(metrics, failures, cell["name"], timed), 3_600_000)
    view = View(instrument_name="storefront.size", aggregation=ExponentialBucketHistogramAggregation(max_size=4))
    meters = MeterProvider([reader], resource, views=[view], shutdown_on_exit=False)
    send_metrics(meters)
    meters.shutdown()
    return failures


with ThreadPoolExecutor(4) as pool:
    failures = [failure for of_cell in pool.map(send, json.load(sys.stdin)) for failure in of_cell]
print("\n".join(failures))
sys.exit(len(failures) > 0)
