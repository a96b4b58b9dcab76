"""Actions that are about no secret: the regions, the account, a random password."""

from __future__ import annotations

import secrets as randomness
import string
from typing import Any

from console.fetching import by_region
from console.interfaces.alibaba import faults
from console.interfaces.alibaba.calls import Call

_SETS = (
    ("ExcludeLowercase", string.ascii_lowercase),
    ("ExcludeUppercase", string.ascii_uppercase),
    ("ExcludeNumbers", string.digits),
    ("ExcludePunctuation", string.punctuation),
)


def describe_regions(call: Call) -> dict[str, Any]:
    """Name the regions in which the caller may do something."""
    shown = [{"RegionId": region.code} for region in by_region.shown(call.actor)]
    return {"Regions": {"Region": shown}}


def describe_account_kms_status(call: Call) -> dict[str, Any]:
    """Say that the service is there, which clients ask before they begin."""
    return {"AccountStatus": "Enabled"}


def get_random_password(call: Call) -> dict[str, Any]:
    """Make a password of the classes that are not excluded; it is stored nowhere."""
    given = call.given
    length = given.number("PasswordLength", 32, least=8, most=128)
    excluded = set(given.text("ExcludeCharacters", most=1024))
    chosen = ["".join(c for c in text if c not in excluded) for name, text in _SETS if not given.flag(name)]
    chosen = [text for text in chosen if text]
    if not chosen:
        raise faults.invalid("The password would have no characters to be made of.")
    drawn = [randomness.choice(text) for text in chosen] if given.flag("RequireEachIncludedType") else []
    alphabet = "".join(chosen)
    drawn += [randomness.choice(alphabet) for _ in range(length - len(drawn))]
    randomness.SystemRandom().shuffle(drawn)
    return {"RandomPassword": "".join(drawn)}
