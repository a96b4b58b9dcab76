"""A browser on this process' own database, for journeys whose worker is the test itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.waiting import PATIENCE

CHROMIUM = shutil.which("chromium")


@pytest.fixture
def page(live_server, client, dot, monkeypatch) -> Iterator[Page]:
    """A browser in which dot is signed in; what its console complains of fails the test."""
    if CHROMIUM is None:
        pytest.fail("needs chromium")
    # Playwright's own event loop runs in this thread, and Django would refuse to touch its database there.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    client.force_login(dot)
    [cookie] = client.cookies.values()
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=live_server.url.replace("127.0.0.1", "localhost"))
        context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "domain": "localhost", "path": "/", "secure": True}]
        )
        shown = context.new_page()
        shown.set_default_timeout(PATIENCE * 1000)
        shown.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        yield shown
        browser.close()
    assert [text for text in complaints if "422" not in text] == []
