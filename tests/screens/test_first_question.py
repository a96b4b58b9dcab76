"""What a program's read of a value asks of the database, and what becomes of it if the connection was cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from secrets_app.models import Policy
from secrets_app.people import access_keys, machines
from secrets_app.policy import policies
from tests import acs, factories, sigv4
from tests.domain.test_statements import counting

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = "correct-horse-1"
Read = Callable[[], tuple[int, dict[str, Any]]]


def reader(face: str) -> Read:
    admin = factories.administrator()
    factories.generic_secret(name="app/db", value=VALUE)
    robot = machines.create("robot", actor=admin)
    policies.attach(Policy.objects.get(name="SecretUser"), robot, actor=admin)
    key, secret = access_keys.create(robot, actor=admin)
    if face == "aws":
        return lambda: sigv4.Signer(key.key_id, secret).call("GetSecretValue", SecretId="app/db")
    return lambda: acs.Signer(key.key_id, secret, scheme="ACS3").call("GetSecretValue", SecretName="app/db")


def value(answer: tuple[int, dict[str, Any]]) -> object:
    assert answer[0] == 200, answer
    return answer[1].get("SecretString") or answer[1]["SecretData"]


# Five are asked by the call: its key with its owner, the regions, the secret, its labels, and all rights.
# Five belong to the transaction, which is one for all who read at once. Alibaba Cloud's also looks whether
# the nonce was used, and keeps it.
@pytest.mark.parametrize(("face", "statements", "commits"), [("aws", 10, 1), ("alibaba", 12, 2)])
def test_a_read_makes_few_statements_and_one_commit_of_its_event(monkeypatch, face, statements, commits):
    read = reader(face)
    for _ in range(2):  # the SQL is made, and the use of the key and of the secret noted for a minute
        assert value(read()) == VALUE
    with counting(monkeypatch) as counted:
        assert value(read()) == VALUE
    asked = [text for text in counted.statements if "DELETE" not in text]
    assert len(asked) <= statements, "\n".join(asked)
    assert counted.commits <= commits
    assert not [text for text in asked if text.startswith("SAVEPOINT")]


class _Cut:
    """A connection that was cut since the last call: its first statement fails."""

    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, execute: Callable[..., Any], *given: Any) -> Any:
        if not self.failed:
            self.failed += 1
            raise OperationalError("the connection was cut")
        return execute(*given)


@pytest.mark.parametrize("face", ["aws", "alibaba"])
def test_a_call_on_a_connection_that_was_cut_is_answered_on_a_new_one(monkeypatch, face):
    read = reader(face)
    assert value(read()) == VALUE
    before, cut = connection.connection, _Cut()
    with connection.execute_wrapper(cut), monkeypatch.context() as patch:
        patch.setattr(connection, "is_usable", lambda: False)
        assert value(read()) == VALUE
    assert cut.failed == 1
    assert connection.connection is not before


@pytest.mark.parametrize("face", ["aws", "alibaba"])
def test_a_question_that_fails_on_a_connection_that_answers_is_not_asked_again(face):
    read, cut = reader(face), _Cut()
    with connection.execute_wrapper(cut):
        status, answer = read()
    assert status >= 500
    assert VALUE not in str(answer)


def test_the_connection_is_not_asked_beforehand_whether_it_answers(monkeypatch):
    read, asked, wrapper = reader("aws"), list[int](), connections["default"]
    assert value(read()) == VALUE
    usable = wrapper.is_usable
    with monkeypatch.context() as patch:
        patch.setattr(wrapper, "is_usable", lambda: asked.append(1) or usable())
        # As Django leaves it at the beginning of a request.
        patch.setattr(wrapper, "health_check_enabled", True, raising=False)
        wrapper.health_check_done = False
        assert value(read()) == VALUE
    assert not asked
    assert wrapper.health_check_done
