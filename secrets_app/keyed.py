"""Keyed hashes and seals of what stands in a store, by a key that no store has: Django's, in its own file.

Whoever reads the database finds nothing that opens a session or a link: it holds the keyed hash of what the
browser has. Whoever writes it can plant nothing of their own, since they cannot work the hash out. Each
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
    # Not strict: a text that is no text in UTF-8 fits nothing, and is no error of whoever asks.
    joined = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (text.encode("utf-8", "surrogatepass") for text in parts)
    )
    return salted_hmac(_DOMAIN + purpose, joined, algorithm="sha256").hexdigest()


def fits(mark: str, purpose: str, *parts: str) -> bool:
    """Whether `mark` is the digest of these parts, in a time that does not tell how much of it matches."""
    wanted = digest(purpose, *parts).encode()
    return hmac.compare_digest(mark.encode("utf-8", "surrogatepass"), wanted)
