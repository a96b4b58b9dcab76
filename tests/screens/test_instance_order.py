"""Instances in the order of how many secrets they have, of those that their reader may see."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from secrets_app.policy import policies
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def instances() -> None:
    """Instances named by how many secrets they have, made in another order."""
    for count in (2, 0, 3, 1):
        instance = factories.instance(name=f"has-{count}")
        for number in range(count):
            factories.secret(instance=instance, username=f"user{number}", name=f"of-{count}/{number}")


def names(user, **query: object) -> list[str]:
    client = Client()
    client.force_login(user)
    return [row.name for row in client.get("/all/instances/", query).context["page"].rows]


@pytest.mark.parametrize("more", [{}, {"page": -1}, {"q": "has"}, {"status": "new"}])
def test_instances_are_in_the_order_of_how_many_secrets_they_have(dot, more):
    expected = ["has-0", "has-1", "has-2", "has-3"]
    assert names(dot, sort="secrets", **more) == expected
    assert names(dot, sort="-secrets", **more) == expected[::-1]


def test_a_search_leaves_only_its_instances_in_that_order(dot):
    assert names(dot, sort="-secrets", q="has-3") == ["has-3"]
    assert names(dot, sort="-secrets", q="has-0") == ["has-0"]


def test_secrets_that_a_reader_may_not_see_are_not_counted(ann):
    actor = factories.administrator()
    statements = [
        {"Effect": "Allow", "Action": ["kms:List*", "kms:DescribeInstance"], "Resource": "*"},
        {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "acs:kms:*:*:secret/acs/ecs/of-1/*"},
    ]
    text = json.dumps({"Version": "1", "Statement": statements})
    policies.attach(policies.create("of-one", text, actor=actor), ann, actor=actor)
    assert names(ann, sort="-secrets")[0] == "has-1"
    assert names(ann, sort="secrets")[-1] == "has-1"
    assert sorted(names(ann, sort="secrets")) == ["has-0", "has-1", "has-2", "has-3"]
