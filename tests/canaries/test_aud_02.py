"""AUD-02: the web server is killed outright under load, and no value has been in an answer without its event.

`KEYTURN_TEST_KILLS=200` kills it more often than a run of all tests does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import signal
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.urls import reverse

from secrets_app.models import AuditEvent, Secret, User
from tests import factories, gallery
from tests.canaries.needles import make
from tests.web_process import Web

pytestmark = pytest.mark.django_db(transaction=True)
KILLS = int(os.environ.get("KEYTURN_TEST_KILLS", "10"))
READERS = 6
TOKEN = "a" * 32


@dataclass
class Readers:
    """People who read one value without end, each time for a reason of its own."""

    port: int
    path: str
    value: str
    cookie: str
    shown: list[str] = field(default_factory=list)  # the reasons for which the value came
    cut: list[str] = field(default_factory=list)  # those for which the connection broke
    refused: list[int] = field(default_factory=list)
    is_over: bool = False

    def read(self, reader: int) -> None:
        number = 0
        while not self.is_over:
            number += 1
            self._ask(f"reader {reader}, time {number}")

    def _ask(self, reason: str) -> None:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=15)
        body = b""
        try:
            connection.request("POST", self.path, urllib.parse.urlencode({"reason": reason}), self._headers())
            answer = connection.getresponse()
            while part := answer.read1():
                body += part  # a part of an answer counts: it may hold the value
            if answer.status != 200:
                self.refused.append(answer.status)
        except (OSError, http.client.HTTPException):
            self.cut.append(reason)
        finally:
            connection.close()
        if self.value.encode() in body:
            self.shown.append(reason)

    def _headers(self) -> dict[str, str]:
        return {
            "Cookie": f"{settings.SESSION_COOKIE_NAME}={self.cookie}; {settings.CSRF_COOKIE_NAME}={TOKEN}",
            "X-CSRFToken": TOKEN, "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://localhost:{self.port}",
        }  # fmt: skip


def storm(web: Web, secret: Secret, value: str, reader: User) -> Readers:
    """Read without end while serving processes are killed; return what came of it."""
    path = reverse("secret_reveal", args=["main", secret.pk])
    made = Readers(web.port, path, value, gallery.session(reader))
    threads = [threading.Thread(target=made.read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        _kill(web, made)
    finally:
        made.is_over = True
        for thread in threads:
            thread.join(30)
    return made


def _kill(web: Web, made: Readers) -> None:
    for left in reversed(range(KILLS)):
        # Not before somebody has read again: a kill of an idle server shows nothing.
        before, deadline = len(made.shown), time.monotonic() + 30
        while len(made.shown) == before:
            assert time.monotonic() < deadline, (made.refused[-5:], web.log.read_text()[-2000:])
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.05))
        workers = web.workers()
        # In the end all of them: one of these has just shown the value.
        for worker in random.sample(workers, 1) if workers and left else workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def unrecorded(made: Readers) -> set[str]:
    events = AuditEvent.objects.filter(action="kms:GetSecretValue", outcome="succeeded")
    return set(made.shown) - set(events.values_list("reason", flat=True))


@pytest.fixture
def secret() -> Secret:
    return factories.secret(initial=VALUE)


VALUE = re.sub(r"\W", "", make())


@pytest.mark.parametrize(("kind", "is_safe"), [("tests.settings", True), ("tests.canaries.naive_web", False)])
def test_aud_02_no_value_leaves_a_web_server_that_is_killed_without_its_event(
    secret, dot, tmp_path, kind, is_safe, monkeypatch
):
    monkeypatch.setenv("KEYTURN_READS_AT_MOST", "10000")  # or one reader is asked to be patient
    web = Web(tmp_path / "log", settings=kind)
    try:
        web.wait()
        made = storm(web, secret, VALUE, dot)
    finally:
        web.end()
    lost = unrecorded(made)
    print(f"{kind}: {KILLS} kills, {len(made.shown)} reads, {len(made.cut)} cut off, {len(lost)} unrecorded")
    assert len(made.shown) >= KILLS
    assert made.cut
    assert (lost == set()) is is_safe, lost
