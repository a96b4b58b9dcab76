"""A key in five shares, of which any three are the key and two say nothing about it (SLIP-0039).

By Trezor's reference library: each share is 33 English words with a checksum, and names the set that it is
of. The library is not hardened against a program that measures this process; the command runs for a minute on
Keyturn's own machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secrets_app.crypto import envelope
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

SHARES: Final = 5
NEEDED: Final = 3


class BadShare(DomainError, ValueError):
    """This is not a share: a word is missing or mistyped."""

    code = "share_invalid"


class NotOneSet(DomainError, ValueError):
    """These shares do not belong together, or one of them was given twice."""

    code = "shares_do_not_fit"


def split(key: bytes) -> list[Plaintext]:
    """Return five shares of a key of 32 bytes, other ones each time."""
    from shamir_mnemonic import generate_mnemonics

    if len(key) != envelope.KEY_BYTES:
        raise ValueError("A root key has 32 bytes.")
    groups = generate_mnemonics(1, [(NEEDED, SHARES)], key, b"", iteration_exponent=0)
    return [Plaintext(words) for words in groups[0]]


def read(text: Plaintext) -> Plaintext:
    """Return a share without superfluous spaces. Raises `BadShare`, which repeats no word."""
    from shamir_mnemonic import MnemonicError, Share

    words = " ".join(text.reveal().lower().split())
    try:
        Share.from_mnemonic(words)
    except (MnemonicError, ValueError, KeyError):
        raise BadShare(BadShare.__doc__) from None
    return Plaintext(words)


def join(shares: Sequence[Plaintext]) -> bytes:
    """Return the key of which these are three shares. Raises `NotOneSet`."""
    from shamir_mnemonic import MnemonicError, combine_mnemonics

    try:
        return bytes(combine_mnemonics([share.reveal() for share in shares], b""))
    except (MnemonicError, ValueError):
        raise NotOneSet(NotOneSet.__doc__) from None
