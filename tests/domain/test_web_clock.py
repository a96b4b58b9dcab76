"""The clock of the machine that serves is wrong, or jumps: the database's own clock decides what is due."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from rotation import leases
from rotation.models import Run
from secrets_app.models import AuditEvent
from secrets_app.people import access_keys
from tests import factories, sigv4
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


def sign_in(client):
    return client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})


@pytest.mark.parametrize("days", [2, -2])
def test_fi_t_05_a_web_whose_clock_jumps_asks_for_a_sign_in_and_loses_nothing(client, dot, days):
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    page = f"/main/secrets/{secret.pk}"
    assert sign_in(client).status_code == 302
    assert client.get(f"{page}/").status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=days)):
        if client.get(f"{page}/").status_code != 200:
            assert sign_in(client).status_code == 302
        assert client.get(f"{page}/").status_code == 200
        shown = client.post(f"{page}/value/", {"reason": "routine"})
        assert b"a-first-value-1" in shown.content
        asked = client.post(f"{page}/rotate/", {"reason": "routine", "token": "one-press"})
        assert asked.status_code == 302
    # Its clock is right again: what was asked for is due, and the user goes on after at most a sign-in.
    run = Run.objects.get(secret=secret, kind=Run.Kind.ROTATE)
    assert run.pk in leases.due(10)
    if client.get(f"{page}/").status_code != 200:
        assert sign_in(client).status_code == 302
    assert client.get(f"{page}/").status_code == 200
    # The trail is whole: its order is by number and not by any clock.
    numbers = list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("days", [2, -2])
def test_fi_t_05_a_program_hears_that_the_clocks_differ_and_is_answered_when_they_agree(dot, days):
    factories.generic_secret(name="of-a-program", value="its-value")
    key, own = access_keys.create(dot.principal, actor=dot.principal)
    client = sigv4.Signer(key.key_id, own, region="main")
    asked_at = timezone.now()
    with time_machine.travel(asked_at + timedelta(days=days)):
        body = b'{"SecretId": "of-a-program"}'
        answer = client.send(body, client.headers(body, "secretsmanager.GetSecretValue", at=asked_at))
        assert answer.status_code == 400
        told = json.loads(answer.content)
        assert "its-value" not in json.dumps(told)
        assert told["__type"] in {"InvalidSignatureException", "RequestExpired"}, told
    status, answer = client.call("GetSecretValue", SecretId="of-a-program")
    assert (status, answer["SecretString"]) == (200, "its-value")
