"""Say what this installation is made of: each package of a lock with its version, hashes and licence.

The same lock and the same packages give the same bytes: there is no time in it, and the serial number is
made of the content. A package that is installed in another version than the lock names ends it, since the
answer would be about other code than the one that runs.

Knows files and installed packages; reads no setting and no database. Sources: CycloneDX 1.6 (ECMA-424),
the licence fields of Python's core metadata (PEP 639).
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from secrets_app.errors import DomainError

LOCK: Final = "requirements.lock"
LOCK_WITH_ROOT_KEYS: Final = "requirements-root-keys.lock"
_NAMESPACE: Final = uuid.UUID("9c7e0c1c-50b5-4be3-9d55-6f4c0d8a7b11")
_PACKAGE: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)( ;[^\\]*)?")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
#: Identifiers of SPDX that packages here write into the old field `License`, where any text may stand.
_IDENTIFIERS: Final = frozenset(
    {"MIT", "ISC", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "PSF-2.0"}
)
_OF_CLASSIFIERS: Final[Mapping[str, str]] = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
#: Read in the packages: these state none or an unclear one, or are not installed on every system.
READ_BY_HAND: Final[Mapping[str, str]] = {
    "pyrage": "MIT",
    "qrcode": "BSD-3-Clause AND MIT",
    "async-timeout": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "sspilib": "MIT",
}


class NotAsLocked(DomainError):
    """An installed package is missing or is not the one of the lock; the message names it."""

    code = "package_not_as_locked"


@dataclass(frozen=True)
class Package:
    """One line of a lock, and the licences that the package states."""

    name: str
    version: str
    is_for_some_systems: bool  # the line has a condition, such as Windows
    hashes: tuple[str, ...]  # SHA-256 of each file that may be installed, in hex
    licences: tuple[str, ...]  # SPDX expressions, or the words of the package


def packages(lock: Path) -> list[Package]:
    """Return the packages of a lock, by name. Raises `NotAsLocked`."""
    found = []
    for name, version, condition, hashes in _lines(lock.read_text(encoding="ascii")):
        licences = (READ_BY_HAND[name],) if name in READ_BY_HAND else _stated(name, version)
        found.append(Package(name, version, bool(condition), hashes, licences))
    return sorted(found, key=lambda package: package.name)


def document(folder: Path, found: Sequence[Package]) -> str:
    """Return a CycloneDX document of these packages, for the product in `folder`."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    product = _component(
        "application",
        project["name"],
        project["version"],
        [project["license"]],
        f"keyturn@{project['version']}",
    )
    content = {
        "metadata": {"component": product},
        "components": [_of(package) for package in found],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    return json.dumps(head | content, indent=2) + "\n"


def _lines(text: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    found = []
    for block in re.split(r"\n(?=\S)", text):
        if matched := _PACKAGE.match(block):
            name = re.sub(r"[-_.]+", "-", matched[1]).lower()
            found.append((name, matched[2], matched[3] or "", tuple(sorted(_HASH.findall(block)))))
    return found


def _stated(name: str, version: str) -> tuple[str, ...]:
    try:
        told = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise NotAsLocked(f"{name} {version} is not installed. Install the lock that names it.") from None
    if told.version != version:
        raise NotAsLocked(f"{name} is installed as {told.version}, and the lock says {version}.")
    fields = told.metadata
    for stated in fields.get_all("License-Expression") or []:
        return (stated,)
    for stated in fields.get_all("License") or []:
        if stated in _IDENTIFIERS:
            return (stated,)
    prefixes = ("License :: OSI Approved :: ", "License :: ")
    classifiers = [line for line in fields.get_all("Classifier") or [] if line.startswith("License :: ")]
    names = [next(line.removeprefix(p) for p in prefixes if line.startswith(p)) for line in classifiers]
    if not names:
        raise NotAsLocked(f"{name} {version} states no licence. Read it in the package.")
    return tuple(_OF_CLASSIFIERS.get(word, word) for word in names)


def _of(package: Package) -> dict[str, Any]:
    address = f"pkg:pypi/{package.name}@{package.version}"
    made = _component("library", package.name, package.version, package.licences, address)
    return made | {
        "scope": "optional" if package.is_for_some_systems else "required",
        "hashes": [{"alg": "SHA-256", "content": one} for one in package.hashes],
        "purl": address,
    }


def _component(kind: str, name: str, version: str, licences: Sequence[str], ref: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": ref,
        "name": name,
        "version": version,
        "licenses": [_licence(one) for one in licences],
    }


def _licence(words: str) -> dict[str, Any]:
    if re.search(r" (OR|AND|WITH) ", words):
        return {"expression": words}
    # An identifier has no blank; "BSD License" says not which one, and stays as it is.
    return {"license": {"name": words} if " " in words else {"id": words}}
