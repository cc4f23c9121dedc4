// Sends the same records in every way there is, each way with an SDK of its own, as an application does.
//
// Standard input is a list of cells in JSON: a cell's name, protocol, endpoint, authorization, compression
// ("none" or "gzip") and certificate (to be believed, or null). The name stands in the resource. What is
// sent is what tests/e2e/matrix/meant.rs expects; so ids and times are set, not taken.
// The exit status is 0 if every export succeeded. The argument is the folder of the packages.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace, ValueType } =
  require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const { credentials, Metadata } = require("@grpc/grpc-js");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const exporters = Object.fromEntries(
  [["http/json", "http"], ["http/protobuf", "proto"], ["grpc", "grpc"]].map(([protocol, name]) => [
    protocol,
    {
      Traces: require(`@opentelemetry/exporter-trace-otlp-${name}`).OTLPTraceExporter,
      Logs: require(`@opentelemetry/exporter-logs-otlp-${name}`).OTLPLogExporter,
      Metrics: require(`@opentelemetry/exporter-metrics-otlp-${name}`).OTLPMetricExporter,
    },
  ]),
);

const at = (nanos, seconds = 0) => [1_767_225_600 + seconds, 123_456_789 + nanos];
const schemaUrl = "https://opentelemetry.io/schemas/1.37.0";
const traceId = "0102030405060708090a0b0c0d0e0f10";
// What the attributes of a span may be.
const flat = {
  text: 'Größe 42 – 日本語 🧥\n\t"\\\u0000\u007f',
  empty: "",
  true: true,
  false: false,
  zero: 0,
  negative: -7,
  "beyond 2^53": 2 ** 53 + 2,
  tenth: 0.1,
  long: 94.52706955539223,
  tiny: 5e-324,
  texts: ["eu", "", "us"],
};
// What those of a log record may be, and its body.
const deep = {
  ...flat,
  bytes: new Uint8Array([0, 127, 128, 255]),
  mixed: ["a", 1, 1.5, true, new Uint8Array([255]), [[]], { deep: [{ er: null }] }],
  map: { a: "x", b: { c: -1, d: {} } },
  nothing: null,
};

const traceState = createTraceState("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
const spanContext = (spanId, isRemote = false) => ({
  traceId, spanId, isRemote, traceFlags: TraceFlags.SAMPLED, traceState,
});
const within = (context) => trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext(context));

/** Ids that are counted. */
function ids() {
  let last = 0;
  const next = () => `a0b0c0d0e0f0${(++last).toString(16).padStart(4, "0")}`;
  return { generateTraceId: () => traceId, generateSpanId: next };
}

function sendTraces(provider) {
  const tracer = provider.getTracer("storefront.router", "2026.4.0", { schemaUrl });
  const outer = tracer.startSpan(
    "GET /products/{handle}",
    {
      kind: SpanKind.SERVER,
      attributes: flat,
      links: [{ context: spanContext("00000000000000ff"), attributes: { why: "retry" } }],
      startTime: at(0),
    },
    within(spanContext("ffffffffffffffff", true)),
  );
  outer.addEvent("cache.miss", flat, at(10));
  outer.addEvent("later", at(20));
  const options = { kind: SpanKind.CLIENT, startTime: at(30) };
  const inner = tracer.startSpan("query", options, trace.setSpan(ROOT_CONTEXT, outer));
  inner.setStatus({ code: SpanStatusCode.ERROR, message: "throttled – später" });
  inner.end(at(40));
  outer.setStatus({ code: SpanStatusCode.OK });
  outer.end(at(0, 2));
}

function sendLogs(provider) {
  const logger = provider.getLogger("storefront.log", "2026.4.0", { schemaUrl });
  logger.emit({
    timestamp: at(0),
    observedTimestamp: at(1),
    context: within(spanContext("a0b0c0d0e0f00001")),
    severityNumber: SeverityNumber.WARN2,
    severityText: "Warning",
    body: deep,
    attributes: deep,
    eventName: "cart.abandoned",
  });
  logger.emit({ timestamp: at(2), observedTimestamp: at(3), body: "plain" });
}

function sendMetrics(provider) {
  const meter = provider.getMeter("storefront.meter", "2026.4.0", { schemaUrl });
  const described = { unit: "{request}", description: "Requests served", valueType: ValueType.INT };
  const requests = meter.createCounter("storefront.requests", described);
  requests.add(2 ** 53 + 2, { "http.route": "/products/{handle}", cached: true });
  requests.add(1, { "http.route": "/cart", cached: false });
  meter.createUpDownCounter("storefront.balance", { unit: "EUR" }).add(-1.25);
  meter.createGauge("storefront.load").record(0.1, { sizes: ["S", "L"] });
  const advice = { explicitBucketBoundaries: [0.5, 10] };
  const latency = meter.createHistogram("storefront.latency", { unit: "ms", advice });
  [0.25, 5, 100].forEach((value) => latency.record(value, { cached: true }));
  const size = meter.createHistogram("storefront.size", { unit: "By" });
  [0, 1, 2, 4].forEach((value) => size.record(value));
}

/** What the SDK collected, with times that are known. */
function timed(batch) {
  for (const scope of batch.scopeMetrics)
    for (const metric of scope.metrics)
      for (const point of metric.dataPoints) Object.assign(point, { startTime: at(0), endTime: at(1) });
  return batch;
}

/** An exporter of a cell, whose failures are noted. */
function exporter(cell, signal, failures, change = (batch) => batch) {
  const options = { url: cell.endpoint, compression: cell.compression, timeoutMillis: 60_000 };
  const authority = cell.certificate === null ? undefined : readFileSync(cell.certificate);
  if (cell.protocol === "grpc") {
    options.metadata = new Metadata();
    options.metadata.set("authorization", cell.authorization);
    options.credentials = authority ? credentials.createSsl(authority) : credentials.createInsecure();
  } else {
    options.url += `/v1/${signal.toLowerCase()}`;
    options.headers = { authorization: cell.authorization };
    if (authority) options.httpAgentOptions = { ca: authority };
  }
  const made = new exporters[cell.protocol][signal](options);
  const sends = made.export.bind(made);
  made.export = (batch, done) =>
    sends(change(batch), (result) => {
      if (result.code !== 0) failures.push(`${cell.name}: ${signal}: ${result.error}`);
      done(result);
    });
  return made;
}

async function send(cell) {
  const failures = [];
  const attributes = { "service.name": "oxygen", cell: cell.name, "shop.id": 42 };
  const resource = resourceFromAttributes(attributes, { schemaUrl });

  const spanProcessors = [new BatchSpanProcessor(exporter(cell, "Traces", failures))];
  const tracers = new BasicTracerProvider({ resource, spanProcessors, idGenerator: ids() });
  sendTraces(tracers);
  await tracers.shutdown();

  const processors = [new BatchLogRecordProcessor({ exporter: exporter(cell, "Logs", failures) })];
  const loggers = new LoggerProvider({ resource, processors });
  sendLogs(loggers);
  await loggers.shutdown();

  const reader = new PeriodicExportingMetricReader({
    exporter: exporter(cell, "Metrics", failures, timed),
    exportIntervalMillis: 3_600_000,
  });
  const aggregation = { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 4, recordMinMax: true } };
  const views = [{ instrumentName: "storefront.size", aggregation }];
  const meters = new MeterProvider({ resource, readers: [reader], views });
  sendMetrics(meters);
  await meters.shutdown();
  return failures;
}

const failures = [];
for (const cell of JSON.parse(readFileSync(0))) failures.push(...(await send(cell)));
console.log(failures.join("\n"));
process.exit(failures.length > 0 ? 1 : 0);
