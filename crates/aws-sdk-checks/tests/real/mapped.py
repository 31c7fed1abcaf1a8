"""A function that fails as its records say: `fail` times as a batch item, `raise` times altogether."""

import base64
import collections
import json

raised, failed = collections.Counter(), collections.Counter()


def again(tries, name, times):
    """Whether this is one of the first so many times."""
    tries[name] += 1
    return tries[name] <= times


def read(record):
    if "kinesis" in record:
        return record["kinesis"]["sequenceNumber"], json.loads(base64.b64decode(record["kinesis"]["data"]))
    return record["messageId"], json.loads(record["body"])


def handler(event, context):
    records = [read(record) for record in event["Records"]]
    if any([again(raised, name, said.get("raise", 0)) for name, said in records]):
        raise RuntimeError("as asked for")
    names = [name for name, said in records if again(failed, name, said.get("fail", 0))]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}
