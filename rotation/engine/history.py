"""Find which stored value a host accepts, and whether the host went back to an older state.

No question to the host counts as a login.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from rotation import leases
from rotation.connectors import base
from rotation.engine.work import Work
from rotation.models import Run
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions

MOST_KEYS = 10  # that are looked for after a restored snapshot, the last removed first


def went_back(work: Work, generation: int) -> bool:
    """Whether the host's mark is older than what it was seen to have: a snapshot was restored."""
    return generation < _seen(work)


def is_newer(work: Work, generation: int) -> bool:
    """Whether the host has received changes that this database does not know, so that it is the older one."""
    return generation > work.account.generation


def note_keys_that_are_back(work: Work) -> None:
    """Mark removed keys that the host lists again as present, so that the run removes them."""
    for version in versions.removed(work.secret)[:MOST_KEYS]:
        if work.probe(version).is_listed:
            with transaction.atomic():
                leases.hold(work.lease)
                versions.mark_back(version)


def _seen(work: Work) -> int:
    """The highest number that the host is known to have had; an attempt that never arrived does not count."""
    return max(work.lease.arrived, int(work.account.traces.get("generation", 0)))


@dataclass(frozen=True)
class Found:
    """What a search for the value that the host accepts has come to."""

    version: SecretVersion | None
    is_whole: bool = True  # each value that was asked for got an answer

    @property
    def truth(self) -> Run.Truth:
        """Which value works, where the current one does not."""
        if self.version is not None:
            return Run.Truth.OLD
        return Run.Truth.NEITHER if self.is_whole else Run.Truth.UNKNOWN


def find(work: Work) -> Found:
    """Return the version that the host accepts in place of the current one: pending, then newest first.

    Raises what a probe does.
    """
    pending = work.labelled(Label.Role.PENDING)
    kept = list(versions.earlier(work.secret))
    if pending is not None and pending.offered_at:
        kept.insert(0, pending)
    verdicts = set()
    for version in kept:
        leases.hold(work.lease)
        verdict = work.probe(version).verdict
        if verdict == base.Verdict.ACCEPTED:
            return Found(version)
        verdicts.add(verdict)
    return Found(None, is_whole=base.Verdict.UNCLEAR not in verdicts)


def told(found: Found) -> str:
    """Say which version works, by its name and date."""
    version = found.version
    if version is None:
        if found.is_whole:
            return "No kept value works there."
        return "No kept value that could be checked works there; some could not be checked."
    return f"Version {version.version_id} of {version.created_at:%Y-%m-%d %H:%M} UTC works there."
