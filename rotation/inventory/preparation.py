"""The command that lets Keyturn into an instance, and its opposite, for an operator to run there.

Both hold the public half of a key and nothing that is secret. What they are depends on the wire.
`management.check_account_name` has made sure that the account's name can stand in them.
"""

from __future__ import annotations

from rotation import wires
from rotation.models import ManagementCredential


def command(credential: ManagementCredential) -> str:
    """Return the command that, run once on an instance, lets Keyturn in as this account."""
    return wires.login(credential.wire).prepare(credential.username, credential.public_key)


def opposite(credential: ManagementCredential) -> str:
    """Return the command that takes that back."""
    return wires.login(credential.wire).unprepare(credential.username, credential.public_key)
