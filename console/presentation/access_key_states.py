"""What is true of an access key, in words and tones."""

from __future__ import annotations

from console.presentation.secret_states import Fact
from secrets_app.models import AccessKey
from secrets_app.people import access_keys

ENABLED = Fact("ok", "Enabled", "Requests with this key are accepted.")
DISABLED = Fact("muted", "Disabled", "Requests with this key are refused.", "Enable it.")
EXPIRED = Fact("warning", "Expired", "Requests with this key are refused.", "Rotate it.")
OWNER_DISABLED = Fact("muted", "Owner disabled", "Requests with this key are refused.", "Enable its owner.")


def of_key(key: AccessKey) -> Fact:
    """The state of an access key; the first that is true."""
    if not key.is_active:
        return DISABLED
    if access_keys.is_expired(key):
        return EXPIRED
    return ENABLED if access_keys.is_active(key.principal) else OWNER_DISABLED
