"""Runs a pair of functions on this machine, and prints the trace that they make: what `run.sh local` starts.

The functions run in dd-lambda, each with the extension beside it; what is between them is moto, an AWS API server. What
carries a message on to the consumer is dd-lambda's event source mapping (`--source`). SNS and EventBridge deliver to a
queue for that.

    local.py --service sqs --rust consumer --program PROGRAM --app FOLDER --binaries FOLDER [--event JSON] [--keep]
"""

import argparse
import collections
import json
import logging
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# Where Datadog's libraries look for the extension, and take it from that that there is one.
EXTENSION = "/opt/extensions/datadog-agent"
PATIENCE = 120
ACCOUNT = {"region_name": "us-east-1", "aws_access_key_id": "id", "aws_secret_access_key": "secret"}


def python_function():
    """The Python function's process: AWS's runtime client, with Datadog's handler around that of app.py."""
    exists = os.path.exists
    os.path.exists = lambda path: path == EXTENSION or exists(path)
    from awslambdaric.__main__ import main as serve

    sys.path[0] = os.getcwd()
    serve(["awslambdaric", "datadog_lambda.handler.handler"])


class DdLambda:
    """dd-lambda with both functions."""

    def __init__(self, arguments, functions, between, variables, folder):
        command = [arguments.binaries / "dd-lambda", "dev", "--no-watch", "--timeout", "60"]
        command += ["--extension", arguments.binaries / "datadog-agent"]
        for name, program in functions.items():
            command += ["--function", f"{name}={program}"]
        for variable in variables.items():
            command += ["--env", "=".join(variable)]
        command += ["--source", f"{arguments.service}:{between.queue}=consumer"]
        self.said = collections.deque(maxlen=300)
        self.page = self.endpoint = self.failure = None
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **between.account, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.ready.wait(PATIENCE) or not self.page or not self.endpoint:
            raise Failure("dd-lambda does not start")

    def read(self):
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"^ *page +(http://\S+)", line):
                self.page = found[1].rstrip("/")
            if found := re.search(r"--endpoint-url (http://\S+)", line):
                self.endpoint = found[1]
            if re.search(r"^ *source .* failed", line):
                self.failure = line.strip()
            if self.page and self.endpoint:
                self.ready.set()
        self.ready.set()

    def get(self, path):
        with urllib.request.urlopen(self.page + path, timeout=PATIENCE) as answer:
            return json.load(answer)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)


class Failure(Exception):
    pass


class Between:
    """What is between the functions, on the AWS API server: made here, with a queue at its end."""

    def __init__(self, service, endpoint):
        import boto3

        self.client = lambda name: boto3.client(name, endpoint_url=endpoint, **ACCOUNT)
        self.service = service
        # For what is not written in Python.
        self.account = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": ACCOUNT["region_name"],
            "AWS_ACCESS_KEY_ID": ACCOUNT["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": ACCOUNT["aws_secret_access_key"],
        }
        self.sqs = self.client("sqs")
        self.queue = self.sqs.create_queue(QueueName="orders")["QueueUrl"]
        names = ["QueueArn"]
        self.arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]["QueueArn"]
        make = {"sqs": self.for_sqs, "sns": self.for_sns, "eventbridge": self.for_eventbridge}
        self.variable, self.value = make[service]()

    def for_sqs(self):
        return "QUEUE_URL", self.queue

    def for_sns(self):
        sns = self.client("sns")
        topic = sns.create_topic(Name="orders")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self.arn)
        return "TOPIC_ARN", topic

    def for_eventbridge(self):
        events = self.client("events")
        events.create_event_bus(Name="orders")
        events.put_rule(Name="orders", EventBusName="orders", EventPattern='{"source": ["orders"]}')
        events.put_targets(Rule="orders", EventBusName="orders", Targets=[{"Id": "consumer", "Arn": self.arn}])
        return "EVENT_BUS", "orders"


def invoke(client, function, event):
    answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    payload = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise Failure(f"{function} failed: {payload}")
    print(f"{function} answered {payload}", file=sys.stderr)


def is_whole(trace):
    """The work in the consumer, and the producer's root above the consumer's: and above all, nothing else."""
    above, consumed, worked = [], False, False
    for span in trace["spans"]:
        above = above[: span["depth"]] + [(span["service"], span["name"])]
        consumed |= above[-1] == ("consumer", "aws.lambda") and ("producer", "aws.lambda") in above
        worked |= span["name"] == "fulfil_order"
    roots = [span for span in trace["spans"] if span["depth"] == 0]
    return consumed and worked and len(roots) == 1 and not trace["missing_parents"]


def connected(dd_lambda):
    """The one trace that both functions are in, once all of it has arrived."""
    deadline = time.monotonic() + PATIENCE
    version = 0
    while time.monotonic() < deadline:
        if dd_lambda.failure:
            raise Failure(dd_lambda.failure)
        state = dd_lambda.get("/local/state")
        for trace in state["traces"]:
            if is_whole(trace):
                return trace
        version = state["version"]
        dd_lambda.get(f"/local/wait?after={version}&timeout_ms=5000")
    seen = [[(span["service"], span["name"]) for span in trace["spans"]] for trace in state["traces"]]
    raise Failure(f"there is no trace of both functions; there is {seen}")


def show(trace):
    """The trace as a tree, without the many spans of what Python imports."""
    spans = [span for span in trace["spans"] if span["name"] != "aws.lambda.import"]
    imports = len(trace["spans"]) - len(spans)
    print(f"trace {trace['trace_id']}: {len(spans)} spans, and {imports} of imports")
    for span in spans:
        name = "  " * span["depth"] + span["name"]
        print(f"  {name:<34} {span['service']:<12} {span['duration_ns'] / 1e6:>9.1f} ms  {span['resource']}")


def run(arguments, folder):
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").disabled = True
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    endpoint = "http://%s:%s" % moto.get_host_and_port()
    between = Between(arguments.service, endpoint)

    python = pathlib.Path(folder) / "bootstrap"
    words = [sys.executable, os.path.abspath(__file__), "--function"]
    python.write_text(f"#!/bin/sh\ncd {shlex.quote(str(arguments.app))} && exec {shlex.join(words)}\n")
    python.chmod(0o755)
    functions = {"producer": python, "consumer": python, arguments.rust: arguments.program}
    variables = {
        between.variable: between.value,
        "AWS_ENDPOINT_URL": endpoint,
        "DD_LAMBDA_HANDLER": "app.handler",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    dd_lambda = DdLambda(arguments, functions, between, variables, folder)
    try:
        import boto3
        from botocore.config import Config

        patient = Config(read_timeout=PATIENCE, retries={"max_attempts": 0})
        client = boto3.client("lambda", endpoint_url=dd_lambda.endpoint, config=patient, **ACCOUNT)
        invoke(client, "producer", json.loads(arguments.event))
        show(connected(dd_lambda))
        if arguments.keep:
            print(f"the page: {dd_lambda.page} (Ctrl-C ends it)", file=sys.stderr)
            signal.pause()
    except Exception:
        sys.stderr.writelines(list(dd_lambda.said))
        raise
    finally:
        dd_lambda.stop()
        moto.stop()


def main():
    if sys.argv[1:] == ["--function"]:
        return python_function()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", choices=["sqs", "sns", "eventbridge"], required=True)
    parser.add_argument("--rust", choices=["producer", "consumer"], required=True)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--app", type=pathlib.Path, required=True)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--event", default='{"id": 17}')
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(arguments, folder)
        except Failure as failure:
            sys.exit(f"error: {failure}")
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
