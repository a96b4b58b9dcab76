"""How long a client that fetches the current value is shut out by a rotation."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from lab import Fleet, Host, Spec
from rotation import runs, tasks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine, failpoints
from rotation.models import Run
from secrets_app.models import Secret
from tests import factories
from tests.chaos.hosts import prepare_both
from tests.lab_fixtures import KeyPair

WINDOW_P50, WINDOW_P99 = 0.5, 2.0  # seconds, what is aimed at
LONG = 1.0  # seconds from which a window's steps are shown
#: Between two rotations of a password: who was refused, for which PAM takes two seconds, and fetches once
#: more, must not meet the next one.
PAUSE = 5.0


class Watch:
    """Sees the moment in which an account's line of /etc/shadow changes."""

    def __init__(self, host: Host, username: str) -> None:
        self._host, self._username = host, username
        self._before = host.shadow(username)
        self.changed_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.004):
            if self._host.shadow(self._username) != self._before:
                self.changed_at = time.monotonic()
                return

    def end(self, patience: float = 0) -> float:
        """Return when it changed, once it did or `patience` is over."""
        self._thread.join(patience)
        self._ended.set()
        self._thread.join()
        return self.changed_at


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def measure(rounds: int) -> None:
    key = KeyPair.generate()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        host = fleet.start("readers", Spec(public_key=key.public))
        host.run(["sh", "-c", "echo 'MaxStartups 100' >> /etc/ssh/sshd_config"])
        host.restart_sshd()
        for target in prepare_both(host, key):
            with override_settings(KEY_OVERLAP=settings.PRODUCTION_OVERLAP):
                windows, logons = _under_readers(target.secret, host, Path(folder), rounds)
            _tell(target.secret, windows, logons, rounds)


def _under_readers(secret: Secret, host: Host, folder: Path, rounds: int) -> tuple[list[float], Counter[str]]:
    log = folder / f"reader-{secret.pk}.log"
    windows: list[float] = []
    with log.open("ab") as out:
        reader = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.reader", str(secret.pk), str(folder), host.name],
            stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    assert reader.stdin is not None
    try:
        while log.stat().st_size == 0:
            time.sleep(0.1)
        for _ in range(rounds):
            windows.append(_rotate(secret, host))
            time.sleep(PAUSE if secret.kind == Secret.Kind.PASSWORD else 0)
    finally:
        reader.stdin.close()
        reader.wait(60)
    return windows, Counter(log.read_text().splitlines())


def _rotate(secret: Secret, host: Host) -> float:
    """Rotate once; return the seconds from the host's change to the promotion, of a password."""
    promoted = [0.0]
    failpoints.arm("after_finish", lambda: promoted.__setitem__(0, time.monotonic()))
    watch = Watch(host, "svc")
    run = runs.start(secret, actor=factories.administrator())
    while run.is_active:
        engine.advance(run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner())
        run.refresh_from_db()
        if run.state == Run.State.WAITING:
            print(f"  a rotation waits     {run.code}: {run.sentence}", flush=True)
            time.sleep(max(0.1, (run.due_at - timezone.now()).total_seconds()))
    failpoints.disarm()
    if run.outcome != "succeeded":
        raise SystemExit(f"a rotation ended as {run.outcome}: {run.sentence}")
    window = promoted[0] - watch.end()
    if secret.kind == Secret.Kind.PASSWORD and window > LONG:
        _tell_steps(run, window)
    return window


def _tell_steps(run: Run, window: float) -> None:
    """Where the seconds of a rotation went whose window was long: each step, and the pauses between them."""
    print(f"  a window of {window:.2f} s", flush=True)
    last = run.created_at
    for step in run.steps.all():
        waited, took = step.started_at - last, step.duration
        seconds = f"{took.total_seconds():6.2f} s" if took else " no end "
        print(f"    +{waited.total_seconds():5.2f} {step.name:9} {seconds}  {step.sentence}", flush=True)
        last = step.ended_at or step.started_at


def _tell(secret: Secret, windows: list[float], logons: Counter[str], rounds: int) -> None:
    made = logons["ok"] + logons["refused"]
    if secret.kind == Secret.Kind.KEY_PAIR:
        print(f"reader of a key pair   {logons['refused']} of {made} refused in {rounds} rotations; goal 0")
        return
    again = logons["again ok"] + logons["again refused"]
    print(f"reader of a password   {logons['refused']} of {made} refused in {rounds} rotations")
    print(f"  value fetched again  {logons['again refused']} of {again} refused; goal 0")
    print(
        f"  window               p50 {statistics.median(windows):.2f} s, "
        f"p99 {percentile(windows, 99):.2f} s, longest {max(windows):.2f} s; "
        f"goals {WINDOW_P50} s and {WINDOW_P99} s"
    )
