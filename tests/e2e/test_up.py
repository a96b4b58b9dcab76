"""`./keyturn up` runs everything, keeps it running, and leaves nothing running."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from lab import Fleet, machine
from lab.windows.records import Record
from rotation.connectors.base import Login, Verdict
from rotation.connectors.winrm.connector import WinRmConnector, WinRmScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.e2e import ready
from tests.e2e.site import CHECKOUT, PROGRAMS, Site, free_port
from tests.networks import endpoint
from tests.waiting import PATIENCE, wait_for

DEAD = {"status": "unavailable", "missing": ["worker", "beat"], "sealed": False}
SEALED = {"status": "unavailable", "missing": [], "sealed": True}


pytestmark = pytest.mark.xdist_group("up")


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.end()


@pytest.fixture
def started(site):
    """A site of this test's own, to do away with; it was set up before."""
    ready.set_up(site)
    site.up()
    site.wait_until_healthy()
    return site


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """One site for all tests that leave it as they found it: healthy."""
    site = Site(tmp_path_factory.mktemp("up"))
    try:
        site.up()
        site.wait_until_healthy()
        yield site
    finally:
        site.end()


def test_the_first_start_says_where_to_go_who_to_be_and_what_to_back_up(healthy):
    assert f"http://localhost:{healthy.port}" in healthy.printed()
    assert re.search(r"^Sign in as +admin$", healthy.printed(), re.MULTILINE)
    assert len(healthy.password()) >= 20
    assert healthy.password() not in healthy.printed()
    assert str(healthy.root_key) in healthy.printed()
    assert "Back it up" in healthy.printed()


def test_keys_and_folders_are_for_their_owner_only_and_the_root_key_lies_apart(healthy):
    kept = healthy.folder / "kept"
    assert stat.S_IMODE(healthy.root_key.stat().st_mode) == 0o400
    assert stat.S_IMODE(healthy.root_key.with_name("session.key").stat().st_mode) == 0o400
    assert not list(kept.rglob("*.key"))
    assert stat.S_IMODE((kept / "first-password").stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert kept not in healthy.root_key.parents


def test_no_process_carries_a_secret_in_its_command_line_or_environment(healthy):
    secrets = [
        healthy.password(),
        healthy.root_key.read_text().strip().rpartition(":")[2],
        healthy.root_key.with_name("session.key").read_text().strip(),
    ]
    processes = [Path(f"/proc/{pid}") for pid in healthy.running()]
    seen = b"".join((process / name).read_bytes() for process in processes for name in ("cmdline", "environ"))
    assert str(healthy.folder).encode() in seen
    assert [secret for secret in secrets if secret.encode() in seen] == []


def test_health_is_not_kept_by_caches_and_names_no_secret(healthy):
    with urllib.request.urlopen(f"http://127.0.0.1:{healthy.port}/healthz", timeout=PATIENCE) as answer:
        assert "no-store" in answer.headers["Cache-Control"]
    assert healthy.health() == (200, {"status": "ok", "missing": [], "sealed": False})


def test_each_process_that_is_killed_is_started_again(healthy):
    before = {name: healthy.main_pid(name) for name in PROGRAMS}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in before.items():
        wait_for(lambda name=name, pid=pid: healthy.main_pid(name) not in {pid, None}, f"another {name}")
        assert f"{name} ended (SIGKILL); starting it again" in healthy.printed()
    healthy.wait_until_healthy()


def test_health_names_the_processes_that_hang(healthy):
    # Stopped, not killed: they are there, and do nothing.
    stopped = [healthy.main_pid(name) for name in ("worker", "beat")]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: healthy.health() == (503, DEAD), "health to notice")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    healthy.wait_until_healthy()


def test_as_many_workers_run_as_are_wanted_and_the_others_work_while_one_is_started_again(tmp_path):
    site = Site(tmp_path, workers=3)
    ready.set_up(site)
    try:
        site.up()
        site.wait_until_healthy()
        wait_for(lambda: len(site.main_pids("worker")) == 3, "three workers")
        first, second, third = site.main_pids("worker")
        os.kill(first, signal.SIGTERM)
        # With whatever status: of three that start at once, this one may not listen to signals yet.
        wait_for(lambda: "; starting it again" in site.printed(), "the end of one")
        assert {second, third} < set(site.running())
        wait_for(lambda: site.health()[0] == 200, "/healthz")
        wait_for(lambda: len(site.main_pids("worker")) == 3, "a worker in its place")
        assert {f"worker-{number}" for number in (1, 2, 3)} >= set(re.findall(r"worker-\d", site.printed()))
        assert site.stop() == 0
        assert "was killed" not in site.printed()
    finally:
        site.end()
    assert site.running() == {}


def test_nothing_is_left_when_the_supervisor_is_killed(started):
    assert len(started.running()) >= 5
    started.starts[-1][0].kill()
    started.starts[-1][0].wait()
    wait_for(lambda: not started.running(), "the end of every process")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_when_it_is_asked_to(started, number):
    started.starts[-1][0].send_signal(number)
    assert started.starts[-1][0].wait(PATIENCE) == 0
    assert started.running() == {}
    assert "was killed" not in started.printed()
    assert "Traceback" not in started.printed()


def test_a_process_that_does_not_end_when_asked_is_killed(started):
    os.kill(started.main_pid("beat"), signal.SIGSTOP)
    assert started.stop() == 0
    assert started.running() == {}
    assert "beat did not end within 15 s and was killed" in started.printed()


def test_a_second_start_on_the_same_folder_says_who_is_there(healthy):
    first = healthy.starts[0][0].pid
    second = subprocess.run(
        [sys.executable, "manage.py", "up", f"--port={free_port()}", "--no-demo"],
        cwd=CHECKOUT,
        env=healthy.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode != 0
    assert f"(process {first})" in second.stderr
    assert "KEYTURN_DATA" in second.stderr
    assert "Traceback" not in second.stderr
    assert healthy.health()[0] == 200


def test_a_port_that_is_taken_is_named_with_the_way_out(site):
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port))
        other.listen()
        assert site.up().wait(PATIENCE) != 0
    assert f"Port {site.port} is taken" in site.printed()
    assert "./keyturn up --port 9000" in site.printed()
    assert "Traceback" not in site.printed()
    assert not site.root_key.exists()


def test_a_second_start_keeps_everything_and_shows_no_password(site):
    site.up()
    site.wait_until_healthy()
    keys = site.root_key.parent
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    assert {"root.key", "session.key"} <= before.keys()
    site.stop()
    site.up()
    site.wait_until_healthy()
    assert site.password() is None
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_without_its_root_key_it_starts_sealed_and_makes_no_other_one(started):
    started.stop()
    started.root_key.unlink()
    started.up()
    wait_for(lambda: started.health() == (503, SEALED), "health to say that it is sealed")
    assert "SEALED" in started.printed()
    assert not started.root_key.exists()


def test_a_start_that_was_killed_at_any_time_is_followed_by_one_that_works(site):
    for seconds in (0.3, 0.8, 1.3, 1.8, 2.3):
        process = site.up()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        wait_for(lambda: not site.running(), "the end of every process")
    site.up()
    site.wait_until_healthy()


WINDOWS = re.compile(
    r"simulated-windows at ([\d.]+):(\d+) has the accounts Administrator, backup$", re.MULTILINE
)
#: Give the account a secret, rotate it, and tell the new value.
ROTATE_ON_WINDOWS = """
import json
from rotation import tasks
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.models import Principal, Secret
from secrets_app.secrets import versions

actor = Principal.objects.get(name="admin")
if START:
    instance = Instance.objects.get(name="simulated-windows")
    place = {"region": instance.region, "instance": instance, "username": "backup", "kind": "password"}
    tasks.wake(creation.create("backup", actor=actor, rotate_now=True, **place)[1])
run = Secret.objects.get(name__endswith="backup").runs.get(kind="rotate")
told = {"outcome": run.outcome, "sentence": run.sentence}
if run.outcome == "succeeded":
    told["value"] = versions.value(run.secret.labelled("current")).password.reveal()
print(json.dumps(told))
"""


def demo_is_up(site):
    return WINDOWS.search(site.printed())


def ended(told):
    return told if told["outcome"] else None


def windows_accepts(site, password):
    """Whether the simulated Windows lets the account in, at the certificate that it shows."""
    address, port = WINDOWS.search(site.printed()).groups()
    place = endpoint(address, int(port))
    place = replace(place, host_keys=tuple(k.line for k in WinRmScanner().scan(place, timeout=PATIENCE)))
    proof = WinRmConnector(place).prove_login(Login("backup", Plaintext(password)), timeout=PATIENCE)
    return proof.verdict == Verdict.ACCEPTED, place.host_keys


@pytest.mark.skipif(Fleet.supported() is not None, reason=str(Fleet.supported()))
def test_the_demo_servers_keep_passwords_and_host_keys_and_die_with_the_supervisor(site):
    folder = site.folder / "kept" / "demo" / "running"
    site.up("--demo-hosts=4")
    site.wait_until_healthy()
    wait_for(lambda: demo_is_up(site), "the demo servers", 180)
    said = re.compile(r"account on (.*) has the password (\S+)$", re.MULTILINE)
    wait_for(lambda: len(said.findall(site.printed())) == 2, "the first passwords")
    (_, password), (on, on_windows) = said.findall(site.printed())
    first = {host.name: (host.address, host.port, host.host_keys()) for host in Fleet(folder).hosts()}
    assert set(first) == {"web-01", "db-01", "edge-01"}
    next(h for h in Fleet(folder).hosts() if h.name == "db-01").set_password("dba", "changed-meanwhile")
    assert on == "simulated-windows"
    is_in, certificate = windows_accepts(site, on_windows)
    assert is_in
    site.inside(f"START = True\n{ROTATE_ON_WINDOWS}")
    told = wait_for(lambda: ended(site.inside(f"START = False\n{ROTATE_ON_WINDOWS}")), "the rotation")
    assert told["outcome"] == "succeeded", told["sentence"]

    site.starts[-1][0].kill()
    wait_for(lambda: not machine.running(folder.resolve()), "the end of the demo servers")
    wait_for(lambda: not site.running(), "the end of every process")
    site.up("--demo-hosts=4")
    wait_for(lambda: demo_is_up(site), "the demo servers again", 180)
    again = {host.name: host for host in Fleet(folder).hosts()}
    assert {n: (h.address, h.port, h.host_keys()) for n, h in again.items()} == first
    assert again["db-01"].shadow_accepts("dba", "changed-meanwhile")
    assert again["web-01"].shadow_accepts("deploy", password)
    assert windows_accepts(site, told["value"]) == (True, certificate)
    assert windows_accepts(site, on_windows) == (False, certificate)
    assert "has the password" not in site.printed()
    kept = (site.folder / "kept" / "demo" / "simulated-windows" / "host.json").read_text()
    record = Record()
    record.add("file", kept)
    assert (record.places(told["value"]), record.places(on_windows)) == (set(), set())
    site.stop()
    assert not machine.running(folder.resolve())
