"""Many rows at once, in a browser: the selection outlives a refresh, the page follows the work to its end."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from rotation import leases
from rotation.bulk import bulk_actions
from rotation.models import BulkAction, Run
from tests import gallery
from tests.e2e.browser import opened
from tests.e2e.test_decisions import is_accessible
from tests.e2e.test_live import is_replaced, mark, refresh

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
LIST = "/main/secrets/"
NAMES = ("acs/ecs/ask/root", "acs/ecs/ask/drifted")


def select(page: Page) -> None:
    for name in NAMES:
        page.get_by_role("checkbox", name=f"Select {name}").check()


def test_a_selection_outlives_a_refresh_of_the_list_and_says_how_many(open_keyring):
    with opened(LIST) as page:
        page.clock.install()
        page.goto(LIST)
        bar = page.get_by_role("group", name="Actions on the selected rows")
        expect(bar).to_be_hidden()
        select(page)
        expect(bar).to_contain_text("2 selected")
        head = page.get_by_role("checkbox", name="Select all rows on this page")
        assert head.evaluate("box => box.indeterminate")
        mark(page)
        refresh(page)
        is_replaced(page)
        expect(bar).to_contain_text("2 selected")
        for name in NAMES:
            expect(page.get_by_role("checkbox", name=f"Select {name}")).to_be_checked()
        head.check()
        count = page.locator(".cell-pick > input[form]").count()
        expect(bar).to_contain_text(f"{count} selected")
        assert is_accessible(page)
        head.uncheck()
        expect(bar).to_be_hidden()


def test_what_was_selected_is_confirmed_followed_and_found_by_the_bell(open_keyring):
    with opened(LIST) as page:
        select(page)
        page.get_by_role("button", name="Check for drift").last.click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("2 secrets")
        assert is_accessible(page)
        dialog.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("heading", name="Running")).to_be_visible()
        bulk = BulkAction.objects.get(action="drift")
        bell = page.locator("#bell-button")
        expect(bell).to_contain_text("1 running")
        bulk_actions.carry(bulk.pk, wake=lambda run: None)
        for run in Run.objects.filter(campaign=bulk.pk):
            lease = leases.claim(run.pk, "worker-1/1/1")
            assert lease
            leases.end(lease, "succeeded")
        bulk_actions.settle()
        expect(page.get_by_role("heading", name="Ended")).to_be_visible()
        expect(page.locator("#bulk-progress")).to_contain_text("2 of 2 done.")
        expect(bell).not_to_contain_text("running")
        assert is_accessible(page)
        page.goto(LIST)
        bell.click()
        page.get_by_role("link", name="Check for drift").first.click()
        expect(page.get_by_role("heading", name="Ended")).to_be_visible()
