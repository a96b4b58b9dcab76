"""The WSGI application, and the page in its place until the set-up has run.

A process may be started before its database has tables, and Django reads the list of static files once. The
application is rebuilt when the set-up has run, so no restart is needed.
"""

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

from console.process import start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
start.keep_private()

LOOK_EVERY_SECONDS = 1.0


def _look_for_restore() -> None:
    """Notice an older database at the start already: the banner is there before the first page."""
    from django.db import DatabaseError, connection

    from rotation.managed import restored
    from secrets_app import keyring

    try:
        if not keyring.is_sealed():
            restored.look()
    except DatabaseError:
        pass  # the periodic work looks again, and each page says what is wrong
    finally:
        connection.close()


class Gate:
    """Answers 503 before the set-up, and is the application after it. Probes pass at any time."""

    def __init__(self) -> None:
        self.application = get_wsgi_application()
        self.is_open = self.is_told = False
        self.looked_at = float("-inf")
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.is_open or self._is_probe(environ) or not self._lacks_set_up():
            return self.application(environ, start_response)
        from console import errors

        answer = errors.not_set_up()
        answer["Cache-Control"], answer["Content-Security-Policy"] = "no-store", "default-src 'none'"
        answer["X-Content-Type-Options"], answer["X-Frame-Options"] = "nosniff", "DENY"
        start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
        return [answer.content]

    @staticmethod
    def _is_probe(environ: dict[str, Any]) -> bool:
        from console.middleware import PROBES

        return environ.get("PATH_INFO", "") in PROBES

    def _lacks_set_up(self) -> bool:
        """Whether the set-up has not run; where the database does not answer, the application says that."""
        from console.process import health

        with self.lock:
            if self.is_open or time.monotonic() - self.looked_at < LOOK_EVERY_SECONDS:
                return not self.is_open and self.is_told
            lacks = health.lacks_set_up()
            if lacks is False:
                if self.is_told:
                    health.read_static_files_again()
                    self.application = get_wsgi_application()
                self.is_open = True
                _look_for_restore()
            elif lacks and not self.is_told:
                health.log.error("Not ready: %s.", health.SENTENCES[health.NOT_SET_UP])
                self.is_told = True
            self.looked_at = time.monotonic()
            return not self.is_open and self.is_told


application = Gate()
