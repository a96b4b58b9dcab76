"""What is true of a service, task or pool that runs as a managed account, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from console.presentation.secret_states import Fact
from rotation import reasons, wires
from rotation.engine.work import TELLS
from rotation.models import Dependant, ManagedAccount, Run
from secrets_app.actions import Action

State = Dependant.State

_LEFT_ALONE: Final = Fact(
    "muted", "Not updated", "It keeps its old value, and fails at its next start after a rotation."
)
_NEW: Final = Fact("info", "New", "It was found on the instance, and no user has decided about it yet.")
_CHOSEN: Final = {
    State.UNTOLD: Fact("info", "Not updated yet", "The next rotation gives it the new value."),
    State.WAITING: Fact("warning", "Waiting", "It is to be given the current value."),
    State.BEGUN: Fact("busy", "Under way", "It is being given the current value."),
    State.DONE: Fact("ok", "Updated", "It has the current value."),
    State.FAILED: Fact("danger", "Failed", "It was not given the current value."),
    State.GONE: Fact("muted", "Not there", "It is not there any more, or runs as another account."),
}


@dataclass(frozen=True)
class Shown:
    """One row of the list."""

    row: Dependant
    fact: Fact
    is_missing: bool


@dataclass(frozen=True)
class Listed:
    """Everything that the page of a secret shows of its dependants."""

    rows: list[Shown]
    new: int
    retryable: int  # that a retry gives the current value, unless a run does so now
    chosen: int


def listed(account: ManagedAccount | None) -> Listed | None:
    """Return what is known; None where nothing is looked for."""
    if account is None or not wires.has_dependants(account.instance.wire):
        return None
    rows = list(account.dependants.all())
    is_told = Run.objects.active().filter(secret=account.secret_id, kind__in=TELLS).exists()
    behind = [row for row in rows if row.is_chosen and row.state in Dependant.BEHIND and not is_told]
    return Listed(
        rows=[Shown(row, fact(row), row.is_missing and row.state != State.GONE) for row in rows],
        new=sum(row.decided_at is None for row in rows),
        retryable=len(behind),
        chosen=sum(row.is_chosen for row in rows),
    )


def fact(row: Dependant) -> Fact:
    """How one stands."""
    if row.decided_at is None:
        return _NEW
    if not row.is_chosen:
        return _LEFT_ALONE
    known = _CHOSEN[State(row.state)]
    next_step = reasons.advice(row.code).text if row.state == State.FAILED else ""
    return Fact(known.tone, known.label, row.sentence or known.sentence, next_step)


def failed(count: int) -> Fact:
    """What is said of a secret with dependants that have not the current value."""
    what = "dependant" if count == 1 else "dependants"
    return Fact(
        "danger",
        f"{count} {what} failed",
        f"{count} {what} of the account did not get the current value, or did not start again.",
        "Open the secret for the reasons, then choose Retry failed items.",
        Action.ROTATE_SECRET,
    )
