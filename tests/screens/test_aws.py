"""AWS Secrets Manager's interface, as its clients call it: operations, their words, and who is let in."""

# ruff: noqa: E501
from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError

from console.interfaces.aws import calls, door
from console.interfaces.rates import Rates
from rotation import schedules
from rotation.models import ManagedAccount
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states
from secrets_app.models import AccessKey, AuditEvent, Principal, Region, Secret, User
from secrets_app.people import access_keys, machines, users
from secrets_app.policy import grants
from tests import factories, sigv4

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-1"


def token(name: str) -> str:
    return f"{name}-{'0' * 40}"[:40]


def signer(principal: Principal, **given: Any) -> sigv4.Signer:
    key, secret = access_keys.create(principal, actor=factories.administrator())
    return sigv4.Signer(key.key_id, secret, **given)


@pytest.fixture
def admin(dot: User) -> sigv4.Signer:
    """A client with every right."""
    return signer(dot.principal)


@pytest.fixture
def robot(dot: User) -> Principal:
    return machines.create("robot", actor=dot.principal)


def made(client: sigv4.Signer, name: str = "app/db", value: str = VALUE, **more: Any) -> dict[str, Any]:
    status, answer = client.call(
        "CreateSecret", Name=name, SecretString=value, ClientRequestToken=token("t1"), **more
    )
    assert status == 200, answer
    return answer


def refused(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], str(answer[1].get("__type", ""))


def events() -> list[AuditEvent]:
    return list(AuditEvent.objects.order_by("sequence"))


# ---------------------------------------------------------------- values


def test_a_value_is_made_read_changed_and_read_again(admin):
    created = made(admin)
    region = Region.objects.get()
    number = region.account.number[-12:]
    arn = created["ARN"]
    assert re.fullmatch(rf"arn:aws:secretsmanager:local-1:{number}:secret:app/db-[A-Za-z0-9]{{6}}", arn)
    assert created == {"ARN": arn, "Name": "app/db", "VersionId": token("t1")}
    for secret_id in ("app/db", arn, arn[:-7]):
        status, got = admin.call("GetSecretValue", SecretId=secret_id)
        assert status == 200
        assert isinstance(got.pop("CreatedDate"), float)
        assert got == {
            "ARN": arn,
            "Name": "app/db",
            "VersionId": token("t1"),
            "VersionStages": ["AWSCURRENT"],
            "SecretString": VALUE,
        }
    status, put = admin.call(
        "PutSecretValue", SecretId=arn, SecretBinary="AAH/", ClientRequestToken=token("t2")
    )
    assert (status, put["VersionStages"]) == (200, ["AWSCURRENT"])
    _, got = admin.call("GetSecretValue", SecretId="app/db")
    assert got["SecretBinary"] == "AAH/"
    assert "SecretString" not in got
    _, before = admin.call("GetSecretValue", SecretId="app/db", VersionStage="AWSPREVIOUS")
    assert before["SecretString"] == VALUE
    _, by_id = admin.call("GetSecretValue", SecretId="app/db", VersionId=token("t1"))
    assert by_id["VersionStages"] == ["AWSPREVIOUS"]
    _, described = admin.call("DescribeSecret", SecretId=arn)
    assert described["VersionIdsToStages"] == {token("t1"): ["AWSPREVIOUS"], token("t2"): ["AWSCURRENT"]}
    assert {"Description", "KmsKeyId", "Tags", "DeletedDate", "RotationEnabled"}.isdisjoint(described)
    assert described["LastAccessedDate"] % 86_400 == 0


def test_a_key_is_named_to_those_who_may_see_it(admin, robot, dot):
    key = key_states.create("team/pay", actor=dot.principal)
    named = {"Name": "app/db", "SecretString": VALUE, "KmsKeyId": "alias/team/pay"}
    assert admin.call("CreateSecret", **named, ClientRequestToken=token("t1"))[0] == 200
    made(admin, "app/usual")
    secret = Secret.objects.get(key=key)
    grants.grant(secret, robot, [Action.DESCRIBE_SECRET], actor=factories.administrator())

    def keys(client: sigv4.Signer, name: str) -> tuple[list[str], str | None]:
        _, answer = client.call("ListSecretVersionIds", SecretId=name)
        (version,) = answer["Versions"]
        return version["KmsKeyIds"], client.call("DescribeSecret", SecretId=name)[1].get("KmsKeyId")

    assert keys(admin, "app/db") == (["alias/team/pay"], "alias/team/pay")
    assert keys(admin, "app/usual") == keys(signer(robot), "app/db") == (["DefaultEncryptionKey"], None)


def test_each_refusal_has_the_code_and_the_text_of_the_service(admin):
    made(admin)
    admin.call("CreateSecret", Name="empty", ClientRequestToken=token("t1"))
    admin.call("CreateSecret", Name="app/marked", SecretString="x", ClientRequestToken=token("t1"))
    admin.call("DeleteSecret", SecretId="app/marked")
    arn = admin.call("DescribeSecret", SecretId="app/db")[1]["ARN"]
    t1, t2 = token("t1"), token("t2")
    marked = (
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
    gone = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
    name = (
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
        "-/_+=.@!",
    )
    cases: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
        ("GetSecretValue", {"SecretId": "none"}, gone),
        ("GetSecretValue", {"SecretId": "a b"}, name),
        ("DescribeSecret", {"SecretId": "a b"}, name),
        ("CreateSecret", {"Name": "a b", "ClientRequestToken": t1}, name),
        ("GetSecretValue", {"SecretId": arn.replace("local-1", "eu-west-9")}, gone),
        ("GetSecretValue", {"SecretId": arn[:-1] + ("a" if arn[-1] != "a" else "b")}, gone),
        ("GetSecretValue", {"SecretId": "empty"}, (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")),
        ("GetSecretValue", {"SecretId": "app/db", "VersionId": t2}, (
            "ResourceNotFoundException",
            f"Secrets Manager can't find the specified secret value for VersionId: {t2}")),
        ("GetSecretValue", {"SecretId": "app/db", "VersionId": t1, "VersionStage": "AWSPENDING"}, (
            "InvalidRequestException",
            "You provided a VersionStage that is not associated to the provided VersionId.")),
        ("GetSecretValue", {"SecretId": "app/marked"}, marked),
        ("PutSecretValue", {"SecretId": "app/marked", "SecretString": "y", "ClientRequestToken": t2}, marked),
        ("TagResource", {"SecretId": "app/marked", "Tags": [{"Key": "a"}]}, marked),
        ("DeleteSecret", {"SecretId": "app/marked"}, marked),
        ("CreateSecret", {"Name": "app/marked", "SecretString": "z", "ClientRequestToken": t2}, (
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled for deletion.")),
        ("CreateSecret", {"Name": "app/db", "SecretString": VALUE, "ClientRequestToken": t2}, (
            "ResourceExistsException",
            "The operation failed because the secret app/db already exists.")),
        ("CreateSecret", {"Name": "app/db", "SecretString": "other", "ClientRequestToken": t1}, (
            "ResourceExistsException",
            f"You can't use ClientRequestToken {t1} because that value is already in use for a version of "
            f"secret {arn}.")),
        ("PutSecretValue", {"SecretId": "app/db", "SecretString": "y"}, (
            "InvalidRequestException",
            "You must provide a ClientRequestToken value. We recommend a UUID-type value.")),
        ("PutSecretValue", {"SecretId": "app/db", "SecretString": "y", "ClientRequestToken": "short"}, (
            "InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")),
        ("PutSecretValue", {"SecretId": "app/db", "ClientRequestToken": t2}, (
            "InvalidRequestException", "You must provide either SecretString or SecretBinary.")),
        ("UpdateSecretVersionStage", {"SecretId": "app/db", "VersionStage": "AWSCURRENT",
                                      "RemoveFromVersionId": t1}, (
            "InvalidParameterException",
            "You can only move staging label AWSCURRENT to a different secret version. It can't be completely "
            "removed.")),
        ("DeleteSecret", {"SecretId": "app/db", "RecoveryWindowInDays": 6}, (
            "InvalidParameterException",
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")),
        ("RotateSecret", {"SecretId": "app/db", "ClientRequestToken": t2}, (
            "InvalidRequestException",
            "No Lambda rotation function ARN is associated with this secret.")),
        ("BatchGetSecretValue", {}, (
            "InvalidParameterException",
            "Either 'SecretIdList' or 'Filters' must be provided, but not both.")),
        ("ListSecrets", {"Filters": [{"Values": ["a"]}]}, ("InvalidParameterException", "Invalid filter key")),
        ("ListSecrets", {"Filters": [{"Key": "name"}]}, (
            "InvalidParameterException", "Invalid filter values for key: name")),
        ("ListSecrets", {"NextToken": "x"}, ("InvalidNextTokenException", "Invalid NextToken.")),
        ("GetSecretValue", {}, (
            "ValidationException",
            "1 validation error detected: Value at 'secretId' failed to satisfy constraint: Member must not be "
            "null")),
        ("GetSecretValue", {"SecretId": 7}, (
            "SerializationException", "The member SecretId has another type.")),
        ("PutNothing", {"SecretId": "app/db"}, (
            "UnknownOperationException", "Keyturn has no such operation.")),
    ]  # fmt: skip
    for operation, given, (code, message) in cases:
        status, answer = admin.call(operation, **given)
        assert (status, answer) == (400, {"__type": code, "Message": message, "message": message}), (
            operation,
            given,
        )
    assert admin.call("GetSecretValue", SecretId="app/db")[1]["VersionId"] == t1


def test_a_label_is_moved_only_from_the_version_that_the_request_names(admin):
    made(admin)
    for number in (2, 3):
        admin.call(
            "PutSecretValue", SecretId="app/db", SecretString=str(number), ClientRequestToken=token(f"t{number}"),
        )  # fmt: skip
    given = {"SecretId": "app/db", "VersionStage": "AWSCURRENT", "MoveToVersionId": token("t2")}
    status, answer = admin.call("UpdateSecretVersionStage", **given)
    assert (status, answer["Message"]) == (
        400,
        "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to "
        f"version {token('t3')}, so you must explicitly reference that version in RemoveFromVersionId.",
    )
    status, _ = admin.call("UpdateSecretVersionStage", **given, RemoveFromVersionId=token("t3"))
    assert status == 200
    stages = admin.call("DescribeSecret", SecretId="app/db")[1]["VersionIdsToStages"]
    assert stages == {token("t2"): ["AWSCURRENT"], token("t3"): ["AWSPREVIOUS"]}
    _, listed = admin.call("ListSecretVersionIds", SecretId="app/db")
    assert [one["VersionId"] for one in listed["Versions"]] == [token("t2"), token("t3")]
    _, all_ = admin.call("ListSecretVersionIds", SecretId="app/db", IncludeDeprecated=True, MaxResults=2)
    assert len(all_["Versions"]) == 2
    _, rest = admin.call(
        "ListSecretVersionIds", SecretId="app/db", IncludeDeprecated=True, NextToken=all_["NextToken"]
    )
    found = all_["Versions"] + rest["Versions"]
    assert "NextToken" not in rest
    assert [one["VersionId"] for one in found if "VersionStages" not in one] == [token("t1")]


def test_a_secret_is_updated_tagged_deleted_and_restored(admin):
    made(admin, Tags=[{"Key": "team", "Value": "a"}], Description="first")
    changed = [admin.call("DescribeSecret", SecretId="app/db")[1]["LastChangedDate"]]
    for description in ("second", "third"):
        status, answer = admin.call(
            "UpdateSecret", SecretId="app/db", Description=description, ClientRequestToken=token(description)
        )
        assert (status, "VersionId" in answer) == (200, False)
        changed.append(admin.call("DescribeSecret", SecretId="app/db")[1]["LastChangedDate"])
    assert len(set(changed)) == 3
    _, answer = admin.call(
        "UpdateSecret", SecretId="app/db", SecretString="new", ClientRequestToken=token("t2")
    )
    assert answer["VersionId"] == token("t2")
    assert admin.call("TagResource", SecretId="app/db", Tags=[{"Key": "team", "Value": "b"}]) == (200, {})
    assert admin.call("UntagResource", SecretId="app/db", TagKeys=["absent"]) == (200, {})
    _, described = admin.call("DescribeSecret", SecretId="app/db")
    assert (described["Description"], described["Tags"]) == ("third", [{"Key": "team", "Value": "b"}])
    _, deleted = admin.call("DeleteSecret", SecretId="app/db", RecoveryWindowInDays=7)
    assert abs(deleted["DeletionDate"] - (datetime.now(UTC) + timedelta(days=7)).timestamp()) < 600
    assert admin.call("ListSecrets")[1]["SecretList"] == []
    [shown] = admin.call("ListSecrets", IncludePlannedDeletion=True)[1]["SecretList"]
    assert shown["DeletedDate"] == deleted["DeletionDate"]
    for _ in range(2):  # of a secret that is not to be deleted, too
        assert admin.call("RestoreSecret", SecretId="app/db")[0] == 200
    assert admin.call("GetSecretValue", SecretId="app/db")[1]["SecretString"] == "new"
    assert admin.call("DeleteSecret", SecretId="app/db")[0] == 200
    assert admin.call("DeleteSecret", SecretId="app/db", ForceDeleteWithoutRecovery=True)[0] == 200
    again = made(admin)
    assert again["ARN"] != described["ARN"]


def test_a_list_has_filters_an_order_and_pages(admin):
    for number, name in enumerate(("app/db", "app/Cache", "web/frontEnd", "other")):
        made(admin, name, Description=f"the {name} thing", Tags=[{"Key": f"key{number}", "Value": "x"}])
    factories.secret(name="managed")

    def names(*filters: tuple[str, list[str]], **more: Any) -> list[str]:
        given = {"Filters": [{"Key": key, "Values": values} for key, values in filters]} if filters else {}
        status, answer = admin.call("ListSecrets", **given, **more)
        assert status == 200, answer
        return [one["Name"] for one in answer["SecretList"]]

    for filters, expected in (
        ([("name", ["app"])], ["app/Cache", "app/db"]),
        ([("name", ["App"])], []),
        ([("name", ["app/db other"])], []),
        ([("name", ["!app", ])], ["acs/ecs/managed", "other", "web/frontEnd"]),
        ([("name", ["app"]), ("name", ["!app/d"])], ["app/Cache"]),
        ([("name", ["oth", "web"])], ["other", "web/frontEnd"]),
        ([("tag-key", ["key1"])], ["app/Cache"]),
        ([("tag-value", ["x"])], ["app/Cache", "app/db", "other", "web/frontEnd"]),
        ([("description", ["THE oth"])], ["other"]),
        ([("all", ["end"])], ["web/frontEnd"]),
        ([("all", ["CACHE thing"])], ["app/Cache"]),
        ([("owning-service", ["keyturn"])], ["acs/ecs/managed"]),
    ):  # fmt: skip
        assert names(*filters, SortBy="name") == expected, filters
    assert names(SortBy="name", SortOrder="desc")[0] == "web/frontEnd"
    seen: list[str] = []
    given: dict[str, Any] = {"MaxResults": 2, "SortBy": "name"}
    for size in (2, 2, 1):
        _, answer = admin.call("ListSecrets", **given)
        assert len(answer["SecretList"]) == size
        seen += [one["Name"] for one in answer["SecretList"]]
        given["NextToken"] = answer.get("NextToken")
    assert given["NextToken"] is None
    assert seen == names(SortBy="name")


def test_several_are_read_and_those_that_cannot_be_are_named(admin, robot):
    for name in ("one", "two", "three"):
        made(admin, name)
    client = signer(robot)
    for name in ("one", "two"):
        secret = Secret.objects.get(name=name)
        actions = [Action.DESCRIBE_SECRET] + ([Action.GET_SECRET_VALUE] if name == "one" else [])
        grants.grant(secret, robot, actions, actor=factories.administrator())
    status, answer = client.call("BatchGetSecretValue", SecretIdList=["one", "two", "three", "none"])
    assert status == 200
    assert [(one["Name"], one["SecretString"]) for one in answer["SecretValues"]] == [("one", VALUE)]
    assert [(one["SecretId"], one["ErrorCode"]) for one in answer["Errors"]] == [
        ("two", "AccessDeniedException"),
        ("three", "ResourceNotFoundException"),  # it is not there for one who may not describe it
        ("none", "ResourceNotFoundException"),
    ]
    read = [event for event in events() if event.action == Action.GET_SECRET_VALUE]
    assert [(event.outcome, event.resource.rpartition("/")[2]) for event in read[:2]] == [
        ("succeeded", "one"),
        ("denied", "two"),
    ]
    assert [(event.outcome, event.resource_id) for event in read[2:]] == [("failed", None)] * 2


def test_a_managed_secret_is_read_and_rotated_and_never_put(admin):
    secret = factories.secret(initial="a-first-password-1", name="web01")
    factories.settle(secret)
    _, got = admin.call("GetSecretValue", SecretId="acs/ecs/web01")
    assert json.loads(got["SecretString"]) == {"UserName": "svc", "Password": "a-first-password-1"}
    _, described = admin.call("DescribeSecret", SecretId="acs/ecs/web01")
    assert (described["OwningService"], described["RotationEnabled"]) == ("keyturn", False)
    assert "LastRotatedDate" not in described
    at = datetime(2026, 11, 30, 12, 0, 0, 250_000, tzinfo=UTC)
    ManagedAccount.objects.filter(secret=secret).update(rotated_at=at)
    _, described = admin.call("DescribeSecret", SecretId="acs/ecs/web01")
    (listed,) = admin.call("ListSecrets")[1]["SecretList"]
    assert described["LastRotatedDate"] == listed["LastRotatedDate"] == at.timestamp()
    for operation, given in (
        ("PutSecretValue", {"SecretString": "x", "ClientRequestToken": token("t")}),
        ("UpdateSecret", {"SecretString": "x", "ClientRequestToken": token("t")}),
        ("UpdateSecretVersionStage", {"VersionStage": "A", "MoveToVersionId": got["VersionId"]}),
    ):
        status, answer = admin.call(operation, SecretId="acs/ecs/web01", **given)
        assert (status, answer["__type"]) == (400, "InvalidRequestException"), operation
        assert "Keyturn manages" in answer["Message"]
    before = secret.runs.count()
    for _ in range(2):  # the same token is one run
        status, _ = admin.call("RotateSecret", SecretId="acs/ecs/web01", ClientRequestToken=token("t"))
        assert status == 200
    assert secret.runs.count() == before + 1


def test_a_random_password_has_the_classes_that_are_asked_for(admin):
    assert len(admin.call("GetRandomPassword")[1]["RandomPassword"]) == 32
    _, answer = admin.call(
        "GetRandomPassword", PasswordLength=200, ExcludePunctuation=True, ExcludeCharacters="abc", IncludeSpace=True
    )  # fmt: skip
    assert re.fullmatch(r"[d-zA-Z0-9 ]{200}", answer["RandomPassword"])
    assert refused(admin.call("GetRandomPassword", PasswordLength=3)) == (400, "InvalidParameterException")


def test_who_has_signed_is_said_as_clients_ask_before_they_begin(admin, robot):
    client = signer(robot)
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    answer = client.send(body, client.headers(body, "", service="sts", more=form))
    number = Region.objects.get().account.number[-12:]
    assert answer.status_code == 200
    assert f"<Arn>arn:aws:iam::{number}:user/robot</Arn>" in answer.content.decode()
    other = b"Action=AssumeRole&Version=2011-06-15"
    answer = client.send(other, client.headers(other, "", service="sts", more=form))
    assert answer.status_code == 400
    assert "<Code>InvalidAction</Code>" in answer.content.decode()


# ---------------------------------------------------------------- who is let in


def test_a_machine_reads_what_it_was_given_and_nothing_else(admin, robot):
    made(admin)
    client = signer(robot)
    status, answer = client.call("GetSecretValue", SecretId="app/db")
    assert (status, answer["__type"]) == (400, "ResourceNotFoundException")
    secret = Secret.objects.get(name="app/db")
    grants.grant(secret, robot, [Action.DESCRIBE_SECRET], actor=factories.administrator())
    status, answer = client.call("GetSecretValue", SecretId="app/db")
    number = Region.objects.get().account.number[-12:]
    assert (status, answer["Message"]) == (
        400,
        f"User: arn:aws:iam::{number}:user/robot is not authorized to perform: secretsmanager:GetSecretValue on "
        f"resource: arn:aws:secretsmanager:local-1:{number}:secret:app/db because no identity-based policy "
        "allows the secretsmanager:GetSecretValue action",
    )
    for operation, given in (
        ("PutSecretValue", {"SecretString": "x", "ClientRequestToken": token("t")}),
        ("DeleteSecret", {}),
        ("UpdateSecret", {"Description": "x", "ClientRequestToken": token("t")}),
        ("TagResource", {"Tags": [{"Key": "a"}]}),
    ):
        assert refused(client.call(operation, SecretId="app/db", **given)) == (400, "AccessDeniedException")
    creation = client.call("CreateSecret", Name="mine", SecretString="x", ClientRequestToken=token("t"))
    assert refused(creation) == (400, "AccessDeniedException")
    assert refused(client.call("ListSecrets")) == (400, "AccessDeniedException")
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    assert client.call("GetSecretValue", SecretId="app/db")[1]["SecretString"] == VALUE


def test_a_read_is_one_event_with_the_key_the_address_and_the_program(admin, robot):
    made(admin)
    client = signer(robot)
    grants.grant(Secret.objects.get(), robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    before = len(events())
    body = json.dumps({"SecretId": "app/db"}).encode()
    headers = client.headers(body, "secretsmanager.GetSecretValue")
    answer = client.send(body, headers | {"user-agent": "Boto3/1.43\x1b[0m"})
    [event] = events()[before:]
    assert (event.action, event.outcome, event.actor_name) == ("kms:GetSecretValue", "succeeded", "robot")
    assert event.details == {"access_key": client.key_id, "client": "Boto3/1.43?[0m"}
    assert event.address == "127.0.0.1"
    assert event.request_id == answer["x-amzn-RequestId"]
    assert VALUE not in json.dumps(event.details) + event.reason + event.decision
    key = AccessKey.objects.get(key_id=client.key_id)
    assert (key.last_used_from, key.last_used_for) == ("127.0.0.1", "GetSecretValue")
    for operation, action, outcome in (
        ("DescribeSecret", "kms:DescribeSecret", "failed"),
        ("GetRandomPassword", "kms:GetRandomPassword", "succeeded"),
    ):
        client.call(operation, **({"SecretId": "app/db"} if outcome == "failed" else {}))
        assert (events()[-1].action, events()[-1].outcome) == (action, outcome)
    client.call("GetSecretValue", SecretId="the-value-itself-by-mistake")
    last = events()[-1]
    assert (last.outcome, last.details["code"]) == ("failed", "ResourceNotFoundException")
    assert "by-mistake" not in last.resource + json.dumps(last.details)


def test_what_is_not_signed_by_a_valid_key_is_refused_and_recorded(admin, robot):
    made(admin)
    client = signer(robot)
    grants.grant(Secret.objects.get(), robot, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    body = json.dumps({"SecretId": "app/db"}).encode()
    target = "secretsmanager.GetSecretValue"

    def told(headers: dict[str, str], sent: bytes = body, path: str = "") -> tuple[int, str]:
        answer = client.send(sent, headers, path)
        assert VALUE not in answer.content.decode()
        assert not answer.cookies
        return answer.status_code, json.loads(answer.content)["__type"]

    good = client.headers(body, target)
    assert told({"x-amz-target": target}) == (400, "MissingAuthenticationTokenException")
    assert told(good, b'{"SecretId": "app/d2"}') == (400, "InvalidSignatureException")
    assert told(good | {"x-amz-target": "secretsmanager.DescribeSecret"}) == (
        400,
        "InvalidSignatureException",
    )
    late = client.headers(body, target, at=datetime.now(UTC) - timedelta(minutes=6))
    assert told(late) == (400, "InvalidSignatureException")
    unsigned = client.headers(body, target, unsigned=("x-amz-target",))
    assert told(unsigned) == (400, "IncompleteSignatureException")
    temporary = client.headers(body, target, more={"x-amz-security-token": "t"})
    assert told(temporary) == (400, "UnrecognizedClientException")
    elsewhere = sigv4.Signer(client.key_id, Plaintext(client.secret), region="eu-west-9")
    assert told(elsewhere.headers(body, target)) == (400, "InvalidSignatureException")
    other = sigv4.Signer(client.key_id, Plaintext("A" * 40))
    assert told(other.headers(body, target)) == (400, "InvalidSignatureException")
    unknown = sigv4.Signer("AKIAAAAAAAAAAAAAAAAA", Plaintext(client.secret))
    assert told(unknown.headers(body, target)) == (400, "UnrecognizedClientException")
    # A signature in the URL, a path of another folder, another method.
    assert told(good, path="/aws/?X-Amz-Signature=" + "0" * 64) == (
        400,
        "MissingAuthenticationTokenException",
    )
    assert told(good, path="/aws/secrets/") == (404, "UnknownOperationException")
    assert client.http.get("/aws/").status_code == 405
    denied = [event for event in events() if event.action == access_keys.USE]
    assert denied
    assert {event.outcome for event in denied} == {"denied"}
    key = AccessKey.objects.get(key_id=client.key_id)
    access_keys.disable(key, actor=factories.administrator())
    assert told(client.headers(body, target)) == (400, "UnrecognizedClientException")
    access_keys.enable(key, actor=factories.administrator())
    machines.disable(robot, actor=factories.administrator())
    assert told(client.headers(body, target)) == (400, "UnrecognizedClientException")
    assert not AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE, outcome="succeeded").exists()


@pytest.mark.parametrize(
    ("region", "service", "operation", "because"),
    [
        ("eu-west-9", "secretsmanager", "secretsmanager.GetSecretValue", "no region of the name"),
        ("local-1", "secretsmanager", "secretsmanager.ReplicateNothing", "no operation of the name"),
        ("local-1", "sts", "", "no operation of the name"),
    ],
)
def test_a_valid_key_that_asks_for_what_is_not_there_leaves_an_event(
    robot, region, service, operation, because
):
    client = signer(robot, region=region)
    body = b"Action=AssumeRole" if service == "sts" else b"{}"
    assert client.send(body, client.headers(body, operation, service=service)).status_code == 400
    (event,) = [one for one in events() if one.action == access_keys.USE]
    assert (event.actor, event.outcome) == (robot, "denied")
    assert because in event.decision
    assert client.key_id in event.decision


def test_a_key_of_a_disabled_user_reads_nothing(admin, dot):
    made(admin)
    users.create("second", Plaintext("x" * 20), groups=["administrators"])
    users.disable(dot, actor=factories.administrator())
    assert refused(admin.call("GetSecretValue", SecretId="app/db")) == (400, "UnrecognizedClientException")


def test_a_body_is_parsed_only_when_its_signature_is_right_and_refused_when_it_is_too_large(
    admin, monkeypatch
):
    parsed: list[bytes] = []
    monkeypatch.setattr(door.shapes, "read", lambda operation, body: parsed.append(body) or {})
    for body in (b"{" * 5000, b"\xff\xfe"):
        headers = admin.headers(body, "secretsmanager.ListSecrets")
        assert admin.send(body + b" ", headers).status_code == 400
        assert parsed == []
    monkeypatch.undo()
    looked: list[str] = []
    monkeypatch.setattr(access_keys, "opened", lambda key_id: looked.append(key_id))
    large = b'{"SecretId": "' + b"x" * door.BODY_AT_MOST + b'"}'
    answer = admin.send(large, admin.headers(large, "secretsmanager.GetSecretValue"))
    assert (answer.status_code, json.loads(answer.content)["__type"]) == (
        413,
        "RequestEntityTooLargeException",
    )
    assert looked == []
    monkeypatch.undo()
    for body in (b"[" * 90_000, b"[]", b"\xff", b'{"SecretId": NaN}', b'{"SecretId": "\\ud800"}', b"{"):
        answer = admin.send(body, admin.headers(body, "secretsmanager.GetSecretValue"))
        assert (answer.status_code, json.loads(answer.content)["__type"]) == (
            400,
            "SerializationException",
        ), body[:20]


# ---------------------------------------------------------------- fail closed


def test_every_call_leaves_an_event_also_one_that_comes_again_and_changes_nothing(admin):
    made(admin)
    again = {"SecretString": VALUE, "ClientRequestToken": token("t1")}
    for operation, given, action in (
        ("CreateSecret", {"Name": "app/db", **again}, "kms:CreateSecret"),
        ("PutSecretValue", {"SecretId": "app/db", **again}, "kms:PutSecretValue"),
        ("RestoreSecret", {"SecretId": "app/db"}, "kms:RestoreSecret"),
        ("UpdateSecretVersionStage", {
            "SecretId": "app/db", "VersionStage": "AWSCURRENT", "MoveToVersionId": token("t1"),
        }, "kms:PutSecretValue"),
        ("DescribeSecret", {"SecretId": "app/db"}, "kms:DescribeSecret"),
        ("ListSecretVersionIds", {"SecretId": "app/db"}, "kms:DescribeSecret"),
        ("GetResourcePolicy", {"SecretId": "app/db"}, "kms:DescribeSecret"),
        ("ListSecrets", {}, "kms:ListSecrets"),
        ("BatchGetSecretValue", {"Filters": [{"Key": "name", "Values": ["none"]}]}, "kms:GetSecretValue"),
    ):  # fmt: skip
        before = len(events())
        assert admin.call(operation, **given)[0] == 200, operation
        [event] = events()[before:]
        assert (event.action, event.outcome, event.details["operation"]) == (action, "succeeded", operation)
        assert event.details["access_key"] == admin.key_id


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_opened_or_recorded_is_the_services_own_error(admin, monkeypatch, dot, caplog):
    made(admin)

    def told() -> tuple[int, str]:
        answer = admin.call("GetSecretValue", SecretId="app/db")
        assert VALUE not in json.dumps(answer[1])
        return refused(answer)

    away, wrong = (503, "ServiceUnavailable"), (500, "InternalServiceError")
    with monkeypatch.context() as patched:
        patched.setattr(keyring, "is_sealed", lambda: True)
        assert told() == away
    with monkeypatch.context() as patched:
        patched.setattr(trail, "_held_head", lambda: (_ for _ in ()).throw(DatabaseError("full")))
        assert told() == away
        assert refused(admin.call("DescribeSecret", SecretId="app/db")) == away
    with monkeypatch.context() as patched:
        gone = OperationalError("the connection is closed")
        patched.setattr(door.access_keys, "note_use", lambda key, name: (_ for _ in ()).throw(gone))
        assert told() == away
        body = json.dumps({"SecretId": "app/db"}).encode()
        answer = admin.send(body, admin.headers(body, "secretsmanager.GetSecretValue"))
        assert int(answer["Retry-After"]) > 0
    # The door's own lines are one for each cause and minute; Django's would be one for each call.
    assert not [record for record in caplog.records if record.name == "django.request"]
    with monkeypatch.context() as patched:
        patched.setattr(door.access_keys, "note_use", lambda key, name: 1 / 0)
        assert told() == wrong
    key_states.disable(keyring.default_key(), actor=dot.principal)
    # The secret of the access key is sealed by the same key.
    assert told() == wrong


def test_the_address_at_the_root_is_for_requests_that_name_an_operation(admin, client):
    made(admin)
    at_root = sigv4.Signer(admin.key_id, Plaintext(admin.secret), path="/")
    assert at_root.call("GetSecretValue", SecretId="app/db")[1]["SecretString"] == VALUE
    assert client.get("/")["Content-Type"].startswith("text/html") or client.get("/").status_code == 302


def test_a_region_goes_by_its_code_and_by_the_names_of_the_settings(admin, settings):
    settings.REGION_NAMES = {"eu-west-1": "lab"}
    factories.region("lab")
    for name, code in (("main", "main"), ("eu-west-1", "lab"), ("local-1", "main")):
        client = sigv4.Signer(admin.key_id, Plaintext(admin.secret), region=name)
        created = made(client, f"in-{name}-{uuid.uuid4().hex[:8]}x")
        assert f":{name}:" in created["ARN"]
        assert Secret.objects.get(name=created["Name"]).region.code == code
        assert client.call("GetSecretValue", SecretId=created["ARN"])[0] == 200


# ---------------------------------------------------------------- when a managed secret rotates


def managed(**fields: Any) -> Secret:
    """A secret with a value, and without a run."""
    secret = factories.secret(name="web01", initial="a-first-password-1", **fields)
    factories.settle(secret)
    return Secret.objects.get(pk=secret.pk)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"AutomaticallyAfterDays": 30}, {"AutomaticallyAfterDays": 30}),
        ({"AutomaticallyAfterDays": 7, "Duration": "2h"}, {"AutomaticallyAfterDays": 7, "Duration": "2h"}),
        ({"ScheduleExpression": "rate(10 days)"}, {"AutomaticallyAfterDays": 10}),
        ({"ScheduleExpression": "rate(8 hours)"}, {"ScheduleExpression": "rate(8 hours)"}),
        *(
            ({"ScheduleExpression": expression}, {"ScheduleExpression": expression})
            for expression in (
                "cron(0 8 1 * ? *)",
                "cron(0 0 ? * SUN#1 *)",
                "cron(0 17 L * ? *)",
                "cron(0 4/12 * * ? *)",
                "cron(30 2 ? 1/3 2-6 *)",
                "cron(0 1 ? * 1 *)",
                "cron(0 1 ? * 5L *)",
            )
        ),
        ({"ScheduleExpression": "cron(0 1 ? * L *)"}, {"ScheduleExpression": "cron(0 1 ? * 7 *)"}),
    ],
)
def test_rules_are_set_and_read_back(admin, given, shown):
    secret = managed()
    answer = admin.call(
        "RotateSecret", SecretId=secret.name, ClientRequestToken=token("r"), RotationRules=given,
        RotateImmediately=False,
    )  # fmt: skip
    assert answer[0] == 200, answer
    _, described = admin.call("DescribeSecret", SecretId=secret.name)
    assert (described["RotationEnabled"], described["RotationRules"]) == (True, shown)
    assert described["NextRotationDate"] > datetime.now(UTC).timestamp()
    assert secret.runs.count() == 0
    event = AuditEvent.objects.filter(action=Action.UPDATE_ROTATION).get()
    assert event.details["is_on"] is True


def test_a_weekday_is_the_same_day_there_and_here(admin):
    secret = managed()
    for day, name in ((1, "Sunday"), (2, "Monday"), (7, "Saturday"), ("L", "Saturday"), ("WED", "Wednesday")):
        rules = {"ScheduleExpression": f"cron(0 3 ? * {day} *)"}
        answer = admin.call(
            "RotateSecret", SecretId=secret.name, ClientRequestToken=token(f"r{day}"), RotationRules=rules,
            RotateImmediately=False,
        )  # fmt: skip
        assert answer[0] == 200, answer
        secret.schedule.refresh_from_db()
        assert f"{secret.schedule.next_at.astimezone(UTC):%A %H:%M}" == f"{name} 03:00"


def test_rules_and_a_rotation_come_together_and_are_turned_off_again(admin):
    secret = managed()
    status, answer = admin.call(
        "RotateSecret", SecretId=secret.name, ClientRequestToken=token("r"),
        RotationRules={"AutomaticallyAfterDays": 30},
    )  # fmt: skip
    assert status == 200, answer
    assert secret.runs.count() == 1
    status, answer = admin.call("CancelRotateSecret", SecretId=secret.name)
    assert (status, set(answer)) == (200, {"ARN", "Name"})
    _, described = admin.call("DescribeSecret", SecretId=secret.name)
    assert described["RotationEnabled"] is False
    assert described["RotationRules"] == {"AutomaticallyAfterDays": 30}
    assert "NextRotationDate" not in described
    assert secret.runs.count() == 1


def test_what_a_person_has_paused_stays_paused(admin):
    secret = managed(is_on=True)
    actor = factories.administrator()
    schedule = secret.schedule
    schedules.change(
        secret, revision=schedule.revision, is_on=True, period=schedule.period, is_paused=True, actor=actor
    )
    admin.call(
        "RotateSecret", SecretId=secret.name, ClientRequestToken=token("r"), RotateImmediately=False,
        RotationRules={"AutomaticallyAfterDays": 9},
    )  # fmt: skip
    schedule.refresh_from_db()
    assert schedule.paused_at is not None
    assert schedule.period == timedelta(days=9)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "either AutomaticallyAfterDays or ScheduleExpression"),
        ({"AutomaticallyAfterDays": 3, "ScheduleExpression": "rate(3 days)"}, "and not both"),
        ({"AutomaticallyAfterDays": 0}, "must be within 1-1000"),
        ({"AutomaticallyAfterDays": 1001}, "must be within 1-1000"),
        ({"AutomaticallyAfterDays": 400}, "6 hours to 365 days"),
        ({"ScheduleExpression": "rate(4 hours)"}, "6 hours to 365 days"),
        ({"ScheduleExpression": "rate(0 days)"}, "rate(N hours)"),
        ({"ScheduleExpression": "every day"}, "rate(N hours)"),
        ({"ScheduleExpression": "cron(0 8 1 * ?)"}, "six fields"),
        ({"ScheduleExpression": "cron(0 8 1 * ? 2027)"}, "* for the year"),
        ({"ScheduleExpression": "cron(0 8 1 * 1 *)"}, "is a question mark"),
        ({"ScheduleExpression": "cron(0 ? 1 * ? *)"}, "for a day only"),
        ({"ScheduleExpression": "cron(0 8 ? * 0 *)"}, "1 to 7"),
        ({"ScheduleExpression": "cron(0 8 99 * ? *)"}, ""),
        ({"ScheduleExpression": "cron(0 * * * ? *)"}, ""),
        ({"AutomaticallyAfterDays": 1, "Duration": "20h"}, "random delay"),
        ({"AutomaticallyAfterDays": 1, "Duration": "2d"}, "Duration"),
    ],
)
def test_rules_that_are_none_change_nothing_and_say_why(admin, rules, said):
    secret = managed()
    status, answer = admin.call(
        "RotateSecret", SecretId=secret.name, ClientRequestToken=token("r"), RotationRules=rules
    )
    assert (status, answer["__type"]) == (400, "InvalidParameterException"), answer
    assert said in answer["Message"]
    assert secret.runs.count() == 0
    secret.schedule.refresh_from_db()
    assert not secret.schedule.is_on


def test_who_may_rotate_may_not_change_when(robot, dot):
    secret = managed()
    grants.grant(secret, robot, [Action.ROTATE_SECRET, Action.DESCRIBE_SECRET], actor=dot.principal)
    client = signer(robot)
    rules = {"AutomaticallyAfterDays": 30}
    for operation, more in (("RotateSecret", {"RotationRules": rules}), ("CancelRotateSecret", {})):
        more |= {"ClientRequestToken": token("r")} if operation == "RotateSecret" else {}
        answer = client.call(operation, SecretId=secret.name, **more)
        assert refused(answer) == (400, "AccessDeniedException")
    assert secret.runs.count() == 0


def test_a_secret_that_is_not_managed_has_no_rotation(admin):
    made(admin)
    for operation in ("RotateSecret", "CancelRotateSecret"):
        answer = admin.call(operation, SecretId="app/db", ClientRequestToken=token("x"))
        assert refused(answer) == (400, "InvalidRequestException")
        assert "No Lambda rotation function" in answer[1]["Message"]


# ---------------------------------------------------------------- too many calls


@pytest.fixture
def few(settings, monkeypatch):
    settings.API_KEY_READS, settings.API_KEY_OTHERS = 3, 2
    rates = Rates(clock=lambda: 1000.0)  # a second that does not end
    monkeypatch.setattr(calls, "rates", rates)
    return rates


def test_too_many_calls_of_a_key_wait_and_those_of_another_do_not(admin, robot, few, dot):
    made(admin)
    answers = [admin.call("GetSecretValue", SecretId="app/db") for _ in range(6)]
    assert [status for status, _ in answers] == [200] * 3 + [400] * 3
    assert refused(answers[-1]) == (400, "ThrottlingException")
    assert VALUE not in str(answers[3:])
    body = json.dumps({"SecretId": "app/db"}).encode()
    answer = admin.send(body, admin.headers(body, "secretsmanager.GetSecretValue"))
    assert (answer.status_code, answer["Retry-After"]) == (400, "1")
    other = signer(factories.user("eve", "administrators").principal)
    assert other.call("GetSecretValue", SecretId="app/db")[0] == 200
    denied = [event for event in events() if event.action == "kms:UseAccessKey"]
    assert len(denied) == 1
    assert "more calls in a second" in denied[0].decision


def test_who_has_not_signed_uses_up_nothing(admin, few):
    made(admin)
    forger = sigv4.Signer(admin.key_id, Plaintext("wrong" * 8))
    for _ in range(9):
        assert forger.call("GetSecretValue", SecretId="app/db")[0] in {400, 403}
    assert admin.call("GetSecretValue", SecretId="app/db")[0] == 200


def test_a_batch_counts_what_it_names(admin, few):
    made(admin)
    assert admin.call("BatchGetSecretValue", SecretIdList=["app/db", "none"])[0] == 200
    answer = admin.call("BatchGetSecretValue", SecretIdList=["app/db", "none"])
    assert refused(answer) == (400, "ThrottlingException")
    assert admin.call("GetSecretValue", SecretId="app/db")[0] == 200


def test_a_batch_without_a_filter_is_no_question_for_every_value(admin):
    made(admin)
    for given in ({}, {"Filters": []}, {"SecretIdList": [], "Filters": []}, {"Filters": [], "MaxResults": 5}):
        status, answer = admin.call("BatchGetSecretValue", **given)
        assert status == 400, given
        assert VALUE not in str(answer)
    both = {"SecretIdList": ["app/db"], "Filters": [{"Key": "name", "Values": ["app"]}]}
    assert refused(admin.call("BatchGetSecretValue", **both)) == (400, "InvalidParameterException")
    assert admin.call("BatchGetSecretValue", SecretIdList=["app/db"], Filters=[])[0] == 200
