"""Sends orders to a topic: the Python half of this pair, traced by Datadog's library for Python."""

import json
import os

import boto3

sns = boto3.client("sns")


def handler(event, context):
    order = {"id": event.get("id")}
    sent = sns.publish(TopicArn=os.environ["TOPIC_ARN"], Message=json.dumps(order))
    return {"sent": sent["MessageId"]}
