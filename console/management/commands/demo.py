"""Start a few throwaway hosts on this machine and register them, for a first rotation without risk."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, transaction

from console.process import start
from rotation import instance_checks, tasks
from rotation.connectors.base import Endpoint
from rotation.connectors.ssh.connector import SshScanner
from rotation.inventory import identities, instances, management, patience
from rotation.models import Instance, ManagementCredential
from secrets_app import keyring, regions
from secrets_app.models import Principal
from secrets_app.people import users

try:
    from lab import Fleet, Host, HostNotStarted, Spec
    from lab.layer import LayerUnavailable
except ModuleNotFoundError as error:  # the image for production does not hold it
    if error.name != "lab":
        raise
    IS_HERE = False
else:
    IS_HERE = True

CREDENTIAL: Final = "Demo servers"
FOLDER: Final = "demo"
READY: Final = "ready.json"
SCAN_SECONDS: Final = 10.0
#: The first three hosts; further ones are app-04, app-05 ... with one account each.
HOSTS: Final = {"web-01": ("app", "deploy"), "db-01": ("dba",), "edge-01": ("svc",)}
OWN_SERVER: Final = "Register an instance of your own instead: Instances, then Register instance."


class Command(BaseCommand):
    help = "Run the demo servers until SIGTERM. Their contents are kept for the next start."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hosts", type=int, default=len(HOSTS), help="how many (3)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not IS_HERE:
            raise CommandError(
                f"This installation does not contain the demo servers. {OWN_SERVER}",
                returncode=start.NOT_CONFIGURED,
            )
        # An exception, so that the fleet is stopped at any point of the command.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit())
        actor, reason = _administrator(), _why_not()
        if actor is None or reason:
            self.stdout.write(f"No demo servers: {reason or 'there is no administrator.'} {OWN_SERVER}")
            return
        with Fleet(settings.DATA_DIR / FOLDER / "running", hide=[settings.DATA_DIR]) as fleet:
            fleet.stop_all()  # those of a start that was killed a moment ago
            try:
                self._start(fleet, options["hosts"], actor)
            except (HostNotStarted, LayerUnavailable) as error:
                self.stdout.write(f"No demo servers: {error} {OWN_SERVER}")
                return
            connections.close_all()
            while True:
                signal.pause()

    def _start(self, fleet: Fleet, count: int, actor: Principal) -> None:
        credential, password = _credential(actor), secrets.token_urlsafe(12)
        hosts = []
        for name, accounts in _servers(count).items():
            keep = settings.DATA_DIR / FOLDER / name
            host = _again(fleet, keep, credential)
            if host is None:
                host = _anew(fleet, keep, credential, accounts, password)
                hosts.append(name)
            _register(host, credential, actor)
            self.stdout.write(f"{name} at {host.address}:{host.port} has the accounts {', '.join(accounts)}")
        if hosts:
            # Throwaways' own, shown so that there is an old value to type in and to see refused later.
            self.stdout.write(
                f"Until its first rotation an account on {', '.join(hosts)} has the password {password}"
            )


def _why_not() -> str | None:
    return "the keyring is sealed." if keyring.is_sealed() else Fleet.supported()


def _again(fleet: Fleet, keep: Path, credential: ManagementCredential) -> Host | None:
    """Start a host as it was, passwords and host keys included; None where there is none to start.

    A host that trusts another management key belongs to a database that is gone, and is not started.
    """
    try:
        was = json.loads((keep / READY).read_text())
    except FileNotFoundError:
        return None
    if was["public_key"] != credential.public_key:
        return None
    return fleet.start(keep.name, Spec(public_key=credential.public_key), address=was["address"], keep=keep)


def _anew(
    fleet: Fleet, keep: Path, credential: ManagementCredential, accounts: tuple[str, ...], password: str
) -> Host:
    shutil.rmtree(keep, ignore_errors=True)
    host = fleet.start(keep.name, Spec(public_key=credential.public_key), keep=keep)
    for account in accounts:
        host.add_account(account, password=password)
    # Last, so that a host whose creation was interrupted is created again.
    ready = {"address": host.address, "public_key": credential.public_key}
    (keep / READY).write_text(json.dumps(ready))
    return host


def _register(host: Host, credential: ManagementCredential, actor: Principal) -> None:
    """Register a host that is not registered yet, with the host keys that it shows and really has."""
    if Instance.objects.filter(address=host.address, port=host.port).exists():
        return
    real = set(host.host_keys())
    place = Endpoint(host.address, host.port, networks=instances.networks())
    shown = [key for key in SshScanner().scan(place, timeout=SCAN_SECONDS) if key.line in real]
    region = regions.account().regions.order_by("created_at").first()
    assert region is not None
    # Or a start that is killed here would leave a host whose keys are never approved.
    with transaction.atomic():
        instance = instances.register(
            host.name, region=region, address=host.address, port=host.port, actor=actor, credential=credential
        )
        identities.see_host_keys(instance, shown)
        identities.approve_host_keys(instance, [key.fingerprint for key in shown], actor=actor)
    with contextlib.suppress(patience.TooOften):  # of a hundred hosts; the first rotation looks too
        tasks.wake(instance_checks.check(instance, actor=actor))


def _credential(actor: Principal) -> ManagementCredential:
    return ManagementCredential.objects.kept().filter(
        name=CREDENTIAL
    ).first() or management.create_credential(
        CREDENTIAL, Spec().username, sudo=ManagementCredential.Sudo.PASSWORDLESS, actor=actor
    )


def _servers(count: int) -> dict[str, tuple[str, ...]]:
    further = {f"app-{number:02}": ("app",) for number in range(len(HOSTS) + 1, count + 1)}
    return dict(list((HOSTS | further).items())[:count])


def _administrator() -> Principal | None:
    return (
        Principal.objects.filter(user__is_active=True, groups__name=users.ADMINISTRATORS)
        .order_by("created_at")
        .first()
    )
