"""The root key in the transit engine of Vault or OpenBao: encrypt and decrypt there, by HTTPS.

The token is read from its file for every call, so that an agent may renew it. A key that is not there is made
at the first start, if the token may do that. Nothing follows a redirect: it would carry the token elsewhere.

The engine's own binding to a name (associated_data) is not used: a server that does not know it yet would
ignore it, and refuse everything after an upgrade. `keyring` binds the material to its row. Source: the HTTP
API of Vault's and OpenBao's transit engine.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from secrets_app.crypto import envelope, key_files
from secrets_app.root_keys import Unavailable
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.wrapped import Provider, pack, unpack

TIMEOUT = (2.0, 4.0)  # seconds: to connect, and between two bytes
LONGEST_ANSWER_BYTES: Final = 64 * 1024


class _Refused(Exception):
    """Vault answered, and did not do it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")
        self.status = status


class TransitRootKey:
    """A key of type aes256-gcm96 in a transit engine."""

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.text)
        self._base = f"{parts.scheme.removeprefix('vault+')}://{parts.netloc}/v1"
        self._mount, _, self._name = parts.path.strip("/").partition("/keys/")
        self._token_file = address.path("token-file")
        self._verify: str | bool = str(address.path("ca-file")) if "ca-file" in address.options else True
        self._namespace = address.options.get("namespace", "")

    def __str__(self) -> str:
        return f"The transit key {self._name} of {self._base.removesuffix('/v1')}"

    def key_id(self) -> bytes:
        key = self._describe()
        # A key that was deleted and made again has the same name, and began at another time.
        began = min(str(made) for made in key["keys"].values())
        return hashlib.sha256(envelope.name("transit", self._base, self._mount, self._name, began)).digest()[
            :16
        ]

    def wrap(self, material: bytes) -> bytes:
        try:
            answer = self._ask("POST", "encrypt", {"plaintext": base64.b64encode(material).decode()})
        except _Refused as refused:
            raise self._unavailable(refused) from None
        return pack(Provider.TRANSIT, str(_within(answer, "ciphertext", self)).encode("ascii", "replace"))

    def unwrap(self, wrapped: bytes) -> bytes:
        body = unpack(Provider.TRANSIT, wrapped)
        try:
            text = body.decode("ascii")
        except UnicodeDecodeError:
            raise envelope.Tampered("This is nothing that a transit engine made.") from None
        try:
            answer = self._ask("POST", "decrypt", {"ciphertext": text})
        except _Refused as refused:
            if refused.status != 400:
                raise self._unavailable(refused) from None
            self._describe()  # it also says so of a key that is not there
            raise envelope.Tampered(
                "This does not open: another key wrapped it, or it was changed since."
            ) from None
        return base64.b64decode(_within(answer, "plaintext", self))

    def make(self) -> bool:
        try:
            self._ask("GET", "keys")
            return False
        except _Refused as refused:
            if refused.status != 404:
                raise self._unavailable(refused) from None
        try:
            # Made twice it is made once: the engine keeps the key that is there.
            self._ask("POST", "keys", {"type": "aes256-gcm96", "exportable": False})
        except _Refused as refused:
            raise self._unavailable(refused) from None
        return True

    def forget(self) -> None:
        """Nothing is remembered."""

    def _describe(self) -> dict[str, Any]:
        try:
            answer = self._ask("GET", "keys")
        except _Refused as refused:
            raise self._unavailable(refused) from None
        keys = answer.get("data", {}).get("keys")
        if not isinstance(keys, dict) or not keys:
            raise Unavailable(f"{self} cannot be used: Vault did not describe it.")
        if answer["data"].get("exportable"):
            raise Unavailable(
                f"{self} can be exported from the engine, so it is no root key. Make another one."
            )
        return {"keys": keys}

    def _ask(self, method: str, what: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy, and no password of a .netrc
                answer = session.request(
                    method, f"{self._base}/{self._mount}/{what}/{self._name}", json=given, headers=headers,
                    timeout=TIMEOUT, verify=self._verify, allow_redirects=False, stream=True,
                )  # fmt: skip
                with answer:
                    text = answer.raw.read(LONGEST_ANSWER_BYTES, decode_content=True)
                    if answer.status_code not in {200, 204}:
                        raise _Refused(answer.status_code)
        except (requests.RequestException, OSError) as error:
            raise Unavailable(f"{self} does not answer ({type(error).__name__}).") from None
        except Exception as error:
            if isinstance(error, _Refused):
                raise
            raise Unavailable(f"{self} does not answer ({type(error).__name__}).") from None
        return _parsed(text, self)

    def _token(self) -> str:
        try:
            return key_files.read_private(self._token_file)
        except key_files.Unreadable as error:
            raise Unavailable(f"{self} cannot be used. {error}") from None

    def _unavailable(self, refused: _Refused) -> Unavailable:
        why = {
            403: f"the token in {self._token_file} is not valid, or may not use the key",
            404: "there is no such key",
            429: "Vault limits how often it is asked",
            503: "Vault is sealed",
        }.get(refused.status, str(refused))
        return Unavailable(f"{self} cannot be used: {why}.")


def _parsed(text: bytes, root_key: TransitRootKey) -> dict[str, Any]:
    import json

    try:
        answer = json.loads(text or b"{}")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable(f"{root_key} cannot be used: what answers is no Vault.")
    return answer


def _within(answer: dict[str, Any], field: str, root_key: TransitRootKey) -> str:
    held = answer.get("data")
    if not isinstance(held, dict) or not isinstance(held.get(field), str):
        raise Unavailable(f"{root_key} cannot be used: the answer has no {field}.")
    return str(held[field])
