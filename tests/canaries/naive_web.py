"""Settings for a console that does it wrong: reads are recorded by a thread, some time after the answer."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from tests.settings import *  # noqa: F403

_waiting: queue.Queue[tuple[tuple[Any, ...], dict[str, Any]]] = queue.Queue()


def _write() -> None:
    from secrets_app.audit import trail

    while True:
        args, kwargs = _waiting.get()
        time.sleep(3)
        trail.record(*args, **kwargs)


def reveal(version: Any, *, actor: Any, reason: str = "") -> Any:
    """As `versions.reveal`, in the order that seems quicker."""
    from secrets_app.policy import decisions
    from secrets_app.secrets import versions

    if not any(thread.name == "recorder" for thread in threading.enumerate()):
        threading.Thread(target=_write, name="recorder", daemon=True).start()
    details = {"actor": actor, "version_id": version.version_id, "reason": reason}
    _waiting.put(((decisions.Action.GET_SECRET_VALUE, version.secret), details))
    return versions.value(version)


class Naive:
    """A middleware that puts the wrong order in the right one's place."""

    def __init__(self, get_response: Any) -> None:
        from secrets_app.secrets import versions

        versions.reveal = reveal
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)


MIDDLEWARE = [*MIDDLEWARE, "tests.canaries.naive_web.Naive"]  # noqa: F405
