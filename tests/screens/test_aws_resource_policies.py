"""Resource policies on AWS's wire and on the Permissions tab: each operation, its texts, who sees what."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.urls import reverse

from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.people import access_keys, machines
from tests import factories, sigv4
from tests.statements import allow, give

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}


def signer(principal: Principal) -> sigv4.Signer:
    key, secret = access_keys.create(principal, actor=factories.administrator())
    return sigv4.Signer(key.key_id, secret)


@pytest.fixture
def admin(dot) -> sigv4.Signer:
    return signer(dot.principal)


@pytest.fixture
def robot(dot) -> Principal:
    return machines.create("robot", actor=dot.principal)


@pytest.fixture
def arn(admin) -> str:
    status, made = admin.call(
        "CreateSecret", Name="app/db", SecretString="correct-horse-1", ClientRequestToken="t" * 40
    )
    assert status == 200
    return str(made["ARN"])


def whom(arn: str, name: str = "robot") -> dict[str, str]:
    return {"AWS": f"arn:aws:iam::{arn.split(':')[4]}:user/{name}"}


def document(effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": "secretsmanager:GetSecretValue", "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def put(client: sigv4.Signer, text: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return client.call("PutResourcePolicy", SecretId="app/db", ResourcePolicy=text, **more)


def test_a_policy_is_put_read_listed_and_deleted_and_decides_meanwhile(admin, robot, arn):
    client = signer(robot)
    assert client.call("GetSecretValue", SecretId="app/db")[1]["__type"] == "ResourceNotFoundException"
    named = {"ARN": arn, "Name": "app/db"}
    assert admin.call("GetResourcePolicy", SecretId=arn) == (200, named)
    assert admin.call("ListResourcePolicies", SecretId=arn) == (200, named | {"ResourcePolicies": []})
    text = document(Principal=whom(arn), Resource=[arn, arn[:-7] + "-??????"])
    assert put(admin, text) == (200, named)
    assert admin.call("GetResourcePolicy", SecretId=arn) == (200, named | {"ResourcePolicy": text})
    listed = admin.call("ListResourcePolicies", SecretId=arn)
    assert listed == (200, named | {"ResourcePolicies": [{"PolicyName": "default"}]})
    status, got = client.call("GetSecretValue", SecretId="app/db")
    assert (status, got.get("SecretString")) == (200, "correct-horse-1"), got
    assert client.call("DescribeSecret", SecretId="app/db")[1]["__type"] == "ResourceNotFoundException"
    assert put(admin, document("Deny", Principal="*")) == (200, named)
    for one in (client, admin):
        assert one.call("GetSecretValue", SecretId="app/db")[0] == 400
    assert admin.call("DeleteResourcePolicy", SecretId=arn) == (200, named)
    assert admin.call("DeleteResourcePolicy", SecretId=arn) == (200, named)
    assert admin.call("GetSecretValue", SecretId="app/db")[0] == 200
    made = AuditEvent.objects.filter(action="kms:SetSecretPolicy", outcome="succeeded")
    assert len(made) == 4


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"ResourcePolicy": "{"}, "MalformedPolicyDocumentException",
         "This resource policy contains a syntax error."),
        ({"ResourcePolicy": document(Principal={"AWS": "arn:aws:iam::999999999999:user/robot"})},
         "MalformedPolicyDocumentException", "This resource policy contains an unsupported principal."),
        ({"ResourcePolicy": document(Principal={"AWS": "arn:aws:iam::999999999999:root"})},
         "MalformedPolicyDocumentException", "This resource policy contains an unsupported principal."),
        ({"ResourcePolicy": document(Principal="*", Resource="arn:aws:secretsmanager:local-1:1:secret:x")},
         "MalformedPolicyDocumentException", "This resource policy contains a syntax error."),
        ({"ResourcePolicy": document(Principal="*"), "BlockPublicPolicy": True}, "PublicPolicyException",
         "The resource policy allows broad access to the secret."),
        ({"ResourcePolicy": document(Principal="*"), "PolicyName": "other"}, "InvalidParameterException",
         "A secret has one resource policy, whose name is default."),
    ],
)  # fmt: skip
def test_a_policy_that_is_refused_is_refused_in_the_words_of_the_service(admin, arn, more, code, text):
    status, answer = admin.call("PutResourcePolicy", SecretId=arn, **more)
    assert (status, answer["__type"], answer["Message"]) == (400, code, text)
    assert Secret.objects.get().resource_policy is None


def test_a_name_that_is_not_there_or_is_none(admin, arn):
    status, answer = admin.call("GetResourcePolicy", SecretId=arn, PolicyName="other")
    assert (status, answer["__type"]) == (400, "ResourceNotFoundException")
    assert admin.call("DeleteResourcePolicy", SecretId=arn, PolicyName="o")[1]["__type"] == (
        "InvalidParameterException"
    )
    for name in ("a b", "x" * 65):
        assert admin.call("GetResourcePolicy", SecretId=arn, PolicyName=name)[1]["__type"] == (
            "ValidationException"
        )
    assert put(admin, "x" * 20_481)[1]["__type"] == "ValidationException"


def test_a_secret_that_is_marked_for_deletion_keeps_its_policy_and_takes_no_other(admin, arn):
    text = document(Principal="*")
    put(admin, text)
    admin.call("DeleteSecret", SecretId=arn)
    assert "marked for deletion" in put(admin, document("Deny", Principal="*"))[1]["Message"]
    assert admin.call("GetResourcePolicy", SecretId=arn)[1]["ResourcePolicy"] == text
    admin.call("RestoreSecret", SecretId=arn)
    assert admin.call("GetResourcePolicy", SecretId=arn)[1]["ResourcePolicy"] == text


def test_a_document_is_validated_without_being_stored(admin, robot, dot, arn):
    def checks(text: str, client: sigv4.Signer = admin, **more: Any) -> list[str]:
        status, answer = client.call("ValidateResourcePolicy", ResourcePolicy=text, **more)
        assert status == 200
        names = [error["CheckName"] for error in answer["ValidationErrors"]]
        assert answer["PolicyValidationPassed"] == (not names)
        return names

    assert checks(document(Principal=whom(arn)), SecretId=arn) == []
    assert checks(document(Principal=whom(arn), Resource=arn)) == []
    assert checks("{", SecretId=arn) == ["SYNTAX"]
    assert checks(document(Principal=whom(arn), Resource="arn:x"), SecretId=arn) == ["SYNTAX"]
    assert checks(document(Principal="*"), SecretId=arn) == ["PUBLIC_ACCESS"]
    denies = document("Deny", Principal="*", Action="*")
    assert checks(denies, SecretId=arn) == []  # an administrator can always change it
    assert checks(denies, signer(robot)) == ["LOCKOUT"]
    assert Secret.objects.get().resource_policy is None


def test_who_has_not_full_access_learns_no_names_by_asking_whether_they_are_known(robot, arn):
    client = signer(robot)
    answers = [
        client.call("ValidateResourcePolicy", ResourcePolicy=document(Principal=whom(arn, name)))
        for name in ("dot", "nobody")
    ]
    assert answers[0] == answers[1]


def test_who_may_only_describe_the_secret_does_not_read_whom_its_policy_names(admin, robot, dot, arn):
    put(admin, document(Principal=whom(arn, "dot")))
    user = factories.user("eve")
    give(user, "looks", allow("kms:DescribeSecret"), actor=dot)
    client = signer(user.principal)
    assert client.call("GetResourcePolicy", SecretId=arn)[1]["__type"] == "AccessDeniedException"
    give(user, "grants", allow("kms:ListGrants"), actor=dot)
    assert client.call("GetResourcePolicy", SecretId=arn)[1]["__type"] == "AccessDeniedException"
    give(user, "users", allow("kms:DescribeUser"), actor=dot)
    assert "user/dot" in client.call("GetResourcePolicy", SecretId=arn)[1]["ResourcePolicy"]


# ---------------------------------------------------------------- the screen


def url(secret: Secret) -> str:
    return reverse("secret_policy", args=[secret.region.code, secret.pk])


def tab(client, secret: Secret) -> str:
    page = client.get(reverse("secret", args=[secret.region.code, secret.pk]), {"tab": "permissions"})
    return str(page.content.decode())


def test_it_is_written_changed_and_deleted_on_the_permissions_tab(as_dot, robot, arn):
    secret = Secret.objects.get()
    assert "Create resource policy" in tab(as_dot, secret)
    form = as_dot.get(url(secret), headers=HTMX).context["form"]
    sent = {"document": document(Principal=whom(arn)).replace(" ", "\r\n"), "replaces": ""}
    assert form.initial["replaces"] == ""
    answer = as_dot.post(url(secret), sent, headers=HTMX)
    assert "tab=permissions" in answer["HX-Redirect"]
    page = tab(as_dot, secret)
    assert "user/robot" in page
    assert "Edit resource policy" in page
    assert "Resource policy</div>" in page or "Resource policy" in page.partition("who-may")[2]
    again = as_dot.post(url(secret), sent, headers=HTMX)
    assert again.status_code == 409
    assert "Nothing was saved" in again.content.decode()
    bad = as_dot.post(url(secret), {"document": "{", "replaces": ""}, headers=HTMX)
    assert (bad.status_code, "This is not JSON" in bad.content.decode()) == (422, True)
    unknown = document(Principal=whom(arn, "nobody"))
    bad = as_dot.post(url(secret), {"document": unknown, "replaces": ""}, headers=HTMX)
    assert "is no user or application of this account" in bad.content.decode()
    asked = as_dot.post(url(secret), {"delete": "yes"}, headers=HTMX).content.decode()
    assert "What it allows ends on the next request" in asked
    assert "user/robot" in tab(as_dot, secret)
    mark = re.search('name="shown" value="([0-9a-f]+)"', asked)[1]
    other = as_dot.post(url(secret), {"delete": "yes", "shown": "0" * 64}, headers=HTMX)
    assert other.status_code == 409
    assert "Nothing was deleted" in other.content.decode()
    as_dot.post(url(secret), {"delete": "yes", "shown": mark}, headers=HTMX)
    assert "This secret has no resource policy." in tab(as_dot, secret)


def test_a_reader_of_grants_who_may_not_see_a_user_does_not_see_the_document(client, admin, dot, arn):
    put(admin, document(Principal=whom(arn, "dot")))
    user = factories.user("eve")
    give(user, "sees", allow("kms:DescribeSecret", "kms:ListGrants"), actor=dot)
    client.force_login(user)
    page = tab(client, Secret.objects.get())
    assert "names a user or an application that you may not see" in page
    assert "user/dot" not in page
    assert "resource policy</a>" not in page
