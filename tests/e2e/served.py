"""A web server of the product's own settings, on services that a test may break; and one who clicks in it."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path

from tests.e2e.site import CHECKOUT, Site
from tests.waiting import wait_for

PASSWORD = "correct horse battery staple"
#: An administrator, an instance nobody answers at, and a secret there; printed: the secret's id.
PEOPLE = f"""
import json
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.people import users
from tests import factories
users.create("dot", Plaintext({PASSWORD!r}), groups=["administrators"], must_change_password=False)
made = factories.secret(instance=factories.instance(address="127.0.0.1", port=1), initial="a-first-value-1")
factories.settle(made)
print(json.dumps(str(made.pk)))
"""


@dataclass
class Answer:
    """What came back: nothing of it is interpreted."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Served(Site):
    """One data folder, one database, and the web server alone."""

    def __init__(self, folder: Path, **given: str) -> None:
        super().__init__(folder)
        self.given = given
        self.log = folder / "web.log"
        self.web: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        base = {
            "KEYTURN_PUBLIC_URL": f"http://localhost:{self.port}",
            "PYTHONUNBUFFERED": "1",
            "KEYTURN_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        return {**super().environment, **base, **self.given}

    def manage(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=CHECKOUT, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def set_up(self) -> str:
        """Run the set-up, which must succeed; return what it prints."""
        process = self.manage("setup")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
        return out

    def serve(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "-c", "python:console.process.web", "-w", "1"]
        with self.log.open("ab") as log:
            self.web = subprocess.Popen(
                [*command, "-b", f"127.0.0.1:{self.port}"],
                cwd=CHECKOUT, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(lambda: Browser(self.port).probe("/livez") == 200, "/livez")

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        if self.web is not None:
            self.web.terminate()
            try:
                self.web.wait(15)
            except subprocess.TimeoutExpired:
                self.web.kill()
                self.web.wait()
        super().end()


@dataclass
class Browser:
    """Keeps cookies and sends forms with their token, over http on this machine."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def post(self, path: str, **given: str) -> Answer:
        token = self.cookies.get("keyturn_csrf", "")
        return self._ask("POST", path, urllib.parse.urlencode({"csrfmiddlewaretoken": token, **given}))

    def probe(self, path: str) -> int:
        """The status of an answer; 0 where nobody answers."""
        try:
            return self.get(path).status
        except OSError:
            return 0

    def sign_in(self) -> Answer:
        self.get("/sign-in/")
        return self.post("/sign-in/", login="dot", password=PASSWORD)

    def _ask(self, method: str, path: str, body: str | None) -> Answer:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=120)
        headers = {
            "Cookie": "; ".join(f"{name}={text}" for name, text in self.cookies.items()),
            "Origin": f"http://localhost:{self.port}",
        }
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return exchange(connection, method, path, body, headers, self.cookies)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | None,
    headers: dict[str, str],
    cookies: dict[str, str],
) -> Answer:
    """Send one request and close the connection; `cookies` keeps what the answer sets, as a browser would."""
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    for line in answer.headers.get_all("Set-Cookie", []):
        for name, morsel in SimpleCookie(line).items():
            cookies[name] = morsel.value
    return Answer(answer.status, answer.headers, text)


def tracebacks(text: str) -> int:
    return len(re.findall(r"^\s*(?:\| )?Traceback", text, re.MULTILINE))


def is_root() -> bool:
    return os.geteuid() == 0
