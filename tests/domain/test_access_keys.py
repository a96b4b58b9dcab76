"""An access key has the rights of one machine or user, for as long as both are enabled, and no longer."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from secrets_app import keyring, origin
from secrets_app.actions import Action
from secrets_app.crypto import envelope
from secrets_app.integrity import seal_check
from secrets_app.keys import key_states
from secrets_app.models import AccessKey, AuditEvent, Principal, SealedValue, User
from secrets_app.people import access_keys, machines, users
from secrets_app.policy import decisions
from tests import factories
from tests.domain.test_seals import written

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Principal:
    return factories.administrator()


@pytest.fixture
def robot(admin) -> Principal:
    return machines.create("robot", actor=admin)


def fresh(key: AccessKey) -> AccessKey:
    """The key as the next request reads it."""
    found = access_keys.opened(key.key_id)
    assert found is not None
    return found.key


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("sequence"))


def test_the_secret_is_returned_once_and_kept_sealed(robot, admin):
    key, secret = access_keys.create(robot, actor=admin)
    assert re.fullmatch("AKIA[A-Z2-7]{16}", key.key_id)
    assert re.fullmatch("[A-Za-z0-9+/]{40}", secret.reveal())
    assert secret.reveal() not in repr((key, secret))
    found = access_keys.opened(key.key_id)
    assert found is not None
    assert found.secret == secret
    assert secret.encode() not in bytes(SealedValue.objects.get(pk=key.sealed_id).ciphertext)
    [event] = events(Action.CREATE_ACCESS_KEY)
    assert event.resource.endswith(":user/robot")
    assert event.details == {"access_key": key.key_id, "networks": [], "expires_at": None}
    assert access_keys.opened("AKIAAAAAAAAAAAAAAAAA") is None


def test_a_principal_has_two_keys_at_most(robot, admin):
    first, _ = access_keys.create(robot, actor=admin)
    access_keys.create(robot, actor=admin)
    with pytest.raises(access_keys.TooMany):
        access_keys.create(robot, actor=admin)
    sealed = SealedValue.objects.exclude(pk=first.sealed_id).first()
    with pytest.raises(IntegrityError), transaction.atomic():
        AccessKey.objects.create(principal=robot, key_id="AKIAX", slot=3, sealed=sealed, created_by=admin)
    access_keys.delete(first, actor=admin)
    access_keys.create(robot, actor=admin)


def test_of_two_keys_made_at_once_in_one_place_one_is_made(robot, admin, monkeypatch):
    monkeypatch.setattr(access_keys, "_free_slot", lambda principal: 1)
    access_keys.create(robot, actor=admin)
    sealed = SealedValue.objects.count()
    with pytest.raises(access_keys.TooMany):
        access_keys.create(robot, actor=admin)
    assert SealedValue.objects.count() == sealed


def test_a_deleted_key_is_gone_with_its_secret(robot, admin):
    key, _ = access_keys.create(robot, actor=admin)
    access_keys.delete(key, actor=admin)
    assert access_keys.opened(key.key_id) is None
    assert not SealedValue.objects.filter(owner_id=robot.pk).exists()
    for change in (access_keys.delete, access_keys.enable, access_keys.disable):
        with pytest.raises(access_keys.Gone):
            change(key, actor=admin)


def test_a_key_for_another_takes_full_access_and_one_for_oneself_a_right(robot, admin, give):
    ann, bea = factories.user("ann"), factories.user("bea")
    with pytest.raises(decisions.NotAllowed):
        access_keys.create(ann.principal, actor=ann.principal)
    actions = (Action.CREATE_ACCESS_KEY, Action.UPDATE_ACCESS_KEY, Action.DELETE_ACCESS_KEY)
    give(ann, *actions)
    own, _ = access_keys.create(ann.principal, actor=ann.principal)
    for principal in (robot, bea.principal, admin):
        with pytest.raises(decisions.NotAllowed, match="full access"):
            access_keys.create(principal, actor=ann.principal)
    theirs, _ = access_keys.create(robot, actor=admin)
    access_keys.disable(theirs, actor=ann.principal)  # to take away is a lesser right
    with pytest.raises(decisions.NotAllowed, match="full access"):
        access_keys.enable(theirs, actor=ann.principal)
    assert not fresh(theirs).is_active
    access_keys.disable(own, actor=ann.principal)
    access_keys.enable(own, actor=ann.principal)
    for change in (access_keys.disable, access_keys.enable, access_keys.delete):
        with pytest.raises(decisions.NotAllowed):
            change(own, actor=bea.principal)
    with pytest.raises(decisions.NotAllowed):
        access_keys.of(robot, actor=ann.principal)
    assert list(access_keys.of(robot, actor=admin)) == [theirs]


def test_a_key_belongs_to_one_who_may_act(robot, admin):
    machines.disable(robot, actor=admin)
    for principal in (robot, users.system()):
        with pytest.raises(access_keys.NoPrincipal):
            access_keys.create(principal, actor=admin)


def test_what_is_no_range_and_no_later_moment_is_refused(robot, admin):
    for wrong in ("10.0.0.1/8", "here", "", "10.0.0.0/33"):
        with pytest.raises(access_keys.BadNetwork):
            access_keys.create(robot, actor=admin, networks=[wrong])
    with pytest.raises(access_keys.BadNetwork, match="at most 20"):
        access_keys.create(robot, actor=admin, networks=[f"10.0.{n}.0/24" for n in range(21)])
    with pytest.raises(access_keys.BadExpiry):
        access_keys.create(robot, actor=admin, expires_at=timezone.now() - timedelta(seconds=1))
    assert not AccessKey.objects.exists()


def test_a_key_is_refused_from_its_next_request_on_and_the_refusal_recorded(robot, admin):
    key, _ = access_keys.create(robot, actor=admin, networks=["10.0.0.0/8", "2001:db8::/32"])
    soon = timezone.now() + timedelta(hours=1)

    def told(address: str | None = "10.1.2.3") -> str:
        with origin.bind(address=address):
            try:
                assert access_keys.require_usable(fresh(key)) == robot
            except access_keys.Unusable as error:
                return str(error)
        return ""

    assert [told(), told("2001:db8::1"), told("::ffff:10.0.0.1")] == ["", "", ""]
    for address in ("192.0.2.1", "2001:db9::1", None):
        assert told(address) == "This access key is not valid from this address."
    access_keys.disable(key, actor=admin)
    assert told() == "This access key is disabled."
    access_keys.enable(key, actor=admin)
    assert told() == ""
    AccessKey.objects.filter(pk=key.pk).update(expires_at=soon)
    assert told() == ""
    AccessKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert told().startswith("This access key expired on")
    AccessKey.objects.filter(pk=key.pk).update(expires_at=None)
    machines.disable(robot, actor=admin)
    assert told() == "robot is disabled."
    refused = events(access_keys.USE)
    assert {event.outcome for event in refused} == {"denied"}
    assert refused[0].decision == f"{key.key_id}: This access key is not valid from this address."


def test_a_key_of_a_disabled_user_is_refused(admin):
    ann: User = factories.user("ann")
    key, _ = access_keys.create(ann.principal, actor=admin)
    users.disable(ann, actor=admin)
    assert access_keys.why_unusable(fresh(key), None) == "ann is disabled."


def test_a_key_that_was_changed_in_the_database_is_as_if_not_there(robot, admin):
    key, _ = access_keys.create(robot, actor=admin, networks=["10.0.0.0/8"])
    access_keys.disable(key, actor=admin)
    for change in ({"principal": admin}, {"is_active": True}, {"networks": []}):
        before = {name: getattr(fresh(key), name) for name in change}
        written(AccessKey).filter(pk=key.pk).update(**change)
        assert access_keys.opened(key.key_id) is None
        assert [one.name for one in seal_check.broken()] == [f"secrets_app.accesskey:{key.pk}"]
        written(AccessKey).filter(pk=key.pk).update(**before)


def test_a_sealed_secret_opens_for_its_own_key_only(robot, admin):
    key, _ = access_keys.create(robot, actor=admin)
    other, _ = access_keys.create(admin, actor=admin)
    mine = {"owner_id": other.principal_id, "subject_id": other.pk, "field": access_keys.FIELD}
    with pytest.raises(envelope.Tampered):
        keyring.open_(key.sealed, **mine)


def test_a_key_whose_secret_was_sealed_by_a_key_that_is_disabled_signs_nothing(robot, admin):
    key, _ = access_keys.create(robot, actor=admin)
    assert access_keys.opened(key.key_id) is not None
    key_states.disable(keyring.default_key(), actor=admin)
    with pytest.raises(keyring.KeyDisabled):
        access_keys.opened(key.key_id)


def test_a_use_is_noted_at_most_once_a_minute(robot, admin):
    key, _ = access_keys.create(robot, actor=admin)
    with origin.bind(address="10.0.0.1"):
        access_keys.note_use(fresh(key), "GetSecretValue")
    with origin.bind(address="10.0.0.2"):
        access_keys.note_use(key, "ListSecrets")  # read before the first was noted
        access_keys.note_use(fresh(key), "ListSecrets")
    noted = fresh(key)
    assert (noted.last_used_from, noted.last_used_for) == ("10.0.0.1", "GetSecretValue")
    AccessKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
    with origin.bind(address="10.0.0.2"):
        access_keys.note_use(fresh(key), "ListSecrets")
    assert fresh(key).last_used_from == "10.0.0.2"


def test_what_signs_nothing_is_recorded_without_what_it_names(admin):
    access_keys.refuse_unknown("The request is signed by no access key.")
    [event] = events(access_keys.USE)
    assert (event.actor, event.outcome) == (None, "denied")
