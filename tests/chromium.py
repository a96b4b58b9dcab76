"""Debian's Chromium, one for each process of the tests, which starts when a test first asks for it.

Its headless shell, where there is one: the same pages without what a person sees around them, which is most
of the processor time of a start, and half of a window's. Tests share nothing in it: each has windows of its
own (`Browser.new_context`), with their own cookies, stores and cache, and they close with the test.

Playwright has an event loop run in this thread for as long as its driver lives, and while one runs, Django
gives each context a database connection of its own. What uses neither sees no loop: outside of these blocks
there is none.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

PATH = shutil.which("chromium")
SHELL = shutil.which("chromium-headless-shell") or PATH
ARGUMENTS = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-gpu",
]  # fmt: skip


class _Running:
    """What this process has started."""

    driver: Playwright | None = None
    browser: Browser | None = None
    loop: ClassVar[asyncio.AbstractEventLoop | None] = None
    until = ExitStack()
    process = 0


@contextmanager
def driver() -> Iterator[Playwright]:
    """Yield the one driver of this process: Playwright allows no second one in a thread."""
    from playwright.sync_api import sync_playwright  # most processes of tests never need it

    before = asyncio._get_running_loop()
    if _Running.driver is None:
        atexit.register(end)
        _Running.process = os.getpid()
        _Running.driver = _Running.until.enter_context(sync_playwright())
        _Running.loop = asyncio._get_running_loop()
    asyncio._set_running_loop(_Running.loop)
    try:
        yield _Running.driver
    finally:
        asyncio._set_running_loop(before)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser; the windows that are opened in the block are closed at its end."""
    assert PATH, "chromium is not installed; as root, ./keyturn test installs it"
    with driver() as playwright:
        if _Running.browser is None or not _Running.browser.is_connected():
            _Running.browser = playwright.chromium.launch(executable_path=SHELL, args=ARGUMENTS)
        browser = _Running.browser
        before = list(browser.contexts)
        try:
            yield browser
        finally:
            for context in browser.contexts:
                if context not in before:
                    context.close()


def end() -> None:
    """End the browser and its driver, if this process started them; a fork of it leaves them alone."""
    if _Running.process != os.getpid():
        return
    asyncio._set_running_loop(_Running.loop)
    try:
        if _Running.browser is not None:
            _Running.browser.close()
        _Running.until.close()
    finally:
        asyncio._set_running_loop(None)
        _Running.browser = _Running.driver = _Running.loop = None
