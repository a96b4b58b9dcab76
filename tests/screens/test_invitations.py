"""Invitations: a link that is valid once and for three days, and no other way in."""

from __future__ import annotations

import re

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import NoReverseMatch, reverse

from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Invitation, User
from secrets_app.people import invitations, second_factors, users
from secrets_app.policy import decisions, policies
from tests import factories
from tests.factories import PASSWORD
from tests.screens.routes.own import add_app

pytestmark = pytest.mark.django_db

CHOSEN = "a phrase that only she knows"


@pytest.fixture
def here(client, dot):
    """Return dot's client, who may invite."""
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    return client


def text(answer) -> str:
    return answer.content.decode()


def invite(client, username="nia", groups=("helpdesk",), **extra):
    words = {"username": username, "display_name": "Nia", "groups": list(groups)} | extra
    return client.post(reverse("invite"), words)


def link_on(answer) -> str:
    return re.search(r"http://[^<]*(/invitation/[^<]+)</pre>", text(answer))[1]


def come(link: str, password: str = CHOSEN, again: str | None = None):
    """Open the link in a browser of its own and choose a password."""
    client = Client()
    opened = client.get(link)
    if opened.status_code != 302:
        return opened
    words = {"password1": password, "password2": password if again is None else again}
    return client.post(opened["Location"], words)


def may_sign_in(username, password=CHOSEN) -> bool:
    client = Client()
    client.post(reverse("account_login"), {"login": username, "password": password})
    return "_auth_user_id" in client.session


def test_the_invited_person_chooses_a_password_and_is_in_their_groups(here, dot):
    link = link_on(invite(here))
    assert not User.objects.filter(username="nia").exists()
    answer = come(link)
    assert answer["Location"] == f"{reverse('account_login')}?next=%2Fsecond-factor%2F"
    nia = User.objects.get(username="nia")
    assert [group.name for group in nia.groups.all()] == ["helpdesk"]
    assert (nia.display_name, nia.must_change_password) == ("Nia", False)
    assert may_sign_in("nia")


def test_an_own_group_may_be_handed_out_too(here, dot):
    Group.objects.create(name="night-shift")
    come(link_on(invite(here, groups=["night-shift", "auditors"])))
    names = User.objects.get(username="nia").groups.values_list("name", flat=True)
    assert sorted(names) == ["auditors", "night-shift"]


def test_every_step_is_recorded_and_no_event_holds_the_link(here, dot):
    link = link_on(invite(here))
    come(link)
    nia = User.objects.get(username="nia")
    events = {event.action: event for event in AuditEvent.objects.all()}
    assert events["kms:InviteUser"].actor == dot.principal
    assert events["kms:InviteUser"].details == {"groups": ["helpdesk"]}
    assert events["kms:AcceptInvitation"].actor == nia.principal
    token = link.split("/")[2]
    assert all(token not in str(event.__dict__) for event in events.values())


def test_only_the_hash_of_a_link_is_kept_and_it_is_shown_once(here):
    token = link_on(invite(here)).split("/")[2]
    assert token not in str(Invitation.objects.values())
    assert token not in text(here.get(reverse("invitations")))


def test_the_templates_are_given_no_text_of_the_link(here):
    answer = invite(here)
    assert link_on(answer).split("/")[2] not in repr(answer.context)


def test_the_link_leaves_the_address_before_anything_is_typed(here):
    link = link_on(invite(here))
    client = Client()
    opened = client.get(link)
    assert opened["Location"] == reverse("invitation")
    assert link.split("/")[2] not in str(dict(client.session))
    assert link.split("/")[2] not in text(client.get(opened["Location"]))


def test_a_link_is_valid_once(here):
    link = link_on(invite(here))
    second = Client()
    opened = second.get(link)
    come(link)
    assert come(link, "another phrase of hers").status_code == 410
    words = {"password1": "another phrase of hers", "password2": "another phrase of hers"}
    assert second.post(opened["Location"], words).status_code == 410
    assert not may_sign_in("nia", "another phrase of hers")


def test_a_link_is_valid_for_three_days(here):
    with time_machine.travel("2026-03-01T08:00:00Z", tick=False) as clock:
        here.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
        late, early = link_on(invite(here, "nia")), link_on(invite(here, "ona"))
        clock.shift(72 * 3600 - 1)
        assert come(early).status_code == 302
        clock.shift(1)
        assert come(late).status_code == 410
    assert not User.objects.filter(username="nia").exists()


def test_a_revoked_link_is_void_even_for_who_has_opened_it(here):
    link = link_on(invite(here))
    opened = Client()
    opened.get(link)
    here.post(reverse("invitation_revoke", args=[Invitation.objects.get().pk]))
    assert come(link).status_code == 410
    words = {"password1": CHOSEN, "password2": CHOSEN}
    assert opened.post(reverse("invitation"), words).status_code == 410
    assert not User.objects.filter(username="nia").exists()


def test_a_new_link_makes_the_old_one_void_even_for_who_has_opened_it(here):
    old = link_on(invite(here))
    opened = Client()
    opened.get(old)
    new = link_on(here.post(reverse("invitation_renew", args=[Invitation.objects.get().pk])))
    assert come(old).status_code == 410
    words = {"password1": CHOSEN, "password2": CHOSEN}
    assert opened.post(reverse("invitation"), words).status_code == 410
    assert come(new).status_code == 302


def test_a_link_that_nobody_made_is_void(here):
    assert come("/invitation/abc/").status_code == 410
    assert Client().post(reverse("invitation"), {"password1": CHOSEN}).status_code == 410


def test_an_invitation_of_somebody_who_lost_their_rights_is_void(here, dot):
    link = link_on(invite(here, groups=["administrators"]))
    dot.groups.clear()
    assert come(link).status_code == 410
    assert not User.objects.filter(username="nia").exists()


def test_a_password_that_is_too_weak_or_differs_makes_nobody(here):
    link = link_on(invite(here))
    assert come(link, "short").status_code == 422
    assert come(link, CHOSEN, "something else").status_code == 422
    assert come(link, "password1234").status_code == 422
    assert not User.objects.filter(username="nia").exists()
    assert come(link).status_code == 302


@pytest.mark.parametrize("name", ["DOT", "nia", "NIA"])
def test_a_name_that_is_taken_or_invited_is_refused(here, name):
    invite(here, "nia")
    assert invite(here, name).status_code == 422
    assert Invitation.objects.count() == 1


@pytest.mark.parametrize("name", ["", "a b", "nia,", "<b>"])
def test_a_name_that_cannot_be_one_is_refused(here, name):
    assert invite(here, name).status_code == 422
    assert Invitation.objects.count() == 0


def test_a_name_that_was_taken_meanwhile_makes_nobody_else(here):
    link = link_on(invite(here))
    factories.user("NIA")
    assert come(link).status_code == 409
    assert not may_sign_in("nia")
    assert Invitation.objects.get().used_at is None


def test_who_may_not_invite_sees_and_makes_nothing(dot, hal, aud):
    for name in ("hal", "aud"):
        client = Client()
        client.post(reverse("account_login"), {"login": name, "password": PASSWORD})
        assert client.get(reverse("invitations")).status_code == {"hal": 403, "aud": 200}[name]
        assert invite(client).status_code == 403
    for person in (hal, aud):
        with pytest.raises(decisions.NotAllowed):
            invitations.invite("nia", actor=person.principal)
    assert Invitation.objects.count() == 0


def test_an_auditor_sees_who_is_invited_and_is_offered_nothing_to_do(here, aud):
    invite(here)
    made = Invitation.objects.get()
    client = Client()
    client.force_login(aud)
    shown = text(client.get(reverse("invitations")))
    assert "nia" in shown
    for name, args in (("invite", []), ("invitation_renew", [made.pk]), ("invitation_revoke", [made.pk])):
        assert reverse(name, args=args) not in shown
        assert reverse(name, args=args) in text(here.get(reverse("invitations")))


def test_who_may_invite_but_has_not_full_access_hands_out_no_group(dot, hal):
    policy = policies.create(
        "inviter", policies.document(["kms:CreateUser"]), actor=factories.administrator()
    )
    policies.attach(policy, hal, actor=factories.administrator())
    client = Client()
    client.post(reverse("account_login"), {"login": "hal", "password": PASSWORD})
    assert invite(client, groups=["administrators"]).status_code == 403
    assert Invitation.objects.count() == 0
    come(link_on(invite(client, groups=[])))
    assert list(User.objects.get(username="nia").groups.all()) == []


def test_an_invitation_that_cannot_be_recorded_is_not_made(here, monkeypatch):
    def full(*_, **__):
        raise OSError

    monkeypatch.setattr(trail, "record", full)
    here.raise_request_exception = False
    assert invite(here).status_code == 500
    assert Invitation.objects.count() == 0


def test_inviting_asks_for_a_fresh_sign_in(dot):
    client = Client()
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    kept = client.session
    kept["began_at"] -= 301
    kept.save()
    assert invite(client)["Location"].startswith(reverse("account_reauthenticate"))
    assert Invitation.objects.count() == 0


# ---------------------------------------------------------------- somebody who is here


def reset(client, person, reason="forgot it; I know his voice"):
    return client.post(reverse("user_reset_sign_in", args=[person.pk]), {"reason": reason})


def test_who_forgot_a_password_chooses_another_by_a_link(here, dot, hal):
    open_before = Client()
    open_before.post(reverse("account_login"), {"login": "hal", "password": PASSWORD})
    link = link_on(reset(here, hal))
    assert open_before.get("/all/secrets/").status_code == 200
    assert may_sign_in("hal", PASSWORD)
    assert come(link).status_code == 302
    assert may_sign_in("hal")
    assert not may_sign_in("hal", PASSWORD)
    assert open_before.get("/all/secrets/").status_code == 302
    assert [group.name for group in hal.groups.all()] == ["helpdesk"]
    assert come(link, "another phrase of his").status_code == 410


def test_a_reset_is_told_with_its_reason_and_without_the_link(here, dot, hal):
    link = link_on(reset(here, hal))
    come(link)
    made, used = (
        AuditEvent.objects.get(action=f"kms:{name}") for name in ("ResetSignIn", "AcceptInvitation")
    )
    assert (made.actor, made.reason) == (dot.principal, "forgot it; I know his voice")
    assert made.resource == used.resource
    assert (used.actor, used.details) == (hal.principal, {"again": True})
    assert all(link.split("/")[2] not in str(event.__dict__) for event in AuditEvent.objects.all())
    assert reset(here, hal, reason="").status_code == 422


def test_a_second_factor_outlives_a_reset_of_the_sign_in(here, hal):
    add_app(hal)
    answer = come(link_on(reset(here, hal)))
    assert answer["Location"] == f"{reverse('account_login')}?next=%2F"
    assert not may_sign_in("hal")  # it is asked for
    assert second_factors.has_one(hal)


def test_a_second_link_makes_the_first_one_void_and_both_are_listed_and_revoked(here, hal):
    first = link_on(reset(here, hal))
    second = link_on(reset(here, hal))
    assert come(first).status_code == 410
    assert "New way in" in text(here.get(reverse("invitations")))
    made = Invitation.objects.get(revoked_at=None)
    third = link_on(here.post(reverse("invitation_renew", args=[made.pk])))
    assert come(second).status_code == 410
    here.post(reverse("invitation_revoke", args=[made.pk]))
    assert come(third).status_code == 410
    assert may_sign_in("hal", PASSWORD)


def test_ones_own_way_in_and_one_of_a_disabled_person_are_not_reset(here, dot, hal):
    assert reset(here, dot).status_code == 409
    link = link_on(reset(here, hal))
    users.disable(hal, actor=dot.principal)
    assert come(link).status_code == 410
    assert reset(here, hal).status_code == 409
    assert reverse("user_reset_sign_in", args=[hal.pk]) not in text(here.get(reverse("user", args=[hal.pk])))
    users.enable(hal, actor=dot.principal)
    assert may_sign_in("hal", PASSWORD)
    assert reverse("user_reset_sign_in", args=[hal.pk]) in text(here.get(reverse("user", args=[hal.pk])))


def test_a_reset_by_somebody_who_lost_their_rights_is_void(here, dot, hal):
    link = link_on(reset(here, hal))
    factories.user("zoe", "administrators")
    dot.groups.clear()
    assert come(link).status_code == 410
    assert may_sign_in("hal", PASSWORD)


def test_whoever_has_not_full_access_makes_nobody_a_new_way_in(dot, hal, ann):
    """Else who may do little could come in as who may do everything."""
    document = policies.document(["kms:ResetSignIn", "kms:DescribeUser", "kms:CreateUser"])
    policy = policies.create("resetter", document, actor=factories.administrator())
    policies.attach(policy, hal, actor=factories.administrator())
    client = Client()
    client.post(reverse("account_login"), {"login": "hal", "password": PASSWORD})
    assert reset(client, dot).status_code == 403
    made, _ = invitations.invite_back(ann, actor=dot.principal, reason="lost")
    assert client.post(reverse("invitation_renew", args=[made.pk])).status_code == 403
    with pytest.raises(decisions.NotAllowed):
        invitations.invite_back(dot, actor=hal.principal, reason="mine")
    assert Invitation.objects.count() == 1


def test_whoever_is_signed_in_does_not_become_somebody_else(here):
    link = link_on(invite(here))
    here.get(link)
    assert here.post(reverse("invitation"), {"password1": CHOSEN, "password2": CHOSEN}).status_code == 409
    assert not User.objects.filter(username="nia").exists()


def test_nobody_signs_up_without_one(client, dot):
    with pytest.raises(NoReverseMatch):
        reverse("account_signup")
    with pytest.raises(decisions.NotAllowed):
        invitations.invite("eve", actor=users.system())
    with pytest.raises(invitations.Void):
        invitations.find(Plaintext("").reveal())
