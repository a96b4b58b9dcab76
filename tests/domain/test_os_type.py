"""`kms:OSType`: a policy that depends on the operating system of the instance."""

from __future__ import annotations

import json

import pytest
from django.db import models

from rotation import accounts, instance_checks
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.models import Secret
from secrets_app.policy import decisions, policies, ram_conditions
from secrets_app.policy.decisions import Action
from tests import factories

pytestmark = pytest.mark.django_db
WINDOWS = {"StringEquals": {"kms:OSType": "Windows"}}
ON_WINDOWS = ("Allow", WINDOWS)
NOT_ON_WINDOWS = ("Deny", WINDOWS)


@pytest.fixture
def rights(ann):
    """Return a function that gives ann everything, under these conditions."""

    def give(*statements):
        written = [
            {"Effect": effect, "Action": "kms:*", "Resource": "*", **({"Condition": when} if when else {})}
            for effect, when in statements
        ]
        text = json.dumps({"Version": "1", "Statement": written})
        policy = policies.create("by-system", text, actor=factories.administrator())
        policies.attach(policy, ann.principal, actor=factories.administrator())
        return ann.principal

    return give


@pytest.fixture
def world(open_keyring):
    linux = factories.instance(name="web-1")
    windows = factories.instance(name="win-1", os="windows", wire="winrm")
    return {
        "linux": [linux, factories.secret(instance=linux, name="on-linux"), accounts.Named(linux, "svc")],
        "windows": [
            windows, factories.secret(instance=windows, name="on-windows"), accounts.Named(windows, "svc"),
        ],
        "none": [factories.generic_secret(name="token")],
    }  # fmt: skip


ACTIONS = {
    Instance: Action.CHECK_INSTANCE,
    Secret: Action.ROTATE_SECRET,
    accounts.Named: Action.MANAGE_ACCOUNT,
}


def allowed(who, rows):
    return [decisions.allows(who, ACTIONS[type(row)], row) for row in rows]


def listed(who):
    secrets = decisions.visible(who, Action.DESCRIBE_SECRET, decisions.secret_rows())
    instances = decisions.visible(who, Action.DESCRIBE_INSTANCE, decisions.instance_rows())
    found = [row.name for row in Instance.objects.filter(instances)]
    return sorted([*found, *(row.name.removeprefix("acs/ecs/") for row in Secret.objects.filter(secrets))])


def test_the_systems_that_a_condition_names_are_those_that_an_instance_can_have():
    assert dict(Instance.OS.choices) == ram_conditions.OS_TYPES


def test_an_allow_for_windows_is_for_windows_alone(world, rights):
    ann = rights(ON_WINDOWS)
    assert allowed(ann, world["windows"]) == [True] * 3
    assert allowed(ann, world["linux"]) == [False] * 3
    assert allowed(ann, world["none"]) == [False]
    assert listed(ann) == ["on-windows", "win-1"]


def test_a_deny_for_windows_counts_where_the_system_is_unknown_too(world, rights):
    ann = rights(("Allow", None), NOT_ON_WINDOWS)
    assert allowed(ann, world["windows"]) == [False] * 3
    assert allowed(ann, world["linux"]) == [True] * 3
    assert allowed(ann, world["none"]) == [False]
    assert listed(ann) == ["on-linux", "web-1"]


def test_a_run_on_an_instance_is_seen_by_its_system(world, rights):
    ann = rights(ON_WINDOWS)
    seen = [
        decisions.allows(ann, Action.DESCRIBE_RUN, instance_checks.scan(row, actor=factories.administrator()))
        for row in (world["linux"][0], world["windows"][0])
    ]
    assert seen == [False, True]


def test_a_secret_is_created_by_the_system_of_its_instance(world, rights):
    ann = rights(("Allow", None), ("Deny", {"StringEquals": {"kms:OSType": "Linux"}}))
    make = {"region": factories.region(), "username": "other", "actor": ann}
    creation.create("new-windows", instance=world["windows"][0], **make)
    with pytest.raises(decisions.NotAllowed):
        creation.create("new-linux", instance=world["linux"][0], **make)


def test_a_system_that_was_changed_outside_keyturn_allows_nothing(world, rights):
    ann = rights(("Allow", None), ("Deny", {"StringEquals": {"kms:OSType": "Linux"}}))
    models.QuerySet(Instance).filter(name="web-1").update(os="windows", wire="winrm")
    changed = Instance.objects.get(name="web-1")
    rows = [Secret.objects.get(name="acs/ecs/on-linux"), accounts.Named(changed, "svc"), changed]
    assert allowed(ann, rows) == [False] * 3
