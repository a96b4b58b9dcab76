"""What a person decides, in a browser: the wizard's look at the account, Resolve, Override and rotate."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from rotation import leases
from rotation.models import ManagedAccount, Run
from secrets_app.models import Secret
from tests import gallery
from tests.e2e import axe
from tests.e2e.browser import opened

VALUE = "canary-9f21-the-value-that-works-now"
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]


def is_accessible(page: Page) -> bool:
    assert axe.tell(axe.violations(page)) == []
    return True


def looked(username: str, **end: str) -> None:
    """End the look at an account as a worker does."""
    run = Run.objects.active().get(kind="check", username=username)
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    evidence = [{"name": "account", "mark": "blocked", "sentence": "The account is locked there."}]
    leases.finish(lease, leases.begin(lease, "preflight"), "failed", "Looked.", evidence)
    leases.end(lease, **end)


def test_the_review_shows_what_the_look_finds_without_holding_the_wizard(open_keyring):
    with opened("/main/secrets/") as page:
        page.get_by_role("link", name="Create Secret").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Secret name").fill("e2e/app")
        dialog.get_by_label("Managed instance").fill("web-01")
        dialog.get_by_label("Managed User").fill("app")
        dialog.get_by_label("Current value", exact=True).fill(VALUE)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
        dialog.get_by_text("Options: after each rotation").click()
        dialog.get_by_label("End the account's sessions after each rotation").check()
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_role("list", name="Step 2 of 3")).to_be_visible()
        dialog.get_by_role("button", name="Next").click()
        look = dialog.get_by_role("region", name="Preflight checklist")
        expect(look).to_contain_text("Waiting for a worker.")
        expect(dialog.get_by_role("button", name="OK")).to_be_enabled()
        assert is_accessible(page)
        looked("app", outcome="blocked", code="locked", sentence="The account is locked there.")
        expect(look).to_contain_text("This does not prevent creation.")
        assert is_accessible(page)
        look.get_by_role("button", name="Check again").click()
        expect(look).to_contain_text("Waiting for a worker.")
        looks = [one for one in sent if "/secrets/create/check/" in one]
        assert any("username=app" in one for one in looks)
        assert not [one for one in looks if VALUE in one]
        expect(dialog.get_by_text("End the account's sessions after each rotation").last).to_be_visible()
        dialog.get_by_role("button", name="OK").click()
        expect(dialog.get_by_role("heading", name="Secret created")).to_be_visible()
    account = ManagedAccount.objects.get(username="app")
    assert (account.ends_sessions, account.reconciles) == (True, False)


def test_the_account_of_the_login_is_refused_beside_its_field_and_the_way_out_is_shown(open_keyring):
    with opened("/main/secrets/") as page:
        page.get_by_role("link", name="Create Secret").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Secret name").fill("e2e/login")
        dialog.get_by_label("Managed instance").fill("web-01")
        dialog.get_by_label("Managed User").fill("keyturn")
        dialog.get_by_label("Current value", exact=True).fill("the-password-of-the-login")
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_text("with the shared management credential")).to_be_visible()
        expect(dialog.get_by_label("Managed User")).to_be_focused()
        dialog.get_by_text("Options: after each rotation").click()
        dialog.get_by_label("Keyturn logs in to this instance with this secret").check()
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_label("Rotation Period", exact=True)).to_be_visible()


def test_resolving_from_the_overview_says_what_each_answer_does(open_keyring):
    with opened("/all/overview/") as page:
        page.get_by_role("link", name="Resolve: acs/ecs/ask/doubt").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("It first checks which value works on the instance")).to_be_visible()
        dialog.get_by_label("The instance no longer exists").check()
        expect(dialog.get_by_text("Automatic rotation of this secret stops")).to_be_visible()
        expect(dialog.get_by_text("It first checks which value works on the instance")).to_be_hidden()
        assert is_accessible(page)
        dialog.get_by_role("button", name="Resolve").click()
        expect(dialog.get_by_text("Enter a reason. It is recorded in the audit trail.")).to_be_visible()
        expect(dialog.get_by_label("The instance no longer exists")).to_be_checked()
        dialog.get_by_label("Reason").fill("scrapped last week")
        dialog.get_by_role("button", name="Resolve").click()
        expect(dialog).to_be_hidden()
        expect(page.get_by_text("Instance gone").first).to_be_visible()
    assert Secret.objects.get(name__endswith="ask/doubt").managed.credential == "gone"


def test_a_blocked_rotation_goes_on_all_the_same_for_a_reason(open_keyring):
    with opened("/all/rotations/?outcome=blocked&q=ask/blocked") as page:
        page.locator("tbody").get_by_role("link").first.click()
        page.get_by_role("link", name="Override and rotate").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("at the next login is cleared")).to_be_visible()
        dialog.get_by_label("Reason").fill("agreed with its owner")
        dialog.get_by_role("button", name="Override and rotate").click()
        expect(page.get_by_text("agreed with its owner")).to_be_visible()
    run = Run.objects.active().get(secret__name__endswith="ask/blocked")
    assert (run.overrides, run.is_leak) == (["must_change"], True)


def test_a_drift_check_is_started_from_the_menu_and_a_drifted_one_is_put_back(open_keyring):
    with opened("/main/secrets/?credential=drifted") as page:
        page.get_by_role("link", name="acs/ecs/ask/drifted", exact=True).click()
        page.get_by_role("link", name="Reconcile").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("No new value is created")).to_be_visible()
        dialog.get_by_role("button", name="Reconcile").click()
        expect(page.get_by_role("heading", name="Reconciliation of acs/ecs/ask/drifted")).to_be_visible()
        page.goto("/main/secrets/?q=ask/root")
        page.get_by_label("More for acs/ecs/ask/root").click()
        page.get_by_role("button", name="Check for drift").click()
        expect(page.get_by_role("heading", name="Drift check of acs/ecs/ask/root")).to_be_visible()
    assert Run.objects.active().filter(kind="drift").count() == 1
