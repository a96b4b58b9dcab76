"""A value shows itself to nobody who did not ask by name."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest

from rotation.connectors import base
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.secrets import versions

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "show", [repr, str, format, "{}".format, "{!r}".format, "%s".__mod__, lambda v: f"{v:>20}"]
)
def test_it_prints_as_stars(show):
    assert CANARY not in show(Plaintext(CANARY))
    assert "***" in show(Plaintext(CANARY))


@pytest.mark.parametrize(
    "holder",
    [
        base.Login("svc", password=Plaintext(CANARY)),
        base.Manager(base.Login("svc", private_key=Plaintext(CANARY)), sudo_password=Plaintext(CANARY)),
        versions.Value("svc", password=Plaintext(CANARY)),
        [Plaintext(CANARY)],
        {"value": Plaintext(CANARY)},
    ],
)
def test_what_holds_it_prints_as_stars_too(holder):
    assert CANARY not in repr(holder)


def test_it_does_not_travel(caplog):
    value = Plaintext(CANARY)
    for leave in (pickle.dumps, json.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as refused:
            leave(value)
        assert CANARY not in str(refused.value)


def test_a_log_record_and_a_traceback_do_not_show_it(caplog):
    value = Plaintext(CANARY)
    with pytest.raises(ValueError, match=r"\*\*\*") as raised:
        raise ValueError(f"refused {value}", value)
    logging.getLogger("test").error("refused %s", value, exc_info=raised.value)
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert CANARY not in caplog.text


def test_equal_values_are_equal():
    assert Plaintext(CANARY) == Plaintext(CANARY)
    assert Plaintext(CANARY) != Plaintext(CANARY + "x")
    assert Plaintext(CANARY) != CANARY
