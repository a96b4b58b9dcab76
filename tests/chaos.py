"""Kill workers at random while they rotate, and count what is lost: `./keyturn chaos --rotations 60`.

A naive rotator (generate, chpasswd, then store) runs under the same kills as the positive control: a
run in which it loses nothing has proved nothing, and fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from lab import Fleet, Host, Spec  # noqa: E402
from rotation import engine, inventory, runs, tasks  # noqa: E402
from rotation.connectors.ssh import SshConnector, SshScanner  # noqa: E402
from rotation.models import Run  # noqa: E402
from secrets_app import keyring, versions  # noqa: E402
from secrets_app.models import Secret  # noqa: E402
from tests import factories  # noqa: E402
from tests.lab_fixtures import KeyPair, connect  # noqa: E402

LEASE = timedelta(seconds=2)
PATIENCE = 60.0  # seconds in which a run must end once nobody kills any more
FIRST = "the-first-password-1"


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own; return its pid."""
    connections.close_all()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def kill_after(pid: int, seconds: float) -> bool:
    """Kill the process after that time; False where it had ended by itself."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def prepare(host: Host, key: KeyPair) -> Secret:
    host.add_account("svc", password=FIRST)
    host.add_account("naive", password=FIRST)
    instance = factories.instance(
        name=host.name, address=host.address, port=host.port, keys=[],
        credential=factories.credential(private_key=key.private),
    )  # fmt: skip
    seen = SshScanner().scan(host.address, host.port, timeout=10)
    inventory.see_host_keys(instance, seen)
    inventory.approve_host_keys(instance, [k.fingerprint for k in seen], actor=factories.administrator())
    made = factories.secret(instance=instance, initial=FIRST)
    factories.settle(made)
    return made


def work_on(run: Run) -> None:
    engine.advance(
        run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner(), lease=LEASE
    )


def rotate_under_fire(secret: Secret, tally: Counter[str], resumes: list[float]) -> None:
    """One rotation: workers are killed at random up to three times, then one is left in peace."""
    run = runs.start(secret, actor=factories.administrator())
    killed_at = None
    for _ in range(random.randint(0, 3)):
        if kill_after(forked(lambda: work_on(run)), random.uniform(0.0, 1.6)):
            tally["kills"] += 1
            killed_at = time.monotonic()
        run.refresh_from_db()
        if not run.is_active:
            break
    limit = time.monotonic() + PATIENCE
    while run.is_active and time.monotonic() < limit:
        os.waitpid(forked(lambda: work_on(run)), 0)
        run.refresh_from_db()
        time.sleep(0.05 if run.is_active else 0)
    if killed_at and not run.is_active:
        resumes.append(time.monotonic() - killed_at)
    tally[run.outcome or "stuck"] += 1


def is_lost(secret: Secret, host: Host) -> bool:
    stored = secret.versions.filter(destroyed_at=None)
    return not any(host.shadow_accepts("svc", versions.value(v).password.reveal()) for v in stored)


def naive_rotation(host: Host, key: KeyPair, store: Path) -> None:
    """What most scripts do: the host first, the store afterwards."""
    value = secrets.token_urlsafe(24)
    client = connect(host, "keyturn", key=key)
    stdin, stdout, _ = client.exec_command("sudo chpasswd")
    stdin.write(f"naive:{value}\n")
    stdin.channel.shutdown_write()
    stdout.channel.recv_exit_status()
    client.close()
    fresh = store.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    fresh.replace(store)


def naive_under_fire(host: Host, key: KeyPair, folder: Path) -> bool:
    """One naive rotation under a kill; True where its credential is lost."""
    store = folder / f"{host.name}.json"
    kill_after(forked(lambda: naive_rotation(host, key, store)), random.uniform(0.0, 0.6))
    kept = json.loads(store.read_text()) if store.exists() else FIRST
    if host.shadow_accepts("naive", kept):
        return False
    host.set_password("naive", kept)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="keyturn chaos", description=__doc__)
    parser.add_argument("--rotations", type=int, default=60)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the times of the kills")
    options = parser.parse_args()
    if reason := Fleet.supported():
        sys.exit(reason)
    random.seed(options.seed)
    call_command("migrate", verbosity=0)
    keyring.ensure_root_key()
    key, tally, resumes = KeyPair.generate(), Counter[str](), list[float]()
    lost = naive_lost = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder) / "fleet") as fleet:
        hosts = fleet.start_many(options.hosts, Spec(public_key=key.public))
        fleet_of = [(prepare(host, key), host) for host in hosts]
        for number, (secret, host) in enumerate(
            itertools.islice(itertools.cycle(fleet_of), options.rotations)
        ):
            rotate_under_fire(secret, tally, resumes)
            lost += is_lost(secret, host)
            naive_lost += naive_under_fire(host, key, Path(folder))
            print(f"\r{number + 1} of {options.rotations}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"rotations      {options.rotations} over {options.hosts} hosts")
    print(f"worker kills   {tally['kills']}")
    print(f"succeeded      {tally['succeeded']}")
    print(f"lost           {lost}")
    print(f"stuck          {tally['stuck']}")
    print(f"naive control  {naive_lost} of {options.rotations} lost")
    if len(resumes) > 1:
        p99 = statistics.quantiles(resumes, n=100)[98]
        print(
            f"resume         p50 {statistics.median(resumes):.1f} s, p99 {p99:.1f} s, lease {LEASE.seconds} s"
        )
    print(f"seconds        {time.monotonic() - began:.0f}")
    if not naive_lost:
        print("The naive rotator lost nothing, so this run proves nothing. Run more rotations.")
    return 1 if lost or tally["stuck"] or tally["succeeded"] != options.rotations or not naive_lost else 0


if __name__ == "__main__":
    sys.exit(main())
