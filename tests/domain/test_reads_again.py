"""A value that a program asks for again and again: decided by what is kept, and by nothing that has changed.

On PostgreSQL, where rows are kept. On SQLite the same is asked, and the database is read each time.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotation.managed import deletion
from secrets_app import keyring, seals
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.keys import key_states
from secrets_app.models import (
    AccessKey,
    AuditEvent,
    Label,
    Policy,
    Principal,
    Region,
    SealedValue,
    Secret,
    SecretVersion,
)
from secrets_app.people import access_keys, machines, users
from secrets_app.policy import grants, policies
from secrets_app.secrets import digests, generic, reads, remembered, resource_policies, versions
from tests import acs, factories, sigv4
from tests.domain.test_statements import counting
from tests.statements import allow, deny

pytestmark = pytest.mark.django_db(transaction=True)
NAME, VALUE = "app/db", "correct-horse-1"
IS_KEPT = connection.vendor == "postgresql"
_numbers = itertools.count(1)


class World:
    """A machine with an access key, its group, and two secrets; and what may happen to them."""

    def __init__(self, face: str = "aws") -> None:
        self.face = face
        self.admin = factories.administrator()
        self.secret = factories.generic_secret(name=NAME, value=VALUE)
        self.robot = machines.create(f"robot-{next(_numbers)}", actor=self.admin)
        self.group = users.create_group(f"team-{next(_numbers)}", actor=self.admin)
        self.key, secret = access_keys.create(self.robot, actor=self.admin)
        self.aws = sigv4.Signer(self.key.key_id, secret)
        self.alibaba = acs.Signer(self.key.key_id, secret, scheme="ACS3" if face == "aws" else face)
        self.policy = self.given(allow("kms:GetSecretValue"))

    def given(self, *statements: dict[str, Any], to: Any = None) -> Policy:
        text = json.dumps({"Version": "1", "Statement": list(statements)})
        policy = policies.create(f"given-{next(_numbers)}", text, actor=self.admin)
        policies.attach(policy, to or self.robot, actor=self.admin)
        return policy

    def read(self, **asked: str) -> tuple[int, dict[str, Any]]:
        if self.face == "aws":
            return self.aws.call("GetSecretValue", **{"SecretId": NAME, **asked})
        status, answer = self.alibaba.call("GetSecretValue", **{"SecretName": NAME, **asked})
        return status, {name: text for name, text in answer.items() if name != "RequestId"}

    def warm(self) -> None:
        for _ in range(3):
            assert shown(self.read()) == VALUE
        assert (remembered.key(self.key.key_id) is not None) == IS_KEPT

    # What may happen: each by the function of the domain, or by an SQL client.

    def key_disabled(self) -> None:
        access_keys.disable(AccessKey.objects.get(pk=self.key.pk), actor=self.admin)

    def key_enabled(self) -> None:
        access_keys.enable(AccessKey.objects.get(pk=self.key.pk), actor=self.admin)

    def key_expired(self) -> None:
        AccessKey.objects.filter(pk=self.key.pk).update(expires_at=timezone.now() - timedelta(days=1))

    def key_expires_later(self) -> None:
        AccessKey.objects.filter(pk=self.key.pk).update(expires_at=timezone.now() + timedelta(days=1))

    def key_of_another_network(self) -> None:
        AccessKey.objects.filter(pk=self.key.pk).update(networks=["10.0.0.0/8"])

    def key_of_any_network(self) -> None:
        AccessKey.objects.filter(pk=self.key.pk).update(networks=[])

    def key_changed_outside(self) -> None:
        outside(AccessKey, key_id=self.key.key_id, seal="forged")

    def machine_disabled(self) -> None:
        machines.disable(Principal.objects.get(pk=self.robot.pk), actor=self.admin)

    def machine_enabled(self) -> None:
        machines.enable(Principal.objects.get(pk=self.robot.pk), actor=self.admin)

    def denied(self) -> None:
        self.given(deny("kms:GetSecretValue"))

    def denied_to_the_group(self) -> None:
        self.given(deny("kms:GetSecretValue"), to=self.group)

    def joined(self) -> None:
        users.join(Group.objects.get(pk=self.group.pk), [self.robot], actor=self.admin)

    def left(self) -> None:
        users.leave(Group.objects.get(pk=self.group.pk), self.robot, actor=self.admin)

    def allowed_here_only(self) -> None:
        text = {"IpAddress": {"acs:SourceIp": ["10.9.9.0/24"]}}
        self.given(deny("kms:GetSecretValue", Condition=text))

    def denied_over_plain_http(self) -> None:
        self.given(deny("kms:GetSecretValue", Condition={"Bool": {"acs:SecureTransport": ["false"]}}))

    def denied_by_tag(self) -> None:
        self.given(deny("kms:GetSecretValue", Condition={"StringEquals": {"kms:tag/env": ["prod"]}}))

    def needs_a_reason(self) -> None:
        self.given(deny("kms:GetSecretValue", Condition={"StringNotLike": {"kms:Reason": ["INC-*"]}}))

    def policy_detached(self) -> None:
        policies.detach(self.policy, self.robot, actor=self.admin)

    def policy_changed_outside(self) -> None:
        outside(Policy, name=self.policy.name, document=self.policy.document + " ")

    def granted(self) -> None:
        grants.grant(self.now, self.robot, [Action.GET_SECRET_VALUE], actor=self.admin)

    def denied_by_the_secret(self) -> None:
        statement = {
            "Effect": "Deny",
            "Principal": {"AWS": f"arn:aws:iam::{self.now.account.short_number}:user/{self.robot.name}"},
            "Action": "secretsmanager:GetSecretValue",
            "Resource": "*",
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        resource_policies.put(self.now, text, actor=self.admin)

    def secret_says_nothing(self) -> None:
        if self.now.resource_policy:
            resource_policies.delete(self.now, actor=self.admin)

    def renewed(self) -> None:
        value = versions.given(self.now, "", Plaintext(f"another-value-{next(_numbers)}"))
        generic.put(self.now, value, actor=self.admin, version_id=str(uuid.uuid4()))

    def gone_back(self) -> None:
        previous = Label.objects.filter(secret=self.secret, role=Label.Role.PREVIOUS).first()
        current = Label.objects.get(secret=self.secret, role=Label.Role.CURRENT)
        if previous:
            generic.move_label(
                self.now, "current", actor=self.admin,
                remove_from=current.version.version_id, to=previous.version.version_id,
            )  # fmt: skip

    def deletion_planned(self) -> None:
        if self.now.is_enabled:
            deletion.plan_deletion(self.now, actor=self.admin)

    def restored(self) -> None:
        if self.now.is_pending_deletion:
            deletion.restore(self.now, actor=self.admin)

    def made_anew(self) -> None:
        if self.now.is_enabled:
            deletion.purge(self.now, actor=self.admin)
            self.secret = factories.generic_secret(name=NAME, value=f"a-new-secret-{next(_numbers)}")

    def encryption_key_disabled(self) -> None:
        key_states.disable(keyring.default_key(), actor=self.admin)

    def encryption_key_enabled(self) -> None:
        key_states.enable(keyring.default_key(), actor=self.admin)

    def sealed_under_another(self) -> None:
        version = key_states.new_version(keyring.default_key(), actor=self.admin)
        for sealed in SealedValue.objects.filter(owner_id__in=[self.secret.pk, self.robot.pk]):
            keyring.rewrap(sealed, version)

    def version_destroyed(self) -> None:
        SecretVersion.objects.filter(secret=self.secret).update(sealed=None, destroyed_at=timezone.now())

    def region_changed_outside(self) -> None:
        outside(Region, code="main", seal="forged")

    @property
    def now(self) -> Secret:
        rows = Secret.objects.select_related("region", "account").filter(name=NAME)
        return rows.order_by("-created_at")[0]


ONCE = [
    "key_disabled", "key_expired", "key_of_another_network", "key_changed_outside", "machine_disabled",
    "denied", "allowed_here_only", "denied_over_plain_http", "denied_by_tag", "needs_a_reason",
    "policy_detached", "policy_changed_outside", "denied_by_the_secret", "renewed", "deletion_planned",
    "made_anew", "encryption_key_disabled", "sealed_under_another", "version_destroyed",
    "region_changed_outside",
]  # fmt: skip
REFUSES = set(ONCE) - {"allowed_here_only", "renewed", "made_anew", "sealed_under_another"}


def shown(answer: tuple[int, dict[str, Any]]) -> str:
    return str(answer[1].get("SecretString") or answer[1].get("SecretData"))


def outside(table: type[seals.SealedRow], **given: str) -> None:
    """Change the rows of a table as an SQL client does: no seal follows."""
    (by, named), (column, value) = given.items()
    rows = QuerySet(table).filter(**{by: named})
    assert rows.update(**{column: value})


def last_read() -> tuple[Any, ...]:
    """The event of the last read, but for what is of one request alone."""
    event = AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE).order_by("-sequence")[0]
    of_one = {"sequence", "at", "mac", "request_id"}
    return tuple(getattr(event, f.attname) for f in AuditEvent._meta.concrete_fields if f.name not in of_one)


def as_kept_and_as_read(world: World, **asked: str) -> tuple[int, dict[str, Any]]:
    """Read by what is kept, then by the database alone: the answers are the same, and so are the events."""
    found, event = world.read(**asked), last_read()
    remembered.forget()
    assert world.read(**asked) == found
    assert last_read() == event
    return found


@pytest.fixture
def world() -> Iterator[World]:
    remembered.forget()
    yield World()
    remembered.forget()


def test_a_read_of_what_is_kept_asks_nothing_before_its_transaction(world, monkeypatch):
    world.warm()
    with counting(monkeypatch) as counted:
        assert world.read()[1]["SecretString"] == VALUE
    # The head of the trail with the time, the digests, the event, and the head again.
    most = 4 if IS_KEPT else 10
    asked = [text for text in counted.statements if text != "SELECT 1"]
    assert len(asked) <= most, "\n".join(asked)
    assert counted.commits == 1


@pytest.mark.parametrize("asked", [{}, {"VersionStage": "AWSCURRENT"}], ids=["plain", "stage"])
def test_the_answer_and_the_event_are_those_of_a_read_from_the_database(world, asked):
    world.warm()
    status, answer = as_kept_and_as_read(world, **asked)
    assert (status, answer["SecretString"]) == (200, VALUE)


@pytest.mark.parametrize("change", ONCE)
def test_what_has_changed_counts_for_the_next_read(world, change):
    world.warm()
    getattr(world, change)()
    status, answer = as_kept_and_as_read(world)
    assert (status >= 400) == (change in REFUSES), answer
    if change in {"renewed", "made_anew"}:
        assert answer["SecretString"] != VALUE


@pytest.mark.parametrize("change", ONCE)
def test_what_changes_after_the_decision_and_before_the_record_counts_too(world, change, monkeypatch):
    """As another process would change it at that moment."""
    world.warm()
    record, done = reads.record, list[str]()

    def changed(*given: Any, proofs: Any = (), **more: Any) -> Any:
        if proofs and not done:
            done.append(change)
            getattr(world, change)()
        return record(*given, proofs=proofs, **more)

    monkeypatch.setattr(reads, "record", changed)
    status, answer = world.read()
    assert bool(done) == IS_KEPT
    if IS_KEPT:
        assert (status >= 400) == (change in REFUSES), answer
        assert change not in {"renewed", "made_anew"} or answer["SecretString"] != VALUE
    remembered.forget()
    assert not done or world.read() == (status, answer)


def test_what_is_kept_and_its_digest_are_of_one_moment(world, monkeypatch):
    """Else a digest of what came later would prove what was read before."""
    assert shown(world.read()) == VALUE
    proofs, done = digests.proofs, list[str]()

    def disabled() -> None:
        world.key_disabled()
        connection.close()

    def changed(*given: Any) -> Any:
        if not done:
            done.append("disabled")
            thread = threading.Thread(target=disabled)
            thread.start()
            thread.join()
        return proofs(*given)

    monkeypatch.setattr(digests, "proofs", changed)
    assert shown(world.read()) == VALUE  # and is kept
    assert bool(done) == IS_KEPT
    if not IS_KEPT:
        world.key_disabled()
    assert world.read()[0] == 400


@pytest.mark.parametrize("face", ["aws", "ACS3"])
def test_only_who_has_the_secret_reads_what_is_kept(face):
    world = World(face)
    world.warm()
    world.aws.secret = world.alibaba.secret = "another-secret"
    assert as_kept_and_as_read(world)[0] >= 400


def test_a_key_that_is_kept_expires(world):
    AccessKey.objects.filter(pk=world.key.pk).update(expires_at=timezone.now() + timedelta(hours=1))
    world.warm()
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert as_kept_and_as_read(world)[0] == 400


STEPS = [
    *ONCE, "key_enabled", "key_expires_later", "key_of_any_network", "machine_enabled", "joined", "left",
    "denied_to_the_group", "granted", "secret_says_nothing", "gone_back", "restored",
    "encryption_key_enabled",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(st.lists(st.sampled_from(sorted(set(STEPS) - {"region_changed_outside"})), min_size=2, max_size=7))
def test_whatever_happens_kept_rows_answer_as_the_database_does(steps):
    remembered.forget()
    Secret.objects.filter(name=NAME, purged_at=None).update(name=f"before-{next(_numbers)}")
    with enabled_afterwards():
        world = World()
        world.warm()
        for step in steps:
            with refusing_as_the_domain_does():
                getattr(world, step)()
            for _ in range(2):  # learned again
                as_met = world.read()
            assert as_kept_and_as_read(world) == as_met


@contextmanager
def enabled_afterwards() -> Iterator[None]:
    try:
        yield
    finally:
        with refusing_as_the_domain_does():
            key_states.enable(keyring.default_key(), actor=factories.administrator())


@contextmanager
def refusing_as_the_domain_does() -> Iterator[None]:
    """A step that cannot be taken now is none."""
    with suppress(DomainError):
        yield


OF_ALIBABA = ["key_disabled", "denied", "renewed", "deletion_planned", "encryption_key_disabled", "made_anew"]


@pytest.mark.parametrize("face", ["HMAC-SHA1", "ACS3", "ACS4"])
def test_the_other_interface_decides_by_what_is_kept_too(face, monkeypatch):
    world = World(face)
    world.warm()
    with counting(monkeypatch) as counted:
        assert shown(world.read()) == VALUE
    # As by the first one; and the nonce, in the same transaction.
    most = 5 if IS_KEPT else 12
    assert counted.commits == (1 if IS_KEPT else 2)
    asked = [text for text in counted.statements if text != "SELECT 1" and "DELETE" not in text]
    assert len(asked) <= most, "\n".join(asked)
    assert as_kept_and_as_read(world)[0] == 200
    assert as_kept_and_as_read(world, VersionStage="ACSCurrent")[0] == 200
    assert as_kept_and_as_read(world, VersionStage="ACSPending")[0] == 404


@pytest.mark.parametrize("change", OF_ALIBABA)
def test_what_has_changed_counts_for_the_next_read_by_the_other_interface(change):
    world = World("ACS3")
    world.warm()
    getattr(world, change)()
    status, answer = as_kept_and_as_read(world)
    assert (status >= 400) == (change in REFUSES), answer
    assert change not in {"renewed", "made_anew"} or shown((status, answer)) != VALUE


def test_a_nonce_counts_once_where_a_read_is_decided_by_what_is_kept():
    world = World("ACS3")
    world.warm()
    sent = world.alibaba.signed("GetSecretValue", {"SecretName": NAME})
    answers = [world.alibaba.send(*sent) for _ in range(3)]
    assert [answer.status_code == 200 for answer in answers] == [True, False, False]
    assert "nonce" in answers[1].json()["Message"].lower()


def test_of_many_that_send_one_request_at_once_one_is_answered():
    world = World("ACS3")
    world.warm()
    sent = world.alibaba.signed("GetSecretValue", {"SecretName": NAME})

    def send(_: int) -> int:
        try:
            return int(world.alibaba.send(*sent).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(send, range(6)))
    assert statuses.count(200) == 1, statuses
    read = AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE, outcome=AuditEvent.Outcome.SUCCEEDED)
    assert read.count() == 4  # three before it


def test_a_call_that_is_asked_again_of_the_database_uses_its_nonce_once(monkeypatch):
    world = World("ACS3")
    world.warm()
    record, done = reads.record, list[bool]()

    def changed(*given: Any, proofs: Any = (), **more: Any) -> Any:
        if proofs and not done:
            done.append(True)
            world.renewed()
        return record(*given, proofs=proofs, **more)

    monkeypatch.setattr(reads, "record", changed)
    status, answer = world.read()
    assert status == 200, answer
    assert bool(done) == IS_KEPT
    assert (shown((status, answer)) != VALUE) == IS_KEPT


@pytest.mark.parametrize(("change", "stay"), [("key_expires_later", "secret"), ("renewed", "key")])
def test_only_what_has_changed_is_learned_anew(world, change, stay):
    world.warm()
    region = world.secret.region
    kept = {"key": remembered.key(world.key.key_id), "secret": remembered.secret(region, NAME)}
    getattr(world, change)()
    for _ in range(2):
        assert world.read()[0] == 200
    now = {"key": remembered.key(world.key.key_id), "secret": remembered.secret(region, NAME)}
    assert now[stay] is kept[stay]
    assert (now != kept) == IS_KEPT


def test_a_digest_is_of_every_column_but_those_that_a_read_changes(world):
    """So one that is added later counts, too."""
    if not IS_KEPT:
        assert remembered.key(world.key.key_id) is None
        return
    for table in (AccessKey, Principal, Policy, Region, SecretVersion, Label):
        for field in table._meta.concrete_fields:
            assert f'"{field.column}"' in digests._SQL, field
    missing = [f.name for f in Secret._meta.concrete_fields if f's."{f.column}"' not in digests._SQL]
    assert missing == ["last_read_at", "last_read_by"]


def test_no_more_is_kept_than_there_are_places_for():
    shelf: remembered._Shelf[int] = remembered._Shelf(3)
    for number in range(10):
        shelf.put(str(number), number)
        shelf.get("7")
    assert len(shelf) == 3
    assert shelf.get("9") == 9
    assert shelf.get("7") == 7
    assert shelf.get("1") is None


def test_a_large_value_is_read_from_the_database_each_time(world, monkeypatch):
    large = "v" * (remembered.SEALED_BYTES_AT_MOST + 1)
    value = versions.given(world.now, "", Plaintext(large))
    generic.put(world.now, value, actor=world.admin, version_id=str(uuid.uuid4()))
    for _ in range(4):
        assert world.read()[1]["SecretString"] == large
    region = world.now.region
    assert remembered.secret(region, NAME) is None
    with counting(monkeypatch) as counted:
        world.read()
    assert not [text for text in counted.statements if "REPEATABLE READ" in text]  # nor tried each time


def test_a_read_is_answered_where_nothing_can_be_kept(world, monkeypatch):
    tried = list[str]()

    def away(*_: Any) -> None:
        tried.append("learned")
        raise OperationalError("the database is away")

    monkeypatch.setattr(remembered, "_in_one_snapshot", away)
    for _ in range(3):
        assert shown(world.read()) == VALUE
    assert bool(tried) == IS_KEPT
