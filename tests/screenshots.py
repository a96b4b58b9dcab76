"""Take screenshots of every screen: `./keyturn screenshots [OUT]`, in light, dark and narrow.

The site is a scratch one, with secrets, instances and runs in many states; nothing of it is kept. `--readme`
takes only the one in README.md.
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

from secrets_app import keyring  # noqa: E402
from tests import chromium, gallery  # noqa: E402

README = Path(__file__).resolve().parent.parent / "docs" / "secrets.png"
LOOKS = {
    "light": ("light", 1440),
    "dark": ("dark", 1440),
    "wide": ("light", 1920),
    "wide-dark": ("dark", 1920),
    "laptop": ("light", 1280),
    "narrow": ("light", 390),
}
FOLDED = 1024  # pixels; what is pressed stands elsewhere on a narrower screen


def main() -> int:
    parser = argparse.ArgumentParser(prog="keyturn screenshots", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=Path("screenshots"))
    parser.add_argument("--only", nargs="*", help="names of screens")
    parser.add_argument("--looks", nargs="*", choices=LOOKS, default=["light", "dark", "narrow"])
    parser.add_argument("--readme", action="store_true", help="take the screenshot in README.md again")
    options = parser.parse_args()
    if not options.readme:
        options.out.mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0)
    keyring.ensure_root_key()
    viewer = gallery.seed()
    screens = [one for one in gallery.screens() if not options.only or one.name in options.only]
    with gallery.serve() as address, chromium.chromium() as browser:
        for look in options.looks:
            scheme, width = LOOKS[look]
            cookie = gallery.session(viewer)
            page = gallery.signed_in(browser, address, cookie, scheme=scheme, width=width).new_page()
            if options.readme:
                page.goto("/main/secrets/")
                page.screenshot(path=README)
                print(f"{README.name} is new")
                return 0
            for screen in screens:
                if screen.press and width < FOLDED:
                    continue
                gallery.stay(page, address, viewer)
                screen.open(page)
                page.screenshot(path=options.out / f"{screen.name}-{look}.png", full_page=True)
            page.context.close()
    print(f"{len(list(options.out.glob('*.png')))} screenshots in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
