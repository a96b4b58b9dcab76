"""Hosts that answer from a recording, so that only what a worker takes of the processor counts.

A real host is rotated once and what it says is kept, line by line. Then a process of its own speaks SSH for
many hosts: each answers a script with the lines that were recorded for it, under its caller's nonce. Some
things are not from the recording, because they follow from what was sent: which password or keys log in, the
number of the last attempt, the host's key and its machine-id. No program runs, no file is written and nothing
is late, so a rate says nothing about hosts; what a rotation takes of them, `throughput` shows on real ones.

Run as a program: `recorded FILE PORT HOSTS`, with the recording in FILE.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import re
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from lab import Host as RealHost
from rotation.connectors import base
from rotation.connectors.ssh import scripts
from rotation.connectors.ssh.connector import SshConnector
from rotation.connectors.ssh.shell import Answer, Conversation, RootShell
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests import networks
from tests.lab_fixtures import KeyPair

Recording = dict[str, list[str]]
SECONDS = 20.0  # that each call may take
PASSWORDS, KEYS = "svc", "app"
SCRIPTS = ("preflight.sh", "set_password.sh", "edit_key.sh", "probe_key.sh", "probe_password.sh")


def named(script: str, arguments: Mapping[str, str]) -> str:
    """Under which name the answers of a script are kept: a key is added and removed by the same one."""
    return " ".join(filter(None, (script, arguments.get("user", ""), arguments.get("action", ""))))


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Keep what hosts say to the scripts that this process runs meanwhile."""
    kept: Recording = {}
    under_way: dict[int, str] = {}
    run, hear = RootShell.run, Conversation.hear

    def noted_run(self: RootShell, script: str, arguments: Mapping[str, str], **more: int) -> Answer:
        name = named(script, arguments)
        under_way[id(self._talk)] = name
        kept[name] = []
        return run(self, script, arguments, **more)

    def noted_hear(self: Conversation, *, seconds: float) -> Answer:
        answer = hear(self, seconds=seconds)
        if name := under_way.get(id(self)):
            kept[name].append(" ".join(filter(None, answer)))
        return answer

    RootShell.run, Conversation.hear = noted_run, noted_hear  # type: ignore[method-assign]
    try:
        yield kept
    finally:
        RootShell.run, Conversation.hear = run, hear  # type: ignore[method-assign]


def rotated(on: RealHost, key: KeyPair, password: str, old: str) -> Recording:
    """What a real host says to all that a rotation of each kind asks of it; it gets both accounts."""
    on.add_account(PASSWORDS, password=password)
    on.add_account(KEYS, authorized_keys=[old])
    connector = SshConnector(networks.endpoint(on.address, on.port, tuple(on.host_keys())))
    manager = base.Manager(base.Login("keyturn", private_key=Plaintext(key.private)), base.Sudo.PASSWORDLESS)
    console, value = str(uuid.uuid4()), Plaintext(secrets.token_urlsafe(24))
    new, fence = key_pairs.generate("ed25519").public_key, base.Fence(console, 1)
    look = {"timeout": SECONDS, "console_id": console}
    with recording() as said, connector.shared():
        connector.preflight(manager, PASSWORDS, **look)
        connector.set_password(manager, PASSWORDS, value, fence=fence, timeout=SECONDS)
        connector.probe_password(manager, PASSWORDS, value, timeout=SECONDS)
        connector.preflight(manager, KEYS, kind=base.Kind.KEY, public_key=old, **look)
        connector.add_key(manager, KEYS, new, like=old, fence=fence, timeout=SECONDS)
        connector.probe_key(manager, KEYS, new, timeout=SECONDS)
        connector.remove_key(manager, KEYS, old, fence=fence, timeout=SECONDS)
    return said


# -------------------------------------------------------------------- the process that speaks for the hosts


@dataclass
class Host:
    """One host: what logs in there, and the number of the last attempt of each account."""

    address: str
    recording: Recording
    password: str
    keys: set[str]
    generations: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> paramiko.PKey:
        """Its own key, which follows from its address."""
        seed = hashlib.sha256(self.address.encode()).digest()
        made = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        text = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode()
        with tempfile.TemporaryFile("w+") as file:
            file.write(text)
            file.seek(0)
            return paramiko.Ed25519Key.from_private_key(file)

    def answers(self, name: str, user: str) -> list[str]:
        """The lines of a script, with what differs from host to host and from time to time."""
        said = self.recording[name]
        mine = {
            "machine_id": hashlib.sha256(self.address.encode()).hexdigest()[:32],
            "generation": self.generations.get(user, "0"),
        }
        return [self._own(line, mine) for line in said]

    @staticmethod
    def _own(line: str, mine: Mapping[str, str]) -> str:
        word, _, rest = line.partition(" ")
        key, equals, _ = rest.partition("=")
        return f"FACT {key}={mine[key]}" if word == "FACT" and equals and key in mine else line

    def take(self, name: str, arguments: Mapping[str, str], values: list[str]) -> None:
        """Do what a committed script does."""
        script, user, *action = name.split()
        if script in {"set_password.sh", "edit_key.sh"}:
            self.generations[user] = arguments["generation"]
        if script == "set_password.sh":
            self.password = values[0]
        elif action == ["add"]:
            self.keys.add(arguments["asked_key"])
        elif action == ["remove"]:
            self.keys.discard(arguments["asked_key"])


class _Server(paramiko.ServerInterface):
    def __init__(self, host: Host) -> None:
        self._host = host

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_auth_password(self, username: str, password: str) -> int:
        right = username == PASSWORDS and password == self._host.password
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username not in {PASSWORDS, KEYS}  # the management account's key is not looked at
        if username == KEYS:
            right = f"{key.get_name()} {key.get_base64()}" in self._host.keys
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_converse, args=(self._host, channel, command.decode()), daemon=True).start()
        return True


def _converse(host: Host, channel: paramiko.Channel, command: str) -> None:
    """Be the shell that this command starts."""
    found = re.search(r"n=([0-9a-f]{32})", command)
    assert found is not None
    nonce = found[1]

    def say(*lines: str) -> None:
        channel.sendall("".join(f"{nonce} {line}\n" for line in lines).encode())

    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):  # the caller has gone
        _answer(host, channel, command, say, nonce)
        channel.send_exit_status(0)
        channel.close()


def _answer(
    host: Host, channel: paramiko.Channel, command: str, say: Callable[..., None], nonce: str
) -> None:
    if "DONE" in command:
        say("DONE")
        return
    heard = b""
    say(f"SHELL 127.0.0.1 40000 {host.address} 22", "UP")
    script: tuple[str, dict[str, str]] | None = None
    while received := channel.recv(65536):
        heard += received
        if script is not None and heard.endswith(f"{nonce} COMMIT\n".encode()):
            name, arguments = script
            host.take(name, arguments, heard.decode().splitlines())
            at = host.recording[name].index("READY") + 1
            said = host.answers(name, arguments["user"])[at:]
            say(*said)
            if "GONE" not in said:
                return
            script, heard = None, b""
        if heard == b'echo "$mark UP"\n':
            say("UP")
            heard = b""
        elif heard.endswith(b"\n}\n"):
            script, heard = _script(heard.decode()), b""
            name, arguments = script
            said = host.answers(name, arguments["user"])
            say(*said[: said.index("READY") + 1 if "READY" in said else len(said)])


def _script(block: str) -> tuple[str, dict[str, str]]:
    """The name and the arguments of a script, from the block in which it is sent."""
    text = next(iter(re.findall(r"^script=('.*')\n(?:case|timeout)", block, re.M | re.S)))
    name = next(script for script in SCRIPTS if text.endswith(_quoted(script)))
    # Arguments come before the text of the script itself, and each has a line there; the first one counts.
    own = text.removesuffix(_quoted(name))
    arguments = dict(reversed(re.findall(r"^'?(user|action|generation)=([^\s$]*)$", own, re.M)))
    # It has a blank, and so it is quoted, within the word in quotes.
    arguments |= re.findall(r"^(asked_key)='\"'\"'([^'\n]*)'\"'\"'$", own, re.M)
    return named(name, arguments), arguments


@functools.cache
def _quoted(script: str) -> str:
    """The end of the word in which a script is sent, arguments before it: to read that word takes long."""
    return shlex.quote(scripts.load(script)).removeprefix("'")


def address(number: int) -> str:
    """Where the host of this number answers."""
    return f"127.77.{number // 200}.{number % 200 + 1}"


def serve(file: Path, port: int, count: int) -> None:
    """Speak for so many hosts until the process is ended."""
    # A scan asks for kinds of keys that are not here.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    kept = json.loads(file.read_text())
    waiting = []
    for number in range(count):
        host = Host(address(number), kept["said"], kept["password"], {kept["key"]})
        listener = socket.create_server((host.address, port), backlog=16)
        waiting.append(threading.Thread(target=_accept, args=(host, listener)))
        waiting[-1].start()
    print("ready", flush=True)


def _accept(host: Host, listener: socket.socket) -> None:
    while True:
        connected, _ = listener.accept()
        threading.Thread(target=_serve, args=(host, connected), daemon=True).start()


def _serve(host: Host, connected: socket.socket) -> None:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(connected)
    transport.add_server_key(host.key)
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        transport.start_server(server=_Server(host))
        while transport.is_active():
            time.sleep(0.5)
    transport.close()


@contextlib.contextmanager
def served(said: Recording, password: str, key: str, port: int, count: int) -> Iterator[int]:
    """Have another process speak for so many hosts, and yield its id.

    `password` and `key` are what logs in at first.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recording.json"
        file.write_text(json.dumps({"said": said, "password": password, "key": key}))
        command: list[Any] = [sys.executable, "-m", "tests.bench.recorded", file, str(port), str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                yield process.pid
            finally:
                process.kill()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
