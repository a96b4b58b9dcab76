"""What a call is given: its query, its form and its JSON body as one set of texts, and each read by its type.

Clients write a boolean as True or true, a list as `ResourceId.1` or as JSON, and an object flattened
(`ExtendedConfig.CustomData.Name`) or as JSON. Each way is read. No message repeats what was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from console.interfaces.alibaba import faults

FIELDS_AT_MOST = 500
DEPTH_AT_MOST = 6
_NUMBERED = re.compile(r"([1-9]\d{0,2})(?:\.(.+))?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def pairs(text: str) -> list[tuple[str, str]]:
    """The names and values of a query or a form. Raises `faults.Fault` for what has another form."""
    if not text:
        return []
    if not text.isascii():
        raise faults.invalid("The parameters are not percent-encoded.")
    try:
        return parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=FIELDS_AT_MOST
        )
    except ValueError:
        raise faults.invalid("The parameters are no form of names and values.") from None


def merged(*parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """All of these in one. Raises `faults.Fault` where a name comes twice: which one counts is a guess."""
    found: dict[str, str] = {}
    for part in parts:
        for name, text in part:
            if name in found:
                raise faults.invalid("A parameter is given more than once.")
            found[name] = text
    return found


def of_call(body: bytes, given: Mapping[str, str], *, is_whole: bool) -> Given:
    """The parameters that were read with a call's signature, and unless these are all, those of its body.

    Raises `faults.Fault`.
    """
    return Given(given if is_whole else merged(given.items(), of_body(body)))


def of_body(body: bytes) -> list[tuple[str, str]]:
    """The parameters in a body that was signed as it is: a JSON object, or a form."""
    if not body.lstrip().startswith(b"{"):
        return pairs(_ascii(body))
    given = _parsed(body)
    return [(name, _as_text(value)) for name, value in given.items() if value is not None]


def _ascii(body: bytes) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise faults.invalid("The parameters are not percent-encoded.") from None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise faults.invalid("A parameter is not JSON.") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


class Given:
    """The parameters of one call."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __contains__(self, name: str) -> bool:
        """Whether there is something; a client may send what it has not set as empty."""
        return bool(self._texts.get(name))

    def text(self, name: str, *, most: int = 2048, needed: bool = False, may_hold_nul: bool = False) -> str:
        """Return a text, empty where there is none. Raises `faults.Fault`."""
        text = self._texts.get(name, "")
        if needed and not text:
            raise faults.missing(name)
        _check(name, text, most, may_hold_nul=may_hold_nul)
        return text

    def flag(self, name: str, *, needed: bool = False) -> bool:
        """Return a boolean, False where there is none."""
        text = self.text(name, needed=needed, most=10).lower()
        if text not in {"", "true", "false"}:
            raise faults.invalid(f"{name} is true or false.")
        return text == "true"

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number."""
        text = self.text(name, most=20) or str(default)
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise faults.invalid(f"{name} is a number from {least} to {most}.")
        return int(text)

    def seconds(self, name: str) -> int:
        """Return a duration such as 7d, 12h, 90m or 604800s, in seconds; 0 where there is none."""
        text = self.text(name, most=20)
        if not text:
            return 0
        found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
        if found is None:
            raise faults.invalid(f"{name} is a number with a unit: 7d, 168h, 10080m or 604800s.")
        return int(found.group(1)) * _UNITS[found.group(2)]

    def json(self, name: str) -> Any:
        """Return what a text says as JSON; None where there is none."""
        if name not in self:
            return None
        value = _parsed(self.text(name, most=100_000))
        _check_all(name, value)
        return value

    def numbered(self, name: str) -> list[dict[str, str]]:
        """Return the entries of `name.1`, `name.2.Key` in their order; the text of `name.1` is under ""."""
        found: dict[int, dict[str, str]] = {}
        for full in self._texts:
            if full.startswith(f"{name}."):
                part = _NUMBERED.fullmatch(full[len(name) + 1 :])
                if part is None:
                    raise faults.invalid(f"{name} is a list: {name}.1, {name}.2.")
                found.setdefault(int(part.group(1)), {})[part.group(2) or ""] = self.text(full)
        return [found[number] for number in sorted(found)]

    def strings(self, name: str, *, most: int, longest: int = 2048) -> list[str]:
        """Return a list of texts, given as JSON or by numbers. Raises `faults.Fault`."""
        value = self.json(name) if name in self else [one.get("", "") for one in self.numbered(name)]
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise faults.invalid(f"{name} is a list of texts.")
        if len(value) > most or any(len(one) > longest for one in value):
            raise faults.invalid(f"{name} has at most {most} texts of at most {longest} characters.")
        return value

    def members(self, prefix: str) -> dict[str, str]:
        """Return the texts of an object that was flattened: of the parameters whose names begin so."""
        return {
            name.removeprefix(prefix): self.text(name, most=100_000)
            for name in self._texts
            if name.startswith(prefix)
        }


def _check(name: str, text: str, most: int, *, may_hold_nul: bool = False) -> None:
    if len(text) > most:
        raise faults.invalid(f"{name} has at most {most} characters.")
    if "\0" in text and not may_hold_nul:
        raise faults.invalid("A text holds a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
        raise faults.invalid("A text is not Unicode.") from None


def _check_all(name: str, value: Any, depth: int = 0) -> None:
    if depth > DEPTH_AT_MOST:
        raise faults.invalid(f"{name} is nested too deeply.")
    if isinstance(value, str):
        _check(name, value, 100_000)
    elif isinstance(value, list):
        for one in value:
            _check_all(name, one, depth + 1)
    elif isinstance(value, dict):
        for key, one in value.items():
            _check(name, key, 2048)
            _check_all(name, one, depth + 1)
