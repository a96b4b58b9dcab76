"""No value stands where another account of either machine can read it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import time

import pytest
from django.db import connection

from rotation.models import Run
from secrets_app.secrets import versions
from tests.waiting import PATIENCE
from tests.watcher import watching
from tests.wires.test_rotation import advance, rotate, secret  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def values(secret) -> list[str]:  # noqa: F811
    return [versions.value(v).password.reveal() for v in secret.versions.filter(destroyed_at=None)]


def test_i8_a_reader_of_proc_sees_no_value_of_20_rotations_and_sees_a_planted_one(secret):  # noqa: F811
    made = set(values(secret))
    with watching() as seen:
        for _ in range(20):
            assert advance(rotate(secret)).outcome == "succeeded"
            made |= set(values(secret))
        planted = subprocess.Popen(
            [sys.executable, "-c", "input()", "planted-value-9"], stdin=subprocess.PIPE
        )
        time.sleep(1)  # many rounds of the watcher
        planted.communicate(b"\n", timeout=PATIENCE)
    assert len(made) == 21
    assert seen.rounds > 20
    assert seen.holds("planted-value-9")
    assert any(b"unix_chkpwd" in text or b"chpasswd" in text for text in seen.texts)
    assert not [value for value in made if seen.holds(value)]


def test_i8_no_value_is_in_any_log_at_debug_or_in_a_row_of_the_run(secret):  # noqa: F811
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in ("", "paramiko", "django.db.backends")}
    root.addHandler(handler)
    for name in before:
        logging.getLogger(name).setLevel(logging.DEBUG)
    connection.force_debug_cursor = True  # else Django logs no SQL
    try:
        run = advance(rotate(secret))
    finally:
        connection.force_debug_cursor = False
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert "secrets_app_secretversion" in stream.getvalue()
    rows = str(list(Run.objects.filter(pk=run.pk).values())) + str(list(run.steps.values()))
    for value in values(secret):
        assert value not in stream.getvalue()
        assert value not in rows
