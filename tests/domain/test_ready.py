"""Questions whose SQL is made once are answered as if it were made each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group

from secrets_app.actions import Action
from secrets_app.people import users
from secrets_app.policy import grants, holdings
from tests import factories

pytestmark = pytest.mark.django_db


def texts(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    """Rows to be compared: an id is a UUID or a text."""
    return sorted(tuple(part.hex if isinstance(part, UUID) else str(part) for part in row) for row in rows)


def test_every_principal_is_answered_for_itself_and_its_own_groups(dot):
    actor = dot.principal
    groups = [users.create_group(f"team-{number}", actor=actor) for number in range(3)]
    people = [factories.user(f"user-{number}") for number in range(4)]
    for number, user in enumerate(people):
        for group in groups[:number]:
            users.join(group, [user], actor=actor)
    for holder, action in [
        (people[0], Action.ROTATE_SECRET), (people[1], Action.GET_SECRET_VALUE),
        (groups[0], Action.ROTATE_SECRET), (groups[2], Action.DESCRIBE_SECRET),
    ]:  # fmt: skip
        grants.grant(factories.generic_secret(), holder, [action], actor=actor)
    counts = []
    for user in people:
        mine = list(Group.objects.filter(members=user.principal).values_list("pk", flat=True))
        for question in (holdings._BELONGS_TO, holdings._IS_GRANTED):
            asked = question.rows(user.principal.pk, mine)
            assert texts(asked) == texts(list(question._ask(user.principal.pk, mine)))
            assert texts(asked) == texts(question.rows(user.principal.pk, mine))  # by the SQL that is kept
            counts.append(len(asked))
    assert counts == [1, 1, 1, 2, 2, 1, 3, 2]
