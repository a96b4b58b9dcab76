"""How a bulk action and its rows stand: results, their words and tones, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from console.presentation.run_states import run_badge
from console.presentation.secret_states import Fact
from rotation.models import BulkAction, BulkItem, Run

State, Outcome = BulkItem.State, Run.Outcome

#: What became of a row, as the filter names it: its rows, its word and its tone.
RESULTS: Final[Mapping[str, tuple[Q, str, str]]] = {
    "waiting": (Q(state=State.WAITING), "Waiting", "muted"),
    "active": (Q(state=State.DONE, run__state__in=Run.ACTIVE), "Under way", "busy"),
    "succeeded": (
        Q(state=State.DONE) & (Q(run=None) | Q(run__outcome=Outcome.SUCCEEDED)), "Succeeded", "ok",
    ),
    "failed": (Q(state=State.DONE, run__outcome=Outcome.FAILED), "Failed", "danger"),
    "blocked": (Q(state=State.DONE, run__outcome=Outcome.BLOCKED), "Blocked", "warning"),
    "cancelled": (
        Q(state=State.CANCELLED) | Q(state=State.DONE, run__outcome=Outcome.CANCELLED), "Cancelled", "muted",
    ),
    "refused": (Q(state=State.REFUSED), "Not allowed", "warning"),
    "impossible": (Q(state=State.IMPOSSIBLE), "Not possible", "warning"),
}  # fmt: skip
#: The rows that *Retry failed items* is about.
FAILED: Final = ("failed", "blocked", "refused", "impossible")
ICONS: Final[Mapping[str, str]] = {
    BulkAction.Action.ROTATE: "rotate-cw",
    BulkAction.Action.VERIFY: "shield-check",
    BulkAction.Action.DRIFT: "scan-search",
    BulkAction.Action.DELETE: "trash-2",
    BulkAction.Action.RESTORE: "archive-restore",
    BulkAction.Action.TAG: "tags",
    BulkAction.Action.RETRY: "rotate-cw",
}


@dataclass(frozen=True)
class Counted:
    """So many rows with one result."""

    name: str
    label: str
    tone: str
    count: int


@dataclass(frozen=True)
class Progress:
    """How far a bulk action is, of the rows that its reader may see."""

    results: tuple[Counted, ...]
    total: int
    open: int  # waiting or under way
    failed: int

    @property
    def done(self) -> int:
        return self.total - self.open

    @property
    def percent(self) -> int:
        return self.done * 100 // self.total if self.total else 100


NONE: Final = Progress((), 0, 0, 0)


def progress_of(items: QuerySet[BulkItem]) -> dict[UUID, Progress]:
    """Count these rows by their action and result, in one question."""
    counts = {name: Count("pk", filter=rows) for name, (rows, _, _) in RESULTS.items()}
    return {row["bulk"]: _progress(row) for row in items.order_by().values("bulk").annotate(**counts)}


def _progress(counts: Mapping[str, Any]) -> Progress:
    found = [Counted(name, label, tone, counts[name]) for name, (_, label, tone) in RESULTS.items()]
    return Progress(
        tuple(result for result in found if result.count),
        sum(counts[name] for name in RESULTS),
        counts["waiting"] + counts["active"],
        sum(counts[name] for name in FAILED),
    )


def with_result(items: QuerySet[BulkItem], *names: str) -> QuerySet[BulkItem]:
    """The rows with one of these results."""
    wanted = Q()
    for name in names:
        wanted |= RESULTS[name][0]
    return items.filter(wanted)


def item_badge(item: BulkItem, *, shows_run: bool) -> Fact:
    """How one row stands: as its run does, if it started or joined one.

    To a reader who may not see that run, only its result is said.
    """
    if item.state != State.DONE:
        _, label, tone = RESULTS[item.state]
        return Fact(tone, label, item.sentence)
    if item.run is not None and shows_run:
        run = run_badge(item.run)
        return Fact(run.tone, run.label, run.sentence)
    name = "succeeded"
    if item.run is not None:
        name = "active" if item.run.is_active else item.run.outcome
    _, label, tone = RESULTS.get(name, RESULTS["cancelled"])
    return Fact(tone, label, item.sentence)
