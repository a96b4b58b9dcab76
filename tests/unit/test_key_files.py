"""A key that others may read, change or replace is no key; and what Keyturn makes, nobody else reads."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from secrets_app.crypto import key_files
from secrets_app.crypto.key_files import KeyFile, Unreadable

ROOT = Path(__file__).resolve().parents[2]
MAGIC = "trial-1:"


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    made = KeyFile(tmp_path / "a key", MAGIC)
    made.create()
    return made


def refused(file: KeyFile) -> str:
    with pytest.raises(Unreadable) as error:
        file.read()
    return str(error.value)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_that_only_its_owner_may_read_is_taken(file, mode):
    file.path.chmod(mode)
    assert len(file.read()) == 32


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o620, 0o602, 0o644, 0o666, 0o410, 0o401])
def test_a_key_with_any_right_of_group_or_others_is_refused_with_the_command_that_mends_it(file, mode):
    file.path.chmod(mode)
    said = refused(file)
    assert f"mode {mode:04o}" in said
    command = re.search(r"Run: (.*)$", said)[1]
    subprocess.run(["sh", "-ec", command], check=True)
    assert len(file.read()) == 32


def test_a_key_of_another_user_is_refused_with_the_command_that_mends_it(file, monkeypatch):
    if os.geteuid() == 0:
        os.chown(file.path, 65534, 65534)
    else:  # who is not root cannot give a file away, and so is somebody else
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    said = refused(file)
    assert "belongs to another user" in said
    assert f"chown {os.geteuid()} " in said
    assert f"chmod 600 {shlex.quote(str(file.path))}" in said


def test_a_link_counts_for_nothing_and_its_end_for_all(file, tmp_path):
    link = KeyFile(tmp_path / "link", MAGIC)
    link.path.symlink_to(file.path)
    assert link.read() == file.read()
    file.path.chmod(0o644)
    assert shlex.quote(str(link.path)) in refused(link)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no file" in refused(KeyFile(tmp_path / "pipe", MAGIC))
    assert "missing or cannot be read" in refused(KeyFile(tmp_path / "none", MAGIC))


def test_every_key_file_is_read_by_the_one_that_looks_at_its_rights():
    """Whoever reads a key file in another way has forgotten to ask who else can."""
    readers = []
    for path in [ROOT / "console/settings.py", *(ROOT / "secrets_app").rglob("*.py")]:
        if path != Path(key_files.__file__) and re.search(r"read_text|read_bytes", path.read_text()):
            readers.append(path.name)
    assert readers == []


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KEYTURN_")}
    return subprocess.run(
        [sys.executable, *shlex.split(script)],
        env=kept | {"DJANGO_SETTINGS_MODULE": "console.settings"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.umask(0o022),  # as a login shell usually has it
    )


def test_a_session_key_that_others_may_read_stops_the_start_with_one_sentence(tmp_path):
    key = tmp_path / "session.key"
    key.write_text("x" * 64)
    key.chmod(0o644)
    told = run("manage.py check", KEYTURN_DATA=str(tmp_path), KEYTURN_SECRET_KEY_FILE=str(key))
    assert told.returncode != 0
    assert f"chmod 600 {key}" in told.stderr


def test_no_key_lies_in_the_data_folder(tmp_path):
    keys, kept = tmp_path / "keys", tmp_path / "kept"
    made = run("manage.py setup", KEYTURN_DATA=str(kept), KEYTURN_ROOT_KEY_FILE=str(keys / "root.key"))
    assert made.returncode == 0, made.stderr
    assert {path.name for path in keys.iterdir()} == {
        "root.key", "audit.key", "seal.key", "checkpoint.key", "session.key",
    }  # fmt: skip
    assert not list(kept.rglob("*.key"))


def test_a_session_key_that_cannot_be_made_is_one_sentence(tmp_path):
    told = run("manage.py setup", KEYTURN_DATA=str(tmp_path), KEYTURN_SECRET_KEY_FILE="/proc/no/session.key")
    assert told.returncode != 0
    assert "Set KEYTURN_SECRET_KEY_FILE." in told.stderr
    assert "Traceback" not in told.stderr


def test_set_up_makes_nothing_that_others_may_read_and_closes_what_was_open(tmp_path):
    places = {
        "KEYTURN_DATA": str(tmp_path / "kept"),
        "KEYTURN_ROOT_KEY_FILE": str(tmp_path / "keys/root.key"),
    }
    made = run("manage.py setup", **places)
    assert made.returncode == 0, made.stderr

    def open_to_others() -> list[str]:
        private = [path for path in tmp_path.rglob("*") if "static" not in path.parts]
        return [str(path) for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077]

    assert open_to_others() == []
    database = tmp_path / "kept/keyturn.sqlite3"
    database.chmod(0o644)
    assert run("manage.py setup", **places).returncode == 0
    assert open_to_others() == []


BEGUN = "from celery.signals import {0} as begun; begun.send(None)"


@pytest.mark.parametrize(
    "begin",
    [
        "import console.wsgi",
        f"import console.celery; {BEGUN.format('beat_init')}",
        f"import console.celery; {BEGUN.format('celeryd_init')}",
    ],
)
def test_every_process_makes_its_files_private(begin, tmp_path):
    script = f"{begin}; import os; print(os.umask(0))"
    told = run(f"-c {shlex.quote(script)}", KEYTURN_DATA=str(tmp_path))
    assert told.stdout.strip() == str(0o077), told.stderr
