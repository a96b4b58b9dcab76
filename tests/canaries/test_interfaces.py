"""No value that comes or goes by an interface is left where it has no business: logs at DEBUG, SQL included.

A real web server; requests as the clients send them, good ones and every kind of bad one, each with a value
of its own. A text that may be anywhere is planted, and must be found: else the search has proved nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.people import access_keys, machines
from tests import acs, factories, sigv4
from tests.canaries import places
from tests.canaries.needles import Searcher, make
from tests.web_process import Web

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(dot, tmp_path, monkeypatch) -> Iterator[Web]:
    monkeypatch.setenv("KEYTURN_LOG_LEVEL", "DEBUG")  # of gunicorn's own lines
    web = Web(tmp_path / "web.log", settings="tests.canaries.settings")
    try:
        web.wait()
        yield web
    finally:
        web.end()


class Sender:
    """Sends what the signers make to the server, and keeps what comes back where it must hold no value."""

    def __init__(self, web: Web) -> None:
        self.port, self.values, self.refusals = web.port, dict[str, str](), list[bytes]()

    def value(self, name: str) -> str:
        assert name not in self.values
        self.values[name] = make()
        return self.values[name]

    def send(
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        method: str = "POST",
        is_read: bool = False,
    ) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if not is_read:
            self.refusals.append(content + repr(answer.headers.items()).encode())
        return answer.status


class Aws:
    def __init__(self, sender: Sender, signer: sigv4.Signer) -> None:
        self.sender, self.signer = sender, signer

    def call(
        self, operation: str, given: Any, *, body: bytes | None = None, sent: bytes | None = None,
        is_read: bool = False,
    ) -> int:  # fmt: skip
        body = json.dumps(given).encode() if body is None else body
        headers = self.signer.headers(body, f"secretsmanager.{operation}")
        return self.sender.send("/aws/", headers, body if sent is None else sent, is_read=is_read)


class Acs:
    def __init__(self, sender: Sender, signer: acs.Signer) -> None:
        self.sender, self.signer = sender, signer

    def call(
        self, action: str, given: Mapping[str, Any], *, more: str = "", method: str = "POST",
        is_read: bool = False, times: int = 1,
    ) -> int:  # fmt: skip
        query, headers, body = self.signer.signed(action, given)
        status = 0
        for _ in range(times):
            path = f"/?{query}{more}"
            status = self.sender.send(path, headers, body, method=method, is_read=is_read)
        return status


def by_aws(sender: Sender, key_id: str, secret: Plaintext, poor: sigv4.Signer, mark: str) -> None:
    aws, of = Aws(sender, sigv4.Signer(key_id, secret)), sender.value
    token = {"ClientRequestToken": "t" * 40}
    made = {"Name": f"a/{mark}", "Description": mark, **token}
    assert aws.call("CreateSecret", {**made, "SecretString": of("aws created")}) == 200
    ident = {"SecretId": made["Name"]}
    binary = base64.b64encode(of("aws binary").encode()).decode()
    put = {**ident, "ClientRequestToken": "u" * 40}
    assert aws.call("PutSecretValue", {**put, "SecretBinary": binary}) == 200
    updated = {**ident, "ClientRequestToken": "v" * 40, "SecretString": of("aws updated")}
    assert aws.call("UpdateSecret", updated) == 200
    for operation in ("GetSecretValue", "BatchGetSecretValue"):
        given: dict[str, Any] = ident if operation[0] == "G" else {"SecretIdList": [made["Name"]]}
        assert aws.call(operation, given, is_read=True) == 200
    for name, operation, given in (
        ("of another token", "PutSecretValue", {**put, "SecretString": of("aws of another token")}),
        ("of a short token", "PutSecretValue", {**ident, "ClientRequestToken": "x", "SecretString": of("s")}),
        ("in a list", "CreateSecret", {**made, "SecretString": [of("aws in a list")]}),
        ("in an unknown member", "GetSecretValue", {**ident, "VersionId": 7, "Value": of("aws unknown")}),
        ("in a binary", "PutSecretValue", {**put, "SecretBinary": of("aws in a binary")}),
        ("of no operation", "NoSuch", {**ident, "SecretString": of("aws of no operation")}),
        ("for no secret", "PutSecretValue", {**put, "SecretId": "none", "SecretString": of("aws no secret")}),
        ("twice", "CreateSecret", {**made, "ClientRequestToken": "w" * 40, "SecretString": of("aws twice")}),
    ):
        assert aws.call(operation, given) == 400, name
    broken = b'{"SecretString": "' + of("aws broken").encode() + b"\\"
    assert aws.call("PutSecretValue", None, body=broken) == 400
    large = json.dumps({**put, "SecretString": of("aws large") * 4000}).encode()
    assert aws.call("PutSecretValue", None, body=large) == 413
    swapped = json.dumps({**put, "SecretString": of("aws swapped")}).encode()
    assert aws.call("PutSecretValue", None, body=b"{}", sent=swapped) == 400
    huge = (of("aws huge") * 50_000).encode()
    assert sender.send("/aws/", {"X-Amz-Target": "secretsmanager.PutSecretValue"}, huge) == 413
    assert sender.send("/aws/none", {}, of("aws nowhere").encode()) == 404
    assert Aws(sender, poor).call("PutSecretValue", {**put, "SecretString": of("aws denied")}) == 400
    wrong = sigv4.Signer(key_id, Plaintext("wrong" * 8))
    assert Aws(sender, wrong).call("PutSecretValue", {**put, "SecretString": of("aws wrong")}) == 400


def by_alibaba(sender: Sender, key_id: str, secret: Plaintext, scheme: str, mark: str) -> None:
    """In the form by the newest scheme, in the URL by the oldest one."""
    signer = acs.Signer(key_id, secret, scheme=scheme)
    client, name = Acs(sender, signer), f"b/{mark}/{scheme}"

    def of(what: str) -> str:
        return sender.value(f"{scheme} {what}")

    made = {"SecretName": name, "VersionId": "v1"}
    assert client.call("CreateSecret", {**made, "SecretData": of("created")}) == 200
    put = {"SecretName": name, "VersionId": "v2"}
    assert client.call("PutSecretValue", {**put, "SecretData": of("put")}) == 200
    assert client.call("GetSecretValue", {"SecretName": name}, is_read=True) == 200
    for status, action, given in (
        (409, "PutSecretValue", {**put, "SecretData": of("of another id")}),
        (409, "CreateSecret", {**made, "SecretData": of("twice")}),
        (400, "PutSecretValue", {**put, "SecretDataType": "none", "SecretData": of("of no type")}),
        (400, "PutSecretValue", {**put, "SecretDataType": "binary", "SecretData": of("no binary")}),
        (404, "PutSecretValue", {**put, "SecretName": "none", "SecretData": of("for no secret")}),
        (404, "NoSuch", {**put, "SecretData": of("of no action")}),
        (
            400,
            "CreateSecret",
            {**made, "SecretName": f"{name}x", "SecretData": of("policy"), "Policy": "p"},
        ),
    ):
        assert client.call(action, given) == status, action
    assert client.call("PutSecretValue", {**put, "SecretData": of("more")}, more="&SecretData=x") == 400
    assert client.call("PutSecretValue", {**put, "SecretData": of("by PUT")}, method="PUT") == 405
    again = {"SecretName": name, "VersionId": "v9", "SecretData": of("again")}
    assert client.call("PutSecretValue", again, times=2) == 400
    large = {**put, "SecretData": of("large") * 1000}
    assert client.call("PutSecretValue", large) in {400, 413, 431}
    wrong = Acs(sender, acs.Signer(key_id, Plaintext("wrong" * 8), scheme=scheme))
    assert wrong.call("PutSecretValue", {**put, "SecretData": of("wrong")}) == 400


def test_no_value_of_an_interface_is_left_in_a_log_an_answer_or_in_clear(web, dot, tmp_path: Path):
    key, secret = access_keys.create(dot.principal, actor=factories.administrator())
    other, its = access_keys.create(
        machines.create("robot", actor=dot.principal), actor=factories.administrator()
    )
    sender, mark, journal = Sender(web), make(""), places.Journal()
    by_aws(sender, key.key_id, secret, sigv4.Signer(other.key_id, its), mark)
    for scheme in ("ACS3", "HMAC-SHA1"):
        by_alibaba(sender, key.key_id, secret, scheme, mark)
    export = tmp_path / "events"
    with export.open("w") as file:
        call_command("audit", "export", stdout=file)
    searched = {
        "log": [web.log.read_bytes()],
        "database": places.database(),
        "journal": journal.read(),
        "export": [export.read_bytes()],
        "refusals": sender.refusals,
    }
    assert len(sender.values) > 40
    values = Searcher({**sender.values, "an access key": secret.reveal(), "another one": its.reveal()})
    assert {place: values.hits(found) for place, found in searched.items()} == {
        place: set() for place in searched
    }
    planted = Searcher({"planted": mark})
    for place in ("log", "database", "export"):
        assert planted.hits(searched[place]), place
