"""What tests begin with is what the product wrote, whether it was just written or is put there again."""

from __future__ import annotations

import pytest
from django.db import transaction

from rotation import accounts
from secrets_app import seals
from secrets_app.audit import verification
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import factories, snapshots

pytestmark = pytest.mark.django_db
VALUE = "a-first-value-1"


def begin_often() -> list[dict[str, object]]:
    """What a store holds after each of twelve beginnings: the first are written, the last are put there."""
    found = []
    snapshots._known.add(snapshots._state())  # as if it had been met before: this test may be the first one
    for _ in range(12):
        point = transaction.savepoint()
        factories.begin()
        factories.secret(initial=VALUE)
        found.append({table.name: rows for table, rows in snapshots._rows().items()})
        transaction.savepoint_rollback(point)
    return found


def test_rows_that_are_put_there_are_those_that_were_written(open_keyring):
    found = begin_often()
    assert found[-1] == found[-2]
    assert {name: len(rows) for name, rows in found[-1].items()} == {
        name: len(rows) for name, rows in found[0].items()
    }


def test_a_secret_that_is_put_there_opens_and_its_seals_and_the_trail_hold(open_keyring):
    begin_often()
    factories.begin()
    put = factories.secret(initial=VALUE)
    assert versions.value(put.labelled("current")).password.reveal() == VALUE
    assert all(seals.holds(row) for row in (put.account, put.managed.instance, accounts.of(put)))
    assert verification.verify().verdict is verification.Verdict.WHOLE
    assert AuditEvent.objects.filter(action="kms:CreateSecret", resource_id=put.pk).count() == 1
    factories.secret(instance=put.managed.instance, username="other", initial=VALUE)
    assert Secret.objects.count() == 2
