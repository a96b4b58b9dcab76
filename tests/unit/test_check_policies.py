"""`./keyturn check-policies` finds an engine that decides wrongly, and shows the smallest case."""

import json
import re

import pytest

from secrets_app.policy import ram_statements
from tests import check_policies


def test_p_01_engine_and_reference_agree_and_the_seed_is_told(capsys):
    assert check_policies.main(["--cases", "1000", "--seed", "7", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "--seed 7" in said
    assert "1,008 of 1,008 agree" in said  # fourteen whole policies


def test_p_01_the_same_seed_tries_the_same_cases(monkeypatch):
    tried = []
    decide = ram_statements.decide
    monkeypatch.setattr(ram_statements, "decide", lambda *words: tried.append(words) or decide(*words))
    for _ in range(2):
        check_policies.check(11, 144)
    assert tried[: len(tried) // 2] == tried[len(tried) // 2 :]
    assert len(tried) == 2 * 144


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_p_01_an_engine_that_forgets_a_deny_is_found_and_the_case_is_small(monkeypatch, capsys, jobs):
    decide = ram_statements.decide

    def forgetful(statements, *rest):
        return decide([s for s in statements if s.effect == ram_statements.Effect.ALLOW], *rest)

    monkeypatch.setattr(ram_statements, "decide", forgetful)
    assert check_policies.main(["--cases", "150000", "--seed", "7", "--jobs", jobs]) == 1
    said = capsys.readouterr().out
    assert "The engine allows, the reference denies." in said
    document = json.loads(re.search(r"^\{.*?^\}", said, re.M | re.S)[0])
    assert sorted(s["Effect"] for s in document["Statement"]) == ["Allow", "Deny"]
    assert not any("Condition" in statement for statement in document["Statement"])
