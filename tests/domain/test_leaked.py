"""What follows a rotation: sessions end, and the old password is shown to be refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import engine, failpoints
from rotation.managed import rotation_options
from rotation.models import Instance, Run, Step
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from tests import factories
from tests.domain.rig import OLD, account, drive, drive_killed_at, evidence, password, rotate, steps

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
FOLLOWED = ["create", "preflight", "set", "test", "finish", "sessions", "clean"]


@pytest.fixture
def host() -> MemoryHost:
    made = MemoryHost()
    made.add_account("svc", OLD).sessions = 2
    return made


def choose(secret: Secret, **options: bool) -> None:
    given = {"ends_sessions": False, "proves_old_refused": False, "reconciles": False} | options
    rotation_options.change_options(secret, actor=factories.administrator(), **given)
    secret.refresh_from_db()


def test_an_ordinary_rotation_leaves_sessions_and_the_old_password_alone(secret, host):
    run = drive(rotate(secret), host)
    assert (host.accounts["svc"].sessions, host.failed_logins) == (2, 0)
    assert steps(run) == FOLLOWED[:5]


def test_a_leaked_password_ends_the_sessions_and_is_shown_to_be_refused(secret, host):
    run = drive(rotate(secret, is_leak=True), host)
    assert (run.outcome, run.truth) == ("succeeded", "new"), run.sentence
    assert (host.accounts["svc"].sessions, host.failed_logins) == (0, 1)
    assert secret.labelled("previous").refused_at
    assert steps(run) == FOLLOWED
    assert "2 SSH sessions of svc ended." in evidence(run)


@pytest.mark.parametrize(
    ("option", "sessions", "failed"), [("ends_sessions", 0, 0), ("proves_old_refused", 2, 1)]
)
def test_a_secret_may_ask_for_either_at_every_rotation(secret, host, option, sessions, failed):
    choose(secret, **{option: True})
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert (host.accounts["svc"].sessions, host.failed_logins) == (sessions, failed)


@pytest.mark.parametrize(
    "place",
    [
        "before_finish",
        "after_labels",
        "before_sessions",
        "after_sessions",
        "before_old",
        "after_old",
        "before_end",
    ],
)
def test_a_worker_killed_anywhere_in_it_is_followed_to_the_end_of_it(secret, host, place):
    run = drive_killed_at(place, rotate(secret, is_leak=True), host)
    if run.is_active:  # the login before the kill was the one in five minutes
        run = drive(run, host)
    assert (run.outcome, run.truth) == ("succeeded", "new"), run.sentence
    assert host.accounts["svc"].password == password(secret) != OLD
    assert host.accounts["svc"].sessions == 0
    assert secret.labelled("previous").refused_at
    assert (host.sets, secret.versions.count()) == (1, 2)
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_an_old_password_that_still_logs_in_is_no_success(secret, host):
    host.accounts["svc"].problem = ""
    failpoints.arm("before_old", lambda: setattr(host, "accepts_logins_with", OLD))
    run = drive(rotate(secret, is_leak=True), host)
    assert (run.outcome, run.truth, run.code) == ("failed", "new", "old_works")
    assert secret.labelled("previous").refused_at is None
    assert (password(secret), account(secret).credential) == (host.accounts["svc"].password, "in_sync")


def test_sessions_that_do_not_end_are_tried_three_times_and_then_told(secret, host):
    choose(secret, ends_sessions=True)
    host.keeps_sessions = True
    run = drive(rotate(secret), host)
    assert (run.state, account(secret).credential) == ("waiting", "in_sync")
    run = drive(run, host, turns=4)
    assert (run.outcome, run.truth) == ("succeeded", "new")
    assert "sessions of svc could not be ended" in run.sentence
    assert steps(run).count("sessions") == 3


def test_the_host_goes_away_after_the_change_and_the_rest_is_done_when_it_is_back(secret, host):
    failpoints.arm("before_sessions", lambda: setattr(host, "unreachable", True))
    run = drive(rotate(secret, is_leak=True), host)
    assert (run.state, account(secret).credential) == ("waiting", "in_sync")
    assert host.accounts["svc"].password == password(secret)
    failpoints.disarm()
    host.unreachable = False
    assert drive(run, host).outcome == "succeeded"
    assert host.accounts["svc"].sessions == 0


def test_two_failed_logins_of_one_account_are_five_minutes_apart(secret, host):
    drive(rotate(secret, is_leak=True), host)
    run = drive(rotate(secret, is_leak=True), host)
    assert (run.state, run.code, host.failed_logins) == ("waiting", "budget", 1)
    assert timedelta(minutes=4) < run.due_at - timezone.now() <= timedelta(minutes=5)
    secret.versions.filter(refused_at__isnull=False).update(
        refused_at=timezone.now() - timedelta(minutes=5, seconds=1)
    )
    assert drive(run, host).outcome == "succeeded"
    assert host.failed_logins == 2


def test_a_worker_that_dies_after_a_failed_login_does_not_bring_the_next_nearer(secret, host):
    run = drive_killed_at("after_old_login", rotate(secret, is_leak=True), host)
    assert (run.state, run.code, host.failed_logins) == ("waiting", "budget", 1)
    run.steps.filter(state=Step.State.BROKEN).update(started_at=timezone.now() - timedelta(minutes=6))
    assert drive(run, host).outcome == "succeeded"
    assert host.failed_logins == 2


def test_asking_again_does_not_shorten_that_wait(secret, host):
    drive(rotate(secret, is_leak=True), host)
    run = drive(rotate(secret, is_leak=True), host)
    assert rotate(secret).pk == run.pk
    again = Run.objects.get(pk=run.pk)
    assert (again.state, again.code, again.due_at) == ("waiting", "budget", run.due_at)


def test_rotating_again_makes_no_second_failed_login_after_a_refused_one(secret, host):
    host.refuses_new_passwords = True
    for _ in range(3):
        run = drive(rotate(secret), host)
        assert (run.outcome, run.code, host.failed_logins) == ("succeeded", "no_login", 1), run.sentence
        assert host.accounts["svc"].password == password(secret)


def test_a_run_given_up_after_its_change_says_that_the_new_value_works(secret, host):
    drive(rotate(secret, is_leak=True), host)
    run = drive(rotate(secret, is_leak=True), host)
    Run.objects.filter(pk=run.pk).update(due_at=timezone.now(), tries=engine.MOST_TRIES)
    run = drive(run, host)
    assert (run.outcome, run.code, run.truth) == ("failed", "gave_up", "new")
    assert run.sentence.startswith("The new value is current.")


@pytest.mark.parametrize("days", [-365, -1, 1, 365])
def test_fi_t_01_a_worker_with_a_wrong_clock_waits_as_long_between_two_failed_logins(secret, host, days):
    with time_machine.travel(timezone.now() + timedelta(days=days)):
        drive(rotate(secret, is_leak=True), host)
        run = drive(rotate(secret, is_leak=True), host)
    assert (run.state, run.code, host.failed_logins) == ("waiting", "budget", 1)
    assert timedelta(minutes=4) < run.due_at - timezone.now() <= timedelta(minutes=5)


def test_the_daily_control_counts_too(host):
    made = factories.secret(instance=factories.instance(controlled=True), initial=OLD)
    factories.settle(made)
    assert drive(rotate(made, is_leak=True), host).outcome == "succeeded"
    assert host.failed_logins == 1  # the login with the old password stands for the control
    assert Instance.objects.get().control_at is None


def test_where_no_password_logs_in_the_hosts_own_check_is_asked_alone(secret, host):
    host.accounts["svc"].runs_commands = False
    assert drive(rotate(secret, is_leak=True), host).outcome == "succeeded"
    assert (host.failed_logins, bool(secret.labelled("previous").refused_at)) == (0, True)


def test_the_same_password_again_is_not_called_refused(secret, host):
    run = drive(
        rotate(secret, is_leak=True, value=Plaintext(OLD), overrides_policy=True, reason="the same"), host
    )
    assert (run.outcome, host.failed_logins) == ("succeeded", 0)
    assert secret.labelled("previous").refused_at is None


def test_a_leaked_key_ends_the_sessions_after_it_is_removed(host):
    pair = key_pairs.generate("ed25519")
    host.accounts["svc"].keys.append(pair.public_key)
    made = factories.secret(kind="key_pair", initial=pair.private_key.reveal(), key_algorithm="ed25519")
    factories.settle(made)
    seen = []
    failpoints.arm("before_sessions", lambda: seen.append(pair.public_key in host.accounts["svc"].keys))
    run = drive(rotate(made, is_leak=True), host)
    assert (run.outcome, seen, host.accounts["svc"].sessions) == ("succeeded", [False], 0)
    assert steps(run)[-2:] == ["clean", "sessions"]


def test_options_are_changed_by_who_may_and_recorded(secret, ann):
    with pytest.raises(decisions.NotAllowed):
        rotation_options.change_options(
            secret, actor=ann.principal, ends_sessions=True, proves_old_refused=True, reconciles=True
        )
    choose(secret, reconciles=True)
    found = account(secret)
    assert (found.ends_sessions, found.proves_old_refused, found.reconciles) == (False, False, True)
    event = AuditEvent.objects.get(action="kms:UpdateSecretRotationPolicy")
    assert event.details == {"ends_sessions": False, "proves_old_refused": False, "reconciles": True}
