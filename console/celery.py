"""The Celery application: which broker, which settings, which tasks."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from celery import Celery, Task
from celery.exceptions import SecurityWarning
from celery.signals import (
    beat_init,
    celeryd_init,
    setup_logging,
    worker_init,
    worker_process_init,
    worker_shutting_down,
)
from django.conf import settings
from kombu.serialization import registry  # type: ignore[attr-defined]
from kombu.transport import TRANSPORT_ALIASES

from console.process import start
from rotation import shutdown
from secrets_app import origin

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
# Django's checks load every view and form, which is a third of what a start of a worker or of beat costs and
# which neither needs. `./keyturn check` and the set-up look at the same code.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")
TRANSPORT_ALIASES["embedded"] = "console.process.broker:Transport"

# Not only refused by the consumer: nothing in this process can open a pickle, or anything else, as a message.
for name in sorted(registry.name_to_type.keys() - {"json"}):
    registry.unregister(name)
# Running as root is unsafe with pickle; only JSON is accepted.
warnings.filterwarnings("ignore", "You're running the worker with superuser", SecurityWarning)


class Bound(Task[..., Any]):
    """A task whose work has an origin of its own: what was allowed in it is in no event of another."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        with origin.bind():
            return super().__call__(*args, **named)


app = Celery("keyturn", task_cls=Bound, fixups=["console.process.kept_connections:fixup"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["rotation", "console.notices"])
app.steps["consumer"].add("console.process.heartbeats:WorkerPulse")
app.steps["consumer"].add("console.process.orphans:TakeBack")


@setup_logging.connect
def keep_djangos_logging(**_: Any) -> None:
    """Receive the signal, which is what stops Celery from replacing the handlers and their filter."""


@celeryd_init.connect
@beat_init.connect
def keep_private(**_: Any) -> None:
    start.keep_private()


@celeryd_init.connect
def keep_json(**_: Any) -> None:
    """Celery writes that it shuts down to the original standard output, in plain words outside the log."""
    if settings.LOG_FORMAT == "json":
        sys.__stdout__ = None  # type: ignore[misc]  # as Python has it in a process without one


@worker_shutting_down.connect
def begin_to_end(**_: Any) -> None:
    shutdown.begin()


@worker_init.connect
@worker_process_init.connect
def send_traces(**_: Any) -> None:
    if settings.OTLP:
        from console.process import traces  # no other worker needs it

        traces.begin("worker")


@worker_init.connect
def watch_for_the_end(**_: Any) -> None:
    """A step that hangs may not keep the worker."""
    shutdown.watch(_hand_back, ends_last=True)


@worker_process_init.connect
def watch_in_a_process_of_a_pool(**_: Any) -> None:
    shutdown.watch(_hand_back, ends_last=False)


def _hand_back() -> None:
    from rotation import tasks  # its models are there only once Django is set up

    tasks.hand_back()
