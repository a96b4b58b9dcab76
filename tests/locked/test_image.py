"""What the image for production holds is enough for every command; what it lacks is said in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from console.help import chapters
from tests.locked import environment

pytestmark = pytest.mark.xdist_group("locked")
COMMANDS = sorted(
    path.stem for path in Path(environment.CHECKOUT, "console/management/commands").glob("[a-z]*.py")
)
AWAY = "postgresql://keyturn@127.0.0.1:1/keyturn"
#: What each command needs to be told; `up` would stay, so it is given a port that nobody can have.
WORDS = {
    "access_key": ("list", "--as=ann"),
    "audit": ("verify",),
    "confirm_windows": ("127.0.0.1", "--port=1", "--login=ann", "--account=bea", "--output=/dev/null"),
    "credential": ("list", "--as=ann"),
    "instance": ("list", "--as=ann"),
    "journal": ("replay",),
    "restore": ("none.age", "--passphrase-file=none"),
    "root_key": ("status",),
    "secret": ("list", "--as=ann"),
    "verify_backup": ("none.age", "--passphrase-file=none"),
    "recover": ("ann",),
    "up": ("--port=70000",),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The checkout without what .dockerignore leaves out."""
    left_out = Path(environment.CHECKOUT, ".dockerignore").read_text().split()
    made = tmp_path_factory.mktemp("image") / "keyturn"
    anywhere = [pattern.removeprefix("**/") for pattern in left_out if pattern.startswith("**/")]

    def ignored(folder: str, names: list[str]) -> set[str]:
        """A pattern is of the topmost folder, unless it begins with `**/`."""
        patterns = left_out if Path(folder) == environment.CHECKOUT else []
        return set(shutil.ignore_patterns(*patterns, *anywhere)(folder, names))

    shutil.copytree(environment.CHECKOUT, made, ignore=ignored)
    assert not (made / "lab").exists()
    assert not (made / "tests").exists()
    assert (made / "secrets_app" / "secrets").is_dir()
    return made


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory) -> Path:
    """Where Python keeps what it compiled: as in the image, beside no module of it."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def given(tmp_path, bytecode) -> dict[str, str]:
    """What a command of the image finds in its environment: an installation of its own, not set up."""
    return surroundings(tmp_path, bytecode)


def surroundings(folder: Path, bytecode: Path) -> dict[str, str]:
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("KEYTURN_", "DJANGO_", "PYTHON"))
    }
    return kept | {
        "KEYTURN_DATA": str(folder / "kept"),
        "KEYTURN_ROOT_KEY_FILE": str(folder / "keys" / "root.key"),
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }


def run(image: Path, given: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment.python(), "manage.py", *words],
        cwd=image, env=given, timeout=300, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def helped(image, bytecode, tmp_path_factory) -> dict[str, tuple[int, str]]:
    given = surroundings(tmp_path_factory.mktemp("helped"), bytecode)
    return environment.helped(image, given, COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_image_says_what_it_does(helped, command):
    assert helped[command] == (0, "")


@pytest.mark.parametrize("where", ["nothing set up", "database away"])
@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command not in {"setup", "sbom", "upgrade"}]
)
def test_a_command_that_lacks_something_says_so_without_a_traceback(image, given, tmp_path, command, where):
    if where == "database away":
        given["KEYTURN_DATABASE_URL"] = AWAY
    (tmp_path / "kept").mkdir(mode=0o700)
    done = run(image, given, command, *WORDS.get(command, ()))
    said = done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said + done.stdout
    assert said.strip().count("\n") <= 1, said


def test_set_up_without_its_database_is_one_sentence_and_status_2(image, given):
    done = run(image, given | {"KEYTURN_DATABASE_URL": AWAY}, "setup")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "KEYTURN_DATABASE_URL" in done.stderr


def test_the_image_has_no_demo_and_says_what_to_do_with_status_2(image, given):
    done = run(image, given, "demo")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "does not contain the demo servers" in done.stderr
    assert "Register" in done.stderr


def test_the_image_has_every_chapter_of_the_help(image):
    assert [one.file for one in chapters.CHAPTERS if not (image / one.file).is_file()] == []


def test_the_image_says_what_it_is_made_of_without_a_database(image, given):
    done = run(image, given | {"KEYTURN_DATABASE_URL": AWAY}, "sbom")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["components"]) > 50
