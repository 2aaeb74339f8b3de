"""Records a few measurements of each kind with OpenTelemetry's SDK and pushes them over OTLP.

Argument: URL of the receiver. Prints what was recorded as JSON.
"""

import json
import sys

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

resource = Resource.create(
    {"service.name": "py", "service.instance.id": "i1", "deployment.environment": "test"}
)
exporter = OTLPMetricExporter(endpoint=sys.argv[1] + "/v1/metrics")
# Only what is flushed is sent.
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
native = View(instrument_name="exp.duration", aggregation=ExponentialBucketHistogramAggregation())
provider = MeterProvider(resource=resource, metric_readers=[reader], views=[native])
tracer = TracerProvider().get_tracer("trial")

meter = provider.get_meter("trial", "1.0")
calls = meter.create_counter("calls", unit="1", description="Calls")
connections = meter.create_up_down_counter("open.conns")
latency = meter.create_histogram(
    "lat.duration", unit="s", explicit_bucket_boundaries_advisory=[0.25, 1.0]
)
sizes = meter.create_histogram("exp.duration", unit="By")
temperature = meter.create_gauge("temp", unit="Cel")

recorded = {"calls": 0, "traces": 0}
for i in range(6):
    with tracer.start_as_current_span("call") as span:
        calls.add(1, {"k.v": "ü"})
        connections.add(1)
        latency.record(0.1 * i)
        sizes.record(10 * i + 1)
        temperature.set(i)
        recorded["calls"] += 1
        recorded["traces"] += span.get_span_context().is_valid
recorded["flushed"] = provider.force_flush()
provider.shutdown()
print(json.dumps(recorded))
