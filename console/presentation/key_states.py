"""What is true of a key and of each of its versions, in words and tones."""

from __future__ import annotations

from datetime import datetime

from console.presentation.secret_states import Fact
from secrets_app.keys import key_states
from secrets_app.models import Key, KeyVersion

KEYS = {
    "enabled": Fact("ok", "Enabled", "Encrypts new values and decrypts existing ones."),
    "disabled": Fact(
        "danger",
        "Disabled",
        "Its values cannot be read or rotated; nothing is lost.",
        "Enable it.",
    ),
    "scheduled": Fact(
        "warning",
        "Scheduled for destruction",
        "It opens nothing. On the day its material is destroyed for good.",
        "Cancel this to keep the key.",
    ),
    "destroyed": Fact("muted", "Destroyed", "Its material is gone; the row stays for the history."),
}
VERSIONS = {
    KeyVersion.State.PRIMARY: Fact("ok", "Primary", "It seals new values and opens."),
    KeyVersion.State.ENABLED: Fact("info", "Enabled", "It only opens what it sealed."),
    KeyVersion.State.DISABLED: KEYS["disabled"],
    KeyVersion.State.SCHEDULED: KEYS["scheduled"],
    KeyVersion.State.DESTROYED: KEYS["destroyed"],
}


def of_key(key: Key) -> Fact:
    """The state of a key."""
    return KEYS[key.state]


def of_version(version: KeyVersion) -> Fact:
    """The state of one version of a key."""
    return VERSIONS[KeyVersion.State(version.state)]


def primary(key: Key) -> KeyVersion | None:
    """The version that seals new values; None while the key is not enabled."""
    return next((v for v in key.versions.all() if v.state == KeyVersion.State.PRIMARY), None)


def renewed_at(key: Key) -> datetime | None:
    """When the key next gets a version automatically; None while it is not enabled."""
    version = primary(key)
    return version.created_at + key_states.ROTATED_EVERY if version else None
