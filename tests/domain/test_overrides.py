"""A check that somebody who may lets pass, once and with a reason; what is blocked, and the way out."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db.models.functions import Now
from django.utils import timezone

from rotation import instance_checks, retrying, runs
from rotation.connectors.memory.connector import MemoryHost
from rotation.inventory import instances
from rotation.models import Instance, Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from tests import factories
from tests.domain.rig import OLD, account, drive, evidence, password, rotate, steps

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


def test_an_account_that_must_change_its_password_is_rotated_only_by_an_override(secret, host):
    host.accounts["svc"].problem = "must_change"
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, host.sets) == ("blocked", "must_change", 0)
    run = drive(rotate(secret, overrides=["must_change"], reason="the owner has left"), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["svc"].password == password(secret) != OLD


def test_fi_p_04_the_run_says_who_overrode_it_and_why_and_that_the_demand_is_gone(secret, host):
    host.accounts["svc"].problem = "must_change"
    run = drive(rotate(secret, overrides=["must_change"], reason="the owner has left"), host)
    assert "Overridden by factory (must_change): the owner has left" in evidence(run)
    assert "no longer demands a change" in evidence(run)
    assert (run.overrides, run.reason) == (["must_change"], "the owner has left")
    event = AuditEvent.objects.get(action="kms:OverridePreflightCheck")
    assert (event.reason, event.details["checks"]) == ("the owner has left", ["must_change"])


def test_another_consoles_account_is_taken_over_by_an_override(secret, host):
    host.accounts["svc"].generations["another"] = 4
    assert drive(rotate(secret), host).code == "foreign_console"
    run = drive(rotate(secret, overrides=["foreign_console"], reason="that console is gone"), host)
    assert run.outcome == "succeeded", run.sentence
    assert drive(rotate(secret), host).outcome == "succeeded"  # it is ours from then on


def test_an_override_is_for_one_run(secret, host):
    host.accounts["svc"].problem = "must_change"
    drive(rotate(secret, overrides=["must_change"], reason="once"), host)
    host.accounts["svc"].problem = "must_change"
    blocked = drive(rotate(secret), host)
    assert blocked.code == "must_change"
    assert drive(retrying.retry(blocked, actor=factories.administrator()), host).code == "must_change"


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_override_needs_a_reason(secret, reason):
    with pytest.raises(runs.NoReason):
        rotate(secret, overrides=["must_change"], reason=reason)
    assert not secret.runs.exists()


@pytest.mark.parametrize("code", ["host_key_changed", "locked", "accepts_anything", "sudo", "no_such_user"])
def test_a_check_that_guards_a_credential_is_never_overridden(secret, code):
    with pytest.raises(runs.NotOverridable, match=code):
        rotate(secret, overrides=["must_change", code], reason="because")
    assert not secret.runs.exists()


def test_an_override_needs_a_right_of_its_own(secret):
    factories.deny(decisions.Action.OVERRIDE_CHECK)
    with pytest.raises(decisions.NotAllowed):
        rotate(secret, overrides=["must_change"], reason="because")
    assert rotate(secret).overrides == []


def test_an_override_does_not_join_a_run_that_has_none(secret):
    rotate(secret)
    with pytest.raises(runs.InProgress):
        rotate(secret, overrides=["must_change"], reason="because")


# ---------------------------------------------------------------- blocked, and again


def test_a_run_that_was_blocked_is_retried_once_the_reason_is_gone(secret, host):
    host.accounts["svc"].problem = "locked"
    blocked = drive(rotate(secret, is_leak=True), host)
    assert (blocked.outcome, blocked.code) == ("blocked", "locked")
    host.accounts["svc"].problem = ""
    again = retrying.retry(blocked, actor=factories.administrator())
    assert (again.kind, again.trigger, again.is_leak) == ("rotate", "retry", True)
    assert drive(again, host).outcome == "succeeded"


def test_a_retry_sends_the_value_that_a_person_chose_for_the_blocked_run(secret, host):
    host.accounts["svc"].problem = "locked"
    blocked = drive(rotate(secret, value=Plaintext("Custom-Value-of-mine-0123456789ab")), host)
    host.accounts["svc"].problem = ""
    drive(retrying.retry(blocked, actor=factories.administrator()), host)
    assert host.accounts["svc"].password == password(secret) == "Custom-Value-of-mine-0123456789ab"


def test_a_run_that_has_not_ended_is_not_retried(secret):
    with pytest.raises(runs.InProgress):
        retrying.retry(rotate(secret), actor=factories.administrator())


def test_each_kind_of_run_is_retried_as_what_it_was(secret, host):
    instance, actor = secret.managed.instance, factories.administrator()
    for ask in (
        lambda: runs.verify(secret, actor=actor),
        lambda: runs.drift(secret, actor=actor),
        lambda: runs.reconcile(secret, actor=actor),
        lambda: instance_checks.check(instance, actor=actor),
        lambda: instance_checks.check_account(instance, "other", "password", actor=actor),
    ):
        run = ask()
        ended = drive(run, host)
        assert not ended.is_active
        again = retrying.retry(ended, actor=actor)
        assert (again.pk != run.pk, again.kind, again.username) == (True, run.kind, run.username)
        drive(again, host)


def test_a_run_is_retried_by_who_may_rotate(secret, host, ann):
    ended = drive(runs.verify(secret, actor=factories.administrator()), host)
    with pytest.raises(decisions.NotAllowed):
        retrying.retry(ended, actor=ann.principal)


def test_a_host_whose_check_accepts_anything_is_blocked_and_not_waited_for(secret, host):
    host.accepts_anything = True
    Instance.objects.update(control_at=timezone.now())
    run = drive(rotate(secret), host)
    assert (run.state, run.outcome, run.code) == ("ended", "blocked", "accepts_anything")
    assert secret.labelled("pending").offered_at
    assert "kept as pending" in run.sentence
    assert account(secret).credential_code == "accepts_anything"


def test_fi_p_13_a_host_that_reads_only_the_first_characters_is_blocked(secret, host):
    host.reads_only = 8
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "truncates")
    assert host.failed_logins == 0
    host.reads_only = 0
    assert drive(rotate(secret), host).outcome == "succeeded"


# ---------------------------------------------------------------- the daily control


def uncontrolled(host: MemoryHost, **fields: object) -> Secret:
    made = factories.secret(instance=factories.instance(controlled=True), initial=OLD, **fields)
    factories.settle(made)
    return made


def test_fi_h_21_a_host_that_lets_a_random_password_in_is_blocked_before_it_is_told_anything(host):
    made = uncontrolled(host)
    host.accepts_anything = True
    run = drive(rotate(made), host)
    assert (run.outcome, run.code, run.attempts) == ("blocked", "accepts_anything", 0)
    assert made.labelled("pending").offered_at is None
    assert host.accounts["svc"].password == OLD


def test_the_control_is_one_failed_login_a_day_for_an_instance(host):
    made = uncontrolled(host)
    assert drive(rotate(made), host).outcome == "succeeded"
    assert host.failed_logins == 1
    drive(rotate(made), host)
    assert host.failed_logins == 1
    Instance.objects.update(control_at=timezone.now() - timedelta(hours=25))
    run = drive(rotate(made), host)
    assert host.failed_logins == 2
    assert "refuses a random wrong password" in evidence(run)
    assert steps(run) == ["create", "preflight", "set", "test", "finish"]


@pytest.mark.parametrize("days", [-365, -1, 1, 365])
def test_fi_t_01_a_worker_with_a_wrong_clock_makes_no_control_that_is_not_due(host, days):
    made = uncontrolled(host)
    with time_machine.travel(timezone.now() + timedelta(days=days)):
        assert drive(rotate(made), host).outcome == "succeeded"
        assert host.failed_logins == 1
        drive(rotate(made), host)
        assert host.failed_logins == 1
        Instance.objects.update(control_at=Now() - timedelta(hours=25))
        drive(rotate(made), host)
        assert host.failed_logins == 2


def test_no_control_where_no_password_logs_in(host):
    host.accounts["svc"].runs_commands = False
    made = uncontrolled(host)
    assert drive(rotate(made), host).outcome == "succeeded"
    assert (host.failed_logins, Instance.objects.get().control_at) == (0, None)


# ---------------------------------------------------------------- one account, before it is managed


def check_account(secret: Secret, username: str, kind: str = "password") -> Run:
    return instance_checks.check_account(
        secret.managed.instance, username, kind, actor=factories.administrator()
    )


def test_an_account_is_looked_at_before_a_secret_is_made_for_it(secret, host):
    host.add_account("app", "x")
    run = drive(check_account(secret, "app"), host)
    assert (run.outcome, run.username, host.failed_logins, host.probes) == ("succeeded", "app", 0, 0)


def test_what_is_wrong_with_an_account_is_not_wrong_with_its_instance(secret, host):
    drive(instance_checks.check(secret.managed.instance, actor=factories.administrator()), host)
    before = Instance.objects.get().checks
    host.add_account("app", "x").problem = "locked"
    run = drive(check_account(secret, "app"), host)
    assert (run.outcome, run.code) == ("blocked", "locked")
    instance = Instance.objects.get()
    assert (instance.state, instance.checks) == ("ready", before)
    assert drive(check_account(secret, "app", "key_pair"), host).outcome == "succeeded"
    host.unreachable = True
    assert drive(check_account(secret, "app"), host).outcome == "blocked"
    assert Instance.objects.get().state == "unreachable"


def test_the_look_at_an_account_says_that_it_is_managed_and_not_by_which_secret(secret, host):
    said = evidence(drive(check_account(secret, "svc"), host))
    assert "Another secret manages the password of svc" in said
    assert secret.name not in said


def test_a_rotation_says_that_its_account_has_another_secret_and_not_which(secret, host):
    keys = factories.secret(instance=secret.managed.instance, kind="key_pair", key_algorithm="ed25519")
    run = drive(rotate(secret), host)
    assert "Another secret manages the key pair of svc" in evidence(run)
    assert keys.name not in evidence(run)
    assert run.outcome == "succeeded"


def test_two_looks_at_one_account_are_one_run_and_at_two_accounts_two(secret):
    assert check_account(secret, "app").pk == check_account(secret, "app").pk
    assert check_account(secret, "app").pk != check_account(secret, "app", "key_pair").pk
    with pytest.raises(runs.NotRotatable):
        check_account(secret, "a; reboot")


def test_an_account_is_looked_at_by_who_may_check_the_instance(secret, ann):
    with pytest.raises(decisions.NotAllowed):
        instance_checks.check_account(secret.managed.instance, "app", "password", actor=ann.principal)


# ---------------------------------------------------------------- whether the host's check can say no


def test_whether_a_check_can_say_no_is_asked_with_the_first_change_of_a_day(secret, host):
    for _ in range(3):
        assert drive(rotate(secret), host).outcome == "succeeded"
    assert (host.sets, host.controls) == (3, 1)
    Instance.objects.update(check_control_at=Now() - timedelta(hours=25))
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert (host.sets, host.controls) == (5, 2)


def test_a_check_that_changed_within_the_day_is_asked_before_the_next_change(secret, host):
    assert drive(rotate(secret), host).outcome == "succeeded"
    before = host.accounts["svc"].password
    host.accepts_anything = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "accepts_anything")
    assert host.accounts["svc"].password == before


def test_what_another_machine_has_shown_is_asked_anew(secret, host):
    assert drive(rotate(secret), host).outcome == "succeeded"
    instance = Instance.objects.get()
    assert instance.check_control
    moved = instances.change(
        instance, revision=instance.revision, name=instance.name, address="192.0.2.99", port=22,
        actor=factories.administrator(),
    )  # fmt: skip
    assert moved.check_control == ""
