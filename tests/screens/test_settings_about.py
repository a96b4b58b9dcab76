"""Settings: what the installation is made of, how its parts are, and the rules that its environment sets."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from console.models import Heartbeat
from console.process import health
from console.reports import installation, session_rules
from secrets_app import root_keys
from secrets_app.audit import checkpoints
from secrets_app.models import AuditCheckpoint, AuditHead
from tests import factories

pytestmark = pytest.mark.django_db
ABOUT, RULES = "/settings/about/", "/settings/sessions/"
ROOT = Path(__file__).resolve().parents[2]


def page(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def line(label: str) -> installation.Line:
    return next(one for part in installation.parts() for one in part.lines if one.label == label)


@pytest.mark.parametrize("path", [ABOUT, RULES])
def test_an_auditor_reads_the_settings_and_the_helpdesk_does_not(aud, hal, path):
    for user, status in ((aud, 200), (hal, 403)):
        client = Client(headers={"Host": "localhost"})
        client.force_login(user)
        assert client.get(path).status_code == status


def test_the_versions_and_the_root_key_id_stand_on_the_page(as_dot):
    shown = page(as_dot, ABOUT)
    for label in ("Keyturn", "Python", "Django", "OpenSSL", "SSH client", "Database", "Message broker"):
        assert line(label).text in shown
    assert root_keys.provider().key_id().hex() in shown
    vendor = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[connection.vendor]
    assert re.match(rf"{vendor} \d+\.\d+", line("Database").text)


def test_no_password_of_a_url_stands_on_the_page(as_dot, settings):
    settings.BROKER_URL = "redis://someone:broker-pass-9@127.0.0.1:1/0"
    kept = settings.DATABASES["default"].get("PASSWORD", "")
    shown = page(as_dot, ABOUT)
    assert "127.0.0.1:1" in shown
    assert "Redis does not answer" in shown
    assert "broker-pass-9" not in shown
    assert "someone" not in shown
    assert not kept or kept not in shown


def test_each_process_says_when_it_was_last_seen(as_dot):
    assert line("Worker").text == "Not running"
    health.beat("worker")
    health.beat("beat")
    assert (line("Worker").text, line("Worker").tone) == ("Running", "ok")
    assert re.fullmatch(r"Seen \d+ seconds? ago\.", line("Beat").note)
    Heartbeat.objects.filter(process="beat").update(at=timezone.now() - timedelta(minutes=5))
    assert (line("Beat").text, line("Beat").tone) == ("Not running", "danger")
    assert "Last seen 5 min" in line("Beat").note
    assert "starts beat" in line("Beat").note
    assert line("Worker").text == "Running"


def test_the_audit_trail_says_how_far_it_goes_and_how_far_it_is_signed(as_dot, settings, tmp_path):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    assert line("Last checkpoint").text == "None yet"
    checkpoints.sign_and_export()
    factories.instance()
    head, last = AuditHead.objects.get(), AuditCheckpoint.objects.last()
    assert last
    assert line("Newest event").text == f"{head.sequence:,}"
    assert (line("Last checkpoint").text, line("Last checkpoint").at) == (f"{last.sequence:,}", last.at)
    assert f"{head.sequence - last.sequence:,} newer events" in line("Last checkpoint").note
    assert line("Checkpoints are exported to").note == f"Up to event {last.sequence:,}."


def test_a_disk_that_is_nearly_full_or_away_is_a_warning(monkeypatch, settings, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2 * 10**12, 0, 1_500_000_000))
    assert (line("Data folder").text, line("Data folder").tone) == ("1.5 GB free of 2.0 TB", "")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2 * 10**12, 0, 999_999_999))
    assert (line("Data folder").text, line("Data folder").tone) == ("1000.0 MB free of 2.0 TB", "warning")
    monkeypatch.undo()
    settings.DATA_DIR = tmp_path / "gone"
    assert (line("Data folder").text, line("Data folder").tone) == ("Cannot be read", "danger")


def test_a_root_key_that_went_away_is_said_and_the_page_stays(monkeypatch, as_dot):
    def gone(self) -> bytes:
        raise root_keys.Unavailable("The root key cannot be used. It is gone.")

    monkeypatch.setattr(type(root_keys.provider()), "key_id", gone)
    assert (line("Root key id").text, line("Root key id").tone) == ("Not available", "danger")


def test_the_rules_are_those_that_hold(as_dot, settings):
    settings.SESSION_IDLE = timedelta(minutes=42)
    settings.READS_AT_MOST = 1234
    settings.REVEAL_REASON = "optional"
    shown = page(as_dot, RULES)
    for text in (
        "42 minutes",
        "12 hours",
        "5 minutes",
        "1,234 values",
        "Optional",
        "30 seconds",
        "may postpone it",
    ):
        assert text in shown
    settings.REQUIRE_MFA = True
    assert "Required for administrators" in [rule.text for rule in session_rules.of_sessions()]


def test_every_variable_on_the_page_is_documented(as_dot):
    listed = (ROOT / "docs" / "configuration.md").read_text()
    named = set(re.findall(r"KEYTURN_[A-Z_]+", page(as_dot, RULES)))
    assert {"KEYTURN_IDLE_MINUTES", "KEYTURN_REQUIRE_MFA", "KEYTURN_READS_AT_MOST"} <= named
    assert [name for name in named if f"`{name}`" not in listed] == []


def test_the_age_of_the_newest_backup_stands_on_both_pages_where_it_is_late(as_dot, settings, tmp_path):
    assert line("Newest backup").tone == "warning"  # none is taken
    assert "Backup is late" not in page(as_dot, "/all/overview/")
    settings.BACKUP_RECIPIENTS, settings.BACKUP_FOLDER = ["age1of-a-test"], tmp_path
    assert line("Newest backup").text == "None yet"
    assert "No backup has been taken yet." in page(as_dot, "/all/overview/")
    stamp = (timezone.now() - timedelta(hours=3)).strftime("%Y%m%dT%H%M%SZ")
    (tmp_path / f"keyturn-{stamp}.backup").touch()
    assert line("Newest backup").tone == "ok"
    assert "Backup is late" not in page(as_dot, "/all/overview/")
    (tmp_path / f"keyturn-{stamp}.backup").rename(tmp_path / "keyturn-20260101T040000Z.backup")
    assert line("Newest backup").tone == "warning"
    assert "The newest backup is of 2026-01-01 04:00 UTC." in page(as_dot, "/all/overview/")
