"""The process that serves metrics: to those who show the token, also where its database is away."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services
from tests.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
TOKEN = "of-the-tests-and-long-enough"
RIGHT = f"Bearer {TOKEN}"
COMMAND = (sys.executable, "-m", "gunicorn", "-c", "python:console.process.metrics")


def bare() -> dict[str, str]:
    """The environment without a setting of Keyturn's."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("KEYTURN_", "DJANGO_"))}


class Served:
    """One such process, on a database that is not there."""

    def __init__(self, folder: Path) -> None:
        self.token, self.log, self.port = folder / "token", folder / "log", services.free_port()
        self.token.touch(mode=0o600)
        self.token.write_text(TOKEN + "\n")
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("KEYTURN_", "DJANGO_"))
        }
        environment = kept | {
            "KEYTURN_DATA": str(folder),
            "KEYTURN_ROOT_KEY_FILE": str(folder / "root.key"),
            "KEYTURN_DATABASE_URL": "postgresql://someone:database-pass-9@127.0.0.1:1/keyturn",
            "KEYTURN_METRICS_PORT": str(self.port),
            "KEYTURN_METRICS_TOKEN_FILE": str(self.token),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(COMMAND, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)

    def ask(self, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str, str]:
        """The status, the body, and who is asked for; 0 while nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers.get("WWW-Authenticate", "")
        except OSError:
            return 0, "", ""
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("metrics"))
    try:
        wait_for(lambda: made.ask()[0] or made.process.poll() is not None, "the metrics")
        assert made.process.poll() is None, made.log.read_text()[-3000:]
        yield made
    finally:
        made.process.terminate()
        made.process.wait(60)


@pytest.fixture
def given(served) -> Iterator[Served]:
    """Return the process; its token is put back."""
    yield served
    served.token.write_text(TOKEN + "\n")
    served.token.chmod(0o600)


def test_a_database_that_is_away_is_a_number_and_its_password_is_nowhere(served):
    status, body, _ = served.ask(Authorization=RIGHT)
    assert status == 200
    assert "keyturn_up 0.0" in body
    assert "keyturn_runs_due" not in body
    assert "keyturn_data_free_bytes" in body
    assert "database-pass-9" not in body + served.log.read_text()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xe9\xff",
        f"Bearer {TOKEN} {TOKEN}",
    ],
)
@pytest.mark.parametrize("path", ["/metrics", f"/metrics?token={TOKEN}", "/", "/livez", "/settings/"])
def test_without_the_token_every_address_is_answered_401(served, header, path):
    status, body, asked = served.ask(path, **({"Authorization": header} if header else {}))
    assert (status, asked) == (401, "Bearer")
    assert "keyturn_" not in body


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics/", "GET", 404), ("/metrics", "POST", 405)]
)
def test_with_the_token_there_is_one_page_to_read(served, path, method, status):
    assert served.ask(path, method, Authorization=RIGHT)[0] == status


def test_a_token_that_was_replaced_counts_at_once(given):
    given.token.write_text("another-token-of-the-tests\n")
    assert given.ask(Authorization=RIGHT)[0] == 401
    assert given.ask(Authorization="Bearer another-token-of-the-tests")[0] == 200


def test_a_token_that_others_may_read_is_none(given):
    given.token.chmod(0o644)
    assert given.ask(Authorization=RIGHT)[0] == 401
    wait_for(lambda: "is open to other users" in given.log.read_text(), "the line of the log")
    assert TOKEN not in given.log.read_text()


@pytest.mark.parametrize("text", ["", "short"])
def test_an_empty_or_a_short_token_is_none(given, text):
    given.token.write_text(text)
    assert given.ask(Authorization=f"Bearer {text}")[0] == 401


def test_a_token_file_that_is_gone_lets_nobody_in(given):
    kept = given.token.rename(given.token.with_name("kept"))
    try:
        assert given.ask(Authorization="Bearer ")[0] == 401
        assert given.ask(Authorization=RIGHT)[0] == 401
    finally:
        kept.rename(given.token)


def test_without_its_settings_the_process_ends_with_a_sentence(tmp_path):
    environment = bare() | {
        "KEYTURN_DATA": str(tmp_path),
        "KEYTURN_ROOT_KEY_FILE": str(tmp_path / "root.key"),
    }
    done = subprocess.run(
        COMMAND, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert "KEYTURN_METRICS_PORT is not set" in done.stderr
    assert "Traceback" not in done.stderr
