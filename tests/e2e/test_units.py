"""The units for systemd: verified by systemd itself, and their commands run as written, without systemd."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from secrets_app.crypto.key_files import KeyFile
from secrets_app.root_keys.held import MAGIC
from tests.e2e.site import CHECKOUT, Site
from tests.waiting import wait_for

UNITS = CHECKOUT / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
#: Points of `systemd-analyze security`, of 100: 0 is a process that may do nothing.
EXPOSURE_AT_MOST = 20


def content(name: str) -> configparser.ConfigParser:
    """A unit, where of a key that is given several times all stand, a line each."""

    class Lines(dict[str, object]):
        def __setitem__(self, key: str, value: object) -> None:
            if isinstance(value, list) and isinstance(had := self.get(key), list):
                had.extend(value)
            else:
                super().__setitem__(key, value)

    unit = configparser.ConfigParser(dict_type=Lines, strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((UNITS / name).read_text())
    return unit


def lines(name: str, key: str) -> list[str]:
    return [line for line in content(name)["Service"].get(key, "").splitlines() if line]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with this checkout in the place of /srv/keyturn, which is not there."""
    folder = tmp_path / "units"
    folder.mkdir()
    for path in UNITS.iterdir():
        text = path.read_text().replace("/srv/keyturn", str(CHECKOUT))
        text = text.replace(f"{CHECKOUT}/.venv/bin/python", sys.executable)
        (folder / path.name.replace("@.", "@1.")).write_text(text)
    return folder


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: apt-get install systemd"
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    done = analyze("verify", "--man=no", *sorted(units.iterdir()))
    assert (done.returncode, done.stderr) == (0, "")
    (units / "keyturn-beat.service").write_text("[Service]\nExecStart=/none\nNoSuchKey=1\n")
    assert analyze("verify", "--man=no", units / "keyturn-beat.service").returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_each_process_may_do_little_else_than_it_needs(units: Path, name: str) -> None:
    unit = units / name.replace("@.", "@1.")
    asked = ("security", "--offline=true", f"--threshold={EXPOSURE_AT_MOST}")
    done = analyze(*asked, unit)
    assert done.returncode == 0, done.stdout[-2000:]
    unit.write_text(unit.read_text().replace("SystemCallFilter=", "#").replace("ProtectSystem=", "#"))
    assert analyze(*asked, unit).returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_unit_names_a_secret_and_all_take_the_same_settings(name: str) -> None:
    assert lines(name, "LoadCredential") == ["keyturn-root:/etc/keyturn/root.key"]
    assert lines(name, "EnvironmentFile") == ["/etc/keyturn/keyturn.env"]
    assert lines(name, "Environment") == lines("keyturn-setup.service", "Environment")
    assert lines(name, "User") == ["keyturn"]


def test_only_the_set_up_may_write_beside_the_keys() -> None:
    folders = {name: lines(name, "StateDirectory") for name in SERVICES}
    assert folders.pop("keyturn-setup.service") == ["keyturn keyturn-keys"]
    assert set(map(tuple, folders.values())) == {("keyturn",)}


class Started(Site):
    """The commands of the units with their environment, and a folder that systemd would have made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.credentials = folder / "credentials"
        KeyFile(self.credentials / "keyturn-root", MAGIC).create()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        kept = {n: t for n, t in os.environ.items() if not n.startswith(("KEYTURN_", "DJANGO_"))}
        given = dict(line.split("=", 1) for line in lines("keyturn-web.service", "Environment"))
        moved = {
            name: text.replace("/var/lib/keyturn-keys", str(self.folder / "keys")).replace(
                "/var/lib/keyturn", str(self.folder / "kept")
            )
            for name, text in given.items()
        }
        return kept | moved | {"CREDENTIALS_DIRECTORY": str(self.credentials)}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        [line] = lines(name, "ExecStart")
        line = line.replace("/srv/keyturn/.venv/bin/python", shlex.quote(sys.executable))
        line = line.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}").replace("%i", "1").replace("%%", "%")
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                shlex.split(line), cwd=CHECKOUT, env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def logged(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        super().end()


def test_the_commands_of_the_units_run_keyturn_with_the_root_key_in_a_credential(tmp_path: Path) -> None:
    site = Started(tmp_path)
    try:
        assert site.start("keyturn-setup.service").wait(300) == 0, site.logged()
        assert not (tmp_path / "keys" / "root.key").exists()
        assert (tmp_path / "keys" / "seal.key").exists()
        for name in ("keyturn-web.service", "keyturn-worker@.service", "keyturn-beat.service"):
            site.start(name)
        wait_for(lambda: site.health()[0] == 200, "/healthz")
        (site.credentials / "keyturn-root").unlink()
        wait_for(lambda: site.health()[0] == 503, "the seal")
    finally:
        site.end()
