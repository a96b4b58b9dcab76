"""People and groups: who may change them, what ends with them, and who stays an administrator."""

import json

import pytest
from django.contrib.auth.models import Group

from secrets_app.actions import Action
from secrets_app.models import Attachment, AuditEvent, Policy
from secrets_app.people import users
from secrets_app.policy import decisions, policies
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def nearly(dot):
    """Somebody who may do every action by a policy that is not KMS full access."""
    made = policies.create("nearly-all", policies.document(["kms:*"]), actor=dot.principal)
    user = factories.user("nell")
    policies.attach(made, user, actor=dot.principal)
    return user


@pytest.fixture
def operators(dot) -> Group:
    return users.create_group("operators", actor=dot.principal)


def events(action):
    return list(
        AuditEvent.objects.filter(action=action).order_by("sequence").values_list("details", flat=True)
    )


def test_who_joins_a_group_has_its_policies_and_loses_them_on_leaving(dot, ann, operators):
    rotate = policies.create("rotate", policies.document(["kms:RotateSecret"]), actor=dot.principal)
    policies.attach(rotate, operators, actor=dot.principal)
    secret = factories.secret()
    users.join(operators, [ann], actor=dot.principal)
    assert decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    users.leave(operators, ann, actor=dot.principal)
    assert not decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    assert events(Action.UPDATE_GROUP) == [{"joined": ["ann"]}, {"left": ["ann"]}]


def test_p_05_membership_takes_full_access_however_much_else_one_may(dot, ann, nearly, operators):
    administrators = Group.objects.get(name=users.ADMINISTRATORS)
    assert decisions.allows(nearly.principal, Action.UPDATE_GROUP, users.named(administrators))
    tries = [
        lambda: users.join(administrators, [nearly], actor=nearly.principal),
        lambda: users.join(operators, [ann], actor=nearly.principal),
        lambda: users.leave(administrators, dot, actor=nearly.principal),
        lambda: users.create_group("mine", actor=nearly.principal),
    ]
    for attempt in tries:
        with pytest.raises(decisions.NotAllowed):
            attempt()
    assert not nearly.groups.exists()
    assert not operators.members.exists()


def test_p_05_only_full_access_lets_a_disabled_person_in_again(dot, ann, nearly):
    users.disable(ann, actor=nearly.principal)
    with pytest.raises(decisions.NotAllowed):
        users.enable(ann, actor=nearly.principal)
    ann.refresh_from_db()
    assert not ann.is_active
    users.enable(ann, actor=dot.principal, reason="back from leave")
    ann.refresh_from_db()
    assert ann.is_active
    assert events(Action.DISABLE_USER) == [{"enabled": False}, {"enabled": True}]


def test_the_last_administrator_can_neither_be_disabled_nor_leave_the_group(dot, ann):
    administrators = Group.objects.get(name=users.ADMINISTRATORS)
    with pytest.raises(policies.LastAdministrator):
        users.disable(dot, actor=dot.principal)
    with pytest.raises(policies.LastAdministrator):
        users.leave(administrators, dot, actor=dot.principal)
    dot.refresh_from_db()
    assert dot.is_active
    assert policies.has_full_access(dot.principal)
    assert not events(Action.DISABLE_USER)
    users.join(administrators, [ann], actor=dot.principal)
    users.disable(dot, actor=ann.principal)
    assert not policies.has_full_access(dot.principal)


def test_who_may_not_disable_or_rename_changes_nobody(hal, aud, ann, dot):
    for actor in (hal, aud, ann):
        with pytest.raises(decisions.NotAllowed):
            users.disable(dot, actor=actor.principal)
        with pytest.raises(decisions.NotAllowed):
            users.rename(dot, "Nobody", actor=actor.principal)
    dot.refresh_from_db()
    assert dot.is_active
    assert dot.display_name == ""


def test_a_group_has_a_name_of_its_own_and_none_that_comes_with_the_product(dot, operators):
    for taken in ("operators", "Operators", "auditors", "Helpdesk"):
        with pytest.raises(users.NameTaken):
            users.create_group(taken, actor=dot.principal)
    for bad in ("", "a b", "a\nb", "x" * 65, "<b>"):
        with pytest.raises(users.BadName):
            users.create_group(bad, actor=dot.principal)


def test_attaching_twice_by_two_people_is_one_attachment(dot, ann):
    other = factories.user("eve", "administrators")
    made = policies.create("some", policies.document(["kms:ListSecrets"]), actor=dot.principal)
    policies.attach(made, ann, actor=dot.principal)
    policies.attach(made, ann, actor=other.principal)
    assert Attachment.objects.get(policy=made).attached_by == dot.principal


def test_joining_again_records_nothing_new(dot, ann, operators):
    users.join(operators, [ann], actor=dot.principal)
    users.join(operators, [ann], actor=dot.principal)
    users.leave(operators, ann, actor=dot.principal)
    users.leave(operators, ann, actor=dot.principal)
    assert len(events(Action.UPDATE_GROUP)) == 2


def test_a_policy_may_name_one_person(dot, ann, hal):
    account = users.named(ann).arn.split(":")[3]
    statement = {
        "Effect": "Allow",
        "Action": "kms:UpdateUser",
        "Resource": f"acs:kms:*:{account}:user/ann",
    }
    text = json.dumps({"Version": "1", "Statement": [statement]})
    policies.attach(policies.create("one", text, actor=dot.principal), hal, actor=dot.principal)
    users.rename(ann, "Ann Lee", actor=hal.principal)
    assert ann.display_name == "Ann Lee"
    with pytest.raises(decisions.NotAllowed):
        users.rename(dot, "Dot", actor=hal.principal)
    assert Policy.objects.get(name="one").kind == Policy.Kind.CUSTOM
