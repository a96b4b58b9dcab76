"""A secret of the type ManagedECSSecret, made, described and rotated as the clients of AWS do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rotation.models import ManagedAccount
from secrets_app.actions import Action
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from secrets_app.policy import grants
from tests import factories
from tests.domain.rig import OLD, die_at, drive, simulated_host
from tests.screens.test_aws import admin, refused, robot, signer, token

__all__ = ["admin", "robot"]  # fixtures
pytestmark = pytest.mark.django_db
NAME, TYPE, PASSWORD = "acs/ecs/web01", "ManagedECSSecret", "a-first-password-1"


@pytest.fixture
def instance(dot):
    return factories.instance(name="web-main")


def create(
    client, instance, *, name: str = NAME, type_: str = TYPE, **value: Any
) -> tuple[int, dict[str, Any]]:
    text = json.dumps({"InstanceId": instance.instance_id, "UserName": "deploy"} | value)
    return client.call(
        "CreateSecret", Name=name, Type=type_, SecretString=text, ClientRequestToken=token("t"),
        Description="of the web", Tags=[{"Key": "team", "Value": "web"}],
    )  # fmt: skip


def test_an_account_is_managed_from_its_present_password_on(admin, instance):
    status, made = create(admin, instance, Password=PASSWORD)
    assert (status, made["VersionId"]) == (200, token("t"))
    assert create(admin, instance, Password=PASSWORD) == (200, made)  # sent again, it is once
    assert refused(create(admin, instance, Password="another-one-2")) == (400, "ResourceExistsException")
    account = ManagedAccount.objects.get()
    assert (account.username, account.instance, account.secret.name) == ("deploy", instance, NAME)
    assert account.secret.runs.filter(kind="verify").exists()
    _, got = admin.call("GetSecretValue", SecretId=NAME)
    assert json.loads(got["SecretString"]) == {"UserName": "deploy", "Password": PASSWORD}
    _, described = admin.call("DescribeSecret", SecretId=NAME)
    assert (described["Type"], described["OwningService"], described["Description"]) == (
        TYPE,
        "keyturn",
        "of the web",
    )
    metadata = [
        {"Key": "InstanceId", "Value": instance.instance_id},
        {"Key": "SecretSubType", "Value": "Password"},
        {"Key": "UserName", "Value": "deploy"},
    ]
    assert described["ExternalSecretRotationMetadata"] == metadata
    (listed,) = admin.call("ListSecrets")[1]["SecretList"]
    assert (listed["Type"], listed["ExternalSecretRotationMetadata"]) == (TYPE, metadata)


def test_without_a_value_the_first_rotation_makes_one(admin, instance):
    status, made = create(admin, instance, SecretSubType="SSHKey")
    assert status == 200
    assert "VersionId" not in made
    secret = Secret.objects.get(name=NAME)
    assert secret.kind == "key_pair"
    metadata = [{"Key": "InstanceId", "Value": instance.instance_id}]
    given = {
        "SecretId": NAME,
        "ClientRequestToken": token("r"),
        "RotationRules": {"AutomaticallyAfterDays": 30},
    }
    status, _ = admin.call("RotateSecret", **given, ExternalSecretRotationMetadata=metadata)
    assert status == 200
    assert secret.runs.filter(kind="rotate").count() == 1
    assert admin.call("DescribeSecret", SecretId=NAME)[1]["RotationRules"] == {"AutomaticallyAfterDays": 30}


@pytest.mark.django_db(transaction=True)
def test_the_pending_version_is_there_while_a_rotation_runs_and_at_no_other_time(admin):
    secret, host = factories.secret(initial=OLD), simulated_host()
    (before,) = secret.versions.all()

    def stages() -> dict[str, list[str]]:
        return dict(admin.call("DescribeSecret", SecretId=secret.name)[1]["VersionIdsToStages"])

    def served(**more: str) -> str:
        status, got = admin.call("GetSecretValue", SecretId=secret.name, **more)
        assert status == 200, got
        return str(json.loads(got["SecretString"])["Password"])

    missing = admin.call("GetSecretValue", SecretId=secret.name, VersionStage="AWSPENDING")
    assert refused(missing) == (400, "ResourceNotFoundException")
    status, asked = admin.call("RotateSecret", SecretId=secret.name, ClientRequestToken=token("r"))
    assert status == 200, asked
    run = secret.runs.get(kind="rotate")
    die_at("after_set", run, host)  # the host has the new value, and no login has proven it
    new = secret.versions.exclude(pk=before.pk).get().version_id
    assert stages() == {before.version_id: ["AWSCURRENT"], new: ["AWSPENDING"]}
    pending = served(VersionStage="AWSPENDING")
    assert (served(), pending != OLD) == (OLD, True)
    assert served(VersionId=new) == pending
    assert drive(run, host).outcome == "succeeded"
    assert stages() == {before.version_id: ["AWSPREVIOUS"], new: ["AWSCURRENT"]}
    assert served() == pending
    assert served(VersionStage="AWSPREVIOUS") == OLD


def test_a_key_pair_is_given_by_its_private_half(admin, instance):
    pair, other = key_pairs.generate("ed25519"), key_pairs.generate("ed25519")
    private = pair.private_key.reveal()
    wrong = create(admin, instance, PrivateKey=private, PublicKey=other.public_key)
    assert refused(wrong) == (400, "InvalidParameterException")
    assert create(admin, instance, PrivateKey=private, PublicKey=pair.public_key)[0] == 200
    assert Secret.objects.get(name=NAME).kind == "key_pair"


def test_what_is_wrong_is_refused_without_a_part_of_the_value(admin, instance):
    for given, code in (
        ({"name": "web01", "Password": PASSWORD}, "InvalidParameterException"),
        ({"type_": "SalesforceClientSecret", "Password": PASSWORD}, "InvalidParameterException"),
        ({"InstanceId": "i-none", "Password": PASSWORD}, "InvalidRequestException"),
        ({"UserName": "", "Password": PASSWORD}, "InvalidParameterException"),
        ({"UserName": ["deploy"], "Password": PASSWORD}, "InvalidParameterException"),
        ({"Password": PASSWORD, "PrivateKey": PASSWORD}, "InvalidParameterException"),
        ({"Password": PASSWORD, "SecretSubType": "SSHKey"}, "InvalidParameterException"),
        ({"Password": PASSWORD, "More": "x"}, "InvalidParameterException"),
        ({"SecretSubType": "Certificate"}, "InvalidParameterException"),
        ({"PrivateKey": f"-----BEGIN {PASSWORD}"}, "InvalidRequestException"),
    ):  # fmt: skip
        answer = create(admin, instance, **given)
        assert refused(answer) == (400, code), (given, answer)
        assert PASSWORD not in json.dumps(answer)
    status, answer = admin.call("CreateSecret", Name=NAME, Type=TYPE, ClientRequestToken=token("t"))
    assert (status, answer["__type"]) == (400, "InvalidParameterException")
    assert not Secret.objects.exists()
    assert create(admin, instance, Password=PASSWORD)[0] == 200
    for wrong in (
        {"ExternalSecretRotationMetadata": [{"Key": "UserName", "Value": "root"}]},
        {"ExternalSecretRotationMetadata": [{"Key": "Other", "Value": "x"}]},
        {"ExternalSecretRotationMetadata": ["UserName"]},
        {"ExternalSecretRotationRoleArn": "arn:aws:iam::000000000000:role/x"},
    ):
        assert admin.call("RotateSecret", SecretId=NAME, ClientRequestToken=token("r"), **wrong)[0] == 400
    assert not Secret.objects.get().runs.filter(kind="rotate").exists()


def test_who_may_not_see_the_instance_makes_no_secret_of_it_and_reads_no_name_of_it(admin, robot, instance):
    assert create(admin, instance, Password=PASSWORD)[0] == 200
    secret = Secret.objects.get()
    actions = [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE]
    grants.grant(secret, robot, actions, actor=factories.administrator())
    client = signer(robot)
    _, described = client.call("DescribeSecret", SecretId=NAME)
    assert [one["Key"] for one in described["ExternalSecretRotationMetadata"]] == [
        "SecretSubType",
        "UserName",
    ]
    assert create(client, instance, name="acs/ecs/other", Password=PASSWORD)[0] == 400
    assert Secret.objects.count() == 1
