"""The scripts that run on a host, as texts."""

import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from rotation.connectors.ssh import scripts as ssh_scripts

SHARED = {"common.sh", "sshd.sh", "keys.sh", "key_file.sh", "is_root.sh"}
SCRIPTS = sorted(
    file.name
    for file in resources.files(ssh_scripts).iterdir()
    if file.name.endswith(".sh") and file.name not in SHARED
)


def test_there_are_scripts_of_both_kinds() -> None:
    assert {ssh_scripts.stays(name) for name in SCRIPTS} == {True, False}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_outlives_no_script_that_is_told_a_value_on_its_input(name: str) -> None:
    text = ssh_scripts.load(name)
    _, ready, after = text.partition("say READY\n")
    told = re.findall(r"read -r (\w+)", after.split(" || ")[0])
    assert bool(ready) == ("READY" in text) == bool(told)
    assert not ssh_scripts.stays(name) or told in ([], ["commit"])


@pytest.mark.parametrize("limit", ["timeout", "none"])
@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "kill -9 $$", "no-such-program"])
def test_a_change_whose_shell_stays_begins_once(
    limit: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"edit_key.sh": f"echo begun >>'{tmp_path}/begun'\n{ending}\n"}
    monkeypatch.setattr(ssh_scripts, "load", lambda name: text.get(name, ""))
    block = ssh_scripts.block("edit_key.sh", {"nonce": "mine"})
    before = b"" if limit == "timeout" else b"timeout() { return 127; }\n"
    ran = subprocess.run("sh", input=before + block + ssh_scripts.STILL_UP, capture_output=True, timeout=30)
    assert ran.stdout.decode().splitlines() == ["mine GONE", "mine UP"]
    assert (tmp_path / "begun").read_text() == "begun\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_that_does_not_stay_hands_itself_over(name: str) -> None:
    block = ssh_scripts.block(name, {"nonce": "n"}).decode()
    assert ("then exec timeout" in block and "else exec sh" in block) is not ssh_scripts.stays(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_that_is_sent_holds_an_answer(name: str) -> None:
    block = ssh_scripts.block(name, {"nonce": "0123abcd"}).decode()
    assert "0123abcd " not in block


@pytest.mark.parametrize("name", sorted({*SCRIPTS, *SHARED}))
def test_a_script_is_sent_without_what_only_its_readers_need(name: str) -> None:
    whole = resources.files(ssh_scripts).joinpath(name).read_text(encoding="utf-8")
    lines = [line.strip() for line in whole.splitlines()]
    sent = ssh_scripts.load(name)
    assert sent.splitlines() == [line for line in lines if line and not re.match(r"#( |$)", line)]
    assert subprocess.run(["sh", "-n"], input=sent.encode(), timeout=30).returncode == 0
