"""Alibaba Cloud KMS's interface, as its clients call it: actions, their words, and who is let in."""

# ruff: noqa: E501
from __future__ import annotations

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone

from console.interfaces.alibaba import calls, door
from console.interfaces.rates import Rates
from console.models import CacheEntry
from rotation import schedules
from rotation.models import ManagedAccount, Schedule
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states
from secrets_app.models import AccessKey, AuditEvent, Principal, Region, Secret, User
from secrets_app.people import access_keys, machines
from secrets_app.policy import grants
from secrets_app.secrets import lifecycle
from tests import acs, factories

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-1"
SCHEMES = ("HMAC-SHA1", "HMAC-SHA256", "ACS3", "ACS4")


def signer(principal: Principal, **given: Any) -> acs.Signer:
    key, secret = access_keys.create(principal, actor=factories.administrator())
    return acs.Signer(key.key_id, secret, **given)


def as_(client: acs.Signer, **given: Any) -> acs.Signer:
    """The same key in another client."""
    return acs.Signer(client.key_id, Plaintext(client.secret), **given)


@pytest.fixture
def admin(dot: User) -> acs.Signer:
    """A client with every right."""
    return signer(dot.principal)


@pytest.fixture
def robot(dot: User) -> Principal:
    return machines.create("robot", actor=dot.principal)


def made(client: acs.Signer, name: str = "app/db", value: str = VALUE, **more: Any) -> dict[str, Any]:
    status, answer = client.call("CreateSecret", SecretName=name, SecretData=value, VersionId="v1", **more)
    assert status == 200, answer
    return answer


def done(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """What a call that succeeded has answered, without its request id."""
    status, said = answer
    assert status == 200, said
    assert re.fullmatch(r"[0-9a-f-]{36}", said.pop("RequestId"))
    return said


def refused(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], str(answer[1].get("Code", ""))


def events() -> list[AuditEvent]:
    return list(AuditEvent.objects.order_by("sequence"))


MISSING = (400, "MissingParameter")
INVALID = (400, "InvalidParameter")
GONE = (404, "Forbidden.ResourceNotFound")
MARKED = (409, "Rejected.ResourceInDeleteWindow")
EXISTS = (409, "Rejected.ResourceExist")
DENIED = (403, "Forbidden.NoPermission")


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_value_is_made_and_read_by_a_client_of_each_generation(admin, scheme):
    client = as_(admin, scheme=scheme)
    region = Region.objects.get()
    created = done(client.call("CreateSecret", SecretName="app/db", SecretData=VALUE, VersionId="v1"))
    arn = f"acs:kms:{region.code}:{region.account.number}:secret/app/db"
    assert created == {"Arn": arn, "SecretName": "app/db", "SecretType": "Generic", "VersionId": "v1"}
    for name in ("app/db", arn):
        got = done(client.call("GetSecretValue", SecretName=name, FetchExtendedConfig="True"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", got.pop("CreateTime"))
        assert got == {
            "SecretName": "app/db", "SecretType": "Generic", "VersionId": "v1", "SecretDataType": "text",
            "VersionStages": {"VersionStage": ["ACSCurrent"]}, "SecretData": VALUE,
        }  # fmt: skip


def test_values_and_stages_follow_each_other_as_in_the_service(admin):
    made(admin)
    put = done(
        admin.call(
            "PutSecretValue", SecretName="app/db", VersionId="v2", SecretData="AAH/", SecretDataType="binary"
        )
    )
    assert put == {
        "SecretName": "app/db",
        "VersionId": "v2",
        "VersionStages": {"VersionStage": ["ACSCurrent"]},
    }
    got = done(admin.call("GetSecretValue", SecretName="app/db"))
    assert (got["SecretData"], got["SecretDataType"]) == ("AAH/", "binary")
    assert (
        done(admin.call("GetSecretValue", SecretName="app/db", VersionStage="ACSPrevious"))["SecretData"]
        == VALUE
    )
    # The same again is done already; another value under the same id is refused.
    again = {"SecretName": "app/db", "VersionId": "v2"}
    assert admin.call("PutSecretValue", SecretData="AAH/", SecretDataType="binary", **again)[0] == 200
    assert refused(admin.call("PutSecretValue", SecretData="other", **again)) == EXISTS
    # Both forms of the list; a version with a stage of its own alone is not the current one.
    for number, stages in ((3, ["blue"]), (4, {"VersionStage": ["ACSCurrent", "green"]})):
        done(
            admin.call(
                "PutSecretValue",
                SecretName="app/db",
                VersionId=f"v{number}",
                SecretData="x",
                VersionStages=stages,
            )
        )
    listed = done(admin.call("ListSecretVersionIds", SecretName="app/db", IncludeDeprecated="true"))
    stages_of = {
        one["VersionId"]: one["VersionStages"]["VersionStage"] for one in listed["VersionIds"]["VersionId"]
    }
    assert stages_of == {"v1": [], "v2": ["ACSPrevious"], "v3": ["blue"], "v4": ["ACSCurrent", "green"]}
    assert (listed["PageNumber"], listed["PageSize"], listed["TotalCount"]) == (1, 20, 4)
    short = done(admin.call("ListSecretVersionIds", SecretName="app/db", PageSize="1", PageNumber="2"))
    assert (short["TotalCount"], len(short["VersionIds"]["VersionId"])) == (3, 1)
    # A stage moves without its old place being named, and goes away from where it is.
    move = {"SecretName": "app/db"}
    done(admin.call("UpdateSecretVersionStage", VersionStage="green", MoveToVersion="v2", **move))
    done(admin.call("UpdateSecretVersionStage", VersionStage="ACSCurrent", MoveToVersion="v3", **move))
    done(admin.call("UpdateSecretVersionStage", VersionStage="blue", RemoveFromVersion="v3", **move))
    listed = done(admin.call("ListSecretVersionIds", SecretName="app/db"))
    stages_of = {
        one["VersionId"]: one["VersionStages"]["VersionStage"] for one in listed["VersionIds"]["VersionId"]
    }
    assert stages_of == {"v2": ["green"], "v3": ["ACSCurrent"], "v4": ["ACSPrevious"]}


def test_each_refusal_has_the_code_the_status_and_the_text_of_the_service(admin):
    made(admin)
    made(admin, "app/marked")
    planned = done(admin.call("DeleteSecret", SecretName="app/marked", RecoveryWindowInDays="7"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", planned["PlannedDeleteTime"])
    arn = done(admin.call("DescribeSecret", SecretName="app/db"))["Arn"]
    new = {"SecretName": "new", "SecretData": "x", "VersionId": "v1"}
    db = {"SecretName": "app/db"}
    cases: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
        ("GetSecretValue", {"SecretName": "none"}, GONE),
        ("GetSecretValue", {"SecretName": "a b"}, INVALID),
        ("GetSecretValue", {}, MISSING),
        ("GetSecretValue", {"SecretName": arn.replace("main", "eu-west-9")}, GONE),
        ("GetSecretValue", {"SecretName": arn.replace("secret/", "key/")}, INVALID),
        ("GetSecretValue", {**db, "VersionId": "v9"}, GONE),
        ("GetSecretValue", {**db, "VersionStage": "ACSPrevious"}, GONE),
        ("GetSecretValue", {**db, "VersionId": "v1", "VersionStage": "blue"}, GONE),
        ("GetSecretValue", {**db, "FetchExtendedConfig": "maybe"}, INVALID),
        ("GetSecretValue", {**db, "Recipient": "x"}, INVALID),
        ("GetSecretValue", {**db, "DryRun": "True"}, (400, "DryRunOperationError")),
        ("GetSecretValue", {"SecretName": "none", "DryRun": "True"}, (404, "ValidationError")),
        ("GetSecretValue", {"SecretName": "app/marked"}, MARKED),
        ("PutSecretValue", {"SecretName": "app/marked", "SecretData": "x", "VersionId": "v2"}, MARKED),
        ("UpdateSecret", {"SecretName": "app/marked", "Description": "x"}, MARKED),
        ("DeleteSecret", {"SecretName": "app/marked"}, MARKED),
        ("CreateSecret", {"SecretName": "app/marked", "SecretData": "x", "VersionId": "v1"}, MARKED),
        ("CreateSecret", {**db, "SecretData": VALUE, "VersionId": "v1"}, EXISTS),
        ("CreateSecret", {**db, "SecretData": "x", "VersionId": "v2"}, EXISTS),
        ("CreateSecret", {**new, "VersionId": ""}, MISSING),
        ("CreateSecret", {**new, "SecretData": ""}, MISSING),
        ("CreateSecret", {**new, "VersionId": "v" * 65}, INVALID),
        ("CreateSecret", {**new, "SecretName": "n" * 193}, INVALID),
        ("CreateSecret", {**new, "SecretName": "n\0"}, INVALID),
        ("CreateSecret", {**new, "SecretName": "acs/ecs/new"}, INVALID),
        ("CreateSecret", {**new, "SecretType": "Rds"}, INVALID),
        ("CreateSecret", {**new, "SecretData": "x" * 30_721}, INVALID),
        ("CreateSecret", {**new, "SecretData": "no base64", "SecretDataType": "binary"}, INVALID),
        ("CreateSecret", {**new, "SecretDataType": "json"}, INVALID),
        ("CreateSecret", {**new, "DKMSInstanceId": "kst-1"}, INVALID),
        ("CreateSecret", {**new, "Tags": [{"TagKey": f"k{n}"} for n in range(21)]}, INVALID),
        ("CreateSecret", {**new, "Tags": "{"}, INVALID),
        ("CreateSecret", {**new, "EncryptionKeyId": "alias/none"}, GONE),
        ("PutSecretValue", {**db, "VersionId": "v2", "SecretData": "x", "VersionStages": ["ACSPending"]}, INVALID),
        ("PutSecretValue", {**db, "VersionId": "v2", "SecretData": "x", "VersionStages": "blue"}, INVALID),
        ("PutSecretValue", {**db, "VersionId": "v2", "SecretData": "x",
                            "VersionStages": [f"s{n}" for n in range(8)]}, (400, "Rejected.LimitExceeded")),
        ("UpdateSecretVersionStage", {**db, "VersionStage": "blue"}, INVALID),
        ("UpdateSecretVersionStage", {**db, "VersionStage": "ACSCurrent", "RemoveFromVersion": "v1"}, INVALID),
        ("UpdateSecretVersionStage", {**db, "VersionStage": "blue", "MoveToVersion": "v9"}, GONE),
        ("UpdateSecretVersionStage", {**db, "VersionStage": "blue", "RemoveFromVersion": "v1"}, INVALID),
        ("UpdateSecret", {**db, "ExtendedConfig.CustomData.Name": "x"}, INVALID),  # it is generic
        ("UpdateSecret", {**db, "ExtendedConfig.CustomData": {"Name": "x"}}, INVALID),
        ("UpdateSecret", {**db, "ExtendedConfig": {"CustomData": {"Name": "x"}}}, INVALID),
        ("DeleteSecret", {**db, "RecoveryWindowInDays": "6"}, INVALID),
        ("RestoreSecret", db, (409, "Rejected.ResourceInUse")),
        ("RotateSecret", {**db, "VersionId": "r1"}, (400, "UnsupportedOperation")),
        ("UpdateSecretRotationPolicy", {**db, "EnableAutomaticRotation": "true", "RotationInterval": "7d"},
         (400, "UnsupportedOperation")),
        ("GetRandomPassword", {"PasswordLength": "7"}, INVALID),
        ("ListSecrets", {"PageSize": "101"}, INVALID),
        ("ListSecrets", {"Filters": [{"Key": "Colour", "Values": ["x"]}]}, INVALID),
        ("TagResource", {"KeyId": "k", "Tags": [{"TagKey": "a"}]}, INVALID),
        ("TagResources", {"ResourceType": "key", "ResourceId.1": "app/db", "Tag.1.Key": "a"}, INVALID),
        ("BatchGetSecretValue", {}, MISSING),
        ("BatchGetSecretValue", {"SecretsList": []}, INVALID),
        ("GetSecretPolicy", {**db, "PolicyName": "other"}, INVALID),
        ("SetSecretPolicy", {**db, "Policy": "{}", "PolicyName": "other"}, INVALID),
        ("SetSecretPolicy", {**db, "Policy": "no policy"}, INVALID),
        ("SetSecretPolicy", {**db, "Policy": "x" * 32_769}, INVALID),
        ("SetSecretPolicy", db, (400, "MissingParameter")),
    ]  # fmt: skip
    for action, given, expected in cases:
        status, answer = admin.call(action, **given)
        assert refused((status, answer)) == expected, (action, given, answer)
        assert {"RequestId", "HostId", "Code", "Message", "HttpStatus"} <= set(answer)
        assert answer["HttpStatus"] == status
    said = {
        action: admin.call(action, **given)[1]["Message"]
        for action, given in (
            ("RestoreSecret", db), ("GetSecretValue", {"SecretName": "none"}), ("DeleteSecret", {"SecretName": "app/marked"}),
            ("CreateSecret", {**db, "SecretData": "x", "VersionId": "v2"}),
        )
    }  # fmt: skip
    assert said == {
        "RestoreSecret": "restore normal secret",
        "GetSecretValue": "The resource is not found.",
        "DeleteSecret": "The secret is planned to be deleted.",
        "CreateSecret": "The resource already exists.",
    }
    assert not Secret.objects.filter(name="new").exists()


def test_a_secret_is_described_changed_tagged_listed_deleted_and_restored(admin):
    made(admin, Description="of the shop", Tags=[{"TagKey": "env", "TagValue": "prod"}])
    made(admin, "app/two")
    described = done(admin.call("DescribeSecret", SecretName="app/db", FetchTags="true"))
    assert described["Description"] == "of the shop"
    assert described["Tags"] == {"Tag": [{"TagKey": "env", "TagValue": "prod"}]}
    assert {"AutomaticRotation", "PlannedDeleteTime", "EncryptionKeyId", "ExtendedConfig"}.isdisjoint(
        described
    )
    assert done(admin.call("UpdateSecret", SecretName="app/db", Description="new")) == {
        "SecretName": "app/db"
    }
    done(admin.call("TagResource", SecretName="app/db", Tags=[{"TagKey": "team", "TagValue": "a"}]))
    done(
        admin.call(
            "TagResources",
            **{
                "RegionId": "main",
                "ResourceType": "secret",
                "ResourceId.1": "app/db",
                "ResourceId.2": "app/two",
                "Tag.1.Key": "kept",
                "Tag.1.Value": "yes",
            },
        )
    )
    done(admin.call("UntagResource", SecretName="app/db", TagKeys=["team"]))
    listed = done(
        admin.call(
            "ListTagResources", **{"RegionId": "main", "ResourceType": "secret", "ResourceId.1": "app/db"}
        )
    )
    tags = [(one["TagKey"], one["TagValue"]) for one in listed["TagResources"]["TagResource"]]
    assert tags == [("env", "prod"), ("kept", "yes")]
    by_tag = done(
        admin.call(
            "ListTagResources", **{"ResourceType": "secret", "Tag.1.Key": "kept", "Tag.1.Value": "yes"}
        )
    )
    assert {one["ResourceId"] for one in by_tag["TagResources"]["TagResource"]} == {"app/db", "app/two"}
    done(admin.call("UntagResources", **{"ResourceType": "secret", "ResourceId.1": "app/two", "All": "true"}))
    assert not Secret.objects.get(name="app/two").tags.exists()
    for filters, names in (
        ([], ["app/db", "app/two"]),
        ([{"Key": "SecretName", "Values": ["two"]}], ["app/two"]),
        ([{"Key": "SecretName", "Values": ["two", "db"]}], ["app/db", "app/two"]),
        ([{"Key": "TagKey", "Values": ["env"]}, {"Key": "TagValue", "Values": ["prod"]}], ["app/db"]),
        ([{"Key": "Description", "Values": ["new"]}], ["app/db"]),
        ([{"Key": "SecretType", "Values": ["ECS"]}], []),
        ([{"Key": "Creator", "Values": ["dot"]}], ["app/db", "app/two"]),
    ):
        page = done(admin.call("ListSecrets", Filters=filters, FetchTags="true", PageSize="100"))
        assert sorted(one["SecretName"] for one in page["SecretList"]["Secret"]) == names, filters
        assert page["TotalCount"] == len(names)
    page = done(admin.call("ListSecrets", PageSize="1", PageNumber="2"))
    assert (page["TotalCount"], len(page["SecretList"]["Secret"])) == (2, 1)
    done(admin.call("DeleteSecret", SecretName="app/db"))
    planned = done(admin.call("DescribeSecret", SecretName="app/db"))["PlannedDeleteTime"]
    assert datetime.fromisoformat(planned) > datetime.now(UTC) + timedelta(days=29)
    done(admin.call("RestoreSecret", SecretName="app/db"))
    assert done(admin.call("GetSecretValue", SecretName="app/db"))["SecretData"] == VALUE
    # Terraform sends both.
    gone = admin.call(
        "DeleteSecret", SecretName="app/db", ForceDeleteWithoutRecovery="true", RecoveryWindowInDays="30"
    )
    assert done(gone) == {"SecretName": "app/db"}
    assert refused(admin.call("DescribeSecret", SecretName="app/db")) == GONE


def test_several_values_are_read_at_once_and_each_failure_is_named(admin, robot):
    for name in ("one", "two", "three"):
        made(admin, name, f"value of {name}")
    client = signer(robot)
    actor = factories.administrator()
    grants.grant(Secret.objects.get(name="one"), robot, [Action.GET_SECRET_VALUE], actor=actor)
    grants.grant(Secret.objects.get(name="two"), robot, [Action.DESCRIBE_SECRET], actor=actor)
    wanted = [{"SecretName": "one"}, {"SecretName": "two"}, {"SecretName": "three", "VersionId": "v1"}]
    answer = done(client.call("BatchGetSecretValue", SecretsList=wanted))
    assert [one["SecretData"] for one in answer["SecretValues"]] == ["value of one"]
    assert [(one["SecretName"], one["Code"], one["HttpStatus"]) for one in answer["Errors"]] == [
        ("two", "Forbidden.NoPermission", "403"),
        ("three", "Forbidden.ResourceNotFound", "404"),
    ]
    assert [event.outcome for event in events() if event.action == Action.GET_SECRET_VALUE] == [
        "succeeded", "denied", "failed",
    ]  # fmt: skip


# ---------------------------------------------------------------- secrets of instances


def test_a_managed_secret_is_made_read_rotated_and_never_put(admin):
    instance = factories.instance(name="web01")
    config = {
        "SecretSubType": "Password",
        "RegionId": "main",
        "InstanceId": instance.instance_id,
        "CustomData": {},
    }
    value = {"UserName": "svc", "Password": "a-first-password-1"}
    new = {"SecretName": "acs/ecs/web01", "VersionId": "v1", "SecretType": "ECS"}
    for given, code in (
        ({}, MISSING),
        ({"ExtendedConfig": {**config, "SecretSubType": "Other"}}, INVALID),
        ({"ExtendedConfig": {**config, "InstanceId": "i-none"}}, GONE),
        ({"ExtendedConfig": {**config, "RegionId": "eu-west-9"}}, INVALID),
        ({"ExtendedConfig": {**config, "CustomData": {"a": ["b"]}}}, INVALID),
        ({"ExtendedConfig": {**config, "CustomData": {str(n): "b" for n in range(11)}}}, INVALID),
        ({"ExtendedConfig": config, "SecretName": "web01"}, INVALID),
        ({"ExtendedConfig": config, "SecretData": "no JSON"}, INVALID),
        ({"ExtendedConfig": config, "SecretData": {"UserName": "svc"}}, INVALID),
        ({"ExtendedConfig": config, "EnableAutomaticRotation": "true"}, MISSING),
        ({"ExtendedConfig": config, "EnableAutomaticRotation": "true", "RotationInterval": "5h"}, INVALID),
    ):  # fmt: skip
        assert refused(admin.call("CreateSecret", **{**new, "SecretData": value, **given})) == code, given
    assert not Secret.objects.exists()
    created = done(
        admin.call(
            "CreateSecret",
            **new,
            SecretData=value,
            ExtendedConfig=config,
            EnableAutomaticRotation="True",
            RotationInterval="7d",
        )
    )
    assert (created["SecretType"], created["AutomaticRotation"]) == ("ECS", "Enabled")
    assert created["RotationInterval"] == "604800s"
    assert json.loads(created["ExtendedConfig"]) == config  # also the name that the client gives its region
    elsewhere = as_(admin, scheme="ACS4").call("DescribeSecret", SecretName="acs/ecs/web01")
    assert json.loads(done(elsewhere)["ExtendedConfig"])["RegionId"] == "local-1"
    assert refused(admin.call("CreateSecret", **new, SecretData=value, ExtendedConfig=config)) == EXISTS
    got = done(
        admin.call(
            "GetSecretValue", SecretName="acs/ecs/web01", VersionId="ignored", FetchExtendedConfig="true"
        )
    )
    assert json.loads(got["SecretData"]) == value
    assert (got["VersionId"], got["SecretType"], got["AutomaticRotation"]) == ("v1", "ECS", "Enabled")
    assert json.loads(got["ExtendedConfig"])["InstanceId"] == instance.instance_id
    assert (
        refused(admin.call("GetSecretValue", SecretName="acs/ecs/web01", VersionStage="ACSPending")) == GONE
    )
    for action, given in (
        ("PutSecretValue", {"SecretData": "x", "VersionId": "v2"}),
        ("UpdateSecretVersionStage", {"VersionStage": "A", "MoveToVersion": "v1"}),
    ):
        answer = admin.call(action, SecretName="acs/ecs/web01", **given)
        assert refused(answer) == (400, "UnsupportedOperation"), action
        assert "Keyturn manages" in answer[1]["Message"]
    secret = Secret.objects.get()
    factories.settle(secret)
    before = secret.runs.count()
    for _ in range(2):  # the same id is one run
        answer = done(admin.call("RotateSecret", SecretName="acs/ecs/web01", VersionId="r1"))
        assert (answer["VersionId"], answer["Arn"]) == ("r1", secret.arn)
    assert secret.runs.count() == before + 1


def test_a_key_pair_is_taken_only_with_both_halves_of_one_pair(admin):
    instance = factories.instance(name="web01")
    config = {"SecretSubType": "SSHKey", "InstanceId": instance.instance_id}
    pair, other = (key_pairs.generate("ed25519") for _ in range(2))
    new = {"SecretName": "acs/ecs/key", "VersionId": "v1", "SecretType": "ECS", "ExtendedConfig": config}
    whole = {"UserName": "svc", "PublicKey": pair.public_key, "PrivateKey": pair.private_key.reveal()}
    for value in (
        {**whole, "PublicKey": other.public_key}, {**whole, "PublicKey": ""}, {**whole, "PrivateKey": "no key"},
    ):  # fmt: skip
        status, answer = admin.call("CreateSecret", **new, SecretData=value)
        assert (status, answer["Code"]) == INVALID
        assert whole["PrivateKey"] not in json.dumps(answer)
    done(admin.call("CreateSecret", **new, SecretData=whole))
    got = done(admin.call("GetSecretValue", SecretName="acs/ecs/key"))
    kept = Plaintext(json.loads(got["SecretData"])["PrivateKey"])
    assert key_pairs.read(kept).public_key.split()[1] == pair.public_key.split()[1]
    assert got["AutomaticRotation"] == "Disabled"


def test_automatic_rotation_is_turned_on_and_off_and_said_to_be_invalid_when_it_cannot_run(admin):
    secret = factories.secret(initial="a-first-password-1", name="web01")
    factories.settle(secret)
    name = {"SecretName": "acs/ecs/web01"}

    def told() -> tuple[str, str]:
        answer = done(admin.call("DescribeSecret", **name))
        assert ("NextRotationDate" in answer) == (answer["AutomaticRotation"] == "Enabled")
        return answer["AutomaticRotation"], answer.get("RotationInterval", "")

    assert told() == ("Disabled", "")
    for given, code in (
        ({}, MISSING),
        ({"EnableAutomaticRotation": "true"}, MISSING),
        ({"EnableAutomaticRotation": "true", "RotationInterval": "7"}, INVALID),
        ({"EnableAutomaticRotation": "true", "RotationInterval": "5h"}, INVALID),
        ({"EnableAutomaticRotation": "true", "RotationInterval": "366d"}, INVALID),
    ):
        assert refused(admin.call("UpdateSecretRotationPolicy", **name, **given)) == code, given
    on = {"EnableAutomaticRotation": "True", "RotationInterval": "168h"}
    done(admin.call("UpdateSecretRotationPolicy", **name, **on))
    assert told() == ("Enabled", "604800s")
    ManagedAccount.objects.update(credential=ManagedAccount.Credential.BLOCKED)
    assert told() == ("Invalid", "604800s")
    ManagedAccount.objects.update(credential=ManagedAccount.Credential.IN_SYNC)
    Schedule.objects.update(stopped_at=datetime.now(UTC))
    assert told() == ("Invalid", "604800s")
    done(admin.call("UpdateSecretRotationPolicy", **name, **on))
    assert told() == ("Enabled", "604800s")
    done(admin.call("UpdateSecretRotationPolicy", **name, EnableAutomaticRotation="false"))
    assert told() == ("Disabled", "")


def test_what_a_person_has_paused_stays_paused(admin):
    secret = factories.secret(initial="a-first-password-1", name="web01", is_on=True)
    factories.settle(secret)
    had = secret.schedule
    schedules.change(
        secret, revision=had.revision, is_on=True, period=had.period, is_paused=True,
        actor=factories.administrator(),
    )  # fmt: skip
    on = {"EnableAutomaticRotation": "true", "RotationInterval": "9d"}
    done(admin.call("UpdateSecretRotationPolicy", SecretName="acs/ecs/web01", **on))
    had.refresh_from_db()
    assert had.paused_at is not None
    assert had.period == timedelta(days=9)


# ---------------------------------------------------------------- about no secret


def test_a_random_password_has_the_classes_that_are_asked_for(admin):
    assert len(done(admin.call("GetRandomPassword"))["RandomPassword"]) == 32
    answer = done(
        admin.call(
            "GetRandomPassword", PasswordLength="128", ExcludePunctuation="True", ExcludeCharacters="abc"
        )
    )
    assert re.fullmatch(r"[d-zA-Z0-9]{128}", answer["RandomPassword"])
    nothing = {f"Exclude{kind}": "true" for kind in ("Lowercase", "Uppercase", "Numbers", "Punctuation")}
    assert refused(admin.call("GetRandomPassword", **nothing)) == INVALID
    each = done(admin.call("GetRandomPassword", PasswordLength="8", RequireEachIncludedType="true"))[
        "RandomPassword"
    ]
    assert all(re.search(kind, each) for kind in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]"))


def test_the_regions_are_those_in_which_the_caller_may_do_something(admin, robot):
    factories.region("lab")
    shown = done(admin.call("DescribeRegions"))["Regions"]["Region"]
    assert {one["RegionId"] for one in shown} == {"main", "lab"}
    assert done(signer(robot).call("DescribeRegions"))["Regions"]["Region"] == []
    assert done(admin.call("DescribeAccountKmsStatus")) == {"AccountStatus": "Enabled"}


def test_a_region_is_that_of_the_scope_of_the_parameter_or_of_the_endpoint(admin, settings):
    settings.REGION_NAMES = {"cn-hangzhou": "lab", "kms-lab.example.com": "lab"}
    factories.region("lab")
    for scheme, region, more, code in (
        ("HMAC-SHA1", "cn-hangzhou", {}, "lab"),
        ("HMAC-SHA1", "main", {}, "main"),
        ("ACS4", "cn-hangzhou", {}, "lab"),
        ("ACS4", "center", {}, "main"),  # a client that was told no region
        ("ACS4", "cn-hangzhou", {"RegionId": "lab"}, "lab"),
        ("ACS3", "", {"RegionId": "cn-hangzhou"}, "lab"),
        ("ACS3", "", {}, "main"),
    ):
        name = f"{scheme}/{region}/{len(more)}"
        made(as_(admin, scheme=scheme, region=region), name, **more)
        assert Secret.objects.get(name=name).region.code == code, name
    by_host = admin.signed("ListSecrets", {}, more={"host": "kms-lab.example.com:8443"})
    assert json.loads(admin.send(*by_host).content)["TotalCount"] == 4
    for scheme, region, more in (
        ("HMAC-SHA1", "eu-west-9", {}),
        ("ACS4", "eu-west-9", {}),
        ("ACS4", "main", {"RegionId": "lab"}),
    ):
        answer = as_(admin, scheme=scheme, region=region).call("ListSecrets", **more)
        assert refused(answer) == (404, "InvalidRegionId.NotFound"), (scheme, region, more)


def test_a_secret_gets_at_most_20_tags_by_this_interface_and_keeps_those_of_others(admin):
    made(admin, "tagged")

    def tag(*numbers: int) -> tuple[int, str]:
        tags = json.dumps([{"TagKey": f"k{number}", "TagValue": "v"} for number in numbers])
        status, answer = admin.call("TagResource", SecretName="tagged", Tags=tags)
        return status, answer.get("Code", "")

    assert tag(*range(20)) == (200, "")
    assert tag(20) == (400, "Rejected.LimitExceeded")
    assert tag(3, 4) == (200, "")
    secret = Secret.objects.get(name="tagged")
    lifecycle.retag(secret, {f"k{number}": "v" for number in range(30)}, actor=factories.administrator())
    assert tag(29) == (200, "")
    assert tag(30) == (400, "Rejected.LimitExceeded")


# ---------------------------------------------------------------- who is let in


def test_a_machine_reads_what_it_was_given_and_nothing_else(admin, robot):
    made(admin)
    client = signer(robot)
    assert refused(client.call("GetSecretValue", SecretName="app/db")) == GONE
    secret = Secret.objects.get(name="app/db")
    grants.grant(secret, robot, [Action.DESCRIBE_SECRET], actor=factories.administrator())
    status, answer = client.call("GetSecretValue", SecretName="app/db")
    assert refused((status, answer)) == DENIED
    assert answer["Message"] == "You are not authorized to perform the operation."
    assert answer["AccessDeniedDetail"] == {
        "AuthAction": "kms:GetSecretValue", "AuthPrincipalType": "SubUser", "AuthPrincipalDisplayName": "robot",
        "AuthPrincipalOwnerId": secret.account.number,
    }  # fmt: skip
    assert refused(client.call("GetSecretValue", SecretName="app/db", DryRun="true")) == (
        403,
        "AccessDeniedError",
    )
    for action, given in (
        ("PutSecretValue", {"SecretData": "x", "VersionId": "v2"}),
        ("UpdateSecretVersionStage", {"VersionStage": "blue", "MoveToVersion": "v1"}),
        ("DeleteSecret", {}),
        ("DeleteSecret", {"ForceDeleteWithoutRecovery": "true"}),
        ("RestoreSecret", {}),
        ("UpdateSecret", {"Description": "x"}),
        ("TagResource", {"Tags": [{"TagKey": "a"}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("RotateSecret", {"VersionId": "r1"}),
        ("UpdateSecretRotationPolicy", {"EnableAutomaticRotation": "false"}),
        ("TagResources", {"ResourceType": "secret", "ResourceId.1": "app/db", "Tag.1.Key": "a"}),
        ("UntagResources", {"ResourceType": "secret", "ResourceId.1": "app/db", "All": "true"}),
    ):
        assert refused(client.call(action, SecretName="app/db", **given)) == DENIED, action
    for name in ("mine", "app/db"):  # and it learns nothing of names that are taken
        answer = client.call("CreateSecret", SecretName=name, SecretData="x", VersionId="v1")
        assert refused(answer) == DENIED
    assert refused(client.call("ListSecrets")) == DENIED
    assert refused(client.call("ListTagResources", **{"ResourceType": "secret", "Tag.1.Key": "a"})) == DENIED
    secret.refresh_from_db()
    assert (secret.description, secret.versions.count(), secret.is_enabled) == ("", 1, True)
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    assert done(client.call("GetSecretValue", SecretName="app/db"))["SecretData"] == VALUE


def test_a_read_is_one_event_with_the_key_the_address_and_the_program(admin, robot):
    made(admin)
    client = signer(robot)
    grants.grant(Secret.objects.get(), robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    before = len(events())
    query, headers, body = client.signed("GetSecretValue", {"SecretName": "app/db"})
    answer = client.send(query, headers | {"user-agent": "AlibabaCloud\x1b[0m"}, body)
    [event] = events()[before:]
    assert (event.action, event.outcome, event.actor_name) == ("kms:GetSecretValue", "succeeded", "robot")
    assert event.details == {"access_key": client.key_id, "client": "AlibabaCloud?[0m"}
    assert event.address == "127.0.0.1"
    assert event.request_id == answer["x-acs-request-id"] == json.loads(answer.content)["RequestId"]
    assert VALUE not in json.dumps(event.details) + event.reason + event.decision
    key = AccessKey.objects.get(key_id=client.key_id)
    assert (key.last_used_from, key.last_used_for) == ("127.0.0.1", "GetSecretValue")
    client.call("GetSecretValue", SecretName="the-value-itself-by-mistake")
    last = events()[-1]
    assert (last.outcome, last.details["code"]) == ("failed", "Forbidden.ResourceNotFound")
    assert "by-mistake" not in last.resource + json.dumps(last.details)


def test_every_call_leaves_an_event_also_one_that_comes_again_and_changes_nothing(admin):
    made(admin)
    db = {"SecretName": "app/db"}
    for action, given, name in (
        ("PutSecretValue", {**db, "SecretData": VALUE, "VersionId": "v1"}, "kms:PutSecretValue"),
        (
            "UpdateSecretVersionStage",
            {**db, "VersionStage": "ACSCurrent", "MoveToVersion": "v1"},
            "kms:PutSecretValue",
        ),
        ("DescribeSecret", db, "kms:DescribeSecret"),
        ("ListSecretVersionIds", db, "kms:DescribeSecret"),
        ("ListSecrets", {}, "kms:ListSecrets"),
        ("ListTagResources", {"ResourceType": "secret", "ResourceId.1": "app/db"}, "kms:DescribeSecret"),
        ("DescribeRegions", {}, "kms:DescribeRegions"),
        ("DescribeAccountKmsStatus", {}, "kms:DescribeAccountKmsStatus"),
        ("GetRandomPassword", {}, "kms:GetRandomPassword"),
    ):
        before = len(events())
        assert admin.call(action, **given)[0] == 200, action
        [event] = events()[before:]
        assert (event.action, event.outcome, event.details["operation"]) == (name, "succeeded", action)
        assert event.details["access_key"] == admin.key_id


def test_what_is_not_signed_by_a_valid_key_is_refused_and_recorded(admin, robot):
    made(admin)
    client = signer(robot)
    grants.grant(Secret.objects.get(), robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    wanted = {"SecretName": "app/db"}

    def told(sent: tuple[str, dict[str, str], bytes], **more: Any) -> tuple[int, str]:
        answer = client.send(*sent, **more)
        assert VALUE not in answer.content.decode()
        assert not answer.cookies
        return answer.status_code, json.loads(answer.content)["Code"]

    wrong = (400, "SignatureDoesNotMatch")
    for scheme in SCHEMES:
        mine = as_(client, scheme=scheme)
        query, headers, body = mine.signed("GetSecretValue", wanted)
        assert told((query.replace("app%2Fdb", "app%2Fd2"), headers, body)) == wrong
        late = mine.signed("GetSecretValue", wanted, at=datetime.now(UTC) - timedelta(minutes=16))
        assert told(late) == (400, "InvalidTimeStamp.Expired")
        other = acs.Signer(client.key_id, Plaintext("A" * 40), scheme=scheme)
        assert told(other.signed("GetSecretValue", wanted)) == wrong
        unknown = acs.Signer("AKIAAAAAAAAAAAAAAAAA", Plaintext(client.secret), scheme=scheme)
        assert told(unknown.signed("GetSecretValue", wanted)) == (404, "InvalidAccessKeyId.NotFound")
    assert told((query, {"x-acs-action": "GetSecretValue"}, b"")) == MISSING
    denied = [event for event in events() if event.action == access_keys.USE]
    assert denied
    assert {event.outcome for event in denied} == {"denied"}
    key = AccessKey.objects.get(key_id=client.key_id)
    unusable = (403, "Forbidden.AccessKey")
    access_keys.disable(key, actor=factories.administrator())
    assert told(client.signed("GetSecretValue", wanted)) == unusable
    access_keys.enable(key, actor=factories.administrator())
    machines.disable(robot, actor=factories.administrator())
    assert told(client.signed("GetSecretValue", wanted)) == unusable
    assert not AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE, outcome="succeeded").exists()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_signed_request_is_answered_once(admin, robot, scheme):
    made(admin)
    client = as_(admin, scheme=scheme)
    sent = client.signed("GetSecretValue", {"SecretName": "app/db"}, nonce="used-once")
    assert client.send(*sent).status_code == 200
    again = client.send(*sent)
    assert (again.status_code, json.loads(again.content)["Code"]) == (400, "SignatureNonceUsed")
    assert VALUE not in again.content.decode()
    assert "nonce" in events()[-1].decision
    # It is kept until the request is too old, however far ahead the client's clock is.
    ahead = client.signed("DescribeRegions", {}, at=datetime.now(UTC) + timedelta(minutes=14))
    assert client.send(*ahead).status_code == 200
    ends = sorted(CacheEntry.objects.values_list("expires_at", flat=True))
    assert ends[0] > timezone.now() + timedelta(minutes=15)
    assert ends[-1] > timezone.now() + timedelta(minutes=29)
    # The nonce is the key's own, and a request that is not signed uses none up.
    stolen = client.signed("GetSecretValue", {"SecretName": "app/db"}, nonce="not-yet")
    broken = acs.Signer(client.key_id, Plaintext("A" * 40), scheme=scheme)
    assert broken.send(*broken.signed("ListSecrets", {}, nonce="not-yet")).status_code == 400
    assert client.send(*stolen).status_code == 200
    other = signer(robot, scheme=scheme)
    assert other.send(*other.signed("DescribeRegions", {}, nonce="used-once")).status_code == 200


# ---------------------------------------------------------------- sizes, addresses, fail closed


def test_every_answer_of_the_interface_is_json_with_its_own_status(admin, client):
    signed = admin.signed("GetSecretValue", {"SecretName": "app/db"})
    large = "x" * (door.SENT_AT_MOST + 1)
    for answer, status, code in (
        (client.get("/alibaba/none"), 404, "InvalidAction.NotFound"),
        (client.post("/alibaba/secrets/"), 404, "InvalidAction.NotFound"),
        (client.put("/alibaba/"), 405, "UnsupportedHTTPMethod"),
        (client.options("/alibaba"), 405, "UnsupportedHTTPMethod"),
        (client.get("/alibaba/"), 400, "MissingParameter"),
        (client.post("/alibaba/", large, content_type=acs.FORM), 413, "RequestEntityTooLarge"),
        (client.get(f"/?Action=GetSecretValue&x={large}"), 413, "RequestEntityTooLarge"),
        (client.get("/?Action=GetSecretValue&x=%ff"), 400, "InvalidParameter"),
        (client.get("/?Action=GetSecretValue&x"), 400, "InvalidParameter"),
        (
            client.get("/?Action=GetSecretValue&" + "&".join(f"a{n}=" for n in range(600))),
            400,
            "InvalidParameter",
        ),
        (client.post("/", "Action=GetSecretValue&Version=1", content_type=acs.FORM), 400, "MissingParameter"),
        (admin.send(*signed), 404, "Forbidden.ResourceNotFound"),
    ):
        assert answer["Content-Type"] == "application/json;charset=utf-8"
        body = json.loads(answer.content)
        assert (answer.status_code, body["HttpStatus"], body["Code"]) == (status, status, code)
        assert body["RequestId"] == answer["x-acs-request-id"]
        assert answer["Cache-Control"] == "no-store"
        assert not answer.cookies


def test_a_request_that_is_too_large_is_refused_before_its_key_is_looked_up(admin, monkeypatch):
    looked: list[str] = []
    monkeypatch.setattr(access_keys, "opened", lambda key_id: looked.append(key_id))
    for scheme in ("ACS3", "HMAC-SHA1"):  # in the body, and in the query
        client = as_(admin, scheme=scheme)
        sent = client.signed("CreateSecret", {"SecretData": "x" * door.SENT_AT_MOST})
        assert client.send(*sent).status_code == 413
    assert looked == []


def test_a_body_is_read_as_parameters_only_when_its_signature_is_right(admin, monkeypatch):
    query, headers, body = admin.signed(
        "CreateSecret", {"SecretName": "a", "SecretData": "x", "VersionId": "v1"}
    )
    parsed: list[bytes] = []
    monkeypatch.setattr(door.parameters, "of_body", lambda sent: parsed.append(sent) or [])
    assert admin.send(query, headers, body + b"&a=b").status_code == 400
    assert parsed == []
    admin.send(query, headers, body)
    assert parsed == [body]


def test_parameters_are_taken_from_a_json_body_too(admin):
    body = json.dumps({"SecretName": "app/db", "SecretData": VALUE, "VersionId": "v1"}).encode()
    _, headers, _ = admin.signed("CreateSecret", {})
    covered = {name: text for name, text in headers.items() if name != "authorization"}
    covered["x-acs-content-sha256"] = hashlib.sha256(body).hexdigest()
    covered["content-type"] = "application/json; charset=utf-8"
    _, made_ = acs.header_signature(
        "ACS3-HMAC-SHA256", admin.secret.encode(), ("POST", "/", {}), covered, covered["x-acs-content-sha256"]
    )
    covered["authorization"] = (
        f"ACS3-HMAC-SHA256 Credential={admin.key_id},SignedHeaders={';'.join(sorted(covered))},Signature={made_}"
    )
    assert admin.send("", covered, body).status_code == 200
    for text in (b"{" * 5000, b'{"a": NaN}', b'{"SecretName": "\\ud800"}', b"{} x"):
        covered["x-acs-content-sha256"] = hashlib.sha256(text).hexdigest()
        covered["x-acs-signature-nonce"] += "1"
        signed = {name: value for name, value in covered.items() if name != "authorization"}
        _, made_ = acs.header_signature(
            "ACS3-HMAC-SHA256",
            admin.secret.encode(),
            ("POST", "/", {}),
            signed,
            covered["x-acs-content-sha256"],
        )
        covered["authorization"] = (
            f"ACS3-HMAC-SHA256 Credential={admin.key_id},SignedHeaders={';'.join(sorted(signed))},Signature={made_}"
        )
        answer = admin.send("", covered, text)
        assert (answer.status_code, json.loads(answer.content)["Code"]) == INVALID, text[:20]


def test_the_address_of_the_folder_and_of_the_root_are_both_the_interfaces(admin, client):
    made(admin)
    for scheme in SCHEMES:
        for path in ("/", "/alibaba/", "/alibaba"):
            mine = as_(admin, scheme=scheme, path=path)
            assert done(mine.call("GetSecretValue", SecretName="app/db"))["SecretData"] == VALUE
    # A page of the console stays one, and AWS's clients go to their own door.
    assert client.get("/").status_code == 302
    assert client.get("/?action=x").status_code == 302
    assert "x-acs-request-id" not in client.post(
        "/",
        "Action=GetCallerIdentity",
        content_type=acs.FORM,
        headers={"authorization": "AWS4-HMAC-SHA256 x"},
    )


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_opened_or_recorded_is_the_services_own_error(admin, monkeypatch, dot, caplog):
    made(admin)

    def told() -> tuple[int, str]:
        answer = admin.call("GetSecretValue", SecretName="app/db")
        assert VALUE not in json.dumps(answer[1])
        return refused(answer)

    away, wrong = (503, "ServiceUnavailableTemporary"), (500, "InternalFailure")
    with monkeypatch.context() as patched:
        patched.setattr(keyring, "is_sealed", lambda: True)
        assert told() == away
    with monkeypatch.context() as patched:
        patched.setattr(trail, "_held_head", lambda: (_ for _ in ()).throw(DatabaseError("full")))
        assert told() == away
        assert refused(admin.call("DescribeSecret", SecretName="app/db")) == away
    with monkeypatch.context() as patched:
        gone = OperationalError("the connection is closed")
        patched.setattr(door.access_keys, "note_use", lambda key, name: (_ for _ in ()).throw(gone))
        assert told() == away
        answer = admin.send(*admin.signed("GetSecretValue", {"SecretName": "app/db"}))
        assert int(answer["Retry-After"]) > 0
    # The door's own lines are one for each cause and minute; Django's would be one for each call.
    assert not [record for record in caplog.records if record.name == "django.request"]
    with monkeypatch.context() as patched:
        patched.setattr(door.access_keys, "note_use", lambda key, name: 1 / 0)
        assert told() == wrong
    with monkeypatch.context() as patched:
        patched.setattr(door.nonces.cache, "add", lambda *args, **more: 1 / 0)
        assert told() == wrong
    key_states.disable(keyring.default_key(), actor=dot.principal)
    # The secret of the access key is sealed by the same key.
    assert told() == away


def test_a_user_who_reads_too_much_is_told_when_to_come_again(admin, settings):
    made(admin)
    settings.READS_AT_MOST = 1
    done(admin.call("GetSecretValue", SecretName="app/db"))
    answer = admin.send(*admin.signed("GetSecretValue", {"SecretName": "app/db"}))
    assert (answer.status_code, json.loads(answer.content)["Code"]) == (429, "Rejected.Throttling")
    assert int(answer["x-acs-retry-after"]) > 0


def test_a_value_that_comes_in_the_query_stands_in_no_log_and_no_event(admin, client, caplog, monkeypatch):
    """As the oldest clients send it; the canary is looked for in what was logged at DEBUG, tracebacks included."""
    needle = "canary-in-the-query-7c1f"
    old = as_(admin, scheme="HMAC-SHA1")
    new = {"SecretName": "app/db", "SecretData": needle, "VersionId": "v1"}
    caplog.set_level("DEBUG")
    assert old.call("CreateSecret", **new)[0] == 200
    query, headers, _ = old.signed("PutSecretValue", {**new, "VersionId": "v2"})
    for sent, path, method in (
        (query.replace("VersionId=v2", "VersionId=v3"), "/", "POST"),
        (query, "/alibaba/none", "POST"),
        (query, "/", "DELETE"),
        (query + "&x=%ff", "/", "POST"),
        (query, "/secrets/", "GET"),  # a page of the console
    ):
        assert old.send(sent, headers, path=path, method=method).status_code >= 300
    for name, given in (
        ("CreateSecret", new), ("PutSecretValue", {**new, "SecretDataType": "binary"}),
        ("PutSecretValue", {**new, "VersionStages": needle}), ("GetSecretValue", {"SecretName": needle}),
        ("UpdateSecret", {"SecretName": "app/db", "Description": "x", "ExtendedConfig.CustomData.a": needle}),
        (needle, {}),
    ):  # fmt: skip
        assert old.call(name, **given)[0] >= 400
    monkeypatch.setattr(door.access_keys, "note_use", lambda key, name: 1 / 0)
    assert refused(old.call("PutSecretValue", **{**new, "VersionId": "v4"})) == (500, "InternalFailure")
    assert "A call failed." in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert needle not in caplog.text
    kept = json.dumps([[e.resource, e.reason, e.decision, e.details, e.actor_name] for e in events()])
    assert needle not in kept


def test_more_calls_in_a_second_than_are_answered_are_told_when_to_come_again(admin, settings, monkeypatch):
    made(admin)
    settings.API_KEY_READS = 1
    monkeypatch.setattr(calls, "rates", Rates(clock=lambda: 1000.0))  # a second that does not end
    sent = [admin.signed("DescribeSecret", {"SecretName": "app/db"}) for _ in range(4)]
    answers = [admin.send(*one) for one in sent]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429]
    for answer in answers[1:]:
        assert json.loads(answer.content)["Code"] == "Rejected.Throttling"
        assert answer["x-acs-retry-after"] == "1"
    # What is beyond the limit leaves one event, and the other calls are as many as before.
    notes = [event for event in events() if "more calls in a second" in event.decision]
    assert len(notes) == 1
    assert admin.call("ListSecrets")[0] == 200
    # Many at once count as many.
    monkeypatch.setattr(calls, "rates", Rates(clock=lambda: 1000.0))
    settings.API_KEY_READS = 3
    pair = [{"SecretName": "app/db"}, {"SecretName": "none"}]
    told = [admin.call("BatchGetSecretValue", SecretsList=pair)[0] for _ in range(2)]
    assert told == [200, 429]


def test_a_call_without_tls_is_refused_and_not_redirected_with_its_query(admin, settings):
    settings.SECURE_SSL_REDIRECT = True
    needle = "canary-without-tls"
    old = as_(admin, scheme="HMAC-SHA1")
    for path in ("/", "/alibaba/"):
        query, headers, _ = old.signed(
            "CreateSecret", {"SecretName": "a", "SecretData": needle, "VersionId": "v1"}
        )
        answer = old.send(query, headers, path=path)
        assert (answer.status_code, json.loads(answer.content)["Code"]) == (400, "InvalidProtocol.NeedSsl")
        assert (answer["Cache-Control"], "Location" in answer) == ("no-store", False)
        assert needle not in answer.content.decode()
    assert not Secret.objects.exists()
    assert old.http.get("/secrets/").status_code == 301
    with_tls = old.http.generic("POST", f"/?{query}", headers={"host": "testserver"}, secure=True)
    assert with_tls.status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_many_that_send_one_request_at_once_one_is_answered(admin):
    """Each thread has its own connection, as each web process has."""
    made(admin)
    sent = admin.signed("GetSecretValue", {"SecretName": "app/db"})
    start = threading.Barrier(4)

    def ask(_: int) -> int:
        start.wait(timeout=60)
        try:
            return as_(admin).send(*sent).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, range(4))) == [200, 400, 400, 400]
