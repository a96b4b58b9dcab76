"""One running host: arrange it, break it, and see what is true in it.

Everything here acts as this machine's root from outside, through the host's namespaces, so it
works when the host's sshd, accounts or sudo do not. No password goes into a command line.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab import machine

SSHD_LOG = "/var/log/sshd.log"
PID_FILE = "/run/sshd.pid"
RUN_SECONDS = 300.0
UMASK = 0o022  # not the one of this process


class Gone(Exception):
    """The host has stopped; nothing of it is left to read."""


class Host:
    """A host that was started by a fleet, for as long as its first process lives."""

    def __init__(self, name: str, address: str, port: int, pid: int) -> None:
        """Hold on to the host whose first process is `pid`."""
        self.name = name
        self.address = address
        self.port = port
        self.pid = pid
        self._started_at = machine.started(pid)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}:{self.port}>"

    @property
    def is_running(self) -> bool:
        """Say whether the host's first process lives."""
        return self._started_at != 0 and machine.started(self.pid) == self._started_at

    # -- run and look inside ------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        input: bytes = b"",
        *,
        user: str = "root",
        check: bool = True,
        timeout: float = RUN_SECONDS,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside the host, with no environment but a PATH, and return what came of it.

        Raises CalledProcessError where `check` is set and the exit status is not 0, and
        `Gone` when the host has stopped. Every account of the host can read `argv`: a secret
        goes to `input`.
        """
        return subprocess.run(
            self._inside(argv, user),
            input=input,
            capture_output=True,
            env=machine.ENVIRONMENT,
            cwd="/",
            umask=UMASK,
            check=check,
            timeout=timeout,
        )

    def spawn(self, argv: Sequence[str], *, user: str = "root") -> subprocess.Popen[bytes]:
        """Start a command inside the host, with pipes at its three ends, and return at once."""
        return subprocess.Popen(
            self._inside(argv, user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=machine.ENVIRONMENT,
            cwd="/",
            umask=UMASK,
        )

    def read(self, path: str) -> str:
        """Return a file's text. Raises FileNotFoundError when there is none."""
        done = self.run(["cat", "--", path], check=False)
        if done.returncode:
            raise FileNotFoundError(done.stderr.decode().strip())
        return done.stdout.decode()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Make or replace a file of root's with this text and mode; missing folders are made."""
        script = 'umask 077; mkdir -p "${1%/*}"; cat > "$1"; chmod "$2" "$1"'
        self.run(["sh", "-ec", script, "sh", path, f"{mode:o}"], text.encode())

    # -- accounts -----------------------------------------------------------------------------

    def add_account(
        self,
        username: str,
        *,
        password: str | None = None,
        groups: Sequence[str] = (),
        shell: str = "/bin/bash",
        home: bool = True,
        authorized_keys: Sequence[str] = (),
        ageing: Sequence[str] = (),
    ) -> None:
        """Add an account; with no password it has a locked one, and `ageing` is options of chage(1)."""
        options = ["--shell", shell, "--create-home" if home else "--no-create-home"]
        self.run(["useradd", *options, "--groups", ",".join(groups), "--", username])
        if password is not None:
            self.set_password(username, password)
        if authorized_keys:
            self.set_authorized_keys(username, "".join(f"{line}\n" for line in authorized_keys))
        if ageing:
            self.run(["chage", *ageing, "--", username])

    def set_password(self, username: str, password: str) -> None:
        """Give an account a password, as root of the host would."""
        self.run(["chpasswd"], f"{username}:{password}\n".encode())

    def set_authorized_keys(self, username: str, text: str) -> None:
        """Replace an account's authorized_keys at one stroke, with folder and mode as sshd wants them."""
        script = "umask 077; cd && mkdir -p .ssh && cat > .ssh/new && mv .ssh/new .ssh/authorized_keys"
        self.run(["su", "-s", "/bin/sh", "-l", username, "-c", script], text.encode())

    def authorized_keys(self, username: str) -> str:
        """Return an account's authorized_keys; empty when it has none."""
        home = self.run(["getent", "passwd", username]).stdout.decode().split(":")[5]
        try:
            return self.read(f"{home}/.ssh/authorized_keys")
        except FileNotFoundError:
            return ""

    def shadow(self, username: str) -> str:
        """Return the second field of an account's shadow entry: a hash, or what stands in its place.

        Quick enough to sample while something else happens. Raises KeyError for an unknown account.
        """
        # Read from outside, without a process: /etc of a host is never a link.
        for line in self._file("/etc/shadow").splitlines():
            name, _, rest = line.partition(":")
            if name == username:
                return rest.partition(":")[0]
        raise KeyError(username)

    def shadow_accepts(self, username: str, password: str) -> bool:
        """Say whether crypt(3) of this password gives the account's hash: no login, nothing counted."""
        stored = self.shadow(username)
        return stored.startswith("$") and _crypt(password, stored) == stored

    # -- sshd ---------------------------------------------------------------------------------

    def sshd_log(self) -> str:
        """Return what this host's sshd has logged, at LogLevel VERBOSE."""
        return self._file(SSHD_LOG)

    def host_keys(self) -> list[str]:
        """Return the public host keys, each as its type and its base64, like a line of known_hosts."""
        names = self.run(["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]).stdout.decode()
        return [" ".join(line.split()[:2]) for line in names.splitlines()]

    def change_host_key(self) -> None:
        """Give the host new keys of the same types, and restart its sshd so that it shows them."""
        script = """
            for key in /etc/ssh/ssh_host_*_key; do
                type=${key#*host_}; rm "$key" "$key.pub"
                ssh-keygen -q -t "${type%_key}" -N '' -C "$(cat /etc/hostname)" -f "$key"
            done
        """
        self.run(["sh", "-ec", script])
        self.restart_sshd()

    def cut(self) -> None:
        """End sshd's listener: connections are refused from now on, open sessions stay."""
        if listener := self._listener():
            machine.kill(listener)
        self.run(["rm", "-f", PID_FILE])

    def drop_sessions(self) -> None:
        """Kill sshd's part of every session, open or half-open; what ran in one loses its pipes."""
        deadline = time.monotonic() + RUN_SECONDS
        # Until no process is left: a session forks again when its login is done, perhaps just now.
        while (sessions := self._sessions()) and time.monotonic() < deadline:
            machine.kill(*sessions)

    def restore(self, *, without: Sequence[str] = ()) -> None:
        """Start sshd after `cut` and return once it listens.

        Root of every session then lacks the capabilities `without`, named as setpriv(1) names them, beside
        those that it lacks on every host. Raises RuntimeError with sshd's own words when it does not listen.
        """
        bounds = ",".join([machine.BOUNDS, *(f"-{name}" for name in without)])
        sshd = ["setpriv", f"--bounding-set={bounds}", "/usr/sbin/sshd", "-E", SSHD_LOG]
        started = self.run(sshd, check=False)
        deadline = time.monotonic() + RUN_SECONDS
        while started.returncode == 0 and time.monotonic() < deadline:
            if self._listener():
                return
            time.sleep(0.02)
        raise RuntimeError(f"sshd of {self.name}: {started.stderr.decode()} {self.sshd_log()[-500:]}")

    def restart_sshd(self) -> None:
        """Start a new listener, which reads sshd_config again; open sessions stay."""
        self.cut()
        self.restore()

    def freeze(self) -> None:
        """Stop every process of the host: the kernel still accepts connections, and no process answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen host go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """End the host, with every process and every file in it."""
        if self.is_running:
            machine.kill(self.pid, machine.parent(self.pid))

    # -- how ----------------------------------------------------------------------------------

    def _inside(self, argv: Sequence[str], user: str) -> list[str]:
        self._must_run()
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", "--root", "--wd"]
        if user != "root":
            enter += ["setpriv", f"--reuid={user}", f"--regid={self._group(user)}", "--init-groups"]
        return [*enter, *argv]

    def _group(self, user: str) -> str:
        for line in self._file("/etc/passwd").splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return fields[3]
        raise KeyError(user)

    def _file(self, path: str) -> str:
        self._must_run()
        try:
            return Path(f"/proc/{self.pid}/root{path}").read_text(errors="replace")
        except OSError:
            self._must_run()
            raise

    def _must_run(self) -> None:
        # Its process id may be a stranger's by now, and what follows acts as root.
        if not self.is_running:
            raise Gone(f"{self.name} has stopped")

    def _listener(self) -> int:
        """Return the listener's process id as the outside knows it; 0 when there is none."""
        try:
            number = int(self._file(PID_FILE))
        except (FileNotFoundError, ValueError):
            return 0
        return next((pid for pid in machine.inside(self.pid) if machine.id_inside(pid) == number), 0)

    def _sessions(self) -> list[int]:
        listener = self._listener()
        processes = machine.inside(self.pid).items()
        return [pid for pid, (_, name) in processes if name.startswith("sshd") and pid != listener]

    def _signal_all(self, number: signal.Signals) -> None:
        self._must_run()
        for pid in machine.inside(self.pid):
            if pid != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _crypt(password: str, setting: str) -> str:
    # crypt_r, since threads ask at once; its scratch space is 32 KiB here and 128 KiB in older libraries.
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt_r.restype = ctypes.c_char_p
    scratch = ctypes.create_string_buffer(256 * 1024)
    answer: bytes | None = library.crypt_r(password.encode(), setting.encode(), scratch)
    return (answer or b"").decode(errors="replace")
