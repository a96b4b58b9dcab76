"""Requests of programs that are none: whatever is sent is refused, and no value comes with the refusal."""

# ruff: noqa: E501, SIM905
from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.interfaces.alibaba import table
from secrets_app.models import Secret
from secrets_app.people import access_keys
from tests import acs, amounts, factories

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-battery-1"
MANY = settings(
    max_examples=amounts.cases(100, long=10_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = """
    SecretName VersionId VersionStage VersionStages SecretData SecretDataType SecretType Description Tags TagKeys
    ExtendedConfig ExtendedConfig.CustomData ExtendedConfig.CustomData.a EnableAutomaticRotation
    RotationInterval RecoveryWindowInDays ForceDeleteWithoutRecovery PageNumber PageSize Filters FetchTags DryRun
    Recipient SecretsList ResourceType ResourceId ResourceId.1 ResourceId.0 ResourceId.x Tag.1.Key Tag.1.Value
    Tag.1 TagKey.1 All NextToken RegionId MoveToVersion RemoveFromVersion PasswordLength ExcludeCharacters
    RequireEachIncludedType IncludeDeprecated EncryptionKeyId KeyId Format Signature Action
""".split()
#: What can be sent: no half of a surrogate pair.
words = st.text(amounts.CHARACTERS, max_size=40)
texts = words | st.sampled_from(
    ["app/d", "acs:kms:main:", "\0", "é" * 40, "true", "7d", "9" * 30, "[" * 5000, '{"a": NaN}', '"\\ud800"', "[{}]"]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
parameters = st.dictionaries(
    st.sampled_from(NAMES) | words.filter(bool), texts | anything.map(json.dumps), max_size=5
)
actions = st.sampled_from(sorted(table.TABLE))


@pytest.fixture
def clients(dot) -> dict[str, acs.Signer]:
    """One access key in a client of each scheme."""
    key, secret = access_keys.create(dot.principal, actor=factories.administrator())
    made = {scheme: acs.Signer(key.key_id, secret, scheme=scheme) for scheme in ("HMAC-SHA1", "ACS3", "ACS4")}
    assert made["ACS3"].call("CreateSecret", SecretName="app/db", SecretData=VALUE, VersionId="v1")[0] == 200
    return made


def refused(answer: Any) -> bool:
    """Whether it is an answer of the interface that says no; nothing else is let through."""
    assert answer.status_code < 500, answer.content
    assert VALUE.encode() not in answer.content
    said = json.loads(answer.content)
    assert said["RequestId"]
    assert (answer.status_code == 200) == ("Code" not in said)
    return answer.status_code != 200


@MANY
@given(action=actions, found=parameters, scheme=st.sampled_from(["HMAC-SHA1", "ACS3", "ACS4"]))
def test_parameters_of_any_kind_are_answered_or_refused(clients, action, found, scheme):
    if scheme == "HMAC-SHA1":  # there these two are the signature's own
        found = {name: text for name, text in found.items() if name not in {"Action", "Signature"}}
    client = clients[scheme]
    refused(client.send(*client.signed(action, found)))
    assert Secret.objects.get(name="app/db", purged_at=None).is_generic


@MANY
@given(
    query=st.text(string.printable[:94], max_size=200),
    body=st.binary(max_size=300) | anything.map(lambda found: json.dumps(found).encode()) | st.just(b"{" * 50_000),
    authorization=st.text(string.printable[:94], max_size=200)
    | st.sampled_from(["ACS3-HMAC-SHA256 Credential=", "ACS4-HMAC-SHA256 x", "Basic YTpi"]),
    at=st.integers(0, 400),
)  # fmt: skip
def test_what_no_client_has_signed_is_refused(clients, query, body, authorization, at):
    client = clients["ACS3"]
    _, sent, _ = client.signed("GetSecretValue", {"SecretName": "app/db"})
    whole = sent["authorization"]
    for changed in (authorization, whole[:at] + authorization + whole[at + 1 :]):
        if changed.strip() != whole:
            assert refused(client.send("SecretName=app%2Fdb", sent | {"authorization": changed}))
    for other in ("HMAC-SHA1", "ACS4"):
        path = "/alibaba/"
        assert refused(clients[other].send(query, {"content-type": acs.FORM}, body, path=path))
