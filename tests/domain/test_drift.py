"""Somebody else changes a credential: it is noticed, named, and where that is wanted put right."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest
from django.utils import timezone

from rotation import runs, tasks
from rotation.connectors.memory.connector import MemoryAccount, MemoryHost
from rotation.engine import failpoints
from rotation.managed import credential_state, deletion, rotation_options
from rotation.models import ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import users
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, account, current, drive, drive_killed_at, evidence, password, rotate, steps

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
OLD_KEY, OTHER_KEY = key_pairs.generate("ed25519"), key_pairs.generate("ed25519")


@pytest.fixture
def key(host: MemoryHost) -> Secret:
    host.accounts["svc"].keys.append(OLD_KEY.public_key)
    made = factories.secret(kind="key_pair", initial=OLD_KEY.private_key.reveal(), key_algorithm="ed25519")
    factories.settle(made)
    return made


def look(secret: Secret, host: MemoryHost) -> Run:
    return drive(runs.drift(secret, actor=factories.administrator()), host)


def reconcile(secret: Secret) -> Run:
    return runs.reconcile(secret, actor=factories.administrator())


def reconciles(secret: Secret) -> None:
    rotation_options.change_options(
        secret,
        actor=factories.administrator(),
        ends_sessions=False,
        proves_old_refused=False,
        reconciles=True,
    )


def snapshot(host: MemoryHost) -> MemoryAccount:
    return deepcopy(host.accounts["svc"])


def change_outside(host: MemoryHost, value: str = "somebody else's") -> None:
    host.accounts["svc"].password = value
    host.accounts["svc"].salt += 1


# ---------------------------------------------------------------- in sync


def test_the_first_look_asks_once_and_later_ones_send_no_value(secret, host):
    drive(rotate(secret), host)
    asked = host.probes
    assert look(secret, host).outcome == "succeeded"
    assert host.probes == asked + 1
    run = look(secret, host)
    assert (run.outcome, steps(run)) == ("succeeded", ["preflight"])
    assert (host.probes, host.failed_logins, account(secret).credential) == (asked + 1, 0, "in_sync")


def test_a_rotation_begins_the_comparison_anew(secret, host):
    look(secret, host)
    assert account(secret).traces
    drive(rotate(secret), host)
    assert account(secret).traces == {}
    assert look(secret, host).outcome == "succeeded"


def test_the_same_password_set_again_by_somebody_else_is_noted_and_in_sync(secret, host):
    look(secret, host)
    change_outside(host, OLD)
    run = look(secret, host)
    assert (run.outcome, account(secret).credential) == ("succeeded", "in_sync")
    assert "set again outside Keyturn" in run.sentence


def test_another_line_in_the_key_file_is_noted_and_in_sync(key, host):
    look(key, host)
    host.accounts["svc"].keys.append(OTHER_KEY.public_key)
    run = look(key, host)
    assert (run.outcome, account(key).credential) == ("succeeded", "in_sync")
    assert "a related setting has changed" in run.sentence


def test_a_credential_that_is_as_it_was_is_in_sync_again_after_a_look_that_failed(secret, host):
    look(secret, host)
    host.unreachable = True
    run = look(secret, host)
    assert (run.state, account(secret).credential) == ("waiting", "unreachable")
    host.unreachable = False
    assert drive(run, host).outcome == "succeeded"
    assert account(secret).credential == "in_sync"


# ---------------------------------------------------------------- out of sync


def test_a_value_that_never_worked_is_refused_and_not_called_changed_by_somebody(secret, host):
    change_outside(host)
    run = look(secret, host)
    assert (run.outcome, run.code, account(secret).credential) == ("failed", "refused_value", "out_of_sync")
    assert run.sentence == "The instance refuses the current value. No kept value works there."


def test_a_password_that_somebody_else_changed_is_out_of_sync(secret, host):
    look(secret, host)
    change_outside(host)
    run = look(secret, host)
    assert (run.outcome, run.truth, run.code) == ("failed", "neither", "changed_outside")
    assert (account(secret).credential, account(secret).credential_code) == ("out_of_sync", "changed_outside")
    assert (host.failed_logins, host.accounts["svc"].password) == (0, "somebody else's")
    assert not secret.runs.active().exists()


def test_a_key_that_somebody_else_removed_is_out_of_sync(key, host):
    look(key, host)
    host.accounts["svc"].keys = [OTHER_KEY.public_key]
    assert look(key, host).code == "changed_outside"
    assert account(key).credential == "out_of_sync"


def test_fi_h_01_a_snapshot_from_two_versions_ago_is_named_with_the_version_that_works(secret, host):
    drive(rotate(secret), host)
    then, working = snapshot(host), secret.labelled("current")
    for _ in range(2):
        drive(rotate(secret), host)
    host.accounts["svc"] = then
    run = look(secret, host)
    assert (run.code, run.truth) == ("snapshot", "old")
    assert f"Version {working.version_id}" in run.sentence
    assert (account(secret).credential, host.failed_logins) == ("out_of_sync", 0)


def test_fi_h_08_power_loss_after_the_rename_leaves_the_previous_value(secret, host):
    drive(rotate(secret), host)
    before = snapshot(host)
    drive(rotate(secret), host)
    host.accounts["svc"].password, host.accounts["svc"].salt = before.password, before.salt
    run = look(secret, host)
    assert f"Version {secret.labelled('previous').version_id}" in run.sentence
    assert run.truth == "old"


def test_an_attempt_that_never_arrived_is_not_mistaken_for_a_snapshot(secret, host):
    drive(rotate(secret), host)
    host.drops_before_set = True
    drive(rotate(secret), host, turns=8)
    host.drops_before_set = False
    change_outside(host)
    assert look(secret, host).code == "changed_outside"


def test_a_value_of_an_unfinished_rotation_is_current_once_the_host_is_seen_to_have_it(secret, host):
    run = rotate(secret)
    failpoints.arm("after_set", lambda: setattr(host, "unreachable", True))
    run = drive(run, host, turns=8)
    failpoints.disarm()
    host.unreachable = False
    assert run.outcome == "failed"
    reconciles(secret)
    found = look(secret, host)
    assert (found.outcome, found.code, found.truth) == ("succeeded", "taken_up", "new")
    assert host.accounts["svc"].password == password(secret)
    assert not secret.runs.active().exists()
    assert drive(rotate(secret), host).outcome == "succeeded"


@pytest.mark.parametrize("problem", ["locked", "expired", "must_change", "no_such_user"])
def test_an_account_that_somebody_else_made_useless_is_blocked_by_that_name(secret, host, problem):
    look(secret, host)
    if problem == "no_such_user":
        del host.accounts["svc"]
    else:
        host.accounts["svc"].problem = problem
    run = look(secret, host)
    assert (run.outcome, run.code) == ("blocked", problem)
    assert "The account was changed" in run.sentence
    assert account(secret).credential_code == problem


def test_fi_h_02_a_host_that_refuses_the_management_credential_too_is_blocked_with_what_to_do(secret, host):
    host.refuses_login = True
    for run in (look(secret, host), drive(rotate(secret), host)):
        assert (run.state, run.outcome, run.code) == ("ended", "blocked", "login_refused")
        assert secret.managed.instance.credential.name in run.sentence
        assert "retry" in run.sentence


def test_a_rotation_of_a_host_set_back_says_so_and_goes_on(secret, host):
    drive(rotate(secret), host)
    then, working = snapshot(host), secret.labelled("current")
    drive(rotate(secret), host)
    host.accounts["svc"] = then
    run = drive(rotate(secret), host)
    assert run.outcome == "succeeded", run.sentence
    assert "set back to an older state" in evidence(run)
    assert working.version_id in evidence(run)
    assert host.accounts["svc"].password == password(secret)
    assert "set back" not in evidence(drive(rotate(secret), host))


def test_a_secret_without_a_value_cannot_drift(host):
    with pytest.raises(runs.NotRotatable, match="no value"):
        runs.drift(factories.secret(), actor=factories.administrator())


# ---------------------------------------------------------------- reconcile


def test_the_current_value_is_set_again(secret, host):
    change_outside(host)
    run = drive(reconcile(secret), host)
    assert (run.outcome, account(secret).credential) == ("succeeded", "in_sync")
    assert host.accounts["svc"].password == password(secret) == OLD
    assert (secret.versions.count(), host.sets, host.failed_logins) == (1, 1, 0)
    assert account(secret).traces == {}


def test_the_current_key_is_added_again_and_no_other_line_is_touched(key, host):
    host.accounts["svc"].keys = [OTHER_KEY.public_key]
    run = drive(reconcile(key), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["svc"].keys == [OTHER_KEY.public_key, current(key).public_key]


def test_a_host_that_has_the_value_is_told_nothing(secret, host):
    run = drive(reconcile(secret), host)
    assert (run.outcome, host.sets, run.attempts) == ("succeeded", 0, 0)


@pytest.mark.parametrize(
    "place", ["after_preflight", "after_intent", "after_set", "before_test", "after_test", "before_finish"]
)
@pytest.mark.parametrize("kind", ["password", "key"])
def test_a_reconciliation_killed_anywhere_is_followed_to_success(request, host, place, kind):
    secret = request.getfixturevalue("secret" if kind == "password" else "key")
    if kind == "password":
        change_outside(host)
    else:
        host.accounts["svc"].keys = []
    run = drive_killed_at(place, reconcile(secret), host)
    assert run.outcome == "succeeded", run.sentence
    assert (host.sets, secret.versions.count(), host.failed_logins) == (1, 1, 0)
    if kind == "password":
        assert host.accounts["svc"].password == OLD
    else:
        assert host.accounts["svc"].keys == [OLD_KEY.public_key]
    assert AuditEvent.objects.filter(action="kms:ReconciliationEnded").count() == 1


def test_a_reconciliation_whose_answer_is_lost_ends_in_success(secret, host):
    change_outside(host)
    host.drops_after_set = True
    assert drive(reconcile(secret), host).outcome == "succeeded"
    assert host.sets == 1


def test_a_lying_host_is_never_reconciled(secret, host):
    change_outside(host)
    host.lies = True
    run = drive(reconcile(secret), host, turns=8)
    assert (run.outcome, run.truth) == ("failed", "neither")
    assert account(secret).credential == "out_of_sync"


def test_a_password_that_the_host_will_not_take_again_is_blocked_with_what_to_do(secret, host):
    change_outside(host)
    host.refuses = "policy"
    run = drive(reconcile(secret), host)
    assert (run.outcome, run.code) == ("blocked", "policy")
    assert "Rotate" in run.sentence
    assert secret.labelled("current").version_id == secret.versions.get().version_id


def test_a_newer_value_that_the_host_may_have_is_finished_first(secret, host):
    host.lies = True
    drive(rotate(secret), host, turns=8)
    assert secret.labelled("pending").offered_at
    with pytest.raises(runs.NotRotatable, match="Rotate to finish"):
        reconcile(secret)


def test_a_rotation_and_a_reconciliation_do_not_cross(secret, host):
    rotation = rotate(secret)
    with pytest.raises(runs.InProgress):
        reconcile(secret)
    drive(rotation, host)
    change_outside(host)
    under_way = reconcile(secret)
    assert reconcile(secret).pk == under_way.pk
    failpoints.arm("after_set", lambda: setattr(host, "unreachable", True))
    assert drive(under_way, host).state == "waiting"
    with pytest.raises(runs.NotRotatable, match="being set again"):
        rotate(secret)


def test_a_reconciliation_that_has_told_the_host_nothing_makes_way_for_a_rotation(secret):
    waiting = reconcile(secret)
    assert rotate(secret).kind == "rotate"
    assert Run.objects.get(pk=waiting.pk).outcome == "cancelled"


def test_it_is_asked_for_by_who_may_rotate(secret, ann):
    for ask in (runs.reconcile, runs.drift):
        with pytest.raises(decisions.NotAllowed):
            ask(secret, actor=ann.principal)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_drifted_host_is_reconciled_without_asking_only_where_that_was_chosen(secret, host, is_wanted):
    if is_wanted:
        reconciles(secret)
    look(secret, host)
    change_outside(host)
    assert look(secret, host).outcome == "failed"
    following = secret.runs.active().first()
    assert bool(following) == is_wanted
    if following:
        assert (following.kind, following.trigger) == ("reconcile", "drift")
        assert following.requested_by == users.system()
        assert drive(following, host).outcome == "succeeded"
        assert host.accounts["svc"].password == versions.value(secret.labelled("current")).password.reveal()
        assert look(secret, host).outcome == "succeeded"


# ---------------------------------------------------------------- every day


def due(share: timedelta = timedelta(days=1)) -> set[str]:
    return {found.secret.name for found in credential_state.due_for_drift_check(share)}


def test_every_account_with_a_value_is_looked_at_once_a_day(secret, settings, monkeypatch):
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda run: woken.append(run.kind))
    monkeypatch.setattr(tasks, "DRIFT_TICK", settings.DRIFT_EVERY)
    factories.secret()  # it has no value
    tasks.start_drift_checks()
    tasks.start_drift_checks()
    assert woken == ["drift"]
    secret.runs.all().delete()
    tasks.start_drift_checks()
    assert woken == ["drift"]
    ManagedAccount.objects.update(drift_checked_at=timezone.now() - timedelta(hours=25))
    tasks.start_drift_checks()
    assert woken == ["drift", "drift"]


def test_the_looks_spread_over_the_day(secret, host):
    for _ in range(5):
        factories.settle(factories.secret(initial=OLD))
    assert len(due()) == 6
    assert len(due(timedelta(hours=12))) == 3
    assert len(due(timedelta(minutes=1))) == 1


def test_an_account_that_is_worked_on_deleted_or_gone_is_not_looked_at(secret, host):
    assert due() == {secret.name}
    run = rotate(secret)
    assert due() == set()
    drive(run, host)
    assert due() == {secret.name}
    credential_state.note(secret.managed, ManagedAccount.Credential.GONE)
    assert due() == set()
    credential_state.note(secret.managed, ManagedAccount.Credential.IN_SYNC)
    deletion.plan_deletion(secret, actor=factories.administrator())
    assert due() == set()


def test_two_beats_start_one_look(secret):
    found = credential_state.due_for_drift_check(timedelta(days=1))
    again = credential_state.due_for_drift_check(timedelta(days=1))
    assert credential_state.claim_drift_check(found[0])
    assert not credential_state.claim_drift_check(again[0])
