"""How an event becomes the bytes that are chained."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_app.audit import chain
from tests import amounts

COLUMNS = 16
LENGTHS = (0, 1, 127, 128, 255, 256, 1023, 1024, 70_000)


def plainly(texts: tuple[str, ...]) -> bytes:
    """As the format says it, and nothing quicker."""
    parts = [text.encode() for text in (chain.EVENT_FORMAT, *texts)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@given(st.tuples(*[st.text(amounts.CHARACTERS, max_size=140)] * COLUMNS))
def test_each_text_is_encoded_with_its_length_before_it(texts):
    assert chain.encode_texts(*texts) == plainly(texts)


@pytest.mark.parametrize("column", range(COLUMNS))
@pytest.mark.parametrize("letter", ["a", "\x7f", "\x80", "ü", "😀"])
def test_texts_of_any_length_are_encoded_each_with_its_length_before_it(column, letter):
    for length in LENGTHS:
        texts = tuple(letter * length if number == column else "x" for number in range(COLUMNS))
        assert chain.encode_texts(*texts) == plainly(texts)


@given(
    st.dictionaries(
        st.text(amounts.CHARACTERS, max_size=8),
        st.none() | st.booleans() | st.integers() | st.text(amounts.CHARACTERS, max_size=8),
    ),
    st.sampled_from([None, 1]),
)
def test_details_have_one_text_however_a_database_writes_them(details, indent):
    turned = dict(reversed(details.items()))
    wanted = json.dumps(details, sort_keys=True, separators=(",", ":"))
    assert chain.canonical(json.dumps(turned, indent=indent, ensure_ascii=False)) == wanted
