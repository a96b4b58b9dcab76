"""The table of rules that are taken out on purpose fits the code, the tests and docs/rules.md."""

from __future__ import annotations

import re

import pytest

from tests.breaks.__main__ import CHECKOUT
from tests.breaks.table import BREAKS


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.rule)
def test_a_rule_stands_in_the_code_once_and_its_test_exists(rule):
    assert (CHECKOUT / rule.file).read_text().count(rule.old) == 1
    file, _, name = rule.test.partition("::")
    assert re.search(rf"^def {name}\(", (CHECKOUT / file).read_text(), re.MULTILINE)
    assert rule.old != rule.new


def test_the_documentation_lists_the_same_rules_and_tests():
    text = (CHECKOUT / "docs/rules.md").read_text()
    rows = re.findall(r"^\| (?!removed rule|-)(.+?) \| `(\w+)` \|$", text, re.MULTILINE)
    assert rows == [(rule.rule, rule.name) for rule in BREAKS]
