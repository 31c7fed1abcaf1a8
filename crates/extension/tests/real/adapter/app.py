"""A web application that knows nothing of Lambda, behind AWS's adapter."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUSES = {"/broken": 500, "/teapot": 418, "/gone": 502}


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # The adapter's own question whether this is ready: it does not wait for the end of the answer.
        if self.path == "/":
            self.send_response(204)
            return self.end_headers()
        self.send_response(STATUSES.get(self.path, 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # In parts, so that there is something to stream.
        for part in [b'{"order": ', b"17, ", b'"caller": "%s"}' % self.headers.get("x-datadog-parent-id", "").encode()]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["AWS_LWA_PORT"])), App).serve_forever()
