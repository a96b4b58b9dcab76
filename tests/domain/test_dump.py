"""What a reader of every store gets: a dump of the database and of Redis lets nobody in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from redis import Redis

from console.sessions.store import SessionStore
from console.sign_in import known_devices
from rotation import runs, tasks
from secrets_app.people import invitations
from tests import factories, messages
from tests.canaries import places
from tests.canaries.needles import Searcher
from tests.factories import PASSWORD
from tests.screens.routes.calls import VALUE
from tests.screens.test_second_factor import codes_on, set_up

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/sessions/"


def kept_by_redis() -> list[bytes]:
    """The file that Redis writes, whole; nothing in it is compressed."""
    if settings.BROKER_URL.startswith("embedded"):
        return []
    client = Redis.from_url(settings.BROKER_URL)
    client.config_set("rdbcompression", "no")
    client.save()
    found = client.config_get("dir") | client.config_get("dbfilename")
    return [(Path(found["dir"]) / found["dbfilename"]).read_bytes()]


def with_cookie(text: str) -> Client:
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = text
    return client


def test_a_dump_of_every_store_holds_no_way_in_and_no_value(dot):
    here = Client()
    here.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    assert here.get(PAGE).status_code == 200
    key = set_up(here)
    codes = codes_on(here.post(reverse("mfa_view_recovery_codes")).content.decode())
    _, link = invitations.invite("nia", actor=dot.principal)
    _, back = invitations.invite_back(factories.user("ann"), actor=dot.principal, reason="lost")
    secret = factories.secret(initial=VALUE)
    tasks.wake(runs.start(secret, actor=dot.principal))
    cookies = [here.cookies[name].value for name in (settings.SESSION_COOKIE_NAME, known_devices.COOKIE)]
    assert len(codes) >= 8
    assert Authenticator.objects.filter(user=dot, type="recovery_codes").exists()

    dump = b"\n".join([*places.database(), *places.broker(), *kept_by_redis()])
    # It is a dump: what may stand in it does.
    for known in (Session.objects.get(session_key=here.session.session_key).session_key, secret.name):
        assert known.encode() in dump
    assert any(message.encode() in dump for message in messages.waiting())
    never = {f"code {number}": code for number, code in enumerate(codes)} | {
        "session": cookies[0], "device": cookies[1], "app": key, "link": link.reveal(),
        "way back": back.reveal(), "value": VALUE, "password": PASSWORD,
    }  # fmt: skip
    assert Searcher(never).hits(dump) == set()
    assert Searcher(never).hits([dump, codes[3].encode()]) == {"code 3 (raw)"}

    for word in {found.decode() for found in re.findall(rb"[A-Za-z0-9_:.\-]{20,}", dump)}:
        assert "_auth_user_id" not in SessionStore.opened_by(word)
        with pytest.raises(invitations.Void):
            invitations.find(word)
    for row in Session.objects.all():
        assert with_cookie(row.session_key).get(PAGE).status_code == 302
    # What was looked for does open.
    assert here.get(PAGE).status_code == 200
    assert with_cookie(cookies[0]).get(PAGE).status_code == 200
    assert invitations.find(link.reveal())
