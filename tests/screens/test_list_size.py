"""A page of a list is small: what a row does is read when its menu is opened."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rotation import leases, runs
from rotation.models import ManagedAccount, Run, Schedule
from tests import factories

pytestmark = pytest.mark.django_db

MOST_BYTES = 60_000  # before compression


@pytest.fixture
def full() -> None:
    """Twenty-five secrets that have all that a row shows, two of five with a problem."""
    actor, now = factories.administrator(), timezone.now()
    instance = factories.instance(name="web-frontend-01")
    credentials = ["in_sync", "in_sync", "in_sync", "unreachable", "out_of_sync"]
    for number in range(25):
        secret = factories.secret(
            instance=instance,
            username=f"service{number:02}",
            name=f"prod/web/service{number:02}",
            initial="a-value-1",
        )
        factories.settle(secret)
        run = runs.start(secret, actor=actor)
        lease = leases.claim(run.pk, "worker-1/1/1")
        assert lease
        leases.end(lease, "failed" if number % 5 == 4 else "succeeded", truth="old", sentence="It said so.")
        ManagedAccount.objects.filter(secret=secret).update(credential=credentials[number % 5])
        Schedule.objects.filter(secret=secret).update(
            is_on=True, period=timedelta(days=30), next_at=now + timedelta(days=number + 1)
        )
    Run.objects.update(ended_at=now - timedelta(days=3))


@pytest.mark.parametrize("name", ["secrets", "rotations", "instances"])
def test_a_page_of_twenty_five_rows_is_small(as_dot, full, name):
    answer = as_dot.get(f"/all/{name}/")
    assert len(answer.context["page"].rows) == (1 if name == "instances" else 25)
    assert len(answer.content) < MOST_BYTES
