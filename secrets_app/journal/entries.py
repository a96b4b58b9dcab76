"""One line of the journal: a sealed value, and what opens it again in a database that has never heard of it.

A line is JSON with a seal by the seal key over all of it, so that a line that was changed, torn or written by
another installation is none. The value is sealed as in the database, and so is the key version: without the
root key a journal shows names and no value.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from secrets_app import seals
from secrets_app.models import SecretVersion

_TABLE = "journal 1"


@dataclass(frozen=True)
class Entry:
    """A version as it was when it was written."""

    fields: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields[name]

    def bytes_of(self, name: str) -> bytes:
        return base64.b64decode(self.fields[name])


def line(version: SecretVersion) -> bytes:
    """Return the line of a version that has a value, with its end. Raises `seals.KeyMissing`."""
    sealed = version.sealed
    assert sealed is not None
    key_version = sealed.key_version
    fields = {
        "account": str(sealed.account_id),
        "secret": str(version.secret_id),
        "name": version.secret.name,
        "version": str(version.pk),
        "version_id": version.version_id,
        "origin": str(version.origin),
        "public_key": version.public_key,
        "value_mark": version.value_mark,
        "created_at": version.created_at.isoformat(),
        "field": sealed.field,
        "wrapped_key": _text(sealed.wrapped_key),
        "ciphertext": _text(sealed.ciphertext),
        "key": str(key_version.key_id),
        "key_version": str(key_version.pk),
        "number": str(key_version.number),
        "wrapped": _text(key_version.wrapped or b""),
    }
    text = json.dumps(fields, sort_keys=True)
    return json.dumps({"entry": text, "seal": seals.mac(_TABLE, [text])}).encode() + b"\n"


def read(raw: bytes) -> Entry | None:
    """Return what a line says; None for one that this installation did not write as it stands.

    Raises `seals.KeyMissing`.
    """
    try:
        told: Any = json.loads(raw)
        text, seal = told["entry"], told["seal"]
        if not isinstance(text, str) or not isinstance(seal, str) or not seals.agrees(seal, _TABLE, [text]):
            return None
        return Entry(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return None


def _text(raw: bytes | memoryview) -> str:
    return base64.b64encode(bytes(raw)).decode()
