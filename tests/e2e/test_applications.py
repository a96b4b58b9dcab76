"""An engineer gives a program its access: by clicks, from nothing to the value in an unmodified boto3."""

from __future__ import annotations

import os
import re
from pathlib import Path

import boto3
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from secrets_app.models import AccessKey

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = '{"user": "shop", "password": "correct-horse-1"}'

SETTLED = """() => document.getAnimations().every(
    one => one.playState !== "running" || one.effect.getTiming().iterations === Infinity)"""


def look(page: Page, name: str) -> None:
    """Have axe look at what is shown now, light, dark and narrow; keep pictures where a folder is named."""
    for way, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        # Half faded in, a text has another contrast.
        page.wait_for_function(SETTLED)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        if folder := os.environ.get("KEYTURN_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}-{way}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_engineer_access_key_to_value_in_unmodified_boto3(page: Page, tmp_path: Path, monkeypatch) -> None:
    dialog = page.get_by_role("dialog")
    page.goto("/main/secrets/")
    page.get_by_role("link", name="Create Secret").first.click()
    dialog.get_by_role("link", name="create a Generic secret").click()
    # Both forms have a name: what is filled in before the second one has come is lost with the first one.
    expect(dialog.get_by_label("Secret value")).to_be_visible()
    dialog.get_by_label("Secret name").fill("shop/db")
    dialog.get_by_text("JSON", exact=True).click()
    dialog.get_by_label("Secret value").fill(VALUE)
    look(page, "generic-create")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_role("heading", name="shop/db")).to_be_visible()

    page.get_by_role("link", name="Access", exact=True).click()
    page.get_by_role("link", name="Applications", exact=True).click()
    page.get_by_role("link", name="Create application").first.click()
    dialog.get_by_label("Name").fill("shop")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    page.get_by_role("link", name="Attach policy").click()
    dialog.get_by_label("Policy").select_option("SecretUser")
    dialog.get_by_role("button", name="Attach").click()
    # The page that a dialog leads to is waited for: what is clicked before it has come is lost.
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="shop", exact=True).click()
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    page.get_by_role("link", name="Create access key").click()
    look(page, "access-key-create")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("The secret access key is shown only now.")).to_be_visible()
    look(page, "access-key-made")
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Environment file").click()
    download.value.save_as(tmp_path / "shop.env")
    dialog.get_by_role("link", name="I have kept it").click()
    expect(page).to_have_url(re.compile("/access/access-keys/"))
    expect(dialog).to_be_hidden()
    key = AccessKey.objects.get()
    expect(page.get_by_text(key.key_id)).to_be_visible()

    for line in (tmp_path / "shop.env").read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    answer = boto3.Session().client("secretsmanager").get_secret_value(SecretId="shop/db")
    assert answer["SecretString"] == VALUE

    page.reload()
    expect(page.get_by_text("GetSecretValue").first).to_be_visible()
    look(page, "access-keys")
    page.goto("/access/applications/")
    look(page, "applications")
    page.get_by_role("link", name="shop", exact=True).click()
    look(page, "application")
    page.get_by_role("link", name=f"Rotate {key.key_id}").click()
    expect(dialog.get_by_text("Step 1 of 3")).to_be_visible()
    look(page, "access-key-rotate")
