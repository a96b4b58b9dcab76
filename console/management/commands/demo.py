"""Start a few throwaway hosts on this machine and register them, for a first rotation without risk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import shutil
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, transaction

from console.process import start
from rotation import instance_checks, tasks, wires
from rotation.connectors.base import Endpoint
from rotation.inventory import identities, instances, management, patience
from rotation.models import Instance, ManagementCredential
from secrets_app import keyring, regions
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Principal
from secrets_app.people import users

if TYPE_CHECKING:
    from lab.windows import kept

try:
    from lab import Fleet, Host, HostNotStarted, Spec, machine
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
#: The first three hosts. The fourth is the simulated Windows; further ones are app-05 and so on.
HOSTS: Final = {"web-01": ("app", "deploy"), "db-01": ("dba",), "edge-01": ("svc",)}
WINDOWS: Final = "simulated-windows"
WINDOWS_ACCOUNTS: Final = ("Administrator", "backup")
WINDOWS_CREDENTIAL: Final = "Demo, simulated Windows"
WINDOWS_LOGIN: Final = "keyturn"
CERTIFICATE_DAYS: Final = 3650
#: Of a stock Windows: the built-in account of that name.
ADMINISTRATOR_RID: Final = 500
OWN_SERVER: Final = "Register an instance of your own instead: Instances, then Register instance."


class Command(BaseCommand):
    help = "Run the demo servers until SIGTERM. Their contents are kept for the next start."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hosts", type=int, default=len(HOSTS) + 1, help="how many (4)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not IS_HERE:
            raise CommandError(
                f"This installation does not contain the demo servers. {OWN_SERVER}",
                returncode=start.NOT_CONFIGURED,
            )
        # An exception, so that the fleet is stopped at any point of the command.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit())
        actor = _administrator()
        if keyring.is_sealed() or actor is None:
            why = "the keyring is sealed." if keyring.is_sealed() else "there is no administrator."
            self.stdout.write(f"No demo servers: {why} {OWN_SERVER}")
            return
        with contextlib.ExitStack() as running:
            is_up = self._start_linux(running, options["hosts"], actor)
            if options["hosts"] > len(HOSTS):
                is_up |= self._start_windows(running, actor)
            connections.close_all()
            while is_up:
                signal.pause()

    def _start_linux(self, running: contextlib.ExitStack, count: int, actor: Principal) -> bool:
        if reason := Fleet.supported():
            self.stdout.write(f"No demo servers: {reason} {OWN_SERVER}")
            return False
        fleet = Fleet(settings.DATA_DIR / FOLDER / "running", hide=[settings.DATA_DIR])
        running.enter_context(fleet)
        fleet.stop_all()  # those of a start that was killed a moment ago
        try:
            self._start(fleet, count, actor)
        except (HostNotStarted, LayerUnavailable) as error:
            self.stdout.write(f"No demo servers: {error} {OWN_SERVER}")
            fleet.stop_all()
            return False
        return True

    def _start(self, fleet: Fleet, count: int, actor: Principal) -> None:
        credential, password = _credential(actor), secrets.token_urlsafe(12)
        hosts = []
        for name, accounts in _servers(count).items():
            keep = settings.DATA_DIR / FOLDER / name
            host = _again(fleet, keep, credential)
            if host is None:
                host = _anew(fleet, keep, credential, accounts, password)
                hosts.append(name)
            place = Endpoint(host.address, host.port, networks=instances.networks(), wire=wires.SSH.name)
            _register(host.name, place, set(host.host_keys()), credential, actor)
            self.stdout.write(f"{name} at {host.address}:{host.port} has the accounts {', '.join(accounts)}")
        self._tell(hosts, password)

    def _start_windows(self, running: contextlib.ExitStack, actor: Principal) -> bool:
        try:
            from lab.windows import kept, wsman
        except ModuleNotFoundError as error:  # its parser is not among what Keyturn itself needs
            self.stdout.write(f"No simulated Windows: the library {error.name} is not installed.")
            return False
        folder = settings.DATA_DIR / FOLDER / WINDOWS
        credential, password = _windows_credential(), secrets.token_urlsafe(12)
        found = kept.load(folder)
        is_again = found is not None and credential is not None and found.owner == str(credential.pk)
        if not is_again and credential is not None:
            self.stdout.write(
                f"No simulated Windows: what was kept of it is gone. To get another one, retire its instance "
                f"and delete the credential {credential.name}."
            )
            return False
        if not is_again:
            found, credential = _windows_anew(folder, password, actor)
        assert found is not None
        assert credential is not None
        running.enter_context(
            wsman.Endpoint(found.host, found.address, port=found.port, certificate=found.certificate)
        )
        place = Endpoint(found.address, found.port, networks=instances.networks(), wire=wires.WINRM.name)
        real = {f"x509 {base64.b64encode(found.certificate.der).decode()}"}
        _register(WINDOWS, place, real, credential, actor)
        accounts = ", ".join(WINDOWS_ACCOUNTS)
        self.stdout.write(f"{WINDOWS} at {found.address}:{found.port} has the accounts {accounts}")
        self._tell([] if is_again else [WINDOWS], password)
        return True

    def _tell(self, hosts: list[str], password: str) -> None:
        if hosts:
            # Throwaways' own, shown so that there is an old value to type in and to see refused later.
            self.stdout.write(
                f"Until its first rotation an account on {', '.join(hosts)} has the password {password}"
            )


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


def _windows_credential() -> ManagementCredential | None:
    return ManagementCredential.objects.kept().filter(name=WINDOWS_CREDENTIAL).first()


def _windows_anew(folder: Path, password: str, actor: Principal) -> tuple[kept.Kept, ManagementCredential]:
    """Make the simulated host with an account for Keyturn, and keep it."""
    from lab.windows import kept
    from lab.windows.certificates import Authority
    from lab.windows.hosts import WindowsHost

    host, mine = WindowsHost("SIMULATED"), secrets.token_urlsafe(24)
    host.add_account(WINDOWS_LOGIN, mine, is_admin=True)
    for account in WINDOWS_ACCOUNTS:
        rid = ADMINISTRATOR_RID if account == "Administrator" else 0
        host.add_account(account, password, is_admin=bool(rid), rid=rid)
    port = wires.WINRM.ports[0]
    seed = int(hashlib.sha256(bytes(folder)).hexdigest(), 16)
    address = next(a for a in machine.addresses(seed) if machine.is_free(a, port))
    # Its file is there before the credential is, whose number tells a later start that they belong together.
    with transaction.atomic():
        credential = management.create_credential(
            WINDOWS_CREDENTIAL,
            WINDOWS_LOGIN,
            sudo=ManagementCredential.Sudo.NONE,
            password=Plaintext(mine),
            wire=wires.WINRM.name,
            actor=actor,
        )
        certificate = Authority().issue("self_signed", address, days=CERTIFICATE_DAYS)
        made = kept.Kept(host, certificate, address, port, str(credential.pk))
        made.save_in(folder)
    return made, credential


def _register(
    name: str, place: Endpoint, real: set[str], credential: ManagementCredential, actor: Principal
) -> None:
    """Register a host that is not registered yet, with what it shows and really has."""
    if Instance.objects.filter(address=place.address, port=place.port).exists():
        return
    wire = wires.of(place.wire)
    shown = [key for key in wire.scanner.scan(place, timeout=SCAN_SECONDS) if key.line in real]
    region = regions.account().regions.order_by("created_at").first()
    assert region is not None
    # Or a start that is killed here would leave a host whose keys are never approved.
    with transaction.atomic():
        instance = instances.register(
            name, region=region, address=place.address, port=place.port, os=wire.os, wire=wire.name,
            actor=actor, credential=credential,
        )  # fmt: skip
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
    further = {f"app-{number:02}": ("app",) for number in range(len(HOSTS) + 2, count + 1)}
    return dict(list(HOSTS.items())[:count]) | further


def _administrator() -> Principal | None:
    return (
        Principal.objects.filter(user__is_active=True, groups__name=users.ADMINISTRATORS)
        .order_by("created_at")
        .first()
    )
