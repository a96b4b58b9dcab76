"""The scripts that run on a host, as texts."""

from importlib import resources

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
def test_a_shell_outlives_no_script_that_is_told_something_on_its_input(name: str) -> None:
    reads = "READY" in ssh_scripts.load(name)
    assert not (reads and ssh_scripts.stays(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_that_does_not_stay_hands_itself_over(name: str) -> None:
    block = ssh_scripts.block(name, {"nonce": "n"}).decode()
    assert ("then exec timeout" in block and "else exec sh" in block) is not ssh_scripts.stays(name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_that_is_sent_holds_an_answer(name: str) -> None:
    block = ssh_scripts.block(name, {"nonce": "0123abcd"}).decode()
    assert "0123abcd " not in block
