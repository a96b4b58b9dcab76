"""What becomes of keys: new versions, the kill switch, destruction, and the move of values between them."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from rotation import runs, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from rotation.inventory import management
from rotation.models import ManagementCredential, Run
from secrets_app import keyring
from secrets_app.audit import checkpoints
from secrets_app.crypto import envelope
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states, rewraps
from secrets_app.models import AuditEvent, Key, KeyVersion, Rewrap, SealedValue, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import die_at, drive, password

pytestmark = pytest.mark.django_db


def actor():
    return factories.administrator()


def another(alias: str = "team/second") -> Key:
    return key_states.create(alias, actor=actor())


def states(key: Key) -> dict[int, str]:
    return dict(KeyVersion.objects.filter(key=key).values_list("number", "state"))


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action))


def finish(work: Rewrap) -> Rewrap:
    while rewraps.carry(work.pk):
        pass
    work.refresh_from_db()
    return work


# ---------------------------------------------------------------- versions


def test_a_new_version_becomes_primary_and_the_old_one_still_opens():
    made = factories.secret(initial="the-old-password-1")
    key = keyring.default_key()
    key_states.new_version(key, actor=actor())
    assert states(key) == {1: "enabled", 2: "primary"}
    assert password(made) == "the-old-password-1"
    other = factories.secret(initial="the-new-password-1")
    assert other.labelled("current").sealed.key_version.number == 2
    assert [event.details for event in events("kms:UpdateKey")] == [{"version": 2}]


def test_a_primary_version_is_renewed_by_itself_after_a_year_and_not_before():
    key = keyring.default_key()
    KeyVersion.objects.update(created_at=timezone.now() - timedelta(days=364))
    tasks.look_after_keys()
    assert states(key) == {1: "primary"}
    KeyVersion.objects.update(created_at=timezone.now() - timedelta(days=366))
    tasks.look_after_keys()
    tasks.look_after_keys()
    assert states(key) == {1: "enabled", 2: "primary"}
    assert events("kms:UpdateKey")[0].actor.kind == "system"


def test_a_disabled_key_is_not_renewed():
    key_states.disable(keyring.default_key(), actor=actor())
    KeyVersion.objects.update(created_at=timezone.now() - timedelta(days=366))
    tasks.look_after_keys()
    assert states(keyring.default_key()) == {1: "disabled"}


@pytest.mark.parametrize("alias", ["", "a b", "/x", "x" * 81, "line\n", "*"])
def test_an_alias_that_could_not_stand_in_an_arn_is_refused(alias):
    with pytest.raises(key_states.BadAlias):
        key_states.create(alias, actor=actor())


def test_two_keys_have_no_alias_in_common():
    another()
    with pytest.raises(key_states.AliasTaken):
        another()


def test_a_secret_is_sealed_by_the_key_that_was_chosen_for_it():
    key = another()
    made = factories.secret(initial="a-password-of-it-1", key=key)
    assert made.key == key
    assert made.labelled("current").sealed.key_version.key == key
    assert password(made) == "a-password-of-it-1"


def test_no_secret_is_made_with_a_disabled_key():
    key = another()
    key_states.disable(key, actor=actor())
    with pytest.raises(keyring.KeyDisabled):
        factories.secret(key=key)
    assert not Secret.objects.exists()


# ---------------------------------------------------------------- rights


@pytest.mark.parametrize(
    ("action", "does"),
    [
        ("kms:CreateKey", lambda key, who: key_states.create("x", actor=who)),
        ("kms:UpdateKey", lambda key, who: key_states.new_version(key, actor=who)),
        ("kms:UpdateKey", lambda key, who: rewraps.start(key, key, actor=who)),
        ("kms:DisableKey", lambda key, who: key_states.disable(key, actor=who)),
        ("kms:EnableKey", lambda key, who: key_states.enable(key, actor=who)),
        ("kms:ScheduleKeyDeletion", lambda key, who: key_states.plan_destruction(key, days=7, actor=who)),
        ("kms:CancelKeyDeletion", lambda key, who: key_states.cancel_destruction(key, actor=who)),
    ],
)
def test_each_change_of_a_key_needs_its_own_right(dot, action, does):
    key = another()
    factories.deny(action)
    before = states(key), AuditEvent.objects.count()
    with pytest.raises(decisions.NotAllowed):
        does(key, dot.principal)
    assert (states(key), AuditEvent.objects.count()) == before
    assert not Rewrap.objects.exists()


# ---------------------------------------------------------------- the kill switch


def test_cry_06_a_disabled_key_shows_no_value_and_enabling_restores_it(dot):
    made = factories.secret(initial="the-password-1")
    version = made.labelled("current")
    key_states.disable(made.key, actor=dot.principal)
    with pytest.raises(keyring.KeyDisabled):
        versions.reveal(SecretVersion.objects.get(pk=version.pk), actor=dot.principal, reason="test")
    assert events("kms:DisableKey")[0].details == {"values": SealedValue.objects.count()}
    key_states.enable(made.key, actor=dot.principal)
    assert versions.reveal(version, actor=dot.principal, reason="test").password.reveal() == "the-password-1"
    assert len(events("kms:EnableKey")) == 1


def test_cry_06_a_rotation_blocks_before_the_host_is_told_and_goes_on_after_enabling():
    key = another()
    made, host = factories.secret(initial="the-old-password-1", key=key), MemoryHost()
    host.add_account("svc", "the-old-password-1")
    factories.settle(made)
    key_states.disable(key, actor=actor())
    run = drive(runs.start(made, actor=actor()), host)
    assert (run.outcome, run.code) == (Run.Outcome.BLOCKED, "key_disabled")
    assert "encryption key is disabled" in run.sentence
    assert key.alias not in run.sentence  # many may see a run, and fewer the key
    assert run.attempts == 0
    assert not made.versions.filter(offered_at__isnull=False).exists()
    assert host.shadow_accepts("svc", "the-old-password-1")
    assert not run.steps.filter(state="running").exists()
    ended = AuditEvent.objects.filter(resource_id=made.pk, outcome="failed").get()
    assert ended.details["code"] == "key_disabled"
    key_states.enable(key, actor=actor())
    run = drive(runs.start(made, actor=actor()), host)
    assert run.outcome == Run.Outcome.SUCCEEDED
    assert host.shadow_accepts("svc", password(made))


def test_cry_06_a_key_that_is_disabled_after_the_value_was_stored_stops_the_run_untold():
    key = another()
    made, host = factories.secret(initial="the-old-password-1", key=key), MemoryHost()
    host.add_account("svc", "the-old-password-1")
    factories.settle(made)
    run = runs.start(made, actor=actor(), value=Plaintext("A-custom-Value-1-0123456789-abcdef"))
    key_states.disable(key, actor=actor())
    run = drive(run, host)
    assert (run.outcome, run.code, run.attempts) == (Run.Outcome.BLOCKED, "key_disabled", 0)
    assert not made.versions.filter(offered_at__isnull=False).exists()
    assert host.shadow_accepts("svc", "the-old-password-1")


@pytest.mark.parametrize("is_noted", [False, True])
@pytest.mark.parametrize("was_opened", [False, True])
def test_cry_06_a_key_that_is_disabled_after_the_check_stops_the_run_untold(was_opened, is_noted):
    key = another()
    made, host = factories.secret(initial="the-old-password-1", key=key), MemoryHost()
    host.add_account("svc", "the-old-password-1")
    factories.settle(made)
    run = runs.start(made, actor=actor())
    if is_noted:  # the mark of a value then asks for the key itself
        checkpoints.note_head()
        assert checkpoints.noted() is not None
    if was_opened:
        # A worker died before it told the host. The next one asks for the value, and so has it open.
        die_at("after_intent", run, host)
    told = host.sets
    failpoints.arm("after_preflight", lambda: key_states.disable(key, actor=actor()))
    run = drive(run, host)
    assert (run.outcome, run.code, host.sets) == (Run.Outcome.BLOCKED, "key_disabled", told)
    assert run.attempts == int(was_opened)
    assert host.shadow_accepts("svc", "the-old-password-1")


def test_enabling_makes_the_newest_version_primary_and_leaves_what_is_to_be_destroyed():
    key = another()
    for _ in range(2):
        key_states.new_version(key, actor=actor())
    key_states.plan_destruction(key, days=7, actor=actor(), version=key.versions.get(number=1))
    key_states.disable(key, actor=actor())
    assert states(key) == {1: "scheduled", 2: "disabled", 3: "disabled"}
    key_states.enable(key, actor=actor())
    assert states(key) == {1: "scheduled", 2: "enabled", 3: "primary"}


def test_what_does_not_fit_the_state_of_a_key_is_refused():
    key = another()
    with pytest.raises(key_states.WrongState):
        key_states.enable(key, actor=actor())
    with pytest.raises(key_states.WrongState):
        key_states.cancel_destruction(key, actor=actor())
    key_states.disable(key, actor=actor())
    for refused in (key_states.disable, key_states.new_version):
        with pytest.raises(key_states.WrongState):
            refused(key, actor=actor())


# ---------------------------------------------------------------- destruction


def due(key: Key) -> None:
    """Its day has come."""
    past = timezone.now() - timedelta(seconds=1)
    KeyVersion.objects.filter(key=key, state="scheduled").update(destruction_due_at=past)


def test_an_unused_key_is_destroyed_on_its_day_and_its_row_stays():
    key = another()
    key_states.plan_destruction(key, days=7, actor=actor())
    tasks.look_after_keys()
    assert states(key) == {1: "scheduled"}
    due(key)
    tasks.look_after_keys()
    row = KeyVersion.objects.get(key=key)
    assert (row.state, row.wrapped) == ("destroyed", None)
    assert row.destroyed_at is not None
    assert events("kms:DestroyKeyVersion")[0].details == {"version": 1}
    assert Key.objects.get(pk=key.pk).state == "destroyed"


@pytest.mark.parametrize("days", [6, 31])
def test_a_destruction_is_planned_seven_to_thirty_days_ahead(days):
    with pytest.raises(key_states.BadWindow):
        key_states.plan_destruction(another(), days=days, actor=actor())


def test_a_key_that_values_need_cannot_be_destroyed_and_the_refusal_counts_them():
    key = another()
    factories.secret(initial="a-password-of-it-1", key=key)
    with pytest.raises(key_states.InUse, match=r"1 value sealed under it and 1 secret that uses it.*Rewrap"):
        key_states.plan_destruction(key, days=7, actor=actor())
    assert states(key) == {1: "primary"}


def test_a_key_that_only_a_secret_without_a_value_names_cannot_be_destroyed():
    key = another()
    factories.secret(key=key)
    with pytest.raises(key_states.InUse):
        key_states.plan_destruction(key, days=7, actor=actor())


def test_the_default_key_cannot_be_destroyed():
    with pytest.raises(key_states.InUse):
        key_states.plan_destruction(keyring.default_key(), days=7, actor=actor())


def test_an_older_version_can_be_destroyed_once_nothing_needs_it():
    made = factories.secret(initial="a-password-of-it-1")
    key = made.key
    key_states.new_version(key, actor=actor())
    old = key.versions.get(number=1)
    with pytest.raises(key_states.InUse):
        key_states.plan_destruction(key, days=7, actor=actor(), version=old)
    finish(rewraps.start(key, key, actor=actor()))
    key_states.plan_destruction(key, days=7, actor=actor(), version=old)
    due(key)
    tasks.look_after_keys()
    assert states(key) == {1: "destroyed", 2: "primary"}
    assert password(made) == "a-password-of-it-1"


def test_the_primary_version_cannot_be_destroyed_on_its_own():
    key = another()
    with pytest.raises(key_states.WrongState):
        key_states.plan_destruction(key, days=7, actor=actor(), version=key.versions.get())


def test_values_are_counted_again_on_the_day():
    key = another()
    key_states.plan_destruction(key, days=7, actor=actor())
    late = factories.secret(initial="a-password-of-it-1")
    SealedValue.objects.filter(pk=late.labelled("current").sealed_id).update(key_version=key.versions.get())
    due(key)
    tasks.look_after_keys()
    assert states(key) == {1: "scheduled"}
    assert key.versions.get().wrapped


def test_a_cancelled_destruction_leaves_the_key_disabled_for_another_right_to_enable():
    key = another()
    key_states.plan_destruction(key, days=7, actor=actor())
    key_states.cancel_destruction(key, actor=actor())
    assert states(key) == {1: "disabled"}
    key_states.enable(key, actor=actor())
    assert states(key) == {1: "primary"}
    due(key)
    tasks.look_after_keys()
    assert states(key) == {1: "primary"}


def test_a_cancelled_destruction_of_a_version_has_it_open_again():
    key = another()
    key_states.new_version(key, actor=actor())
    old = key.versions.get(number=1)
    key_states.plan_destruction(key, days=7, actor=actor(), version=old)
    key_states.cancel_destruction(key, actor=actor(), version=old)
    assert states(key) == {1: "enabled", 2: "primary"}


# ---------------------------------------------------------------- rewrap


def test_a_rewrap_moves_every_value_to_the_newest_version_and_touches_no_payload():
    made = [factories.secret(initial=f"the-password-{n}-1") for n in range(3)]
    payloads = dict(SealedValue.objects.values_list("pk", "ciphertext"))
    key = keyring.default_key()
    newest = key_states.new_version(key, actor=actor())
    work = finish(rewraps.start(key, key, actor=actor()))
    assert (work.state, work.done, work.total) == ("done", len(payloads), len(payloads))
    assert set(SealedValue.objects.values_list("key_version", flat=True)) == {newest.pk}
    assert dict(SealedValue.objects.values_list("pk", "ciphertext")) == payloads
    assert [password(one) for one in made] == [f"the-password-{n}-1" for n in range(3)]
    for credential in ManagementCredential.objects.select_related("sealed"):
        keyring.open_(
            credential.sealed, owner_id=credential.pk, subject_id=credential.pk, field=management.FIELD
        )
    assert [event.details["done"] for event in events("kms:RewrapEnded")] == [len(payloads)]


def test_a_rewrap_to_another_key_has_the_secrets_use_that_key():
    key, made = another(), factories.secret(initial="the-password-1")
    finish(rewraps.start(made.key, key, actor=actor()))
    made.refresh_from_db()
    assert made.key == key
    assert not SealedValue.objects.exclude(key_version__key=key).exists()
    assert password(made) == "the-password-1"


def test_there_is_one_rewrap_of_a_key_at_a_time():
    factories.secret(initial="the-password-1")
    key = keyring.default_key()
    key_states.new_version(key, actor=actor())
    rewraps.start(key, key, actor=actor())
    with pytest.raises(rewraps.UnderWay):
        rewraps.start(key, key, actor=actor())


def test_two_workers_never_carry_one_rewrap_at_once():
    factories.secret(initial="the-password-1")
    key = keyring.default_key()
    key_states.new_version(key, actor=actor())
    work = rewraps.start(key, key, actor=actor())
    Rewrap.objects.update(carried_until=timezone.now() + timedelta(seconds=30))
    assert not rewraps.carry(work.pk)
    assert not rewraps.due().exists()
    work.refresh_from_db()
    assert work.done == 0


def test_a_rewrap_waits_while_its_key_is_disabled_and_says_so():
    factories.secret(initial="the-password-1")
    source, target = keyring.default_key(), another()
    work = rewraps.start(source, target, actor=actor())
    key_states.disable(source, actor=actor())
    assert not rewraps.carry(work.pk)
    work.refresh_from_db()
    assert (work.state, work.done) == ("running", 0)
    assert "disabled" in work.sentence
    key_states.enable(source, actor=actor())
    assert finish(work).state == "done"


def test_a_value_that_does_not_open_is_left_as_it_was_and_stops_no_other(caplog):
    broken, good = factories.secret(initial="the-password-1"), factories.secret(initial="the-password-2")
    row = broken.labelled("current").sealed
    changed = bytes(row.ciphertext)[:-1] + bytes([bytes(row.ciphertext)[-1] ^ 1])
    SealedValue.objects.filter(pk=row.pk).update(ciphertext=changed)
    key = keyring.default_key()
    key_states.new_version(key, actor=actor())
    work = finish(rewraps.start(key, key, actor=actor()))
    assert (work.state, work.damaged, work.done) == ("done", [str(row.pk)], work.total - 1)
    left = SealedValue.objects.get(pk=row.pk)
    assert (left.key_version.number, bytes(left.wrapped_key)) == (1, bytes(row.wrapped_key))
    assert password(good) == "the-password-2"
    assert events("kms:RewrapEnded")[0].outcome == "failed"


def test_a_row_that_was_moved_does_not_open_after_a_rewrap_either():
    one, other = factories.secret(initial="the-password-1"), factories.secret(initial="the-password-2")
    theirs = other.labelled("current").sealed
    moved = {name: getattr(theirs, name) for name in ("wrapped_key", "ciphertext", "owner_id", "subject_id")}
    SealedValue.objects.filter(pk=one.labelled("current").sealed_id).update(**moved)
    key = keyring.default_key()
    key_states.new_version(key, actor=actor())
    finish(rewraps.start(key, key, actor=actor()))
    with pytest.raises(envelope.Tampered):
        versions.value(one.labelled("current"))


def carry_until_killed(work: Rewrap, statement: int, *, after: bool) -> int:
    """Carry the rewrap in a process that is killed with -9 at a statement; return how it ended."""
    connections.close_all()  # a connection to SQLite must not live on in a child
    child = os.fork()
    if child == 0:
        reached = 0

        def kill(execute, sql, params, many, context):
            nonlocal reached
            reached += 1
            if reached == statement and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = execute(sql, params, many, context)
            if reached == statement:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        try:
            with connection.execute_wrapper(kill):
                rewraps.carry(work.pk)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.django_db(transaction=True)
def test_cry_05_a_rewrap_killed_at_100_points_leaves_every_version_readable_and_is_completed(open_keyring):
    instance = factories.instance()
    expected = {}
    for number in range(10):
        made = factories.secret(
            instance=instance, username=f"svc{number}", initial=f"the-password-{number}-1"
        )
        expected[made.labelled("current").pk] = f"the-password-{number}-1"

    def readable() -> dict[object, str]:
        rows = SecretVersion.objects.all()
        return {version.pk: versions.value(version).password.reveal() for version in rows}

    key, halfway = keyring.default_key(), 0
    for point in range(100):
        newest = key_states.new_version(key, actor=actor())
        work = rewraps.start(key, key, actor=actor())
        assert carry_until_killed(work, point // 2 + 1, after=bool(point % 2)) == -signal.SIGKILL
        moved = SealedValue.objects.filter(key_version=newest).count()
        halfway += 0 < moved < work.total
        work.refresh_from_db()
        assert work.done == moved
        assert readable() == expected
        management.manager(instance, over=management.endpoint(instance))
        Rewrap.objects.filter(pk=work.pk).update(carried_until=timezone.now() - timedelta(seconds=1))
        assert finish(work).state == "done"
        assert not SealedValue.objects.exclude(key_version=newest).exists()
        assert readable() == expected
    assert halfway > 50  # the kills did fall in the midst of the work
