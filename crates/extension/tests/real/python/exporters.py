"""What a service tells that is instrumented with OpenTelemetry: traces, metrics and logs, by its own exporters.

    exporters.py http|grpc ENDPOINT
"""

import importlib
import logging
import sys

from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

PROTOCOL, ENDPOINT = sys.argv[1:]
CALLER = SpanContext(0x66A1B2C300000000112210F47DE98115, 77, is_remote=True, trace_flags=TraceFlags(1))
OTHER = SpanContext(0x66A1B2C3000000000000000000000BAD, 99, is_remote=True, trace_flags=TraceFlags(1))


def exporter(signal):
    """Of HTTP with gzip; of gRPC without TLS."""
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{PROTOCOL}.{signal['module']}")
    make = getattr(module, signal["name"])
    if PROTOCOL == "grpc":
        return make(endpoint=ENDPOINT, insecure=True, timeout=60)
    from opentelemetry.exporter.otlp.proto.http import Compression

    return make(endpoint=f"{ENDPOINT}/v1/{signal['path']}", compression=Compression.Gzip, timeout=60)


TRACES = {"module": "trace_exporter", "name": "OTLPSpanExporter", "path": "traces"}
METRICS = {"module": "metric_exporter", "name": "OTLPMetricExporter", "path": "metrics"}
LOGS = {"module": "_log_exporter", "name": "OTLPLogExporter", "path": "logs"}

resource = Resource.create(
    {"service.name": "shop", "service.version": "1.2", "deployment.environment.name": "staging", "team": "orders"}
)
spans = TracerProvider(resource=resource)
spans.add_span_processor(BatchSpanProcessor(exporter(TRACES)))
reader = PeriodicExportingMetricReader(exporter(METRICS), export_interval_millis=float("inf"))
exponential = View(
    instrument_type=Histogram, instrument_name="orders.weight", aggregation=ExponentialBucketHistogramAggregation()
)
meters = MeterProvider([reader], resource=resource, views=[exponential])
lines = LoggerProvider(resource=resource)
lines.add_log_record_processor(BatchLogRecordProcessor(exporter(LOGS)))

log = logging.getLogger("shop")
log.addHandler(LoggingHandler(logger_provider=lines))
log.setLevel(logging.INFO)

tracer = spans.get_tracer("shop.web", "0.1")
meter = meters.get_meter("shop.web", "0.1")


def trace_requests():
    parent = trace.set_span_in_context(trace.NonRecordingSpan(CALLER))
    request = {"http.request.method": "GET", "http.route": "/orders/{id}", "url.path": "/orders/17"}
    with tracer.start_as_current_span("GET /orders/{id}", parent, SpanKind.SERVER, request) as span:
        query = {"db.system.name": "postgresql", "db.query.text": "SELECT 1", "db.operation.name": "SELECT"}
        with tracer.start_as_current_span("SELECT orders", kind=SpanKind.CLIENT, attributes=query):
            log.info("looking for order %s", 17, extra={"order": 17})
        links = [Link(OTHER, {"why": "retry"})]
        sent = {"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": "orders"}
        with tracer.start_as_current_span("send orders", kind=SpanKind.PRODUCER, attributes=sent, links=links):
            pass
        with tracer.start_as_current_span("pack", attributes={"count": 3, "fast": True, "ratio": 0.5}) as packing:
            packing.add_event("packed", {"boxes": 3, "sizes": [1, 2]})
        try:
            raise ValueError("out of stock")
        except ValueError as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, "none left"))
            log.exception("could not pack")
        span.set_attribute("http.response.status_code", 500)


def measure():
    taken = meter.create_counter("orders.taken", unit="1")
    open_now = meter.create_up_down_counter("orders.open")
    value = meter.create_histogram("orders.value")
    weight = meter.create_histogram("orders.weight")
    meter.create_observable_gauge("orders.waiting", [lambda _: [Observation(2.5, {"shop": "a"})]])
    # Sums go on from one export to the next: what is told is how much there was in all.
    for count, values in [(5, [10, 20]), (7, [30])]:
        taken.add(count, {"shop": "a"})
        open_now.add(-count if count == 7 else 9)
        for number in values:
            value.record(number, {"shop": "a"})
            weight.record(number / 10)
        meters.force_flush(60_000)


trace_requests()
measure()
for provider in (spans, meters, lines):
    provider.shutdown()
