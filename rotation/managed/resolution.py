"""A user's decision about a value that was sent to a host and not confirmed by it."""

from __future__ import annotations

import enum

from django.db import transaction

from rotation import accounts, cancelling, reasons, runs, schedules
from rotation.managed import credential_state
from rotation.models import ManagedAccount
from secrets_app.audit import trail
from secrets_app.models import Label, Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, versions

Credential = ManagedAccount.Credential


class Decision(enum.StrEnum):
    """A user's statement about the host, when the host cannot be asked or its answers are not believed."""

    GONE = "gone"  # the instance no longer exists
    SET_ASIDE = "set_aside"  # the pending value is not on the host


def resolve(secret: Secret, *, actor: Principal, decision: str, reason: str) -> None:
    """End a rotation whose result cannot be determined, as a user decides.

    No value is destroyed: the pending version loses its label and is kept. `GONE` stops the schedule too;
    after `SET_ASIDE` the host is asked whether it accepts the current value. The secret can be deleted
    afterwards. Raises `runs.NoReason`, `runs.InProgress` while a worker talks to the host,
    `runs.NotRotatable` where there is nothing to set aside, `lifecycle.NotEnabled`, `accounts.Unmanaged` or
    `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, decisions.Action.RESOLVE_ROTATION, secret)
    account = accounts.needed(secret)
    decided = Decision(decision)
    if not reason.strip():
        raise runs.NoReason(runs.NoReason.__doc__)
    with transaction.atomic(), trail.at_the_end():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        pending = secret.labelled(Label.Role.PENDING)
        if decided == Decision.SET_ASIDE and pending is None:
            raise runs.NotRotatable("There is no pending value to set aside.")
        sentence = reasons.sentence(decided.value, actor.name)
        cancelling.give_up(secret, actor=actor, code=decided.value, sentence=sentence)
        if pending is not None:
            versions.set_aside(pending)
        details = {"decision": decided.value, "version": pending.version_id if pending else ""}
        trail.record(
            decisions.Action.RESOLVE_ROTATION,
            secret,
            actor=actor,
            reason=reason.strip()[:500],
            details=details,
        )
        if decided == Decision.GONE:
            schedules.close(secret)
            credential_state.note(account, Credential.GONE, sentence, decided.value)
        elif secret.labelled(Label.Role.CURRENT):
            credential_state.note(account, Credential.NOT_VERIFIED, sentence)
            runs.verify(secret, actor=actor)
        else:
            credential_state.note(account, Credential.NO_VALUE, sentence)
