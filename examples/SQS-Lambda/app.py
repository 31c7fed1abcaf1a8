"""Sends orders to a queue: the Python half of this pair, traced by Datadog's library for Python."""

import json
import os

import boto3

sqs = boto3.client("sqs")


def handler(event, context):
    order = {"id": event.get("id")}
    sent = sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps(order))
    return {"sent": sent["MessageId"]}
