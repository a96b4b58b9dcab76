"""Settings, Health: what the doctor finds, for those who may see the settings."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client

from console.process import health
from console.watching import doctor, findings
from console.watching.findings import Finding, State

pytestmark = pytest.mark.django_db
PATH = "/settings/health/"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(health._Told, "obstacles", None)


def text(client: Client, **headers: str) -> str:
    answer = client.get(PATH, headers=headers)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))


def test_an_auditor_reads_what_the_doctor_finds_and_the_helpdesk_does_not(aud, hal):
    for user, status in ((aud, 200), (hal, 403)):
        client = Client(headers={"Host": "localhost"})
        client.force_login(user)
        assert client.get(PATH).status_code == status


def test_each_finding_stands_on_the_page_with_what_to_do(as_dot):
    shown = text(as_dot)
    for part in doctor.parts({}):
        assert part.title in shown
        for finding in part.findings:
            assert finding.title in shown
            assert finding.name in {"queue", "worker", "beat", "disk"} or finding.sentence in shown
            assert finding.advice in shown


@pytest.mark.parametrize(
    ("state", "word", "whole"),
    [
        (State.OK, "OK", "Every check is OK."),
        (State.WARNING, "Warning", "Some checks have a warning."),
        (State.UNKNOWN, "Unknown", "Some checks could not be made."),
        (State.PROBLEM, "Problem", "Some checks found a problem."),
    ],
)
def test_the_head_of_the_page_says_the_worst_finding(as_dot, monkeypatch, state, word, whole):
    part = doctor.Part("Work", (Finding("worker", "Worker", state, 'It is "so" & <not>.', "Do this."),))
    monkeypatch.setattr(doctor, "parts", lambda headers, is_secure: [part])
    shown = text(as_dot)
    assert whole in shown
    assert f'Worker {word} It is "so" & <not>.' in shown
    assert b"<not>" not in as_dot.get(PATH).content


def test_the_headers_of_the_request_itself_are_checked(as_dot):
    assert "No proxy stands before Keyturn." in text(as_dot)
    shown = text(as_dot, **{"X-Forwarded-For": "192.0.2.7"})
    assert "This request came with X-Forwarded-For, which Keyturn ignores." in shown
    assert "192.0.2.7" not in shown


def test_what_could_not_be_checked_is_not_shown_as_ok(as_dot, monkeypatch):
    def fails() -> findings.Said:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(doctor.machine, "disk", fails)
    assert re.search(r"Disk Unknown Not checked: Input/output error\.", text(as_dot))
