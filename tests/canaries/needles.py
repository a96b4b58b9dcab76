"""Make values that cannot occur by chance, and find them in bytes however they are written there."""

from __future__ import annotations

import base64
import html
import json
import os
import secrets
import string
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

#: What every escaping writes differently; a host's tools take it in a password.
AWKWARD = "\"<&'/+ \\%"
_LETTERS = string.ascii_letters + string.digits


def make(awkward: str = AWKWARD) -> str:
    """A password of which every escaping changes something, with a unique middle that none changes."""
    middle = "".join(secrets.choice(_LETTERS) for _ in range(24))
    return f"Qz7{awkward}{middle}{awkward[:3]}x9"


def written(value: str) -> dict[str, set[bytes]]:
    """Each way of writing the value, by its name."""
    raw = value.encode()
    as_json = json.dumps(value)[1:-1]
    escaped = html.escape(value)
    return {
        "raw": {raw},
        "base64": {form for offset in range(3) for form in _base64(raw, offset)},
        "hex": {raw.hex().encode(), raw.hex().upper().encode()},
        "url": {quote(value, safe=safe).encode() for safe in ("", "/")} | {quote_plus(value).encode()},
        "json": {as_json.encode(), json.dumps(as_json)[1:-1].encode(), repr(value)[1:-1].encode()},
        "html": {escaped.encode(), escaped.replace("&#x27;", "&#39;").encode()},
        "utf-16": {value.encode("utf-16-le"), value.encode("utf-16-be")},
    }


def _base64(raw: bytes, offset: int) -> set[bytes]:
    """What stands in every base64 text in which `raw` begins `offset` bytes after a multiple of 3."""
    text = base64.b64encode(bytes(offset) + raw)
    first = (0, 2, 3)[offset]
    whole = (offset + len(raw)) * 8 // 6  # what follows is mixed with the bytes after the value
    inner = text[first:whole]
    return {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}


def essence(value: str) -> str:
    """The part of a value that says it all, and that nobody escapes, wraps or breaks into lines.

    Of a private key that is a line in the middle of its body: the first ones hold its public half.
    """
    lines = value.strip().splitlines()
    if len(lines) > 2:
        body = lines[1:-1]
        return body[len(body) * 2 // 3]
    runs = "".join(c if c in _LETTERS else " " for c in value).split()
    longest = max(runs, key=len)
    return longest if len(longest) >= 12 else value


class Searcher:
    """Finds values in bytes, by name and by how they were written; one pass finds them all."""

    def __init__(self, values: dict[str, str]) -> None:
        assert len(set(values.values())) == len(values)
        self._needles: dict[bytes, str] = {}
        for name, value in values.items():
            for form, needles in written(essence(value)).items():
                self._needles = dict.fromkeys(needles, f"{name} ({form})") | self._needles

    def hits(self, haystacks: bytes | Iterable[bytes]) -> set[str]:
        texts = [haystacks] if isinstance(haystacks, bytes) else haystacks
        with tempfile.TemporaryDirectory() as folder:
            needles, hay = Path(folder, "needles"), Path(folder, "hay")
            needles.write_bytes(b"\n".join(self._needles) + b"\n")
            hay.write_bytes(b"\n".join(texts))
            found = subprocess.run(
                ["grep", "--text", "--only-matching", "--fixed-strings", f"--file={needles}", str(hay)],
                capture_output=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, check=False,
            )  # fmt: skip
        assert found.returncode in {0, 1}, found.stderr
        return {self._needles[line] for line in found.stdout.split(b"\n") if line}
