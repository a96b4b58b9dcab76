"""How an instance and its host keys stand, in words: tone, label, sentence.

A host shows one key of each type. Where it shows another one of a type that is approved, or none that
is approved, it is a different machine or an attacker in between: *changed*. A type more is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from console.presentation.secret_states import Fact
from rotation import wires
from rotation.models import HostKey, Instance

SOON: Final = timedelta(days=30)
Approved: Final = HostKey.State.APPROVED


_STATUS: Final = {
    Instance.State.NEW: Fact("muted", "Not yet tested", "Test the connection to see what it needs."),
    Instance.State.READY: Fact("ok", "Ready", "The last check found everything that a rotation needs."),
    Instance.State.UNREACHABLE: Fact("danger", "Unreachable", "It did not answer."),
    Instance.State.BLOCKED: Fact("warning", "Blocked", "A problem must be corrected first."),
}
RETIRED: Final = Fact("muted", "Retired", "Only its history is left.")
_KEY_STATES: Final = {
    HostKey.State.SEEN: Fact("warning", "Not approved", "Found by a scan; not trusted."),
    HostKey.State.APPROVED: Fact("ok", "Approved", "Trusted: Keyturn talks to nothing else at this address."),
    HostKey.State.RETIRED: Fact("muted", "Retired", "Approved once; not trusted any more."),
}


def instance_badge(instance: Instance) -> Fact:
    """Return what the last look at the instance found, or that it is retired."""
    if instance.retired_at:
        return RETIRED
    state = _STATUS[Instance.State(instance.state)]
    return Fact(state.tone, state.label, instance.state_sentence or state.sentence)


def host_key_badge(key: HostKey) -> Fact:
    """Return whether this key is trusted."""
    return _KEY_STATES[HostKey.State(key.state)]


def met_another(checks: Iterable[Mapping[str, str]]) -> bool:
    """Whether these checks of an instance stopped at a host key or certificate that is not pinned."""
    marks = {check["name"]: check["mark"] for check in checks}
    return any(mark == "blocked" and wires.is_about_identity(name) for name, mark in marks.items())


@dataclass(frozen=True)
class HostKeys:
    """The host keys of one instance, and what the newest scan says about them."""

    instance: Instance
    keys: Sequence[HostKey]
    scanned_at: datetime | None  # when the newest scan that read keys began

    @property
    def approved(self) -> list[HostKey]:
        return [key for key in self.keys if key.state == Approved]

    @property
    def authority(self) -> HostKey | None:
        """What signs for the instance, where that is trusted instead of what it shows itself."""
        return next((key for key in self.approved if key.is_authority), None)

    @property
    def shown(self) -> list[HostKey]:
        """Those that the newest scan was shown; before any scan, all that are not retired."""
        own = [key for key in self.keys if not key.is_authority]
        if self.scanned_at is None:
            return [key for key in own if key.state != HostKey.State.RETIRED]
        return [key for key in own if key.seen_at >= self.scanned_at]

    @property
    def waiting(self) -> list[HostKey]:
        """Those that are shown and not approved; none waits where an authority signs for them."""
        return [] if self.authority else [key for key in self.shown if key.state != Approved]

    @property
    def is_changed(self) -> bool:
        """Whether it is another one than the approved; an authority may sign one after the other."""
        if self.authority or not self.approved:
            return False
        return self._scan_differs or self._login_met_another

    @property
    def _scan_differs(self) -> bool:
        types = {key.algorithm for key in self.approved}
        is_replaced = any(key.algorithm in types for key in self.waiting)
        is_gone = bool(self.waiting) and not any(key.state == Approved for key in self.shown)
        return is_replaced or is_gone

    @property
    def _login_met_another(self) -> bool:
        """Whether a check or a rotation was shown what is not pinned, since the last approval."""
        decided = [key.decided_at for key in self.approved if key.decided_at]
        checked = self.instance.checked_at
        if not checked or (decided and checked < max(decided)):
            return False
        return met_another(self.instance.checks)

    @property
    def ends_at(self) -> datetime | None:
        """When the authority's own certificate ends."""
        return wires.expires_at(self.instance.wire, self.authority.blob) if self.authority else None

    @property
    def expires_at(self) -> datetime | None:
        """When the first of what is approved ends, if that is soon or was; it stays pinned even so."""
        ends = (wires.expires_at(self.instance.wire, key.blob) for key in self.approved)
        first = min((end for end in ends if end), default=None)
        return first if first and first < timezone.now() + SOON else None

    @property
    def badge(self) -> Fact:
        if self.is_changed:
            return Fact(
                "danger", "Changed", f"It shows a {self.instance.shown.one} that is not approved. Compare it."
            )
        if self.authority:
            return Fact(
                "ok",
                "By an authority",
                f"Keyturn talks only to a {self.instance.shown.one} that the approved authority has signed "
                "for this address, and that is in date.",
            )
        if self.approved:
            return Fact(
                "ok", "Pinned", f"Keyturn talks only to a {self.instance.shown.one} that is approved."
            )
        return Fact(
            "warning", "Not approved", f"Scan the {self.instance.shown.one}, compare it and approve it."
        )


def listed_host_keys(instance: Instance) -> HostKeys:
    """The host keys of an instance of a list, which reads them and `scanned_at` for all its rows at once."""
    return HostKeys(instance, list(instance.host_keys.all()), instance.scanned_at)  # type: ignore[attr-defined]
