"""The key that a request names for the values of a secret."""

from __future__ import annotations

from console.interfaces.aws import faults
from console.interfaces.aws.calls import Call
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.models import Key
from secrets_app.policy import decisions

_OURS = "alias/aws/secretsmanager"  # what a client calls the key that is used where none is named


def named(call: Call, name: str) -> Key | None:
    """The key of this name; None for the default key by no name of its own. Raises `faults.Fault`."""
    if name in {"", _OURS, "DefaultEncryptionKey"}:
        return None
    alias = name.rpartition(":")[2].removeprefix("alias/").removeprefix("key/")
    key = Key.objects.select_related("account").filter(alias=alias).first()
    if key is None or not (
        key.alias == keyring.DEFAULT_ALIAS or decisions.allows(call.actor, Action.DESCRIBE_KEY, key)
    ):
        raise faults.invalid_parameter("KmsKeyId names no key that you may use.")
    return key
