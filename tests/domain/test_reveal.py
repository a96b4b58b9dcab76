"""A value leaves for a person only after its record is durable."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from secrets_app import origin
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def secret() -> Secret:
    return factories.secret(initial="the-first-value")


def reads() -> int:
    return AuditEvent.objects.filter(action="kms:GetSecretValue").count()


def test_a_reveal_returns_the_value_and_leaves_one_event(secret, dot):
    value = versions.reveal(secret.labelled("current"), actor=dot.principal, reason="on call")
    assert value.password.reveal() == "the-first-value"
    event = AuditEvent.objects.get(action="kms:GetSecretValue")
    assert (event.actor, event.reason, event.resource_id) == (dot.principal, "on call", secret.pk)
    assert "the-first-value" not in str(vars(event))
    secret.refresh_from_db()
    assert secret.last_read_by == dot.principal


@pytest.mark.parametrize("role", ["ann", "hal", "aud"])
def test_who_may_not_read_values_gets_none(secret, role, request):
    with pytest.raises(decisions.NotAllowed):
        versions.reveal(
            secret.labelled("current"), actor=request.getfixturevalue(role).principal, reason="test"
        )
    assert reads() == 0


def test_somebody_disabled_gets_none(secret, dot):
    dot.is_active = False
    dot.save()
    with pytest.raises(decisions.NotAllowed):
        versions.reveal(
            secret.labelled("current"), actor=type(dot.principal).objects.get(user=dot), reason="test"
        )


def test_a_value_is_not_opened_inside_a_transaction_that_may_still_roll_back(secret, dot):
    with pytest.raises(RuntimeError), transaction.atomic():
        versions.reveal(secret.labelled("current"), actor=dot.principal, reason="test")
    assert reads() == 0


def test_where_the_event_cannot_be_written_no_value_leaves(secret, dot):
    version = secret.labelled("current")

    def refuse(execute, sql, params, many, context):
        if 'INSERT INTO "secrets_app_auditevent"' in sql:
            raise OSError("disk full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse), pytest.raises(OSError, match="disk full"):
        versions.reveal(version, actor=dot.principal, reason="test")


def test_an_event_carries_where_the_request_came_from(secret, dot):
    with origin.bind(request_id="abc", address="127.0.0.9", session="s"):
        versions.reveal(secret.labelled("current"), actor=dot.principal, reason="test")
    event = AuditEvent.objects.get(action="kms:GetSecretValue")
    assert (event.request_id, event.address, event.session) == ("abc", "127.0.0.9", "s")
