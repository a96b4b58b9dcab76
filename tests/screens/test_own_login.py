"""Login: an instance that logs in with a secret of its own account, and back to a shared credential."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from rotation.inventory import management
from rotation.models import Instance, ManagedAccount
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
SHARED = "with the shared management credential"


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial="the-first-value", username="root")
    factories.settle(made)
    ManagedAccount.objects.filter(secret=made).update(credential="in_sync")
    return made


@pytest.fixture
def instance(secret) -> Instance:
    return secret.managed.instance


def url(name: str, row: Instance | Secret) -> str:
    return reverse(name, args=["main", row.pk])


def text(response) -> str:
    return response.content.decode()


def login(client: Client, instance: Instance, secret: Secret, **more: str):
    answer = {"secret": str(secret.pk), "sudo": "none"} | more
    return client.post(url("instance_own_login", instance), answer, headers=HTMX)


@pytest.mark.parametrize("headers", [HTMX, None])
def test_the_dialog_offers_what_is_in_sync_there_and_says_what_follows(as_dot, instance, secret, headers):
    others = [factories.secret(instance=instance, username="app"), factories.secret(initial="elsewhere-1")]
    ManagedAccount.objects.filter(secret=others[1]).update(credential="in_sync")
    assert url("instance_own_login", instance) in text(as_dot.get(url("instance", instance)))
    shown = text(as_dot.get(url("instance_own_login", instance), headers=headers))
    for words in (secret.name, "stays open until the new credential is proven", "Sudo", "Use this login"):
        assert words in shown
    assert not any(other.name in shown for other in others)


def test_where_nothing_is_in_sync_it_says_what_to_do_first(as_dot):
    shown = text(as_dot.get(url("instance_own_login", factories.instance())))
    assert "rotate it once" in shown
    assert "Use this login" not in shown


def test_the_instance_logs_in_with_it_and_is_tested_and_goes_back(as_dot, instance, secret):
    answer = login(as_dot, instance, secret)
    assert answer["HX-Redirect"] == url("instance", instance)
    instance.refresh_from_db()
    assert (instance.own_login_id, instance.own_login_sudo, instance.credential) == (secret.pk, "none", None)
    assert instance.runs.filter(kind="check").exists()
    for page in (url("instance", instance), "/main/instances/"):
        shown = text(as_dot.get(page))
        assert "root" in shown
        assert "no credential" not in shown.lower()
    assert "No management credential is attached" not in text(as_dot.get(url("instance", instance)))
    file = b"".join(as_dot.get("/main/instances/export.csv").streaming_content).decode()
    assert "root" in file
    back = url("instance_attach", instance)
    assert "A management credential replaces that login" in text(as_dot.get(back, headers=HTMX))
    as_dot.post(back, {"credential": str(factories.credential().pk)}, headers=HTMX)
    instance.refresh_from_db()
    assert instance.own_login is None


def test_a_secret_of_elsewhere_or_not_in_sync_is_refused_beside_its_field(as_dot, instance, secret):
    elsewhere = factories.secret(initial="elsewhere-1")
    ManagedAccount.objects.filter(secret=elsewhere).update(credential="in_sync")
    answer = login(as_dot, instance, elsewhere)
    assert answer.status_code == 422
    assert "Choose a secret from the list" in text(answer)
    ManagedAccount.objects.filter(secret=secret).update(credential="out_of_sync")
    assert login(as_dot, instance, secret).status_code == 422
    assert login(as_dot, instance, secret, sudo="magic").status_code == 422
    instance.refresh_from_db()
    assert instance.own_login is None


def test_it_needs_the_right_to_use_a_credential(client, aud, ann, instance, secret):
    client.force_login(aud)
    assert url("instance_own_login", instance) not in text(client.get(url("instance", instance)))
    assert login(client, instance, secret).status_code == 403
    client.force_login(ann)
    assert login(client, instance, secret).status_code == 404


def test_who_may_not_change_the_instance_is_refused(as_dot, instance, secret, monkeypatch):
    factories.deny(Action.UPDATE_INSTANCE)
    assert login(as_dot, instance, secret).status_code == 403


@pytest.mark.parametrize("answer", [{"how": "now"}, {"how": "plan", "days": "7"}])
def test_the_login_of_an_instance_is_not_deleted(as_dot, instance, secret, answer):
    management.use_own_login(instance, secret, sudo="none", actor=factories.administrator())
    sent = answer | {"name": secret.name, "reason": "x"}
    shown = as_dot.post(url("secret_delete", secret), sent, headers=HTMX)
    assert shown.status_code == 409
    assert f"{instance.name} logs in with this secret" in text(shown)
    assert Secret.objects.get(pk=secret.pk).is_enabled
