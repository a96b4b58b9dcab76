"""`./keyturn sbom` says what the locks name: every package once, with version, hashes and licence."""

from __future__ import annotations

import json
import re
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from console.commands import bill_of_materials
from console.commands.exits import Exit

CHECKOUT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.name for path in CHECKOUT.glob("requirements*.lock"))
#: Words that a licence here may be said by; a package with other ones is looked at before it comes in.
KNOWN = re.compile(
    r"MIT(-0)?|ISC|Apache-2\.0|BSD(-[23]-Clause| License)|MPL-2\.0|PSF-2\.0|LGPL-(2\.1|3\.0-only)"
)


def printed(*words: str) -> str:
    out = StringIO()
    call_command("sbom", *words, stdout=out)
    return out.getvalue()


def named(lock: str) -> dict[str, str]:
    text = (CHECKOUT / lock).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]*\])?==([^\s;\\]+)", text, re.MULTILINE))


def refused(text: str) -> object:
    """What is wrong with a document, as CycloneDX's own validator says, or None."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator  # half a second, for each process of the tests

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


@pytest.mark.parametrize(
    ("lock", "words"), [("requirements.lock", ()), ("requirements-root-keys.lock", ("--root-keys",))]
)
def test_every_package_of_a_lock_is_named_once_with_version_hashes_and_licence(lock, words):
    text = (CHECKOUT / lock).read_text()
    found = json.loads(printed(*words))["components"]
    assert {one["name"]: one["version"] for one in found} == named(lock)
    assert len(found) == len(named(lock)) > 50
    hashes = sorted(one["content"] for component in found for one in component["hashes"])
    assert hashes == sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    for component in found:
        assert component["hashes"], component["name"]
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"
        assert component["licenses"], component["name"]


@pytest.mark.parametrize("words", [(), ("--root-keys",)])
def test_the_document_is_cyclonedx_and_the_same_each_time(words):
    text = printed(*words)
    assert refused(text) is None
    assert printed(*words) == text


def test_the_validator_refuses_what_is_not_cyclonedx():
    told = json.loads(printed())
    told["components"][0]["licenses"] = [{"license": {"id": "No such licence"}}]
    assert refused(json.dumps(told)) is not None


def test_the_licences_are_ones_that_are_known_here():
    lines = printed("--licences", "--root-keys").splitlines()
    assert len(lines) == len(named("requirements-root-keys.lock"))
    unknown = {
        line: word
        for line in lines
        for word in re.split(r", | OR | AND ", line.partition(": ")[2].strip("()"))
        if not KNOWN.fullmatch(word)
    }
    assert unknown == {}


def test_a_licence_read_by_hand_is_not_one_that_the_package_states():
    """An entry goes when the package says it itself."""
    for name in bill_of_materials.READ_BY_HAND:
        try:
            fields = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        assert not fields.get("License-Expression"), name


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("django==1.0", "the lock says 1.0"),
        ("no-such-package==1.0", "no-such-package 1.0 is not installed"),
    ],
)
def test_a_package_that_is_not_as_locked_ends_it_by_name(tmp_path, settings, line, sentence):
    (tmp_path / "requirements.lock").write_text(f"{line} \\\n    --hash=sha256:{'0' * 64}\n")
    settings.BASE_DIR = tmp_path
    with pytest.raises(CommandError, match=sentence) as caught:
        printed()
    assert caught.value.returncode == Exit.CONFLICT


def test_two_locks_never_name_two_versions_of_one_package():
    """The second one that is installed would change what the first has installed."""
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in named(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
