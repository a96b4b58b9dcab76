"""One action on many rows: each as the single action does it, once, with the rights of its moment."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, connections
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rotation import leases, runs, tasks
from rotation.bulk import bulk_actions, deeds
from rotation.managed import deletion
from rotation.models import BulkAction, BulkItem, Run
from secrets_app import origin, seals
from secrets_app.audit import verification
from secrets_app.models import AuditEvent, DatabaseRestore, Secret, User
from secrets_app.people import users
from secrets_app.policy import grants
from secrets_app.policy.decisions import Action
from tests import factories
from tests.domain.rig import Crash
from tests.statements import allow, deny, give

pytestmark = pytest.mark.django_db
LOOKS = (Action.LIST_SECRETS, Action.DESCRIBE_SECRET, Action.DESCRIBE_RUN, Action.DESCRIBE_INSTANCE)


def made(count: int, **given: object) -> list[Secret]:
    """Secrets with a value and nothing under way."""
    found = [factories.secret(initial="the-old-password-1", **given) for _ in range(count)]
    for one in found:
        factories.settle(one)
    return found


def start(action: str, rows: list[Secret] | list[Run], by: User, **choices: object) -> BulkAction:
    token = uuid.uuid4().hex
    ids = [row.pk for row in rows]
    return bulk_actions.start(action, ids, actor=by.principal, token=token, choices=choices)


def finish(bulk: BulkAction) -> list[BulkItem]:
    """Let a worker do all of it."""
    while bulk_actions.carry(bulk.pk, wake=lambda run: None):
        pass
    return list(bulk.items.order_by("number"))


def states(bulk: BulkAction) -> list[str]:
    return [item.state for item in bulk.items.order_by("number")]


def events(action: str, outcome: str = "succeeded") -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(action=action, outcome=outcome)


@pytest.fixture
def cal(dot) -> User:
    """Return somebody who may look at everything and rotate it, and do nothing else."""
    user = factories.user("cal")
    give(user, "rotates", allow(*LOOKS, "kms:RotateSecret", "kms:CheckInstance"), actor=dot)
    return user


# ---------------------------------------------------------------- each action


def test_each_secret_is_rotated_by_a_run_of_its_own(dot):
    secrets = made(3)
    bulk = start("rotate", secrets, dot)
    items = finish(bulk)
    assert [item.state for item in items] == ["done"] * 3
    for secret, item in zip(secrets, items, strict=True):
        (run,) = secret.runs.all()
        assert (run, run.kind, run.trigger, run.campaign) == (item.run, "rotate", "manual", bulk.pk)
        event = events("kms:RotateSecret").get(resource_id=secret.pk)
        assert (event.actor, event.details["run"]) == (dot.principal, str(run.pk))
    assert verification.verify().verdict == verification.Verdict.WHOLE


def test_after_a_leak_every_run_goes_first(dot):
    finish(start("rotate", made(2), dot, is_leak=True))
    assert list(Run.objects.values_list("is_leak", flat=True)) == [True, True]


@pytest.mark.parametrize("kind", ["verify", "drift"])
def test_each_instance_is_asked_and_who_asked_is_recorded(dot, kind):
    secrets = made(2)
    finish(start(kind, secrets, dot))
    assert {run.kind for run in Run.objects.all()} == {kind}
    assert {event.details["kind"] for event in events("kms:RotateSecret")} == {kind}
    assert events("kms:RotateSecret").count() == 2


def test_deletions_are_planned_with_the_days_and_the_reason_and_restored(dot):
    secrets = made(2)
    finish(start("delete", secrets, dot, days=9, reason="the fleet is gone"))
    for secret in secrets:
        secret.refresh_from_db()
        assert secret.is_pending_deletion
        assert (secret.deletion_due_at - secret.deletion_planned_at).days in {8, 9}
        event = events("kms:DeleteSecret").get(resource_id=secret.pk)
        assert (event.reason, event.details) == ("the fleet is gone", {"days": 9})
    items = finish(start("restore", secrets, dot))
    assert not Secret.objects.filter(deletion_planned_at__isnull=False).exists()
    assert {item.run.kind for item in items} == {"verify"}
    assert events("kms:RestoreSecret").count() == 2


def test_tags_are_added_changed_and_removed_and_the_others_stay(dot):
    secret = factories.secret(tags={"team": "web", "old": "1", "kept": "yes"}, description="of the web")
    other = factories.secret(tags={"team": "db", "env": "prod"})
    bulk = start("tag", [secret, other], dot, tags={"team": "db", "env": "prod"}, removed=["old", "none"])
    assert [item.state for item in finish(bulk)] == ["done", "done"]
    assert {tag.key: tag.value for tag in secret.tags.all()} == {"team": "db", "env": "prod", "kept": "yes"}
    secret.refresh_from_db()
    assert secret.description == "of the web"
    assert bulk.items.get(secret=other).sentence == "It has these tags already."
    assert events("kms:UpdateSecret").get().resource_id == secret.pk


def test_failed_runs_are_retried_and_those_that_succeeded_are_not(dot):
    failed, fine = (runs.start(one, actor=dot.principal) for one in made(2))
    check = runs.add("check", factories.instance(), dot.principal)
    for run, outcome in ((failed, "failed"), (fine, "succeeded"), (check, "failed")):
        lease = leases.claim(run.pk, "w")
        assert lease
        leases.end(lease, outcome)
    items = finish(start("retry", [failed, fine, check], dot))
    assert [item.state for item in items] == ["done", "impossible", "done"]
    assert items[1].code == "run_not_retryable"
    assert (items[0].run.secret, items[0].run.trigger) == (failed.secret, "retry")
    assert (items[2].run.instance, items[2].run.kind) == (check.instance, "check")


# ---------------------------------------------------------------- one row stops no other


def test_a_row_that_is_not_possible_says_why_and_the_others_are_done(dot):
    gone, busy, fine = made(3)
    generic = factories.generic_secret()
    deletion.plan_deletion(gone, actor=dot.principal)
    under_way = runs.start(busy, actor=dot.principal)
    items = finish(start("rotate", [gone, generic, busy, fine], dot))
    assert [item.state for item in items] == ["impossible", "impossible", "done", "done"]
    assert "pending deletion" in items[0].sentence
    assert items[1].code == "secret_unmanaged"
    assert (items[2].run, items[2].sentence) == (under_way, "Rotation was under way already.")
    assert Run.objects.get(pk=under_way.pk).campaign is None
    assert fine.runs.count() == 1


def test_an_error_of_our_own_marks_its_row_and_stops_no_other(dot, monkeypatch):
    first, second = made(2)
    real = runs.start

    def fails(secret: Secret, **given: object) -> Run:
        if secret == first:
            raise RuntimeError("of our own")
        return real(secret, **given)

    monkeypatch.setattr(runs, "start", fails)
    items = finish(start("rotate", [first, second], dot))
    assert [item.code for item in items] == ["bulk_internal_error", ""]
    assert "of our own" not in items[0].sentence
    assert second.runs.count() == 1


def test_a_store_that_is_away_marks_nothing_and_the_row_waits(dot, monkeypatch):
    secrets = made(2)
    bulk = start("rotate", secrets, dot)

    def away(*_: object, **__: object) -> Run:
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(runs, "start", away)
        with pytest.raises(OperationalError):
            finish(bulk)
    assert states(bulk) == ["waiting", "waiting"]
    finish(bulk)
    assert states(bulk) == ["done", "done"]


# ---------------------------------------------------------------- rights


def test_rights_are_decided_row_by_row_and_each_refusal_is_recorded(dot):
    mine, foreign = made(2)
    user = factories.user("eve")
    give(user, "looks", allow(*LOOKS), actor=dot)
    grants.grant(mine, user, [Action.ROTATE_SECRET], actor=dot.principal)
    items = finish(start("rotate", [mine, foreign], user))
    assert [item.state for item in items] == ["done", "refused"]
    assert "No policy of eve" in items[1].sentence
    assert not foreign.runs.exists()
    denied = events("kms:RotateSecret", "denied").get()
    assert (denied.actor, denied.resource_id) == (user.principal, foreign.pk)
    assert "a grant on this secret" in events("kms:RotateSecret").get(resource_id=mine.pk).decision


@pytest.mark.parametrize(
    ("action", "needs"),
    [
        ("rotate", "kms:RotateSecret"), ("verify", "kms:RotateSecret"), ("drift", "kms:RotateSecret"),
        ("delete", "kms:DeleteSecret"), ("restore", "kms:RestoreSecret"), ("tag", "kms:UpdateSecret"),
    ],
)  # fmt: skip
def test_each_action_needs_the_right_of_the_single_one(dot, action, needs):
    user = factories.user("eve")
    give(user, "all-but-one", allow("kms:*"), deny(needs), actor=dot)
    bulk = start(action, made(1), user, days=30, tags={"a": "b"})
    (item,) = finish(bulk)
    assert (item.state, item.run) == ("refused", None)
    assert events(needs, "denied").count() == 1
    assert not Run.objects.exists()


def test_tags_that_would_widen_ones_own_rights_are_refused(dot):
    user = factories.user("eve")
    rights = allow(*LOOKS, "kms:UpdateSecret", "kms:TagResource")
    when = {"StringEquals": {"kms:tag/team": "eve"}}
    give(user, "by-tag", rights, allow("kms:GetSecretValue", Condition=when), actor=dot)
    (secret,) = made(1)
    (item,) = finish(start("tag", [secret], user, tags={"team": "eve"}))
    assert (item.state, item.code) == ("refused", "tags_widen_rights")
    assert not secret.tags.exists()
    assert events("kms:TagResource", "denied").count() == 1


def test_what_one_may_not_see_is_neither_taken_nor_counted(dot):
    mine, foreign = made(2)
    user = factories.user("eve")
    grants.grant(mine, user, [Action.DESCRIBE_SECRET, Action.ROTATE_SECRET], actor=dot.principal)
    bulk = start("rotate", [foreign, mine], user)
    assert [item.secret for item in finish(bulk)] == [mine]
    assert events("kms:BulkActionStarted").get().details == {"action": "rotate", "rows": 1}
    with pytest.raises(bulk_actions.NothingSelected):
        start("rotate", [foreign], user)
    with pytest.raises(bulk_actions.NothingSelected):
        start("retry", [runs.start(foreign, actor=dot.principal)], user)
    assert not events("kms:RotateSecret", "denied").exists()


def test_what_one_may_no_longer_see_is_not_done_and_not_listed(dot, cal):
    kept, hidden = made(2)
    bulk = start("rotate", [kept, hidden], cal)
    give(cal, "hides", deny("kms:DescribeSecret", on=hidden.arn), actor=dot)
    assert [item.state for item in finish(bulk)] == ["done", "impossible"]
    assert not hidden.runs.exists()
    assert [item.secret for item in bulk_actions.seen_items(cal.principal, [bulk])] == [kept]


def test_a_user_who_is_disabled_meanwhile_does_nothing_more(dot, cal, monkeypatch):
    bulk = start("rotate", made(3), cal)
    real = deeds.do

    def do(*given):
        done = real(*given)
        users.disable(User.objects.get(pk=cal.pk), actor=dot.principal)
        return done

    monkeypatch.setattr(deeds, "do", do)
    items = finish(bulk)
    assert [item.state for item in items] == ["done", "refused", "refused"]
    assert items[1].sentence == "This user is disabled."
    assert Run.objects.count() == 1


def test_a_right_that_is_taken_away_meanwhile_holds_from_the_next_row(dot, cal):
    first, second = made(2)
    bulk = start("rotate", [first, second], cal)
    real = deeds.do

    def do(*given):
        done = real(*given)
        give(cal, "stops", deny("kms:RotateSecret"), actor=dot)
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deeds, "do", do)
        items = finish(bulk)
    assert [item.state for item in items] == ["done", "refused"]


def test_conditions_look_at_the_request_that_confirmed(dot):
    secret, other = made(2)
    user = factories.user("eve")
    near = {"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}, "Bool": {"acs:MFAPresent": "true"}}
    give(user, "near", allow(*LOOKS), allow("kms:RotateSecret", Condition=near), actor=dot)
    with origin.bind(request_id="r1", address="10.1.2.3", session="s1", is_secure=True, is_mfa=True):
        here = start("rotate", [secret], user)
    with origin.bind(request_id="r2", address="10.1.2.3", session="s2", is_secure=True, is_mfa=False):
        without = start("rotate", [other], user)
    assert [item.state for item in finish(here)] == ["done"]
    assert [item.state for item in finish(without)] == ["refused"]
    event = events("kms:RotateSecret").get()
    assert (event.request_id, event.session, event.address) == ("r1", "s1", "10.1.2.3")


# ---------------------------------------------------------------- once, and all


def test_the_same_token_twice_is_one_action(dot):
    ids = [one.pk for one in made(2)]
    first, second = (bulk_actions.start("rotate", ids, actor=dot.principal, token="press") for _ in range(2))
    assert first == second
    assert BulkItem.objects.count() == 2
    assert events("kms:BulkActionStarted").count() == 1


def test_a_row_that_is_named_twice_is_done_once(dot):
    (secret,) = made(1)
    assert len(finish(start("rotate", [secret, secret], dot))) == 1


def test_more_than_500_rows_are_refused_whole(dot):
    with pytest.raises(bulk_actions.TooMany, match="500"):
        bulk_actions.start("rotate", [uuid.uuid4() for _ in range(501)], actor=dot.principal, token="t")
    assert not BulkAction.objects.exists()


def test_more_rows_are_confirmed_with_as_many_queries(dot):
    def queries(secrets: list[Secret]) -> int:
        with CaptureQueriesContext(connection) as seen:
            start("rotate", secrets, dot)
        return len(seen)

    secrets = [factories.generic_secret() for _ in range(60)]
    queries(secrets[:1])  # what is read once stays read
    assert queries(secrets) == queries(secrets[:2])


@pytest.mark.parametrize("token", ["", "x" * 65])
def test_a_token_that_could_not_be_kept_is_refused(dot, token):
    with pytest.raises(bulk_actions.BadToken):
        bulk_actions.start("rotate", [made(1)[0].pk], actor=dot.principal, token=token)


def test_a_worker_that_dies_between_a_deed_and_its_mark_has_done_nothing(dot, monkeypatch):
    secrets = made(3)
    bulk = start("rotate", secrets, dot)
    real, left = deeds.do, [2]

    def dies(*given):
        done = real(*given)
        left[0] -= 1
        if not left[0]:
            raise Crash
        return done

    with monkeypatch.context() as patched:
        patched.setattr(deeds, "do", dies)
        with pytest.raises(Crash):
            finish(bulk)
    assert states(bulk) == ["done", "waiting", "waiting"]
    assert Run.objects.count() == 1
    assert [item.state for item in finish(bulk)] == ["done"] * 3
    assert [secret.runs.count() for secret in secrets] == [1, 1, 1]
    assert events("kms:RotateSecret").count() == 3


def test_a_late_worker_does_not_do_again_what_is_done(dot):
    bulk = start("verify", made(2), dot)
    items = finish(bulk)
    for run in Run.objects.all():
        lease = leases.claim(run.pk, "w")
        assert lease
        leases.end(lease, "succeeded")
    for item in items:
        bulk_actions._carry(bulk, item.pk, lambda run: None)
    assert Run.objects.count() == 2
    assert events("kms:RotateSecret").count() == 2


def test_who_is_at_it_is_not_disturbed_until_it_says_nothing_more(dot):
    bulk = start("rotate", made(1), dot)
    BulkAction.objects.update(carried_until=Now() + bulk_actions.HELD_FOR)
    assert not bulk_actions.carry(bulk.pk, wake=lambda run: None)
    assert (bulk_actions.due(), states(bulk)) == ([], ["waiting"])
    BulkAction.objects.update(carried_until=Now() - bulk_actions.HELD_FOR)
    assert bulk_actions.due() == [bulk.pk]
    finish(bulk)
    assert states(bulk) == ["done"]


def test_the_sweep_finds_what_no_message_was_sent_for(dot, monkeypatch, django_capture_on_commit_callbacks):
    bulk = start("rotate", made(1), dot)
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(tasks, "send", lambda task, *ids: sent.append((task.name, ids[0])))
    tasks.sweep()
    assert ("rotation.tasks.carry_bulk", str(bulk.pk)) in sent
    with django_capture_on_commit_callbacks(execute=True):
        tasks.carry_bulk(str(bulk.pk))
    assert sent[-1] == ("rotation.tasks.advance", str(Run.objects.get().pk))


def test_a_long_action_gives_the_worker_back_between_its_rows(dot, monkeypatch):
    monkeypatch.setattr(bulk_actions, "CHUNK", 2)
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(tasks, "send", lambda task, *ids: sent.append((task.name, ids[0])))
    bulk = start("tag", made(3), dot, tags={"a": "b"})
    tasks.carry_bulk(str(bulk.pk))
    assert states(bulk) == ["done", "done", "waiting"]
    assert sent == [("rotation.tasks.carry_bulk", str(bulk.pk))]
    tasks.carry_bulk(str(bulk.pk))
    assert (states(bulk), len(sent)) == (["done"] * 3, 1)


def test_nothing_is_done_before_a_restored_database_is_acknowledged(dot):
    (secret,) = made(1)
    bulk = start("delete", [secret], dot, days=30)
    restore = DatabaseRestore.objects.create(exported_to=10**6, exported_at=timezone.now(), found_to=1)
    tasks.carry_bulk(str(bulk.pk))
    assert states(bulk) == ["waiting"]
    DatabaseRestore.objects.filter(pk=restore.pk).update(acknowledged_at=timezone.now())
    tasks.carry_bulk(str(bulk.pk))
    assert states(bulk) == ["done"]


def test_it_has_ended_when_its_last_run_has(dot):
    bulk = start("rotate", made(2), dot)
    finish(bulk)
    tasks.sweep()
    bulk.refresh_from_db()
    assert bulk.ended_at is None
    for run in Run.objects.all():
        lease = leases.claim(run.pk, "w")
        assert lease
        leases.end(lease, "succeeded")
    tasks.sweep()
    bulk.refresh_from_db()
    assert bulk.ended_at is not None
    bulk_actions.note_seen(bulk)
    bulk.refresh_from_db()
    assert bulk.seen_at is not None


def test_what_started_no_run_has_ended_with_its_last_row(dot):
    bulk = start("delete", made(2), dot, days=30)
    finish(bulk)
    bulk.refresh_from_db()
    assert bulk.ended_at is not None


# ---------------------------------------------------------------- changed outside


def written(**fields: object) -> None:
    """Change the one bulk action as a writer of the database does, without the key of the seals."""
    QuerySet(BulkAction).update(**fields)


@pytest.mark.parametrize("column", ["action", "requested_by", "choices", "is_mfa"])
def test_an_action_that_was_changed_in_the_database_does_nothing(dot, cal, column):
    secrets = made(2)
    bulk = start("rotate", secrets, cal)
    new = {"action": "delete", "requested_by": dot.principal, "choices": {"days": 7}, "is_mfa": True}
    written(**{column: new[column]})
    assert {item.code for item in finish(bulk)} == {"bulk_changed_outside"}
    assert not Run.objects.exists()
    assert not Secret.objects.filter(deletion_planned_at__isnull=False).exists()
    assert not seals.holds(BulkAction.objects.get())


def test_a_row_that_was_put_in_or_turned_to_another_secret_is_not_done(dot, cal):
    first, second, stranger = made(3)
    bulk = start("rotate", [first, second], cal)
    BulkItem.objects.create(bulk=bulk, number=2, secret=stranger)
    bulk.items.filter(number=0).update(secret=stranger)
    assert [item.code for item in finish(bulk)] == ["bulk_changed_outside", "", "bulk_changed_outside"]
    assert not stranger.runs.exists()


# ---------------------------------------------------------------- workers that are killed


def carry_until_killed(bulk: BulkAction, statement: int) -> int:
    """Let a process of its own carry the action, killed with -9 at a statement; return how it ended."""
    connections.close_all()  # a connection to SQLite must not live on in a child
    child = os.fork()
    if child == 0:
        reached = 0

        def kill(execute, sql, params, many, context):
            nonlocal reached
            reached += 1
            result = execute(sql, params, many, context)
            if reached == statement:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        try:
            with connection.execute_wrapper(kill):
                bulk_actions.carry(bulk.pk, wake=lambda run: None)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.django_db(transaction=True)
def test_workers_killed_at_any_statement_do_every_row_once(open_keyring):
    dot = factories.user("dot", "administrators")
    secrets = made(8)
    bulk = start("delete", secrets, dot, days=30, reason="gone")
    kills, between, statement = 0, 0, 2
    while carry_until_killed(bulk, statement) == -signal.SIGKILL:
        kills, statement = kills + 1, statement + 5
        done = set(bulk.items.filter(state="done").values_list("secret", flat=True))
        between += 0 < len(done) < len(secrets)
        assert (
            set(Secret.objects.filter(deletion_planned_at__isnull=False).values_list("pk", flat=True)) == done
        )
        assert set(events("kms:DeleteSecret").values_list("resource_id", flat=True)) == done
        BulkAction.objects.update(carried_until=Now() - bulk_actions.HELD_FOR)
    finish(bulk)
    assert states(bulk) == ["done"] * 8
    assert events("kms:DeleteSecret").count() == 8
    assert (kills > 5, between > 2) == (True, True)  # they did fall in the midst of the work
    assert verification.verify().verdict == verification.Verdict.WHOLE


# ---------------------------------------------------------------- many workers at once


def one_worker(bulk_id: uuid.UUID, barrier: threading.Barrier) -> None:
    try:
        barrier.wait(30)
        # As when the lease of a worker ran out while it was still at it.
        for item_id in BulkItem.objects.filter(bulk=bulk_id).values_list("pk", flat=True):
            bulk_actions._carry(BulkAction.objects.get(pk=bulk_id), item_id, lambda run: None)
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_two_workers_on_the_same_rows_do_each_once(dot):
    secrets = made(6)
    bulk = start("drift", secrets, dot)
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one_worker, bulk.pk, barrier) for _ in range(2)]:
            done.result(120)
    assert states(bulk) == ["done"] * 6
    assert {item.sentence for item in bulk.items.all()} == {""}
    assert events("kms:RotateSecret").count() == 6


# ---------------------------------------------------------------- paused and cancelled


def stopped(how: str, bulk: BulkAction, by: User) -> None:
    getattr(bulk_actions, how)(bulk, actor=by.principal)


def test_a_paused_action_begins_no_further_row_and_continues_when_it_is_resumed(dot):
    bulk = start("tag", made(3), dot, tags={"team": "db"})

    stopped("pause", bulk, dot)
    assert bulk_actions.due() == []
    assert not bulk_actions.carry(bulk.pk, wake=lambda run: None)
    assert states(bulk) == ["waiting"] * 3
    stopped("resume", bulk, dot)
    assert bulk_actions.due() == [bulk.pk]
    assert [item.state for item in finish(bulk)] == ["done"] * 3
    assert [events(f"kms:BulkAction{word}").count() for word in ("Paused", "Resumed")] == [1, 1]


def test_a_pause_holds_from_the_next_row_of_a_worker_that_is_at_it(dot):
    bulk = start("verify", made(3), dot)
    more = bulk_actions.carry(bulk.pk, wake=lambda run: stopped("pause", bulk, dot))
    assert not more
    assert states(bulk) == ["done", "waiting", "waiting"]
    assert Run.objects.count() == 1


def test_a_pause_twice_is_one(dot):
    bulk = start("verify", made(1), dot)
    stopped("pause", bulk, dot)
    stopped("pause", bulk, dot)
    assert events("kms:BulkActionPaused").count() == 1


def test_a_cancelled_action_does_nothing_more_and_cancels_what_no_instance_was_told(dot):
    told, untold, *waiting = secrets = made(4)
    bulk = start("rotate", secrets, dot)
    for item in bulk.items.filter(number__lt=2):
        bulk_actions._carry(bulk, item.pk, lambda run: None)
    Run.objects.filter(secret=told).update(attempts=1)
    stopped("cancel", bulk, dot)
    assert states(bulk) == ["done", "done", "cancelled", "cancelled"]
    assert not bulk_actions.carry(bulk.pk, wake=lambda run: None)
    assert told.runs.get().is_active
    assert untold.runs.get().outcome == "cancelled"
    assert not Run.objects.filter(secret__in=waiting).exists()
    bulk.refresh_from_db()
    assert bulk.ended_at is None
    Run.objects.filter(secret=told).update(state="ended", outcome="succeeded")
    bulk_actions.settle()
    bulk.refresh_from_db()
    assert bulk.ended_at
    assert events("kms:BulkActionCancelled").get().details == {"action": "rotate", "rows": 2}


def test_a_worker_that_comes_late_does_no_row_that_was_cancelled(dot):
    (secret,) = made(1)
    bulk = start("rotate", [secret], dot)
    stopped("cancel", bulk, dot)
    bulk_actions._carry(bulk, bulk.items.get().pk, lambda run: None)
    assert states(bulk) == ["cancelled"]
    assert not secret.runs.exists()


def test_a_run_that_was_under_way_before_is_not_cancelled_with_the_action(dot):
    (secret,) = made(1)
    before = runs.start(secret, actor=factories.administrator())
    bulk = start("rotate", [secret], dot)
    finish(bulk)
    stopped("cancel", bulk, dot)
    before.refresh_from_db()
    assert before.is_active


@pytest.mark.parametrize("how", ["pause", "resume", "cancel"])
def test_nobody_stops_the_action_of_another_or_one_that_has_ended(dot, cal, how):
    bulk = start("tag", made(1), dot, tags={"team": "db"})
    with pytest.raises(bulk_actions.Over):
        stopped(how, bulk, cal)
    assert finish(bulk)[0].state == "done"
    with pytest.raises(bulk_actions.Over):
        stopped(how, bulk, dot)
    bulk.refresh_from_db()
    assert (bulk.paused_at, bulk.cancelled_at) == (None, None)


def test_only_so_many_runs_are_under_way_and_the_next_begins_when_one_has_ended(dot, monkeypatch):
    monkeypatch.setattr(bulk_actions, "MOST_UNDER_WAY", 2)
    bulk = start("rotate", made(4), dot)
    finish(bulk)
    assert states(bulk) == ["done", "done", "waiting", "waiting"]
    run = bulk.items.get(number=0).run
    assert bulk_actions.behind(run.pk) is None  # it is still under way
    lease = leases.claim(run.pk, "w")
    assert lease
    leases.end(lease, "succeeded")
    assert bulk_actions.behind(run.pk) == bulk.pk
    finish(bulk)
    assert states(bulk) == ["done", "done", "done", "waiting"]
