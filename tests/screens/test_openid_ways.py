"""What an identity is for beside signing in: a link, an invitation, a confirmation, a second factor."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from django.urls import reverse

from console.sessions import expiry
from secrets_app.models import AuditEvent, Invitation, User
from secrets_app.people import identities, invitations, users
from secrets_app.people.identities import Identity
from secrets_app.policy import policies
from tests import factories
from tests.factories import PASSWORD
from tests.provider_fixtures import at_provider, begin, journey
from tests.screens.routes.own import add_app, code_of

pytestmark = pytest.mark.django_db

LINK, UNLINK, CONFIRM = "kms:LinkIdentity", "kms:UnlinkIdentity", "kms:ConfirmIdentity"
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/audit/"}


def link(user: User, provider, subject: str = "subject-1") -> User:
    identities.link(user, Identity(provider.issuer, subject, "dot@example.com"))
    return user


def with_password(user: User) -> Client:
    client = Client()
    client.post(reverse("account_login"), {"login": user.username, "password": PASSWORD})
    return client


@pytest.fixture
def here(dot) -> Client:
    """Return dot's browser."""
    return with_password(dot)


@pytest.fixture
def nia(provider) -> User:
    """Return an administrator who came by the provider and has no password."""
    return invited(provider, "nia", "administrators")


def invited(provider, name: str, *groups: str) -> User:
    client, _ = open_link(name, *groups)
    provider.subject = f"subject-of-{name}"
    journey(client, "openid_accept")
    return User.objects.get(username=name)


def open_link(name: str = "nia", *groups: str) -> tuple[Client, Invitation]:
    made, token = invitations.invite(name, actor=factories.administrator(), groups=groups)
    client = Client()
    client.get(reverse("invitation_open", args=[token.reveal()]))
    return client, made


def is_signed_in(client) -> bool:
    return "_auth_user_id" in client.session


def may_sign_in(user: User, password: str = PASSWORD) -> bool:
    client = Client()
    client.post(reverse("account_login"), {"login": user.username, "password": password})
    return is_signed_in(client)


def last(action: str) -> AuditEvent:
    return AuditEvent.objects.filter(action=action).latest("sequence")


def grow_old(client: Client, seconds: int = 301) -> None:
    """It is a while since this browser signed in, and since it last confirmed anything."""
    kept = client.session
    kept[expiry.BEGAN_AT] -= seconds
    for record in kept.get("account_authentication_methods", []):
        record["at"] -= seconds
        if "asked_at" in record:
            record["asked_at"] -= seconds
    kept.save()


def is_asked_first(client: Client) -> bool:
    return "/confirm/" in client.get(reverse("mfa_activate_totp")).headers.get("Location", "")


# ---------------------------------------------------------------- linking


def test_who_is_signed_in_links_an_identity_and_signs_in_with_it(here, provider, dot):
    assert journey(here, "openid_link")["Location"] == reverse("mfa_index")
    event = last(LINK)
    assert (event.actor, event.details["subject"]) == (dot.principal, "subject-1")
    page = here.get(reverse("mfa_index")).content.decode()
    assert "You sign in with Example as <strong>dot@example.com</strong>" in page
    other = Client()
    journey(other)
    assert other.session["_auth_user_id"] == str(dot.pk)


def test_linking_asks_for_a_fresh_sign_in(here, provider):
    grow_old(here)
    answer = here.post(reverse("openid_link"))
    assert answer["Location"].startswith(reverse("account_reauthenticate"))
    assert provider.paths == []


def test_an_identity_of_somebody_else_is_not_linked(here, provider, dot):
    link(factories.user("eve"), provider)
    assert journey(here, "openid_link").status_code == 409
    assert identities.of(dot, provider.issuer) is None


def test_nobody_has_two_identities_of_one_provider(here, provider, dot):
    back = at_provider(begin(here, "openid_link"))
    link(dot, provider, "an-earlier-one")  # in another tab, meanwhile
    assert here.get(back).status_code == 409
    assert here.post(reverse("openid_link")).status_code == 409
    assert [row.uid for row in SocialAccount.objects.all()] == ["an-earlier-one"]


def test_an_answer_links_nothing_to_whoever_signed_in_meanwhile(here, provider, dot):
    """The browser is the same; the person who asked has gone."""
    back = at_provider(begin(here, "openid_link"))
    eve, kept = factories.user("eve"), here.session["socialaccount_states"]
    here.force_login(eve)
    session = here.session
    session["socialaccount_states"] = kept
    session.save()
    assert here.get(back).status_code == 409
    assert SocialAccount.objects.count() == 0


def test_what_was_begun_to_sign_in_links_nothing_and_the_other_way_round(here, provider, dot):
    link(factories.user("eve"), provider, "subject-1")
    back = at_provider(begin(Client(), "openid_sign_in"))
    assert here.get(back).status_code == 409
    thief = Client()
    assert thief.get(at_provider(begin(here, "openid_link"))).status_code == 409
    assert not is_signed_in(thief)


# ---------------------------------------------------------------- unlinking


def test_an_unlinked_identity_opens_nothing_any_more(here, provider, dot):
    link(dot, provider)
    here.post(reverse("openid_unlink"))
    assert last(UNLINK).details == {"issuer": provider.issuer, "subject": "subject-1"}
    other = Client()
    assert journey(other).status_code == 403
    assert not is_signed_in(other)


def test_the_only_way_in_stays(provider, nia):
    client = Client()
    journey(client)
    assert "only way to sign in" in client.get(reverse("mfa_index")).content.decode()
    assert client.post(reverse("openid_unlink")).status_code == 409
    assert identities.of(nia, provider.issuer)


def test_whoever_has_no_password_changes_none(provider, nia, dot):
    client = Client()
    journey(client)
    assert client.get(reverse("account_change_password")).status_code == 409
    assert "Change password" not in client.get(reverse("sessions")).content.decode()
    assert "Change password" in with_password(dot).get(reverse("sessions")).content.decode()
    assert not may_sign_in(nia, "")
    assert not may_sign_in(nia, nia.password)


# ---------------------------------------------------------------- invitations


def test_an_invited_person_comes_by_the_provider_and_needs_no_password(provider, dot):
    client, _ = open_link("nia", "helpdesk")
    assert "Come with Example" in client.get(reverse("invitation")).content.decode()
    answer = journey(client, "openid_accept")
    assert answer["Location"] == reverse("mfa_index")
    nia = User.objects.get(username="nia")
    assert client.session["_auth_user_id"] == str(nia.pk)
    assert ([group.name for group in nia.groups.all()], nia.has_usable_password()) == (["helpdesk"], False)
    told = ["kms:CreateUser", LINK, "kms:AcceptInvitation", "kms:SignIn"]
    assert [event.action for event in AuditEvent.objects.order_by("-sequence")[:4]][::-1] == told


def test_coming_by_an_invitation_is_fresh_whatever_the_provider_says(provider, dot):
    """Else nobody could set up a second factor whose provider never says when it asked."""
    provider.told = {"auth_time": None}
    client, _ = open_link("nia")
    journey(client, "openid_accept")
    assert not is_asked_first(client)
    grow_old(client)
    assert is_asked_first(client)


def test_an_invitation_serves_one_identity_once(provider, dot):
    client, _ = open_link("nia")
    back = at_provider(begin(client, "openid_accept"))
    journey(client, "openid_accept")
    client.post(reverse("account_logout"))
    assert client.get(back).status_code == 409
    assert client.post(reverse("openid_accept")).status_code == 410
    assert User.objects.filter(username="nia").count() == 1


def test_an_identity_of_somebody_here_accepts_no_invitation_for_somebody_else(provider, dot):
    link(dot, provider)
    client, made = open_link("nia", "administrators")
    assert journey(client, "openid_accept").status_code == 409
    assert not User.objects.filter(username="nia").exists()
    assert not is_signed_in(client)
    assert Invitation.objects.get(pk=made.pk).used_at is None


def test_an_invitation_that_was_revoked_meanwhile_is_void(provider, dot):
    client, made = open_link("nia")
    back = at_provider(begin(client, "openid_accept"))
    invitations.revoke(made, actor=dot.principal)
    assert client.get(back).status_code == 410
    assert (User.objects.filter(username="nia").count(), SocialAccount.objects.count()) == (0, 0)


def test_an_answer_accepts_the_invitation_that_was_open_when_it_was_asked_for(provider, dot):
    client, _ = open_link("nia")
    back = at_provider(begin(client, "openid_accept"))
    _, token = invitations.invite("root", actor=dot.principal, groups=["administrators"])
    client.get(reverse("invitation_open", args=[token.reveal()]))
    assert client.get(back).status_code == 410
    assert not User.objects.filter(username__in=["nia", "root"]).exists()


def way_back(user: User, dot: User) -> Client:
    _, token = invitations.invite_back(user, actor=dot.principal, reason="lost it")
    client = Client()
    client.get(reverse("invitation_open", args=[token.reveal()]))
    return client


def test_who_lost_an_identity_comes_back_with_another_one(provider, dot, nia):
    client = way_back(nia, dot)
    provider.subject = "subject-of-nia-now"
    assert journey(client, "openid_accept")["Location"] == reverse("mfa_index")
    assert client.session["_auth_user_id"] == str(nia.pk)
    assert [row.uid for row in SocialAccount.objects.filter(user=nia)] == ["subject-of-nia-now"]
    told = [UNLINK, LINK, "kms:AcceptInvitation", "kms:SignIn"]
    assert [event.action for event in AuditEvent.objects.order_by("-sequence")[:4]][::-1] == told
    provider.subject = "subject-of-nia"
    assert journey(Client(), "openid_sign_in").status_code == 403


def test_who_has_a_password_comes_back_with_the_identity_alone(provider, dot, hal):
    link(hal, provider)
    before = with_password(hal)
    client = way_back(hal, dot)
    journey(client, "openid_accept")
    assert client.session["_auth_user_id"] == str(hal.pk)
    assert client.get(reverse("sessions")).status_code == 200
    assert not is_signed_in(with_password(hal))
    assert before.get(reverse("sessions")).status_code == 302


def test_who_comes_back_with_a_password_has_no_identity_any_more(provider, dot, nia):
    words = {"password1": "a phrase that only she knows", "password2": "a phrase that only she knows"}
    way_back(nia, dot).post(reverse("invitation"), words)
    assert not SocialAccount.objects.filter(user=nia).exists()
    assert may_sign_in(nia, "a phrase that only she knows")


def test_whoever_comes_back_is_asked_for_the_second_factor(provider, dot, nia):
    add_app(nia)
    client = way_back(nia, dot)
    provider.subject = "subject-of-nia-now"
    journey(client, "openid_accept")
    assert not is_signed_in(client)


def test_an_identity_of_somebody_else_is_no_way_back(provider, dot, nia, hal):
    link(hal, provider, "subject-of-hal")
    client = way_back(nia, dot)
    provider.subject = "subject-of-hal"
    assert journey(client, "openid_accept").status_code == 409
    assert SocialAccount.objects.get(user=nia).uid == "subject-of-nia"
    assert not is_signed_in(client)


# ---------------------------------------------------------------- confirming


def test_ses_06_a_silent_sign_in_at_the_provider_is_not_fresh(provider, dot):
    """A borrowed browser, in which the provider's own session is still open."""
    link(dot, provider)
    for told in ({"auth_time": int(time.time()) - 301}, {"auth_time": None}, {"auth_time": "now"}):
        provider.told = told
        client = Client()
        journey(client)
        assert is_signed_in(client)
        assert is_asked_first(client), told
    provider.told = {}
    client = Client()
    journey(client)
    assert not is_asked_first(client)
    provider.asked_at = time.time() + 50_000  # a clock that is ahead makes nobody fresh for longer
    client = Client()
    journey(client)
    grow_old(client)
    assert is_asked_first(client)


def test_a_local_second_factor_at_sign_in_is_fresh_whatever_the_provider_says(provider, dot):
    link(dot, provider)
    add_app(dot)
    provider.asked_at = time.time() - 3600
    client = Client()
    journey(client)
    client.post(reverse("mfa_authenticate"), {"code": code_of()})
    assert not is_asked_first(client)


def test_whoever_has_no_password_confirms_at_the_provider_and_comes_back(provider, nia):
    client = Client()
    journey(client)
    grow_old(client)
    assert is_asked_first(client)
    asked = client.get(f"{reverse('account_reauthenticate')}?next=/second-factor/app/")
    assert asked["Location"] == f"{reverse('openid_confirm')}?next=%2Fsecond-factor%2Fapp%2F"
    assert "Confirm with Example" in client.get(asked["Location"]).content.decode()
    assert journey(client, "openid_confirm", next="/second-factor/app/")["Location"] == "/second-factor/app/"
    assert (provider.requests[-1]["prompt"], provider.requests[-1]["max_age"]) == ("login", "0")
    assert not is_asked_first(client)
    event = last(CONFIRM)
    assert (event.outcome, event.details, event.actor) == ("succeeded", {"by": "openid"}, nia.principal)


def test_over_a_page_it_is_a_dialog_that_leads_back_there(provider, nia):
    client = Client()
    journey(client)
    page = client.get(reverse("account_reauthenticate"), headers=HTMX, follow=True).content.decode()
    assert "Confirm with Example" in page
    assert 'name="next" value="/audit/"' in page


def test_a_provider_that_did_not_ask_again_confirms_nothing(provider, nia):
    client = Client()
    journey(client)
    grow_old(client)
    for told in ({"auth_time": int(time.time()) - 120}, {"auth_time": None}):
        provider.told = told
        assert journey(client, "openid_confirm").status_code == 403
        assert is_asked_first(client)
        assert last(CONFIRM).decision == "The provider did not ask again who it is."
    provider.told = {}
    journey(client, "openid_confirm")
    assert not is_asked_first(client)


def test_another_identity_confirms_nothing(provider, nia, dot):
    client = Client()
    journey(client)
    grow_old(client)
    link(dot, provider, "subject-of-dot")
    for subject in ("subject-of-dot", "of-nobody"):
        provider.subject = subject
        assert journey(client, "openid_confirm").status_code == 403
    assert is_asked_first(client)
    assert client.session["_auth_user_id"] == str(nia.pk)
    assert last(CONFIRM).outcome == "denied"


def test_whoever_has_a_password_too_may_choose(here, provider, dot):
    link(dot, provider)
    grow_old(here)
    page = here.get(reverse("account_reauthenticate")).content.decode()
    assert "Use Example" in page
    page = here.get(f"{reverse('openid_confirm')}?next=/audit/").content.decode()
    assert f'{reverse("account_reauthenticate")}?next=%2Faudit%2F">Use the password' in page


# ---------------------------------------------------------------- the provider's second factor


def needs_factor(user: User) -> None:
    """From now on this person lists the trail with a second factor alone."""
    text = (
        '{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:ListAuditEvents", "Resource": "*",'
        ' "Condition": {"Bool": {"acs:MFAPresent": "true"}}}]}'
    )
    actor = factories.administrator()
    policies.attach(policies.create("with-a-factor", text, actor=actor), user, actor=actor)


def sees_the_trail(client: Client) -> bool:
    return client.get(reverse("audit")).status_code == 200


def test_the_provider_s_second_factor_counts_only_where_it_is_said_to(provider, settings):
    eve = link(factories.user("eve"), provider)
    needs_factor(eve)
    plain = settings.OIDC
    for counts, told, expected in (
        ((), {"amr": ["pwd", "mfa"], "acr": "mfa"}, False),
        (("mfa", "gold"), {"amr": ["pwd"], "acr": "silver"}, False),
        (("mfa", "gold"), {"amr": "mfa"}, False),  # no list: not what RFC 8176 says
        (("mfa", "gold"), {"amr": [["mfa"], None], "acr": ["gold"]}, False),
        (("mfa", "gold"), {"amr": ["pwd", "mfa"]}, True),
        (("mfa", "gold"), {"acr": "gold"}, True),
    ):
        settings.OIDC = replace(plain, second_factor=frozenset(counts))
        provider.told = told
        client = Client()
        journey(client)
        assert is_signed_in(client)
        assert sees_the_trail(client) is expected, (counts, told)
    assert last("kms:SignIn").details == {"by": "openid", "second_factor": "openid"}


def test_who_has_a_second_factor_here_is_asked_for_it_all_the_same(provider, settings, dot):
    link(dot, provider)
    add_app(dot)
    settings.OIDC = replace(settings.OIDC, second_factor=frozenset({"mfa"}))
    provider.told = {"amr": ["mfa"]}
    client = Client()
    journey(client)
    assert not is_signed_in(client)


def test_where_a_second_factor_is_required_the_provider_s_is_one_if_it_counts(provider, settings, dot):
    link(dot, provider)
    settings.REQUIRE_MFA = True
    provider.told = {"amr": ["mfa"]}
    client = Client()
    journey(client)
    assert client.get("/audit/")["Location"] == reverse("mfa_index")
    settings.OIDC = replace(settings.OIDC, second_factor=frozenset({"mfa"}))
    client = Client()
    journey(client)
    assert client.get("/audit/").status_code == 200


# ---------------------------------------------------------------- by the provider alone


@pytest.fixture
def only(provider, settings) -> None:
    settings.OIDC = replace(settings.OIDC, is_only=True)


def test_whoever_linked_an_identity_signs_in_with_it_alone(provider, only):
    eve = link(factories.user("eve"), provider)
    assert not may_sign_in(eve)
    assert last("kms:SignIn").decision == "This user signs in with the identity provider only."
    client = Client()
    journey(client)
    assert is_signed_in(client)
    grow_old(client)
    assert client.get(reverse("account_reauthenticate"))["Location"] == reverse("openid_confirm")
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert is_asked_first(client)


def test_whoever_linked_none_is_led_to_linking_before_anything_else(provider, only):
    eve = factories.user("eve")
    client = with_password(eve)
    for path in ("/", "/all/secrets/", "/sessions/"):
        assert client.get(path)["Location"] == reverse("mfa_index")
    assert client.get("/all/secrets/", headers=HTMX)["HX-Redirect"] == reverse("mfa_index")
    assert "Link Example" in client.get(reverse("mfa_index")).content.decode()
    journey(client, "openid_link")
    assert client.get("/sessions/").status_code == 200
    assert not may_sign_in(eve)


def test_nobody_is_locked_out_an_administrator_without_an_identity_keeps_the_password(provider, only, dot):
    client = with_password(dot)
    assert client.get("/audit/").status_code == 200
    link(dot, provider)
    assert not may_sign_in(dot)


def test_nobody_is_locked_out_recover_lets_its_password_in_until_it_is_changed(provider, only, dot):
    link(dot, provider)
    printed = users.recover(dot, reason="the provider is away").reveal()
    client = Client()
    client.post(reverse("account_login"), {"login": "dot", "password": printed})
    assert is_signed_in(client)
    words = {"oldpassword": printed, "password1": "a phrase that only dot knows", "password2": ""}
    words["password2"] = words["password1"]
    client.post(reverse("account_change_password"), words)
    assert client.get("/audit/").status_code == 200
    assert not may_sign_in(dot, words["password1"])
    client.post(reverse("openid_unlink"))
    assert may_sign_in(dot, words["password1"])


def test_an_invited_person_chooses_no_password_there(provider, only, dot):
    client, _ = open_link("nia")
    page = client.get(reverse("invitation")).content.decode()
    assert "Choose password" not in page
    words = {"password1": "a phrase that only she knows", "password2": "a phrase that only she knows"}
    assert client.post(reverse("invitation"), words).status_code == 409
    assert not User.objects.filter(username="nia").exists()
    journey(client, "openid_accept")
    assert is_signed_in(client)


def test_the_sign_in_page_leads_with_the_provider_there(client, provider, only):
    page = client.get(reverse("account_login")).content.decode()
    assert page.index("Sign in with Example") < page.index("Sign in with a password")
