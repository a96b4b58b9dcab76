"""A security key in software: answers a page's options as a browser with one would.

Source: W3C Web Authentication, level 3: 5.8.1 (client data), 6.1 (authenticator data), 8.7 (no attestation).
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

ID = b"a-credential-of-32-bytes-in-all."
HOST = "localhost"
PRESENT = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV


class Passkey:
    """One key pair, for one site."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def registered(self, options: dict[str, Any]) -> dict[str, Any]:
        """What a browser sends after `navigator.credentials.create`."""
        public = ES256.from_cryptography_key(self._key.public_key())
        held = AttestedCredentialData.create(b"\0" * 16, ID, public)
        authenticator = AuthenticatorData.create(_site(), PRESENT | AuthenticatorData.FLAG.AT, 0, held)
        answer = {"attestationObject": AttestationObject.create("none", authenticator, {})}
        return self._sent("webauthn.create", options, answer)

    def confirmed(self, options: dict[str, Any]) -> dict[str, Any]:
        """What a browser sends after `navigator.credentials.get`."""
        authenticator = AuthenticatorData.create(_site(), PRESENT, 1)
        signed = authenticator + _client("webauthn.get", options).hash
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return self._sent(
            "webauthn.get", options, {"authenticatorData": authenticator, "signature": signature}
        )

    def _sent(self, kind: str, options: dict[str, Any], answer: dict[str, bytes]) -> dict[str, Any]:
        answer |= {"clientDataJSON": _client(kind, options)}
        return {
            "id": websafe_encode(ID),
            "rawId": websafe_encode(ID),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {name: websafe_encode(bytes(content)) for name, content in answer.items()},
        }


def _client(kind: str, options: dict[str, Any]) -> CollectedClientData:
    challenge = options["publicKey"]["challenge"]
    return CollectedClientData.create(kind, challenge, f"https://{HOST}")


def _site() -> bytes:
    return hashlib.sha256(HOST.encode()).digest()
