"""How gunicorn serves the console: its settings file, `python:console.process.web` on its command line.

No access log: it would hold query strings, and what people did is in the audit.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from console.process import start, supervisor

# Gunicorn would print a traceback for each exception of its settings file.
try:
    from console.process import connections
    from console.settings import LOGGING
except ImproperlyConfigured as error:
    start.give_up(error)

COLLECT_AFTER_OBJECTS = 20_000

wsgi_app = "console.wsgi"
# Once, before the workers fork: they share what is loaded, and one that died is there again at once.
preload_app = True
worker_class = "console.process.connections.Worker"
worker_connections = connections.PLACES
workers = 2
threads = 8
timeout = 60
graceful_timeout = 10
keepalive = 5
sendfile = False  # it would send past the answer that is kept for a slow client
accesslog = None
logger_class = "console.process.connections.Log"
# `console.process.framing` limits the whole head to 64 KiB. An old client of Alibaba Cloud sends a value in
# the query, which gunicorn's own limit of 4 KiB for the first line would refuse.
limit_request_line = 0
control_socket_disable = True
# On a slow disk the worker's own sign of life would stall.
worker_tmp_dir = start.writable_folder(Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108

# Gunicorn's own lines go the way of all others, through the filter that keeps one record one line.
logconfig_dict = {
    **LOGGING,
    "loggers": {
        "gunicorn.error": {"handlers": [], "propagate": True, "level": "INFO"},
        "gunicorn.access": {"handlers": [], "propagate": False},
    },
}


def when_ready(server: Any) -> None:
    """Load what each worker would load with its first request; keep no connection that two would share."""
    from django.db import connections as databases
    from django.urls import get_resolver

    from rotation import wires

    assert get_resolver().url_patterns
    wires.load()
    databases.close_all()


def post_fork(server: Any, worker: Any) -> None:
    """Let this worker end with its master, even where that was killed outright; no statement of it lasts."""
    from console.process import databases, traces

    supervisor.die_with(server.pid)
    databases.limit_statements()
    traces.begin("web")


def post_worker_init(worker: Any) -> None:
    """Exempt the loaded objects from garbage collection until the worker ends, and collect less often.

    A collection of them takes tens of milliseconds, and a user waits for a page meanwhile. A page makes some
    thousands of objects that live until it is sent: Python's own threshold of 700 would look through them
    over and over, for up to a tenth of the time that a list takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)
