"""A secret deleted by an administrator and brought back by the helpdesk, in a browser, by label and role."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from lab import Host
from rotation import tasks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine
from rotation.models import Run
from secrets_app.models import Secret, User
from secrets_app.secrets import versions
from tests import factories, lab_instances
from tests.chromium import chromium
from tests.e2e import axe
from tests.lab_fixtures import KeyPair
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]
OLD = "the-old-password-1"
SignIn = Callable[[User], Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def sign_in(browser: Browser, live_server) -> Iterator[SignIn]:
    """Return a function that opens a browser of its own, signed in; what it complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(user: User) -> Page:
        context = browser.new_context(base_url=live_server.url, color_scheme="dark")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if _complains(said) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(PATIENCE * 1000)
        page.goto("/sign-in/")
        page.get_by_label("User name").fill(user.username)
        page.get_by_label("Password", exact=True).fill(factories.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("navigation").first).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def secret(host: Host, management_key: KeyPair) -> Secret:
    host.add_account("svc", password=OLD)
    instance = lab_instances.register(host, management_key)
    made = factories.secret(instance=instance, initial=OLD, is_on=True, period=timedelta(days=7))
    factories.settle(made)
    return made


def _complains(said: ConsoleMessage) -> bool:
    # A form that comes back with errors is an answer like any other; the browser notes its status.
    return said.type == "error" and "status of 422" not in said.text


def work(secret: Secret) -> None:
    """Do what a worker does with the run that is under way."""
    run = secret.runs.active().get()
    Run.objects.filter(pk=run.pk).update(due_at=Now() - timedelta(seconds=1))
    engine.advance(run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner())


def open_from_list(page: Page, secret: Secret, action: str):
    """Open a dialog from the list's More menu."""
    page.goto("/main/secrets/")
    page.get_by_label(f"More for {secret.name}").click()
    page.get_by_role("link", name=action).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def back_on_the_list(page: Page) -> None:
    """What was begun in the list ends there."""
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"/main/secrets/(\?|$)"))


def assert_accessible(page: Page) -> None:
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert axe.tell(axe.violations(page)) == []


def test_the_helpdesk_brings_back_what_an_administrator_had_deleted(sign_in, secret, host, dot, hal):
    page = sign_in(dot)
    dialog = open_from_list(page, secret, "Plan Deletion Secret")
    expect(dialog.get_by_role("heading", name="Delete Secret", exact=True)).to_be_visible()
    expect(dialog).to_contain_text(
        "Deleting a secret does not change the password or key pair already configured on the instance."
    )
    expect(dialog.get_by_label("Delete In (7-30 days)")).to_have_value("30")
    assert_accessible(page)
    dialog.get_by_label("Delete Secret Immediately").check()
    expect(dialog.get_by_label("Delete In (7-30 days)")).to_be_hidden()
    assert_accessible(page)
    dialog.get_by_label("Plan Deletion Secret").check()
    dialog.get_by_label("Delete In (7-30 days)").fill("5")
    dialog.get_by_role("button", name="OK").click()
    expect(dialog.get_by_text("Enter 7 to 30 days.")).to_be_visible()
    dialog.get_by_label("Delete In (7-30 days)").fill("9")
    dialog.get_by_label("Reason").fill("decommissioned")
    dialog.get_by_role("button", name="OK").click()
    back_on_the_list(page)
    page.goto(f"/main/secrets/{secret.pk}/")
    expect(page.get_by_role("note")).to_contain_text("Pending deletion until")
    expect(page.get_by_role("link", name="Rotate Immediately")).to_have_count(0)
    assert_accessible(page)

    page = sign_in(hal)
    page.goto("/main/secrets/")
    page.get_by_role("combobox", name="Status").select_option(label="Pending deletion")
    expect(page.get_by_role("row", name=secret.name)).to_contain_text("in 8 d")
    assert_accessible(page)
    dialog = open_from_list(page, secret, "Restore Secret")
    for words in (secret.name, host.name, "svc", "dot", "decommissioned"):
        expect(dialog).to_contain_text(words)
    assert_accessible(page)
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("is restored.")).to_be_visible()
    back_on_the_list(page)
    page.goto(f"/main/secrets/{secret.pk}/")
    work(secret)
    expect(page.get_by_text("Still valid: the instance accepts the value that was kept.")).to_be_visible()
    assert OLD not in page.content()
    assert host.shadow_accepts("svc", OLD)


def test_an_administrator_changes_the_schedule_edits_and_goes_back(sign_in, secret, host, dot):
    page = sign_in(dot)
    dialog = open_from_list(page, secret, "Configuration rotation")
    assert_accessible(page)
    dialog.get_by_role("button", name="60 days").click()
    expect(dialog.get_by_label("Rotation Period", exact=True)).to_have_value("60")
    dialog.get_by_label("Turn off automatic rotation").check()
    expect(dialog.get_by_label("Pause")).to_be_hidden()
    dialog.get_by_label("Turn on automatic rotation").check()
    dialog.get_by_role("button", name="OK").click()
    back_on_the_list(page)
    page.goto(f"/main/secrets/{secret.pk}/")
    expect(page.get_by_text("On, every 60 days")).to_be_visible()

    page.locator("#secret-actions summary").click()
    page.get_by_role("link", name="Edit", exact=True).click()
    dialog = page.get_by_role("dialog")
    assert_accessible(page)
    dialog.get_by_label("Tags").fill("acs:team=web")
    dialog.get_by_role("button", name="OK").click()
    expect(dialog.get_by_text("which are reserved")).to_be_visible()
    dialog.get_by_label("Tags").fill("team=web")
    dialog.get_by_role("button", name="OK").click()
    page.get_by_role("link", name="Tags", exact=True).click()
    expect(page.get_by_role("row", name="team")).to_contain_text("web")
    assert_accessible(page)

    page.get_by_role("link", name="Rotate Immediately").click()
    page.get_by_role("button", name="Confirm rotation").click()
    expect(page.get_by_text("Rotation triggered")).to_be_visible()
    work(secret)
    page.goto(f"/main/secrets/{secret.pk}/?tab=versions")
    page.get_by_role("link", name="Rotate back to this value").click()
    expect(page.get_by_role("dialog")).to_contain_text("The value is not shown.")
    assert_accessible(page)
    page.get_by_role("button", name="Confirm rotation").click()
    expect(page.get_by_text("Rotation triggered.")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    work(secret)
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    assert versions.value(secret.labelled("current")).password.reveal() == OLD
    assert host.shadow_accepts("svc", OLD)
