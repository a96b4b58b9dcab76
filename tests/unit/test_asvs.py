"""docs/asvs.md has every requirement of ASVS 5.0's levels 1 and 2 once, and names tests and pages that exist.

Source: OWASP, Application Security Verification Standard 5.0.0, of which this has the numbers and levels.
"""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "asvs.md"
#: Of each section the level of its requirements, in their order. Those of level 3 are always the last ones of
#: their section, or the whole section, and are left out.
SECTIONS = """
    V1.1 22|V1.2 111112222|V1.3 11222222222|V1.4 222|V1.5 12|V2.1 122
    V2.2 112|V2.3 1222|V2.4 2|V3.2 11|V3.3 1222|V3.4 112222
    V3.5 11122|V3.7 22|V4.1 122|V4.2 2|V4.3 22|V4.4 1222
    V5.1 2|V5.2 112|V5.3 11|V5.4 222|V6.1 122|V6.2 111111112222
    V6.3 1122|V6.4 1122|V6.5 22222|V6.6 222|V6.8 2222|V7.1 222
    V7.2 1111|V7.3 22|V7.4 11222|V7.5 22|V7.6 22|V8.1 12
    V8.2 112|V8.3 1|V8.4 2|V9.1 111|V9.2 1222|V10.1 22
    V10.2 22|V10.3 2222|V10.4 11111222222|V10.5 22222|V10.6 22|V10.7 222
    V11.1 22|V11.2 222|V11.3 112|V11.4 1222|V11.5 2|V11.6 2
    V12.1 122|V12.2 11|V12.3 2222|V13.1 2|V13.2 22222|V13.3 22
    V13.4 12222|V14.1 22|V14.2 1222|V14.3 122|V15.1 122|V15.2 122
    V15.3 1222222|V16.1 2|V16.2 22222|V16.3 2222|V16.4 222|V16.5 222
    V17.1 2|V17.2 2222|V17.3 22
"""
ROW = re.compile(r"^\| (V[\d.]+) \| (\d) \| (met|n/a|open) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)


def wanted() -> dict[str, str]:
    sections = (section.split() for section in SECTIONS.replace("\n", "|").split("|") if section.strip())
    return {f"{name}.{n}": level for name, levels in sections for n, level in enumerate(levels, start=1)}


def rows() -> list[tuple[str, str, str, str, str]]:
    return ROW.findall(PAGE.read_text())


def test_every_requirement_of_both_levels_stands_on_the_page_once_with_its_level() -> None:
    levels = list(wanted().values())
    assert (levels.count("1"), levels.count("2")) == (70, 183)  # as the standard counts them
    assert [(row[0], row[1]) for row in rows()] == list(wanted().items())
    assert len(re.findall(r"^\| V\d", PAGE.read_text(), re.MULTILINE)) == len(rows())


def test_what_is_met_names_a_test_or_a_page_and_all_of_them_exist() -> None:
    texts = [path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py")]
    tests = {name for text in texts for name in re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE)}
    for name, _, state, _, shown in rows():
        named, pages = re.findall(r"`(test_\w+)`", shown), re.findall(r"\]\(([\w.-]+)\)", shown)
        assert set(named) <= tests, name
        assert all((PAGE.parent / page).is_file() for page in pages), name
        assert bool(named or pages) or state != "met", name
        assert not shown or state != "n/a", name


def test_the_count_at_the_head_is_that_of_the_rows() -> None:
    states = [row[2] for row in rows()]
    met, without, still = (states.count(state) for state in ("met", "n/a", "open"))
    said = f"Of {len(states)} requirements {met} are met, {without} do not apply and {still} are open."
    assert said in PAGE.read_text()
