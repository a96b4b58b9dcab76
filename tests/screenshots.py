"""Picture every screen in light, dark and on a telephone: `python -m tests.screenshots OUT`.

The site is a scratch one, with secrets, instances and runs in many states; nothing of it stays.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
django.setup()

from django.core.management import call_command  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from secrets_app import keyring  # noqa: E402
from tests import gallery  # noqa: E402

LOOKS = {"light": ("light", 1440), "dark": ("dark", 1440), "narrow": ("light", 390)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", help="names of screens")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    keyring.ensure_root_key()
    cookie = gallery.session(gallery.seed())
    screens = [one for one in gallery.screens() if not options.only or one.name in options.only]
    with gallery.serve() as address, sync_playwright() as playwright:
        browser = gallery.launch(playwright)
        for look, (scheme, width) in LOOKS.items():
            context = gallery.signed_in(browser, address, cookie, scheme=scheme, width=width)
            page = context.new_page()
            for screen in screens:
                page.goto(screen.path)
                page.screenshot(path=options.out / f"{screen.name}-{look}.png", full_page=True)
            context.close()
        browser.close()
    print(f"{len(screens) * len(LOOKS)} pictures in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
