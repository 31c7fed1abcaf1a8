"""A function that fails as its records say: `fail` times as a batch item, `raise` times altogether."""

import base64
import collections
import json

tries = collections.Counter()


def read(record):
    if "kinesis" in record:
        return record["kinesis"]["sequenceNumber"], json.loads(base64.b64decode(record["kinesis"]["data"]))
    return record["messageId"], json.loads(record["body"])


def handler(event, context):
    records = [read(record) for record in event["Records"]]
    tries.update(name for name, _ in records)
    if any(tries[name] <= said.get("raise", 0) for name, said in records):
        raise RuntimeError("as asked for")
    failed = [name for name, said in records if tries[name] <= said.get("fail", 0)]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}
