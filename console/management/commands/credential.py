"""Management credentials for provisioning scripts: create one from standard input, list them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.exceptions import ValidationError

from console.commands import given
from console.commands.face import Answer, Exists, Face, Options
from console.fetching import instances_and_runs
from console.forms.credentials import credentials as forms
from rotation import wires
from rotation.connectors import base
from rotation.inventory import management
from rotation.models import ManagementCredential
from secrets_app.actions import Action
from secrets_app.crypto import key_pairs, passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Principal
from secrets_app.policy import requiring

OWN, KEY, PASSWORD = forms.OWN, forms.KEY, forms.PASSWORD
Sudo = ManagementCredential.Sudo


class Command(Face):
    help = "Create management credentials as a user; values come on standard input. See docs/commands.md."
    VERBS: ClassVar = {
        "create": "create a management credential",
        "list": "list the management credentials that the user may see",
    }

    def add_to_create(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="its name")
        parser.add_argument("--account", required=True, help="the OS account that Keyturn logs in as")
        parser.add_argument(
            "--login",
            choices=[OWN, KEY, PASSWORD],
            default=OWN,
            help="own: Keyturn makes a key pair; key, password: read from standard input (own)",
        )
        parser.add_argument(
            "--sudo", choices=Sudo.values, help="how it becomes root (passwordless; none over WinRM)"
        )
        parser.add_argument(
            "--separate-sudo-password",
            action="store_true",
            help="sudo asks for another password: the first line of standard input, before the login's value",
        )
        parser.add_argument(
            "--wire",
            choices=[name for name, _ in wires.logins()],
            default=wires.SSH.name,
            help="how the account logs in (ssh)",
        )
        parser.add_argument(
            "--if-absent", action="store_true", help="succeed if it exists for this account already"
        )

    def create(self, actor: Principal, options: Options) -> Answer:
        requiring.require(actor, Action.CREATE_CREDENTIAL)
        name, login, wire = _name(options), options["login"], options["wire"]
        existing = _existing(actor, name)
        if existing is not None:
            if options["if_absent"] and (existing.username, existing.wire) == (options["account"], wire):
                return Answer(existed=True, credential=shown(existing))
            raise Exists(f"A management credential named {name} exists.", existing.pk)
        sudo = _sudo(options)
        if base.Kind.KEY not in wires.login(wire).kinds and login != PASSWORD:
            raise given.Invalid("Over WinRM the account logs in with a password: --login password.")
        sudo_password, value = _values(login, is_separate=options["separate_sudo_password"])
        if login == PASSWORD and value is not None:
            passwords.check_value(value)
        made = management.create_credential(
            name,
            options["account"],
            sudo=sudo,
            actor=actor,
            password=value if login == PASSWORD else None,
            private_key=value if login == KEY else None,
            sudo_password=sudo_password if sudo == Sudo.PASSWORD else None,
            wire=wire,
        )
        return Answer(existed=False, credential=shown(made))

    def add_to_list(self, parser: ArgumentParser) -> None:
        pass

    def list(self, actor: Principal, options: Options) -> Answer:
        rows = instances_and_runs.credentials(actor)
        return Answer(credentials=[shown(row) for row in rows.order_by("name", "id")])


def _values(login: str, *, is_separate: bool) -> tuple[Plaintext | None, Plaintext | None]:
    """Return the password for sudo and what the account logs in with, as standard input has them."""
    if is_separate:
        sudo_password, value = given.two_values()
        passwords.check_value(sudo_password)
        return sudo_password, value
    same = given.value() if login != OWN else None
    return same, same


def _sudo(options: Options) -> str:
    """Return how the account becomes root. Raises `Invalid` for what standard input cannot give then."""
    login, is_separate = options["login"], options["separate_sudo_password"]
    usual = Sudo.PASSWORDLESS if wires.login(options["wire"]).elevates else Sudo.NONE
    sudo = str(options["sudo"] or (Sudo.PASSWORD if is_separate else usual))
    if is_separate and sudo != Sudo.PASSWORD:
        raise given.Invalid("A password for sudo needs --sudo password.")
    if sudo == Sudo.PASSWORD and login == OWN:
        raise given.Invalid(
            "The command that prepares an instance lets this account use sudo without a password: choose "
            "--login password or key with --sudo password."
        )
    if sudo == Sudo.PASSWORD and login == KEY and not is_separate:
        raise given.Invalid("With a key, sudo needs a password of its own: --separate-sudo-password.")
    return sudo


def _name(options: Options) -> str:
    """Return the name as the form of the screen takes it. Raises `Invalid`."""
    try:
        return str(forms.Create.base_fields["name"].clean(options["name"]))
    except ValidationError as error:
        raise given.Invalid(f"name: {error.messages[0]}") from None


def _existing(actor: Principal, name: str) -> ManagementCredential | None:
    try:
        return instances_and_runs.credential_named(actor, name, Action.DESCRIBE_CREDENTIAL)
    except requiring.NotFound:
        return None


def shown(credential: ManagementCredential) -> dict[str, Any]:
    """Return a management credential as JSON has it: the public half, and nothing secret."""
    public = credential.public_key
    return {
        "id": str(credential.pk),
        "name": credential.name,
        "account": credential.username,
        "wire": credential.wire,
        "sudo": credential.sudo,
        "has_password": credential.has_password,
        "public_key": public,
        "fingerprint": key_pairs.fingerprint(public) if public else "",
    }
