"""The root key in Alibaba Cloud KMS: it makes and opens data keys, by Alibaba's own SDK.

Its API takes what is to be encrypted in the address of the request, where no secret may stand. So it is asked
for a data key (GenerateDataKey), whose text comes in the body of the answer; that key seals the material
here, and only KMS can open it again (Decrypt). Layout of what is wrapped: length of the sealed data key, 2
bytes | sealed data key | sealed material.

The SDK finds its credentials as it does everywhere: environment, profile, RAM role of the machine. Source:
Alibaba Cloud KMS API reference, 2016-01-20.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

from secrets_app.crypto import envelope
from secrets_app.root_keys import Unavailable
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.wrapped import Provider, pack, unpack

TIMEOUT_MS = (2000, 4000)  # to connect, and between two bytes
CONTEXT: Final = {"keyturn": "root key 1"}
BOUND: Final = envelope.name("root key at alibaba", "1")
EXTRA: Final = "It needs requirements-root-keys.lock; ./keyturn installs it while KEYTURN_ROOT_KEY names it."
#: Codes of a refusal that say nothing of what was to be opened.
_OF_THE_CALLER: Final = (
    "Forbidden", "Throttling", "Rejected", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "IncompleteSignature", "InvalidSecurityToken", "MissingSecurityToken", "ServiceUnavailable",
    "InternalFailure", "Missing",
)  # fmt: skip


class AlibabaRootKey:
    """A symmetric key of Alibaba Cloud KMS, by its id or alias."""

    def __init__(self, address: Address) -> None:
        try:
            from alibabacloud_kms20160120.client import Client
            from alibabacloud_tea_openapi.models import Config
        except ImportError:
            raise Unavailable(f"Alibaba Cloud's SDK is not installed. {EXTRA}") from None
        self._key, region = address.place, address.options["region"]
        self._ca = str(address.path("ca-file")) if "ca-file" in address.options else None
        self._make_client: Callable[[], Any] = lambda: Client(
            Config(
                credential=_credentials(),
                region_id=region,
                endpoint=address.options.get("endpoint") or f"kms.{region}.aliyuncs.com",
            )
        )
        self._client: Any = None

    def __str__(self) -> str:
        return f"The key {self._key} of Alibaba Cloud KMS"

    def key_id(self) -> bytes:
        return hashlib.sha256(envelope.name("alibaba kms", self._described())).digest()[:16]

    def wrap(self, material: bytes) -> bytes:
        from alibabacloud_kms20160120 import models

        asked = models.GenerateDataKeyRequest(
            key_id=self._key, key_spec="AES_256", encryption_context=CONTEXT
        )
        answer = self._ask("generate_data_key_with_options", asked).body
        sealed_key = str(answer.ciphertext_blob).encode("ascii")
        sealed = envelope.seal(base64.b64decode(answer.plaintext), material, BOUND)
        return pack(Provider.ALIBABA, len(sealed_key).to_bytes(2, "big") + sealed_key + sealed)

    def unwrap(self, wrapped: bytes) -> bytes:
        from alibabacloud_kms20160120 import models

        body = unpack(Provider.ALIBABA, wrapped)
        length = int.from_bytes(body[:2], "big")
        sealed_key, sealed = body[2 : 2 + length], body[2 + length :]
        try:
            blob = sealed_key.decode("ascii")
        except UnicodeDecodeError:
            raise envelope.Tampered("This is nothing that Alibaba Cloud KMS made.") from None
        asked = models.DecryptRequest(ciphertext_blob=blob, encryption_context=CONTEXT)
        answer = self._ask("decrypt_with_options", asked, opens=True).body
        # It opens by any key that these credentials may use, and says which one that was.
        if answer.key_id != self._described():
            raise envelope.Tampered("This does not open: another key wrapped it.")
        try:
            return envelope.open_(base64.b64decode(answer.plaintext), sealed, BOUND)
        except ValueError:
            raise envelope.Tampered("This does not open: it was changed since.") from None

    def make(self) -> bool:
        return False

    def forget(self) -> None:
        """Nothing is remembered."""

    def _described(self) -> str:
        """The id of the key, which an alias only names. Raises `Unavailable` unless it is enabled."""
        from alibabacloud_kms20160120 import models

        answer = self._ask("describe_key_with_options", models.DescribeKeyRequest(key_id=self._key)).body
        if answer.key_metadata.key_state != "Enabled":
            raise Unavailable(
                f"{self} cannot be used: Alibaba Cloud says that it is {answer.key_metadata.key_state}."
            )
        return str(answer.key_metadata.key_id)

    def _ask(self, action: str, asked: Any, *, opens: bool = False) -> Any:
        from darabonba.runtime import RuntimeOptions

        try:
            self._client = self._client or self._make_client()
            how = RuntimeOptions(
                connect_timeout=TIMEOUT_MS[0], read_timeout=TIMEOUT_MS[1], autoretry=False, max_attempts=1,
                ca=self._ca,
            )  # fmt: skip
            return getattr(self._client, action)(asked, how)
        except Exception as error:  # noqa: BLE001 - the SDK's own errors have no class in common
            code = str(getattr(error, "code", "") or "")[:80]
            if opens and code and not code.startswith(_OF_THE_CALLER):
                self._described()  # it may be the key that is not there
                raise envelope.Tampered(
                    "This does not open: another key wrapped it, or it was changed since."
                ) from None
            why = f"Alibaba Cloud answered {code}" if code else f"no answer ({type(error).__name__})"
            raise Unavailable(f"{self} cannot be used: {why}.") from None


def _credentials() -> Any:
    from alibabacloud_credentials.client import Client

    return Client()
