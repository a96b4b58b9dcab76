"""A host that has the new value and lets nobody in with it: the value is current, and why is said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from rotation import runs
from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryConnector
from rotation.engine.work import Work
from rotation.models import Instance, ManagedAccount, Run
from tests import factories
from tests.domain.rig import OLD, drive, password, rotate

pytestmark = pytest.mark.django_db


def account(secret):
    return ManagedAccount.objects.get(secret=secret)


def step(run: Run, name: str):
    return run.steps.filter(name=name).last()


def shown_by_a_login(secret) -> None:
    ManagedAccount.objects.filter(secret=secret).update(verified_level="command", verified_at=Now())


def test_a_login_that_ends_without_an_answer_is_seen_before_the_change(secret, host):
    host.drops_logins = True
    run = drive(rotate(secret), host)
    line = next(found for found in step(run, "preflight").evidence if found["name"] == "login_now")
    assert line["mark"] == "warning"
    assert "connection ended" in line["sentence"]
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "no_login")


@pytest.mark.parametrize("fault", ["drops_logins", "refuses_new_passwords"])
def test_fi_r_31_a_value_that_the_host_has_is_current_though_nobody_can_log_on(secret, host, fault):
    shown_by_a_login(secret)
    setattr(host, fault, True)
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "no_login")
    assert host.accounts["svc"].password == password(secret) != OLD
    assert run.sentence.startswith("Set and accepted by the instance's own check; logging on is refused: ")
    assert account(secret).credential == "in_sync"
    assert account(secret).credential_sentence == run.sentence
    assert host.failed_logins <= 1


def test_why_nobody_could_log_on_stays_until_somebody_can(secret, host):
    host.drops_logins = True
    run = drive(rotate(secret), host)
    drive(runs.verify(secret, actor=factories.administrator()), host)
    assert account(secret).credential_sentence == run.sentence
    host.drops_logins = False
    long_ago = Now() - timedelta(hours=1)
    ManagedAccount.objects.filter(secret=secret).update(verified_at=long_ago)
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, run.sentence) == ("succeeded", "", "")
    assert (account(secret).credential_code, account(secret).verified_level) == ("", "command")


def test_a_host_that_lies_about_a_change_is_not_believed_for_its_own_check(secret, host):
    shown_by_a_login(secret)
    host.lies = True
    run = drive(rotate(secret), host)
    assert (run.state, run.code) == ("waiting", "untrue")
    assert host.accounts["svc"].password == OLD == password(secret)


def test_a_login_that_worked_lately_is_not_made_again_before_the_change(secret, host):
    drive(rotate(secret), host)
    run = drive(rotate(secret), host)
    assert "login_now" not in {found["name"] for found in step(run, "preflight").evidence}
    assert run.outcome == "succeeded"


def test_a_wrong_current_value_is_not_tried_by_a_login(secret, host):
    host.accounts["svc"].password = "somebody-elses-1"
    run = drive(rotate(secret), host)
    assert (run.outcome, host.failed_logins) == ("succeeded", 0)


def test_a_value_that_cannot_be_asked_about_is_never_one_that_does_not_work(secret, host, monkeypatch):
    def probed(self, who, username, value, *, timeout):
        if value.reveal() == OLD:
            return base.Proof(base.Verdict.REJECTED, base.Level.HASH)
        return base.Proof(base.Verdict.UNCLEAR, reason="It took too long.", code="slow_check")

    monkeypatch.setattr(MemoryConnector, "probe_password", probed)
    host.drops_after_set = True
    run = drive(rotate(secret), host, turns=8)
    assert (run.outcome, run.truth) == ("failed", "unknown"), run.sentence


def test_a_run_that_cannot_go_on_makes_the_value_current_that_the_host_turns_out_to_have(
    secret, host, monkeypatch
):
    host.no_checker = host.drops_logins = True
    monkeypatch.setattr(Work, "truth", lambda *_: Run.Truth.NEW)
    run = drive(rotate(secret), host, turns=8)
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "not_shown"), run.sentence
    assert host.accounts["svc"].password == password(secret) != OLD
    assert account(secret).credential_sentence == run.sentence


def test_a_login_that_cannot_even_be_tried_twice_leaves_the_value_current(secret, host, monkeypatch):
    def away(*_, **__):
        raise base.Unreachable

    shown_by_a_login(secret)
    monkeypatch.setattr(MemoryConnector, "prove_login", away)
    run = drive(rotate(secret), host, turns=2)
    assert (run.outcome, run.code) == ("succeeded", "no_login"), run.sentence
    assert "could not be reached" in run.sentence


# ---------------------------------------------------------------- a login before the host's own check


@pytest.fixture
def known(secret, host, monkeypatch):
    """A secret whose host is known to refuse what it must, and lets in whoever has its value."""
    drive(rotate(secret), host)
    Instance.objects.update(control_at=Now() - timedelta(hours=1))
    really = MemoryConnector._checked
    host.asked = 0

    def checked(self, *arguments, **named):
        host.asked += 1
        return really(self, *arguments, **named)

    monkeypatch.setattr(MemoryConnector, "_checked", checked)
    return secret


def test_a_login_with_the_new_value_proves_it_and_its_own_check_is_not_asked_too(known, host):
    run = drive(rotate(known), host)
    assert (run.outcome, run.truth, host.asked, host.failed_logins) == ("succeeded", "new", 0, 0)
    assert account(known).verified_level == "command"


@pytest.mark.parametrize("fault", ["drops_logins", "refuses_new_passwords"])
def test_a_value_with_which_a_login_fails_is_current_by_the_hosts_own_check(known, host, fault):
    setattr(host, fault, True)
    run = drive(rotate(known), host)
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "no_login")
    assert host.accounts["svc"].password == password(known)
    assert host.asked == 2  # apart from the change, and once more: a host that lies has to lie twice
    assert host.failed_logins <= 1


def test_a_host_that_lies_about_a_change_is_found_out_by_one_failed_login_and_no_second_one(known, host):
    before = password(known)
    host.lies = True
    run = drive(rotate(known), host)
    assert (run.state, run.code) == ("waiting", "untrue")
    assert host.accounts["svc"].password == before == password(known)
    assert host.failed_logins == 1
    drive(run, host, turns=4)
    assert host.failed_logins == 1
    assert host.accounts["svc"].password == before == password(known)


def test_soon_after_a_failed_login_the_hosts_own_check_is_asked_first(known, host):
    Instance.objects.update(control_at=Now() - timedelta(minutes=1))
    run = drive(rotate(known), host)
    assert (run.outcome, host.asked) == ("succeeded", 1)


def test_a_host_that_is_away_when_its_login_comes_has_its_value_current_later(known, host, monkeypatch):
    def away(self, login, *, timeout):
        raise base.Unreachable("It does not answer.", code="unreachable")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryConnector, "prove_login", away)
        run = drive(rotate(known), host)
        assert run.state == "waiting"
    run = drive(run, host, turns=4)
    assert (run.outcome, run.truth) == ("succeeded", "new")
    assert host.accounts["svc"].password == password(known)
