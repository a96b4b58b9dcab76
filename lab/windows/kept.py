"""Keep a simulated host in a file from one start to the next: its accounts, registry, certificate and place.

Of a password the file holds what Windows itself keeps, its NT hash; and it is its owner's alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lab.windows.certificates import Certificate
from lab.windows.hosts import Account, WindowsHost
from lab.windows.records import Nothing

_FILE: Final = "host.json"
_FLAGS: Final = ("is_admin", "is_enabled", "is_locked", "must_change", "never_expires", "network_logon")


@dataclass(frozen=True)
class Kept:
    """A host, where it is answered, and what it belongs to."""

    host: WindowsHost
    certificate: Certificate
    address: str
    port: int
    owner: str  # an id of what keeps it

    def save_in(self, folder: Path) -> None:
        """Write it to `folder`, and again after each change of a password or of the registry."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host.record = Nothing()  # it runs for as long as its process does

        def save() -> None:
            with self.host.lock:
                _replace(folder / _FILE, json.dumps(self._as_json()))

        save()
        self.host.on_change = save

    def _as_json(self) -> dict[str, Any]:
        return {
            "name": self.host.name,
            "address": self.address,
            "port": self.port,
            "owner": self.owner,
            "certificate": self.certificate.pem.decode(),
            "key": self.certificate.key.decode(),
            "registry": self.host.registry,
            "accounts": [_account_as_json(account) for account in self.host.accounts.values()],
        }


def load(folder: Path) -> Kept | None:
    """Return the host that is kept in `folder`, which goes on being kept there; None where there is none."""
    try:
        was = json.loads((folder / _FILE).read_text())
    except FileNotFoundError:
        return None
    host = WindowsHost(was["name"])
    host.registry = was["registry"]
    for row in was["accounts"]:
        account = host.add_account(row["name"], "", rid=row["rid"])
        account.kept_hash = row["hash"]
        account.set_at = datetime.fromisoformat(row["set_at"])
        for flag in _FLAGS:
            setattr(account, flag, row[flag])
    certificate = Certificate(was["certificate"].encode(), was["key"].encode())
    kept = Kept(host, certificate, was["address"], was["port"], was["owner"])
    kept.save_in(folder)
    return kept


def _account_as_json(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "rid": account.rid,
        "hash": account.nt_hash.hex(),
        "set_at": account.set_at.isoformat(),
        **{flag: getattr(account, flag) for flag in _FLAGS},
    }


def _replace(path: Path, text: str) -> None:
    """Write at one stroke: a process that is killed leaves the one before."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
