"""A browser leaves nothing behind in its process that the tests after it would see."""

import asyncio

import pytest
from django.db import connections

from tests.chromium import chromium


def test_no_event_loop_is_seen_outside_of_a_block():
    before = connections["default"]
    with chromium() as browser:
        browser.new_context().new_page().goto("about:blank")
        with chromium():
            pass
        asyncio.get_running_loop()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert connections["default"] is before
