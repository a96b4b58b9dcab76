"""Start, find and stop the hosts of one folder.

What runs is told by the list of processes, so a fleet can be found and stopped by another
process after the one that started it was killed. What a host mounts is seen by that host
alone: with its last process everything of it is gone but a small folder of ours.
"""

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import image, layer, machine
from lab.hosts import Host
from lab.image import Spec

PACKAGES = ("openssh-server", "sudo")
PORTS = (22, 2222)  # the second where something on this machine already listens on every address
START_SECONDS = 30
AT_ONCE = 4
LOOKS = 5
BOOT = Path(__file__).with_name("boot.sh")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
UP = re.compile(r"^up (\d+)$", re.MULTILINE)
CHECKOUT = Path(__file__).resolve().parents[1]


class HostNotStarted(Exception):
    """The host did not come up; nothing of it runs."""


class Fleet:
    """The hosts of one folder. One process starts hosts in it at a time; any may stop them."""

    def __init__(
        self,
        folder: Path,
        hide: Sequence[Path] = (),
        *,
        die_with_parent: bool = True,
        packages: Sequence[str] = PACKAGES,
        cache: Path | None = None,
    ) -> None:
        """Take `folder`, made where it is missing, for what little is kept of each host.

        No host sees `hide`, nor anything else of this machine but /usr and the parts of /etc
        that `image` lists. With `die_with_parent` the hosts end when this process does,
        however it does. `packages` are those that a host has beyond this machine's own;
        `cache` is where they are kept unpacked.
        """
        self.folder = folder.resolve()
        self.hidden = (CHECKOUT, self.folder, *(path.resolve() for path in hide))
        self.packages = tuple(packages)
        self.cache = (cache or layer.default_cache()).resolve()
        self._die_with_parent = die_with_parent
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._base: tuple[str, bytes] | None = None
        self._leash: tuple[int, int] | None = None
        # Each is offered once, so that a new host is not taken for an old one at the same place.
        self._addresses = machine.addresses(int(hashlib.sha256(bytes(self.folder)).hexdigest(), 16))

    @staticmethod
    def supported(packages: Sequence[str] = PACKAGES) -> str | None:
        """Return, as a sentence to act on, why this machine cannot hold hosts; None when it can."""
        return machine.unsupported(packages)

    def start(
        self, name: str, spec: Spec | None = None, *, address: str = "", keep: Path | None = None
    ) -> Host:
        """Start one host and return once its sshd listens; `name` is its host name.

        `address` is one in 127.0.0.0/8 that another host had, for one that takes its place.
        `keep` is a folder that holds the host's /etc, /home and /var/lib, and so its accounts,
        passwords and host keys, from one start to the next; without it they end with the host.
        Raises `HostNotStarted` with the host's own words, `layer.LayerUnavailable` where its
        packages could not be fetched, and ValueError for a name that is taken or not one.
        """
        spec = spec or Spec()
        lower, base = self._prepared()
        with self._claimed(name, address) as (folder, address, port):
            archive = folder / "image.tar"
            archive.write_bytes(base + image.host(folder.name, address, port, spec, self.hidden))
            (folder / "root").mkdir(exist_ok=True)
            if keep:
                keep.mkdir(mode=0o700, parents=True, exist_ok=True)
            words = [str(folder / "root"), str(archive), lower, spec.disk, machine.MARK, str(self.folder)]
            pid = self._boot([*words, folder.name], spec, keep)
            archive.unlink()
        return Host(folder.name, address, port, pid)

    def start_many(self, count: int, spec: Spec | None = None, prefix: str = "host") -> list[Host]:
        """Start `count` hosts, some at once, named host-001 and so on.

        Raises what `start` raises, for the first that did not come up; the others run.
        """
        names = [f"{prefix}-{number:03}" for number in range(1, count + 1)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda name: self.start(name, spec), names))

    def hosts(self) -> list[Host]:
        """Return the living hosts of this folder, by name, whichever process started them."""
        hosts = []
        for name, (_, pid) in sorted(machine.running(self.folder).items()):
            # A host that is still on its way, or going, has no first process.
            with contextlib.suppress(OSError, ValueError):
                if pid == 0:
                    continue
                place = json.loads((self.folder / name / "place.json").read_text())
                hosts.append(Host(name, place["address"], place["port"], pid))
        return hosts

    def stop(self, name: str) -> None:
        """Stop one host, with every process and every file in it. Nothing when there is none."""
        machine.kill(*machine.running(self.folder).get(name, ()))
        self._forget(name)

    def stop_all(self) -> None:
        """Stop all hosts of this folder, also those of a process that was killed, and forget them."""
        # More than one look: of a host that was just starting the first may have missed a process.
        for _ in range(LOOKS):
            if not (living := machine.running(self.folder)):
                break
            machine.kill(*(pid for pids in living.values() for pid in pids))
        else:
            raise RuntimeError(f"These hosts do not end: {', '.join(living)}")
        for place in self.folder.glob("*/place.json"):
            self._forget(place.parent.name)
        self._let_go()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def _prepared(self) -> tuple[str, bytes]:
        """Return the overlay's lowerdir for /usr and the shared part of the image, made once."""
        with self._lock:
            if self._base is None:
                added = layer.prepare(self.packages, self.cache)
                if added and set(str(added)) & set(":,\\"):
                    raise layer.LayerUnavailable(
                        f"The cache's path holds a colon, comma or backslash: {added}"
                    )
                self._base = (f"{added}/usr:/usr" if added else "/usr", image.base(added))
                self._forget_dead()
            return self._base

    def _forget_dead(self) -> None:
        living = machine.running(self.folder)
        for place in self.folder.glob("*/place.json"):
            if place.parent.name not in living:
                shutil.rmtree(place.parent)

    @contextlib.contextmanager
    def _claimed(self, name: str, wanted: str) -> Iterator[tuple[Path, str, int]]:
        """Hold a name and a free address while a host starts there; give both back if it does not."""
        if not NAME.fullmatch(name):
            raise ValueError(f"Not a host name: {name!r}")
        folder = self.folder / name
        with self._lock:
            if folder.exists() and name not in machine.running(self.folder):
                shutil.rmtree(folder)
            try:
                folder.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                raise ValueError(f"There is a host of that name already: {name}") from None
            address, port = _free_place([wanted] if wanted else self._addresses)
        (folder / "place.json").write_text(json.dumps({"address": address, "port": port}))
        try:
            yield folder, address, port
        except BaseException:
            self.stop(name)
            raise

    def _boot(self, words: Sequence[str], spec: Spec, keep: Path | None) -> int:
        """Start the processes and return the first one's id once sshd listens."""
        environment = machine.ENVIRONMENT | {
            "BOUNDS": machine.BOUNDS,
            "LEASH": "yes" if self._die_with_parent else "no",
            "HOST_KEY_TYPES": " ".join(spec.host_key_types),
            "KEEP": str(keep.resolve()) if keep else "",
        }
        child = subprocess.Popen(
            ["unshare", *machine.NAMESPACES, "sh", str(BOOT), *words],
            stdin=self._leash_end() if self._die_with_parent else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        self._children[words[-1]] = child
        assert child.stdout is not None
        with child.stdout:
            said = _heard(child.stdout.fileno())
        if not (up := UP.search(said)):
            raise HostNotStarted(f"{words[-1]} did not come up: {said.strip() or 'it said nothing'}")
        return int(up[1])

    def _leash_end(self) -> int:
        with self._lock:
            if self._leash is None:
                self._leash = os.pipe()
                # A copy in a forked child would keep the hosts alive after this process.
                os.register_at_fork(after_in_child=self._let_go)
            return self._leash[0]

    def _let_go(self) -> None:
        if self._leash is not None:
            ends, self._leash = self._leash, None
            for end in ends:
                os.close(end)

    def _forget(self, name: str) -> None:
        if child := self._children.pop(name, None):
            child.wait(machine.STOP_SECONDS)
        shutil.rmtree(self.folder / name, ignore_errors=True)


def _free_place(addresses: Iterable[str]) -> tuple[str, int]:
    for address in addresses:
        for port in PORTS:
            if machine.is_free(address, port):
                return address, port
    raise HostNotStarted("No free address is left for another host.")


def _heard(descriptor: int) -> str:
    """Return what a starting host says, until it is up, ends, or its time is over."""
    deadline = time.monotonic() + START_SECONDS
    said = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not UP.search(said.decode(errors="replace")) and (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000) or not (more := os.read(descriptor, 4096)):
            break
        said += more
    return said.decode(errors="replace")
