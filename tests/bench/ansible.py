"""What Ansible does to an account: its `user` module gives it a new hash, on many hosts in one play.

Ansible is not a part of this project: the bench uses an `ansible-playbook` that is installed here. The play
logs in as the script does, with the same management account, key, sudo and host keys, and with Ansible's
defaults for the rest: connections that stay open during a play, and no pipelining unless that is asked for.
What would only slow it is left out: it gathers no facts, does not look for Python on the host, and finds the
hashes ready made, so that their making is in no figure. Its start is a part of its time. It proves nothing by
a login; that each host has its new hash is looked at afterwards.

No clear value is in a file or in an argument. The inventory (0600, in the bench's folder) holds the hashes
only, whose values are forgotten at once; the management key goes to an ssh-agent of the play through standard
input. On the host the module itself hands the hash to usermod(8) as an argument.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import Host
from lab.hosts import _crypt
from tests.bench.scripts import ACCOUNT
from tests.lab_fixtures import KeyPair

PROGRAM = "ansible-playbook"
PATIENCE = 600.0  # seconds in which a play ends
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "become": True,
        "tasks": [
            {
                "name": "A new password",
                "ansible.builtin.user": {
                    "name": ACCOUNT,
                    "password": "{{ new_hash }}",
                    "update_password": "always",
                },
            }
        ],
    }
]
# ssh-agent ends with the command that it starts; the key comes on standard input.
IN_AGENT = ("ssh-agent", "sh", "-c", 'ssh-add -q - && exec "$@" </dev/null', "sh")
_RECAP = re.compile(r"^(\S+) +: (\w+=\d+(?: +\w+=\d+)*) *$", re.MULTILINE)
_ERROR = re.compile(r"fatal|\[?ERROR")


def found(named: str = "") -> Path | None:
    """Return the `ansible-playbook` that is named, or else the one on PATH; None when there is none.

    Raises SystemExit when one is named that is not a program.
    """
    where = shutil.which(named or PROGRAM)
    if named and not where:
        raise SystemExit(f"--ansible: {named} is not a program")
    return Path(where).absolute() if where else None


def recap(said: str) -> dict[str, dict[str, int]]:
    """Return the counts for each host by their names, as a play prints them at its end."""
    _, _, end = said.rpartition("PLAY RECAP")
    return {
        name: {word: int(number) for word, _, number in (one.partition("=") for one in counts.split())}
        for name, counts in _RECAP.findall(end)
    }


def not_changed(said: str, names: Collection[str]) -> list[str]:
    """Return those of these hosts of which a play does not say that it changed them and nothing failed."""
    counts = recap(said)
    wanted = {"changed": 1, "unreachable": 0, "failed": 0, "rescued": 0, "ignored": 0}
    return [name for name in names if not wanted.items() <= counts.get(name, {}).items()]


@dataclass(frozen=True)
class Play:
    """What one play took."""

    seconds: float
    client_ms: float  # processor time of Ansible and of its connections on this machine


class Ansible:
    """An installed Ansible, and what it needs to reach these hosts, in a new folder."""

    def __init__(self, program: Path, folder: Path, hosts: list[Host], key: KeyPair) -> None:
        self._program, self._folder, self._hosts, self._key = program, folder, hosts, key
        if not shutil.which(IN_AGENT[0]):
            raise SystemExit(f"Ansible reaches no host without {IN_AGENT[0]}: install openssh-client")
        self._folder.mkdir(mode=0o700)
        # The path of a socket is at most 107 bytes long.
        self._sockets = folder / "s"
        self._write("playbook.json", json.dumps(PLAYBOOK))
        self._write("known_hosts", "".join(_known(host) for host in hosts))
        asked = subprocess.run(
            [program, "--version"], env=self._environment(), capture_output=True, text=True, check=False
        )
        if asked.returncode:
            raise SystemExit(f"{program} --version ended with {asked.returncode}: {asked.stderr.strip()}")
        self.version = asked.stdout.splitlines()[0]

    def play(self, at_once: int, *, pipelining: bool) -> Play:
        """Give the account on each host a new hash, on so many hosts at once.

        Raises SystemExit when a host has not changed.
        """
        hashes = {host.name: _new_hash() for host in self._hosts}
        self._write("ansible.cfg", self._settings(at_once, pipelining=pipelining))
        self._write("inventory.json", json.dumps(self._inventory(hashes)))
        before, began = _children_ms(), time.monotonic()
        status = self._run()
        seconds, client = time.monotonic() - began, _children_ms() - before
        client += self._end_connections()
        said = (self._folder / "output").read_text(errors="replace")
        bad = not_changed(said, hashes) or [
            host.name for host in self._hosts if host.shadow(ACCOUNT) != hashes[host.name]
        ]
        if status or bad:
            raise SystemExit(f"Ansible ended with {status}; not changed: {bad}\n{_errors(said)}")
        return Play(seconds, client)

    # -- how ----------------------------------------------------------------------------------

    def _run(self) -> int:
        # Standard output is a file: connections that stay open would hold a pipe.
        with (self._folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*IN_AGENT, self._program, "-i", self._folder / "inventory.json",
                 self._folder / "playbook.json"],
                env=self._environment(), cwd=self._folder, stdin=subprocess.PIPE,
                stdout=output, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip
        try:
            process.communicate(self._key.private.encode(), timeout=PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._end_connections()
            raise
        return process.returncode

    def _environment(self) -> dict[str, str]:
        # Nothing of this process's: neither its own settings for Ansible nor an agent's.
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._folder / "home"),
        }

    def _settings(self, at_once: int, *, pipelining: bool) -> str:
        """What Ansible has by default, but for the number at once and the paths; no user's ssh_config."""
        known = shlex.quote(f"UserKnownHostsFile={self._folder / 'known_hosts'}")
        return (
            f"[defaults]\nforks = {at_once}\nhost_key_checking = True\nnocolor = True\n"
            f"[ssh_connection]\npipelining = {pipelining}\ncontrol_path_dir = {self._sockets}\n"
            "ssh_args = -F none -C -o ControlMaster=auto -o ControlPersist=60s\n"
            f"ssh_common_args = -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=none -o {known}\n"
        )

    def _inventory(self, hashes: dict[str, str]) -> dict[str, object]:
        return {
            "all": {
                "vars": {"ansible_user": "keyturn", "ansible_python_interpreter": "/usr/bin/python3"},
                "hosts": {
                    host.name: {
                        "ansible_host": host.address,
                        "ansible_port": host.port,
                        "new_hash": hashes[host.name],
                    }
                    for host in self._hosts
                },
            }
        }

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _end_connections(self) -> float:
        """End what the play has left open, and return the processor time that it took in milliseconds.

        Ansible keeps them for a minute. The next play would find them, as one of the next day does not.
        """
        open_ones = list(self._connections())
        took = sum(map(_own_ms, open_ones))
        for pid in open_ones:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while any(self._connections()):
            if time.monotonic() > deadline:
                raise SystemExit("connections of Ansible's do not end")
            time.sleep(0.01)
        return took

    def _connections(self) -> Iterator[int]:
        """The processes that hold a connection open: ssh says so in its title, with the socket's path."""
        title = f"ssh: {self._sockets}/".encode()
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if Path(f"/proc/{entry}/cmdline").read_bytes().startswith(title):
                    yield int(entry)
            except OSError:  # it has ended
                continue


def _new_hash() -> str:
    """A hash of a new value, as Ansible's `password_hash('sha512')` makes it; the value is forgotten."""
    return _crypt(secrets.token_urlsafe(24), f"$6${secrets.token_hex(8)}")


def _known(host: Host) -> str:
    place = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    return "".join(f"{place} {line}\n" for line in host.host_keys())


def _children_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def _own_ms(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return sum(int(number) for number in fields[11:13]) * TICK_MS


def _errors(said: str) -> str:
    """The lines that say what failed; Ansible masks the hash in them."""
    return "\n".join([line for line in said.splitlines() if _ERROR.match(line)][:10])
