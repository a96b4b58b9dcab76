"""How gunicorn serves the metrics: its settings file, `python:console.process.metrics` on its command line.

A process of its own, on a port of its own: what reads the metrics reaches nothing else, and a console that is
busy or away does not hide them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from console.process import start, supervisor

# Gunicorn would print a traceback for each exception of its settings file.
try:
    from console.process import connections
    from console.settings import METRICS
except ImproperlyConfigured as error:
    start.give_up(error)
if METRICS is None:
    start.give_up(ImproperlyConfigured("KEYTURN_METRICS_PORT is not set, so there are no metrics to serve."))

from console.process.web import logconfig_dict as logconfig_dict

# A database that does not even refuse must not keep a reader waiting: libpq reads this.
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")

wsgi_app = "console.watching.serving:application"
bind = METRICS.bind
worker_class = "console.process.connections.Worker"
worker_connections = connections.PLACES
workers = 1
threads = 4
timeout = 60
graceful_timeout = 5
keepalive = 5
accesslog = None
control_socket_disable = True
worker_tmp_dir = start.writable_folder(Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108


def post_fork(server: Any, worker: Any) -> None:
    """Let this worker end with its master, even where the master was killed outright."""
    supervisor.die_with(server.pid)
