"""Secret policies and CustomData, by the interface of Alibaba Cloud KMS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secrets_app.actions import Action
from secrets_app.models import AuditEvent, Region, Secret
from secrets_app.policy import grants, policies
from tests import acs, factories
from tests.screens.test_alibaba import VALUE, admin, as_, robot, signer

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


def creation(name: str = "app/db", **more: str) -> dict[str, str]:
    return {"SecretName": name, "SecretData": VALUE, "VersionId": "v1", **more}


def succeeded() -> list[str]:
    rows = AuditEvent.objects.filter(outcome="succeeded", resource__contains="secret/").order_by("sequence")
    return list(rows.values_list("action", flat=True))


def test_a_secret_is_made_with_its_policy_which_decides_at_once(admin, robot, dot):
    other = factories.generic_secret(name="app/other")
    text = policy(other, "robot")
    before = succeeded()
    assert admin.call("CreateSecret", **creation(Policy=text))[0] == 200
    assert succeeded()[len(before) :] == ["kms:CreateSecret", "kms:SetSecretPolicy"]
    assert of(admin) == json.loads(text)
    assert signer(robot).call("GetSecretValue", **DB)[1]["SecretData"] == VALUE
    secret = Secret.objects.get(name="app/db")
    assert list(secret.policy_revisions.values_list("document", "set_by")) == [(text, dot.principal.pk)]


def test_an_ecs_secret_is_made_with_its_policy(admin, robot):
    other = factories.generic_secret(name="app/other")
    config = {"SecretSubType": "Password", "InstanceId": factories.instance().instance_id}
    ecs = {
        "SecretName": "acs/ecs/web",
        "SecretType": "ECS",
        "VersionId": "v1",
        "SecretData": json.dumps({"UserName": "root", "Password": "a-first-password-1"}),
        "ExtendedConfig": config,
    }
    assert admin.call("CreateSecret", **ecs, Policy="{")[0] == 400
    assert not Secret.objects.filter(name="acs/ecs/web").exists()
    assert admin.call("CreateSecret", **ecs, Policy=policy(other, "robot"))[0] == 200
    assert signer(robot).call("GetSecretValue", SecretName="acs/ecs/web")[0] == 200


def test_the_default_policy_at_creation_is_none_of_its_own(admin, secret):
    default = json.dumps(of(admin))
    for name, text in (("app/new", default), ("app/newer", "")):
        assert admin.call("CreateSecret", **creation(name, Policy=text))[0] == 200
        assert Secret.objects.get(name=name).resource_policy is None


def test_nothing_is_made_where_the_policy_cannot_be_put(admin, secret, settings):
    settings.OPEN_REGIONS = True
    before = succeeded(), Region.objects.count()
    public = json.dumps({"Version": "1", "Statement": []})
    for text in ("{", public, policy(secret, "a-user-who-is-not-here"), "x" * 32_769):
        for region in ("local-1", "cn-new-1"):
            client = as_(admin, region=region)
            status, answer = client.call("CreateSecret", **creation("app/new", Policy=text))
            assert (status, answer["Code"]) == (400, "InvalidParameter")
    assert not Secret.objects.filter(name="app/new").exists()
    assert (succeeded(), Region.objects.count()) == before


def test_who_may_make_a_secret_and_not_change_rights_makes_none_with_a_policy(robot, secret, dot):
    allowed = [Action.CREATE_SECRET, Action.SET_SECRET_POLICY]
    text = json.dumps({"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": allowed, "Resource": "*"}]})  # fmt: skip
    policies.attach(policies.create("makes", text, actor=dot.principal), robot, actor=dot.principal)
    client = signer(robot)
    status, answer = client.call("CreateSecret", **creation("app/new", Policy=policy(secret, "robot")))
    assert (status, answer["Code"]) == (403, "Forbidden.NoPermission")
    assert not Secret.objects.filter(name="app/new").exists()
    denied = AuditEvent.objects.get(action="kms:SetSecretPolicy", outcome="denied")
    assert denied.resource.endswith(":secret/app/new")
    assert denied.resource_id is None
    assert client.call("CreateSecret", **creation("app/new"))[0] == 200


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
