"""`./keyturn` needs nothing but Python, believes no half set-up, and hands on what it was given."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = ["sh", "dirname", "readlink", "cmp", "cp", "mv", "rm", "id", "printf", "cat", "env", "sed", "flock"]
#: In place of the real one: say what arrived, or wait to be ended.
MANAGE = """
import os, signal, sys
print(sys.prefix, os.getpid(), os.getcwd(), sys.argv[1:], flush=True)
if sys.argv[1:] == ["wait"]:
    signal.pause()
sys.exit(7)
"""


def make_door(parent):
    """The script in a folder of its own, with nothing to install."""
    folder = parent / "a folder"
    folder.mkdir()
    shutil.copy(CHECKOUT / "keyturn", folder)
    (folder / "manage.py").write_text(MANAGE)
    (folder / "requirements.lock").write_text("# nothing\n")
    return folder


@pytest.fixture
def door(tmp_path):
    return make_door(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder whose set-up is done."""
    folder = make_door(tmp_path_factory.mktemp("prepared"))
    assert call(folder, "anything").returncode == 7
    return folder


@pytest.fixture
def used(prepared, tmp_path):
    """One like it, of this test's own."""
    return Path(shutil.copytree(prepared, tmp_path / "used", symlinks=True))


@pytest.fixture
def makes_copies(prepared, tmp_path, monkeypatch):
    """Have environments made by copying a new one: to install pip into each takes six seconds of a processor.

    What it is asked for is done: without `--clear` what was there stays.
    """
    new = tmp_path / "new"
    shutil.copytree(prepared / ".venv", new, symlinks=True)
    (new / "requirements.lock").unlink()
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$1 $2" = "-m venv" ]; then\n'
        '    shift 2; if [ "$1" = --clear ]; then shift; rm -rf "$1"; fi\n'
        f'    mkdir -p "$1" && exec cp -a {shlex.quote(str(new))}/. "$1"\n'
        "fi\n"
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(script))


def call(door, *words, path=None, **options):
    environment = os.environ | ({"PATH": path, "PYTHON": "python3"} if path else {})
    return subprocess.run(
        [door / "keyturn", *words], env=environment, capture_output=True, text=True, timeout=120, **options
    )


def path_with(folder, **programs):
    """A PATH with a few tools, and these programs: a script each."""
    folder.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_the_first_use_sets_up_and_the_next_one_does_not(door):
    first = call(door, "anything")
    assert first.stdout.startswith(str(door / ".venv")), first.stderr
    assert "setting up" in first.stderr
    assert "setting up" not in call(door, "anything").stderr


def test_a_changed_lock_is_installed(used):
    (used / "requirements.lock").write_text("# something else\n")
    assert "setting up" in call(used, "anything").stderr
    assert "setting up" not in call(used, "anything").stderr


def test_a_set_up_that_was_interrupted_is_not_believed(door, makes_copies):
    (door / ".venv" / "bin").mkdir(parents=True)
    (door / ".venv" / "half").touch()
    (door / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert call(door, "anything").stdout.startswith(str(door / ".venv"))
    assert not (door / ".venv" / "half").exists()


def test_a_lock_that_cannot_be_installed_is_tried_again_next_time(door, makes_copies):
    (door / "requirements.lock").write_text("./no-such-package --hash=sha256:00\n")
    for _ in range(2):
        failed = call(door, "anything")
        assert failed.returncode == 1
        assert "could not install requirements.lock" in failed.stderr
        assert failed.stdout == ""


def test_a_venv_whose_python_is_gone_is_made_again(used, makes_copies):
    for name in (used / ".venv" / "bin").glob("python*"):
        name.unlink()
        name.symlink_to("/nowhere/python")
    assert call(used, "anything").stdout.startswith(str(used / ".venv"))


def test_words_status_and_folder_are_handed_on(used, tmp_path):
    done = call(used, "reveal", "two words", "$HOME", "*", cwd=tmp_path)
    assert done.stdout.strip().endswith(f"{tmp_path} ['reveal', 'two words', '$HOME', '*']")
    assert done.returncode == 7


def test_it_works_from_anywhere_and_through_a_link(used, tmp_path):
    (tmp_path / "link").symlink_to(used / "keyturn")
    done = subprocess.run(
        [tmp_path / "link", "anything"], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert done.stdout.startswith(str(used / ".venv"))


def test_a_signal_reaches_the_command_itself(used):
    process = subprocess.Popen([used / "keyturn", "wait"], stdout=subprocess.PIPE, text=True)
    # One process from the script to the command: nothing between them could keep the signal.
    assert f" {process.pid} " in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_without_a_new_enough_python_it_says_which_one_it_needs(door, tmp_path):
    done = call(door, "anything", path=path_with(tmp_path / "bin", python3="exit 1"))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr


def test_a_python_that_cannot_make_environments_is_named_with_the_package_to_install(door, tmp_path):
    # As Debian ships it: venv is there, ensurepip is in a package of its own.
    bare = f'case "$2" in *ensurepip*) exit 1 ;; esac; exec {sys.executable} "$@"'
    done = call(door, "anything", path=path_with(tmp_path / "bin", python3=bare))
    assert done.returncode == 1
    assert re.search(r"apt-get install python3\.\d+-venv", done.stderr)


def test_an_unknown_command_gets_djangos_answer():
    done = call(CHECKOUT, "nonsense")
    assert "Unknown command: 'nonsense'" in done.stderr
    assert done.returncode != 0


def test_up_installs_what_the_simulated_windows_needs_and_starts_without_it_too(used):
    lock = used / "requirements-demo.lock"
    lock.write_text("./no-such-package --hash=sha256:00\n")
    assert "could not install requirements-demo.lock" not in call(used, "up", "--no-demo").stderr
    done = call(used, "up", "--port", "9000")
    assert "could not install requirements-demo.lock" in done.stderr
    assert done.stdout.strip().endswith("['up', '--port', '9000']")
    lock.write_text("# nothing\n")
    assert "setting up" in call(used, "up").stderr
    assert "setting up" not in call(used, "up").stderr


@pytest.mark.parametrize("named", ["variable", "argument"])
def test_a_root_key_in_a_token_or_a_cloud_has_its_libraries_installed_where_it_is_named(
    used, monkeypatch, named
):
    lock = used / "requirements-root-keys.lock"
    lock.write_text("./no-such-package --hash=sha256:00\n")
    given = ["root-key", "status"] if named == "variable" else ["root-key", "move", "--to", "awskms:x"]
    assert "root-keys" not in call(used, "root-key", "status").stderr
    if named == "variable":
        monkeypatch.setenv("KEYTURN_ROOT_KEY", "pkcs11:token=a;object=b")
    assert "could not install requirements-root-keys.lock" in call(used, *given).stderr
    lock.write_text("# nothing\n")
    assert "setting up" in call(used, *given).stderr
    assert "setting up" not in call(used, *given).stderr


def test_what_the_simulated_windows_needs_is_what_the_tests_have():
    blocks = [
        set(re.split(r"\n(?=\S)", (CHECKOUT / f"requirements-{name}.lock").read_text().strip()))
        for name in ("demo", "dev")
    ]
    assert blocks[0] <= blocks[1]


LOCKS = [f"requirements{name}.lock" for name in ("", "-dev", "-demo", "-root-keys", "-traces")]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_host(name):
    text = (CHECKOUT / name).read_text()
    assert not re.search(r"https?:|index|find-links|file:|trusted-host", text)
    for requirement in re.split(r"\n(?=\S)", text.replace("\\\n", " ").strip()):
        if not requirement.startswith("#"):
            assert re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement, re.DOTALL), (
                requirement
            )
