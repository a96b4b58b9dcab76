"""Serve the metrics to programs that send the token, and nothing else.

No session, no cookie and no page of the console is behind this port. It answers in a process of its own that
needs no set-up, no open keys and no database to do so.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, ClassVar, Final

import django
from django.conf import settings
from django.db import close_old_connections
from prometheus_client import CONTENT_TYPE_LATEST

from console import metrics_settings
from secrets_app.crypto import key_files

log = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
PATH: Final = "/metrics"
TOKEN_LENGTH: Final = 20  # characters at least; a shorter one could be guessed
Environ = dict[str, Any]


class Application:
    """A WSGI application with one page."""

    def __init__(self, text: Callable[[], bytes]) -> None:
        """Take what makes the metrics, as bytes."""
        self._text = text

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = self._answer(environ)
        headers = [
            *headers,
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def _answer(self, environ: Environ) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
        plain = ("Content-Type", "text/plain; charset=utf-8")
        # Before anything else: whether there is such a page is not told either.
        if not _has_token(environ.get("HTTP_AUTHORIZATION", "")):
            return HTTPStatus.UNAUTHORIZED, [plain, ("WWW-Authenticate", "Bearer")], b"Send the token.\n"
        if environ.get("PATH_INFO") != PATH:
            return HTTPStatus.NOT_FOUND, [plain], b"The metrics are at /metrics.\n"
        if environ.get("REQUEST_METHOD") != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, [plain, ("Allow", "GET")], b"Use GET.\n"
        return HTTPStatus.OK, [("Content-Type", CONTENT_TYPE_LATEST)], self._text()


def _has_token(header: str) -> bool:
    """Whether `Authorization` holds the token. Without a private file of a long one there is none to show."""
    place: metrics_settings.Place | None = settings.METRICS
    if place is None:
        return False
    kind, _, shown = header.partition(" ")
    try:
        token = key_files.read_private(place.token_file)
    except key_files.Unreadable as error:
        _Told.tell(str(error))
        return False
    if len(token) < TOKEN_LENGTH:
        _Told.tell(f"The token in {place.token_file} has fewer than {TOKEN_LENGTH} characters.")
        return False
    _Told.tell("")
    # Compared as bytes: a header may hold what is not ASCII.
    is_same = hmac.compare_digest(shown.strip().encode("latin-1", "replace"), token.encode())
    return kind.lower() == "bearer" and is_same


class _Told:
    """What the log of this process says of the token: one line for each change, however often it is asked."""

    problem: ClassVar[str] = ""

    @classmethod
    def tell(cls, problem: str) -> None:
        if problem and problem != cls.problem:
            log.error("No metrics are served: %s", problem)
        cls.problem = problem


def _whole() -> Application:
    django.setup()
    from console.watching.metrics import Metrics  # its models are there only once Django is set up

    metrics = Metrics()

    def text() -> bytes:
        # As Django does around a request: a connection that broke is not used again.
        close_old_connections()
        try:
            return metrics.text()
        finally:
            close_old_connections()

    return Application(text)


application = _whole()
