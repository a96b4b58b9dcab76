"""The root key: something that wraps and unwraps the material of key versions, and never shows itself.

A provider is a module here with a class that keeps the contract of `RootKey`; the scheme of the address in
the setting ROOT_KEY chooses the class. What wraps may be a file, a hardware module or a service: only the
provider knows. It knows no row and no state of a key; `keyring` is the only one that asks it.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from secrets_app.errors import DomainError
from secrets_app.root_keys import addresses, deadlines


class Unavailable(DomainError):
    """The root key is missing or cannot be used now; the message says why."""

    code = "root_key_unavailable"


class RootKey(Protocol):
    """The contract of a provider. Built once in a process, from an `Address`; used by several threads.

    Its text, `str(provider)`, is how a sentence names the key: a path, an address, never the key.
    """

    def key_id(self) -> bytes:
        """Return 16 bytes that tell the key that is there now from another one and say nothing of either.

        Looks at the key's place each time: a key that went or was exchanged since the last call is
        noticed. Raises `Unavailable`.
        """
        ...

    def wrap(self, material: bytes) -> bytes:
        """Return `material` (at most 64 bytes) as only `unwrap` opens it, in at most 1,024 bytes.

        Two calls with the same bytes give different results. Raises `Unavailable`.
        """
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return what was wrapped.

        Raises `envelope.Tampered` for what another key wrapped or what was changed by one bit since, and
        `Unavailable`.
        """
        ...

    def make(self) -> bool:
        """Make the key if there is none, durably; True if one was made. Never replaces a key.

        Called only while the database has no key version. A provider whose keys are made elsewhere
        returns False.
        """
        ...

    def forget(self) -> None:
        """Drop from memory what was read; the next call looks at the key's place again."""
        ...


#: The class of each scheme of an address, and its name on a page.
PROVIDERS: dict[str, tuple[str, str]] = {
    "file": ("secrets_app.root_keys.file.FileRootKey", "File"),
    "systemd-credential": ("secrets_app.root_keys.systemd.SystemdRootKey", "systemd credential"),
    "pkcs11": ("secrets_app.root_keys.token.TokenRootKey", "PKCS#11 token"),
    "vault+https": ("secrets_app.root_keys.transit.TransitRootKey", "Vault or OpenBao"),
    "vault+http": ("secrets_app.root_keys.transit.TransitRootKey", "Vault or OpenBao, through an agent"),
    "awskms": ("secrets_app.root_keys.aws.AwsRootKey", "AWS KMS"),
    "alibabakms": ("secrets_app.root_keys.alibaba.AlibabaRootKey", "Alibaba Cloud KMS"),
}
#: What reads a file of this machine answers at once, and has read it again when it is asked again.
_AT_ONCE = frozenset({"file", "systemd-credential"})


def provider() -> RootKey:
    """Return the provider that the settings name."""
    return at(settings.ROOT_KEY)


def label(address: str) -> str:
    """What kind of provider an address names, in words."""
    return PROVIDERS[addresses.parse(address).scheme][1]


@cache
def at(address: str) -> RootKey:
    """Return the provider at an address. Raises `addresses.BadAddress`; `Unavailable` without its library."""
    parsed = addresses.parse(address)
    root_key: RootKey = import_string(PROVIDERS[parsed.scheme][0])(parsed)
    return root_key if parsed.scheme in _AT_ONCE else deadlines.Bounded(root_key, Unavailable)
