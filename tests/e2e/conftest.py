"""Sites, and a browser on this process' own database, for journeys whose worker is the test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.chromium import chromium
from tests.e2e.served import Served
from tests.waiting import PATIENCE


@pytest.fixture
def page(live_server, client, dot, monkeypatch) -> Iterator[Page]:
    """A browser in which dot is signed in; what its console complains of fails the test."""
    # Playwright's own event loop runs in this thread, and Django would refuse to touch its database there.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    client.force_login(dot)
    [cookie] = client.cookies.values()
    complaints: list[str] = []
    with chromium() as browser:
        context = browser.new_context(base_url=live_server.url.replace("127.0.0.1", "localhost"))
        context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "domain": "localhost", "path": "/", "secure": True}]
        )
        shown = context.new_page()
        shown.set_default_timeout(PATIENCE * 1000)
        shown.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        yield shown
    assert [text for text in complaints if "422" not in text] == []


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Make a site in this test's folder; it ends with the test."""
    sites: list[Served] = []

    def make(**given: str) -> Served:
        sites.append(Served(tmp_path, **given))
        return sites[-1]

    yield make
    for site in sites:
        site.end()
