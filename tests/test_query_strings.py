"""No part of a query is written to a log: an old client of Alibaba Cloud sends the value of a secret there.

A real gunicorn with the product's settings.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.test_slow_clients import Echo, ask
from tests.waiting import wait_for

NEEDLE = "a-value-that-is-in-no-log"


@pytest.fixture
def echo(tmp_path) -> Iterator[Echo]:
    server = Echo(tmp_path / "log", KEYTURN_LOG_LEVEL="DEBUG")
    try:
        wait_for(lambda: ask(server.port) == b"GET / 0\n", "the server")
        yield server
    finally:
        server.end()


def status(port: int, line: str) -> int:
    """What the server answers to a request with this first line."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = client.makefile("rb").read()
    return int(answer.split()[1])


def test_a_query_stands_in_no_line_that_gunicorn_logs(echo, tmp_path):
    query = f"/?SecretData={NEEDLE}"
    for line, expected in (
        (f"GET {query} HTTP/1.1", 200),
        (f"POST {query}&x={'x' * 50_000} HTTP/1.1", 200),
        (f"POST {query}&x={'x' * 70_000} HTTP/1.1", 431),
        (f"GET {query} and more HTTP/1.1", 400),
        (f"GET /?a= {query} HTTP/1.1", 400),
        (f"GET {query}", 400),
        (f"{query} GET HTTP/1.1", 400),
        (f"GET {query} HTTP/9.9", 400),
        (f"GET http://[{query} HTTP/1.1", 400),
        (f"GET /fails?SecretData={NEEDLE} HTTP/1.1", 500),
    ):
        assert status(echo.port, line) == expected, line[:80]
    log = tmp_path / "log"
    wait_for(lambda: "Error handling request" in log.read_text(), "the line of the request that failed")
    written = log.read_text()
    assert "Invalid request from" in written
    assert NEEDLE not in written
