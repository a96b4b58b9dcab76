"""Simulated Windows hosts as instances: registered by a scan, a comparison and an approval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models.functions import Now

from lab.windows.certificates import Authority
from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint
from rotation import tasks, wires
from rotation.connectors.winrm.connector import WinRmScanner
from rotation.engine import engine
from rotation.models import Instance, Run
from secrets_app.crypto.plaintext import Plaintext
from tests import factories, lab_instances
from tests.networks import endpoint

MANAGER, PASSWORD = "keyturn", "The-manager-1-word"


@contextmanager
def running(address: str) -> Iterator[Endpoint]:
    """A host with an account for Keyturn and a certificate of its own; it runs only what is modelled."""
    host = WindowsHost()
    host.add_account(MANAGER, PASSWORD, is_admin=True)
    with Endpoint(host, address, certificate=Authority().issue("self_signed", address)) as at:
        yield at
        assert host.record.of("unsupported") == []


def register(at: Endpoint) -> Instance:
    """Register the host as an instance, with the certificate that it shows."""
    login = factories.credential(password=Plaintext(PASSWORD), wire="winrm")
    instance = factories.instance(
        address=at.address, port=at.port, wire="winrm", os="windows", keys=[], credential=login
    )
    lab_instances.pin(instance, WinRmScanner().scan(endpoint(at.address, at.port), timeout=30))
    return instance


def advance(run: Run) -> Run:
    """Take the run up in this process, whatever it waits for, and whoever held it."""
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
    engine.advance(run.pk, worker=tasks.worker_name(), connect=wires.connect, scanner=wires.Scanner())
    run.refresh_from_db()
    return run
