"""What was typed and not submitted is not lost without a question, whichever way a user leaves."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from secrets_app.models import Secret
from tests import gallery
from tests.e2e.browser import back, opened

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
QUESTION = "You have unsaved changes. Leave without saving?"


def leaves_without_a_question(page: Page) -> bool:
    """Close the tab as a user does; return False where the browser asks."""
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate(
        "dispatchEvent(new Event('beforeunload', {cancelable: true})) || document.body.append('ASKS')"
    )
    return "ASKS" not in page.content()


def test_back_asks_before_a_dialog_with_typed_text_closes_and_only_then(open_keyring):
    with opened("/get-started/") as page:
        page.goto("/main/secrets/")
        secret = Secret.objects.get(name="acs/ecs/web/nginx")
        page.goto(f"/main/secrets/{secret.pk}/")
        here = page.url
        more, edit = (
            page.locator("#secret-actions summary"),
            page.get_by_role("link", name="Edit", exact=True),
        )
        dialog, question = page.get_by_role("dialog"), page.get_by_text(QUESTION)

        more.click()
        edit.click()
        expect(dialog).to_be_visible()
        back(page)  # nothing was typed
        page.wait_for_url("**/main/secrets/")
        page.go_forward()

        more.click()
        edit.click()
        field = dialog.get_by_label("Secret Description")
        field.fill("kept while I think")
        back(page)
        expect(question).to_be_visible()
        page.get_by_role("button", name="Go on editing").click()
        expect(field).to_be_focused()
        expect(field).to_have_value("kept while I think")
        assert not leaves_without_a_question(page)
        back(page)
        page.get_by_role("button", name="Discard").click()
        expect(dialog).to_have_count(0)
        assert page.url == here

        more.click()
        edit.click()
        dialog.get_by_label("Secret Description").fill("saved")
        dialog.get_by_role("button", name="OK").click()
        expect(page.get_by_text("saved", exact=True).first).to_be_visible()
        expect(dialog).to_have_count(0)
        back(page)  # past what was submitted, in one step
        page.wait_for_url("**/main/secrets/")


def test_back_and_links_ask_before_the_wizard_as_a_page_is_left(open_keyring):
    with opened("/main/secrets/") as page:
        page.goto("/main/secrets/create/")
        name, question = page.get_by_label("Secret name"), page.get_by_text(QUESTION)
        back(page)
        page.wait_for_url("**/main/secrets/")
        page.goto("/main/secrets/create/")
        name.fill("web/typed")
        back(page)
        expect(question).to_be_visible()
        page.get_by_role("button", name="Go on editing").click()
        expect(question).to_have_count(0)
        expect(name).to_have_value("web/typed")
        page.get_by_role("link", name="Instances", exact=True).click()
        expect(question).to_be_visible()
        expect(name).to_have_value("web/typed")
        assert not leaves_without_a_question(page)
        page.get_by_role("button", name="Discard").click()
        page.wait_for_url("**/instances/")

        page.goto("/main/secrets/create/")
        name.fill("web/typed")
        back(page)
        page.get_by_role("button", name="Discard").click()
        page.wait_for_url("**/instances/")


def test_a_link_that_is_followed_the_moment_a_form_is_gone_is_opened(open_keyring):
    """The entry of the form is being taken back then, which ends whatever is being opened."""
    with opened("/main/secrets/") as page:
        secret = Secret.objects.get(name="acs/ecs/web/nginx")
        page.goto(f"/main/secrets/{secret.pk}/")
        page.get_by_role("link", name="Get secret value").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill("to log on")
        page.evaluate(
            "document.body.addEventListener('htmx:afterSwap', () => document.querySelector('#dialog form')"
            " || document.querySelector('nav a[href$=\"/instances/\"]').click())"
        )
        dialog.get_by_role("button", name="Show value").click()
        page.wait_for_url("**/instances/")
        back(page)
        page.wait_for_url(f"**/{secret.pk}/")
        back(page)
        page.wait_for_url("**/main/secrets/")
