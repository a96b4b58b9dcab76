"""What a rotation of a secret does beside the change itself."""

from __future__ import annotations

from django.db import transaction

from rotation import accounts, reasons, wires
from rotation.models import Instance, ManagedAccount
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle


class CannotEndSessions(DomainError, ValueError):
    """Keyturn cannot end sessions of this instance; the message says over which wire."""

    code = "sessions_not_ended"


def require_sessions(instance: Instance) -> None:
    """Return if an account's sessions on this instance can be ended. Raises `CannotEndSessions`."""
    if not wires.ends_sessions(instance.wire):
        raise CannotEndSessions(reasons.sentence("unsupported", wires.label(instance.wire), "end sessions"))


def change_options(
    secret: Secret, *, actor: Principal, ends_sessions: bool, proves_old_refused: bool, reconciles: bool
) -> None:
    """Save what a rotation does beside the change itself, and what happens when the host drifts.

    Raises `CannotEndSessions`, `lifecycle.NotEnabled`, `accounts.Unmanaged` or `decisions.NotAllowed`.
    """
    decisions.require(actor, decisions.Action.UPDATE_ROTATION, secret)
    account = accounts.needed(secret)
    if ends_sessions:
        require_sessions(account.instance)
    options = {
        "ends_sessions": ends_sessions,
        "proves_old_refused": proves_old_refused,
        "reconciles": reconciles,
    }
    with transaction.atomic():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        ManagedAccount.objects.filter(pk=account.pk).update(**options)
        trail.record(decisions.Action.UPDATE_ROTATION, secret, actor=actor, details=options)
