"""What a user writes: a span, a line in the log, a metric. What it does is told by the event's `do`."""

import logging
import time

from datadog_lambda.metric import lambda_metric
from ddtrace.trace import tracer

log = logging.getLogger()
log.setLevel(logging.INFO)


class OutOfStock(Exception):
    pass


def handler(event, context):
    with tracer.trace("work", resource="order 17") as span:
        span.set_tag("order", "17")
        span.set_metric("items", 3)
        log.info("working on order 17")
        lambda_metric("orders.value", 12.5, tags=["shop:test"])
        if event.get("do") == "raise":
            raise OutOfStock("none left")
        if event.get("do") == "hang":
            time.sleep(3600)
    return {"statusCode": 200, "body": "done"}
