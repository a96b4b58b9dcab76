"""All rights of a principal are read in one statement, whose SQL is made once."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from secrets_app.actions import Action
from secrets_app.people import users
from secrets_app.policy import grants, holdings, policies
from tests import factories

pytestmark = pytest.mark.django_db
LISTS = '{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:List*", "Resource": "*"}]}'


def test_every_principal_is_answered_for_itself_and_its_own_groups(dot):
    actor = dot.principal
    groups = [users.create_group(f"team-{number}", actor=actor) for number in range(3)]
    people = [factories.user(f"user-{number}") for number in range(4)]
    for number, user in enumerate(people):
        for group in groups[:number]:
            users.join(group, [user], actor=actor)
    given = [
        (people[0], Action.ROTATE_SECRET), (people[1], Action.GET_SECRET_VALUE),
        (groups[0], Action.ROTATE_SECRET), (groups[2], Action.DESCRIBE_SECRET),
    ]  # fmt: skip
    secrets = [factories.generic_secret() for _ in given]
    for secret, (holder, action) in zip(secrets, given, strict=True):
        grants.grant(secret, holder, [action], actor=actor)
    for number, holder in enumerate([people[0], groups[1]]):
        policy = policies.create(f"of-{number}", LISTS, actor=actor)
        policies.attach(policy, holder, actor=actor)
    found = []
    for user in people:
        sheet = holdings.sheet(user.principal)
        granted = {[secret.pk for secret in secrets].index(pk) for pk in sheet.grants}
        found.append((granted, sorted(statement.source for statement in sheet.statements)))
        assert sheet.void == {"principal": [], "group": []}
    assert found == [
        ({0}, ["the policy of-0"]),
        ({1, 2}, []),
        ({2}, ["the policy of-1"]),
        ({2, 3}, ["the policy of-1"]),
    ]


def test_a_policy_that_comes_by_two_ways_is_one(dot):
    actor, user = dot.principal, factories.user("both")
    group = users.create_group("team", actor=actor)
    users.join(group, [user], actor=actor)
    policy = policies.create("both-ways", LISTS, actor=actor)
    for holder in (user, group):
        policies.attach(policy, holder, actor=actor)
    assert [statement.source for statement in holdings.sheet(user.principal).statements] == [
        "the policy both-ways"
    ]


def test_rights_take_one_statement_with_groups_and_without(dot):
    nobody = factories.user("nobody").principal
    for principal in (nobody, dot.principal):
        assert principal.user is not None
        holdings.sheet(principal)
        with CaptureQueriesContext(connection) as asked:
            holdings.sheet(principal)
        assert len(asked) == 1, [query["sql"] for query in asked.captured_queries]
