"""AWS's own clients, unmodified, against the real web server: boto3, the AWS CLI and the caching client."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from aws_secretsmanager_caching import SecretCache, SecretCacheConfig
from awscli.clidriver import create_clidriver

from console.interfaces.aws import operations
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import access_keys
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = 'correct "horse" ü $(battery) \\ staple'


def test_boto3_calls_each_operation(client, dot):
    """The life of one secret, then what a managed one answers; every operation of the table is called."""
    sm = client()
    called: set[str] = set()
    sm.meta.events.register("before-call.secretsmanager", lambda model, **_: called.add(model.name))

    made = sm.create_secret(
        Name="app/db", SecretString=VALUE, Description="of the shop", Tags=[{"Key": "team", "Value": "shop"}]
    )
    first = made["VersionId"]
    for secret_id in ("app/db", made["ARN"], made["ARN"][:-7]):
        assert sm.get_secret_value(SecretId=secret_id)["SecretString"] == VALUE
    put = sm.put_secret_value(SecretId="app/db", SecretBinary=b"\x00\xff\n")
    assert put["VersionStages"] == ["AWSCURRENT"]
    assert sm.get_secret_value(SecretId="app/db")["SecretBinary"] == b"\x00\xff\n"
    before = sm.get_secret_value(SecretId="app/db", VersionStage="AWSPREVIOUS")
    assert (before["SecretString"], before["VersionId"]) == (VALUE, first)
    sm.update_secret_version_stage(
        SecretId="app/db", VersionStage="AWSCURRENT", MoveToVersionId=first,
        RemoveFromVersionId=put["VersionId"],
    )  # fmt: skip
    assert sm.get_secret_value(SecretId="app/db")["VersionId"] == first
    token = str(uuid.uuid4())
    for _ in range(2):  # a client that got no answer sends the same again
        updated = sm.update_secret(
            SecretId="app/db", SecretString="next", Description="new", ClientRequestToken=token
        )
        assert updated["VersionId"] == token
    described = sm.describe_secret(SecretId="app/db")
    assert described["VersionIdsToStages"] == {token: ["AWSCURRENT"], first: ["AWSPREVIOUS"]}
    assert (described["Description"], described["Tags"]) == ("new", [{"Key": "team", "Value": "shop"}])
    versions = sm.list_secret_version_ids(SecretId="app/db", IncludeDeprecated=True)["Versions"]
    assert {one["VersionId"] for one in versions} == {first, put["VersionId"], token}
    sm.tag_resource(SecretId="app/db", Tags=[{"Key": "stage", "Value": ""}])
    sm.untag_resource(SecretId="app/db", TagKeys=["team"])
    assert sm.describe_secret(SecretId="app/db")["Tags"] == [{"Key": "stage", "Value": ""}]
    _calls_each_operation_on_policies_and_replicas(sm, client, called)

    for number in range(5):
        sm.create_secret(Name=f"many/{number}", SecretString=str(number))
    pages = sm.get_paginator("list_secrets").paginate(
        Filters=[{"Key": "name", "Values": ["many/"]}], PaginationConfig={"PageSize": 2}
    )
    assert [len(page["SecretList"]) for page in pages] == [2, 2, 1]
    batch = sm.batch_get_secret_value(SecretIdList=["many/1", "many/none"])
    assert [one["SecretString"] for one in batch["SecretValues"]] == ["1"]
    assert [one["ErrorCode"] for one in batch["Errors"]] == ["ResourceNotFoundException"]
    assert len(sm.get_random_password(PasswordLength=50)["RandomPassword"]) == 50

    sm.delete_secret(SecretId="app/db", RecoveryWindowInDays=7)
    with pytest.raises(sm.exceptions.InvalidRequestException, match="marked for deletion"):
        sm.get_secret_value(SecretId="app/db")
    sm.restore_secret(SecretId="app/db")
    assert sm.get_secret_value(SecretId="app/db")["SecretString"] == "next"
    sm.delete_secret(SecretId="app/db", ForceDeleteWithoutRecovery=True)
    with pytest.raises(sm.exceptions.ResourceNotFoundException):
        sm.describe_secret(SecretId="app/db")

    managed = factories.secret(name="web01", initial="a-first-password-1")
    factories.settle(managed)
    got = json.loads(sm.get_secret_value(SecretId=managed.name)["SecretString"])
    assert got == {"UserName": "svc", "Password": "a-first-password-1"}
    rules = {"ScheduleExpression": "cron(0 3 ? * SUN *)", "Duration": "3h"}
    sm.rotate_secret(SecretId=managed.name, RotationRules=rules)
    assert Secret.objects.get(pk=managed.pk).runs.count() == 1
    assert sm.describe_secret(SecretId=managed.name)["RotationRules"] == rules
    sm.cancel_rotate_secret(SecretId=managed.name)
    assert sm.describe_secret(SecretId=managed.name)["RotationEnabled"] is False

    assert called == set(operations.TABLE)
    signed = [event for event in AuditEvent.objects.all() if "client" in event.details]
    assert {event.actor_id for event in signed} == {dot.principal.pk}
    assert all("Boto3/" in event.details["client"] for event in signed)


def _calls_each_operation_on_policies_and_replicas(
    sm: Any, client: Callable[..., Any], called: set[str]
) -> None:
    assert "ResourcePolicy" not in sm.get_resource_policy(SecretId="app/db")
    arn = sm.describe_secret(SecretId="app/db")["ARN"]
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{arn.split(':')[4]}:user/dot"},
        "Action": "secretsmanager:GetSecretValue", "Resource": arn,
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert sm.validate_resource_policy(SecretId="app/db", ResourcePolicy=policy)["PolicyValidationPassed"]
    sm.put_resource_policy(SecretId="app/db", ResourcePolicy=policy, BlockPublicPolicy=True)
    assert sm.get_resource_policy(SecretId="app/db")["ResourcePolicy"] == policy
    assert sm.list_resource_policies(SecretId="app/db")["ResourcePolicies"] == [{"PolicyName": "default"}]
    public = policy.replace(json.dumps(statement["Principal"]), '"*"')
    with pytest.raises(sm.exceptions.PublicPolicyException):
        sm.put_resource_policy(SecretId="app/db", ResourcePolicy=public, BlockPublicPolicy=True)
    with pytest.raises(sm.exceptions.MalformedPolicyDocumentException):
        sm.put_resource_policy(SecretId="app/db", ResourcePolicy="{")
    sm.delete_resource_policy(SecretId="app/db")

    factories.region("eu-2")
    there = client(region="eu-2")
    there.meta.events.register("before-call.secretsmanager", lambda model, **_: called.add(model.name))
    (status,) = sm.replicate_secret_to_regions(
        SecretId="app/db", AddReplicaRegions=[{"Region": "eu-2"}]
    )["ReplicationStatus"]  # fmt: skip
    assert (status["Region"], status["Status"]) == ("eu-2", "InSync")
    assert there.get_secret_value(SecretId="app/db")["SecretString"] == "next"
    assert there.stop_replication_to_replica(SecretId="app/db")["ARN"] == arn.replace("local-1", "eu-2")
    there.delete_secret(SecretId="app/db", ForceDeleteWithoutRecovery=True)
    sm.replicate_secret_to_regions(SecretId="app/db", AddReplicaRegions=[{"Region": "eu-2"}])
    removed = sm.remove_regions_from_replication(SecretId="app/db", RemoveReplicaRegions=["eu-2"])
    assert removed["ReplicationStatus"] == []
    other = arn.replace(arn.split(":")[4], "999999999999")
    for across in (sm.associate_cross_account_replica, sm.disassociate_cross_account_replica):
        with pytest.raises(sm.exceptions.InvalidParameterException, match="no other account"):
            across(SecretId="app/db", CrossAccountReplicaARN=other)


def test_boto3_reads_each_refusal_as_the_exception_that_it_has_for_it(client, signed):
    sm = client(path="/")  # as an endpoint without a path is
    sm.create_secret(Name="app/db", SecretString=VALUE)
    with pytest.raises(sm.exceptions.ResourceNotFoundException, match="can't find the specified secret"):
        sm.get_secret_value(SecretId="none")
    with pytest.raises(sm.exceptions.ResourceExistsException, match="app/db already exists"):
        sm.create_secret(Name="app/db", SecretString="other")
    with pytest.raises(sm.exceptions.InvalidParameterException, match="between 7 and 30 days"):
        sm.delete_secret(SecretId="app/db", RecoveryWindowInDays=3)
    with pytest.raises(sm.exceptions.InvalidRequestException, match="No Lambda rotation function"):
        sm.rotate_secret(SecretId="app/db")
    for refusing, code in (
        (client(secret="wrong" * 8), "InvalidSignatureException"),
        (client(region="nowhere-1"), "InvalidSignatureException"),
    ):
        with pytest.raises(refusing.exceptions.ClientError) as caught:
            refusing.get_secret_value(SecretId="app/db")
        assert caught.value.response["Error"]["Code"] == code
        assert VALUE not in str(caught.value.response)
    who = client("sts").get_caller_identity()
    assert who["Arn"].endswith(":user/dot")
    access_keys.disable(signed[0], actor=factories.administrator())
    with pytest.raises(sm.exceptions.ClientError, match="security token included in the request is invalid"):
        sm.get_secret_value(SecretId="app/db")


def test_the_cli_and_the_caching_client(client, web, signed, monkeypatch, capfd):
    key, secret = signed
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret.reveal())
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"{web.base}/aws/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "local-1")

    def aws(*words: str) -> Any:
        capfd.readouterr()
        code = create_clidriver().main(["secretsmanager", *words, "--output", "json"])
        out, err = capfd.readouterr()
        return (code, json.loads(out) if out.strip() else err)

    code, made = aws("create-secret", "--name", "cli/db", "--secret-string", VALUE)
    assert code == 0, made
    assert aws("get-secret-value", "--secret-id", "cli/db")[1]["SecretString"] == VALUE
    code, said = aws("get-secret-value", "--secret-id", "cli/none")
    assert code != 0
    assert "(ResourceNotFoundException)" in said
    instance = factories.instance(name="web-cli").instance_id
    value = json.dumps({"InstanceId": instance, "UserName": "deploy"})
    managed = {"--name": "acs/ecs/cli", "--type": "ManagedECSSecret", "--secret-string": value}
    assert aws("create-secret", *(word for pair in managed.items() for word in pair))[0] == 0
    metadata = f"Key=InstanceId,Value={instance}"
    rotated = ("rotate-secret", "--secret-id", "acs/ecs/cli", "--external-secret-rotation-metadata", metadata)
    assert aws(*rotated)[0] == 0
    described = aws("describe-secret", "--secret-id", "acs/ecs/cli")[1]
    assert (described["Type"], described["OwningService"]) == ("ManagedECSSecret", "keyturn")
    assert Secret.objects.get(name="acs/ecs/cli").runs.filter(kind="rotate").exists()
    listed = aws("list-secrets", "--filters", "Key=name,Values=cli/")[1]["SecretList"]
    assert [one["Name"] for one in listed] == ["cli/db"]

    cache = SecretCache(SecretCacheConfig(secret_refresh_interval=3600), client())
    assert [cache.get_secret_string("cli/db") for _ in range(3)] == [VALUE] * 3
    reads = AuditEvent.objects.filter(action="kms:GetSecretValue", outcome="succeeded")
    assert reads.count() == 2  # of the CLI, and the first one of the cache
