"""What the lab asks of this machine: whether it can hold hosts, and which processes are whose.

A host's outermost process carries the fleet's folder and the host's name in its command line.
That line, not a file, says what runs: it cannot be left behind by a crash, and it never names
a stranger that was given the same process id later.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import layer

TOOLS = ("unshare", "nsenter", "setpriv", "mount", "umount", "pivot_root", "tar")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
NAMESPACES = ("--mount", "--propagation=private", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL")
MARK = "keyturn-lab"
# What root of a host may not do: reach this machine's disks, kernel, clock and network cards.
BOUNDS = (
    "-sys_admin,-sys_module,-sys_rawio,-sys_boot,-sys_time,-mknod,-net_admin,-net_raw,"
    "-dac_read_search,-bpf,-perfmon,-syslog,-mac_admin,-mac_override"
)
STOP_SECONDS = 10
_TRIAL = """
mount -t tmpfs lab "$1" && cd "$1" && mkdir upper work usr &&
mount -t overlay -o lowerdir=/usr,upperdir=upper,workdir=work lab usr && mount -t proc proc /proc
"""


def unsupported(packages: Sequence[str]) -> str | None:
    """Return, as a sentence to act on, why this machine cannot hold hosts; None when it can."""
    if sys.platform != "linux":
        return "The lab needs Linux: its hosts are made of namespaces."
    if os.geteuid() != 0:
        return "The lab needs root to make namespaces: run it with sudo."
    if absent := [tool for tool in TOOLS if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]:
        return f"The lab needs {', '.join(absent)}: install util-linux and tar."
    if not Path("/usr/share/base-passwd/passwd.master").exists() or not shutil.which("dpkg-query"):
        return "The lab needs Debian or Ubuntu: its hosts share this machine's /usr and PAM."
    if not Path("/bin").is_symlink():
        return "The lab needs /bin to be a link to /usr/bin: install usrmerge."
    if layer.missing(packages) and not shutil.which("apt-get"):
        return f"The lab needs apt-get to fetch {', '.join(layer.missing(packages))}, or have them installed."
    return _refused_trial()


def _refused_trial() -> str | None:
    with tempfile.TemporaryDirectory(prefix="keyturn-lab-") as folder:
        command = ["unshare", *NAMESPACES, "sh", "-c", _TRIAL, "sh", folder]
        trial = subprocess.run(
            command, capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False
        )
    if trial.returncode == 0:
        return None
    said = (trial.stderr.strip().splitlines() or ["no reason given"])[-1]
    return (
        f"This machine does not let root make namespaces with an overlay ({said}): "
        "in a container, run it with --privileged."
    )


def running(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every living host of this fleet: its name, and its outermost and its first process.

    The second id is 0 while a host is not further than the first.
    """
    outermost: dict[int, str] = {}
    children: dict[int, int] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[0] == "unshare" and words[-4:-2] == [MARK, str(folder)]:
                outermost[pid] = words[-2]
            children[parent(pid)] = pid
    return {name: (pid, children.get(pid, 0)) for pid, name in outermost.items()}


def inside(first: int) -> dict[int, tuple[int, str]]:
    """Return the processes of the host whose first process this is: their parents and names."""
    host = os.stat(f"/proc/{first}/ns/pid")
    facts = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/pid"), host):
                facts[pid] = (parent(pid), Path(f"/proc/{pid}/comm").read_text().strip())
    return facts


def id_inside(pid: int) -> int:
    """Return the id that a process has inside its host; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def parent(pid: int) -> int:
    """Return the id of a process's parent. Raises OSError when it is gone."""
    return int(_stat(pid)[1])


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _stat(pid: int) -> list[str]:
    # The second field is the program's name in brackets and may hold anything: start behind it.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def started(pid: int) -> int:
    """Return when a process started, in ticks since the machine did; 0 when it is not there or has ended."""
    try:
        fields = _stat(pid)
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def kill(*pids: int) -> None:
    """Kill these processes and return once they have ended; those that already have are left out, and 0."""
    handles = []
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    for handle in handles:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        ended.poll(STOP_SECONDS * 1000)
        os.close(handle)


def is_free(address: str, port: int) -> bool:
    """Say whether a server could listen there now."""
    with socket.socket() as probe:
        # As sshd asks for it; without, a port rests a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def addresses(seed: int) -> Iterator[str]:
    """Yield loopback addresses, from a place that depends on `seed`, so that two fleets rarely meet."""
    second, third = 64 + seed % 128, seed // 128 % 256
    for number in range(250 * 256):
        yield f"127.{second}.{(third + number // 250) % 256}.{1 + number % 250}"
