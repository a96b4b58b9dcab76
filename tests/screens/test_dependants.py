"""Dependants on the screens: found, chosen before the first rotation, and retried after a failure."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rotation import instance_checks, leases, runs
from rotation.connectors import base
from rotation.managed import dependants
from rotation.models import Dependant, Instance, ManagedAccount, Run, Step
from secrets_app.models import Secret
from secrets_app.policy import decisions
from tests import factories
from tests.screens.test_windows import wizard

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
RETRY = "Retry failed items"


@pytest.fixture
def instance() -> Instance:
    return factories.instance(wire="winrm", os="windows", port=5986, name="win-1")


@pytest.fixture
def secret(instance: Instance) -> Secret:
    made = factories.secret(instance=instance, initial="The-old-1-word", username="svc")
    factories.settle(made)
    return made


def found(secret: Secret, *names: str, **facts: object) -> None:
    """What a look at the account finds: services, which run."""
    listed = tuple(base.Dependant("service", name, is_running=True) for name in names)
    dependants.note(ManagedAccount.objects.get(secret=secret), base.Facts(dependants=listed, **facts))


def url(name: str, secret: Secret) -> str:
    return reverse(name, args=["main", secret.pk])


def page(client, secret: Secret, name: str = "secret") -> str:
    return client.get(url(name, secret)).content.decode()


def rows(secret: Secret) -> dict[str, tuple[bool, str]]:
    here = Dependant.objects.filter(account__secret=secret)
    return {row.name: (row.is_chosen, row.state) for row in here}


def test_they_are_listed_on_the_page_and_chosen_by_name(as_dot, secret):
    assert "No service, scheduled task or IIS application pool is known" in page(as_dot, secret)
    found(secret, "Backup", "Agent <b>")
    shown = page(as_dot, secret)
    assert "2 are new" in shown
    assert "Agent &lt;b&gt;" in shown
    asked = page(as_dot, secret, "secret_dependants")
    assert "Service Backup" in asked
    answer = as_dot.post(url("secret_dependants", secret), {"chosen": ["service:Backup"]}, headers=HTMX)
    assert answer.status_code == 200
    assert rows(secret) == {"Backup": (True, "untold"), "Agent <b>": (False, "untold")}
    assert not ManagedAccount.objects.get(secret=secret).restarts_dependants
    shown = page(as_dot, secret)
    assert "are new" not in shown
    assert "The next rotation gives it the new value." in shown
    assert "fails at its next start after a rotation" in shown
    found(secret, "Backup", "Late")
    shown = page(as_dot, secret)
    assert "1 is new" in shown
    assert "The last check did not find it." in shown


def test_what_is_not_known_is_not_chosen_and_a_linux_secret_has_none(as_dot, secret):
    found(secret, "Backup")
    for chosen in ("service:Other", "job:Backup", "service:Backup\0"):
        answer = as_dot.post(url("secret_dependants", secret), {"chosen": [chosen]})
        assert answer.status_code == 422, chosen
    assert rows(secret) == {"Backup": (False, "untold")}
    linux = factories.secret()
    assert "Dependants" not in page(as_dot, linux)
    for name in ("secret_dependants", "secret_dependants_retry"):
        assert as_dot.get(url(name, linux)).status_code == 404


def test_a_list_that_the_host_did_not_give_makes_none_missing(secret):
    found(secret, "Backup", "Agent")
    for facts in ({"unasked": frozenset({"service"})}, {"more_dependants": 3}):
        found(secret, **facts)
        assert not Dependant.objects.filter(is_missing=True).exists()
    found(secret, "Agent")
    assert Dependant.objects.get(is_missing=True).name == "Backup"


def test_the_wizard_offers_what_a_check_found_and_keeps_what_was_ticked(as_dot, instance):
    first = as_dot.post(
        reverse("secret_create", args=["main"]), wizard(instance) | {"step": "2"}, headers=HTMX
    ).content.decode()
    assert "Update dependants" not in first
    run = Run.objects.get(kind="check", username="svc.web")
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    step = leases.begin(lease, Step.Name.PREFLIGHT)
    line = {"name": "dependants", "mark": "warning", "sentence": "2 services", "keys": "service:A\nservice:B"}
    leases.finish(lease, step, Step.State.DONE, "Fine.", [line])
    leases.end(lease, Run.Outcome.SUCCEEDED)
    shown = as_dot.get(reverse("secret_create_checked", args=["main", run.pk])).content.decode()
    assert 'name="dependants" value="service:A"' in shown
    bad = as_dot.post(
        reverse("secret_create", args=["main"]), wizard(instance) | {"dependants": ["service:A", "x:B"]}
    )
    assert bad.status_code == 422
    made = as_dot.post(
        reverse("secret_create", args=["main"]), wizard(instance) | {"dependants": ["service:A"]}
    )
    assert made.status_code == 302, made.content.decode()
    assert rows(Secret.objects.get()) == {"A": (True, "untold")}


def test_a_look_from_the_page_is_a_check_of_the_account(as_dot, secret):
    answer = as_dot.post(url("secret_dependants_look", secret))
    run = Run.objects.get(kind="check")
    assert answer["Location"] == reverse("run", args=["main", run.pk])
    assert (run.username, run.account_kind) == ("svc", "password")
    run = instance_checks.check_account(
        secret.managed.instance, "svc", "password", actor=factories.administrator()
    )
    dependants.note_for(
        secret.managed.instance, "SVC", "password", base.Facts(dependants=(base.Dependant("pool", "Shop"),))
    )
    assert list(rows(secret)) == ["Shop"]


def test_a_failed_one_needs_attention_and_is_retried_after_a_question(as_dot, instance):
    secret = factories.windows_secret(instance=instance, failed=["Backup", "Agent"])
    overview = as_dot.get("/main/overview/").content.decode()
    assert "2 dependants failed" in overview
    assert url("secret_dependants_retry", secret) in overview
    shown = page(as_dot, secret)
    assert "2 of 2 do not have the current value" in shown
    assert "The management account may not change it." in shown
    assert RETRY in shown
    asked = page(as_dot, secret, "secret_dependants_retry")
    assert "Service Backup" in asked
    assert not Run.objects.active().exists()
    answer = as_dot.post(url("secret_dependants_retry", secret))
    run = Run.objects.get(kind="dependants")
    assert answer["Location"] == reverse("run", args=["main", run.pk])
    assert {state for _, state in rows(secret).values()} == {"waiting"}
    assert "2 dependants failed" not in as_dot.get("/main/overview/").content.decode()
    assert RETRY not in page(as_dot, secret)
    again = as_dot.post(url("secret_dependants_retry", secret))
    assert again["Location"] == answer["Location"]
    assert "Update of dependants" in as_dot.get("/main/rotations/", {"kind": "dependants"}).content.decode()
    as_dot.post(reverse("run_cancel", args=["main", run.pk]))
    run.refresh_from_db()
    assert "Dependants that were updated before keep the current value." in run.sentence
    assert "2 dependants failed" in as_dot.get("/main/overview/").content.decode()


def test_a_retry_without_anything_to_retry_or_during_a_rotation_is_a_conflict(as_dot, secret):
    assert as_dot.post(url("secret_dependants_retry", secret)).status_code == 409
    assert not Run.objects.filter(kind="dependants").exists()
    dependants.choose(secret, [("service", "Backup")], actor=factories.administrator(), restarts=True)
    dependants.settle(Dependant.objects.all(), "failed", "dependant_denied")
    runs.start(secret, actor=factories.administrator())
    assert as_dot.post(url("secret_dependants_retry", secret)).status_code == 409
    assert rows(secret)["Backup"] == (True, "failed")


def test_a_rotation_whose_dependants_failed_says_so_and_leads_to_the_retry(as_dot, instance):
    secret = factories.windows_secret(instance=instance, failed=["Backup"])
    run = runs.start(secret, actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    sentence = "The new value is current. 1 of 1 dependants failed: Service Backup. Each of them says why."
    leases.end(lease, "succeeded", truth="new", code="dependants", sentence=sentence)
    shown = as_dot.get(reverse("run", args=["main", run.pk])).content.decode()
    for text in (sentence, RETRY, url("secret_dependants_retry", secret)):
        assert text in shown
    listed = b"".join(as_dot.get("/main/rotations/export.csv").streaming_content).decode()
    assert sentence in listed


def test_who_may_only_look_is_offered_and_allowed_nothing(client, instance):
    secret = factories.windows_secret(instance=instance, failed=["Backup"])
    client.force_login(factories.user("aud", "auditors"))
    shown = page(client, secret)
    assert "The management account may not change it." in shown
    for name in ("secret_dependants", "secret_dependants_look", "secret_dependants_retry"):
        assert url(name, secret) not in shown
    for name in ("secret_dependants", "secret_dependants_look", "secret_dependants_retry"):
        assert client.post(url(name, secret)).status_code in {403, 404}
    actor = factories.user("ann").principal
    with pytest.raises(decisions.NotAllowed):
        dependants.choose(secret, [], actor=actor, restarts=True)
    with pytest.raises(decisions.NotAllowed):
        dependants.retry(secret, actor=actor)
    assert rows(secret) == {"Backup": (True, "failed")}
