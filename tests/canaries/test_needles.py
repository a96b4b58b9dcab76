"""The searcher finds a value however it was written, and nothing where there is nothing."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest

from secrets_app.crypto import key_pairs
from tests.canaries.needles import Searcher, make

WAYS = {
    "raw": lambda v: v.encode(),
    "base64": lambda v: base64.b64encode(v.encode()),
    "base64 after one byte": lambda v: base64.b64encode(b"a" + v.encode() + b"zz"),
    "base64 after two bytes": lambda v: base64.b64encode(b"ab" + v.encode() + b"z"),
    "base64 for URLs": lambda v: base64.urlsafe_b64encode(b"\xff\xfe" + v.encode()),
    "hex": lambda v: v.encode().hex().encode(),
    "upper-case hex": lambda v: v.encode().hex().upper().encode(),
    "a URL": lambda v: quote(v).encode(),
    "JSON": lambda v: json.dumps({"a": v}).encode(),
    "JSON in JSON": lambda v: json.dumps(json.dumps(v)).encode(),
    "HTML": lambda v: html.escape(v).encode(),
    "UTF-16": lambda v: v.encode("utf-16-le"),
    "a repr of bytes": lambda v: repr(v.encode()).encode(),
    "broken into lines": lambda v: "\r\n".join(v.splitlines()).encode(),
}
VALUES = {"password": make(), "key": key_pairs.generate("ed25519").private_key.reveal()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_found_however_it_is_written(name, way):
    assert {hit.split()[0] for hit in Searcher(VALUES).hits(b"before " + WAYS[way](VALUES[name]))} == {name}


def test_neither_another_value_nor_the_public_half_of_a_key_is_taken_for_it():
    pair = key_pairs.generate("ed25519")
    found = Searcher({"key": pair.private_key.reveal(), "password": make()})
    other = f"{make()} {pair.public_key}"
    assert found.hits([other.encode(), base64.b64decode(pair.public_key.split()[1])]) == set()
    assert found.hits(key_pairs.generate("ed25519").private_key.encode()) == set()
