"""Passwords: strong enough, and nothing in them that a host would take for the end of a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext

policies = st.builds(
    passwords.Policy,
    length=st.integers(14, 127),
    sets=st.lists(st.sampled_from(list(passwords.SETS)), min_size=1, unique=True).map(tuple),
    excluded=st.text("abcABC0189!#", max_size=8),
)


def test_the_default_has_32_characters_and_at_least_128_bits():
    policy = passwords.Policy()
    assert len(policy.generate()) == 32
    assert policy.bits >= 128


@given(policies)
def test_a_generated_password_keeps_to_its_policy(policy):
    try:
        policy.check()
    except passwords.Unfit:
        return
    made = policy.generate().reveal()
    assert len(made) == policy.length
    assert policy.bits >= 128
    for chosen in policy.sets:
        assert set(made) & set(passwords.SETS[chosen])
    assert not set(made) & set(policy.excluded)
    passwords.check_value(Plaintext(made))


@given(policies)
def test_a_generated_password_breaks_no_rule_for_chosen_ones(policy):
    try:
        policy.check()
    except passwords.Unfit:
        return
    made = policy.generate().reveal()
    assert not policy.broken_by(Plaintext(made))
    assert not policy.broken_by(Plaintext(made * 2))


@pytest.mark.parametrize(
    ("differences", "value", "rule"),
    [
        ({}, "a", "at least 32 characters"),
        ({}, "Aa1-" * 7 + "Aa1", "at least 32 characters"),
        ({}, "A1-" * 12, "a lower-case letter"),
        ({}, "a1-" * 12, "an upper-case letter"),
        ({}, "Aa-" * 12, "a digit"),
        ({}, "Aa1" * 12, "a symbol"),
        ({}, "Aa1 -" * 12, "no other characters"),
        ({}, "Aa1é-" * 12, "no other characters"),
        ({"sets": ("lower", "upper", "digits")}, "Aa1-" * 12, "no other characters"),
        ({"excluded": "0O1lI"}, "Aa1-2b" * 12, "excludes these characters: 0O1lI"),
        ({"length": 64}, "Aa1-" * 12, "at least 64 characters"),
    ],
)
def test_a_chosen_password_is_told_the_rule_that_it_breaks_and_no_other(differences, value, rule):
    broken = passwords.Policy(**differences).broken_by(Plaintext(value))
    assert rule in broken
    assert value not in broken or value == "a"
    if value != "a":
        assert broken.count("The password policy") == 1


@given(policies)
def test_a_policy_survives_storage(policy):
    assert passwords.policy(policy.as_json()) == policy


@pytest.mark.parametrize("bad", ["", "two\nlines", "two\rlines", "a\0b", "tab\there", "x" * 512, "é" * 256])
def test_a_value_that_a_host_would_misread_is_refused_without_being_named(bad):
    with pytest.raises(passwords.Unfit) as refused:
        passwords.check_value(Plaintext(bad))
    assert not bad or bad not in str(refused.value)


def test_alphabets_hold_nothing_that_a_shell_or_a_form_would_mangle():
    assert not set("".join(passwords.SETS.values())) & set(" \t\r\n\0'\"\\`$&<>|;*()[]{}")


@pytest.mark.parametrize(
    "policy",
    [
        passwords.Policy(length=13),
        passwords.Policy(length=128),
        passwords.Policy(sets=()),
        passwords.Policy(sets=("digits",), length=20),
        passwords.Policy(sets=("digits",), excluded="0123456789", length=60),
        passwords.Policy(sets=("runes",)),
    ],
)
def test_a_weak_policy_is_refused_with_what_is_allowed(policy):
    with pytest.raises(passwords.Unfit, match=r"\w+ .*\."):
        policy.check()
