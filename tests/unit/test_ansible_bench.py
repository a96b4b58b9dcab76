"""Measuring beside Ansible: what is given to it, and what is believed of what it says.

Ansible is no part of this project, so a script stands in its place. It models the arguments, the environment
and the end of what `ansible-playbook` prints, and changes nothing.
"""

from __future__ import annotations

import json
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.hosts import _crypt
from tests.bench import ansible
from tests.lab_fixtures import KeyPair

ONE_FAILED = """
TASK [A new password] ******************
changed: [host-1]
fatal: [host-2]: UNREACHABLE! => {"changed": false, "msg": "Failed to connect to the host via ssh"}

PLAY RECAP *****************************
host-1                     : ok=1    changed=1    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
host-2                     : ok=0    changed=0    unreachable=1    failed=0    skipped=0    rescued=0    ignored=0

"""  # noqa: E501
BOTH_CHANGED = ONE_FAILED.replace(
    "ok=0    changed=0    unreachable=1", "ok=1    changed=1    unreachable=0"
)  # fmt: skip
STAND_IN = """#!/bin/sh
[ "$1" = --version ] && echo 'ansible-playbook [core 0.0.0]' && exit
{ printf '%s\\n' "$0" "$@"; tr '\\0' '\\n' </proc/$$/environ; } > "$HOME/../given"
ssh-add -L > "$HOME/../agent"
cat "$HOME/../says"
"""


@dataclass
class Host:
    """What the bench asks of a host, with the hash that the inventory has, or another."""

    name: str
    folder: Path
    changes: bool = True
    address: str = "127.9.9.9"
    port: int = 2222

    def host_keys(self) -> list[str]:
        return ["ssh-ed25519 AAAA"]

    def shadow(self, username: str) -> str:
        assert username == "naive"
        inventory = json.loads((self.folder / "ansible/inventory.json").read_text())
        return inventory["all"]["hosts"][self.name]["new_hash"] if self.changes else "$6$old$old"


@pytest.fixture
def values(monkeypatch) -> list[str]:
    """Return the clear values that are made from here on."""
    made: list[str] = []
    real = secrets.token_urlsafe

    def kept(length: int) -> str:
        made.append(real(length))
        return made[-1]

    monkeypatch.setattr(secrets, "token_urlsafe", kept)
    return made


def prepared(folder: Path, says: str, key: KeyPair, **differences: bool) -> ansible.Ansible:
    """Return a stand-in that says this of two hosts."""
    (folder / "says").write_text(says)
    program = folder / "ansible-playbook"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    hosts = [Host("host-1", folder), Host("host-2", folder, **differences)]
    return ansible.Ansible(program, folder / "ansible", hosts, key)  # type: ignore[arg-type]


def test_without_ansible_on_the_path_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ansible.found() is None


def test_the_one_on_the_path_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "ansible-playbook").write_text("#!/bin/sh\n")
    (tmp_path / "ansible-playbook").chmod(0o755)
    assert ansible.found() == tmp_path / "ansible-playbook"


def test_a_named_one_that_is_no_program_ends_the_bench(tmp_path):
    (tmp_path / "notes").write_text("")
    for named in ("absent", "notes"):
        with pytest.raises(SystemExit, match="is not a program"):
            ansible.found(str(tmp_path / named))


def test_a_host_counts_only_if_it_was_changed():
    names = ["host-1", "host-2", "host-3"]
    assert ansible.not_changed(ONE_FAILED, names) == ["host-2", "host-3"]
    assert ansible.not_changed(BOTH_CHANGED, names[:2]) == []
    unchanged = BOTH_CHANGED.replace("changed=1 ", "changed=0 ")
    assert ansible.not_changed(unchanged, names[:2]) == names[:2]
    lost = BOTH_CHANGED.replace("unreachable=0 ", "unreachable=1 ")
    assert ansible.not_changed(lost, names[:2]) == names[:2]
    assert ansible.not_changed("[ERROR]: it did not begin", names[:2]) == names[:2]


def test_a_host_that_failed_ends_the_bench(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)host-2.*UNREACHABLE"):
        prepared(tmp_path, ONE_FAILED, KeyPair.generate()).play(16, pipelining=False)


def test_a_host_that_is_said_to_have_changed_and_has_not_ends_the_bench(tmp_path):
    with pytest.raises(SystemExit, match=r"\['host-2'\]"):
        prepared(tmp_path, BOTH_CHANGED, KeyPair.generate(), changes=False).play(16, pipelining=False)


def test_a_program_that_does_not_start_ends_the_bench(tmp_path):
    with pytest.raises(SystemExit, match="ended with 1"):
        ansible.Ansible(Path("/bin/false"), tmp_path / "ansible", [], KeyPair.generate())


def test_a_machine_without_an_agent_ends_the_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="install openssh-client"):
        prepared(tmp_path, BOTH_CHANGED, KeyPair.generate())


def test_each_play_gives_each_host_a_new_hash_and_no_file_or_argument_a_clear_value(
    tmp_path, values, monkeypatch
):
    key = KeyPair.generate()
    monkeypatch.setenv("ANSIBLE_FORCE_COLOR", "1")
    measured = prepared(tmp_path, BOTH_CHANGED, key)
    hashes = []
    for pipelining in (False, True):
        play = measured.play(16, pipelining=pipelining)
        assert play.seconds > 0
        inventory = json.loads((tmp_path / "ansible/inventory.json").read_text())
        hashes += [host["new_hash"] for host in inventory["all"]["hosts"].values()]
    assert len(values) == len(set(hashes)) == 4
    assert [_crypt(value, made) for value, made in zip(values, hashes, strict=True)] == hashes
    assert stat.S_IMODE((tmp_path / "ansible/inventory.json").stat().st_mode) == 0o600

    private = key.private.splitlines()[1:-1]
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if any(clear in text for clear in [*values, *private])]
    # Among these texts are the arguments, the environment and the keys that the agent has.
    given = (tmp_path / "given").read_text()
    assert "inventory.json" in given
    assert not [made for made in hashes if made in given]
    assert "ANSIBLE_FORCE_COLOR" not in given
    assert (tmp_path / "agent").read_text().split()[1] == key.public.split()[1]


def test_host_keys_are_checked_and_pipelining_is_only_used_if_asked_for(tmp_path):
    measured = prepared(tmp_path, BOTH_CHANGED, KeyPair.generate())
    for pipelining in (False, True):
        measured.play(16, pipelining=pipelining)
        settings = (tmp_path / "ansible/ansible.cfg").read_text()
        assert f"\npipelining = {pipelining}\n" in settings
        assert "\nforks = 16\nhost_key_checking = True\n" in settings
        assert "StrictHostKeyChecking=yes" in settings
    known = (tmp_path / "ansible/known_hosts").read_text().splitlines()
    assert known == ["[127.9.9.9]:2222 ssh-ed25519 AAAA"] * 2
