"""The procedures of docs/operations.md: their commands are run as they stand on that page."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from tests.e2e.served import PEOPLE, Browser, Served
from tests.e2e.site import CHECKOUT

PAGE = CHECKOUT / "docs" / "operations.md"
BLOCK = re.compile(r"^```sh ([a-z-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLES = re.compile(r"(?:[A-Z_]+=\S+ ?)+")
#: The front door's names of commands; that it makes .venv first is shown elsewhere.
DOOR = """#!/bin/sh
name=$(printf '%s' "$1" | sed 's/-/_/')
shift
exec {python} {checkout}/manage.py "$name" "$@"
"""
VALUES = """
import json
from secrets_app.models import Secret
from secrets_app.secrets import versions
print(json.dumps([versions.value(s.labelled("current")).password.reveal() for s in Secret.objects.all()]))
"""
FACTOR = """
import json
from allauth.mfa.models import Authenticator
from secrets_app.models import User
dot = User.objects.get(username="dot")
Authenticator.objects.create(user=dot, type="totp", data={})
print(json.dumps(Authenticator.objects.count()))
"""
FACTORS = """
import json
from allauth.mfa.models import Authenticator
print(json.dumps(Authenticator.objects.count()))
"""


def procedures() -> dict[str, str]:
    return dict(BLOCK.findall(PAGE.read_text()))


class Machine(Served):
    """A site, and a shell in a folder with Keyturn's front door."""

    def __init__(self, folder: Path, **given: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, **given)
        door = folder / "keyturn"
        python, checkout = shlex.quote(sys.executable), shlex.quote(str(CHECKOUT))
        door.write_text(DOOR.format(python=python, checkout=checkout))
        door.chmod(0o755)

    def follow(self, name: str, *, fails: bool = False, **variables: object) -> str:
        """Run the block of this name. `variables` are those of its first line, and no other ones."""
        first, _, rest = procedures()[name].partition("\n")
        if VARIABLES.fullmatch(first):
            assert set(re.findall(r"([A-Z_]+)=", first)) == set(variables)
            script = "".join(f"{n}={shlex.quote(str(v))}\n" for n, v in variables.items()) + rest
        else:
            assert not variables
            script = f"{first}\n{rest}"
        done = subprocess.run(
            ["sh", "-eu"], input=script, cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path):
    made: list[Machine] = []

    def make(name: str, **given: str) -> Machine:
        made.append(Machine(tmp_path / name, **given))
        return made[-1]

    yield make
    for site in made:
        site.end()


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, Path]:
    """An age key pair, as age-keygen makes it: the public key, and the file with the secret one."""
    pair, file = pyrage.x25519.Identity.generate(), tmp_path / "identity.txt"
    file.write_text(f"# public key: {pair.to_public()}\n{pair}\n")
    file.chmod(0o600)
    return str(pair.to_public()), file


def test_every_procedure_of_the_page_is_run_by_a_test_here() -> None:
    text = Path(__file__).read_text()
    names = set(procedures())
    assert names == {"back-up", "upgrade", "restore", "lost-root-key", "move", "second-factor"}
    assert all(f'.follow("{name}"' in text for name in names)
    commands = {path.stem for path in (CHECKOUT / "console/management/commands").glob("[a-z]*.py")}
    named = {name.replace("-", "_") for name in re.findall(r"\./keyturn ([a-z_-]+)", PAGE.read_text())}
    assert named - {"test"} <= commands  # the front door itself runs the tests


def test_a_backup_is_taken_and_restored_on_another_machine_by_the_page(machine, identity, tmp_path) -> None:
    recipient, secret_key = identity
    here, backup = machine("here"), tmp_path / "keyturn.backup"
    here.set_up()
    here.inside(PEOPLE)
    values = here.inside(VALUES)
    here.follow("back-up", RECIPIENT=recipient, BACKUP=backup, IDENTITY=secret_key)
    said = here.follow("upgrade", RECIPIENT=recipient, BACKUP=tmp_path / "before.backup")
    assert "No backup was taken" in said  # there is no later version yet
    assert here.inside(VALUES) == values == ["a-first-value-1"]

    there = machine("there")
    shutil.copytree(here.root_key.parent, there.root_key.parent)
    assert "Restored" in there.follow("restore", BACKUP=backup, IDENTITY=secret_key)
    assert there.inside(VALUES) == values
    there.serve()
    assert Browser(there.port).sign_in().status == 302
    # Never over an installation.
    assert "empty database only" in there.follow("restore", fails=True, BACKUP=backup, IDENTITY=secret_key)


def test_a_lost_root_key_comes_back_from_its_copy_by_the_page(machine, tmp_path) -> None:
    site, copy = machine("here"), tmp_path / "copy.key"
    site.set_up()
    site.inside(PEOPLE)
    shutil.copy(site.root_key, copy)
    site.root_key.unlink()
    assert site.manage("root_key", "status").wait(300) != 0
    site.follow("lost-root-key", COPY=copy, ROOT_KEY=site.root_key)
    assert site.inside(VALUES) == ["a-first-value-1"]


def test_the_root_key_moves_by_the_page_and_the_old_one_may_go(machine, tmp_path) -> None:
    site, new = machine("here"), tmp_path / "new" / "root.key"
    site.set_up()
    site.inside(PEOPLE)
    said = site.follow("move", NEW=f"file:{new}")
    assert str(new) in said
    site.given["KEYTURN_ROOT_KEY"] = f"file:{new}"
    site.root_key.unlink()
    assert site.inside(VALUES) == ["a-first-value-1"]


def test_a_user_without_a_second_factor_is_let_in_again_by_the_page(machine) -> None:
    site = machine("here")
    site.set_up()
    site.inside(PEOPLE)
    assert site.inside(FACTOR) == 1
    said = site.follow("second-factor", LOST="dot")
    [password] = re.findall(r"^Password +(\S+)$", said, re.MULTILINE)
    assert site.inside(FACTORS) == 0
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status != 302  # the old password
    browser.get("/sign-in/")
    assert browser.post("/sign-in/", login="dot", password=password).status == 302
    assert password not in site.logged()
