"""The root key in AWS KMS: Encrypt and Decrypt there, by Amazon's own SDK.

The key is made at AWS (symmetric, ENCRYPT_DECRYPT). The SDK finds its credentials as it does everywhere:
environment, profile, container, instance. What is wrapped is bound to an encryption context, which CloudTrail
shows; it holds no secret. Source: AWS KMS API reference.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from secrets_app.crypto import envelope
from secrets_app.root_keys import Unavailable
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.wrapped import Provider, pack, unpack

TIMEOUT = (2.0, 4.0)  # seconds: to connect, and between two bytes
CONTEXT: Final = {"keyturn": "root key 1"}
EXTRA: Final = "It needs requirements-root-keys.lock; ./keyturn installs it while KEYTURN_ROOT_KEY names it."
_NOT_OURS: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


class AwsRootKey:
    """A symmetric key of AWS KMS, by the ARN of the key or of an alias."""

    def __init__(self, address: Address) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise Unavailable(f"Amazon's SDK is not installed. {EXTRA}") from None
        self._arn = address.place
        self._kms: Any = boto3.session.Session().client(
            "kms", region_name=address.region, endpoint_url=address.options.get("endpoint"),
            # One try: who asks again is the caller, within its own deadline.
            config=Config(
                connect_timeout=TIMEOUT[0], read_timeout=TIMEOUT[1], retries={"total_max_attempts": 1}
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"The key {self._arn}"

    def key_id(self) -> bytes:
        described = self._ask("describe_key", KeyId=self._arn)["KeyMetadata"]
        if described["KeyState"] != "Enabled":
            raise Unavailable(f"{self} cannot be used: AWS says that it is {described['KeyState']}.")
        return hashlib.sha256(envelope.name("aws kms", described["Arn"])).digest()[:16]

    def wrap(self, material: bytes) -> bytes:
        answer = self._ask("encrypt", KeyId=self._arn, Plaintext=material, EncryptionContext=CONTEXT)
        return pack(Provider.AWS, answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes) -> bytes:
        body = unpack(Provider.AWS, wrapped)
        return bytes(
            # With its name: otherwise AWS opens it by any key that these credentials may use.
            self._ask("decrypt", KeyId=self._arn, CiphertextBlob=body, EncryptionContext=CONTEXT)["Plaintext"]
        )

    def make(self) -> bool:
        return False

    def forget(self) -> None:
        """Nothing is remembered."""

    def _ask(self, action: str, **given: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._kms, action)(**given)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))[:80]
            if code in _NOT_OURS:
                raise envelope.Tampered(
                    "This does not open: another key wrapped it, or it was changed since."
                ) from None
            raise Unavailable(f"{self} cannot be used: AWS answered {code}.") from None
        except (BotoCoreError, OSError) as error:
            raise Unavailable(f"{self} does not answer ({type(error).__name__}).") from None
