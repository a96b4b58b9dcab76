"""Read the certificate of an authority, as an operator pastes it: one, of an authority, and valid today.

It also tells until when any certificate is valid. What an authority signs is trusted for an address only as
far as `connections` says: for that name, and in its dates.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rotation.connectors.base import HostKey

# The table of wires names this module, so every process loads it; hardly one reads a certificate.
if TYPE_CHECKING:
    from cryptography import x509

#: How it is pinned, beside the word for a certificate that is compared itself.
AUTHORITY: Final = "x509-ca"
MOST_CHARACTERS: Final = 16_384


def read(text: str) -> HostKey:
    """Return what is pinned of a certificate in PEM. Raises `ValueError`, whose sentence says why not."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    if "PRIVATE KEY" in text:
        raise ValueError("This holds a private key. Paste the certificate of the authority alone.")
    try:
        found = x509.load_pem_x509_certificates(text[: MOST_CHARACTERS + 1].encode())
    except ValueError:
        found = []
    if not found:
        raise ValueError(
            "Paste the whole certificate of the authority in PEM form, from BEGIN CERTIFICATE to "
            "END CERTIFICATE."
        )
    if len(found) > 1:
        raise ValueError(f"These are {len(found)} certificates. Paste the one of the authority that signs.")
    _require_authority(found[0])
    der = found[0].public_bytes(Encoding.DER)
    return HostKey(AUTHORITY, base64.b64encode(der).decode(), hashlib.sha256(der).hexdigest().upper())


def expires_at(blob: str) -> datetime | None:
    """Return until when a certificate is valid by its own dates; None for what is no certificate."""
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(base64.b64decode(blob)).not_valid_after_utc
    except ValueError:
        return None


def _require_authority(certificate: x509.Certificate) -> None:
    from cryptography import x509

    try:
        is_one = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_one = False
    if not is_one:
        raise ValueError(
            "This is no certificate of an authority. If it is the instance's own, compare and approve it "
            "instead."
        )
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise ValueError(f"This certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}.")
