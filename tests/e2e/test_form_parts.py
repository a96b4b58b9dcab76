"""A field that belongs to one choice is shown with that choice only, and what was typed in it is kept."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from console.models import Subscription
from secrets_app.models import AuditEvent
from tests import gallery
from tests.e2e.browser import opened

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
TYPED = "SEC-of-a-robot"


def test_the_secret_of_a_robot_is_asked_for_with_its_own_format_only(open_keyring):
    with opened("/settings/notifications/") as page:
        page.get_by_role("link", name="Create subscription").first.click()
        dialog = page.get_by_role("dialog")
        shape, robot = dialog.get_by_label("Format", exact=True), dialog.get_by_label("DingTalk robot secret")
        expect(dialog.get_by_label("Webhook address")).to_be_visible()
        expect(robot).to_be_hidden()

        shape.select_option("dingtalk")
        robot.fill(TYPED)
        shape.select_option("slack")
        expect(robot).to_be_hidden()
        expect(robot).to_be_disabled()  # so it does not travel
        shape.select_option("dingtalk")
        expect(robot).to_be_visible()
        expect(robot).to_have_value(TYPED)

        # A mail has no format at all; what was typed for one does not stop it.
        dialog.get_by_label("Send by").select_option("mail")
        expect(shape).to_be_hidden()
        expect(robot).to_be_hidden()
        dialog.get_by_label("Name", exact=True).fill("By mail")
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="By mail")).to_be_visible()
        assert Subscription.objects.get(name="By mail").channel == Subscription.Channel.MAIL
        assert TYPED not in str(list(AuditEvent.objects.values()))
