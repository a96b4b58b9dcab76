"""What was allowed in one request, task or command stands in its own events, and in those of no other."""

from __future__ import annotations

import contextvars
import threading

import pytest
from celery import shared_task
from django.utils import timezone

from console import celery as _application  # noqa: F401  # whose tasks these are
from secrets_app import origin
from secrets_app.actions import Action
from secrets_app.audit import refusals, trail
from secrets_app.models import AuditEvent, Principal, Secret, SecretPrincipalGrant
from secrets_app.policy import decisions, grants, policies
from tests import factories

pytestmark = pytest.mark.django_db
RESTORE = Action.RESTORE_SECRET


@pytest.fixture
def dot(db) -> Principal:
    return factories.administrator()


@pytest.fixture
def secret(dot) -> Secret:
    return factories.secret()


@pytest.fixture
def allowed(dot, secret):
    """Allow it in whatever is going on."""
    return lambda: decisions.require(dot, RESTORE, secret)


@pytest.fixture
def recorded(dot, secret):
    """Record an event of it, and return what it says that allowed it."""

    def record(**named: str) -> str:
        trail.record(RESTORE, secret, actor=dot, **named)
        return AuditEvent.objects.filter(action=RESTORE).latest("sequence").decision

    return record


def test_an_event_says_what_allowed_it_in_the_same_request(allowed, recorded):
    with origin.bind():
        allowed()
        assert "KMSFullAccess" in recorded()


def test_what_one_request_allowed_is_in_no_event_of_the_next(allowed, recorded):
    with origin.bind():
        allowed()
    with origin.bind():
        assert recorded() == ""


def test_what_was_allowed_outside_a_request_is_in_no_event(allowed, recorded):
    allowed()
    assert recorded() == ""
    with origin.bind():
        assert recorded() == ""


def test_a_request_inside_another_sees_nothing_of_it_and_leaves_nothing(allowed, recorded):
    with origin.bind():
        allowed()
        with origin.bind():
            assert recorded() == ""
        assert "KMSFullAccess" in recorded()
    with origin.bind():
        with origin.bind():
            allowed()
        assert recorded() == ""


def test_a_request_that_ends_by_an_exception_leaves_nothing(allowed, recorded):
    def fail() -> None:
        with origin.bind():
            allowed()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert recorded() == ""
    with origin.bind():
        assert recorded() == ""


def test_a_thread_begun_by_a_request_has_nothing_of_it(allowed, dot, secret):
    found = []
    with origin.bind(request_id="first"):
        allowed()
        ask = threading.Thread(
            target=lambda: found.append((origin.current(), origin.allowed_by(dot.pk, RESTORE, secret.arn)))
        )
        ask.start()
        ask.join()
    assert found == [(origin.NOWHERE, "")]


def test_a_copy_of_its_context_that_outlives_a_request_has_nothing_of_it(allowed, recorded):
    with origin.bind(request_id="first", at=timezone.now()):
        allowed()
        left = contextvars.copy_context()
    assert left.run(recorded) == ""
    assert left.run(origin.current) == origin.NOWHERE
    left.run(allowed)
    assert left.run(recorded) == ""


def test_two_tasks_of_one_worker_share_nothing(allowed, recorded):
    @shared_task(name="tests.allows")
    def allows() -> None:
        allowed()

    @shared_task(name="tests.records")
    def records() -> str:
        return recorded()

    @shared_task(name="tests.does_both")
    def does_both() -> tuple[str, str]:
        allows()
        allowed()
        return records(), recorded()

    allows()
    assert records() == ""
    inner, own = does_both()
    assert (inner, "KMSFullAccess" in own) == ("", True)
    assert allows.apply().successful()
    assert records.apply().result == ""


def test_what_was_allowed_before_rights_changed_is_in_no_event_after(allowed, recorded, dot, secret):
    with origin.bind(at=timezone.now()):
        allowed()
        grants.grant(secret, factories.user("ann"), [Action.DESCRIBE_SECRET], actor=dot)
        assert recorded() == ""


def test_a_refusal_never_stands_as_what_allowed_an_event(recorded, secret, dot):
    ann = factories.user("ann").principal
    with origin.bind():
        with pytest.raises(decisions.NotAllowed):
            decisions.require(ann, RESTORE, secret)
        trail.record(RESTORE, secret, actor=ann)
        assert AuditEvent.objects.get(action=RESTORE).decision == ""


def test_what_was_allowed_never_stands_as_what_refused(allowed, recorded, dot, secret):
    with origin.bind():
        allowed()
        refusals.note(RESTORE, secret.arn, actor=dot)
        assert AuditEvent.objects.get(action=RESTORE).decision == ""


def test_to_ask_whether_something_could_be_shown_is_not_to_be_allowed_it(recorded, dot, secret):
    with origin.bind():
        assert decisions.allows(dot, RESTORE, secret)
        assert recorded() == ""


def test_a_long_list_between_the_right_and_the_event_loses_nothing(allowed, recorded, dot):
    others = [factories.secret() for _ in range(3)]
    with origin.bind():
        allowed()
        for number in range(100):
            decisions.require(dot, Action.DESCRIBE_SECRET, others[number % 3])
            decisions.allows(dot, tuple(Action)[number % 40], others[number % 3])
        assert "KMSFullAccess" in recorded()


def test_the_session_of_a_supposed_second_factor_leaves_nothing(secret, dot):
    bea = factories.user("bea")
    text = (
        '{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*",'
        ' "Condition": {"Bool": {"acs:MFAPresent": "true"}}}]}'
    )
    policies.attach(policies.create("with-a-factor", text, actor=dot), bea, actor=dot)
    with origin.bind(is_mfa=False, at=timezone.now()):
        assert decisions.lacks_second_factor(bea.principal, RESTORE, secret)
        assert origin.current().is_mfa is False
        assert not decisions.allows(bea.principal, RESTORE, secret)


def test_work_that_lasts_reads_rights_anew_for_each_decision(secret, dot):
    bea = factories.user("bea")
    grants.grant(secret, bea, [Action.ROTATE_SECRET], actor=dot)
    with origin.bind():
        assert decisions.allows(bea.principal, Action.ROTATE_SECRET, secret)
        # As another process takes it away: nothing here is told to forget.
        SecretPrincipalGrant.objects.filter(principal=bea.principal).delete()
        assert not decisions.allows(bea.principal, Action.ROTATE_SECRET, secret)


def test_every_event_says_where_its_work_came_from(recorded):
    with origin.bind(request_id="abc", address="::1", session="s"):
        recorded()
    event = AuditEvent.objects.get(action=RESTORE)
    assert (event.request_id, event.address, event.session) == ("abc", "::1", "s")
