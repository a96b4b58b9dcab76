"""The address of a root key: which provider, which key there, and where what opens it lies.

    file:/etc/keyturn/root.key                   file: alone is the file of KEYTURN_ROOT_KEY_FILE
    systemd-credential:NAME
    pkcs11:token=LABEL;object=LABEL[;serial=SERIAL]?module-path=/path.so&pin-source=file:/path   (RFC 7512)
    vault+https://HOST:PORT/MOUNT/keys/NAME?token-file=/path[&ca-file=/path][&namespace=NAME]
    awskms:ARN[?endpoint=https://HOST]
    alibabakms:KEY-ID?region=REGION[&endpoint=HOST][&ca-file=/path]

An address holds no secret and can be shown: a PIN or a token is named by the file that holds it. Knows no
provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from secrets_app.errors import DomainError

#: Of each scheme: the options that it needs, and those that it may have.
OPTIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "file": (frozenset(), frozenset()),
    "systemd-credential": (frozenset(), frozenset()),
    "pkcs11": (frozenset({"module-path", "pin-source"}), frozenset()),
    "vault+https": (frozenset({"token-file"}), frozenset({"ca-file", "namespace"})),
    "vault+http": (frozenset({"token-file"}), frozenset({"namespace"})),
    "awskms": (frozenset(), frozenset({"endpoint"})),
    "alibabakms": (frozenset({"region"}), frozenset({"endpoint", "ca-file"})),
}
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+")
_PATHS = ("module-path", "token-file", "ca-file")


class BadAddress(DomainError, ValueError):
    """This is not the address of a root key; the message says which part is wrong."""

    code = "root_key_address_invalid"


@dataclass(frozen=True)
class Address:
    """One root key, as its address names it."""

    text: str
    scheme: str
    place: str  # what stands between the scheme and the options
    options: Mapping[str, str]
    attributes: Mapping[str, str]  # of pkcs11: token, object, serial

    def path(self, name: str) -> Path:
        """The file that an option names."""
        return Path(self.options[name].removeprefix("file:"))

    @property
    def region(self) -> str:
        """The region of an ARN of AWS KMS."""
        found = _ARN.fullmatch(self.place)
        return found[1] if found else ""


def parse(text: str) -> Address:
    """Take an address apart. Raises `BadAddress`; its sentence repeats nothing that may be a secret."""
    scheme, mark, rest = text.partition(":")
    if not mark or scheme not in OPTIONS:
        raise BadAddress(f"The address of a root key begins with one of {', '.join(OPTIONS)}.")
    place, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    needed, allowed = OPTIONS[scheme]
    if "pin-value" in options or "pin-value" in place:
        raise BadAddress(
            "A PIN does not stand in the address: write it to a file and name that by pin-source."
        )
    if unknown := sorted(set(options) - needed - allowed):
        raise BadAddress(f"{scheme}: the option {unknown[0][:40]} is unknown.")
    if missing := sorted(name for name in needed if not options.get(name)):
        raise BadAddress(f"{scheme}: the option {missing[0]} is missing.")
    if len(options) != len(pairs):
        raise BadAddress(f"{scheme}: an option stands twice.")
    address = Address(text, scheme, place, options, _attributes(scheme, place))
    _refuse_unfit(address)
    return address


def _attributes(scheme: str, place: str) -> dict[str, str]:
    if scheme != "pkcs11":
        return {}
    pairs = [part.partition("=") for part in place.split(";") if part]
    found = {name: unquote(value) for name, _, value in pairs}
    if not {"token", "object"} <= set(found) <= {"token", "object", "serial"} or not all(found.values()):
        raise BadAddress(
            "pkcs11: write pkcs11:token=LABEL;object=LABEL, and ;serial=SERIAL if two have one label."
        )
    return found


def _refuse_unfit(address: Address) -> None:
    for name in _PATHS:
        if name in address.options and not address.path(name).is_absolute():
            raise BadAddress(f"{address.scheme}: {name} must be an absolute path.")
    if address.scheme == "pkcs11" and not re.fullmatch("file:/.+", address.options["pin-source"]):
        raise BadAddress("pkcs11: pin-source must be file: and an absolute path.")
    if address.scheme == "file" and address.place and not Path(address.place).is_absolute():
        raise BadAddress("file: the path must be absolute.")
    if address.scheme == "systemd-credential" and not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", address.place):
        raise BadAddress("systemd-credential: write the name of the credential, as in LoadCredential=.")
    if address.scheme.startswith("vault+"):
        _refuse_unfit_vault(address)
    if address.scheme == "awskms" and not _ARN.fullmatch(address.place):
        raise BadAddress("awskms: write the ARN of the key, with its region and account.")
    if address.scheme == "awskms" and not address.options.get("endpoint", "https://").startswith("https://"):
        raise BadAddress("awskms: the endpoint must begin with https://.")
    if address.scheme == "alibabakms" and not re.fullmatch(r"[A-Za-z0-9/_-]+", address.place):
        raise BadAddress("alibabakms: write the key's id, or alias/NAME.")


def _refuse_unfit_vault(address: Address) -> None:
    try:
        parts = urlsplit(address.text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+/keys/[A-Za-z0-9_.-]+", parts.path):
        raise BadAddress(f"{address.scheme}: write //HOST:PORT/transit/keys/NAME, with the engine's path.")
    if parts.username is not None or parts.password is not None:
        raise BadAddress(f"{address.scheme}: no user or password stands in the address; name token-file.")
    if address.scheme == "vault+http" and host not in LOOPBACK:
        raise BadAddress("vault+http is for an agent on this machine; write vault+https for another host.")
