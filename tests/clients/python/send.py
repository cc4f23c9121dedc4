"""Sends logs, traces and metrics with the OpenTelemetry SDK, as an application does.

Everything about the exporter comes from the environment (OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS,
_COMPRESSION, _CERTIFICATE). The argument is a folder: what each exporter was given is written there
as the SDK itself encodes it, `logs-0`, `logs-1` and so on, to be compared with what arrived.
The exit status is 0 if every export succeeded.
"""

import logging
import pathlib
import sys
import warnings

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

warnings.simplefilter("ignore", DeprecationWarning)  # of LoggingHandler, which only moves elsewhere
folder = pathlib.Path(sys.argv[1])
results = []


def recorded(exporter, name, encode):
    """The exporter's class, with what it is given written down first."""

    class Recorded(exporter):
        def export(self, batch, *args, **more):
            number = len(list(folder.glob(f"{name}-*")))
            (folder / f"{name}-{number}").write_bytes(encode(batch).SerializeToString())
            result = super().export(batch, *args, **more)
            results.append(result.name)
            return result

    return Recorded


resource = Resource.create({"service.name": "oxygen", "shop.id": 42, "regions": ["eu", "us"]})

tracers = TracerProvider(resource=resource)
tracers.add_span_processor(BatchSpanProcessor(recorded(OTLPSpanExporter, "traces", encode_spans)()))
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(BatchLogRecordProcessor(recorded(OTLPLogExporter, "logs", encode_logs)()))
exporter = recorded(OTLPMetricExporter, "metrics", encode_metrics)()
meters = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(exporter, 3_600_000)])

log = logging.getLogger("storefront")
log.setLevel(logging.INFO)
log.propagate = False
log.addHandler(LoggingHandler(logger_provider=loggers))
tracer = tracers.get_tracer("storefront.router", "2026.4.0")
meter = meters.get_meter("storefront.meter")
requests = meter.create_counter("storefront.requests", unit="{request}", description="Requests served")
latency = meter.create_histogram("storefront.latency", unit="ms")
meter.create_observable_gauge("storefront.carts", [lambda options: []])

for number in range(20):
    with tracer.start_as_current_span("GET /products/{handle}", kind=SpanKind.SERVER) as outer:
        outer.set_attribute("http.response.status_code", 200)
        outer.set_attribute("sizes", [38, 42])
        outer.add_event("cache.miss", {"cache.key": f"jacket-{number}"})
        with tracer.start_as_current_span("query", links=[Link(outer.get_span_context())]) as inner:
            inner.set_status(Status(StatusCode.ERROR, "throttled"))
            log.warning("request %d: Größe 42", number, extra={"cached": False, "took": 1.5})
    requests.add(1, {"http.route": "/products/{handle}"})
    latency.record(number * 1.25, {"cached": number % 2 == 0})

tracers.shutdown()
loggers.shutdown()
meters.shutdown()
print(",".join(results))
sys.exit(results != ["SUCCESS"] * len(results) or len(results) < 3)
