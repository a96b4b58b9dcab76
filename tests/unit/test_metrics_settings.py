"""The metrics as the environment says it: a port with its token, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from console import metrics_settings

NAMES = ("PORT", "BIND", "TOKEN_FILE")


@pytest.fixture
def given(monkeypatch):
    def give(**values: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(f"KEYTURN_METRICS_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"KEYTURN_METRICS_{name}", value)

    return give


def test_without_a_variable_no_metrics_are_served(given):
    given()
    assert metrics_settings.read() is None


def test_they_are_served_to_this_machine_alone_unless_an_address_is_named(given):
    given(PORT="9464", TOKEN_FILE="/run/token")
    assert metrics_settings.read() == metrics_settings.Place("127.0.0.1", 9464, Path("/run/token"))
    given(PORT="9464", TOKEN_FILE="/run/token", BIND="::1")
    place = metrics_settings.read()
    assert place
    assert place.bind == "[::1]:9464"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"PORT": "9464"}, "KEYTURN_METRICS_TOKEN_FILE"),
        ({"TOKEN_FILE": "/run/token"}, "KEYTURN_METRICS_PORT"),
        ({"BIND": "::"}, "KEYTURN_METRICS_PORT and KEYTURN_METRICS_TOKEN_FILE"),
        ({"PORT": "0", "TOKEN_FILE": "/run/token"}, "KEYTURN_METRICS_PORT"),
        ({"PORT": "http", "TOKEN_FILE": "/run/token"}, "KEYTURN_METRICS_PORT"),
        ({"PORT": "9464", "TOKEN_FILE": "token"}, "KEYTURN_METRICS_TOKEN_FILE"),
    ],
)
def test_half_of_them_stops_the_start_by_name(given, values, named):
    given(**values)
    with pytest.raises(ImproperlyConfigured, match=named):
        metrics_settings.read()
