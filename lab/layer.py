"""Get the files of packages this machine does not have, without installing them.

A host of the lab sees this machine's /usr with a layer over it. The layer is unpacked from the
distribution's own packages, chosen by apt's resolver, into a cache folder: nothing is
configured, no service starts and no file of this machine changes (apt's package lists are
refreshed when apt cannot do without).
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
APT_SECONDS = 300


class LayerUnavailable(Exception):
    """The packages that a host needs are not on this machine and could not be fetched."""


def default_cache() -> Path:
    """Return the folder where layers are kept unless the caller says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-lab"


def missing(packages: Sequence[str]) -> list[str]:
    """Return those of `packages` that are not installed on this machine."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}${binary:Package}\n", *packages]
    shown = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False).stdout
    installed = {line[3:].partition(":")[0] for line in shown.splitlines() if line.startswith("ii")}
    return [package for package in packages if package not in installed]


def prepare(packages: Sequence[str], cache: Path) -> Path | None:
    """Return a folder that holds what `packages` would add to this machine; None when it has them all.

    Unpacks once for each state of this machine's packages; safe to call from several
    processes at once. Raises `LayerUnavailable` with apt's own words.
    """
    wanted = missing(packages)
    if not wanted:
        return None
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    layer = cache / f"layer-{_fingerprint(wanted)}"
    with _locked(cache / "lock"):
        if not layer.is_dir():
            _build(wanted, layer, archives=cache / "archives")
    return layer


def _fingerprint(packages: Sequence[str]) -> str:
    # A layer fits the libraries that it was resolved against, so an upgrade of this machine makes a new one.
    command = ["dpkg-query", "--show", "--showformat", "${binary:Package} ${Version} ${db:Status-Abbrev}\n"]
    installed = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=True).stdout
    return hashlib.sha256(installed + " ".join(sorted(packages)).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(packages: Sequence[str], layer: Path, archives: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="unpack-", dir=layer.parent) as scratch:
        root = Path(scratch, "root")
        root.mkdir(mode=0o755)
        root.chmod(0o755)
        for archive in _download(packages, archives):
            _must(["dpkg-deb", "--extract", str(archive), str(root)])
        # Some packages still name /bin instead of /usr/bin; only usr/ is laid over the hosts' own.
        for name in ("bin", "sbin", "lib", "lib64"):
            if (root / name).is_dir():
                shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
        # The rename is what makes a layer exist: a build that was killed leaves only scratch.
        root.rename(layer)
    shutil.rmtree(archives, ignore_errors=True)


def _download(packages: Sequence[str], archives: Path) -> list[Path]:
    shutil.rmtree(archives, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    command = ["apt-get", "--quiet=2", "--yes", "--no-install-recommends", "--download-only"]
    # A private folder and no lock: nothing is installed, so a running apt need not be waited for.
    for option in (f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root", "Debug::NoLocking=1"):
        command += ["--option", option]
    command += ["install", *packages]
    try:
        _must(command)
    except LayerUnavailable:
        # No lists yet (a fresh machine or image), or lists so old that their files are gone.
        _must(["apt-get", "--quiet=2", "update"])
        _must(command)
    return sorted(archives.glob("*.deb"))


def _must(command: Sequence[str]) -> None:
    environment = ENVIRONMENT | {key: value for key, value in os.environ.items() if key.endswith("_proxy")}
    try:
        subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=APT_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip() or f"exit status {error.returncode}"
        raise LayerUnavailable(f"{command[0]}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LayerUnavailable(f"{command[0]}: {error}") from error
