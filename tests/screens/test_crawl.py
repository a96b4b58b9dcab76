"""Whoever follows every link and presses every button meets nothing that is not theirs, and no dead end."""

from __future__ import annotations

import pytest
from django.urls import reverse

from console.presentation import secret_states
from console.templatetags import console as tags
from rotation import instance_checks, leases
from secrets_app.actions import Action
from secrets_app.models import Policy, User
from secrets_app.policy import grants, policies
from tests import factories
from tests.screens import crawl_world
from tests.screens.crawl import Crawl

pytestmark = pytest.mark.django_db
#: What each role must have come by, or it would find nothing wrong.
SEEN = {
    "ann": {"secret_rotate", "secret_reveal", "run", "instance_approve", "key_destroy", "restore"},
    "ops": {"secret_rotate", "secret_reconcile", "run", "instance", "bulk_action", "overview"},
    "hal": {"secret", "secret_menu", "secret_restore", "bulk_action"},
    "aud": {"run", "audit_event", "access_review", "settings_about", "key", "credential", "restore"},
    "one": {"secret", "secret_reveal"},
    "nil": {"home", "sessions", "mfa_index", "help_chapter"},
}  # fmt: skip


def crawled(who: str) -> Crawl:
    crawl_world.seed()
    crawl = Crawl(User.objects.get(username=who), crawl_world.kind, crawl_world.sent(who))
    crawl.all()
    return crawl


@pytest.mark.parametrize("who", crawl_world.ROLES)
def test_no_page_leads_nowhere_or_offers_or_names_what_its_reader_may_not_do(open_keyring, who):
    crawl = crawled(who)
    assert not crawl.wrong, "\n".join(dict.fromkeys(crawl.wrong))
    assert set(crawl.opened) >= SEEN[who]
    if who == "ann":
        assert not crawl.left_to_others


def test_the_crawl_finds_a_link_that_is_refused_and_a_step_of_others(open_keyring, monkeypatch):
    monkeypatch.setattr(tags, "may_open", lambda context, name: True)
    monkeypatch.setattr(secret_states.Fact, "told", lambda self, may: self)
    found = "\n".join(crawled("one").wrong)
    assert "/main/secrets/ answers 403" in found
    assert "names 'Rotate Immediately': Not yet verified" in found


def test_a_reader_of_one_secret_is_shown_no_link_to_a_list_and_whose_the_next_step_is(client, ann):
    secret = factories.secret(initial="an-initial-value-1", name="web/app")
    factories.settle(secret)
    grants.grant(secret, ann, [Action.DESCRIBE_SECRET], actor=factories.administrator())
    client.force_login(ann)
    shown = client.get(reverse("secret", args=["main", secret.pk])).content.decode()
    assert f'href="{reverse("secrets", args=["main"])}"' not in shown
    assert "For users who may rotate this secret: Wait for the verification, or rotate" in shown


def test_a_check_of_an_account_is_offered_again_to_those_only_who_may_manage_the_account(client, ann, dot):
    operator = Policy.objects.get(name=policies.ROTATION_OPERATOR)
    policies.attach(operator, ann, actor=dot.principal)
    run = instance_checks.check_account(factories.instance(), "deploy", "password", actor=dot.principal)
    lease = leases.claim(run.pk, "worker-1/1/1")
    leases.end(lease, "blocked", code="locked", sentence="The account has no usable password.")
    for user, is_offered in ((ann, False), (dot, True)):
        client.force_login(user)
        shown = client.get(reverse("run", args=["main", run.pk])).content.decode()
        assert (reverse("run_retry", args=["main", run.pk]) in shown) == is_offered
