"""Alive, ready, and whether worker and beat run are three questions, each with its own answer."""

from __future__ import annotations

import logging
import re
import socket
import time
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.context import Layout
from console.models import Heartbeat
from console.process import away, health
from console.views.overview import overview
from secrets_app import keyring

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(health._Told, "obstacles", None)


@pytest.fixture
def sealed(settings, tmp_path):
    settings.ROOT_KEY_FILE = tmp_path / "gone"
    keyring.forget()
    yield
    keyring.forget()


def _database_is_away(monkeypatch):
    def fails(*args, **kwargs):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(connection, "ensure_connection", fails)
    monkeypatch.setattr(connection, "cursor", fails)


def test_a_console_without_a_worker_is_ready_and_its_installation_is_not_whole(client):
    assert client.get("/readyz").json() == {"status": "ok", "obstacles": []}
    installation = client.get("/healthz")
    assert (installation.status_code, installation.json()["missing"]) == (503, ["worker", "beat"])


def test_worker_and_beat_are_there_once_they_have_shown_themselves(client):
    for process in health.PROCESSES:
        health.beat(process)
    assert client.get("/healthz").json() == {"status": "ok", "missing": [], "sealed": False}


def test_an_installation_that_is_sealed_is_not_well(client, sealed):
    for process in health.PROCESSES:
        health.beat(process)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "missing": [], "sealed": True}


def test_a_sealed_console_is_alive_and_not_ready_and_its_log_says_so_once(client, sealed, caplog):
    with caplog.at_level(logging.INFO, "console.process.health"):
        answers = [client.get("/readyz") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert answers[0].json()["obstacles"] == ["sealed"]
    assert client.get("/livez").status_code == 200
    assert len([record for record in caplog.records if record.name == "console.process.health"]) == 1
    assert "sealed" in caplog.records[0].getMessage()


def test_the_log_says_when_it_is_ready_again(client, monkeypatch, caplog):
    monkeypatch.setattr(keyring, "is_sealed", lambda: True)
    client.get("/readyz")
    monkeypatch.setattr(keyring, "is_sealed", lambda: False)
    caplog.clear()
    with caplog.at_level(logging.INFO, "console.process.health"):
        client.get("/readyz")
    assert [record.getMessage().split(" request_id")[0] for record in caplog.records] == ["Ready again."]


def test_without_the_database_it_is_alive_and_not_ready(client, monkeypatch):
    _database_is_away(monkeypatch)
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["obstacles"]) == (503, ["database"])
    assert answer["Retry-After"]
    assert client.get("/healthz").status_code == 503


def test_before_set_up_or_with_a_migration_to_come_it_is_not_ready(client):
    MigrationRecorder(connection).record_unapplied(*sorted(health._last_migrations())[0])
    assert client.get("/readyz").json()["obstacles"] == ["setup"]


def test_without_its_static_files_it_is_not_ready(client, settings, tmp_path):
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    settings.STATIC_ROOT = tmp_path
    assert client.get("/readyz").json()["obstacles"] == ["setup"]
    (tmp_path / "staticfiles.json").write_text('{"paths": {}, "version": "1.1"}')
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_a_probe_is_answered_by_an_address_that_is_no_name_of_ours(settings, path):
    settings.ALLOWED_HOSTS = ["keys.example.com"]
    strict = Client(raise_request_exception=False, headers={"Host": "10.1.2.3:8000"})
    assert "status" in strict.get(path).json()
    assert strict.get("/sign-in/").status_code == 400


def test_a_probe_by_plain_http_is_not_sent_to_https(settings, client):
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get("/livez").status_code == 200
    assert Client().get("/sign-in/").status_code == 301


def test_a_heartbeat_touches_the_file_of_the_container_s_own_check(settings, tmp_path):
    settings.ALIVE_FILE = str(tmp_path / "alive")
    health.beat("worker")
    assert (tmp_path / "alive").exists()


def test_a_heartbeat_that_the_store_did_not_take_touches_nothing(settings, tmp_path, monkeypatch):
    settings.ALIVE_FILE = str(tmp_path / "alive")
    _database_is_away(monkeypatch)
    with pytest.raises(OperationalError):
        health.beat("worker")
    assert not (tmp_path / "alive").exists()


def _breaks(monkeypatch, error):
    def fails(*args):
        raise error

    monkeypatch.setattr(overview, "Needs", fails)


def test_the_id_on_an_error_page_stands_in_the_line_with_the_cause(client, dot, monkeypatch, caplog):
    client.force_login(dot)
    client.raise_request_exception = False
    _breaks(monkeypatch, RuntimeError("a bug"))
    answer = client.get("/all/overview/")
    request_id = answer["X-Request-ID"]
    assert request_id in answer.content.decode()
    lines = [record.getMessage() for record in caplog.records if record.name == "django.request"]
    assert lines == [f"Internal Server Error: /all/overview/ request_id={request_id}"]


def test_a_page_whose_cause_has_one_line_a_minute_shows_no_id_that_the_log_may_lack(client, dot, monkeypatch):
    client.force_login(dot)
    client.raise_request_exception = False
    _breaks(monkeypatch, OperationalError("the server closed the connection"))
    answer = client.get("/all/overview/")
    assert answer.status_code == 503
    assert answer["X-Request-ID"] not in answer.content.decode()


# ---------------------------------------------------------------- what every page says of it


@pytest.fixture
def looks_now(monkeypatch):
    """A web process that has run for a while, and looks for each page."""
    monkeypatch.setattr(away._Seen, "again_at", float("-inf"))
    monkeypatch.setattr(away._Seen, "began_at", float("-inf"))
    monkeypatch.setattr(away, "KEPT_SECONDS", 0.0)
    # However long a page takes here: what has shown itself in a test stays alive.
    monkeypatch.setattr(health, "STALE_AFTER", timedelta(hours=1))


def _show(*processes):
    for process in processes:
        health.beat(process)


def _page(client, path="/all/secrets/"):
    return unescape(client.get(path).content.decode())


@pytest.mark.parametrize(
    "path", ["/all/overview/", "/all/secrets/", "/audit/", "/sessions/", "/credentials/"]
)
@pytest.mark.parametrize(
    ("alive", "part"), [(("beat",), away.WORKER), (("worker",), away.BEAT)], ids=["worker", "beat"]
)
def test_every_page_says_which_process_is_away_what_still_works_and_what_to_do(
    client, dot, looks_now, alive, part, path
):
    client.force_login(dot)
    _show(*alive)
    shown = _page(client, path)
    assert [one.title for one in (away.WORKER, away.BEAT, away.BROKER) if one.title in shown] == [part.title]
    assert part.works in shown
    assert part.advice in shown


def test_several_that_are_away_are_one_banner_with_what_to_do_folded(client, dot, looks_now):
    client.force_login(dot)
    _show()
    shown = _page(client)
    away_now = shown[shown.index('id="away"') : shown.index('class="page-top"')]
    assert (away_now.count("banner tone-danger"), away_now.count("<details")) == (1, 2)
    for part in (away.WORKER, away.BEAT):
        for words in (part.title, part.works, part.advice):
            assert words in away_now


def test_a_process_that_stopped_a_moment_ago_is_away_and_one_that_shows_itself_again_is_back(
    client, dot, looks_now
):
    client.force_login(dot)
    _show("worker", "beat")
    assert away.WORKER.title not in _page(client)
    long_ago = timezone.now() - health.STALE_AFTER - timedelta(seconds=1)
    Heartbeat.objects.filter(process="worker").update(at=long_ago)
    assert away.WORKER.title in _page(client)
    _show("worker")
    assert away.WORKER.title not in _page(client)


def test_an_open_page_learns_it_and_hears_nothing_while_nothing_changes(client, dot, looks_now):
    client.force_login(dot)
    _show("worker", "beat")
    address = re.compile(r'hx-get="(/away/\?seen=[^"]*)"')
    before = address.search(_page(client))
    assert before
    assert client.get(before[1]).status_code == 204
    Heartbeat.objects.all().delete()
    told = client.get(before[1]).content.decode()
    assert away.WORKER.title in told
    assert away.BEAT.title in told
    after = address.search(told)
    assert after
    assert client.get(after[1]).status_code == 204


def test_while_the_processes_of_one_start_begin_nothing_is_called_away(client, dot, looks_now, monkeypatch):
    client.force_login(dot)
    monkeypatch.setattr(away._Seen, "began_at", time.monotonic() + 3600)
    assert away.WORKER.title not in _page(client)


def test_strangers_are_not_told(client, dot, looks_now, rf):
    request = rf.get("/sign-in/")
    request.user = AnonymousUser()
    # No page of theirs has the frame today; one that gets it says nothing either.
    assert Layout(request).away == ()
    for path in ("/sign-in/", "/no/such/page"):
        assert away.WORKER.title not in _page(client, path)
    assert client.get("/away/").status_code == 204
    client.force_login(dot)
    assert away.WORKER.title in _page(client)


def test_it_costs_one_query_and_none_while_the_answer_is_fresh(client, dot, looks_now, monkeypatch):
    client.force_login(dot)
    monkeypatch.setattr(away, "KEPT_SECONDS", float("inf"))

    def asked():
        with CaptureQueriesContext(connection) as seen:
            assert away.WORKER.title in _page(client)
        return len([query for query in seen if Heartbeat._meta.db_table in query["sql"]])

    assert [asked(), asked()] == [1, 0]


def test_a_thread_that_finds_another_one_looking_does_not_wait(looks_now):
    with away._Seen.looking:
        assert away.parts() == ()
    assert away.WORKER in away.parts()


@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_a_broker_that_does_not_answer_is_named_in_place_of_the_processes_that_wait_for_it(
    client, dot, looks_now, settings, answers
):
    client.force_login(dot)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answers == "refuses":
            listener.close()
        settings.BROKER_URL = f"redis://127.0.0.1:{port}/0"
        shown = _page(client)
        assert away.BROKER.title in shown
        assert away.BROKER.works in shown
        assert away.WORKER.title not in shown
        _show("worker", "beat")
        assert away.BROKER.title not in _page(client)
