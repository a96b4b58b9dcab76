"""A receiver of webhooks on this machine: it accepts, refuses, redirects, or never finishes.

What it does next is an attribute; what it was sent stays in `received`.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sent:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int  # what was answered

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """One receiver; it forgets with `reset`."""

    server: ThreadingHTTPServer
    scheme: str = "http"
    received: list[Sent] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)  # by a text in the body
    status: int = 200
    answer: bytes = b"ok"
    drips: bool = False  # sends its answer a byte at a time, and never the whole of it

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook/a-token-in-the-path"

    @property
    def accepted(self) -> list[Sent]:
        return [sent for sent in self.received if sent.status < 300]

    def status_of(self, body: bytes) -> int:
        return next((s for text, s in self.statuses.items() if text.encode() in body), self.status)


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = receiver.status_of(body)
        receiver.received.append(Sent(self.path, dict(self.headers), body, status))
        with suppress(ConnectionError):
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            if receiver.drips:
                while receiver.drips:
                    self.send_header("X-More", "x")
                    self.flush_headers()
                    time.sleep(0.05)
                return
            self.send_header("Content-Length", str(len(receiver.answer)))
            self.end_headers()
            self.wfile.write(receiver.answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a port of its own, until the block ends."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server, "https" if context else "http")
    Handler.receiver = receiver
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.drips = False
        server.shutdown()
        server.server_close()
        thread.join(60)
