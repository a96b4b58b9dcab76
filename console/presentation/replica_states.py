"""How the replicas of a secret stand, and of which secret one is a replica."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from secrets_app.models import Region, Replica, Secret
from secrets_app.secrets import replicas


@dataclass(frozen=True)
class Shown:
    """One replica as a badge."""

    region: str
    label: str
    tone: str
    sentence: str


def listed(secret: Secret, seen: Collection[Region]) -> list[Shown]:
    """The replicas of a secret; a region that is not among those `seen` by its code."""
    rows = secret.replicas.select_related("region", "secret", "primary").order_by("region__code")
    return [_shown(row, _place(row.region, seen)) for row in rows]


def primary_of(secret: Secret, seen: Collection[Region]) -> str:
    """The region of the secret that this one is a replica of; empty for a secret of its own."""
    if not secret.is_generic:
        return ""
    row = Replica.objects.select_related("primary__region").filter(secret=secret).first()
    return _place(row.primary.region, seen) if row else ""


def _place(region: Region, seen: Collection[Region]) -> str:
    return region.name if region in seen else region.code


def _shown(replica: Replica, place: str) -> Shown:
    if replica.state == Replica.State.FAILED:
        return Shown(place, "Failed", "danger", replica.message)
    if not replicas.is_in_step(replica):
        return Shown(place, "In progress", "busy", "It is copied within seconds.")
    return Shown(place, "In sync", "ok", "")
