"""Rebind: what is shown of a machine that did not prove the value, and who confirms it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rotation.inventory import identities
from rotation.managed import rebinding
from rotation.models import Instance, ManagedAccount
from secrets_app.actions import Action
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import grants, policies
from tests import factories

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
TITLE = "Not verified on this machine"


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial="the-first-value")
    factories.settle(made)
    ManagedAccount.objects.filter(secret=made).update(credential="in_sync")
    return made


def url(name: str, row: Instance | Secret) -> str:
    return reverse(name, args=["main", row.pk])


def text(response) -> str:
    return response.content.decode()


def reinstall(secret: Secret) -> str:
    """Approve another host key of the instance; returns its fingerprint."""
    instance, key = secret.managed.instance, factories.host_key()
    identities.see_host_keys(instance, [key])
    identities.approve_host_keys(instance, [key.fingerprint], actor=factories.administrator())
    return key.fingerprint


def stamp(secret: Secret) -> str:
    return rebinding.proposal(secret).new.stamp


def code(secret: Secret) -> str:
    return ManagedAccount.objects.get(secret=secret).credential_code


def test_every_page_says_that_the_value_is_not_verified_on_this_machine(as_dot, secret):
    instance = secret.managed.instance
    pages = [url("secret", secret), url("instance", instance), "/main/overview/"]
    assert not any(TITLE in text(as_dot.get(page)) for page in pages)
    reinstall(secret)
    for page, target in zip(pages, ("secret_rebind", "instance_rebind", "secret_rebind"), strict=True):
        shown = text(as_dot.get(page))
        assert TITLE in shown
        assert url(target, instance if target == "instance_rebind" else secret) in shown
    row = text(as_dot.get("/main/secrets/")).split("<tbody")[1]
    assert "In sync" not in row
    assert f'title="{TITLE}. ' in row  # a list cuts it off, and shows it on hover


def test_the_dialog_shows_both_machines_and_rebinds_for_a_reason(as_dot, secret):
    (old,) = secret.managed.bound_keys
    new = reinstall(secret)
    shown = text(as_dot.get(url("secret_rebind", secret), headers=HTMX))
    for words in (old, new, secret.managed.instance.where, "This sends the values to the machine"):
        assert words in shown
    given = {"stamp": stamp(secret), "reason": ""}
    assert as_dot.post(url("secret_rebind", secret), given, headers=HTMX).status_code == 422
    assert code(secret) == "other_machine"
    answer = as_dot.post(url("secret_rebind", secret), given | {"reason": "reinstalled"}, headers=HTMX)
    assert answer["HX-Redirect"] == url("secret", secret)
    assert code(secret) == ""
    event = AuditEvent.objects.get(action=Action.REBIND_ACCOUNT)
    assert (event.reason, event.details["old_keys"], event.details["new_keys"]) == ("reinstalled", old, new)


def test_what_was_shown_is_what_is_confirmed(as_dot, secret):
    reinstall(secret)
    given = {"stamp": stamp(secret), "reason": "reinstalled"}
    reinstall(secret)
    answer = as_dot.post(url("secret_rebind", secret), given, headers=HTMX)
    assert answer.status_code == 422
    assert "Compare it again" in text(answer)
    assert stamp(secret) in text(answer)
    assert code(secret) == "other_machine"


def test_an_instance_rebinds_the_secrets_on_which_the_user_has_the_right_and_no_other(client, ann, secret):
    instance = secret.managed.instance
    other = factories.secret(instance=instance, username="app", initial="the-first-value")
    administrator = factories.administrator()
    grants.grant(other, ann, [Action.DESCRIBE_SECRET, Action.REBIND_ACCOUNT], actor=administrator)
    reinstall(secret)
    client.force_login(ann)
    assert client.get(url("instance_rebind", instance)).status_code == 404
    let_see_instances(ann)
    shown = text(client.get(url("instance_rebind", instance)))
    assert other.name in shown
    assert secret.name not in shown
    given = {"stamp": stamp(other), "reason": "reinstalled"}
    assert client.post(url("instance_rebind", instance), given).status_code == 302
    assert (code(other), code(secret)) == ("", "other_machine")
    assert client.post(url("instance_rebind", instance), given).status_code == 409


def let_see_instances(user) -> None:
    """Let this user see instances, and no secret by it."""
    actor = factories.administrator()
    made = policies.create("sees-servers", policies.document([Action.DESCRIBE_INSTANCE.value]), actor=actor)
    policies.attach(made, user, actor=actor)


def test_rebinding_asks_again_who_it_is(as_dot, secret, settings):
    reinstall(secret)
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = -1
    given = {"stamp": stamp(secret), "reason": "reinstalled"}
    for name, row in (("secret_rebind", secret), ("instance_rebind", secret.managed.instance)):
        assert as_dot.post(url(name, row), given, headers=HTMX).status_code == 401
    assert code(secret) == "other_machine"


def test_a_secret_becomes_no_login_without_the_right_to_say_where_it_goes(as_dot, secret):
    factories.deny(Action.REBIND_ACCOUNT)
    given = {"secret": str(secret.pk), "sudo": "none"}
    answer = as_dot.post(url("instance_own_login", secret.managed.instance), given, headers=HTMX)
    assert answer.status_code == 403
    assert Instance.objects.get().own_login is None
