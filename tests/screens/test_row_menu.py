"""The menu of a row of the list of secrets: read when it is opened, with what its reader may do there."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from rotation.managed import deletion
from secrets_app.actions import Action
from secrets_app.models import Secret
from secrets_app.policy import policies
from tests import factories

pytestmark = pytest.mark.django_db

#: Each action of the menu, its route, and the right that it takes.
ITEMS = (
    ("secret_reveal", Action.GET_SECRET_VALUE),
    ("secret_edit", Action.UPDATE_SECRET),
    ("secret_schedule", Action.UPDATE_ROTATION),
    ("secret_drift", Action.ROTATE_SECRET),
    ("secret_reconcile", Action.ROTATE_SECRET),
    ("secret_delete", Action.DELETE_SECRET),
)


def menu(client, secret: Secret, region: str = "main"):
    return client.get(reverse("secret_menu", args=[region, secret.pk]))


def offered(client, secret: Secret) -> set[str]:
    shown = menu(client, secret).content.decode()
    names = {name for name, _ in ITEMS} | {"secret_restore"}
    return {name for name in names if f'"{reverse(name, args=["main", secret.pk])}"' in shown}


def allow(who, name: str, *actions: str, resource: str = "*"):
    """Attach a policy of its own to this user."""
    actor = factories.administrator()
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    made = policies.create(name, json.dumps({"Version": "1", "Statement": [statement]}), actor=actor)
    policies.attach(made, who, actor=actor)
    return made


LOOK = ("kms:ListSecrets", "kms:DescribeSecret")


def test_each_right_opens_its_own_items_of_the_menu_and_no_other(client, ann, as_dot):
    secret = factories.secret(initial="a-value-1")
    assert offered(as_dot, secret) == {name for name, _ in ITEMS}
    allow(ann, "look", *LOOK)
    client.force_login(ann)
    for right in sorted({right for _, right in ITEMS}):
        made = allow(ann, "one-right", str(right))
        assert offered(client, secret) == {name for name, wanted in ITEMS if wanted == right}
        policies.detach(made, ann, actor=factories.administrator())
        policies.delete(made, actor=factories.administrator())


def test_the_menu_is_decided_for_its_own_row(client, ann):
    mine, other = (factories.secret(initial="a-value-1", username=name) for name in ("svc", "dba"))
    allow(ann, "look", *LOOK)
    allow(ann, "rotate", "kms:RotateSecret", resource=mine.arn)
    client.force_login(ann)
    assert offered(client, mine) == {"secret_drift", "secret_reconcile"}
    assert offered(client, other) == set()
    rows = client.get("/main/secrets/").content.decode()
    assert reverse("secret_rotate", args=["main", mine.pk]) in rows
    assert reverse("secret_rotate", args=["main", other.pk]) not in rows


def test_a_secret_that_one_may_not_see_has_no_menu(client, ann):
    secret = factories.secret(initial="a-value-1")
    client.force_login(ann)
    assert menu(client, secret).status_code == 404


def test_a_secret_that_is_to_be_deleted_can_be_restored_and_nothing_else(as_dot):
    secret = factories.secret(initial="a-value-1")
    deletion.plan_deletion(secret, days=30, actor=factories.administrator(), reason="Retired")
    assert offered(as_dot, secret) == {"secret_restore"}
    assert menu(as_dot, secret).content.decode().count("Details") == 1


def test_an_instance_is_a_link_for_those_who_may_see_it(client, ann, as_dot):
    secret = factories.secret(initial="a-value-1")
    link = f'href="{reverse("instance", args=["main", secret.managed.instance_id])}"'
    assert link in as_dot.get("/main/secrets/").content.decode()
    allow(ann, "look", *LOOK)
    client.force_login(ann)
    shown = client.get("/main/secrets/").content.decode()
    assert secret.managed.instance.name in shown
    assert link not in shown
