"""Give what runs as an account its current value: in what follows a rotation, and again where that failed.

It begins once the value is current, and so proven, and changes nothing of the account. Each one is told by a
step of its own and keeps what came of it, so a worker that dies leaves only the rest to the next one; to tell
one twice is harmless.
"""

from __future__ import annotations

from typing import Final

from rotation import leases, reasons, wires
from rotation.connectors import base
from rotation.engine import changes, failpoints
from rotation.engine.work import BACK_OFF, DEPENDANT, Credential, Stop, Work
from rotation.inventory import management
from rotation.managed import dependants
from rotation.models import Dependant, Run, Step
from secrets_app import keyring
from secrets_app.models import Label, SecretVersion

CODE: Final = "dependants"
MOST_TRIES = 3  # of one of them, for each new value
_NAMED = 300  # characters of names that a run's sentence has room for


def can_have(work: Work) -> bool:
    return work.method.KIND == base.Kind.PASSWORD and wires.has_dependants(work.run.instance.wire)


def expect(work: Work) -> None:
    """Note in the transaction that makes a value current that dependants are to be given it."""
    if can_have(work):
        dependants.expect(work.account)


def are_due(work: Work) -> bool:
    """Whether any waits for the current value."""
    return can_have(work) and work.account.dependants.waiting().exists()


def update(work: Work) -> str:
    """Give the current value to those that wait for it. Returns a sentence about the failed ones, or nothing.

    Puts the run off while the host is away, and gives one up after `MOST_TRIES`.
    """
    if not can_have(work):
        return ""
    waiting = dependants.waiting(work.account)
    current = work.secret.labelled(Label.Role.CURRENT)
    while waiting and current is not None:
        waiting = _next(work, waiting, current)
    return _told(work)


def _next(work: Work, waiting: list[Dependant], version: SecretVersion) -> list[Dependant]:
    """Tell the first one; return those that are left."""
    first, rest = waiting[0], waiting[1:]
    if first.tries >= MOST_TRIES:  # workers that died with it, or a host that is away each time
        code = first.code or "gave_up"
        dependants.settle([first], Dependant.State.FAILED, code, first.sentence or reasons.sentence(code))
        return rest
    failpoints.reach("before_dependant")
    try:
        with work.step(Step.Name.DEPENDANT) as notes:
            dependants.begin(first)
            try:
                updated = _give(work, first, version)
            except base.ConnectorError as error:
                notes.sentence = f"{first}: {error}"
                raise
            failpoints.reach("after_dependant")
            sentence = reasons.sentence(updated.code) if updated.code else _DONE[updated.restarted]
            notes.sentence = f"{first}: {sentence}"
            notes.state = Step.State.FAILED if updated.code else Step.State.DONE
    except base.ConnectorError as error:
        return _failed(work, waiting, error)
    except (management.NotAttached, keyring.KeyUnusable) as error:
        dependants.settle(waiting, Dependant.State.FAILED, "gave_up", str(error))
        return []
    state = Dependant.State.FAILED if updated.code else Dependant.State.DONE
    dependants.settle([first], state, updated.code, sentence)
    return rest


_DONE: Final = {
    True: "It has the current value and was restarted.",
    False: "It has the current value.",
}


def _give(work: Work, dependant: Dependant, version: SecretVersion) -> base.Updated:
    """Have the host give it the value, unless the host has heard of a newer attempt than we know."""
    return work.dependants.update_dependant(
        work.manager,
        work.account.username,
        work.value(version).credential,
        base.Dependant(dependant.kind, dependant.name, is_running=dependant.was_running),
        fence=base.Fence(work.console_id, work.account.generation),
        restarts=work.account.restarts_dependants,
        timeout=DEPENDANT,
    )


def _failed(work: Work, waiting: list[Dependant], error: base.ConnectorError) -> list[Dependant]:
    """Settle what could not be told, or put the run off; return those that are left."""
    first, sentence = waiting[0], str(error)
    if reasons.waits(error.code):
        dependants.settle([first], Dependant.State.WAITING, error.code, sentence)
        if first.tries < MOST_TRIES:
            said = f"{first} is not updated yet: {sentence}"
            leases.wait(work.lease, BACK_OFF[first.tries - 1], code=error.code, sentence=said)
            raise Stop
        first.code, first.sentence = error.code, sentence
        return waiting
    # Another host, or a login that is refused, is the same for all, and each attempt may count.
    is_of_all = isinstance(error, base.LoginRefused | base.HostKeyChanged)
    gone = error.code == "dependant_gone"
    state = Dependant.State.GONE if gone else Dependant.State.FAILED
    settled = waiting if is_of_all else [first]
    dependants.settle(settled, state, error.code, sentence)
    return waiting[len(settled) :]


def _told(work: Work) -> str:
    failed = list(work.account.dependants.failed())
    if not failed:
        return ""
    names = ", ".join(str(one) for one in failed)
    if len(names) > _NAMED:
        names = f"{names[:_NAMED]}..."
    return reasons.sentence(CODE, len(failed), work.account.dependants.chosen().count(), names)


# ---------------------------------------------------------------- again


def again(work: Work) -> None:
    """Give the current value to those that wait for it, after the host has shown that it has this value."""
    current = work.secret.labelled(Label.Role.CURRENT)
    if current is None:
        work.end(Run.Outcome.BLOCKED, "no_value", reasons.sentence("no_value"), Credential.NO_VALUE)
    leases.hold(work.lease, version=current)
    work.run.version = current
    changes.preflight(work)
    _prove(work, current)
    failed = update(work)
    outcome = Run.Outcome.FAILED if failed else Run.Outcome.SUCCEEDED
    leases.end(work.lease, outcome, code=CODE if failed else "", sentence=failed)


def _prove(work: Work, current: SecretVersion) -> None:
    """Return if the host's own check accepts the current value; end or put off the run otherwise."""
    with work.step(Step.Name.TEST) as notes:
        proof = work.probe(current)
        notes.sentence = {
            base.Verdict.ACCEPTED: "The instance accepts the current value.",
            base.Verdict.REJECTED: reasons.sentence("refused_value"),
            base.Verdict.UNCLEAR: reasons.sentence("unclear", proof.reason),
        }[proof.verdict]
        if proof.verdict != base.Verdict.ACCEPTED:
            notes.state = Step.State.FAILED
    if proof.verdict == base.Verdict.REJECTED:
        sentence = f"{notes.sentence} No dependant was given it."
        work.end(Run.Outcome.FAILED, "refused_value", sentence, Credential.OUT_OF_SYNC)
    if proof.verdict == base.Verdict.UNCLEAR:
        work.end(Run.Outcome.FAILED, "unclear", f"{notes.sentence} No dependant was given it.", "")
