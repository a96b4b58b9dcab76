"""Open sessions and who ends them; a lost second factor and who takes it away."""

from __future__ import annotations

from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from secrets_app.audit import trail
from secrets_app.models import AuditEvent, SealedValue
from secrets_app.people import second_factors, users
from secrets_app.policy import decisions
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"


def signed_in(username="dot", password=PASSWORD, agent=FIREFOX, address="198.51.100.7") -> Client:
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    client.post(reverse("account_login"), {"login": username, "password": password})
    return client


def is_in(client) -> bool:
    return client.get(reverse("session")).status_code == 204


def text(answer) -> str:
    return answer.content.decode()


def give_factor(user):
    name = second_factors.seal("A" * 32, user_id=user.pk)
    return Authenticator.objects.create(user=user, type="totp", data={"secret": name})


def named(name, user):
    return reverse(name, kwargs={"pk": user.pk})


# ---------------------------------------------------------------- one's own


def test_each_session_is_listed_with_browser_and_address_and_this_one_is_marked(dot):
    signed_in(agent=EDGE, address="198.51.100.8")
    here = signed_in()
    page = text(here.get(reverse("sessions")))
    for shown in ("Firefox on Linux", "198.51.100.7", "Edge on Windows", "198.51.100.8"):
        assert shown in page
    assert page.count("This one") == 1
    assert here.session.session_key not in page


def test_nobody_elses_session_is_listed(dot, hal):
    signed_in("hal", address="198.51.100.9")
    assert "198.51.100.9" not in text(signed_in().get(reverse("sessions")))


def test_what_a_browser_calls_itself_is_not_repeated(dot):
    page = text(signed_in(agent="<b>Netscape</b>").get(reverse("sessions")))
    assert "Netscape" not in page
    assert "Unknown browser" in page


def test_ses_04_an_ended_session_ends_with_its_next_request(dot):
    there, here = signed_in(agent=EDGE), signed_in()
    [row] = [row for row in rows_of(dot) if row.browser == "Edge on Windows"]
    here.post(reverse("session_end", kwargs={"pk": row.pk}))
    assert not is_in(there)
    assert is_in(here)
    event = AuditEvent.objects.get(action="kms:EndSessions")
    assert (event.actor, event.details, event.resource_id) == (dot.principal, {"sessions": 1}, dot.pk)


def test_ses_04_nobody_ends_anothers_session_here(dot, hal):
    there = signed_in()
    [row] = rows_of(dot)
    assert signed_in("hal").post(reverse("session_end", kwargs={"pk": row.pk})).status_code == 404
    assert is_in(there)


def test_ses_04_all_others_end_and_this_one_goes_on(dot, hal):
    others = [signed_in() for _ in range(2)]
    stranger, here = signed_in("hal"), signed_in()
    here.post(reverse("sessions_end_others"))
    assert [is_in(one) for one in others] == [False, False]
    assert is_in(here)
    assert is_in(stranger)


def test_ses_04_a_session_that_cannot_be_recorded_as_ended_goes_on(dot, monkeypatch):
    there, here = signed_in(agent=EDGE), signed_in()
    here.raise_request_exception = False

    def full(*_, **__):
        raise OSError

    monkeypatch.setattr(trail, "record", full)
    assert here.post(reverse("sessions_end_others")).status_code == 500
    monkeypatch.undo()
    assert is_in(there)


def test_a_session_that_is_over_is_not_listed(dot, settings):
    here = signed_in()
    kept = here.session
    kept["seen_at"] -= settings.SESSION_IDLE.total_seconds()
    kept.save()
    assert rows_of(dot) == []


def rows_of(user):
    from console.sessions import devices

    return devices.open_of(user)


# ---------------------------------------------------------------- somebody else's


def test_ses_04_an_administrator_ends_every_session_of_a_person(dot, hal):
    theirs = [signed_in("hal") for _ in range(2)]
    here = signed_in()
    assert "End sessions" in text(here.get(named("user_sessions", hal)))
    here.post(named("user_sessions_end", hal))
    assert [is_in(one) for one in theirs] == [False, False]
    assert is_in(here)
    event = AuditEvent.objects.get(action="kms:EndSessions")
    assert (event.actor, event.resource_id) == (dot.principal, hal.pk)


def test_who_may_not_see_a_person_finds_no_sessions_and_ends_none(dot, hal, ann):
    there = signed_in()
    for name in ("user_sessions", "user_sessions_end", "user_reset_factor"):
        for one in ("ann", "hal"):
            client = signed_in(one)
            assert client.get(named(name, dot)).status_code in {404, 405}
            assert client.post(named(name, dot)).status_code in {404, 405}
    assert is_in(there)


def test_an_auditor_sees_sessions_and_ends_none(dot, aud):
    there, client = signed_in(), signed_in("aud")
    page = text(client.get(named("user_sessions", dot)))
    assert "Firefox on Linux" in page
    assert "End sessions" not in page
    assert client.post(named("user_sessions_end", dot)).status_code == 403
    assert is_in(there)


def test_ses_05_a_disabled_persons_session_ends_with_its_next_request(hal):
    there = signed_in("hal")
    assert is_in(there)
    type(hal).objects.filter(pk=hal.pk).update(is_active=False)
    assert not is_in(there)


# ---------------------------------------------------------------- a lost second factor


def test_another_administrator_resets_a_lost_second_factor_with_a_reason(dot, hal):
    give_factor(hal)
    theirs = Client()
    theirs.force_login(hal)
    here = signed_in()
    assert here.post(named("user_reset_factor", hal), {"reason": ""}).status_code == 422
    assert second_factors.has_one(hal)
    here.post(named("user_reset_factor", hal), {"reason": "phone in the lake"})
    assert not Authenticator.objects.exists()
    assert not SealedValue.objects.filter(owner_id=hal.pk).exists()
    event = AuditEvent.objects.get(action="kms:ResetSecondFactor")
    assert (event.actor, event.reason, event.resource_id) == (dot.principal, "phone in the lake", hal.pk)
    assert AuditEvent.objects.get(action="kms:RemoveSecondFactor").actor == dot.principal


def test_a_reset_ends_the_sessions_of_that_person(dot, hal):
    theirs = signed_in("hal")
    give_factor(hal)
    signed_in().post(named("user_reset_factor", hal), {"reason": "phone in the lake"})
    assert not is_in(theirs)


def test_nobody_resets_their_own(dot):
    here = signed_in()
    give_factor(dot)
    assert here.post(named("user_reset_factor", dot), {"reason": "mine"}).status_code == 409
    with pytest.raises(second_factors.Own):
        second_factors.reset(dot, actor=dot.principal, reason="mine")
    assert second_factors.has_one(dot)


def test_who_may_not_resets_nothing(dot, hal, aud):
    give_factor(dot)
    client = signed_in("aud")
    assert client.post(named("user_reset_factor", dot), {"reason": "x"}).status_code == 403
    for actor in (hal.principal, aud.principal):
        with pytest.raises(decisions.NotAllowed):
            second_factors.reset(dot, actor=actor, reason="x")
    assert second_factors.has_one(dot)


# ---------------------------------------------------------------- nobody else can help


def test_on_the_server_the_last_administrator_gets_a_password_and_loses_the_factor(dot):
    there = signed_in()
    give_factor(dot)
    out = StringIO()
    call_command("recover", "DOT", stdout=out)
    [password] = [line.split()[1] for line in out.getvalue().splitlines() if line.startswith("Password")]
    assert not is_in(there)
    assert not second_factors.has_one(dot)
    again = signed_in(password=password)
    assert again.get("/")["Location"] == reverse("account_change_password")
    assert not is_in(signed_in())
    for action in ("kms:ResetSecondFactor", "kms:RecoverUser"):
        event = AuditEvent.objects.get(action=action)
        assert (event.actor, event.resource_id) == (users.system(), dot.pk)
        assert "on Keyturn's machine" in event.reason
        assert password not in str(event.__dict__)


def test_who_is_not_there_is_not_recovered(dot):
    with pytest.raises(CommandError, match="There is no user eve"):
        call_command("recover", "eve")
