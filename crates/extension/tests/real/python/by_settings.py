"""The function's process where it cannot have a network and files of its own: Datadog's library is told that there is an
extension, and on which port it takes metrics. All else can be set by variables."""

import os
import sys

EXTENSION = "/opt/extensions/datadog-agent"

exists = os.path.exists
os.path.exists = lambda path: path == EXTENSION or exists(path)

from awslambdaric.__main__ import main
from datadog_lambda.dogstatsd import statsd

statsd.port = int(os.environ["DD_DOGSTATSD_PORT"])
sys.path[0] = os.getcwd()
main(["awslambdaric", "datadog_lambda.handler.handler"])
