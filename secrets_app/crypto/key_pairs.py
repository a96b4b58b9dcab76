"""Generate, read and describe SSH key pairs, as text in OpenSSH form. Imports no other room."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

ALGORITHMS = {
    "rsa-2048": "RSA-2048",
    "ed25519": "Ed25519 (recommended)",
    "ecdsa-p256": "ECDSA P-256",
    "rsa-3072": "RSA-3072",
}
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Unreadable(DomainError, ValueError):
    """This is not a private key that can be used; the message says why and what to do."""

    code = "key_pair_unreadable"


@dataclass(frozen=True)
class KeyPair:
    """Both halves, in OpenSSH form."""

    public_key: str  # "ssh-ed25519 AAAA...", no comment
    private_key: Plaintext


def generate(algorithm: str) -> KeyPair:
    """Make a key pair. Raises ValueError for an algorithm that is not in `ALGORITHMS`."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"Unknown key algorithm {algorithm!r}.")
    private: PrivateKey
    if algorithm == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ecdsa-p256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=int(algorithm.split("-")[1]))
    return _pair(private)


def read(text: Plaintext) -> KeyPair:
    """Read a private key in OpenSSH or PEM form. Raises `Unreadable`, never repeating the text."""
    raw = text.reveal().strip().replace("\r\n", "\n").encode() + b"\n"
    load = (
        serialization.load_ssh_private_key if b"BEGIN OPENSSH" in raw else serialization.load_pem_private_key
    )
    try:
        private = load(raw, password=None)
    except TypeError:
        raise Unreadable(
            "This key is protected by a passphrase. Remove it first: ssh-keygen -p -f FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower() or "encrypted" in str(error).lower():
            raise Unreadable(
                "This key is protected by a passphrase. Remove it first: ssh-keygen -p -f FILE"
            ) from None
        raise Unreadable("This is not a private key in OpenSSH or PEM form. Paste the whole file.") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Unreadable("Only Ed25519, ECDSA and RSA keys can be used.")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < 2048:
        raise Unreadable("An RSA key needs at least 2048 bits.")
    return _pair(private)


def fingerprint(public_key: str) -> str:
    """Return "SHA256:..." as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _pair(private: PrivateKey) -> KeyPair:
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return KeyPair(public.decode(), Plaintext(text.decode()))
