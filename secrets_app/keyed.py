"""Keyed hashes and seals of what stands in a store, by a key that no store has: Django's, in its own file.

A reader of the database finds nothing that opens a session or a link: it holds the keyed hash of what the
browser has. A writer of it can plant nothing, without the key for the hash. Each
purpose has a key of its own, so that what stands for one thing is never taken for another.
"""

from __future__ import annotations

import hmac

from django.utils.crypto import salted_hmac

_DOMAIN = "keyturn stores 1: "


def digest(purpose: str, *parts: str) -> str:
    """What stands for these parts together, in 64 hexadecimal digits.

    The length of each part is part of it: no two lists of parts run into the same text.
    """
    # Not strict: a text that is not UTF-8 matches nothing, and is not the caller's error.
    joined = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (text.encode("utf-8", "surrogatepass") for text in parts)
    )
    return salted_hmac(_DOMAIN + purpose, joined, algorithm="sha256").hexdigest()


def fits(mark: str, purpose: str, *parts: str) -> bool:
    """Whether `mark` is the digest of these parts, in a time that does not tell how much of it matches."""
    wanted = digest(purpose, *parts).encode()
    return hmac.compare_digest(mark.encode("utf-8", "surrogatepass"), wanted)
