"""A Docker of our own: daemon, containers, networks and packet rules are in a namespace that ends with us.

Nothing of it reaches this machine's network, and nothing of this machine's Docker is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-containers"
INSIDE = "KEYTURN_CONTAINERS_INSIDE"
PACKAGES = {
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
}
TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's own, whatever else this machine calls docker
START_SECONDS = 60


class Failed(Exception):
    """A command of the trial ended with an error; the message holds its last words."""


def missing() -> list[str]:
    """The Debian packages that have to be installed first."""
    return sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool, path=TOOLS)})


def enter_namespace(module: str) -> None:
    """Run the module again in a network and mount namespace of its own, and end with its status."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, env={"PATH": TOOLS})
        # Docker keeps its network namespaces there; those of this machine stay as they are.
        subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
        return
    # All of it ends with this process too, however that ends: unshare itself ignores SIGTERM.
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation", "private",
             "--pid", "--fork", "--mount-proc", "--kill-child=KILL",
             sys.executable, "-m", module, *sys.argv[1:]]  # fmt: skip
    sys.exit(subprocess.run(words, env=os.environ | {INSIDE: "1"}, cwd=CHECKOUT, check=False).returncode)


def said(*words: str, given: bytes = b"", seconds: float = 600, folder: Path | None = None) -> str:
    """What a command printed. Raises `Failed`, with the end of what it said."""
    done = subprocess.run(
        words, input=given, capture_output=True, cwd=folder, timeout=seconds, check=False,
        env=_environment(),
    )  # fmt: skip
    if done.returncode:
        end = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise Failed(f"{' '.join(words[:6])}: status {done.returncode}\n{end}")
    return done.stdout.decode(errors="replace")


def _environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("KEYTURN_", "PIP_"))}
    return kept | {"PATH": TOOLS, "DOCKER_HOST": f"unix://{_Place.socket}", "COMPOSE_PROJECT_NAME": "keyturn",
                   "DOCKER_BUILDKIT": "0", "COMPOSE_HTTP_TIMEOUT": "300"}  # fmt: skip


class _Place:
    socket = ""


@contextlib.contextmanager
def daemon() -> Iterator[Path]:
    """A running daemon, and its folder, for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-docker-"))
    # In memory, and in our mount namespace alone: it is gone with us, without a file to delete.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g", "docker", str(folder)], check=True)
    _Place.socket = str(folder / "socket")
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        ["dockerd", "--host", f"unix://{_Place.socket}", "--data-root", str(folder / "data"),
         "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")],
        stdout=log, stderr=log, env={"PATH": TOOLS},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(
            ["docker", "version"], capture_output=True, env=_environment(), check=False
        ).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"dockerd did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield folder
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()
        subprocess.run(["umount", "--recursive", "--lazy", str(folder)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            folder.rmdir()


def base_tar() -> Path:
    """The root of a plain Debian, made once and kept."""
    made = subprocess.run(
        [str(HERE / "base.sh"), str(CACHE)], capture_output=True, text=True, check=False,
        env={"PATH": TOOLS, "LC_ALL": "C"},
    )  # fmt: skip
    if made.returncode:
        raise Failed(f"debootstrap: {made.stderr[-2000:]}")
    return Path(made.stdout.strip())


def wheels() -> Path:
    """What requirements.lock names, downloaded once for each lock with this machine's own pip settings."""
    lock = CHECKOUT / "requirements.lock"
    folder = CACHE / f"wheels-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        draft = folder.with_suffix(f".{os.getpid()}")
        made = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
             "-r", str(lock), "-d", str(draft)], capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            # Its words may name this machine's index.
            raise Failed("pip could not download what requirements.lock names.")
        draft.rename(folder)
    return folder


def make_images(base: Path, wheels: Path, folder: Path) -> None:
    """Build what stands for the public images."""
    context = folder / "images"
    shutil.copytree(HERE / "images", context)
    shutil.copytree(wheels, context / "wheels")
    said("docker", "import", "--change", 'CMD ["bash"]', str(base), "keyturn-test/debian")
    for name in ("python", "postgres", "host"):
        said("docker", "build", "--quiet", "--target", name, "--tag", f"keyturn-test/{name}", str(context))
