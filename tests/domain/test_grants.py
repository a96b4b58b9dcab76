"""A grant hands on no more than its giver has: neither without the conditions, nor to the giver."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from secrets_app import origin
from secrets_app.actions import Action
from secrets_app.crypto import passwords
from secrets_app.models import Secret, SecretPrincipalGrant
from secrets_app.people import users
from secrets_app.policy import deciding, decisions, grants
from secrets_app.secrets import lifecycle
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
GET = Action.GET_SECRET_VALUE


@pytest.fixture
def secret(open_keyring) -> Secret:
    return factories.secret(initial="a-first-password-1", tags={"team": "a", "env": "test"})


@pytest.fixture
def bea(dot):
    return factories.user("bea")


@pytest.fixture
def cal(dot):
    return factories.user("cal")


def asked_from(address):
    return origin.bind(address=address, is_secure=True, is_mfa=False)


OFFICE = {"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}
WITH_TICKET = {"StringLike": {"kms:Reason": "INC-*"}}
BEFORE_TOMORROW = {"DateLessThan": {"acs:CurrentTime": (timezone.now() + timedelta(days=1)).isoformat()}}


def may_read(user, secret, *, reason="because", address="192.0.2.1"):
    with asked_from(address):
        return decisions.decide(user.principal, GET, secret, reason=reason).allowed


def retag(secret, **wanted):
    """Somebody who may sets a tag."""
    secret.refresh_from_db()
    lifecycle.edit(
        secret,
        revision=secret.revision,
        description="",
        tags={tag.key: tag.value for tag in secret.tags.all()} | wanted,
        password_policy=passwords.Policy(),
        actor=factories.user("tagger", "administrators").principal,
    )
    secret.refresh_from_db()


def test_an_action_that_one_has_from_one_network_is_not_had_from_everywhere_by_a_grant(
    secret, give, ann, bea
):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
    assert may_read(bea, secret, address="10.9.9.9")
    assert not may_read(bea, secret)
    for address, seen in (("10.9.9.9", [secret]), ("192.0.2.1", [])):
        with asked_from(address):
            listed = Secret.objects.filter(decisions.visible(bea.principal, GET, decisions.secret_rows()))
            assert list(listed) == seen


def test_a_reason_that_is_asked_of_the_giver_is_asked_of_whom_it_is_given_to(secret, give, ann, bea, cal):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **WITH_TICKET)
    grants.grant(secret, bea, [GET], actor=ann.principal)
    give(cal, "kms:CreateGrant", GET)
    give(cal, GET, effect="Deny", StringNotLike={"kms:Reason": "INC-*"})
    hal = factories.user("hal")
    grants.grant(secret, hal, [GET], actor=cal.principal)
    for user in (bea, hal):
        assert not may_read(user, secret)
        assert not may_read(user, secret, reason="")
        assert may_read(user, secret, reason="INC-7")
        assert decisions.allows(user.principal, GET, secret)  # offered: the reason is asked for then


def test_what_ends_on_a_date_ends_for_whom_it_was_handed_to(secret, give, ann, bea, monkeypatch):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **BEFORE_TOMORROW)
    grants.grant(secret, bea, [GET], actor=ann.principal)
    assert may_read(bea, secret)
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr(deciding.timezone, "now", lambda: later)
    assert not may_read(bea, secret)


def test_a_deny_that_holds_elsewhere_is_not_escaped_by_a_grant(secret, give, ann, bea):
    give(ann, "kms:CreateGrant", GET)
    give(ann, GET, effect="Deny", NotIpAddress={"acs:SourceIp": "10.0.0.0/8"})
    give(ann, GET, effect="Deny", StringEquals={"kms:tag/env": "prod"})
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
    assert may_read(bea, secret, address="10.1.1.1")
    assert not may_read(bea, secret)
    retag(secret, env="prod")
    assert not may_read(bea, secret, address="10.1.1.1")


def test_who_holds_it_without_a_condition_hands_it_on_without_one(secret, give, ann, bea, dot):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    give(ann, GET, on=secret.arn)
    grants.grant(secret, bea, [GET], actor=ann.principal)
    assert SecretPrincipalGrant.objects.get(principal=bea.principal).conditions == ""


def test_of_two_ways_with_conditions_both_are_handed_on(secret, give, ann, bea):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    give(ann, GET, StringEquals={"kms:tag/team": "a"})
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
    assert may_read(bea, secret, address="10.1.1.1")
    assert not may_read(bea, secret)
    retag(secret, team="b")
    assert not may_read(bea, secret, address="10.1.1.1")


def test_conditions_go_along_from_hand_to_hand(secret, give, ann, bea, cal):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    give(bea, "kms:CreateGrant")
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
        grants.grant(secret, cal, [GET], actor=bea.principal)
    assert may_read(cal, secret, address="10.1.1.1")
    assert not may_read(cal, secret)
    with asked_from("192.0.2.1"), pytest.raises(decisions.NotAllowed):
        grants.grant(secret, factories.user("hal"), [GET], actor=cal.principal)


def test_nobody_grants_to_themselves_nor_to_a_group_that_they_are_in(secret, give, ann, dot):
    give(ann, "kms:CreateGrant", "kms:RotateSecret")
    ours = users.create_group("ours", actor=dot.principal)
    users.join(ours, [ann], actor=dot.principal)
    for to in (ann, ours):
        with pytest.raises(grants.ToOneself):
            grants.grant(secret, to, [Action.ROTATE_SECRET], actor=ann.principal)
    with pytest.raises(grants.ToOneself):
        grants.grant(secret, Group.objects.get(name="administrators"), [GET], actor=dot.principal)
    assert not SecretPrincipalGrant.objects.exists()


@pytest.mark.both_stores
def test_a_narrower_grant_takes_nothing_away_and_a_wider_one_gives_more(secret, give, ann, bea, dot):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
        grants.grant(secret, bea, [GET], actor=dot.principal)
        assert may_read(bea, secret)
        grants.grant(secret, bea, [GET], actor=ann.principal)
    assert may_read(bea, secret)
    assert SecretPrincipalGrant.objects.get(principal=bea.principal).granted_by == dot.principal


def test_other_conditions_replace_those_of_a_grant_only_for_who_may_revoke_it(secret, give, ann, bea, cal):
    give(ann, "kms:CreateGrant")
    give(ann, GET, **OFFICE)
    give(cal, "kms:CreateGrant")
    give(cal, GET, **WITH_TICKET)
    with asked_from("10.1.1.1"):
        grants.grant(secret, bea, [GET], actor=ann.principal)
        with pytest.raises(decisions.NotAllowed):
            grants.grant(secret, bea, [GET], actor=cal.principal)
        assert may_read(bea, secret, address="10.1.1.1")
        give(cal, "kms:RevokeGrant")
        grants.grant(secret, bea, [GET], actor=cal.principal)
    assert may_read(bea, secret, reason="INC-1")
    assert not may_read(bea, secret, address="10.1.1.1")
