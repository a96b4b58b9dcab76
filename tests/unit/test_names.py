"""An error of a name names the character, in every form that takes one."""

from __future__ import annotations

import pytest
from django import forms

from console.forms.access.invitations import USER_NAME
from console.forms.access.policies import Create as CreatePolicy
from console.forms.credentials.credentials import Create as CreateCredential
from console.forms.keys.keys import Create as CreateKey
from secrets_app import names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain", ""),
        ("a b", "A space is not allowed."),
        ("a\tb", "The character U+0009 is not allowed."),
        ("a\u00a0b", "The character U+00A0 is not allowed."),
        ("aéb", "The character é is not allowed."),
        ("a{é", "The character { is not allowed."),
    ],
)
def test_the_first_character_that_is_not_allowed_is_named(name, said):
    assert names.stranger(name, "A-Za-z") == said


@pytest.mark.parametrize(
    "validators",
    [
        CreatePolicy.base_fields["name"].validators,
        CreateCredential.base_fields["name"].validators,
        CreateKey.base_fields["alias"].validators,
        [USER_NAME],
    ],
)
def test_every_name_that_is_typed_is_told_its_wrong_character(validators):
    [only] = [validator for validator in validators if isinstance(validator, names.Only)]
    with pytest.raises(forms.ValidationError) as refused:
        only("bad!name")
    [message] = refused.value.messages
    assert message.startswith("The character ! is not allowed. ")
    assert "etters, digits" in message
    only("good-name")


def test_a_name_whose_characters_are_right_is_told_the_rule_alone():
    [only] = [v for v in CreateKey.base_fields["alias"].validators if isinstance(v, names.Only)]
    with pytest.raises(forms.ValidationError) as refused:
        only("-begins-with-a-hyphen")
    assert refused.value.messages[0].startswith("An alias has")
