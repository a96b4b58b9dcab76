"""The Celery application: which broker, which settings, which tasks."""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
TRANSPORT_ALIASES["embedded"] = "console.broker:Transport"

# Root in a worker is dangerous where messages may be pickles. Here all but JSON is refused.
warnings.filterwarnings("ignore", "You're running the worker with superuser", SecurityWarning)

app = Celery("keyturn")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["rotation"])
app.steps["consumer"].add("console.pulse:WorkerPulse")


@setup_logging.connect
def keep_djangos_logging(**_: Any) -> None:
    """Receive the signal, which is what stops Celery from replacing the handlers and their filter."""
