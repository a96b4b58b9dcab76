"""A machine has a principal and no user; the same policies and grants decide for it as for a person."""

from __future__ import annotations

import itertools
import json

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from secrets_app import origin
from secrets_app.actions import Action
from secrets_app.integrity import seal_check
from secrets_app.models import AuditEvent, Principal, Secret, SecretPrincipalGrant
from secrets_app.people import invitations, machines, users
from secrets_app.policy import decisions, grants, policies, reach
from tests import factories
from tests.domain.test_seals import written

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
GET, DESCRIBE, ROTATE = Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET, Action.ROTATE_SECRET
_numbers = itertools.count()


@pytest.fixture
def secret(open_keyring) -> Secret:
    return factories.secret(initial="a-first-password-1", tags={"team": "a"})


@pytest.fixture
def robot(db) -> Principal:
    return machines.create("robot", actor=factories.administrator())


def give(to, *actions: str, effect: str = "Allow", on: str = "*", **condition: object) -> None:
    statement = {"Effect": effect, "Action": [str(action) for action in actions], "Resource": on}
    if condition:
        statement["Condition"] = condition
    admin = factories.administrator()
    text = json.dumps({"Version": "1", "Statement": [statement]})
    policies.attach(policies.create(f"given-{next(_numbers)}", text, actor=admin), to, actor=admin)


def listed(principal: Principal, action: Action) -> set[Secret]:
    """What a list shows, which is what the decision allows one by one."""
    rows = Secret.objects.filter(decisions.visible(principal, action, decisions.secret_rows()))
    assert set(rows) == {row for row in Secret.objects.all() if decisions.allows(principal, action, row)}
    return set(rows)


def test_a_machine_may_do_nothing_until_something_allows_it(robot, secret):
    decision = decisions.decide(robot, GET, secret)
    assert not decision.allowed
    assert "robot" in decision.because
    assert listed(robot, DESCRIBE) == set()


@pytest.mark.both_stores
def test_a_policy_allows_a_machine_what_it_says_and_a_deny_is_stronger(robot, secret):
    other = factories.secret()
    give(robot, GET, DESCRIBE, on=secret.arn)
    assert decisions.allows(robot, GET, secret)
    assert listed(robot, DESCRIBE) == {secret}
    assert not decisions.allows(robot, GET, other)
    give(robot, GET, effect="Deny")
    assert not decisions.allows(robot, GET, secret)
    assert listed(robot, GET) == set()
    assert listed(robot, DESCRIBE) == {secret}


@pytest.mark.both_stores
def test_the_conditions_of_a_policy_hold_for_a_machine(robot, secret):
    factories.secret(tags={"team": "b"})
    give(robot, DESCRIBE, IpAddress={"acs:SourceIp": "10.0.0.0/8"}, StringEquals={"kms:tag/team": "a"})
    with origin.bind(address="10.1.1.1", is_secure=True, is_mfa=False):
        assert listed(robot, DESCRIBE) == {secret}
    with origin.bind(address="192.0.2.1", is_secure=True, is_mfa=False):
        assert listed(robot, DESCRIBE) == set()


def test_a_group_gives_a_machine_its_policies_and_grants_as_long_as_it_is_a_member(robot, secret):
    admin = factories.administrator()
    office = users.create_group("office", actor=admin)
    give(office, DESCRIBE)
    grants.grant(secret, office, [GET], actor=admin)
    users.join(office, [robot], actor=admin)
    assert listed(robot, DESCRIBE) == {secret}
    assert listed(robot, GET) == {secret}
    users.leave(office, robot, actor=admin)
    assert listed(robot, DESCRIBE) == listed(robot, GET) == set()


def test_a_grant_gives_a_machine_one_secret_until_it_is_revoked(robot, secret):
    factories.secret()
    admin = factories.administrator()
    grants.grant(secret, robot, [GET], actor=admin)
    assert listed(robot, GET) == {secret}
    assert "a grant on this secret to this machine" in decisions.decide(robot, GET, secret).because
    grants.revoke(secret, robot, [GET], actor=admin)
    assert listed(robot, GET) == set()


def test_a_machine_grants_neither_to_itself_nor_to_its_group(robot, secret):
    admin = factories.administrator()
    office = users.create_group("office", actor=admin)
    users.join(office, [robot], actor=admin)
    give(robot, Action.CREATE_GRANT, GET)
    for to in (robot, office):
        with pytest.raises(grants.ToOneself):
            grants.grant(secret, to, [GET], actor=robot)
    ann = factories.user("ann")
    grants.grant(secret, ann, [GET], actor=robot)
    assert decisions.allows(ann.principal, GET, secret)


def test_who_reaches_a_secret_names_a_machine_too(robot, secret):
    give(robot, GET, on=secret.arn)
    found = {right.principal for right in reach.Everybody([secret]).with_rights(secret, [GET])}
    assert robot in found


def test_only_a_machine_acts_without_a_user(robot, secret):
    nobody = Principal.objects.create(kind=Principal.Kind.USER, name="nobody")
    for principal in (robot, nobody):
        give(principal, GET)
    assert decisions.allows(robot, GET, secret)
    assert not decisions.allows(nobody, GET, secret)
    assert listed(nobody, GET) == set()


@pytest.mark.both_stores
def test_a_disabled_user_whose_principal_was_made_a_machine_in_the_database_has_no_right(secret):
    eve = factories.user("eve")
    give(eve, GET)
    users.disable(eve, actor=factories.administrator())
    written(Principal).filter(pk=eve.principal.pk).update(kind=Principal.Kind.MACHINE, user=None)
    changed = Principal.objects.get(pk=eve.principal.pk)
    assert not decisions.allows(changed, GET, secret)
    assert listed(changed, GET) == set()


def test_what_was_written_for_a_machine_gives_nothing_and_is_named(robot, secret):
    members = Principal.groups.through
    group = Group.objects.get(name=users.ADMINISTRATORS)
    written(members).bulk_create([members(principal=robot, group=group)])
    assert not decisions.allows(robot, GET, secret)
    assert [one.name for one in seal_check.broken()] == [f"rights:{robot.pk}"]


def test_a_machine_with_full_access_is_not_the_last_administrator(robot, secret):
    admin = factories.administrator()
    administrators = Group.objects.get(name=users.ADMINISTRATORS)
    users.join(administrators, [robot], actor=admin)
    assert policies.has_full_access(robot)
    give(factories.user("ann"), ROTATE)
    with pytest.raises(policies.LastAdministrator):
        users.leave(administrators, admin.user, actor=admin)


def test_the_grants_of_a_purged_secret_end_for_a_machine_too(robot, secret):
    grants.grant(secret, robot, [GET], actor=factories.administrator())
    assert grants.end_all(secret) == 1
    assert not SecretPrincipalGrant.objects.exists()


# ---------------------------------------------------------------- made, disabled, enabled


def events(action: Action, machine: Principal) -> list[tuple[str, str, dict[str, object]]]:
    rows = AuditEvent.objects.filter(action=action, resource_id=machine.pk).order_by("sequence")
    return [(row.outcome, row.resource.rpartition(":")[2], row.details) for row in rows]


def test_a_machine_is_made_without_a_right_and_recorded(robot, secret):
    assert (robot.kind, robot.user, robot.is_active) == (Principal.Kind.MACHINE, None, True)
    assert not robot.groups.exists()
    assert events(Action.CREATE_USER, robot) == [("succeeded", "user/robot", {"kind": "machine"})]


@pytest.mark.both_stores
@pytest.mark.parametrize("name", ["robot", "ROBOT", "ann", "Ann", "nia", "keyturn", "Keyturn"])
def test_a_name_belongs_to_one_machine_or_user_or_invited_person(name, robot):
    admin = factories.administrator()
    factories.user("ann")
    invitations.invite("nia", actor=admin)
    before = AuditEvent.objects.count()
    with pytest.raises(machines.NameTaken):
        machines.create(name, actor=admin)
    assert (AuditEvent.objects.count(), Principal.objects.filter(kind="machine").count()) == (before, 1)


@pytest.mark.both_stores
def test_no_person_gets_the_name_of_a_machine(robot):
    with pytest.raises(invitations.NameTaken):
        invitations.invite("Robot", actor=factories.administrator())
    with pytest.raises(IntegrityError), transaction.atomic():
        factories.user("Robot")


def test_of_two_machines_made_at_once_with_one_name_one_is_made(robot, monkeypatch):
    monkeypatch.setattr(users, "is_name_taken", lambda name: False)
    with pytest.raises(machines.NameTaken):
        machines.create("Robot", actor=factories.administrator())


@pytest.mark.parametrize("name", ["", "a b", "a/b", "*", "a" * 65, "ü", "robot\n"])
def test_a_machines_name_can_stand_in_a_policy(name):
    with pytest.raises(machines.BadName):
        machines.create(name, actor=factories.administrator())


def test_to_make_a_machine_is_a_right(robot):
    ann = factories.user("ann")
    with pytest.raises(decisions.NotAllowed):
        machines.create("other", actor=ann.principal)
    give(ann, Action.CREATE_USER)
    assert machines.create("other", actor=ann.principal).name == "other"


def test_a_disabled_machine_has_no_right_until_it_is_enabled(robot, secret):
    admin = factories.administrator()
    give(robot, GET, DESCRIBE)
    machines.disable(robot, actor=admin, reason="left behind")
    for found in (robot, Principal.objects.get(pk=robot.pk)):
        assert decisions.decide(found, GET, secret).because == "This machine is disabled."
        assert listed(found, DESCRIBE) == set()
        assert not decisions.may_somewhere(found, Action.LIST_SECRETS)
    assert robot not in {right.principal for right in reach.Everybody([secret]).with_rights(secret, [GET])}
    machines.disable(robot, actor=admin)
    machines.enable(robot, actor=admin)
    assert listed(robot, DESCRIBE) == {secret}
    assert [details for _, _, details in events(Action.DISABLE_USER, robot)] == [
        {"enabled": False},
        {"enabled": True},
    ]


def test_a_disabled_machine_with_full_access_has_none(robot):
    admin = factories.administrator()
    users.join(Group.objects.get(name=users.ADMINISTRATORS), [robot], actor=admin)
    machines.disable(robot, actor=admin)
    assert not policies.has_full_access(robot)


def test_a_machine_that_was_enabled_in_the_database_only_has_no_right(robot, secret):
    give(robot, GET)
    machines.disable(robot, actor=factories.administrator())
    written(Principal).filter(pk=robot.pk).update(is_active=True)
    assert not decisions.allows(Principal.objects.get(pk=robot.pk), GET, secret)


def test_to_let_a_machine_in_again_takes_full_access(robot):
    ann = factories.user("ann")
    give(ann, Action.DISABLE_USER)
    machines.disable(robot, actor=ann.principal)
    with pytest.raises(decisions.NotAllowed):
        machines.enable(robot, actor=ann.principal)
    assert not Principal.objects.get(pk=robot.pk).is_active


def test_only_a_machine_is_disabled_as_one(robot):
    ann = factories.user("ann")
    with pytest.raises(machines.NotAMachine):
        machines.disable(ann.principal, actor=factories.administrator())
    assert decisions.decide(ann.principal, GET).because != "This machine is disabled."
