"""The root key in a credential of systemd: LoadCredential= or, sealed by the TPM, LoadCredentialEncrypted=.

systemd(1) gives it to one service alone, in a folder that no other user can enter, which lies in memory. Its
content is that of the key file. Source: systemd.exec(5), "Credentials".
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from secrets_app.crypto import envelope
from secrets_app.root_keys import Unavailable
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.held import MAGIC, HeldRootKey


class SystemdRootKey(HeldRootKey):
    """A root key of 256 bits in $CREDENTIALS_DIRECTORY/NAME; a file with the same bytes is the same key."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._name = address.place

    def __str__(self) -> str:
        return f"The systemd credential {self._name}"

    def make(self) -> bool:
        return False

    def _read(self) -> bytes:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise Unavailable(f"{self} is not there: CREDENTIALS_DIRECTORY is not set, so systemd gave none.")
        path = Path(folder) / self._name
        try:
            with path.open(encoding="ascii") as file:
                status, text = os.fstat(file.fileno()), file.read().strip()
        except (OSError, ValueError):
            raise Unavailable(f"{self} is missing or cannot be read: {path}.") from None
        # The group's bits show the mask of an access list, by which systemd lets the service's user read it.
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o037:
            raise Unavailable(f"{self} is open to other users; systemd made no such file: {path}.")
        try:
            key = bytes.fromhex(text.removeprefix(MAGIC))
        except ValueError:
            key = b""
        if not text.startswith(MAGIC) or len(key) != envelope.KEY_BYTES:
            raise Unavailable(f"{self} does not hold a root key of Keyturn.")
        return key
