"""A window of Chromium, driven by label and role as a person finds things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import gallery
from tests.chromium import chromium
from tests.waiting import wait_for

GIVEN_UP = ("htmx:afterRequest", "htmx:sendAbort")


def window(browser: Browser, **options: object) -> BrowserContext:
    """A window of its own, whose steps have the suite's patience."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    gallery.be_patient(context)
    return context


class Complaints:
    """What the browser had to complain of: errors of scripts, refusals by the policy, other hosts."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.found: list[str] = []
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.found.append(f"script: {error.error}"))
        context.on(
            "request", lambda r: None if r.url.startswith(base) else self.found.append(f"other host: {r.url}")
        )

    def _on_console(self, message) -> None:
        # Chromium itself writes a line for every answer that is not 2xx; a 422 is how a form answers. htmx
        # writes two for a request that was given up for the next one or for another page, and one more if it
        # failed.
        usual = "status of 4" in message.text or message.text.startswith(GIVEN_UP)
        if message.type == "error" and not usual:
            self.found.append(f"console: {message.text}")


@contextmanager
def opened(path: str, width: int = 1280) -> Iterator[Page]:
    """A page of the seeded site, in front of an administrator; no script fails and no other host is asked."""
    cookie = gallery.session(gallery.seed())
    with gallery.serve() as address, chromium() as browser:
        context = gallery.signed_in(browser, address, cookie, scheme="light", width=width)
        complaints = Complaints(context, address)
        page = context.new_page()
        page.goto(path)
        yield page
        context.close()
        assert not complaints.found, complaints.found


def back(page: Page, **options: object) -> None:
    """Back, once the browser has each entry that the page made: it hears of them a little later."""
    client = page.context.new_cdp_session(page)

    def has_all() -> bool:
        entries = client.send("Page.getNavigationHistory")["entries"]
        return len(entries) == page.evaluate("history.length")

    wait_for(has_all, "the browser's own history")
    client.detach()
    page.go_back(**options)  # type: ignore[arg-type]


def sign_in(page: Page, base: str, username: str, password: str) -> None:
    page.goto(base)
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def choose_password(page: Page, old: str, new: str) -> None:
    """The first sign-in asks for a password of one's own before anything else."""
    expect(page.get_by_label("Current password")).to_be_visible()
    page.get_by_label("Current password").fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("New password, again").fill(new)
    page.get_by_role("main").get_by_role("button").first.click()
    page.get_by_role("link", name="Later").click()  # than now: a second factor
