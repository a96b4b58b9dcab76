"""Alibaba Cloud's own clients, unmodified, against the real web server: the V2 SDK and the old one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from darabonba.exceptions import DaraException

from console.interfaces.alibaba import table
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey, AuditEvent
from secrets_app.people import access_keys
from tests import factories
from tests.web_process import Web

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = 'correct "horse" ü+~*&=% $(battery) \\ staple'
#: What makes the V2 SDK sign by each scheme.
SCHEMES = {"ACS3": {}, "ACS4": {"signature_version": "v4"}, "RPC": {"signature_algorithm": "v2"}}


def life(call: Callable[..., dict[str, Any]], name: str, instance: str) -> None:
    """The life of one generic and one managed secret, by `call(action, **parameters)`."""
    call("CreateSecret", SecretName=name, VersionId="v1", SecretData=VALUE, Description="of the shop")
    got = call("GetSecretValue", SecretName=name)
    assert (got["SecretData"], got["VersionStages"]) == (VALUE, {"VersionStage": ["ACSCurrent"]})
    call("PutSecretValue", SecretName=name, VersionId="v2", SecretData="next")
    assert call("GetSecretValue", SecretName=name, VersionStage="ACSPrevious")["SecretData"] == VALUE
    call("UpdateSecretVersionStage", SecretName=name, VersionStage="blue", MoveToVersion="v1")
    assert call("ListSecretVersionIds", SecretName=name)["TotalCount"] == 2
    call("UpdateSecret", SecretName=name, Description="new")
    call("TagResource", SecretName=name, Tags='[{"TagKey":"team","TagValue":"shop"}]')
    described = call("DescribeSecret", SecretName=name, FetchTags="true")
    assert described["Description"] == "new"
    assert described["Tags"] == {"Tag": [{"TagKey": "team", "TagValue": "shop"}]}
    call("UntagResource", SecretName=name, TagKeys='["team"]')
    filters = json.dumps([{"Key": "SecretName", "Values": [name]}])
    assert call("ListSecrets", Filters=filters)["TotalCount"] == 1
    call("DeleteSecret", SecretName=name, RecoveryWindowInDays="7")
    call("RestoreSecret", SecretName=name)
    assert call("GetSecretValue", SecretName=name)["SecretData"] == "next"
    call("DeleteSecret", SecretName=name, ForceDeleteWithoutRecovery="true")

    managed = f"acs/ecs/{name}"
    value = {"UserName": name.lower(), "Password": "a-first-password-1"}
    config = {"SecretSubType": "Password", "InstanceId": instance}
    call(
        "CreateSecret", SecretName=managed, SecretType="ECS", VersionId="v1", SecretData=json.dumps(value),
        ExtendedConfig=config, EnableAutomaticRotation="true", RotationInterval="7d",
    )  # fmt: skip
    got = call("GetSecretValue", SecretName=managed, FetchExtendedConfig="true")
    assert json.loads(got["SecretData"]) == value
    assert json.loads(got["ExtendedConfig"])["InstanceId"] == instance
    assert (got["AutomaticRotation"], got["RotationInterval"]) == ("Enabled", "604800s")
    assert call("RotateSecret", SecretName=managed, VersionId="r1")["VersionId"] == "r1"
    call("UpdateSecretRotationPolicy", SecretName=managed, EnableAutomaticRotation="false")
    assert call("DescribeSecret", SecretName=managed)["AutomaticRotation"] == "Disabled"
    assert len(call("GetRandomPassword", PasswordLength="50")["RandomPassword"]) == 50
    assert call("DescribeRegions")["Regions"]["Region"] == [{"RegionId": "main"}]
    assert call("DescribeAccountKmsStatus")["AccountStatus"] == "Enabled"


def v2(web: Web, signed: tuple[AccessKey, Plaintext], scheme: str = "ACS3", secret: str = "") -> Client:
    key, own = signed
    return Client(
        Config(
            access_key_id=key.key_id,
            access_key_secret=secret or own.reveal(),
            region_id="local-1",
            endpoint=web.base.removeprefix("http://"),
            protocol="http",
            **SCHEMES[scheme],
        )
    )


def test_the_v2_sdk_calls_each_action_by_each_scheme(web, signed, dot):
    instance, called = factories.instance().instance_id, set()
    for scheme in SCHEMES:
        client = v2(web, signed, scheme)

        def call(action: str, client: Client = client, **given: Any) -> dict[str, Any]:
            called.add(action)
            words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in action)[1:]
            if not hasattr(models, f"{action}Request"):
                return getattr(client, words)().body.to_map()
            request = getattr(models, f"{action}Request")().from_map(given)
            return getattr(client, words)(request).body.to_map()

        name = f"v2-{scheme}"
        life(call, name, instance)
        call("CreateSecret", SecretName=name, VersionId="v1", SecretData=VALUE)
        default = call("GetSecretPolicy", SecretName=name, PolicyName="default")["Policy"]
        number = call("DescribeSecret", SecretName=name)["Arn"].split(":")[3]
        statement = {"Effect": "Allow", "Principal": {"RAM": [f"acs:ram::{number}:user/dot"]},
                     "Action": ["kms:GetSecretValue"], "Resource": ["*"]}  # fmt: skip
        policy = json.dumps({"Version": "1", "Statement": [statement]})
        call("SetSecretPolicy", SecretName=name, PolicyName="default", Policy=policy)
        assert call("GetSecretPolicy", SecretName=name, PolicyName="default")["Policy"] == policy
        call("SetSecretPolicy", SecretName=name, PolicyName="default", Policy=default)
        assert call("GetSecretPolicy", SecretName=name, PolicyName="default")["Policy"] == default
        call("CreateSecret", SecretName=f"{name}-own", VersionId="v1", SecretData=VALUE, Policy=policy)
        assert call("GetSecretPolicy", SecretName=f"{name}-own", PolicyName="default")["Policy"] == policy
        several = {"ResourceType": "secret", "ResourceId": [name], "RegionId": "main"}
        call("TagResources", **several, Tag=[{"Key": "a", "Value": "b"}])
        tags = call("ListTagResources", **several)["TagResources"]["TagResource"]
        assert [(tag["ResourceId"], tag["TagKey"], tag["TagValue"]) for tag in tags] == [(name, "a", "b")]
        call("UntagResources", **several, TagKey=["a"])
        batch = call("BatchGetSecretValue", SecretsList=[{"SecretName": name}, {"SecretName": "none"}])
        assert [one["SecretData"] for one in batch["SecretValues"]] == [VALUE]
        assert [one["Code"] for one in batch["Errors"]] == ["Forbidden.ResourceNotFound"]
    assert called == set(table.TABLE)
    ours = [event for event in AuditEvent.objects.all() if "client" in event.details]
    assert {event.actor_id for event in ours} == {dot.principal.pk}
    assert all("AlibabaCloud" in event.details["client"] for event in ours)


def test_the_v2_sdk_reads_each_refusal_as_its_exception(web, signed):
    client = v2(web, signed)

    def refused(client: Client, **given: Any) -> tuple[Any, Any]:
        with pytest.raises(DaraException) as caught:
            client.get_secret_value(models.GetSecretValueRequest(**given))
        assert "<html" not in str(caught.value)
        return caught.value.code, getattr(caught.value, "status_code", None)

    assert refused(client, secret_name="none") == ("Forbidden.ResourceNotFound", 404)
    assert refused(client, secret_name="a b") == ("InvalidParameter", 400)
    assert refused(v2(web, signed, secret="wrong" * 8), secret_name="x") == ("SignatureDoesNotMatch", 400)
    access_keys.disable(signed[0], actor=factories.administrator())
    assert refused(client, secret_name="none") == ("Forbidden.AccessKey", 403)


def test_the_old_sdk_sends_values_in_the_url_and_nothing_logs_them(web, signed):
    key, secret = signed

    def made(secret: str) -> AcsClient:
        client = AcsClient(key.key_id, secret, "local-1", auto_retry=False)
        client.add_endpoint("local-1", "Kms", web.base.removeprefix("http://"))
        return client

    client = made(secret.reveal())

    def call(action: str, client: AcsClient = client, **given: Any) -> dict[str, Any]:
        module = importlib.import_module(f"aliyunsdkkms.request.v20160120.{action}Request")
        request = getattr(module, f"{action}Request")()
        request.set_protocol_type("http")
        for name, value in given.items():
            request.add_query_param(name, json.dumps(value) if isinstance(value, dict) else value)
        return json.loads(client.do_action_with_exception(request))

    life(call, "old", factories.instance().instance_id)
    large = "needle-in-the-url-" + "x" * 30_000
    call("CreateSecret", SecretName="large", VersionId="v1", SecretData=large)
    assert call("GetSecretValue", SecretName="large")["SecretData"] == large
    for refusing, code in (
        (client, "Forbidden.ResourceNotFound"),
        (made("wrong" * 8), "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ServerException) as caught:
            call("GetSecretValue", client=refusing, SecretName="none")
        assert caught.value.get_error_code() == code
    assert "needle" not in web.log.read_text()
