"""Fulfils the orders of a topic: the Python half of this pair, traced by Datadog's library for Python."""

import json

from ddtrace import tracer


def handler(event, context):
    for record in event["Records"]:
        fulfil(json.loads(record["Sns"]["Message"]))
    return {"fulfilled": len(event["Records"])}


@tracer.wrap("fulfil_order")
def fulfil(order):
    print("order fulfilled", order["id"])
