"""One rotation from request to end, and every way that it can be broken off."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from rotation import leases, runs, shutdown
from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryConnector
from rotation.engine import engine, failpoints
from rotation.engine.methods import password as method
from rotation.inventory import management
from rotation.models import ManagedAccount, Run, Step
from secrets_app.audit import checkpoints
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, Crash, drive, drive_overtaken_at, password

pytestmark = pytest.mark.django_db


def rotate(secret: Secret, value: str | None = None) -> Run:
    actor = factories.administrator()
    if value is None:
        return runs.start(secret, actor=actor)
    return runs.start(
        secret, actor=actor, value=Plaintext(value), overrides_policy=True, reason="typed by hand"
    )


def credential(secret: Secret) -> str:
    return ManagedAccount.objects.get(secret=secret).credential


def test_a_rotation_ends_with_the_new_value_current_and_on_the_host(secret, host):
    run = drive(rotate(secret), host)
    assert (run.state, run.outcome, run.truth) == ("ended", "succeeded", "new")
    assert host.accounts["svc"].password == password(secret) != OLD
    assert versions.value(secret.labelled("previous")).password.reveal() == OLD
    assert secret.labelled("pending") is None
    assert credential(secret) == "in_sync"
    assert [step.name for step in run.steps.all()] == ["create", "preflight", "set", "test", "finish"]


def test_the_normal_path_makes_no_failed_login(secret, host):
    drive(rotate(secret), host)
    assert (host.sets, host.failed_logins) == (1, 0)


@pytest.mark.parametrize("is_noted", [False, True])
def test_the_value_is_stored_and_marked_before_the_host_hears_of_it(secret, host, is_noted):
    run, seen = rotate(secret), []
    if is_noted:  # as after each run of a worker: a value that no host has heard is marked by one statement
        checkpoints.note_head()
        assert checkpoints.noted() is not None
    failpoints.arm("after_intent", lambda: seen.append((host.sets, secret.labelled("pending").offered_at)))
    drive(run, host)
    assert seen[0][0] == 0
    assert seen[0][1] is not None


@pytest.mark.parametrize(
    "place",
    [
        "before_claim",
        "after_claim",
        "before_create",
        "after_create",
        "after_preflight",
        "after_intent",
        "after_set",
        "before_test",
        "after_test",
        "before_finish",
        "after_finish",
    ],
)
def test_a_worker_killed_anywhere_is_followed_by_one_that_ends_in_success(secret, host, place):
    def die() -> None:
        failpoints.disarm()
        raise Crash

    run = rotate(secret)
    failpoints.arm(place, die)
    with pytest.raises(Crash):
        drive(run, host)
    run = drive(run, host)
    assert run.outcome == "succeeded"
    assert host.accounts["svc"].password == password(secret) != OLD
    assert secret.versions.count() == 2
    assert (host.sets, host.failed_logins) == (1, 0)
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_a_retry_sends_the_same_value(secret, host):
    host.drops_before_set = True
    run = drive(rotate(secret), host)
    first = versions.value(secret.labelled("pending")).password
    host.drops_before_set = False
    drive(run, host)
    assert password(secret) == first.reveal()


def test_a_reply_that_is_lost_after_the_change_ends_in_success(secret, host):
    host.drops_after_set = True
    run = drive(rotate(secret), host)
    assert run.outcome == "succeeded"
    assert host.sets == 1
    assert host.accounts["svc"].password == password(secret)


def test_a_connection_cut_within_the_value_leaves_the_old_one_and_is_sent_again(secret, host):
    host.half_line = True
    run = drive(rotate(secret), host)
    assert (run.state, host.accounts["svc"].password) == ("waiting", OLD)
    host.half_line = False
    assert drive(run, host).outcome == "succeeded"


def test_the_same_message_twice_rotates_once(secret, host):
    run = drive(rotate(secret), host)
    drive(run, host)
    assert (host.sets, secret.versions.count()) == (1, 2)


def test_a_second_worker_finds_the_run_taken(secret, host):
    run = rotate(secret)
    assert leases.claim(run.pk, "one")
    assert leases.claim(run.pk, "two") is None


def test_a_worker_that_was_overtaken_writes_nothing(secret, host):
    run = rotate(secret)
    first = leases.claim(run.pk, "one", lease=timedelta(seconds=-1))
    second = leases.claim(run.pk, "two")
    with pytest.raises(leases.Overtaken):
        leases.begin(first, Step.Name.SET)
    with pytest.raises(leases.Overtaken):
        leases.end(first, Run.Outcome.SUCCEEDED)
    assert leases.begin(second, Step.Name.SET).lease == second.number


def test_a_zombie_that_wakes_after_its_lease_does_not_finish(secret, host):
    """The worker stops before its last step; another one finishes; the first one wakes up."""
    run = rotate(secret)
    drive_overtaken_at("before_finish", run, host)
    assert Run.objects.get(pk=run.pk).outcome == "succeeded"
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1
    assert secret.versions.count() == 2
    assert password(secret) == host.accounts["svc"].password


@pytest.mark.parametrize("place", ["after_create", "after_intent", "after_set"])
def test_a_zombie_that_wakes_before_a_step_that_was_begun_asks_the_host_nothing(secret, host, place):
    run, asked = rotate(secret), []

    def overtake() -> None:
        failpoints.disarm()
        drive(run, host)
        asked.append((host.connections, host.sets, host.probes))

    failpoints.arm(place, overtake)
    drive(run, host)
    assert asked == [(host.connections, host.sets, host.probes)]
    assert Run.objects.get(pk=run.pk).outcome == "succeeded"
    assert not run.steps.filter(state="running").exists()


@pytest.mark.parametrize(
    ("place", "stored", "offered", "told"),
    [
        ("before_create", 0, 0, 0),
        ("after_create", 1, 0, 0),
        ("after_preflight", 1, 0, 0),
        ("after_intent", 1, 1, 0),
        ("before_finish", 1, 1, 1),
    ],
)
def test_a_worker_that_is_to_end_begins_no_transaction_that_goes_on(
    secret, host, place, stored, offered, told
):
    run = rotate(secret)
    failpoints.arm(place, shutdown.begin)
    try:
        drive(run, host)
    finally:
        shutdown.forget()
        failpoints.disarm()
    made = secret.versions.exclude(origin="initial")
    assert leases.due(10) == [run.pk]
    assert (made.count(), made.exclude(offered_at=None).count(), host.sets) == (stored, offered, told)
    assert not run.steps.filter(state="running").exists()
    stopped = run.steps.filter(state="broken").values_list("sentence", flat=True)
    assert set(stopped) <= {"The worker was stopped; another one goes on."}
    assert drive(run, host).outcome == "succeeded"
    assert made.count() == 1


def test_a_step_that_was_begun_and_not_taken_says_why(secret, host):
    """The value is stored and the check begun; then it shows that the account is the instance's own."""
    credential = factories.credential()
    type(credential).objects.filter(pk=credential.pk).update(username="svc")
    credential.refresh_from_db()
    management.attach(secret.managed.instance, credential, actor=factories.administrator())
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "shared_account")
    create, check = run.steps.all()
    assert (create.state, check.name, check.state) == ("done", "preflight", "failed")
    assert (check.sentence, check.ended_at is None) == (run.sentence, False)


def test_the_lease_of_a_worker_whose_process_is_gone_is_handed_back_at_once(secret):
    run = rotate(secret)
    leases.claim(run.pk, "here/4711/1")
    assert leases.hand_back_orphans("elsewhere", lambda pid: False) == []
    assert leases.hand_back_orphans("here", lambda pid: pid == 4711) == []
    assert leases.hand_back_orphans("here", lambda pid: False) == [run.pk]
    assert leases.claim(run.pk, "here/4712/1")


def test_two_runs_on_one_instance_do_not_run_at_the_same_time(secret, host):
    other = factories.secret(instance=secret.managed.instance, username="app")
    assert leases.claim(rotate(secret).pk, "one")
    waiting = rotate(other)
    assert leases.claim(waiting.pk, "two") is None
    assert Run.objects.get(pk=waiting.pk).state == "queued"


def test_an_unreachable_host_is_tried_again_and_keeps_the_pending_value(secret, host):
    host.unreachable = True
    run = drive(rotate(secret), host)
    assert (run.state, run.code, credential(secret)) == ("waiting", "unreachable", "unreachable")
    assert secret.labelled("pending").offered_at is None
    assert password(secret) == OLD
    run = drive(run, host, turns=6)
    assert (run.state, run.outcome, run.truth) == ("ended", "failed", "")


@pytest.mark.parametrize(("dropped", "state"), [(2, "ended"), (3, "waiting")])
def test_a_connection_that_is_dropped_after_the_change_is_tried_again_at_once(
    secret, host, monkeypatch, dropped, state
):
    left = [base.Unreachable(code="busy_sshd")] * dropped
    prove = MemoryConnector.prove_login

    def drop(self, login, **rest):
        if left and host.sets:
            raise left.pop()
        return prove(self, login, **rest)

    monkeypatch.setattr(MemoryConnector, "prove_login", drop)
    monkeypatch.setattr(method, "SOON", (0, 0))
    run = drive(rotate(secret), host)
    assert (run.state, run.waits) == (state, state == "waiting")
    assert drive(run, host).outcome == "succeeded"
    assert host.sets == 1


def test_a_host_that_takes_long_to_fail_is_left_for_later(secret, host, monkeypatch):
    asked = []

    def fail(self, login, **rest):
        asked.append(host.sets)
        raise base.Unreachable(code="late")

    monkeypatch.setattr(MemoryConnector, "prove_login", fail)
    monkeypatch.setattr(method, "AT_ONCE", 0)
    assert drive(rotate(secret), host).state == "waiting"
    assert asked.count(1) == 1  # before the change a login with the current value was tried too


def test_a_run_that_never_reached_its_host_says_that_the_proven_value_still_works(secret, host):
    drive(rotate(secret), host)
    host.unreachable = True
    assert drive(rotate(secret), host, turns=7).truth == "old"


def test_a_changed_host_key_blocks_and_nothing_is_sent(secret, host):
    host.host_key_changed = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, credential(secret)) == ("blocked", "host_key_changed", "blocked")
    assert ManagedAccount.objects.get(secret=secret).credential_code == "host_key_changed"
    assert host.sets == 0


def test_a_host_that_lies_is_never_a_success(secret, host):
    host.lies = True
    run = drive(rotate(secret), host, turns=8)
    assert (run.outcome, run.truth) == ("failed", "old")
    assert password(secret) == OLD
    assert host.failed_logins <= 1


def test_a_run_that_failed_is_followed_by_one_that_settles_its_value(secret, host):
    host.lies = True
    drive(rotate(secret), host, turns=8)
    host.lies = False
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert host.accounts["svc"].password == password(secret)


def test_a_run_that_failed_leaves_a_value_that_the_next_one_sends_again(secret, host):
    host.lies = True
    drive(rotate(secret), host, turns=8)
    first = versions.value(secret.labelled("pending")).password
    host.lies = False
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert password(secret) == first.reveal()


def test_a_kept_value_is_said_to_be_on_the_instance_only_if_it_was_sent(secret, host):
    def created(run: Run) -> str:
        return run.steps.get(name="create").sentence

    host.accounts["svc"].problem = "locked"
    run = drive(rotate(secret), host)
    assert (run.outcome, run.attempts, created(run)) == ("blocked", 0, engine.NEW)
    run = drive(rotate(secret), host)
    assert (run.outcome, run.attempts, created(run)) == ("blocked", 0, engine.KEPT)
    host.accounts["svc"].problem, host.lies = "", True
    drive(rotate(secret), host, turns=8)
    host.lies = False
    assert created(drive(rotate(secret), host)) == engine.OFFERED


def test_a_value_that_is_refused_because_it_is_there_already_is_a_success(secret, host):
    """pam_pwhistory refuses the same password again although it is the valid one."""

    def arrives() -> None:
        host.accounts["svc"].password = versions.value(secret.labelled("pending")).password.reveal()
        host.refuses = "policy"

    failpoints.arm("after_intent", arrives)
    run = drive(rotate(secret), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["svc"].password == password(secret)


def test_each_attempt_has_a_number_above_all_that_the_host_has_seen(secret, host):
    host.accounts["svc"].generations[str(secret.account_id)] = 7
    assert drive(rotate(secret), host).generation == 8
    assert drive(rotate(secret), host).generation == 9


def test_a_change_that_takes_long_is_seen_to_be_over_before_it_is_tested(secret, host, monkeypatch):
    run, seen = rotate(secret), []
    monkeypatch.setattr(leases, "SOON", 0.0)
    failpoints.arm("before_test", lambda: seen.extend(run.steps.values_list("name", "state")))
    assert drive(run, host).outcome == "succeeded"
    assert seen[-2:] == [("set", "done"), ("test", "running")]


def test_steps_that_are_written_together_keep_their_order_and_have_their_times(secret, host):
    run = drive(rotate(secret), host)
    kept = list(run.steps.all())
    assert [step.name for step in kept] == ["create", "preflight", "set", "test", "finish"]
    assert {step.state for step in kept} == {"done"}
    assert all(step.started_at <= step.ended_at for step in kept)


def test_a_run_that_ended_between_two_looks_is_not_taken_up(secret, host):
    run = drive(rotate(secret), host)
    with transaction.atomic():
        assert leases._RUN_LOCKED.first(run.pk) is None


def test_a_custom_value_that_the_host_refuses_ends_the_run_and_is_not_replaced(secret, host):
    host.refuses = "policy"
    run = drive(rotate(secret, "Custom-Value-of-mine-0123456789ab"), host)
    assert (run.outcome, run.truth) == ("failed", "old")
    assert secret.labelled("pending") is None
    assert password(secret) == host.accounts["svc"].password == OLD
    assert not secret.versions.filter(origin=SecretVersion.Origin.GENERATED).exists()


def test_a_generated_value_that_the_host_refuses_is_replaced_three_times_at_most(secret, host):
    host.refuses = "policy"
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "policy")
    assert host.accounts["svc"].password == OLD


def test_a_custom_value_is_set_as_typed(secret, host):
    typed = 'it\'s $HOME "quoted" `x` é %s'
    drive(rotate(secret, typed), host)
    assert host.accounts["svc"].password == password(secret) == typed


def test_a_secret_without_a_value_gets_one_at_its_first_rotation(host):
    made = factories.secret()
    assert credential(made) == "no_value"
    assert drive(rotate(made), host).outcome == "succeeded"
    assert password(made) == host.accounts["svc"].password


def test_two_people_at_once_join_one_run(secret):
    assert rotate(secret).pk == rotate(secret).pk


def test_a_change_that_a_host_says_it_has_not_made_is_not_said_to_have_been_made(secret, host):
    """The current value is asked about, by a check that is no login."""
    drive(rotate(secret), host)
    before, host.refuses = password(secret), "not_set"
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, run.truth) == ("blocked", "not_set", "old")
    assert "The current value still works" in run.sentence
    assert "may have the new value" not in run.sentence
    assert (password(secret), host.accounts["svc"].password) == (before, before)
    assert secret.labelled("pending").offered_at


def test_a_host_that_has_neither_value_after_a_refusal_may_have_the_new_one(secret, host):
    drive(rotate(secret), host)
    host.refuses = "not_set"
    failpoints.arm("after_intent", lambda: setattr(host.accounts["svc"], "password", "of another program"))
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth) == ("blocked", "")
    assert "The instance may have the new value" in run.sentence


def test_a_custom_value_while_a_run_is_active_is_refused(secret):
    rotate(secret)
    with pytest.raises(runs.InProgress):
        rotate(secret, "Custom-Value-of-mine-0123456789ab")


def test_the_same_token_twice_is_one_run(secret, host):
    actor = factories.administrator()
    first = runs.start(secret, actor=actor, token="abc")
    drive(first, host)
    assert runs.start(secret, actor=actor, token="abc").pk == first.pk


@pytest.mark.parametrize(
    ("initial", "outcome", "state"),
    [(OLD, "succeeded", "in_sync"), ("a-wrong-password", "failed", "out_of_sync")],
)
def test_an_initial_value_is_checked_after_creation(host, initial, outcome, state):
    made = factories.secret(initial=initial)
    assert credential(made) == "not_verified"
    run = drive(made.runs.get(), host)
    assert (run.kind, run.outcome, credential(made)) == ("verify", outcome, state)
    assert host.failed_logins == 0


def test_the_first_rotation_puts_a_wrong_initial_value_right(host):
    made = factories.secret(initial="a-wrong-password")
    drive(made.runs.get(), host)
    assert drive(rotate(made), host).outcome == "succeeded"
    assert credential(made) == "in_sync"


def test_an_instance_without_a_credential_blocks_with_what_to_do(secret, host):
    instance = secret.managed.instance
    type(instance).objects.filter(pk=instance.pk).update(credential=None)
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "no_credential")
    assert "Attach" in run.sentence


def test_a_rotation_acts_for_somebody_who_may(secret, ann):
    with pytest.raises(decisions.NotAllowed):
        runs.start(secret, actor=ann.principal)
    assert not secret.runs.exists()


def test_old_versions_are_destroyed_only_beyond_the_history_that_is_kept(secret, host):
    for _ in range(14):
        drive(rotate(secret), host)
    kept = secret.versions.filter(destroyed_at=None).count()
    assert kept == 12  # ten, the current one and the previous one
    assert password(secret) == host.accounts["svc"].password


def test_a_host_that_swears_to_its_own_lie_costs_one_counting_login_and_no_more(secret, host):
    host.lies = True
    run = rotate(secret)
    for _ in range(4):
        run = drive(run, host)
    assert run.outcome != "succeeded"
    assert host.failed_logins == 1


def test_what_the_host_says_of_the_value_it_has_just_set_saves_a_question(secret, host):
    assert drive(rotate(secret), host).outcome == "succeeded"
    # The one question is of the old value, before the change.
    assert (host.sets, host.probes) == (1, 1)
