"""Write what makes a host a host, as one tar: accounts, PAM, sshd, sudo, and nothing secret.

From this machine come only the parts of /etc that are listed here, so a host cannot see what else
lies there; every account, key, password and sudo rule of a host is its own. Host keys are
made by the host itself when it boots.
"""

import io
import os
import re
import secrets
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

# /etc/security/opasswd holds old password hashes and is not copied.
FROM_THIS_MACHINE = (
    *("pam.conf", "pam.d", "security", "login.defs", "shells", "skel", "alternatives", "default/useradd"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "os-release", "debian_version"),
    *("services", "protocols", "terminfo", "host.conf", "gai.conf", "deluser.conf", "adduser.conf"),
)
NOT_COPIED = ("security/opasswd",)
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
SCRIPTS = Path(__file__).parent


class Management(Enum):
    """How the console's management account gets root on a host."""

    SUDO = "sudo"  # any command as root, and sudo does not ask
    SUDO_PASSWORD = "sudo-password"  # any command as root, once it has the account's own password
    ROOT = "root"  # there is no such account: root itself logs in, by key
    NONE = "none"  # no account was prepared


@dataclass(frozen=True)
class Spec:
    """What a new host is like."""

    public_key: str = ""  # one line of authorized_keys for the management account
    management: Management = Management.SUDO
    username: str = "keyturn"  # the management account, unless it is root
    sshd_config: tuple[str, ...] = ()  # lines before the usual ones: for sshd the first one counts
    host_key_types: tuple[str, ...] = ("ed25519",)
    disk: str = "256m"  # of memory at most, taken as it fills
    rounds: int = 0  # what a new hash of a password costs, where not what Debian has it cost


def base(layer: Path | None) -> bytes:
    """Return the part of the image that all hosts share, with no end mark, so that more can follow."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add_base(tar, layer)
        # Taken before the archive is closed, which writes the mark.
        return buffer.getvalue()


def host(name: str, address: str, port: int, spec: Spec, hidden: tuple[Path, ...]) -> bytes:
    """Return the part of the image that is this host's own; it ends the archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, mode in _whiteouts(hidden):
            if mode is None:
                _device(tar, f"usr/upper/{path}", 0, 0, 0o000)
            else:
                _folder(tar, f"usr/upper/{path}", mode)
        for path, text in _identity(name, address).items():
            _file(tar, f"root/etc/{path}", text, 0o644)
        _file(tar, "root/etc/ssh/sshd_config", _sshd_config(address, port, spec), 0o644)
        if spec.rounds:
            rules = Path("/etc/pam.d/common-password").read_text()
            _file(tar, "root/etc/pam.d/common-password", _with_rounds(rules, spec.rounds), 0o644)
        for path, text, mode, group in _accounts(spec):
            _file(tar, f"root/etc/{path}", text, mode, group=group)
        _management_home(tar, spec)
    return buffer.getvalue()


def _with_rounds(rules: str, rounds: int) -> str:
    return re.sub(r"\byescrypt\b", f"yescrypt rounds={rounds}", rules)


def _add_base(tar: tarfile.TarFile, layer: Path | None) -> None:
    for name in MERGED:
        if Path("/", name).is_symlink():
            _link(tar, f"root/{name}", str(Path("/", name).readlink()))
    for path, mode in _FOLDERS.items():
        _folder(tar, f"root/{path}", mode)
    for name, minor in DEVICES.items():
        _device(tar, f"root/dev/{name}", 1, minor, 0o666)
    _device(tar, "root/dev/tty", 5, 0, 0o666)
    for name, target in _DEV_LINKS.items():
        _link(tar, f"root/dev/{name}", target)
    _link(tar, "root/var/run", "/run")
    _link(tar, "root/var/lock", "/run/lock")
    for etc in filter(None, (layer and layer / "etc", Path("/etc"))):
        _copy_etc(tar, etc)
    for path, (text, mode, group) in _FILES.items():
        _file(tar, f"root/{path}", text, mode, group=group)
    _file(tar, "root/init", (SCRIPTS / "init.sh").read_text(), 0o755)


def _whiteouts(hidden: tuple[Path, ...]) -> Iterator[tuple[str, int | None]]:
    """Yield what an overlay needs over /usr to hide these paths: folders with a mode, whiteouts without."""
    usr = Path("/usr")
    paths = {path.resolve() for path in (usr / "local", usr / "src", *hidden)}
    gone: set[Path] = set()
    folders: set[Path] = set()
    for path in sorted(paths):
        if usr not in path.parents or not path.exists() or not gone.isdisjoint(path.parents):
            continue
        for folder in reversed(path.parents[:-2]):
            if folder not in folders:
                folders.add(folder)
                yield str(folder.relative_to(usr)), folder.stat().st_mode & 0o7777
        gone.add(path)
        yield str(path.relative_to(usr)), None


def _identity(name: str, address: str) -> dict[str, str]:
    return {
        "hostname": f"{name}\n",
        "hosts": f"127.0.0.1 localhost\n{address} {name}\n",
        "machine-id": f"{secrets.token_hex(16)}\n",
    }


def _sshd_config(address: str, port: int, spec: Spec) -> str:
    lines = [
        *spec.sshd_config,
        f"ListenAddress {address}:{port}",
        *(f"HostKey /etc/ssh/ssh_host_{kind}_key" for kind in spec.host_key_types),
        "PidFile /run/sshd.pid",
        "LogLevel VERBOSE",
        "UsePAM yes",
        "UseDNS no",
        "PubkeyAuthentication yes",
        "PasswordAuthentication yes",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PrintMotd no",
        "Subsystem sftp /usr/lib/openssh/sftp-server",
    ]
    return "\n".join(lines) + "\n"


def _accounts(spec: Spec) -> Iterator[tuple[str, str, int, int]]:
    """Yield path, text, mode and group of the files that say who exists."""
    passwd = Path("/usr/share/base-passwd/passwd.master").read_text().replace(":*:", ":x:").splitlines()
    group = Path("/usr/share/base-passwd/group.master").read_text().splitlines()
    passwd.append("sshd:x:110:65534::/run/sshd:/usr/sbin/nologin")
    if _has_own_account(spec):
        passwd.append(f"{spec.username}:x:999:999:Management:/home/{spec.username}:/bin/bash")
        group.append(f"{spec.username}:x:999:")
    names = [line.partition(":")[0] for line in passwd]
    groups = [line.partition(":")[0] for line in group]
    yield "passwd", _lines(passwd), 0o644, 0
    yield "group", _lines(group), 0o644, 0
    yield "shadow", _lines(f"{name}:*:19900:0:99999:7:::" for name in names), 0o640, SHADOW
    yield "gshadow", _lines(f"{name}:*::" for name in groups), 0o640, SHADOW
    if _has_own_account(spec):
        tag = "NOPASSWD: " if spec.management is Management.SUDO else ""
        yield "sudoers.d/management", f"{spec.username} ALL=(root) {tag}ALL\n", 0o440, 0


def _management_home(tar: tarfile.TarFile, spec: Spec) -> None:
    if spec.management is Management.NONE:
        return
    owner, home = (999, f"root/home/{spec.username}") if _has_own_account(spec) else (0, "root/root")
    _folder(tar, home, 0o700, owner)
    _folder(tar, f"{home}/.ssh", 0o700, owner)
    _file(tar, f"{home}/.ssh/authorized_keys", f"{spec.public_key.strip()}\n", 0o600, owner, owner)


def _has_own_account(spec: Spec) -> bool:
    return spec.management in (Management.SUDO, Management.SUDO_PASSWORD)


def _copy_etc(tar: tarfile.TarFile, etc: Path) -> None:
    for name in FROM_THIS_MACHINE:
        for path in _walk(etc / name):
            relative = str(path.relative_to(etc))
            if relative not in NOT_COPIED:
                tar.add(path, f"root/etc/{relative}", recursive=False)


def _walk(path: Path) -> Iterator[Path]:
    if not os.path.lexists(path):
        return
    yield path
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _walk(child)


def _lines(lines: Iterator[str] | list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _entry(name: str, kind: bytes, mode: int, owner: int = 0, group: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, owner, group, int(time.time())
    return entry


def _folder(tar: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
    tar.addfile(_entry(name, tarfile.DIRTYPE, mode, owner, owner))


def _file(tar: tarfile.TarFile, name: str, text: str, mode: int, owner: int = 0, group: int = 0) -> None:
    content = text.encode()
    entry = _entry(name, tarfile.REGTYPE, mode, owner, group)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = _entry(name, tarfile.SYMTYPE, 0o777)
    entry.linkname = target
    tar.addfile(entry)


def _device(tar: tarfile.TarFile, name: str, major: int, minor: int, mode: int) -> None:
    entry = _entry(name, tarfile.CHRTYPE, mode)
    entry.devmajor, entry.devminor = major, minor
    tar.addfile(entry)


SHADOW = 42  # the group's number in every Debian, fixed by base-passwd

_FOLDERS = {
    "boot": 0o755,
    "dev": 0o755,
    "dev/pts": 0o755,
    "dev/shm": 0o1777,
    "etc": 0o755,
    "etc/default": 0o755,
    "etc/ssh": 0o755,
    "etc/sudoers.d": 0o750,
    "home": 0o755,
    "media": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "run/lock": 0o1777,
    "run/sshd": 0o755,
    "srv": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/mail": 0o2775,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}

_DEV_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_FILES = {
    "etc/environment": ("", 0o644, 0),
    "etc/default/locale": ("LANG=C.UTF-8\n", 0o644, 0),
    "etc/nsswitch.conf": ("passwd: files\ngroup: files\nshadow: files\nhosts: files\n", 0o644, 0),
    "etc/profile": (f"PATH={_PATH}\nexport PATH\n", 0o644, 0),
    "etc/security/opasswd": ("", 0o600, 0),
    "etc/sudoers": (
        f'Defaults env_reset, use_pty\nDefaults secure_path="{_PATH}"\n'
        "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
        0o440,
        0,
    ),
}
