"""Retire Instance and Delete management credential: what is said first, and what is left of them."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from rotation import instance_checks, leases
from rotation.models import Instance, ManagementCredential, Run
from tests import factories

pytestmark = pytest.mark.django_db
WHY = "burnt down"


def url(name: str, instance: Instance) -> str:
    return reverse(name, args=["main", instance.pk])


def retire(client: Client, instance: Instance, **typed: str) -> object:
    given = {"name": instance.name, "reason": WHY} | typed
    return client.post(url("instance_retire", instance), given, follow=True)


def delete(client: Client, credential: ManagementCredential, **typed: str) -> object:
    given = {"name": credential.name, "reason": "replaced"} | typed
    return client.post(reverse("credential_delete", args=[credential.pk]), given, follow=True)


def page(client: Client, path: str, **query: str) -> str:
    return client.get(path, query).content.decode()


def test_a_retired_instance_leaves_the_lists_and_keeps_a_page(as_dot):
    instance = factories.instance(name="web-9")
    run = instance_checks.scan(instance, actor=factories.administrator())
    lease = leases.claim(run.pk, "tests")
    assert lease
    leases.end(lease, Run.Outcome.SUCCEEDED)
    answer = retire(as_dot, instance)
    assert "web-9 is retired. Nothing was changed on the machine." in answer.content.decode()
    index = reverse("instances", args=["main"])
    assert instance.instance_id not in page(as_dot, index)
    assert instance.instance_id not in page(as_dot, index, q="web-9")
    assert instance.instance_id in page(as_dot, index, status="retired")
    export = reverse("instances_export", args=["main"])
    assert instance.instance_id not in b"".join(as_dot.get(export).streaming_content).decode()
    retired = as_dot.get(export, {"status": "retired"})
    assert instance.instance_id in b"".join(retired.streaming_content).decode()
    assert "web-9" in page(as_dot, reverse("rotations", args=["main"]), kind="scan")
    shown = page(as_dot, url("instance", instance))
    assert "Retired on" in shown
    assert WHY in shown
    for action in ("instance_edit", "instance_check", "instance_scan", "instance_attach", "instance_retire"):
        assert url(action, instance) not in shown


def test_a_retired_instance_is_in_no_picker(as_dot):
    kept, gone = factories.instance(name="kept-1"), factories.instance(name="gone-1")
    wizard = reverse("secret_create", args=["main"])
    assert gone.name in page(as_dot, wizard)
    retire(as_dot, gone)
    assert gone.name not in page(as_dot, wizard)
    assert kept.name in page(as_dot, wizard)
    typed = {
        "step": "1", "type": "ecs", "name": "web/svc", "instance": gone.name, "username": "svc",
        "kind": "password", "value": "", "length": "32", "sets": ["lower"], "rotation": "off",
    }  # fmt: skip
    as_dot.post(wizard, typed)
    assert not gone.managed_accounts.exists()


def test_a_run_on_a_retired_instance_is_not_offered_again(as_dot):
    instance = factories.instance()
    run = instance_checks.check(instance, actor=factories.administrator())
    lease = leases.claim(run.pk, "tests")
    assert lease
    leases.end(lease, Run.Outcome.BLOCKED, code="no_credential", sentence="No credential is attached.")
    shown, retry = reverse("run", args=["main", run.pk]), reverse("run_retry", args=["main", run.pk])
    assert retry in page(as_dot, shown)
    retire(as_dot, instance)
    assert instance.name in page(as_dot, shown)
    assert retry not in page(as_dot, shown)
    assert as_dot.post(retry).status_code == 409
    assert instance.runs.count() == 1


@pytest.mark.parametrize("action", ["instance_edit", "instance_check", "instance_attach", "instance_retire"])
def test_what_is_done_to_a_retired_instance_is_answered_with_when_it_was_retired(as_dot, action):
    instance = factories.instance()
    retire(as_dot, instance)
    answer = as_dot.post(url(action, instance))
    assert answer.status_code == 409
    assert "was retired on" in answer.content.decode()


def test_the_dialog_names_the_secrets_and_the_runs_that_keep_an_instance(as_dot):
    secret = factories.secret()
    factories.settle(secret)
    instance = secret.managed.instance
    instance_checks.check(instance, actor=factories.administrator())
    shown = page(as_dot, url("instance_retire", instance))
    assert "It cannot be retired yet." in shown
    assert secret.name in shown
    assert "Connection test" in shown
    assert ">Retire</button>" not in shown
    answer = retire(as_dot, instance)
    assert answer.status_code == 409
    assert secret.name in answer.content.decode()
    assert not Instance.objects.get(pk=instance.pk).retired_at


@pytest.mark.parametrize(
    ("typed", "said"),
    [({"name": "web"}, "Type the instance&#x27;s name"), ({"reason": " "}, "Enter a reason.")],
)
def test_an_instance_is_retired_by_its_name_and_for_a_reason(as_dot, typed, said):
    instance = factories.instance()
    answer = retire(as_dot, instance, **typed)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Instance.objects.get(pk=instance.pk).retired_at


def test_only_who_may_is_offered_it(as_dot, aud):
    instance, credential = factories.instance(), factories.credential()
    other = Client(headers={"Host": "localhost"})
    other.force_login(aud)
    pages = (url("instance", instance), reverse("credential", args=[credential.pk]))
    for path, ends in zip(pages, ("retire/", "delete/"), strict=True):
        assert ends in page(as_dot, path)
        shown = page(other, path)
        assert instance.name in shown or credential.name in shown
        assert ends not in shown


def test_a_deleted_credential_leaves_the_list_and_the_pickers_and_keeps_a_page(as_dot):
    credential, instance = factories.credential(), factories.instance()
    attach = url("instance_attach", instance)
    assert credential.name in page(as_dot, attach)
    answer = delete(as_dot, credential)
    assert f"{credential.name} is deleted." in answer.content.decode()
    assert f">{credential.name} (" not in page(as_dot, attach)
    index = reverse("credentials")
    assert f">{credential.name}</a>" not in page(as_dot, index)
    assert f">{credential.name}</a>" in page(as_dot, index, status="deleted")
    shown = page(as_dot, reverse("credential", args=[credential.pk]))
    assert "Deleted on" in shown
    assert "userdel --remove keyturn" in shown  # what takes it back where it was prepared
    assert "useradd" not in shown
    assert reverse("credential_delete", args=[credential.pk]) not in shown
    assert delete(as_dot, credential).status_code == 409


def test_the_dialog_names_the_instances_that_keep_a_credential(as_dot):
    instance = factories.instance(name="db-7")
    credential = instance.credential
    shown = page(as_dot, reverse("credential_delete", args=[credential.pk]))
    assert "It cannot be deleted yet." in shown
    assert "db-7" in shown
    assert ">Delete</button>" not in shown
    assert delete(as_dot, credential).status_code == 409
    assert ManagementCredential.objects.get(pk=credential.pk).sealed


@pytest.mark.parametrize(
    ("typed", "said"),
    [({"name": "fleet"}, "Type the credential&#x27;s name"), ({"reason": ""}, "Enter a reason.")],
)
def test_a_credential_is_deleted_by_its_name_and_for_a_reason(as_dot, typed, said):
    credential = factories.credential()
    answer = delete(as_dot, credential, **typed)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert ManagementCredential.objects.get(pk=credential.pk).sealed
