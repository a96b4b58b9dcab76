"""The product's settings of gunicorn, before an application that is only there to be spoken to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from console.process import connections
from console.process.web import *  # noqa: F403

connections.PLACES = int(os.environ.get("ECHO_PLACES", "500"))  # type: ignore[misc]
connections.STAY_SECONDS = float(os.environ.get("ECHO_STAY", "0.02"))  # type: ignore[misc]
wsgi_app = "tests.echo_web:application"
workers = 1
threads = 2
graceful_timeout = 3
keepalive = int(os.environ.get("ECHO_KEEPALIVE", "5"))
PIECE = b"x" * 65536
GO = threading.Event()
WORKERS: list[connections.Worker] = []


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer `/long/NUMBER` with so many pieces, `/fails` not, and all else with how much was read.

    `/breaks` fails after the first piece, `/waits` waits for `/go`, `/thread` says which one answers, and
    `/staying` how many wait for their client's next request.
    """
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise RuntimeError("as it was asked to")
    if path == "/breaks":
        start("200 OK", [])
        return _broken()
    if path.startswith("/long/"):
        count = int(path.rpartition("/")[2])
        start("200 OK", [("Content-Length", str(count * len(PIECE)))])
        return (PIECE for _ in range(count))
    if path == "/go":
        GO.set()
    if path == "/waits":
        GO.wait(300)
    if path == "/thread":
        path += f"/{threading.get_ident()}"
    if path == "/staying":
        path += f"/{WORKERS[0].staying}"
    body = environ["wsgi.input"].read()
    text = f"{environ['REQUEST_METHOD']} {path} {len(body)}\n".encode()
    start("200 OK", [("Content-Length", str(len(text)))])
    return [text]


def _broken() -> Iterator[bytes]:
    yield b"the first piece\n"
    raise RuntimeError("as it was asked to")


def post_worker_init(worker: connections.Worker) -> None:
    WORKERS.append(worker)


def when_ready(server: Any) -> None:
    """No Django here, so there is nothing to load."""
