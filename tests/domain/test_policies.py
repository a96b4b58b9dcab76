"""Who may what, from policies and grants to the decision."""

import json

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from rotation.managed import deletion
from secrets_app import origin, regions
from secrets_app.actions import OF_A_SECRET, Action, Kind
from secrets_app.models import Attachment, Policy, Secret, SecretPrincipalGrant
from secrets_app.people import users
from secrets_app.policy import decisions, grants, policies, ram_documents
from tests import factories
from tests.statements import allow, deny

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


@pytest.fixture
def secret(open_keyring) -> Secret:
    return factories.secret(initial="a-first-password-1")


def policy(name, *statements, actor):
    text = json.dumps({"Version": "1", "Statement": list(statements)})
    return policies.create(name, text, actor=actor.principal)


def may(user):
    secret = factories.secret()
    return {action for action in Action if decisions.allows(user.principal, action, secret)}


def test_each_system_policy_allows_what_it_says_and_no_more(secret, dot):
    policies.ensure()
    of_a_secret = {
        policies.SECRET_USER: {Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE},
        policies.HELPDESK: {Action.DESCRIBE_SECRET, Action.RESTORE_SECRET},
        policies.ROTATION_OPERATOR: {Action.DESCRIBE_SECRET, Action.ROTATE_SECRET, Action.DESCRIBE_RUN},
        policies.AUDITOR: {Action.DESCRIBE_SECRET, Action.DESCRIBE_RUN, Action.LIST_GRANTS},
        policies.SECRET_ADMINISTRATOR: set(OF_A_SECRET),
        policies.FULL_ACCESS: set(OF_A_SECRET),
    }
    for name, expected in of_a_secret.items():
        user = factories.user(f"u-{name}")
        policies.attach(Policy.objects.get(name=name), user, actor=dot.principal)
        found = {action for action in OF_A_SECRET if decisions.allows(user.principal, action, secret)}
        assert found == expected, name
        assert decisions.allows(user.principal, Action.CREATE_POLICY) == (name == policies.FULL_ACCESS)


def test_helpdesk_and_auditors_reach_no_value(secret, hal, aud):
    for user in (hal, aud):
        for action in (
            Action.GET_SECRET_VALUE,
            Action.PUT_SECRET_VALUE,
            Action.ROTATE_SECRET,
            Action.CREATE_GRANT,
        ):
            assert not decisions.allows(user.principal, action, secret)


def test_an_explicit_deny_is_stronger_than_full_access_and_than_a_grant(secret, dot, ann):
    policies.attach(policy("no-reveal", deny("kms:GetSecretValue"), actor=dot), ann, actor=dot.principal)
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    decision = decisions.decide(ann.principal, Action.GET_SECRET_VALUE, secret)
    assert not decision.allowed
    assert decision.because == "Deny by statement 1 of the policy no-reveal."


def test_a_policy_of_a_group_holds_for_its_members_only(secret, dot, ann):
    group = Group.objects.create(name="operators")
    policies.attach(policy("rotate", allow("kms:RotateSecret"), actor=dot), group, actor=dot.principal)
    assert not decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    ann.groups.add(group)
    assert decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)


def test_a_policy_may_name_secrets_tags_and_addresses(dot, ann):
    web = factories.secret(name="web/one", tags={"env": "prod"})
    db = factories.secret(name="db/one", tags={"env": "test"})
    only = policy(
        "web-only",
        allow("kms:GetSecretValue", on=f"acs:kms:*:*:secret/{web.name}"),
        allow("kms:RotateSecret", Condition={"StringEquals": {"kms:tag/env": "test"}}),
        allow("kms:UpdateSecret", Condition={"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}),
        actor=dot,
    )
    policies.attach(only, ann, actor=dot.principal)

    def allowed(action):
        return [decisions.allows(ann.principal, action, secret) for secret in (web, db)]

    assert allowed(Action.GET_SECRET_VALUE) == [True, False]
    assert allowed(Action.ROTATE_SECRET) == [False, True]
    assert allowed(Action.UPDATE_SECRET) == [False, False]
    with origin.bind(address="10.2.3.4", is_secure=True, is_mfa=False):
        assert allowed(Action.UPDATE_SECRET) == [True, True]
    with origin.bind(address="192.0.2.1", is_secure=True, is_mfa=False):
        assert allowed(Action.UPDATE_SECRET) == [False, False]


def test_p_08_what_does_not_exist_is_denied(secret, dot):
    assert not decisions.allows(dot.principal, "kms:NoSuchThing", secret)
    assert not decisions.allows(dot.principal, Action.GET_SECRET_VALUE, None)
    assert not decisions.allows(dot.principal, Action.GET_SECRET_VALUE, object())
    assert not decisions.allows(None, Action.GET_SECRET_VALUE, secret)


@pytest.mark.both_stores
def test_p_08_a_stored_document_that_cannot_be_read_denies_everything(secret, dot, ann):
    policies.attach(policy("fine", allow("*"), actor=dot), ann, actor=dot.principal)
    broken = policy("broken", allow("*"), actor=dot)
    policies.attach(broken, ann, actor=dot.principal)
    Policy.objects.filter(pk=broken.pk).update(document='{"Version": "1", "Statement": "lost"}')
    assert may(ann) == set()


def test_p_05_nobody_without_full_access_changes_who_may_do_what(secret, dot, ann):
    everything_but_the_name = policy("nearly-all", allow("kms:*"), actor=dot)
    policies.attach(everything_but_the_name, ann, actor=dot.principal)
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    tries = [
        lambda: policies.create("mine", policies.document(["*"]), actor=ann.principal),
        lambda: policies.change(
            everything_but_the_name, policies.document(["*"]), revision=1, actor=ann.principal
        ),
        lambda: policies.attach(full, ann, actor=ann.principal),
        lambda: policies.attach(full, Group.objects.get(name=users.HELPDESK), actor=ann.principal),
        lambda: policies.detach(full, Group.objects.get(name=users.ADMINISTRATORS), actor=ann.principal),
        lambda: policies.delete(everything_but_the_name, actor=ann.principal),
    ]
    factories.user("hal2", "helpdesk")
    for attempt in tries:
        with pytest.raises(decisions.NotAllowed):
            attempt()


def test_p_06_a_grant_hands_out_only_what_its_giver_may_do_now(secret, dot, ann, hal):
    giver = policy("giver", allow("kms:CreateGrant", "kms:RotateSecret"), actor=dot)
    policies.attach(giver, ann, actor=dot.principal)
    grants.grant(secret, hal, [Action.ROTATE_SECRET], actor=ann.principal)
    assert decisions.allows(hal.principal, Action.ROTATE_SECRET, secret)
    for wanted in ([Action.GET_SECRET_VALUE], [Action.ROTATE_SECRET, Action.DELETE_SECRET]):
        with pytest.raises(decisions.NotAllowed):
            grants.grant(secret, hal, wanted, actor=ann.principal)
    assert not decisions.allows(hal.principal, Action.GET_SECRET_VALUE, secret)
    with pytest.raises(decisions.NotAllowed):
        grants.grant(secret, hal, [Action.ROTATE_SECRET], actor=hal.principal)
    with pytest.raises(ValueError, match="one secret"):
        grants.grant(secret, hal, [Action.CREATE_USER], actor=dot.principal)


@pytest.mark.both_stores
def test_a_grant_is_for_one_secret_and_says_who_gave_it(secret, dot, ann):
    other = factories.secret()
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    assert decisions.allows(ann.principal, Action.GET_SECRET_VALUE, secret)
    assert not decisions.allows(ann.principal, Action.GET_SECRET_VALUE, other)
    assert SecretPrincipalGrant.objects.get().granted_by == dot.principal
    grants.revoke(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    assert not decisions.allows(ann.principal, Action.GET_SECRET_VALUE, secret)


def test_p_10_a_right_that_was_taken_is_gone_with_the_next_request(secret, dot, ann):
    rotate = policy("rotate", allow("kms:RotateSecret"), actor=dot)
    policies.attach(rotate, ann, actor=dot.principal)
    with origin.bind(address=None, is_secure=True, is_mfa=False, at=timezone.now()):
        assert decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
        policies.detach(rotate, ann, actor=dot.principal)
        assert not decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    grants.grant(secret, ann, [Action.ROTATE_SECRET], actor=dot.principal)
    ann.is_active = False
    ann.save()
    ann.principal.refresh_from_db()
    assert may(ann) == set()


def test_p_11_a_purged_secret_leaves_no_grant_to_one_of_its_name(dot, ann):
    secret = factories.secret(name="web/one", initial="a-first-password-1")
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    deletion.purge(secret, actor=dot.principal)
    again = factories.secret(name="web/one", instance=secret.managed.instance)
    assert not SecretPrincipalGrant.objects.exists()
    assert not decisions.allows(ann.principal, Action.GET_SECRET_VALUE, again)


@pytest.mark.both_stores
def test_the_last_administrator_stays_one(secret, dot):
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    everybody = Group.objects.get(name=users.ADMINISTRATORS)
    with pytest.raises(policies.LastAdministrator):
        policies.detach(full, everybody, actor=dot.principal)
    assert policies.has_full_access(dot.principal)
    policies.attach(full, dot, actor=dot.principal)
    policies.detach(full, everybody, actor=dot.principal)
    assert policies.has_full_access(dot.principal)


@pytest.mark.both_stores
def test_a_system_policy_is_nobodys_to_change_and_follows_the_product(secret, dot):
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    with pytest.raises(policies.NotYours):
        policies.change(full, policies.document(["*"]), revision=full.revision, actor=dot.principal)
    Policy.objects.filter(name=policies.HELPDESK).delete()
    Attachment.objects.filter(policy__name=policies.HELPDESK).delete()
    policies.ensure()
    assert ram_documents.read(Policy.objects.get(name=policies.HELPDESK).document, actions=tuple(Action))


def test_an_edit_on_an_old_revision_changes_nothing(secret, dot):
    mine = policy("mine", allow("kms:RotateSecret"), actor=dot)
    policies.change(mine, policies.document(["kms:List*"]), revision=1, actor=dot.principal)
    with pytest.raises(policies.Outdated):
        policies.change(mine, policies.document(["*"]), revision=1, actor=dot.principal)
    assert "kms:List*" in Policy.objects.get(pk=mine.pk).document


@pytest.mark.both_stores
def test_a_policy_that_somebody_has_is_not_deleted(secret, dot, ann):
    mine = policy("mine", allow("kms:RotateSecret"), actor=dot)
    policies.attach(mine, ann, actor=dot.principal)
    with pytest.raises(policies.StillAttached, match="ann"):
        policies.delete(mine, actor=dot.principal)
    policies.detach(mine, ann, actor=dot.principal)
    policies.delete(mine, actor=dot.principal)
    assert not Policy.objects.filter(pk=mine.pk).exists()


def test_a_container_is_a_region_and_nothing_is_listed_elsewhere(dot, ann):
    here, there = factories.region("here"), factories.region("there")
    account = regions.account().number
    some = policy("here-only", allow("kms:List*", on=f"acs:kms:here:{account}:secret"), actor=dot)
    policies.attach(some, ann, actor=dot.principal)
    assert decisions.allows(ann.principal, Action.LIST_SECRETS, here)
    assert not decisions.allows(ann.principal, Action.LIST_SECRETS, there)
    assert decisions.allowed_regions(ann.principal, Action.LIST_SECRETS) == [here]
    assert not decisions.may_somewhere(ann.principal, Action.LIST_INSTANCES)


def test_every_action_is_of_one_kind_and_its_name_is_as_kms_writes_it():
    for action in Action:
        assert isinstance(action.kind, Kind)
        assert action.value.startswith("kms:")
        assert action.value[4:].isalpha()
        assert action.value[4].isupper()
