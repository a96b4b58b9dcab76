"""Get secret value: recorded before it is shown, shown once, kept by nobody."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone

from rotation.models import Instance, ManagedAccount
from secrets_app.models import AuditEvent, KeyVersion, Label, Secret
from secrets_app.secrets import versions
from tests import factories

# Not inside a transaction: the record must be durable before the value leaves.
pytestmark = pytest.mark.django_db(transaction=True)

WHY = {"reason": "on call"}
VALUE = "canary-5a2f:<b>&amp;'\" kept"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}


@pytest.fixture
def secret() -> Secret:
    return factories.secret(initial=VALUE)


def where(secret: Secret) -> str:
    return reverse("secret_reveal", args=["main", secret.pk])


def text(response) -> str:
    return response.content.decode()


def reads() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="kms:GetSecretValue"))


def test_asking_shows_a_form_and_no_value(as_dot, secret):
    for headers in (HTMX, None):
        answer = as_dot.get(where(secret), headers=headers)
        assert "Reason" in text(answer)
        assert "canary-5a2f" not in text(answer)
    assert reads() == []


def test_the_templates_are_given_no_text_of_the_value(as_dot, secret):
    """A logger of templates prints what they were given, where a variable is missing."""
    answer = as_dot.post(where(secret), {"reason": "incident 42"}, headers=HTMX)
    assert "canary-5a2f" in text(answer)
    assert "canary-5a2f" not in repr(answer.context)


def test_the_value_is_shown_once_with_the_command_to_log_on(as_dot, secret):
    answer = as_dot.post(where(secret), {"reason": "incident 42"}, headers=HTMX)
    shown = text(answer)
    assert answer.status_code == 200
    assert "canary-5a2f:&lt;b&gt;&amp;amp;" in shown
    assert shown.count("canary-5a2f") == 1
    assert 'data-expires-in="30"' in shown
    assert f"ssh svc@{secret.managed.instance.address} -p 22" in shown


def test_what_is_read_is_recorded_with_who_and_why(as_dot, dot, secret):
    as_dot.post(where(secret), {"reason": "incident 42"}, headers=HTMX)
    [event] = reads()
    assert (event.actor, event.reason, event.outcome) == (dot.principal, "incident 42", "succeeded")
    assert event.version_id == secret.labelled("current").version_id
    assert event.address
    assert "canary-5a2f" not in str(event.__dict__)
    secret.refresh_from_db()
    assert secret.last_read_by == dot.principal


def test_a_value_that_cannot_be_recorded_is_not_shown(client, dot, secret):
    client.force_login(dot)
    client.raise_request_exception = False

    def full(execute, sql, params, many, context):
        if "INSERT" in sql and AuditEvent._meta.db_table in sql:
            raise OperationalError("disk full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(full):
        answer = client.post(where(secret), WHY, headers=HTMX)
    assert answer.status_code == 503
    assert "canary-5a2f" not in text(answer)


def test_no_browser_or_proxy_may_keep_the_answer(as_dot, secret):
    for answer in (as_dot.get(where(secret)), as_dot.post(where(secret), WHY)):
        assert "no-store" in answer["Cache-Control"]
        assert "canary-5a2f" not in str(answer.headers)
        assert "canary-5a2f" not in str(answer.cookies)


def test_without_script_the_value_stands_on_a_page_of_its_own(as_dot, secret):
    shown = text(as_dot.post(where(secret), WHY))
    assert "<html" in shown
    assert "canary-5a2f" in shown


def test_a_secret_without_a_value_says_so_and_offers_the_first_rotation(as_dot):
    empty = factories.secret()
    shown = text(as_dot.get(where(empty), headers=HTMX))
    assert "No value yet" in shown
    assert reverse("secret_rotate", args=["main", empty.pk]) in shown
    assert as_dot.post(where(empty), WHY, headers=HTMX).status_code == 409
    assert reads() == []


def test_an_older_version_is_read_by_its_id(as_dot, secret):
    old = secret.labelled("current")
    new = versions.stage(
        secret,
        versions.Value("svc", password=factories.Plaintext("the newer one")),
        origin="generated",
        actor=factories.administrator(),
    )
    versions.promote(new)
    assert "the newer one" in text(as_dot.post(where(secret), WHY, headers=HTMX))
    address = f"{where(secret)}?version={old.version_id}"
    asked = text(as_dot.get(address, headers=HTMX))
    assert "ACSPrevious" in asked
    assert f'hx-post="{address}"' in asked
    assert "canary-5a2f" in text(as_dot.post(address, WHY, headers=HTMX))
    assert reads()[0].version_id == old.version_id


def test_a_version_of_another_secret_is_not_found(as_dot, secret):
    other = factories.secret(initial="another secret's value")
    address = f"{where(secret)}?version={other.labelled('current').version_id}"
    for answer in (as_dot.get(address), as_dot.post(address, WHY)):
        assert answer.status_code == 404
        assert "another secret's value" not in text(answer)
    assert reads() == []


def test_a_secret_pending_deletion_gives_no_value(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    assert "pending deletion" in text(as_dot.get(where(secret), headers=HTMX))
    answer = as_dot.post(where(secret), WHY, headers=HTMX)
    assert answer.status_code == 409
    assert "canary-5a2f" not in text(answer)
    assert "restored" in text(answer)


def test_a_disabled_key_gives_no_value(as_dot, secret):
    KeyVersion.objects.update(state="disabled")
    answer = as_dot.post(where(secret), WHY, headers=HTMX)
    assert answer.status_code == 409
    assert "disabled" in text(answer)
    assert "canary-5a2f" not in text(answer)


def test_a_reason_that_is_too_long_is_refused_before_anything_is_read(as_dot, secret):
    answer = as_dot.post(where(secret), {"reason": "x" * 501}, headers=HTMX)
    assert answer.status_code == 422
    assert reads() == []


def test_the_command_quotes_a_name_that_a_shell_would_expand(as_dot, secret):
    ManagedAccount.objects.filter(secret=secret).update(username="svc$")
    Instance.objects.update(port=2222)
    address = secret.managed.instance.address
    shown = text(as_dot.post(where(secret), WHY, headers=HTMX)).replace("&#x27;", "'")
    assert f"ssh 'svc$@{address}' -p 2222" in shown


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_read_gets_a_refusal_that_is_recorded(client, request, secret, who):
    client.force_login(request.getfixturevalue(who))
    for answer in (client.get(where(secret)), client.post(where(secret), WHY, headers=HTMX)):
        assert answer.status_code == 403
        assert "canary-5a2f" not in text(answer)
    assert {event.outcome for event in reads()} == {"denied"}


def test_a_label_that_nothing_points_at_reads_as_no_value_yet(as_dot, secret):
    Label.objects.filter(secret=secret).delete()
    assert "No value yet" in text(as_dot.get(where(secret), headers=HTMX))
