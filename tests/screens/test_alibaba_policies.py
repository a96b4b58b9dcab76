"""Secret policies and CustomData, by the interface of Alibaba Cloud KMS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secrets_app.actions import Action
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import grants
from tests import acs, factories
from tests.screens.test_alibaba import VALUE, admin, robot, signer

__all__ = ["admin", "robot"]  # fixtures
pytestmark = pytest.mark.django_db
DB = {"SecretName": "app/db"}


@pytest.fixture
def secret(dot) -> Secret:
    return factories.generic_secret(name="app/db", value=VALUE)


def policy(secret: Secret, name: str, action: str = "kms:GetSecretValue", effect: str = "Allow") -> str:
    principal = {"RAM": [f"acs:ram::{secret.account.number}:user/{name}"]}
    statement = {"Effect": effect, "Principal": principal, "Action": [action], "Resource": ["*"]}
    return json.dumps({"Version": "1", "Statement": [statement]})


def of(client: acs.Signer) -> dict[str, Any]:
    status, answer = client.call("GetSecretPolicy", **DB, PolicyName="default")
    assert status == 200
    return json.loads(answer["Policy"])


def test_a_secret_without_a_policy_has_the_default_one_which_can_be_put_back(admin, secret):
    default = of(admin)
    (statement,) = default["Statement"]
    assert (statement["Sid"], statement["Effect"]) == ("kms default secret policy", "Allow")
    assert statement["Principal"] == {"RAM": [f"acs:ram::{secret.account.number}:*"]}
    assert admin.call("SetSecretPolicy", **DB, Policy=policy(secret, "dot"))[0] == 200
    assert of(admin) != default
    assert admin.call("SetSecretPolicy", **DB, Policy=json.dumps(default), PolicyName="default")[0] == 200
    assert of(admin) == default
    secret.refresh_from_db()
    assert secret.resource_policy is None


def test_a_policy_decides_at_the_next_request(admin, robot, secret):
    client = signer(robot)
    assert client.call("GetSecretValue", **DB)[0] == 404
    assert admin.call("SetSecretPolicy", **DB, Policy=policy(secret, "robot"))[0] == 200
    assert client.call("GetSecretValue", **DB)[1]["SecretData"] == VALUE
    assert admin.call("SetSecretPolicy", **DB, Policy=policy(secret, "robot", effect="Deny"))[0] == 200
    assert client.call("GetSecretValue", **DB)[0] == 404
    changed = AuditEvent.objects.filter(action="kms:SetSecretPolicy", outcome="succeeded")
    assert changed.count() == 2


def test_who_may_not_change_rights_puts_no_policy_and_reads_none(admin, robot, secret):
    grants.grant(secret, robot, [Action.DESCRIBE_SECRET], actor=factories.administrator())
    client = signer(robot)
    assert of(client)["Statement"][0]["Sid"] == "kms default secret policy"
    assert client.call("SetSecretPolicy", **DB, Policy=policy(secret, "robot"))[0] == 403
    assert admin.call("SetSecretPolicy", **DB, Policy=policy(secret, "dot"))[0] == 200
    assert client.call("GetSecretPolicy", **DB)[0] == 403
    # Nor one that names no user: it is a right of its own to see who has which.
    of_all = policy(secret, "dot").replace(":user/dot", ":root")
    assert admin.call("SetSecretPolicy", **DB, Policy=of_all)[0] == 200
    assert client.call("GetSecretPolicy", **DB)[0] == 403
    unknown = policy(secret, "a-user-who-is-not-here")
    status, answer = admin.call("SetSecretPolicy", **DB, Policy=unknown)
    assert (status, answer["Code"]) == (400, "InvalidParameter")
    assert "no user or application" in answer["Message"]


def test_custom_data_is_kept_as_it_is_sent_in_each_of_the_three_ways(admin, dot):
    secret = factories.secret(name="web01", initial="a-first-password-1")
    named = {"SecretName": secret.name}

    def kept() -> dict[str, str]:
        _, answer = admin.call("DescribeSecret", **named)
        return json.loads(answer["ExtendedConfig"])["CustomData"]

    assert kept() == {}
    for sent, texts in (
        (
            {"ExtendedConfig.CustomData.DBName": "a", "ExtendedConfig.CustomData.Port": "1"},
            {"DBName": "a", "Port": "1"},
        ),
        ({"ExtendedConfig.CustomData": {"ü": '"x"'}}, {"ü": '"x"'}),
        ({"Description": "says nothing of it"}, {"ü": '"x"'}),
        ({"ExtendedConfig": {"CustomData": {"k": "v"}}}, {"k": "v"}),
        ({"ExtendedConfig": {"CustomData": {}}}, {}),
    ):
        status, _ = admin.call("UpdateSecret", **named, **sent)
        assert status == 200
        assert kept() == texts
    for wrong in ({"a": 1}, ["a"], {str(n): "x" for n in range(11)}, {"a": "x" * 1024}):
        status, answer = admin.call("UpdateSecret", **named, **{"ExtendedConfig.CustomData": wrong})
        assert (status, answer["Code"]) == (400, "InvalidParameter")
    assert kept() == {}
