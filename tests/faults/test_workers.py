"""A worker dies, breaks or hangs at every point of a rotation; the next one ends it as if it had not."""

import pytest

from rotation import leases
from rotation.models import Run
from secrets_app.models import Label, SecretVersion
from tests.faults import rig as rigs
from tests.faults.rig import KEY_PAIR, PASSWORD, NewRig, Rig

pytestmark = pytest.mark.django_db(transaction=True)


def afterwards(run: Run) -> list[str]:
    """The steps that were taken after the first lease."""
    return list(run.steps.filter(lease__gt=1).order_by("number").values_list("name", flat=True))


def killed(*places: str, others: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """A kill at every place; at the first one other faults too, where they leave something else behind.

    An exception closes what was open; a worker that hangs keeps it open, and goes on later.
    """
    cases = [(place, "kill") for place in places] + [(places[0], other) for other in others]
    return pytest.mark.parametrize(("place", "fault"), cases)


@killed("before_claim")
def test_fi_w_01_before_the_lease_nothing_has_happened(rig: Rig, place: str, fault: str) -> None:
    run, before = rig.rotate(), rig.seen()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        run.refresh_from_db()
        assert (run.state, run.lease, rig.secret.versions.count()) == ("queued", 0, 1)
        assert run.pk in leases.due(10)
        assert rig.seen() == before
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert run.lease == 1


@killed("after_claim", "before_create", "create_commit", others=("exception", "hang"))
def test_fi_w_02_with_the_lease_and_no_value_yet_another_worker_makes_the_one_value(
    rig: Rig, place: str, fault: str
) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        assert rig.secret.versions.count() == 1
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert run.attempts == 1


@killed("after_create")
def test_fi_w_04_a_stored_value_that_no_host_has_heard_is_the_one_that_is_sent(
    rig: Rig, place: str, fault: str
) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        stored = rig.stored()
        run.refresh_from_db()
        assert run.attempts == 0
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert rig.stored() == stored
    # Never offered, so there was nothing to ask about first.
    assert "probe" not in afterwards(run)
    assert run.attempts == 1


@killed("after_preflight")
def test_fi_w_05_after_a_look_at_the_host_it_is_as_it_was(rig: Rig, place: str, fault: str) -> None:
    run, before = rig.rotate(), rig.seen()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        assert rig.seen() == before
        assert rig.marks() == []
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert run.attempts == 1


@killed("after_intent", "before_send")
def test_fi_w_06_a_value_that_may_have_been_sent_is_asked_for_and_sent_again(
    rig: Rig, place: str, fault: str
) -> None:
    run, before = rig.rotate(), rig.seen()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        assert rig.seen() == before
        stored = rig.stored()
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert rig.stored() == stored
    assert afterwards(run)[0] == "probe"
    assert run.attempts == 2


@killed("half_line", others=("exception", "hang"))
def test_fi_w_07_half_a_line_is_never_applied(rig: Rig, place: str, fault: str) -> None:
    _is_aborted(rig, place, fault)


@killed("line_without_commit")
def test_fi_w_08_a_line_without_its_commit_is_never_applied(rig: Rig, place: str, fault: str) -> None:
    _is_aborted(rig, place, fault)


def _is_aborted(rig: Rig, place: str, fault: str) -> None:
    before = rig.seen()
    run = rig.rotate()
    with rigs.recoverable(rig) as sampler, rigs.struck(rig, run, place, fault):
        assert rig.seen() == before
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    # The old value, then the new one, and for keys both between: nothing that is part of one.
    assert len(sampler.states) <= (2 if rig.kind == PASSWORD else 3)
    # The script of a worker that hangs holds the host's lock for a while; each attempt asks the host first.
    assert run.attempts == 2 or (fault == "hang" and run.attempts > 2)


@killed("before_reply")
def test_fi_w_09_a_change_whose_reply_nobody_heard_is_found_and_not_made_again(
    rig: Rig, place: str, fault: str
) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert rig.marks() == [run.generation]
    assert rig.stored().keys() == {str(rig.secret.labelled(role).pk) for role in ("current", "previous")}


@killed("after_set", "before_test", others=("exception", "hang"))
def test_fi_w_10_an_applied_change_is_asked_for_and_not_made_again(rig: Rig, place: str, fault: str) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig) as sampler, rigs.struck(rig, run, place, fault):
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert (run.attempts, run.generation, rig.marks()) == (1, 1, [1])
    assert afterwards(run)[0] == "probe"
    assert "set" not in afterwards(run)
    assert len(sampler.states) <= (2 if rig.kind == PASSWORD else 3)


@killed("after_test", "before_finish")
def test_fi_w_11_a_tested_value_that_was_not_promoted_is_promoted_once(
    rig: Rig, place: str, fault: str
) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        assert rig.secret.labelled(Label.Role.PENDING) is not None
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert run.attempts == 1


@killed("finish_commit", others=("exception", "hang", "backend"))
def test_fi_w_12_labels_move_all_at_once_or_not_at_all(rig: Rig, place: str, fault: str) -> None:
    run = rig.rotate()
    old = rig.secret.labelled(Label.Role.CURRENT)
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        labels = dict(Label.objects.filter(secret=rig.secret).values_list("role", "version"))
        pending = SecretVersion.objects.exclude(pk=old.pk).get(secret=rig.secret)
        assert labels == {"current": old.pk, "pending": pending.pk}
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert run.attempts == 1


@killed("after_labels", "before_clean", others=("hang",))
def test_fi_w_13_between_promotion_and_clean_up_both_keys_work_and_the_old_one_goes_in_the_end(
    common_rig: NewRig, place: str, fault: str
) -> None:
    rig = common_rig(KEY_PAIR)
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        old, new = rig.labelled(Label.Role.PREVIOUS), rig.current()
        assert rig.logs_in(old)
        assert rig.logs_in(new)
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert not rig.logs_in(old)
    assert rig.logs_in(new)


@killed("after_remove", "before_end", others=("exception",))
def test_fi_w_14_a_removal_that_was_not_recorded_is_made_again_and_changes_nothing(
    common_rig: NewRig, place: str, fault: str
) -> None:
    rig = common_rig(KEY_PAIR)
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, place, fault):
        removed, old = rig.seen(), rig.labelled(Label.Role.PREVIOUS)
        assert not rig.accepts(old)
        run = rig.settle(run)
        assert rig.seen() == removed
    rigs.assert_settled(rig, run)
    assert not rig.logs_in(old)


def test_fi_w_15_a_worker_that_wakes_up_after_its_lease_is_refused_here_and_on_the_host(rig: Rig) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig), rigs.struck(rig, run, "before_send", "hang"):
        run = rig.settle(run)
        assert rig.marks() == [2]
    assert "STALE" in rig.output.read_text().splitlines()
    rigs.assert_settled(rig, run)
    assert run.lease == 2
