"""Deeds on the settings of the installation."""

from __future__ import annotations

from tests import factories
from tests.screens.routes.calls import Call, Cast, Make


def rename(cast: Cast) -> Call:
    made = factories.region("west")
    return Call([made.pk], {"name": "Far west", "was": made.name}, ("kms:UpdateRegion",))


def retire(cast: Cast) -> Call:
    factories.region("main")
    made = factories.region("west")
    return Call([made.pk], {"name": made.name, "reason": "moved"}, ("kms:RetireRegion",))


CHANGES: dict[str, Make] = {
    "settings_mail_test": lambda cast: Call([], {}, ("kms:SendTestMail",)),
    "region_create": lambda cast: Call([], {"code": "north", "name": "North"}, ("kms:CreateRegion",)),
    "region_rename": rename,
    "region_retire": retire,
}
