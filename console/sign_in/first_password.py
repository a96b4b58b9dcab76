"""The only writer of the file with the first administrator's first password, while it is worth anything.

Set-up prints that password to a terminal. Anywhere else the output may be kept, in a container's log or a
journal, so it prints the name of this file. Only its owner can read it, and it is removed when they have
chosen a password of their own. It is in the data folder: web may not write where the keys are.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from django.conf import settings

from secrets_app.crypto.plaintext import Plaintext

log = logging.getLogger(__name__)


def file() -> Path:
    """Where it is, if it is anywhere."""
    return Path(settings.DATA_DIR) / "first-password"


def keep(password: Plaintext) -> None:
    """Write it, readable by its owner only. Raises OSError."""
    file().unlink(missing_ok=True)  # of a database that is gone
    descriptor = os.open(file(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(password.reveal() + "\n")


def remove() -> None:
    """Remove the file if it is there: the password in it is no longer valid."""
    try:
        file().unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s could not be removed (%s). The password in it is void.", file(), error.strerror)
