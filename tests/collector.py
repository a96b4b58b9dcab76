"""A collector of traces on loopback: it takes OTLP over HTTP, as protobuf, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """What came: each span with the service that sent it, and every byte."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.bytes = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                raw = gzip.decompress(raw) if self.headers["Content-Encoding"] == "gzip" else raw
                told = ExportTraceServiceRequest.FromString(raw)
                outer.bytes += raw
                for sender in told.resource_spans:
                    service = {each.key: each.value.string_value for each in sender.resource.attributes}
                    for scope in sender.scope_spans:
                        outer.spans += [(service["service.name"], span) for span in scope.spans]
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def named(self, name: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.name == name]


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector, for as long as the block runs."""
    made = Collector()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
