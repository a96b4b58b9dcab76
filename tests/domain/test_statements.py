"""How much a rotation asks of its database: counted, never timed."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests import factories
from tests.domain.rig import OLD, drive, rotate, simulated_host

pytestmark = pytest.mark.django_db(transaction=True)
FRAMES = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
MOST_STATEMENTS, MOST_COMMITS = 73, 6


def test_a_password_rotation_makes_few_statements_and_commits():
    host = simulated_host()
    secret = factories.secret(initial=OLD)
    factories.settle(secret)
    assert drive(rotate(secret), host).outcome == "succeeded"  # the first asks more, as the first of a day
    run = rotate(secret)
    with CaptureQueriesContext(connection) as asked:
        drive(run, host)
    run.refresh_from_db()
    assert run.outcome == "succeeded"
    statements = [query["sql"] for query in asked if not query["sql"].startswith(FRAMES)]
    # Two of them are the test's own: it makes the run due, and reads it again.
    assert len(statements) - 2 <= MOST_STATEMENTS
    assert sum(query["sql"] == "COMMIT" for query in asked) <= MOST_COMMITS
