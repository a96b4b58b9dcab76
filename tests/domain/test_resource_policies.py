"""The policy of one secret: who may set it, what it decides beside the policies of users, what it cannot."""

import json
from uuid import uuid4

import pytest
from django.db import connection

from rotation.managed import deletion
from secrets_app import origin, seals
from secrets_app.actions import Action
from secrets_app.models import AuditEvent, PolicyRevision, Principal, Secret, User
from secrets_app.people import machines
from secrets_app.policy import decisions, grants, policies, ram_documents, reach, resource_documents
from secrets_app.secrets import lifecycle, resource_policies
from tests import factories
from tests.statements import allow, give

pytestmark = pytest.mark.django_db
READ, LOOK = "kms:GetSecretValue", "kms:DescribeSecret"
OF_USE = (READ, LOOK, "kms:ListGrants", "kms:SetSecretPolicy")


@pytest.fixture
def secret(open_keyring) -> Secret:
    return factories.generic_secret(value="a-value-1")


@pytest.fixture
def bea(dot) -> User:
    return factories.user("bea")


def fresh(secret: Secret) -> Secret:
    return Secret.objects.select_related("region__account", "account").get(pk=secret.pk)


def whom(name: str, secret: Secret) -> str:
    return f"arn:aws:iam::{secret.account.number[-12:]}:user/{name}"


def statement(effect, *actions, to, **more):
    return {"Effect": effect, "Principal": to, "Action": list(actions), "Resource": "*", **more}


def put(secret: Secret, *statements, **more) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    resource_policies.put(secret, text, actor=more.pop("actor", factories.administrator()), **more)


def may(user: User, secret: Secret, action: str = READ) -> bool:
    return decisions.allows(user.principal, action, fresh(secret))


def listed(user: User, action: Action = Action.DESCRIBE_SECRET) -> set[Secret]:
    return set(Secret.objects.filter(decisions.visible(user.principal, action, decisions.secret_rows())))


# ---------------------------------------------------------------- what it cannot do


def test_a_policy_that_was_written_to_the_database_by_hand_gives_no_right(secret, ann, dot):
    text = json.dumps({"Version": "1", "Statement": [statement("Allow", "*", to="*")]})
    kept = resource_documents.stored(text, {})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE secrets_app_secret SET resource_policy = %s", [kept])
    assert not may(ann, secret)
    decision = decisions.decide(dot.principal, READ, fresh(secret))
    assert (decision.allowed, decision.because) == (False, seals.SENTENCE)


def test_a_deny_that_was_taken_out_of_the_database_by_hand_frees_nobody(secret, ann, dot):
    give(ann, "reads", allow(READ, LOOK), actor=dot)
    put(secret, statement("Deny", READ, to="*"))
    assert not may(ann, secret)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE secrets_app_secret SET resource_policy = NULL")
    assert not may(ann, secret)


def test_a_policy_and_its_seal_put_on_another_secret_close_that_one(secret, ann):
    put(secret, statement("Allow", READ, to="*"))
    other = factories.generic_secret(name="other", value="another-value-1")
    row = fresh(secret)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE secrets_app_secret SET resource_policy = %s, seal = %s WHERE name = 'other'",
            [row.resource_policy, row.seal],
        )
    assert may(ann, secret)
    assert not may(ann, other)


def test_a_user_of_the_same_name_who_comes_later_is_not_the_one_who_was_meant(secret, dot):
    robot = machines.create("robot", actor=dot.principal)
    put(secret, statement("Allow", READ, to={"AWS": whom("robot", secret)}))
    assert decisions.allows(robot, READ, fresh(secret))
    # Keyturn deletes none; a database that was restored, or written by hand, can have another one.
    Principal.objects.filter(pk=robot.pk).update(name="gone")
    again = machines.create("robot", actor=dot.principal)
    assert not decisions.allows(again, READ, fresh(secret))
    assert decisions.allows(Principal.objects.get(pk=robot.pk), READ, fresh(secret))


def test_nobody_without_full_access_sets_one_however_much_else_they_may(secret, ann, dot):
    every = [action for action in Action if action != Action.ATTACH_POLICY]
    give(ann, "nearly", allow(*every), actor=dot)
    with pytest.raises(decisions.NotAllowed):
        put(secret, statement("Allow", READ, to="*"), actor=ann.principal)
    with pytest.raises(decisions.NotAllowed):
        resource_policies.delete(secret, actor=ann.principal)
    assert fresh(secret).resource_policy is None
    with pytest.raises(ValueError, match="is not done to one secret"):
        grants.grant(secret, ann, [Action.SET_SECRET_POLICY], actor=dot.principal)


def test_a_policy_that_locks_everyone_out_keeps_administrators_able_to_mend_it_and_reads_nothing(
    secret, dot, ann
):
    give(ann, "much", allow(*OF_USE), actor=dot)
    put(secret, statement("Deny", "*", to="*"))
    for action in (Action.DESCRIBE_SECRET, Action.LIST_GRANTS, Action.SET_SECRET_POLICY):
        assert may(dot, secret, action)
        assert not may(ann, secret, action)
    assert not may(dot, secret, READ)
    assert not may(dot, secret, Action.DELETE_SECRET)
    assert (listed(dot), listed(ann)) == ({secret}, set())
    assert listed(dot, Action.GET_SECRET_VALUE) == set()
    resource_policies.delete(fresh(secret), actor=dot.principal)
    assert may(dot, secret, READ)
    assert listed(ann) == {secret}


@pytest.mark.parametrize(
    "document",
    [
        "", "{", "[]", '{"Version": "2012-10-17"}', '{"Version": "3", "Statement": []}',
        json.dumps({"Statement": [{"Effect": "Allow", "Action": READ, "Resource": "*"}]}),
        json.dumps({"Statement": [statement("Allow", READ, to="ann")]}),
        json.dumps({"Statement": [statement("Allow", READ, to={"Service": "x"})]}),
        json.dumps({"Statement": [statement("Allow", READ, to={"AWS": []})]}),
        json.dumps({"Statement": [statement("Maybe", READ, to="*")]}),
        json.dumps({"Statement": [statement("Allow", "kms:Nothing", to="*")]}),
        json.dumps({"Statement": [statement("Allow", READ, to="*") | {"Resource": "arn:aws:s3:::x"}]}),
        json.dumps({"Statement": [statement("Allow", READ, to="*") | {"NotPrincipal": "*"}]}),
        json.dumps({"Statement": [statement("Deny", "secretsmanager:GetResourcePolicy", to="*")]}),
        json.dumps({"Statement": [statement("Allow", READ, to="*", Condition={"Bool": {"aws:X": "true"}})]}),
    ],
)  # fmt: skip
def test_a_document_that_is_none_is_refused_and_nothing_changes(secret, dot, document):
    with pytest.raises(ram_documents.BadDocument):
        resource_policies.put(secret, document, actor=dot.principal)
    assert fresh(secret).resource_policy is None
    assert not PolicyRevision.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "Keyturn", "ann "])
def test_a_principal_that_is_none_of_this_account_is_refused(secret, ann, dot, name):
    for arn in (whom(name, secret), "arn:aws:iam::999999999999:user/ann", "arn:aws:iam::999999999999:root"):
        with pytest.raises(resource_documents.UnknownPrincipal):
            put(secret, statement("Allow", READ, to={"AWS": arn}))


def test_a_stored_policy_that_cannot_be_read_any_more_denies_everything():
    for kept in (
        "{",
        "{}",
        '{"document": "{}", "principals": {}}',
        '{"document": 1, "principals": {"a": "b"}}',
    ):
        (deny,) = resource_documents.about(kept, uuid4())
        assert (deny.effect, deny.actions) == ("Deny", ("*",))


def test_of_two_administrators_who_edit_it_at_once_the_second_is_told(secret):
    put(secret, statement("Allow", READ, to="*"), replaces="")
    put(fresh(secret), statement("Allow", LOOK, to="*"), replaces=resource_policies.mark(fresh(secret)))
    with pytest.raises(lifecycle.Outdated):
        put(secret, statement("Deny", READ, to="*"), replaces="")


# ---------------------------------------------------------------- what it decides


def test_either_allows_and_a_deny_in_either_wins(secret, ann, bea, dot):
    to_ann = {"AWS": whom("ann", secret)}
    assert not may(ann, secret)
    put(secret, statement("Allow", "secretsmanager:GetSecretValue", to=to_ann))
    assert may(ann, secret)
    assert not may(bea, secret)
    assert listed(ann, Action.GET_SECRET_VALUE) == {secret}
    give(ann, "no-reading", allow(READ) | {"Effect": "Deny"}, actor=dot)
    assert not may(ann, secret)
    assert listed(ann, Action.GET_SECRET_VALUE) == set()
    give(bea, "reads", allow(READ, LOOK), actor=dot)
    assert may(bea, secret)
    put(fresh(secret), statement("Deny", READ, to={"RAM": f"acs:ram::{secret.account.number}:user/bea"}))
    assert not may(bea, secret)
    assert may(bea, secret, LOOK)


def test_the_whole_account_is_given_nothing_and_can_be_denied(secret, ann, dot):
    give(ann, "reads", allow(READ, LOOK), actor=dot)
    number = secret.account.number[-12:]
    for root in (f"arn:aws:iam::{number}:root", number):
        put(fresh(secret), statement("Allow", "*", to={"AWS": root}))
        assert not may(ann, secret, "kms:DeleteSecret")
        put(fresh(secret), statement("Deny", READ, to={"AWS": root}))
        assert not may(ann, secret)


def test_conditions_hold_as_in_the_policies_of_users_under_the_names_of_either(secret, ann):
    lifecycle.retag(secret, {"env": "prod"}, actor=factories.administrator())
    for key in ("acs:SourceIp", "aws:SourceIp"):
        put(fresh(secret), statement("Allow", READ, to="*", Condition={"IpAddress": {key: "10.0.0.0/8"}}))
        for address, expected in (("10.1.2.3", True), ("192.0.2.1", False), (None, False)):
            with origin.bind(address=address, is_secure=True, is_mfa=False):
                assert may(ann, secret) is expected
                assert listed(ann, Action.GET_SECRET_VALUE) == ({secret} if expected else set())
    for key in ("kms:tag/env", "aws:ResourceTag/env", "secretsmanager:ResourceTag/env"):
        for value, expected in (("prod", True), ("test", False)):
            put(fresh(secret), statement("Allow", READ, to="*", Condition={"StringEquals": {key: value}}))
            assert may(ann, secret) is expected


def test_what_it_gives_is_shown_among_the_permissions_and_can_be_handed_on_with_its_conditions(
    secret, ann, bea, dot
):
    condition = {"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}
    put(
        secret,
        statement("Allow", READ, "kms:CreateGrant", to={"AWS": whom("ann", secret)}, Condition=condition),
    )
    rights = {str(right.principal): right for right in reach.Everybody([secret]).with_rights(fresh(secret))}
    (source,) = rights["ann"].actions[Action.GET_SECRET_VALUE]
    assert (source.label, source.is_conditional) == ("Resource policy", True)
    assert "bea" not in rights
    with origin.bind(address="10.1.1.1", is_secure=True, is_mfa=False):
        grants.grant(fresh(secret), bea, [Action.GET_SECRET_VALUE], actor=ann.principal)
        assert may(bea, secret)
    with origin.bind(address="192.0.2.1", is_secure=True, is_mfa=False):
        assert not may(bea, secret)


# ---------------------------------------------------------------- its life


def test_it_is_recorded_kept_by_a_restore_and_gone_with_a_purge(secret, ann, dot):
    put(secret, statement("Allow", READ, LOOK, to="*"))
    (event,) = AuditEvent.objects.filter(action=Action.SET_SECRET_POLICY)
    assert (event.actor_name, len(event.details["policy"])) == (factories.administrator().name, 64)
    deletion.plan_deletion(fresh(secret), actor=dot.principal)
    with pytest.raises(lifecycle.NotEnabled):
        put(fresh(secret), statement("Deny", READ, to="*"))
    deletion.restore(fresh(secret), actor=dot.principal)
    assert may(ann, secret)
    deletion.purge(fresh(secret), actor=dot.principal)
    assert fresh(secret).resource_policy is None
    assert not PolicyRevision.objects.exists()
    again = factories.generic_secret(name=secret.name, value="b-value-1")
    assert not may(ann, again)


def test_a_public_one_is_refused_if_that_is_asked_for(secret):
    for to in ("*", {"AWS": "*"}, {"AWS": [whom("nobody", secret), "*"][1:]}):
        with pytest.raises(resource_policies.Public):
            put(secret, statement("Allow", READ, to=to), block_public=True)
        put(fresh(secret), statement("Deny", READ, to=to), block_public=True)


def test_only_full_access_is_full_access(secret, dot, ann):
    assert policies.has_full_access(dot.principal)
    give(ann, "KMSFullAccess2", allow("*"), actor=dot)
    put(secret, statement("Deny", "*", to="*"))
    assert not may(ann, secret, Action.DESCRIBE_SECRET)
