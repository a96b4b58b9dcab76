"""An engineer gives a program its access: by clicks, from nothing to the value in an unmodified boto3."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import boto3
import pytest
from playwright.sync_api import Page, expect

from secrets_app.models import AccessKey
from tests.e2e import axe

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = '{"user": "shop", "password": "correct-horse-1"}'


def look(page: Page, name: str) -> None:
    """Have axe look at what is shown now, light, dark and narrow; keep pictures where a folder is named."""
    for way, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        assert axe.tell(axe.violations(page)) == []
        if folder := os.environ.get("KEYTURN_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}-{way}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_engineer_access_key_to_value_in_unmodified_boto3(page: Page, tmp_path: Path, monkeypatch) -> None:
    dialog = page.get_by_role("dialog")
    page.goto("/main/secrets/")
    page.get_by_role("link", name="Create Secret").first.click()
    dialog.get_by_text("Generic secret", exact=True).click()
    # Both forms have a name: what is filled in before the second one has come is lost with the first one.
    expect(dialog.get_by_label("Secret value")).to_be_visible()
    dialog.get_by_label("Secret name").fill("shop/db")
    dialog.get_by_text("JSON, plain text").click()
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
    expect(dialog.get_by_role("button", name="Create")).to_be_visible()
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


def test_a_generic_secret_from_its_first_value_to_a_label_and_a_reminder(page: Page, tmp_path: Path) -> None:
    """By keyboard and by pointer: rows, a file, the value by its keys, the labels of a version."""
    dialog = page.get_by_role("dialog")
    page.goto("/main/secrets/")
    page.get_by_role("link", name="Create Secret").first.click()
    managed = dialog.get_by_role("radio", name="Managed ECS secret")
    expect(managed).to_be_focused()
    page.keyboard.press("ArrowDown")
    generic = dialog.get_by_role("radio", name="Generic secret")
    expect(dialog.get_by_label("Secret value")).to_be_visible()
    expect(generic).to_be_checked()
    expect(generic).to_be_focused()  # the form was replaced, and the choice keeps the focus
    dialog.get_by_label("Secret name").fill("shop/db")
    dialog.get_by_label("Reminder, in days").fill("90")
    dialog.get_by_text("JSON, keys and values").click()
    expect(dialog.get_by_label("Secret value")).to_be_hidden()
    keys, values = dialog.get_by_label("Key", exact=True), dialog.get_by_label("Value", exact=True)
    expect(keys).to_have_count(3)
    dialog.get_by_role("button", name="Add row").click()
    expect(keys).to_have_count(4)
    expect(keys.nth(3)).to_be_focused()
    keys.nth(0).fill("user")
    values.nth(0).fill("shop")
    keys.nth(3).fill("password")
    values.nth(3).fill('correct "horse" 1')
    look(page, "generic-rows")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_role("heading", name="shop/db")).to_be_visible()
    expect(page.get_by_text("Reminder every 90 days").first).to_be_visible()

    page.get_by_role("link", name="Get secret value").first.click()
    dialog.get_by_label("Reason").fill("test")
    dialog.get_by_role("button", name="Show value").click()
    hidden = dialog.get_by_text('correct "horse" 1', exact=True)
    expect(hidden).to_be_hidden()
    dialog.get_by_text("Show the value of password").click()
    expect(hidden).to_be_visible()
    expect(dialog.get_by_role("button", name="Copy the value of user")).to_be_visible()
    look(page, "generic-value")
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download shop-db.txt").click()
    download.value.save_as(tmp_path / "value")
    assert json.loads((tmp_path / "value").read_text()) == {"user": "shop", "password": 'correct "horse" 1'}
    dialog.get_by_role("link", name="Close").click()

    page.locator("summary", has_text="More").click()
    page.get_by_role("link", name="Edit value").click()
    dialog.get_by_text("Binary, a file").click()
    (tmp_path / "key.der").write_bytes(bytes(range(256)))
    dialog.get_by_label("File", exact=True).set_input_files(tmp_path / "key.der")
    look(page, "generic-file")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("shop/db has a new value.")).to_be_visible()
    page.get_by_role("link", name=re.compile("^Labels of")).last.click()
    dialog.get_by_label("Custom labels").fill("blue")
    look(page, "generic-labels")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("blue", exact=True)).to_be_visible()
    page.get_by_role("link", name=re.compile("^Get secret value of")).first.click()
    dialog.get_by_label("Reason").fill("test")
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Show value").click()
        dialog.get_by_role("button", name="Download shop-db.bin").click()
    download.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == bytes(range(256))
