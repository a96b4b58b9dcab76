"""The only writer of dependants: which run as an account, which a user chose, and whether each has the value.

A row is a name. It is never told to a host but with the account that it belongs to, and only after the value
that it is given was proven there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation import accounts, runs, wires
from rotation.connectors import base
from rotation.models import Dependant, Instance, ManagedAccount, Run
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.people import users
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle

State = Dependant.State
#: What a user names: the kind and the name of one.
Key = tuple[str, str]


class BadDependant(DomainError, ValueError):
    """This names no service, scheduled task or application pool; the message says why."""

    code = "bad_dependant"


class NothingFailed(runs.NotRotatable):
    """Every chosen dependant has the current value."""

    code = "no_failed_dependants"


# ---------------------------------------------------------------- what is there


def note(account: ManagedAccount, facts: base.Facts) -> None:
    """Write which dependants a look at the account has found, and which it has not.

    A list that the host did not give, or not to its end, says of none that it is gone. One that is still to
    be given a value is to run afterwards where it ran before.
    """
    if facts.blocked and not facts.dependants:
        return  # a look that was not finished has seen nothing
    known = {(row.kind, row.name): row for row in account.dependants.all()}
    found = {(one.kind, one.name): one for one in facts.dependants}
    if not known and not found:
        return
    new = [key for key in found if key not in known]
    Dependant.objects.bulk_create(
        [Dependant(account=account, kind=kind, name=name, seen_at=Now()) for kind, name in new],
        ignore_conflicts=True,  # another look at the same moment
    )
    here = Dependant.objects.filter(account=account)
    for key, one in found.items():
        row = known.get(key)
        runs_on = one.is_running or (row is not None and row.was_running and row.state in _UNSETTLED)
        here.filter(kind=key[0], name=key[1]).update(seen_at=Now(), is_missing=False, was_running=runs_on)
    if facts.more_dependants:
        return
    missing = [row.pk for key, row in known.items() if key not in found and row.kind not in facts.unasked]
    here.filter(pk__in=missing).update(is_missing=True)


def undecided(account: ManagedAccount) -> str:
    """Return a sentence about those that no user has decided about, or nothing."""
    new = [str(row) for row in account.dependants.filter(decided_at=None, is_missing=False)]
    if not new:
        return ""
    more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
    return (
        f"New, and not updated by this run: {', '.join(new[:_NAMED])}{more}. Choose Update dependants on the "
        "secret's page to decide about them."
    )


_NAMED = 20  # in one sentence


def note_for(instance: Instance, username: str, kind: str, facts: base.Facts) -> None:
    """As `note`, for the account of this name if a secret manages it."""
    rows = ManagedAccount.objects.filter(instance=instance, kind=kind, released_at__isnull=True)
    for account in rows:
        if account.username.lower() == username.lower():
            note(account, facts)


_UNSETTLED = frozenset(Dependant.BEHIND)


# ---------------------------------------------------------------- what a user chooses


def choose(secret: Secret, chosen: Collection[Key], *, actor: Principal, restarts: bool) -> None:
    """Save which dependants are given each new value, and whether those that run are restarted then.

    All others that are known are left alone from now on; those that appear later are new until a user decides
    again. Raises `BadDependant`, `lifecycle.NotEnabled`, `accounts.Unmanaged` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.UPDATE_ROTATION, secret)
    account = accounts.needed(secret)
    _check(account, chosen)
    with transaction.atomic():
        lifecycle.require_enabled(lifecycle.held(secret.pk))
        ManagedAccount.objects.filter(pk=account.pk).update(restarts_dependants=restarts)
        known = {(row.kind, row.name): row for row in account.dependants.all()}
        Dependant.objects.bulk_create(
            [Dependant(account=account, kind=kind, name=name) for kind, name in sorted(set(chosen))],
            ignore_conflicts=True,
        )
        here = Dependant.objects.filter(account=account)
        here.update(decided_at=Now())
        for key in set(known) | set(chosen):
            is_new = key in chosen and not (key in known and known[key].is_chosen)
            fields = {"state": State.UNTOLD, "code": "", "sentence": "", "tries": 0} if is_new else {}
            here.filter(kind=key[0], name=key[1]).update(is_chosen=key in chosen, **fields)
        names = [f"{kind} {name}" for kind, name in sorted(chosen)]
        details = {"dependants": names, "restarts_dependants": restarts}
        trail.record(Action.UPDATE_ROTATION, secret, actor=actor, details=details)


def _check(account: ManagedAccount, chosen: Collection[Key]) -> None:
    if chosen and not wires.has_dependants(account.instance.wire):
        raise BadDependant(
            f"Over {wires.label(account.instance.wire)}, nothing is looked for that depends on it."
        )
    if len(chosen) > base.MOST_DEPENDANTS:
        raise BadDependant(f"Choose at most {base.MOST_DEPENDANTS}.")
    for kind, name in chosen:
        if kind not in Dependant.Kind.values or not 0 < len(name) <= 300 or not name.isprintable():
            raise BadDependant("A dependant is a kind and a name of at most 300 printable characters.")


def retry(secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.RETRY) -> Run:
    """Ask for the current value to be given again to the chosen dependants that do not have it.

    The account's value itself is not changed. Joins such a run that is under way. Raises `NothingFailed`, or
    as `runs.update_dependants`.
    """
    account = accounts.needed(secret)
    with transaction.atomic():
        run = runs.update_dependants(secret, actor=actor, trigger=trigger)
        again = account.dependants.chosen().filter(state__in=[State.FAILED, State.GONE])
        again.update(state=State.WAITING, tries=0)
        if not account.dependants.waiting().exists():
            raise NothingFailed
    return run


# ---------------------------------------------------------------- what a run does


def expect(account: ManagedAccount) -> None:
    """Write that the account has a new value, which its chosen dependants are to be given.

    For the transaction that makes the value current.
    """
    account.dependants.chosen().update(state=State.WAITING, tries=0, code="", sentence="")


def follow(secret: Secret, account: ManagedAccount) -> None:
    """Have a run of its own give the chosen dependants the value that the host was found or made to have.

    For the end of a run that is no rotation, and in its transaction; the sweep wakes a worker.
    """
    if not wires.has_dependants(account.instance.wire) or not account.dependants.chosen().exists():
        return
    expect(account)
    # Where it cannot be now, they wait: the secret says so, and a user retries.
    with contextlib.suppress(runs.NotRotatable, runs.InProgress):
        runs.update_dependants(secret, actor=users.system(), trigger=Run.Trigger.DRIFT)


def waiting(account: ManagedAccount) -> list[Dependant]:
    """Return those that are to be given the current value, in the order of their kinds and names."""
    return list(account.dependants.waiting())


def begin(dependant: Dependant) -> None:
    """Write that the host is about to be told of this one."""
    Dependant.objects.filter(pk=dependant.pk).update(state=State.BEGUN, tries=F("tries") + 1)
    dependant.tries += 1


def settle(dependants: Iterable[Dependant], state: str, code: str = "", sentence: str = "") -> None:
    """Write what came of them. One that has the value and runs again need not be started any more."""
    fields = {"was_running": False} if state == State.DONE else {}
    keys = [dependant.pk for dependant in dependants]
    Dependant.objects.filter(pk__in=keys).update(
        state=state, code=code, sentence=sentence[:500], told_at=Now(), **fields
    )
