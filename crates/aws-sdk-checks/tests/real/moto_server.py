"""An AWS API server on a free port, which is the first line of the output. Ends with its input."""

import logging
import sys

from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer

# Its functions answer with their event, and need no Docker.
default_user_config["lambda"] = {"use_docker": False}
logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
