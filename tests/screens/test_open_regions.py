"""A region that no one has made: refused, or made with its first secret where the settings say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError

from console.management.commands import setup
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.models import Account, AuditEvent, Principal, Region, Secret, User
from secrets_app.people import access_keys, machines
from secrets_app.policy import policies
from tests import acs, factories, sigv4

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-1"
NEW = "eu-west-9"
Call = Callable[..., tuple[int, dict[str, Any]]]


class Clients:
    """The same key by both interfaces, in one region."""

    def __init__(self, principal: Principal, region: str) -> None:
        key, secret = access_keys.create(principal, actor=factories.administrator())
        self.aws: Call = sigv4.Signer(key.key_id, secret, region=region).call
        self.acs: Call = acs.Signer(key.key_id, secret, scheme="ACS4", region=region).call

    def create(self, way: str, name: str = "app/db", value: str = VALUE) -> tuple[int, dict[str, Any]]:
        if way == "aws":
            return self.aws("CreateSecret", Name=name, SecretString=value, ClientRequestToken="t" * 40)
        return self.acs("CreateSecret", SecretName=name, VersionId="v1", SecretData=value)

    def read(self, way: str, name: str = "app/db") -> tuple[int, dict[str, Any]]:
        if way == "aws":
            return self.aws("GetSecretValue", SecretId=name)
        return self.acs("GetSecretValue", SecretName=name)


def codes() -> set[str]:
    return set(Region.objects.values_list("code", flat=True))


@pytest.fixture
def is_open(settings) -> None:
    settings.OPEN_REGIONS = True


def give(to: Principal, region: str) -> None:
    """Allow `to` to make secrets in this region."""
    text = json.dumps(
        {
            "Version": "1",
            "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": f"acs:kms:{region}:*:secret/*"}],
        }
    )
    actor = factories.administrator()
    policies.attach(policies.create(f"in-{region}", text, actor=actor), to, actor=actor)


WAYS = pytest.mark.parametrize("way", ["aws", "acs"])


@WAYS
def test_a_region_that_is_not_there_is_refused_and_not_made(dot, way):
    clients = Clients(dot.principal, NEW)
    assert clients.create(way)[0] == (400 if way == "aws" else 404)
    assert codes() == {"main"}


@pytest.mark.usefixtures("is_open")
@WAYS
def test_an_open_region_is_empty_until_its_first_secret_is_made(dot, way):
    clients = Clients(dot.principal, NEW)
    status, answer = clients.read(way)
    assert (status, answer.get("__type") or answer["Code"]) == (
        (400, "ResourceNotFoundException") if way == "aws" else (404, "Forbidden.ResourceNotFound")
    )
    listed = clients.aws("ListSecrets")[1] if way == "aws" else clients.acs("ListSecrets")[1]
    assert not (listed["SecretList"]["Secret"] if way == "acs" else listed["SecretList"])
    assert codes() == {"main"}

    assert clients.create(way)[0] == 200
    secret = Secret.objects.get()
    assert (secret.region.code, codes()) == (NEW, {"main", NEW})
    value = clients.read(way)[1]
    assert (value.get("SecretString") or value["SecretData"]) == VALUE
    made = AuditEvent.objects.get(action=Action.CREATE_REGION)
    assert (made.actor_id, made.outcome) == (dot.principal.pk, "succeeded")
    assert clients.create(way, "app/next")[0] == 200
    assert codes() == {"main", NEW}


@pytest.mark.usefixtures("is_open")
@WAYS
def test_who_may_not_make_the_secret_makes_no_region(dot, way):
    robot = machines.create("robot", actor=dot.principal)
    clients = Clients(robot, NEW)
    assert clients.create(way)[0] == (400 if way == "aws" else 403)
    give(robot, "main")
    assert clients.create(way)[0] == (400 if way == "aws" else 403)
    assert codes() == {"main"}
    assert not AuditEvent.objects.filter(action=Action.CREATE_REGION, outcome="succeeded").exists()
    give(robot, NEW)
    assert clients.create(way)[0] == 200
    assert codes() == {"main", NEW}


@pytest.mark.usefixtures("is_open")
@WAYS
def test_a_secret_that_cannot_be_made_leaves_no_region(dot, way, monkeypatch):
    def fail(*args: Any, **given: Any) -> None:
        raise regions.Retired("in the middle of it")

    monkeypatch.setattr("secrets_app.secrets.lifecycle.regions.hold", fail)
    assert Clients(dot.principal, NEW).create(way)[0] == 400
    assert codes() == {"main"}
    assert not Secret.objects.exists()


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize("name", ["all", "retired-1", "-west", "x" * 41])
@WAYS
def test_no_region_is_made_of_a_name_that_none_can_have_or_of_a_retired_one(dot, way, name):
    retired = factories.region("retired-1")
    regions.retire(retired, actor=dot.principal)
    assert Clients(dot.principal, name).create(way)[0] in {400, 404}
    assert codes() == {"main", "retired-1"}


@pytest.mark.usefixtures("is_open")
def test_of_two_first_writes_at_once_the_second_one_finds_the_region(dot, monkeypatch):
    """As it is while another request is about to commit: looked up and not there, then taken."""
    waiting = regions.not_yet(NEW)
    other = factories.region(NEW)
    assert regions.opened(waiting, actor=dot.principal) == other
    create = regions.create

    def late(code: str, name: str, *, actor: Principal) -> Region:
        create(code, name, actor=actor)
        raise regions.CodeTaken

    monkeypatch.setattr(regions, "create", late)
    waiting = regions.not_yet("us-west-9")
    assert regions.opened(waiting, actor=dot.principal) == Region.objects.get(code="us-west-9")


# ---------------------------------------------------------------- the account's number


@pytest.mark.parametrize(
    ("number", "short", "long"),
    [
        ("123456789012", "123456789012", "0000123456789012"),
        ("1234567890123456", "567890123456", "1234567890123456"),
    ],
)
def test_an_arn_with_12_or_16_digits_is_of_this_account(dot: User, number, short, long):
    account = regions.account()
    Account.objects.filter(pk=account.pk).update(number=number)
    account = Account.objects.get()
    assert account.short_number == short
    assert account.is_called(short)
    assert account.is_called(long)
    assert not account.is_called("999999999999")
    assert not account.is_called(f"9999{short}") or long == f"9999{short}"


def test_an_account_keeps_its_number(settings, dot):
    number = regions.account().number
    settings.ACCOUNT_NUMBER = "123456789012"
    with pytest.raises(CommandError, match=f"KEYTURN_ACCOUNT is 123456789012, and .* is {number}"):
        setup._require_account()
    assert regions.account().number == number
    settings.ACCOUNT_NUMBER = number
    setup._require_account()
