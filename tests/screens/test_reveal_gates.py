"""What stands between the right to read a value and the value: a reason, patience; and how to log on."""

from __future__ import annotations

import html
import json
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse

from rotation.models import Instance, ManagedAccount
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import policies
from secrets_app.secrets import versions
from secrets_app.secrets.read_limits import NoReason, ReasonNeeded, TooOften, UnfitReason
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = "canary-of-the-gates-1"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}


@pytest.fixture
def secret() -> Secret:
    return factories.secret(initial=VALUE)


def where(secret: Secret) -> str:
    return reverse("secret_reveal", args=["main", secret.pk])


def read(client: Client, secret: Secret, reason: str = "on call", **headers: str):
    return client.post(where(secret), {"reason": reason}, headers=headers or HTMX)


def told(outcome: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="kms:GetSecretValue", outcome=outcome))


def attach(*statements: dict) -> None:
    text = json.dumps({"Version": "1", "Statement": list(statements)})
    policy = policies.create("with-a-reason", text, actor=factories.administrator())
    policies.attach(policy, Group.objects.get(name="administrators"), actor=factories.administrator())


def when(effect: str, operator: str, wanted: str) -> dict:
    condition = {operator: {"kms:Reason": wanted}}
    return {"Effect": effect, "Action": "kms:Get*", "Resource": "*", "Condition": condition}


# ---------------------------------------------------------------- a reason


@pytest.fixture
def is_optional(settings) -> None:
    settings.REVEAL_REASON = "optional"


#: By what a user enters: how the field answers.
UNFIT = {
    "": "Enter a reason. It is recorded in the audit trail.",
    "  \t ": "Enter a reason. It is recorded in the audit trail.",
    "\u200b\u2060": "Enter a reason. It is recorded in the audit trail.",
    "x" * 501: "at most 500 characters",
    "first\nsecond": "The character U+000A is not allowed.",
    "a\x1b[31mred": "The character U+001B is not allowed.",
    "a\x00b": "Null characters are not allowed.",
    "a\u2028b": "The character U+2028 is not allowed.",
    "a\u202eb": "The character U+202E is not allowed.",
}


@pytest.mark.parametrize(("unfit", "said"), UNFIT.items())
def test_without_a_fit_reason_neither_a_value_nor_its_file_is_shown(as_dot, dot, unfit, said):
    key = key_pairs.generate("ed25519").private_key.reveal()
    pair = factories.secret(kind="key_pair", key_algorithm="ed25519", initial=key, username="git")
    old = f"{where(pair)}?version={pair.labelled('current').version_id}"
    for path in (where(pair), old, reverse("secret_download", args=["main", pair.pk])):
        for headers in (HTMX, {}):
            refused = as_dot.post(path, {"reason": unfit}, headers=headers)
            shown = html.unescape(refused.content.decode())
            assert refused.status_code == 422
            assert 'aria-invalid="true"' in shown
            assert said in shown
            assert "PRIVATE KEY" not in shown
    with pytest.raises((NoReason, UnfitReason)):
        versions.reveal(pair.labelled("current"), actor=dot.principal, reason=unfit)
    assert told("succeeded") == []


def test_a_request_without_the_field_shows_nothing(as_dot, secret):
    assert as_dot.post(where(secret), {}).status_code == 422
    assert told("succeeded") == []


def test_a_reason_is_kept_as_it_was_entered_with_letters_of_any_language(as_dot, secret):
    for reason in ("Störung 7: „Zugriff“", "事故\u00a0対応", "क्\u200dष", "x" * 500):
        assert VALUE in read(as_dot, secret, f"  {reason} ").content.decode()
        assert told("succeeded")[0].reason == reason


def test_where_it_is_optional_a_value_is_read_without_a_reason(as_dot, secret, is_optional):
    assert "(optional)" in as_dot.get(where(secret), headers=HTMX).content.decode()
    assert VALUE in read(as_dot, secret, "").content.decode()
    assert [event.reason for event in told("succeeded")] == [""]
    assert read(as_dot, secret, "first\nsecond").status_code == 422


def test_the_reason_stands_in_the_list_of_events_in_the_event_and_in_both_files(as_dot, secret):
    read(as_dot, secret, "incident <42>")
    event = told("succeeded")[-1]
    for path in ("/audit/", f"/audit/{event.sequence}/", f"/main/secrets/{secret.pk}/?tab=audit"):
        assert "incident &lt;42&gt;" in as_dot.get(path).content.decode()
    for path in ("/audit/export.csv", "/audit/export.jsonl"):
        assert b"incident <42>" in b"".join(as_dot.get(path).streaming_content)


@pytest.mark.parametrize("blank", ["", "   "])
def test_a_policy_that_asks_for_a_reason_shows_nothing_without_one(as_dot, dot, secret, blank, is_optional):
    attach(when("Deny", "StringEquals", ""))
    form = as_dot.get(where(secret), headers=HTMX)
    assert form.status_code == 200
    assert "A policy requires a reason here" in form.content.decode()
    refused = read(as_dot, secret, blank)
    assert refused.status_code == 422
    assert VALUE not in refused.content.decode()
    assert 'aria-invalid="true"' in refused.content.decode()
    with pytest.raises(ReasonNeeded):
        versions.reveal(secret.labelled("current"), actor=dot.principal, reason=blank)
    assert told("succeeded") == []
    assert {event.decision for event in told("denied")} == {ReasonNeeded.__doc__}
    assert VALUE in read(as_dot, secret, "incident 42").content.decode()
    assert [event.reason for event in told("succeeded")] == ["incident 42"]


def test_a_policy_may_ask_for_the_number_of_a_ticket(as_dot, secret, dot, is_optional):
    attach(when("Deny", "StringNotLike", "INC-?*"))
    for wrong in ("", "because", "inc-7", "INC-"):
        assert read(as_dot, secret, wrong).status_code == 422, wrong
        with pytest.raises(ReasonNeeded):
            versions.reveal(secret.labelled("current"), actor=dot.principal, reason=wrong)
    assert told("succeeded") == []
    assert VALUE in read(as_dot, secret, "INC-7").content.decode()


def test_an_allow_for_a_reason_is_one_only_with_it(client, ann, secret):
    policies.attach(
        policies.create(
            "readers",
            json.dumps(
                {
                    "Version": "1",
                    "Statement": [
                        {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "*"},
                        when("Allow", "StringLike", "INC-*"),
                    ],
                }
            ),
            actor=factories.administrator(),
        ),
        ann,
        actor=factories.administrator(),
    )
    client.force_login(ann)
    page = client.get(reverse("secret", args=["main", secret.pk])).content.decode()
    assert "Get secret value" in page
    assert read(client, secret, "no ticket").status_code == 422
    assert VALUE in read(client, secret, "INC-1").content.decode()


def test_the_file_of_a_key_asks_for_the_same_reason(as_dot):
    attach(when("Deny", "StringEquals", ""))
    key = key_pairs.generate("ed25519").private_key.reveal()
    pair = factories.secret(kind="key_pair", key_algorithm="ed25519", initial=key, username="git")
    file = reverse("secret_download", args=["main", pair.pk])
    refused = as_dot.post(file, {"reason": ""})
    assert refused.status_code == 422
    assert b"PRIVATE KEY" not in refused.content
    kept = as_dot.post(file, {"reason": "deploy"})
    assert (
        key_pairs.read(Plaintext(kept.content.decode())).public_key
        == key_pairs.read(Plaintext(key)).public_key
    )
    assert kept["Content-Disposition"].startswith('attachment; filename="svc-')
    assert "no-store" in kept["Cache-Control"]


# ---------------------------------------------------------------- patience


def test_so_many_values_at_a_time_and_then_none_until_the_first_is_ten_minutes_ago(
    as_dot, secret, settings, hal, dot
):
    settings.READS_AT_MOST = 3
    for _ in range(3):
        assert read(as_dot, secret).status_code == 200
    refused = read(as_dot, secret)
    assert refused.status_code == 429
    assert VALUE not in refused.content.decode()
    assert "Try again at" in refused.content.decode()
    assert 590 <= int(refused["Retry-After"]) <= 600
    assert len(told("succeeded")) == 3
    [denied] = told("denied")
    assert (denied.actor, denied.resource_id) == (dot.principal, secret.pk)
    assert "3 values in 10 minutes" in denied.decision
    other = Client()
    other.force_login(factories.user("eva", "administrators"))
    assert VALUE in read(other, secret).content.decode()


def test_other_sessions_and_the_file_count_too(as_dot, dot, settings):
    settings.READS_AT_MOST = 2
    key = key_pairs.generate("ed25519").private_key.reveal()
    pair = factories.secret(kind="key_pair", key_algorithm="ed25519", initial=key, username="git")
    assert read(as_dot, pair).status_code == 200
    assert (
        as_dot.post(reverse("secret_download", args=["main", pair.pk]), {"reason": "on call"}).status_code
        == 200
    )
    other = Client()
    other.force_login(dot)
    assert read(other, pair).status_code == 429
    answer = other.post(reverse("secret_download", args=["main", pair.pk]), {"reason": "on call"})
    assert answer.status_code == 429
    assert b"PRIVATE KEY" not in answer.content
    with pytest.raises(TooOften):
        versions.reveal(pair.labelled("current"), actor=dot.principal, reason="on call")


def test_values_read_long_ago_do_not_count(as_dot, secret, settings):
    settings.READS_AT_MOST = 1
    assert read(as_dot, secret).status_code == 200
    assert read(as_dot, secret).status_code == 429
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets_app.secrets.read_limits.WITHIN", timedelta(0))
        assert read(as_dot, secret).status_code == 200


def test_many_at_once_are_counted_one_after_the_other(dot, secret, settings):
    settings.READS_AT_MOST = 3
    shown, ready = [], threading.Barrier(8)

    def ask() -> None:
        try:
            ready.wait()
            versions.reveal(secret.labelled("current"), actor=dot.principal, reason="on call")
            shown.append(1)
        except TooOften:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shown) == len(told("succeeded")) == 3


# ---------------------------------------------------------------- how to log on


def test_to_windows_one_logs_on_by_remote_desktop(as_dot, secret):
    ManagedAccount.objects.filter(secret=secret).update(username="Administrator")
    Instance.objects.update(os="windows", port=5986)
    address = secret.managed.instance.address
    shown = read(as_dot, secret).content.decode()
    assert f"mstsc /v:{address}<" in shown
    assert f"{address}\\Administrator" in shown
    assert "ssh " not in shown
