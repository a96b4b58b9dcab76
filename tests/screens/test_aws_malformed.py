"""Requests of programs that are none: whatever is sent is refused, and no value comes with the refusal."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.interfaces.aws import operations, shapes
from secrets_app.models import Secret
from secrets_app.people import access_keys
from tests import amounts, factories, sigv4

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-battery-1"
MANY = settings(
    max_examples=amounts.cases(100, long=10_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(amounts.CHARACTERS, max_size=40) | st.sampled_from(
    ["app/db", "arn:aws:secretsmanager:", "\0", "\ud800", "é" * 40]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
#: An operation, and an input whose members have its names and any types.
odd_inputs = st.sampled_from(sorted(operations.TABLE)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.dictionaries(st.sampled_from(sorted(shapes.INPUTS[name]) or ["x"]) | texts, anything, max_size=5),
    )
)
bodies = (
    st.binary(max_size=300) | anything.map(lambda found: json.dumps(found).encode()) | st.just(b"[" * 90_000)
)
targets = st.sampled_from(sorted(operations.TABLE)).map(lambda name: f"secretsmanager.{name}") | st.text(
    string.printable[:94], max_size=60
)
printable = st.text(string.printable[:95], max_size=120)


@pytest.fixture
def client(dot) -> sigv4.Signer:
    key, secret = access_keys.create(dot.principal, actor=factories.administrator())
    client = sigv4.Signer(key.key_id, secret)
    status, _ = client.call(
        "CreateSecret", Name="app/db", SecretString=VALUE, ClientRequestToken="t" * 40, Description="kept"
    )
    assert status == 200
    return client


def refused(answer: Any) -> bool:
    """Whether it is an answer of the interface that says no; nothing else is let through."""
    assert answer.status_code < 500, answer.content
    assert VALUE.encode() not in answer.content
    if answer.status_code == 200:
        return False
    assert json.loads(answer.content)["__type"]
    return True


@MANY
@given(found=odd_inputs)
def test_an_input_of_any_types_is_answered_or_refused(client, found):
    name, members = found
    if name in {"GetSecretValue", "BatchGetSecretValue"} and "app/db" in json.dumps(members):
        return  # that would be a question for the value
    body = json.dumps(members).encode()
    refused(client.send(body, client.headers(body, f"secretsmanager.{name}")))
    secret = Secret.objects.get(name="app/db", purged_at=None)
    assert secret.is_generic


@MANY
@given(body=bodies, target=targets)
def test_a_signed_body_that_is_no_input_is_refused(client, body, target):
    refused(client.send(body, client.headers(body, target)))


@MANY
@given(
    header=st.sampled_from(["authorization", "x-amz-date", "x-amz-target", "host", "content-type"]),
    text=printable,
    at=st.integers(0, 200),
)
def test_a_request_with_one_header_changed_is_refused(client, header, text, at):
    body = json.dumps({"SecretId": "app/db"}).encode()
    sent = client.headers(body, "secretsmanager.GetSecretValue")
    before = sent[header]
    for changed in (text, before[:at] + text + before[at + 1 :]):
        if "".join(changed.split()) == "".join(before.split()):
            continue  # the same with a blank more or less, which says the same
        sent[header] = changed
        assert refused(client.send(body, sent))


@MANY
@given(data=st.data())
def test_a_body_with_one_byte_changed_is_refused(client, data):
    body = bytearray(json.dumps({"SecretId": "app/db"}).encode())
    sent = client.headers(bytes(body), "secretsmanager.GetSecretValue")
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != body[at]))
    assert refused(client.send(bytes(body), sent))
