"""How many passwords of Windows hosts are changed a second, beside a bare loop that makes the same calls.

The loop is pywinrm's. Slices of it and of Keyturn's take turns on the same simulated hosts, which run in
another process: first the connector alone, where PowerShell starts at once and all the time is the client's
and the double's own; then whole rotations by real workers, where it starts as slowly as on a real Windows.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import winrm
from django.db import connection
from django.utils import timezone

from rotation import runs, tasks
from rotation.connectors.base import Fence, Login, Manager, Verdict
from rotation.connectors.winrm import scripts
from rotation.connectors.winrm.connector import WinRmConnector
from rotation.inventory import identities, management
from rotation.models import Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from tests import factories
from tests.bench.throughput import CHECKOUT, Workers, _ended
from tests.bench.windows_hosts import BARE, MANAGER, OURS, PASSWORD, ROTATED
from tests.networks import endpoint

GOAL = 0.8
START_SECONDS = 1.5
CONSOLE = "3f2c1a00-0000-4000-8000-00000000be7c"
POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"


def _value() -> str:
    return f"Aa1-{secrets.token_hex(16)}"


class Hosts:
    """The process of the hosts."""

    def __init__(self, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.windows_hosts", str(count)],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        said = self._next()
        self.authority: str = said["authority"]
        self.places: list[tuple[str, int]] = [(address, port) for address, port in said["places"]]

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def ask(self, words: str) -> Counter[str]:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return Counter(self._next())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@dataclass
class Slices:
    """What some slices of one side came to."""

    rotations: int = 0
    seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return self.rotations / self.seconds

    @property
    def each(self) -> str:
        operations, logons = (self.seen[name] / self.rotations for name in ("operations", "logons"))
        return f"{logons:.1f} logons and {operations:.1f} operations each"

    def run(self, hosts: Hosts, work: Callable[[], tuple[int, float]]) -> None:
        """Do one slice, which returns how many rotations it made in how many seconds."""
        before = hosts.ask("seen")
        done, seconds = work()
        after = hosts.ask("seen")
        changes = after["changes"] - before["changes"]
        if changes != done or after["failed"]:
            raise SystemExit(f"{done} rotations are {changes} changes, with {after['failed']} failed logons")
        after.subtract(before)
        self.seen += after
        self.rotations += done
        self.seconds += seconds


class Bare:
    """A loop that uses pywinrm as its documentation does, with the same scripts and the same calls."""

    def __init__(self, authority: Path, place: tuple[str, int], *, looks_first: bool) -> None:
        self._authority, self._place, self._looks_first = authority, place, looks_first
        self._generation = 0

    def rotate(self) -> None:
        """Set a new password and log on with it; a look at the account comes before, where one is wanted."""
        self._generation += 1
        value, nonce = _value(), secrets.token_hex(16)
        session = self._session(MANAGER, PASSWORD)
        if self._looks_first:
            self._run(session, "preflight.ps1", [nonce, BARE, CONSOLE])
        given = [nonce, BARE, CONSOLE, str(self._generation), "", "30"]
        said = self._run(session, "set_password.ps1", given, value)
        session.transport.close_session()
        if '"APPLIED"' not in said:
            raise SystemExit(f"the bare loop changed nothing: {said}")
        session = self._session(BARE, value)
        # The account may open no shell: that this is said shows that it is logged on.
        with contextlib.suppress(winrm.exceptions.WSManFaultError):
            self._run(session, "login.ps1", [nonce, "", "-"])
        session.transport.close_session()

    def _session(self, username: str, password: str) -> winrm.Protocol:
        address, port = self._place
        return winrm.Protocol(
            f"https://{address}:{port}/wsman", transport="ntlm", username=username, password=password,
            ca_trust_path=str(self._authority), proxy=None,
        )  # fmt: skip

    def _run(self, at: winrm.Protocol, name: str, given: Sequence[str], value: str = "") -> str:
        shell = at.open_shell(codepage=65001, noprofile=True, idle_timeout="PT60S")
        words = ["-NoProfile", "-NonInteractive", "-EncodedCommand", scripts.encoded(name)]
        command = at.run_command(shell, POWERSHELL, words, console_mode_stdin=False, skip_cmd_shell=True)
        at.send_command_input(shell, command, _lines(given), end=not value)
        said, has_ended = b"", False
        while value and b"\n" not in said and not has_ended:
            out, _, _, has_ended = at.get_command_output_raw(shell, command)
            said += out
        if value:
            at.send_command_input(shell, command, _lines([value]) + f"{given[0]} COMMIT\n".encode(), end=True)
            said = b""
        while b"\n" not in said and not has_ended:
            out, _, _, has_ended = at.get_command_output_raw(shell, command)
            said += out
        at.cleanup_command(shell, command)
        at.close_shell(shell, close_session=False)
        return said.decode()


def _lines(texts: Sequence[str]) -> bytes:
    return b"".join(base64.b64encode(text.encode()) + b"\n" for text in texts)


class Ours:
    """The same by the connector, without engine and store."""

    def __init__(self, pin: str, place: tuple[str, int]) -> None:
        self._wire = WinRmConnector(endpoint(*place, (pin,)))
        self._manager = Manager(Login(MANAGER, password=Plaintext(PASSWORD)))
        self._generation = 0

    def rotate(self) -> None:
        self._generation += 1
        value = Plaintext(_value())
        fence = Fence(CONSOLE, self._generation)
        self._wire.set_password(self._manager, OURS, value, fence=fence, timeout=60)
        proof = self._wire.prove_login(Login(OURS, password=value), timeout=60)
        if proof.verdict != Verdict.ACCEPTED:
            raise SystemExit(f"the connector's login failed: {proof.reason}")


def measure(count: int, at_once: int, slices: int, rotated_slices: int) -> None:
    """Print a row for the connector and one for whole rotations."""
    with tempfile.TemporaryDirectory(prefix="keyturn-windows-bench-") as folder:
        hosts = Hosts(count)
        try:
            authority = Path(folder, "authority.pem")
            authority.write_text(hosts.authority)
            print(
                f"{count} simulated Windows hosts, {at_once} at once, on {os.cpu_count()} cores", flush=True
            )
            _measure_connector(hosts, authority, at_once, slices)
            _measure_rotations(hosts, authority, at_once, rotated_slices, Path(folder))
        finally:
            hosts.end()


def _measure_connector(hosts: Hosts, authority: Path, at_once: int, slices: int) -> None:
    pin = identities.read_authority("winrm", hosts.authority).line
    ours = [Ours(pin, place) for place in hosts.places]
    bare = [Bare(authority, place, looks_first=False) for place in hosts.places]
    mine, theirs = Slices(), Slices()
    with ThreadPoolExecutor(at_once) as pool:
        for one in (ours, bare):  # what is done once is over then
            _all(pool, one)
        for _ in range(slices):
            mine.run(hosts, lambda: _all(pool, ours))
            theirs.run(hosts, lambda: _all(pool, bare))
    _print("connector, PowerShell starts at once", mine, theirs)


def _all(pool: ThreadPoolExecutor, ones: Sequence[Ours] | Sequence[Bare]) -> tuple[int, float]:
    began = time.perf_counter()
    list(pool.map(lambda one: one.rotate(), ones))
    return len(ones), time.perf_counter() - began


def _measure_rotations(hosts: Hosts, authority: Path, at_once: int, slices: int, folder: Path) -> None:
    registered = [_registered(hosts.authority, place) for place in hosts.places]
    bare = [Bare(authority, place, looks_first=True) for place in hosts.places]
    for one in bare:
        one._generation = 1_000_000  # after the slices before
    hosts.ask(f"start {START_SECONDS}")
    mine, theirs = Slices(), Slices()
    with _workers(folder, at_once) as workers, ThreadPoolExecutor(at_once) as pool:
        _rotate(registered)
        memory = [_resident_mib(workers)]
        for _ in range(slices):
            mine.run(hosts, lambda: _rotate(registered))
            memory.append(_resident_mib(workers))
            theirs.run(hosts, lambda: _all(pool, bare))
    _print(
        f"rotations by workers on {connection.vendor}, PowerShell starts in {START_SECONDS} s", mine, theirs
    )
    sizes = ", ".join(f"{size:.0f}" for size in memory)
    print(f"  memory of the workers after each {len(registered)} rotations: {sizes} MiB", flush=True)


@contextlib.contextmanager
def _workers(folder: Path, at_once: int) -> Iterator[Workers]:
    made = Workers(folder, at_once)
    try:
        yield made
    finally:
        made.end()


def _registered(authority: str, place: tuple[str, int]) -> Secret:
    """An instance under the authority, with a secret for its account."""
    dot = factories.administrator()
    login = factories.credential(password=Plaintext(PASSWORD), wire="winrm")
    instance = factories.instance(
        address=place[0], port=place[1], wire="winrm", os="windows", keys=[], credential=login
    )
    identities.trust_authority(instance, authority, actor=dot)
    management.attach(instance, login, actor=dot)
    made = factories.secret(instance=instance, username=ROTATED)
    factories.settle(made)
    return made


def _rotate(registered: Sequence[Secret]) -> tuple[int, float]:
    dot = factories.administrator()
    started = [runs.start(secret, actor=dot).pk for secret in registered]
    began = timezone.now()
    for pk in started:
        tasks.advance.delay(str(pk))
    ended = _ended(list(started))
    bad = Counter(f"{run.outcome} {run.code}" for run in ended if run.outcome != Run.Outcome.SUCCEEDED)
    if bad:
        raise SystemExit(f"rotations did not succeed: {dict(bad)}")
    return len(ended), (max(run.ended_at for run in ended) - began).total_seconds()


def _resident_mib(workers: Workers) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in workers.pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _print(what: str, ours: Slices, bare: Slices) -> None:
    ratio = ours.rate / bare.rate
    print(
        f"{what}: {ours.rate:.2f} a second, bare pywinrm {bare.rate:.2f}, ratio {ratio:.2f}; goal {GOAL}; "
        f"{ours.rotations} rotations"
    )
    print(f"  ours {ours.each}; bare {bare.each}", flush=True)
