"""The SDKs for JavaScript, unmodified, against the real web server: AWS's and Alibaba Cloud's, from npm."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.interfaces.aws import operations
from console.presentation import snippets
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import access_keys
from tests import factories
from tests.interfaces import javascript
from tests.interfaces.conftest import resource_policy

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = 'correct "horse" ü $(battery) \\ staple'
OF_AWS = javascript.PACKAGES / "@aws-sdk" / "client-secrets-manager" / "dist-types" / "commands"


@pytest.fixture
def sdk(web, signed, tmp_path) -> Callable[..., javascript.Process]:
    """Start AWS's SDK for JavaScript with an access key of every right."""
    key, own = signed

    def start(path: str = "/aws/", secret: str = "", region: str = "local-1") -> javascript.Process:
        return javascript.Process(
            tmp_path, "aws.cjs", f"{web.base}{path}", region, "1",
            AWS_ACCESS_KEY_ID=key.key_id, AWS_SECRET_ACCESS_KEY=secret or own.reveal(),
        )  # fmt: skip

    return start


def of_bytes(value: dict[str, str]) -> bytes:
    return base64.b64decode(value["bytes"])


def test_the_sdk_for_javascript_calls_each_operation(sdk, dot):
    """The life of one secret, then what a managed one answers; every operation that both know is called."""
    called: set[str] = set()

    with sdk() as process:

        def call(operation: str, **given: Any) -> Any:
            called.add(operation)
            return process.ask({"operation": operation, "input": given})

        tags = [{"Key": "team", "Value": "shop"}]
        made = call("CreateSecret", Name="js/db", SecretString=VALUE, Description="of the shop", Tags=tags)
        first = made["VersionId"]
        for secret_id in ("js/db", made["ARN"], made["ARN"][:-7]):
            assert call("GetSecretValue", SecretId=secret_id)["SecretString"] == VALUE
        put = call("PutSecretValue", SecretId="js/db", SecretBinary=b"\x00\xff\n")
        assert put["VersionStages"] == ["AWSCURRENT"]
        assert of_bytes(call("GetSecretValue", SecretId="js/db")["SecretBinary"]) == b"\x00\xff\n"
        before = call("GetSecretValue", SecretId="js/db", VersionStage="AWSPREVIOUS")
        assert (before["SecretString"], before["VersionId"]) == (VALUE, first)
        call(
            "UpdateSecretVersionStage", SecretId="js/db", VersionStage="AWSCURRENT", MoveToVersionId=first,
            RemoveFromVersionId=put["VersionId"],
        )  # fmt: skip
        assert call("GetSecretValue", SecretId="js/db")["VersionId"] == first
        token = str(uuid.uuid4())
        for _ in range(2):  # a client that got no answer sends the same again
            again = {"SecretString": "next", "Description": "new", "ClientRequestToken": token}
            assert call("UpdateSecret", SecretId="js/db", **again)["VersionId"] == token
        described = call("DescribeSecret", SecretId="js/db")
        assert described["VersionIdsToStages"] == {token: ["AWSCURRENT"], first: ["AWSPREVIOUS"]}
        assert (described["Description"], described["Tags"]) == ("new", tags)
        assert described["CreatedDate"].endswith("Z")  # which the SDK has read as a time
        versions = call("ListSecretVersionIds", SecretId="js/db", IncludeDeprecated=True)["Versions"]
        assert {one["VersionId"] for one in versions} == {first, put["VersionId"], token}
        call("TagResource", SecretId="js/db", Tags=[{"Key": "stage", "Value": ""}])
        call("UntagResource", SecretId="js/db", TagKeys=["team"])
        assert call("DescribeSecret", SecretId="js/db")["Tags"] == [{"Key": "stage", "Value": ""}]
        policy = {"SecretId": "js/db", "ResourcePolicy": resource_policy(made["ARN"])}
        assert call("ValidateResourcePolicy", **policy)["PolicyValidationPassed"]
        call("PutResourcePolicy", **policy)
        assert call("GetResourcePolicy", SecretId="js/db")["ResourcePolicy"] == policy["ResourcePolicy"]
        call("DeleteResourcePolicy", SecretId="js/db")
        assert "ResourcePolicy" not in call("GetResourcePolicy", SecretId="js/db")

        factories.region("eu-2")
        regions = [{"Region": "eu-2"}]
        (status,) = call("ReplicateSecretToRegions", SecretId="js/db", AddReplicaRegions=regions)[
            "ReplicationStatus"
        ]
        assert (status["Region"], status["Status"]) == ("eu-2", "InSync")
        called.add("StopReplicationToReplica")
        with sdk(region="eu-2") as there:
            stopped = there.ask({"operation": "StopReplicationToReplica", "input": {"SecretId": "js/db"}})
            there.ask(
                {
                    "operation": "DeleteSecret",
                    "input": {"SecretId": "js/db", "ForceDeleteWithoutRecovery": True},
                }
            )
        assert stopped["ARN"] == made["ARN"].replace("local-1", "eu-2")
        call("ReplicateSecretToRegions", SecretId="js/db", AddReplicaRegions=regions)
        removed = call("RemoveRegionsFromReplication", SecretId="js/db", RemoveReplicaRegions=["eu-2"])
        assert removed["ReplicationStatus"] == []

        for number in range(5):
            call("CreateSecret", Name=f"many/{number}", SecretString=str(number))
        filters = [{"Key": "name", "Values": ["many/"]}]
        assert len(call("ListSecrets", Filters=filters)["SecretList"]) == 5
        question = {"operation": "paginateListSecrets", "input": {"Filters": filters}}
        assert [len(page) for page in process.ask(question)["pages"]] == [2, 2, 1]
        batch = call("BatchGetSecretValue", SecretIdList=["many/1", "many/none"])
        assert [one["SecretString"] for one in batch["SecretValues"]] == ["1"]
        assert [one["ErrorCode"] for one in batch["Errors"]] == ["ResourceNotFoundException"]
        assert len(call("GetRandomPassword", PasswordLength=50)["RandomPassword"]) == 50

        call("DeleteSecret", SecretId="js/db", RecoveryWindowInDays=7)
        with pytest.raises(javascript.Refused, match="marked for deletion"):
            call("GetSecretValue", SecretId="js/db")
        call("RestoreSecret", SecretId="js/db")
        assert call("GetSecretValue", SecretId="js/db")["SecretString"] == "next"
        call("DeleteSecret", SecretId="js/db", ForceDeleteWithoutRecovery=True)

        managed = factories.secret(name="web01", initial="a-first-password-1")
        factories.settle(managed)
        got = json.loads(call("GetSecretValue", SecretId=managed.name)["SecretString"])
        assert got == {"UserName": "svc", "Password": "a-first-password-1"}
        rules = {"ScheduleExpression": "cron(0 3 ? * SUN *)", "Duration": "3h"}
        call("RotateSecret", SecretId=managed.name, RotationRules=rules)
        assert Secret.objects.get(pk=managed.pk).runs.count() == 1
        assert call("DescribeSecret", SecretId=managed.name)["RotationRules"] == rules
        call("CancelRotateSecret", SecretId=managed.name)
        assert call("DescribeSecret", SecretId=managed.name)["RotationEnabled"] is False

    commands = {path.name.removesuffix("Command.d.ts") for path in OF_AWS.glob("*Command.d.ts")}
    assert len(commands) > 20
    assert called == commands & set(operations.TABLE)
    signed = [event for event in AuditEvent.objects.all() if "client" in event.details]
    assert {event.actor_id for event in signed} == {dot.principal.pk}
    assert all("aws-sdk-js" in event.details["client"] for event in signed)


def test_the_sdk_for_javascript_throws_the_exception_that_it_has_for_each_refusal(sdk, signed):
    def refused(process: javascript.Process, operation: str, **given: Any) -> tuple[str, bool]:
        with pytest.raises(javascript.Refused) as caught:
            process.ask({"operation": operation, "input": given})
        said = caught.value.said
        assert said["status"] == 400
        assert VALUE not in said["message"]
        return said["name"], said["isTyped"]

    with sdk("/") as process:  # as an endpoint without a path is
        process.ask({"operation": "CreateSecret", "input": {"Name": "js/db", "SecretString": VALUE}})
        get = {"SecretId": "none"}
        assert refused(process, "GetSecretValue", **get) == ("ResourceNotFoundException", True)
        again = {"Name": "js/db", "SecretString": "other"}
        assert refused(process, "CreateSecret", **again) == ("ResourceExistsException", True)
        window = {"SecretId": "js/db", "RecoveryWindowInDays": 3}
        assert refused(process, "DeleteSecret", **window) == ("InvalidParameterException", True)
        assert refused(process, "RotateSecret", SecretId="js/db") == ("InvalidRequestException", True)
        access_keys.disable(signed[0], actor=factories.administrator())
        assert refused(process, "GetSecretValue", **get) == ("UnrecognizedClientException", False)
    access_keys.enable(signed[0], actor=factories.administrator())
    for given in ({"secret": "wrong" * 8}, {"region": "nowhere-1"}):
        with sdk(**given) as process:
            assert refused(process, "GetSecretValue", **get) == ("InvalidSignatureException", False)


def test_the_snippet_for_javascript_reads_the_value(web, signed, tmp_path):
    key, own = signed
    factories.generic_secret(name="js/db", value=VALUE)
    javascript.prepare(tmp_path)
    written = snippets.JAVASCRIPT.text(endpoint=f"{web.base}/aws/", region="local-1", secret="js/db")
    script = Path(tmp_path / "snippet.mjs")
    script.write_text(f"{written}\nprocess.stdout.write(value);\n")
    environment = javascript.environment(AWS_ACCESS_KEY_ID=key.key_id, AWS_SECRET_ACCESS_KEY=own.reveal())
    said = subprocess.run([javascript.NODE, script], env=environment, capture_output=True, text=True)
    assert (said.stdout, said.returncode) == (VALUE, 0), said.stderr


def test_the_sdk_of_alibaba_cloud_for_javascript_calls_the_actions_that_it_has(web, signed, tmp_path):
    key, own = signed
    process = javascript.Process(
        tmp_path, "alibaba.cjs", web.base.removeprefix("http://"), "local-1",
        ALIBABA_CLOUD_ACCESS_KEY_ID=key.key_id, ALIBABA_CLOUD_ACCESS_KEY_SECRET=own.reveal(),
    )  # fmt: skip
    with process:

        def call(action: str, **given: Any) -> Any:
            return process.ask({"action": action, "input": given})

        call("CreateSecret", secretName="js", versionId="v1", secretData=VALUE)
        assert call("GetSecretValue", secretName="js")["secretData"] == VALUE
        call("PutSecretValue", secretName="js", versionId="v2", secretData="a-needle-in-the-url")
        before = call("GetSecretValue", secretName="js", versionStage="ACSPrevious")
        assert (before["secretData"], before["versionId"]) == (VALUE, "v1")
        stage = {"versionStage": "blue", "moveToVersion": "v1"}
        call("UpdateSecretVersionStage", secretName="js", **stage)
        assert call("ListSecretVersionIds", secretName="js")["totalCount"] == 2
        call("UpdateSecret", secretName="js", description="new")
        assert call("DescribeSecret", secretName="js")["description"] == "new"
        assert call("ListSecrets")["totalCount"] == 1
        call("DeleteSecret", secretName="js", recoveryWindowInDays="7")
        with pytest.raises(javascript.Refused, match=r"^Rejected\.ResourceInDeleteWindow"):
            call("GetSecretValue", secretName="js")
        call("RestoreSecret", secretName="js")
        assert call("GetSecretValue", secretName="js")["secretData"] == "a-needle-in-the-url"
        assert len(call("GetRandomPassword", passwordLength="50")["randomPassword"]) == 50
        with pytest.raises(javascript.Refused, match=r"^Forbidden\.ResourceNotFound"):
            call("GetSecretValue", secretName="none")
    assert "needle" not in web.log.read_text()
