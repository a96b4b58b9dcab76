"""Alive, ready, and whether worker and beat run are three questions, each with its own answer."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from console.process import health
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

    monkeypatch.setattr(overview, "Overview", fails)


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
