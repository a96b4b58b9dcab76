"""What a reader and a writer of the database get of sessions and links: no way in."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from console.sessions.store import Name, SessionStore
from secrets_app.models import Invitation, User
from secrets_app.people import invitations
from tests import factories
from tests.canaries import places
from tests.factories import PASSWORD

PAGE = "/sessions/"
A_COOKIE = "A" * 43


def signed_in(name: str) -> Client:
    client = Client()
    answer = client.post(reverse("account_login"), {"login": name, "password": PASSWORD})
    assert answer.status_code == 302
    assert is_inside(client)
    return client


def is_inside(client: Client) -> bool:
    return client.get(PAGE).status_code == 200


def with_cookie(text: str) -> Client:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = text
    return client


def row_of(client: Client) -> Session:
    return Session.objects.get(session_key=client.session.session_key)


# ---------------------------------------------------------------- a reader


@pytest.mark.django_db(transaction=True)
def test_a_reader_of_a_dump_signs_in_as_nobody(dot):
    here = signed_in("dot")
    _, token = invitations.invite("nia", actor=dot.principal)
    _, back = invitations.invite_back(factories.user("ann"), actor=dot.principal, reason="lost")
    dump = b"\n".join(places.database())
    words = {word.decode() for word in re.findall(rb"[A-Za-z0-9_:.\-]{20,}", dump)}
    cookie = here.cookies[settings.SESSION_COOKIE_NAME].value
    assert row_of(here).session_key in words  # it is a dump
    assert not [secret for secret in (cookie, token.reveal(), back.reveal()) if secret.encode() in dump]
    for row in (*Session.objects.all(), *UserSession.objects.all()):
        assert not is_inside(with_cookie(row.session_key))
    for word in words:
        assert "_auth_user_id" not in SessionStore.opened_by(word)
        with pytest.raises(invitations.Void):
            invitations.find(word)
    assert is_inside(with_cookie(cookie))
    assert invitations.find(token.reveal())


@pytest.mark.django_db
def test_no_page_shows_what_opens_a_session(dot):
    here = signed_in("dot")
    cookie = here.cookies[settings.SESSION_COOKIE_NAME].value
    assert cookie not in here.get(PAGE).content.decode()
    assert cookie not in repr(here.session)
    assert cookie not in repr(here.session.session_key)


# ---------------------------------------------------------------- a writer


def test_the_name_of_a_session_follows_from_the_key_alone(settings):
    """Whoever writes the table cannot work out which row a cookie of their own leads to."""
    here = Name.behind(A_COOKIE)
    settings.SECRET_KEY = "of another installation"
    assert Name.behind(A_COOKIE) != here


@pytest.mark.django_db
def test_a_planted_session_opens_nothing(dot, settings):
    """Even with a key of their own: contents that were copied, and contents that they signed."""
    data, end = row_of(signed_in("dot")).session_data, timezone.now() + timedelta(hours=1)
    ours, settings.SECRET_KEY = settings.SECRET_KEY, "of somebody else"
    theirs = SessionStore(str(Name.behind(A_COOKIE))).encode({"_auth_user_id": str(dot.pk)})
    names = [str(Name.behind(A_COOKIE)), hashlib.sha256(A_COOKIE.encode()).hexdigest()[:40], A_COOKIE[:40]]
    settings.SECRET_KEY = ours
    for name in (*names, str(Name.behind(A_COOKIE))):
        for text in (data, theirs):
            Session.objects.update_or_create(
                session_key=name, defaults={"session_data": text, "expire_date": end}
            )
            assert not is_inside(with_cookie(A_COOKIE))


@pytest.mark.django_db
def test_the_contents_of_one_session_do_not_open_in_another(dot, ann):
    mine = signed_in("ann")
    Session.objects.filter(pk=row_of(mine).pk).update(session_data=row_of(signed_in("dot")).session_data)
    assert "_auth_user_id" not in mine.session
    assert not is_inside(mine)


@pytest.mark.django_db
def test_contents_that_were_written_by_somebody_else_are_none(dot):
    here = signed_in("dot")
    for text in ("", "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAV0b3VjaJSFlFKULg==", ":::", "é", "." * 9999):
        Session.objects.filter(pk=row_of(here).pk).update(session_data=text)
        assert not is_inside(here)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["", "short", "A" * 42, "A" * 44, "A" * 42 + "\0", "A" * 42 + "é", "A" * 9999]
)
def test_a_cookie_of_another_form_opens_nothing_and_is_no_error(text):
    assert with_cookie(text).get(reverse("account_login")).status_code == 200
    assert not is_inside(with_cookie(text))


# ---------------------------------------------------------------- links


@pytest.mark.django_db
def test_the_hash_of_a_link_follows_from_the_key_alone(dot, settings):
    made, token = invitations.invite("nia", actor=dot.principal)
    settings.SECRET_KEY = "of another installation"
    with pytest.raises(invitations.Void):
        invitations.find(token.reveal())
    assert invitations._hash(token) != made.token_hash


@pytest.mark.django_db
def test_a_planted_link_opens_nothing(client, dot):
    made, _ = invitations.invite("nia", actor=dot.principal, groups=["administrators"])
    for planted in (hashlib.sha256(A_COOKIE.encode()).hexdigest(), A_COOKIE):
        type(made).objects.filter(pk=made.pk).update(token_hash=planted)
        assert client.get(reverse("invitation_open", args=[A_COOKIE])).status_code == 410


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        lambda other: {"groups": ["administrators"]},
        lambda other: {"groups": []},
        lambda other: {"username": "root"},
        lambda other: {"user": other},
        lambda other: {"invited_by": other.principal},
        lambda other: {"expires_at": timezone.now() + timedelta(days=900)},
        lambda other: {"seal": ""},
    ],
)
def test_an_invitation_that_was_changed_in_the_database_is_void(client, dot, change):
    made, token = invitations.invite("nia", actor=dot.principal, groups=["auditors"])
    link = reverse("invitation_open", args=[token.reveal()])
    assert client.get(link).status_code == 302
    QuerySet(Invitation).filter(pk=made.pk).update(**change(factories.user("ann", "administrators")))
    assert Client().get(link).status_code == 410
    words = {"password1": "a long new password", "password2": "a long new password"}
    assert client.post(reverse("invitation"), words).status_code == 410
    assert not User.objects.filter(username__in=["nia", "root"]).exists()


@pytest.mark.django_db
def test_two_links_cannot_be_exchanged(client, dot):
    """One invited as an auditor gives their own link the invitation of an administrator."""
    low, token = invitations.invite("nia", actor=dot.principal, groups=["auditors"])
    high, _ = invitations.invite("max", actor=dot.principal, groups=["administrators"])
    mine = low.token_hash
    QuerySet(Invitation).filter(pk=low.pk).update(token_hash="-")
    QuerySet(Invitation).filter(pk=high.pk).update(token_hash=mine)
    assert client.get(reverse("invitation_open", args=[token.reveal()])).status_code == 410
