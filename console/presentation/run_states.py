"""How a run and its steps stand, in words: tone, label, sentence, next step.

One badge and one timeline for every screen that shows a run, so that no two of them disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from django.utils import timezone

from console.presentation import durations
from console.presentation.secret_states import Fact
from rotation import accounts, reasons, wires
from rotation.connectors import base
from rotation.connectors.reasons import NOTHING, Advice
from rotation.engine.methods import table as methods
from rotation.models import Run, Step


@dataclass(frozen=True)
class RunState:
    """What a badge or a banner says of a run."""

    tone: str
    label: str
    sentence: str
    next_step: Advice = NOTHING


@dataclass(frozen=True)
class Found:
    """One line of a checklist."""

    tone: str
    word: str
    label: str
    sentence: str


@dataclass(frozen=True)
class Entry:
    """One line of a run's timeline; `step` is None where it was not reached."""

    tone: str
    label: str
    word: str
    sentence: str = ""
    step: Step | None = None
    evidence: tuple[Found, ...] = field(default_factory=tuple)


_ACTIVE: Final = {
    Run.State.QUEUED: RunState("busy", "Queued", "Waiting for a worker, or for other work on the instance."),
    Run.State.RUNNING: RunState("busy", "Running", "A worker carries it through its steps."),
}
_ENDED_TONES: Final = {
    Run.Outcome.SUCCEEDED: "ok",
    Run.Outcome.FAILED: "danger",
    Run.Outcome.BLOCKED: "warning",
    Run.Outcome.CANCELLED: "muted",
    Run.Outcome.MISSED: "warning",
}
_SUCCESS: Final = {
    Run.Kind.ROTATE: "The instance accepted the new value. It is current now.",
    Run.Kind.VERIFY: "The instance accepts the current value.",
    Run.Kind.CHECK: "Everything that a rotation needs is there.",
    Run.Kind.SCAN: "What the instance identifies itself with was read.",
    Run.Kind.DRIFT: "The credential was not changed outside Keyturn.",
    Run.Kind.RECONCILE: "The instance accepts the current value again.",
    Run.Kind.DEPENDANTS: "Every chosen dependant has the current value.",
}
_STEP_TONES: Final = {
    Step.State.RUNNING: "busy",
    Step.State.DONE: "ok",
    Step.State.FAILED: "danger",
    Step.State.BROKEN: "warning",
}
_MARKS: Final = {
    "passed": ("ok", "Passed"),
    "warning": ("warning", "Warning"),
    "blocked": ("danger", "Blocked"),
    "unknown": ("muted", "Unknown"),
}
_PLANS: Final[dict[str, tuple[str, ...]]] = {
    Run.Kind.ROTATE: (
        Step.Name.CREATE,
        Step.Name.PREFLIGHT,
        Step.Name.SET,
        Step.Name.TEST,
        Step.Name.FINISH,
    ),
    Run.Kind.VERIFY: (Step.Name.TEST,),
    Run.Kind.CHECK: (Step.Name.PREFLIGHT,),
    Run.Kind.SCAN: (Step.Name.SCAN,),
    Run.Kind.DRIFT: (Step.Name.PREFLIGHT,),  # and a probe, if the credential looks different
    Run.Kind.RECONCILE: (Step.Name.PREFLIGHT, Step.Name.PROBE, Step.Name.SET, Step.Name.TEST),
    Run.Kind.DEPENDANTS: (Step.Name.PREFLIGHT, Step.Name.TEST, Step.Name.DEPENDANT),
}


def override_label(code: str) -> str:
    """Name a check that a user has overridden."""
    override = reasons.override(code)
    return override.label if override else reasons.label(code)


def run_badge(run: Run) -> RunState:
    """Return how the run stands; of an ended one also which value works and what to do next."""
    if run.state == Run.State.WAITING:
        return RunState("warning", "Waiting", run.sentence, reasons.advice(run.code))
    if run.is_active:
        known = _ACTIVE[Run.State(run.state)]
        return (
            replace(known, sentence=run.sentence) if run.state == Run.State.QUEUED and run.sentence else known
        )
    outcome = Run.Outcome(run.outcome)
    if outcome == Run.Outcome.SUCCEEDED:
        if run.code:  # it succeeded, and something stays to be done: no user can log on, for example
            return RunState("warning", outcome.label, run.sentence, reasons.advice(run.code))
        return RunState("ok", outcome.label, run.sentence or _SUCCESS[Run.Kind(run.kind)])
    label = outcome.label
    if outcome == Run.Outcome.FAILED and run.truth:
        label = f"{label}: {run.get_truth_display()}"
    # Of a secret that is being deleted nothing can be done any more but restoring it.
    is_over = outcome == Run.Outcome.CANCELLED or (run.secret is not None and not run.secret.is_enabled)
    next_step = NOTHING if is_over else reasons.advice(run.code)
    return RunState(_ENDED_TONES[outcome], label, run.sentence, next_step)


def queued_for_long(run: Run) -> Fact:
    """Say of a run that no worker has taken up for a while how long that is, and what to look at."""
    since = durations.relative(run.due_at, timezone.now())
    return Fact(
        "warning",
        "Queued",
        run.sentence or f"It was requested {since}, and no worker has taken it up.",
        "Check that a worker runs, and whether other work on the instance goes before it.",
    )


def trying_again(run: Run) -> Fact:
    """Say of a run that could not go on several times why, and what to do."""
    advice = reasons.advice(run.code)
    return Fact("warning", "Waiting", run.sentence, f"{advice.text} Keyturn tries again automatically.")


def timeline(run: Run) -> list[Entry]:
    """Return the steps that were taken, then those that were not reached."""
    steps = list(run.steps.all())
    return [_taken(step) for step in steps] + list(_ahead(run, steps))


def mark(run: Run) -> str:
    """Return a word that changes whenever the timeline does."""
    steps = list(run.steps.all())
    last = steps[-1].state if steps else "none"
    return f"{run.state}-{run.lease}-{len(steps)}-{last}"


def findings(evidence: Sequence[dict[str, str]]) -> tuple[Found, ...]:
    """Return the checks that a step or an instance keeps, as lines of a checklist."""
    return tuple(
        Found(
            *_MARKS.get(check["mark"], _MARKS["unknown"]),
            reasons.line_label(check["name"]),
            check["sentence"],
        )
        for check in evidence
    )


def _taken(step: Step) -> Entry:
    state = Step.State(step.state)
    label = Step.Name(step.name).label
    return Entry(_STEP_TONES[state], label, state.label, step.sentence, step, findings(step.evidence))


def _ahead(run: Run, steps: Sequence[Step]) -> Iterator[Entry]:
    if run.outcome in {Run.Outcome.SUCCEEDED, Run.Outcome.MISSED}:
        return  # a run that was resumed leaves out what it need not repeat
    last = {step.name: step.state for step in steps}
    for name in _plan(run):
        is_repeated = run.is_active and last.get(name) in {Step.State.FAILED, Step.State.BROKEN}
        if name not in last or is_repeated:
            yield Entry("muted", Step.Name(name).label, "Not yet" if run.is_active else "Not reached")


def _plan(run: Run) -> tuple[str, ...]:
    plan = _PLANS[run.kind]
    if run.kind != Run.Kind.ROTATE or run.secret is None:
        return plan
    account, replaces = accounts.needed(run.secret), methods.TABLE[run.secret.kind].REPLACES
    if account.dependants.chosen().exists():
        plan = (*plan, Step.Name.DEPENDANT)
    if not replaces:
        plan = (*plan, Step.Name.CLEAN)
    if wires.ends_sessions(run.instance.wire) and (account.ends_sessions or run.is_leak):
        plan = (*plan, Step.Name.SESSIONS)
    if replaces and (account.proves_old_refused or run.is_leak):
        plan = (*plan, Step.Name.CLEAN)  # a login with the old password
    return plan


def is_retryable(run: Run) -> bool:
    """Whether this run ended without success, so that the same can be done again."""
    return not run.is_active and run.outcome not in {Run.Outcome.SUCCEEDED, Run.Outcome.MISSED}


def remedies(run: Run) -> tuple[str, ...]:
    """The actions that its advice names beside a retry: `rotate`, `reconcile`."""
    is_open = is_retryable(run) or run.outcome == Run.Outcome.MISSED
    return run_badge(run).next_step.actions if is_open and run.secret_id else ()


def is_overridable(run: Run) -> bool:
    """Whether the check that blocked this rotation is one that a person may let pass."""
    is_blocked = run.kind == Run.Kind.ROTATE and run.outcome == Run.Outcome.BLOCKED
    return is_blocked and run.code in base.OVERRIDABLE
