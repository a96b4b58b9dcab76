"""What axe finds on a page, in the colours that it has and in those of the other scheme."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Of a button that waits for its answer, or half faded in, a text has another contrast.
SETTLED = """() => !document.querySelector(".htmx-request") && document.getAnimations().every(
    one => one.playState !== "running" || one.effect.getTiming().iterations === Infinity)"""
_RUN = "given => axe.run(given).then(found => found.violations)"
_IS_DARK = "matchMedia('(prefers-color-scheme: dark)').matches"


def in_both_schemes(page: Page) -> list[dict[str, Any]]:
    """Every violation on the page as it is, then those of colours alone in the other scheme, where it stays.

    Nothing but colours differs there. To change the scheme back would cost as much as to look.
    """
    found = violations(page)
    page.emulate_media(color_scheme="light" if page.evaluate(_IS_DARK) else "dark")
    return [*found, *_violations(page, runOnly=["color-contrast"])]


def violations(page: Page) -> list[dict[str, Any]]:
    """Every violation on the page as it is once nothing moves and no answer is awaited."""
    page.evaluate(AXE_SCRIPT)
    return _violations(page)


def tell(violations: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']}: {node['html'][:160]}" for one in violations for node in one["nodes"]]


def _violations(page: Page, **given: object) -> list[dict[str, Any]]:
    page.wait_for_function(SETTLED)
    # Of what is in order, each node would be described and sent here.
    return page.evaluate(_RUN, {"resultTypes": ["violations"], **given})  # type: ignore[no-any-return]
