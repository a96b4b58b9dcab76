"""Which values a user knows, because they read or entered them; for the day when the user leaves.

A value is out of their hands once a later one, which was generated, is current.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Max, Prefetch

from secrets_app.actions import Action
from secrets_app.models import AuditEvent, Label, Principal, Secret, SecretVersion

Origin = SecretVersion.Origin


@dataclass(frozen=True)
class Known:
    """A secret of which a user knows a value."""

    secret: Secret
    times: int  # that a value was shown to them
    typed: bool  # they entered one
    last_at: datetime
    is_over: bool  # the current value is another one

    @property
    def how(self) -> str:
        shown = f"read {self.times} time{'' if self.times == 1 else 's'}" if self.times else ""
        return ", ".join(part for part in (shown, "entered by hand" if self.typed else "") if part)


def known(by: Principal) -> list[Known]:
    """The kept secrets of which this person knows a value; first those whose current one it may be."""
    read = {
        row["resource_id"]: (row["last"], row["times"])
        for row in AuditEvent.objects.filter(
            actor=by, action=Action.GET_SECRET_VALUE, outcome=AuditEvent.Outcome.SUCCEEDED
        )
        .order_by()
        .values("resource_id")
        .annotate(last=Max("at"), times=Count("pk"))
    }
    typed: dict[UUID, datetime] = dict(
        SecretVersion.objects.filter(created_by=by, origin__in=[Origin.INITIAL, Origin.CUSTOM])
        .order_by()
        .values_list("secret_id")
        .annotate(Max("created_at"))
    )
    current = Label.objects.filter(role=Label.Role.CURRENT).select_related("version")
    rows = Secret.objects.kept().filter(pk__in={*read, *typed}).select_related("region", "account")
    revealed = [
        _known(secret, read.get(secret.pk), typed.get(secret.pk))
        for secret in rows.select_related("managed__instance__region", "schedule").prefetch_related(
            Prefetch("labels", current, to_attr="current_labels"), "tags"
        )
    ]
    return sorted(revealed, key=lambda value: (value.is_over, value.secret.name))


def _known(secret: Secret, read: tuple[datetime, int] | None, typed_at: datetime | None) -> Known:
    last = max(at for at in (read[0] if read else None, typed_at) if at)
    labels: list[Label] = secret.current_labels  # type: ignore[attr-defined]
    now = labels[0].version if labels else None
    # They may have seen an earlier value that became the current one again.
    is_over = now is not None and now.created_at > last and now.origin != Origin.EARLIER
    return Known(secret, read[1] if read else 0, typed_at is not None, last, is_over)
