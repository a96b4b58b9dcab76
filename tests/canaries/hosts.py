"""Rotations on real hosts with every kind of login, and the ways in which they end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest import mock

import paramiko
from django.db import connection
from django.db.models.functions import Now

from lab import Host
from rotation import runs, tasks
from rotation.connectors.ssh.connector import SshScanner
from rotation.inventory import identities
from rotation.models import Instance, ManagementCredential, Run
from secrets_app.models import Secret
from tests import factories
from tests.networks import endpoint

PAM = "/etc/pam.d/common-password"
CHECKOUT = Path(__file__).resolve().parents[2]


def register(host: Host, credential: ManagementCredential) -> Instance:
    """Register `host` with its own keys approved."""
    made = factories.instance(
        name=host.name, address=host.address, port=host.port, keys=[], credential=credential
    )
    seen = SshScanner().scan(endpoint(host.address, host.port), timeout=60)
    identities.see_host_keys(made, seen)
    identities.approve_host_keys(made, [key.fingerprint for key in seen], actor=factories.administrator())
    return made


def work(run: Run) -> Run:
    """What a worker does with a message: the task, with whatever it logs where it fails."""
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
    tasks.advance.apply(args=[str(run.pk)], throw=False)
    run.refresh_from_db()
    return run


def start(secret: Secret) -> Run:
    secret = Secret.objects.get(pk=secret.pk)
    return secret.runs.active().first() or runs.start(secret, actor=factories.administrator())


@contextmanager
def refusing(host: Host) -> Iterator[None]:
    """PAM refuses every new password."""
    host.run(["sed", "-i", "1i password requisite pam_deny.so", PAM])
    yield
    host.run(["sed", "-i", "1d", PAM])


@contextmanager
def breaking(number: int) -> Iterator[None]:
    """A bug in the SSH library when it sends for the nth time: the frames above hold what is sent."""
    sent = iter(range(1, 10_000))
    real = paramiko.Channel.sendall

    def sendall(channel: paramiko.Channel, text: bytes) -> None:
        if next(sent) == number:
            raise LookupError("a bug")
        real(channel, text)

    with mock.patch.object(paramiko.Channel, "sendall", sendall):
        yield


def die_in_a_worker(run: Run, place: str, log: Path) -> None:
    """A worker of its own, which says all that it can, killed at a failpoint."""
    database = f"sqlite://{connection.settings_dict['NAME']}"
    if connection.vendor != "sqlite":
        server = os.environ["KEYTURN_TEST_DATABASE_URL"].rpartition("/")[0]
        database = f"{server}/{connection.settings_dict['NAME']}"
    environment = os.environ | {
        "KEYTURN_TEST_DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "tests.canaries.settings"
    }  # fmt: skip
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
    with log.open("ab") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.worker", str(run.pk), place],
            env=environment, cwd=CHECKOUT, stdout=file, stderr=file,
        )  # fmt: skip
        assert worker.wait(timeout=60) == -signal.SIGKILL
