"""Print what the gateway's webhooks say, once their signature is checked: webhook_receiver.py PORT.

An example to start from. WEBHOOK_SECRET holds the shared secret; the signature is the HMAC-SHA256
of ``<timestamp>.<body>`` (docs/approvals.md, "Webhooks and mail"). Loopback only.
"""

import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAXIMUM_BODY = 1_000_000
MAXIMUM_AGE_SECONDS = 300
SECRET = os.environ["WEBHOOK_SECRET"].encode()


def is_genuine(timestamp: str, body: bytes, signature: str) -> bool:
    """Whether the gateway signed ``body`` at ``timestamp`` (Unix seconds), not long ago."""
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > MAXIMUM_AGE_SECONDS:
        return False
    digest = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"v1={digest}", signature)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine, 403 to the rest."""

    def do_POST(self) -> None:
        """Print the body."""
        size = int(self.headers.get("Content-Length", "0"))
        if size > MAXIMUM_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(size)
        timestamp = self.headers.get("Sallyport-Timestamp", "")
        if not is_genuine(timestamp, body, self.headers.get("Sallyport-Signature", "")):
            self.send_error(403, "wrong signature")
            return
        print(body.decode(errors="replace"), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what came is printed already."""


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("usage: WEBHOOK_SECRET=... webhook_receiver.py PORT")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
