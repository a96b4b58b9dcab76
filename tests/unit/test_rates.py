"""How many calls of programs are answered in a second."""

from __future__ import annotations

import pytest

from console.interfaces import rates as module
from console.interfaces.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rates(clock, settings):
    settings.API_READS, settings.API_OTHERS = 40, 10
    settings.API_KEY_READS, settings.API_KEY_OTHERS = 20, 4
    return Rates(clock)


def passed(rates, count, key="one", account="1", **given):
    return sum(rates.take(key, account, is_read=True, **given) is None for _ in range(count))


def test_a_key_has_its_limit_at_once_and_its_share_in_each_second_after(rates, clock):
    assert passed(rates, 30) == 20
    clock.at += 1
    assert passed(rates, 30) == 20 // module.PROCESSES
    clock.at += 100
    assert passed(rates, 30) == 20


def test_one_key_leaves_room_for_others_until_the_account_is_at_its_limit(rates):
    assert passed(rates, 30, "one") == 20
    assert passed(rates, 30, "two") == 20
    assert passed(rates, 30, "three") == 0
    assert passed(rates, 30, "one", account="2") == 0  # of the key
    assert passed(rates, 30, "four", account="2") == 20


def test_reads_and_other_calls_are_counted_apart(rates):
    assert passed(rates, 20) == 20
    assert sum(rates.take("one", "1", is_read=False) is None for _ in range(9)) == 4


def test_a_call_of_many_counts_as_many_and_what_is_refused_counts_as_none(rates):
    assert passed(rates, 1, calls=15) == 1
    assert passed(rates, 3, calls=15) == 0
    assert passed(rates, 9) == 5


def test_more_at_once_than_a_whole_second_has_are_answered_alone(rates, clock):
    assert passed(rates, 2, calls=25) == 1
    clock.at += 1
    assert passed(rates, 1) == 1  # what was owed has been paid with a second


def test_the_trail_is_told_once_a_minute(rates, clock):
    passed(rates, 20)
    told = [rates.take("one", "1", is_read=True).is_to_note for _ in range(5)]
    clock.at += 0.01
    told.append(rates.take("one", "1", is_read=True).is_to_note)
    assert told == [True, False, False, False, False, False]
    clock.at += 61
    passed(rates, 20)
    assert rates.take("one", "1", is_read=True).is_to_note


def test_keys_that_are_never_seen_again_do_not_fill_the_memory(rates, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 10)
    for number in range(100):
        rates.take(f"key-{number}", "1", is_read=True)
    assert len(rates._buckets) == 10


def test_the_processes_are_as_many_as_answer():
    from console.process import web

    assert web.workers == module.PROCESSES
