"""What is on the other side: boto3, Datadog's Lambda library and, when asked to, Datadog's tracer in boto3.

One JSON object a line comes in, one goes out: the result, or what went wrong.
"""

import base64
import json
import sys

out = sys.stdout
sys.stdout = sys.stderr

if sys.argv[1] in ("traced", "streams"):
    import ddtrace

    ddtrace.patch(botocore=True)

import boto3
from awslambdaric.lambda_context import LambdaContext
from datadog_lambda import span_pointers, tracing, trigger


def to_json(value):
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if hasattr(value, "read"):
        return {"base64": base64.b64encode(value.read()).decode()}
    return str(value)


def from_json(value):
    if isinstance(value, dict):
        if list(value) == ["base64"]:
            return base64.b64decode(value["base64"])
        return {key: from_json(inner) for key, inner in value.items()}
    return [from_json(inner) for inner in value] if isinstance(value, list) else value


def client(endpoint, service):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )


def call(endpoint, service, method, arguments):
    return getattr(client(endpoint, service), method)(**from_json(arguments))


def extract(event, client_context=None):
    """The context that Datadog's library takes from an event."""
    context = LambdaContext("request-1", client_context, None, 0, "arn:aws:lambda:eu-west-1:123456789012:function:f")
    found, source, _ = tracing.extract_dd_trace_context(event, context)
    if source != "event":
        return None
    # Of a state machine it has the high half apart.
    high = int(found._meta.get("_dd.p.tid", "0"), 16)
    trace_id = found.trace_id if found.trace_id >> 64 else high << 64 | found.trace_id
    return {
        "trace_id": "%032x" % trace_id,
        "span_id": "%016x" % found.span_id,
        "priority": found.sampling_priority,
    }


def pointers(event):
    """The hashes of the span pointers that Datadog's library makes of an event."""
    found = span_pointers.calculate_span_pointers(trigger.parse_event_source(event), event, True)
    return [pointer.pointer_hash for pointer in found]


def traced(endpoint, service, method, arguments):
    """A call under a span, by Datadog's tracer: the trace that it is in."""
    with ddtrace.trace.tracer.trace("producer") as span:
        call(endpoint, service, method, arguments)
        return {"trace_id": "%032x" % span.trace_id, "span_id": "%016x" % span.span_id}


def counted():
    """The checkpoints of Datadog's tracer since the last time: tags, hash and parent's hash, which JSON has as text."""
    from ddtrace.internal.datastreams import data_streams_processor

    processor = data_streams_processor()
    with processor._lock:
        keys = [key for bucket in processor._buckets.values() for key in bucket.pathway_stats]
        processor._buckets.clear()
    # What comes next is of another request.
    processor.new_pathway()
    return [{"tags": tags, "hash": str(here), "parent": str(parent)} for tags, here, parent in keys]


def consumed(event):
    """What Datadog's library counts of an event."""
    counted()
    extract(event)
    return counted()


def sketch(seconds):
    from ddtrace.internal.native import DDSketch

    made = DDSketch()
    made.add(seconds)
    return made.to_proto().hex()


WORK = {work.__name__: work for work in (call, extract, pointers, traced, counted, consumed, sketch)}

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"ok": WORK[request.pop("do")](**request)}
    except Exception as error:  # What the test sees instead of a hang.
        answer = {"error": repr(error)}
    print(json.dumps(answer, default=to_json), file=out, flush=True)
