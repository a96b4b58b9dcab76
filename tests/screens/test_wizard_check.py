"""Review and confirm looks at the chosen account on the chosen instance, and what it finds stops nobody."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from console.presentation import run_states
from rotation import instance_checks, leases
from rotation.inventory import management
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action
from tests import factories

pytestmark = pytest.mark.django_db

VALUE = "canary-55aa:the value that works now"
WHERE = "/main/secrets/create/"
AGAIN = "/main/secrets/create/check/"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
FORM = {
    "type": "ecs", "name": "web/svc", "instance": "web-main", "username": "svc", "kind": "password",
    "value": VALUE, "length": "32", "sets": ["lower", "upper"], "rotation": "on", "period": "7",
    "unit": "days",
}  # fmt: skip


@pytest.fixture
def instance() -> Instance:
    return factories.instance(name="web-main")


def text(response) -> str:
    return response.content.decode()


def review(client: Client, **more: object):
    return client.post(WHERE, FORM | {"step": "2"} | more, headers=HTMX)


def look(**end: str) -> Run:
    """The look that the review started, ended by a worker."""
    run = Run.objects.active().get(kind="check")
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    evidence = [{"name": "account", "mark": "blocked", "sentence": "There is no such <account>."}]
    leases.finish(lease, leases.begin(lease, "preflight"), "done", "Looked.", evidence)
    leases.end(lease, **end)
    return Run.objects.get(pk=run.pk)


def show(client: Client, run: Run, **query: str):
    return client.get(reverse("secret_create_checked", args=["main", run.pk]), query)


@pytest.mark.parametrize("kind", ["password", "key_pair"])
def test_opening_the_review_has_the_account_looked_at(as_dot, dot, instance, kind):
    more = (
        {}
        if kind == "password"
        else {"kind": kind, "value": "", "generate": "on", "key_algorithm": "ed25519"}
    )
    shown = text(review(as_dot, **more))
    run = Run.objects.get(kind="check")
    assert (run.username, run.account_kind, run.requested_by) == ("svc", kind, dot.principal)
    assert "Preflight checklist of svc on web-main" in shown
    assert "Waiting for a worker." in shown
    assert reverse("secret_create_checked", args=["main", run.pk]) in shown
    assert "OK</strong> creates the secret either way" in shown
    assert VALUE not in shown


def test_an_earlier_step_looks_at_nothing(as_dot, instance):
    as_dot.post(WHERE, FORM | {"step": "1"}, headers=HTMX)
    assert not Run.objects.exists()


def test_coming_back_to_the_review_joins_the_look_that_is_under_way(as_dot, instance):
    review(as_dot), review(as_dot)
    assert Run.objects.count() == 1


def test_the_list_is_asked_for_while_it_is_made_and_then_no_more(as_dot, instance):
    review(as_dot)
    run = Run.objects.get()
    assert show(as_dot, run, seen=run_states.mark(run)).status_code == 204
    ended = look(outcome="succeeded")
    shown = show(as_dot, run, seen=run_states.mark(run))
    assert shown.status_code == 200
    assert "every 1s" not in text(shown)
    assert "There is no such &lt;account&gt;." in text(shown)
    assert "Check again" in text(shown)
    assert ended.outcome == "succeeded"


@pytest.mark.parametrize(("code", "is_overridable"), [("no_such_user", False), ("must_change", True)])
def test_a_blocked_account_is_told_and_does_not_prevent_creation(as_dot, instance, code, is_overridable):
    review(as_dot)
    run = look(outcome="blocked", code=code, sentence="What was found.")
    shown = text(show(as_dot, run))
    for words in ("What was found.", "This does not prevent creation", "The first rotation would stop"):
        assert words in shown
    assert ("Override and rotate" in shown) == is_overridable
    assert as_dot.post(WHERE, FORM, headers=HTMX).status_code == 200
    assert Secret.objects.filter(name="acs/ecs/web/svc").exists()


@pytest.mark.parametrize("missing", ["credential", "key", "right"])
def test_where_nobody_can_look_it_says_what_is_missing(as_dot, instance, monkeypatch, missing):
    if missing == "credential":
        Instance.objects.update(credential=None)
    elif missing == "key":
        instance.host_keys.all().delete()
    else:
        factories.deny(Action.CHECK_INSTANCE)
    words = {
        "credential": "No management credential is attached",
        "key": "No host key of this instance is approved",
        "right": "You do not have permission to check this instance",
    }
    answer = review(as_dot)
    assert answer.status_code == 200
    assert words[missing] in text(answer)
    assert "the first run checks the account before it changes anything" in text(answer)
    assert not Run.objects.exists()
    assert as_dot.post(WHERE, FORM, headers=HTMX).status_code == 200


def test_without_script_the_page_says_that_nothing_is_looked_at_beforehand(as_dot, instance):
    assert "With JavaScript disabled, the check runs in the first rotation" in text(as_dot.get(WHERE))


def test_check_again_looks_again(as_dot, instance):
    review(as_dot)
    look(outcome="blocked", code="no_such_user", sentence="There is no such account.")
    sent = {"instance": "web-main", "username": "svc", "kind": "password"}
    answer = as_dot.post(AGAIN, sent, headers={"HX-Request": "true", "HX-Target": "wizard-check"})
    assert answer.status_code == 202
    assert Run.objects.active().get().kind == "check"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"instance": "nowhere"}, 404), ({"username": "-oops"}, 422), ({"kind": "magic"}, 422)],
)
def test_check_again_of_what_cannot_be_starts_nothing(as_dot, instance, wrong, status):
    sent = {"instance": "web-main", "username": "svc", "kind": "password"} | wrong
    headers = {"HX-Request": "true", "HX-Target": "wizard-check"}
    assert as_dot.post(AGAIN, sent, headers=headers).status_code == status
    assert not Run.objects.exists()


def test_who_may_not_create_sees_and_starts_no_look(client, aud, dot, instance):
    run = instance_checks.check_account(instance, "svc", "password", actor=dot.principal)
    client.force_login(aud)
    assert show(client, run).status_code == 403
    assert (
        client.post(AGAIN, {"instance": "web-main", "username": "x", "kind": "password"}).status_code == 403
    )


def test_only_a_look_at_an_account_is_shown_here(as_dot, instance):
    run = instance_checks.check(instance, actor=factories.administrator())
    assert show(as_dot, run).status_code == 404


# ---------------------------------------------------------------- options, and the account of the login


def test_options_are_shown_in_the_review_and_kept(as_dot, instance):
    chosen = {"ends_sessions": "on", "proves_old_refused": "on"}
    assert "sessions after each rotation" in text(review(as_dot, **chosen))
    as_dot.post(WHERE, FORM | chosen, headers=HTMX)
    account = ManagedAccount.objects.get()
    assert (account.ends_sessions, account.proves_old_refused, account.reconciles) == (True, True, False)


@pytest.mark.parametrize("step", ["1", ""])
def test_the_account_of_a_shared_credential_is_refused_with_the_way_out(as_dot, instance, step):
    sent = FORM | {"username": "keyturn"} | ({"step": step} if step else {})
    answer = as_dot.post(WHERE, sent, headers=HTMX)
    assert answer.status_code == 422
    for words in (
        "with the shared management credential",
        "Keyturn logs in to this instance with this secret",
    ):
        assert words in text(answer)
    assert not Secret.objects.exists()


def test_it_may_become_the_login_of_its_instance_with_its_present_value(as_dot, instance):
    sent = FORM | {"username": "keyturn", "as_own_login": "on"}
    refused = as_dot.post(WHERE, sent | {"step": "1", "value": "", "generate": "on"}, headers=HTMX)
    assert refused.status_code == 422
    assert "Enter the current value" in text(refused)
    assert "Keyturn logs in with it, and no longer" in text(
        as_dot.post(WHERE, sent | {"step": "2"}, headers=HTMX)
    )
    assert as_dot.post(WHERE, sent, headers=HTMX).status_code == 200
    instance.refresh_from_db()
    assert instance.own_login == Secret.objects.get()
    assert management.manager(instance, over=management.endpoint(instance)).login.username == "keyturn"
