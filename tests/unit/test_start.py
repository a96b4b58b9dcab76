"""A process that its settings stop says so in one sentence and ends with status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError

from console.process import start

ROOT = Path(__file__).resolve().parents[2]
CELERY = ("-m", "celery", "-A", "console.celery", "-q")
STARTS = {
    "web": ("-m", "gunicorn", "-c", "python:console.process.web", "-b", "127.0.0.1:0"),
    "worker": (*CELERY, "worker", "-P", "threads"),
    "beat": (*CELERY, "beat", "--pidfile="),
    "setup": ("manage.py", "setup"),
    "up": ("manage.py", "up"),
    "audit": ("manage.py", "audit", "verify"),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_wrong_setting_is_one_sentence_and_status_2(name, tmp_path):
    wrong = {
        "KEYTURN_DATABASE_URL": "postgresql://keyturn:hun#ter2@db/keyturn",
        "KEYTURN_DATA": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "console.settings",
    }
    ended = subprocess.run(
        [sys.executable, *STARTS[name]],
        cwd=ROOT, env=os.environ | wrong, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    said = ended.stdout + ended.stderr
    assert said.count("\n") == 1
    assert said.startswith("keyturn: KEYTURN_DATABASE_URL ")
    assert "ter2" not in said


@pytest.mark.parametrize(
    ("said", "shown"), [("disk I/O error", "does not answer"), ("no such column: x", "")]
)
def test_a_database_that_ends_a_process_is_one_sentence_and_a_bug_keeps_its_traceback(said, shown):
    sentence = start._of_database(OperationalError(said))
    assert shown in sentence
    assert bool(sentence) is bool(shown)


def test_a_folder_that_is_not_writable_is_named_and_another_taken(tmp_path, capsys):
    assert start.writable_folder(tmp_path / "missing", tmp_path) == str(tmp_path)
    assert str(tmp_path / "missing") in capsys.readouterr().err


def test_without_a_writable_folder_the_start_ends_with_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        start.writable_folder(tmp_path / "one", tmp_path / "other")
    assert ended.value.code == 2
    assert "mount a tmpfs" in capsys.readouterr().err


#: They ask servers, hosts and providers. What needs one loads it; together they were a quarter of each start.
LATER = (
    "asyncssh", "boto3", "celery", "cryptography.x509", "jwt", "kombu", "opentelemetry", "redis", "requests",
    "urllib3",
)  # fmt: skip
SET_UP = """
import os, sys
import django
django.setup()
for name in {later}:
    assert name not in sys.modules, name
for name in ("rotation.tasks", "console.notices.tasks"):
    if not (child := os.fork()):
        __import__(name)
        for task in vars(sys.modules[name]).values():
            if hasattr(task, "apply_async"):
                print(task.name, task.app.main)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_start_loads_no_library_of_a_wire_and_the_tasks_bring_their_broker(tmp_path):
    production = {"KEYTURN_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "console.settings"}
    ended = subprocess.run(
        [sys.executable, "-c", SET_UP.format(later=LATER)], cwd=ROOT, env=os.environ | production,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = dict(line.split() for line in ended.stdout.splitlines())
    assert {"rotation.tasks.advance", "console.notices.tasks.tell"} <= said.keys()
    assert set(said.values()) == {"keyturn"}
