"""The only writer of machines: principals of programs, which sign in by no user and no password.

To policies a machine is a user, `...:user/NAME`, so no person has its name. It has no right until a policy, a
group or a grant gives it one, and each of these is given as to a person.
"""

from __future__ import annotations

import re

from django.db import IntegrityError, transaction

from secrets_app import regions
from secrets_app.actions import Action, Kind, arn
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal
from secrets_app.people import invitations, users
from secrets_app.policy import decisions, policies

NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class NameTaken(DomainError):
    """A user or a machine with this name exists, or is invited already. Choose another name."""

    code = "machine_name_taken"


class BadName(DomainError, ValueError):
    """A machine's name has 1 to 64 letters, digits and . _ @ - characters."""

    code = "machine_name_invalid"


class NotAMachine(DomainError, ValueError):
    """This is not a machine."""

    code = "not_a_machine"


def named(machine: Principal, *, account: str = "") -> users.Named:
    """What to ask `policies` about. `account` is the installation's number, where the caller has it."""
    number = account or regions.account().number
    return users.Named(arn(Kind.USER, machine.name, account=number), machine.pk)


def create(name: str, *, actor: Principal) -> Principal:
    """Make a machine, without a right. Raises `decisions.NotAllowed`, `BadName` or `NameTaken`."""
    decisions.require(actor, Action.CREATE_USER)
    if not NAME.fullmatch(name):
        raise BadName
    # An event says who acted by the name alone.
    is_ours = name.lower() == users.system().name.lower()
    if is_ours or users.is_name_taken(name) or invitations.is_invited(name):
        raise NameTaken
    try:
        with transaction.atomic():
            machine = Principal.objects.create(kind=Principal.Kind.MACHINE, name=name)
            details = {"kind": Principal.Kind.MACHINE.value}
            who = named(machine)
            trail.record(Action.CREATE_USER, who.arn, actor=actor, resource_id=who.pk, details=details)
    except IntegrityError:  # another request was faster
        raise NameTaken from None
    return machine


def disable(machine: Principal, *, actor: Principal, reason: str = "") -> None:
    """Have every right of this machine end with its next request. Raises `decisions.NotAllowed`."""
    _require_to_disable(machine, actor)
    _set(machine, actor, reason, is_active=False)


def enable(machine: Principal, *, actor: Principal, reason: str = "") -> None:
    """Let this machine in again, with the rights it has now. Raises `decisions.NotAllowed`."""
    _require_to_disable(machine, actor)
    policies.require_full_access(actor, Action.DISABLE_USER, named(machine))
    _set(machine, actor, reason, is_active=True)


def _require_to_disable(machine: Principal, actor: Principal) -> None:
    if machine.kind != Principal.Kind.MACHINE:
        raise NotAMachine
    decisions.require(actor, Action.DISABLE_USER, named(machine))


def _set(machine: Principal, actor: Principal, reason: str, *, is_active: bool) -> None:
    with transaction.atomic():
        rows = Principal.objects.filter(pk=machine.pk, kind=Principal.Kind.MACHINE, is_active=not is_active)
        if rows.update(is_active=is_active):
            who, details = named(machine), {"enabled": is_active}
            trail.record(
                Action.DISABLE_USER, who.arn, actor=actor, resource_id=who.pk, reason=reason, details=details
            )
    machine.is_active = is_active
    decisions.forget()
