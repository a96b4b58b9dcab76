"""The rows that the overview is about: what its reader may list, by the lists' own filters."""

from __future__ import annotations

from collections import Counter
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from django.urls import reverse

from console.access import resources
from console.forms.rotations.rotations import Filters as RunFilters
from console.forms.secrets.secrets import Filters as SecretFilters
from console.http import OperatorRequest
from console.lists import paging, run_filters, secret_filters, secret_rows
from console.presentation import secret_states
from rotation.models import ManagedAccount, Run
from secrets_app import prepared
from secrets_app.models import Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

Credential = ManagedAccount.Credential

#: In the order of what is worse.
TROUBLED = (Credential.OUT_OF_SYNC, Credential.BLOCKED, Credential.UNVERIFIED, Credential.UNREACHABLE)


class Seen:
    """What the reader of this request may list in one region, or in all."""

    def __init__(self, request: OperatorRequest, region: str) -> None:
        self.request, self.region = request, region
        self.may_secrets = resources.may(request, Action.LIST_SECRETS)
        self.may_instances = resources.may(request, Action.LIST_INSTANCES)
        #: Of a reader from whom nothing is hidden, rows are counted in an index and no right is asked about.
        self.sees_all = resources.sees_all_secrets(request)
        self.counts_all = self.sees_all and region in {resources.ALL_REGIONS, *_the_only_region()}

    @cached_property
    def _every(self) -> QuerySet[Secret]:
        return resources.secrets(self.request, self.region)

    def secrets(self, **chosen: str) -> QuerySet[Secret]:
        """The rows of the list of secrets under this filter, and nothing beside them."""
        return secret_filters.narrowed(self._every, _of_secrets(**chosen))

    def runs(self, **chosen: str) -> QuerySet[Run]:
        return run_filters.narrowed(resources.runs(self.request, self.region), _of_runs(**chosen))

    @cached_property
    def rotating(self) -> list[UUID]:
        return secret_rows.rotating()

    def link(self, name: str, **chosen: str) -> str:
        return reverse(name, args=[self.region], query=chosen or None)

    @property
    def troubled(self) -> Counter[str]:
        """How many idle secrets, whose credential is in trouble, there are in each state."""
        return self.counted_troubled[0]

    @cached_property
    def counted_troubled(self) -> tuple[Counter[str], int | None]:
        """As `troubled`, and how many idle ones have drifted, if that was counted along with them."""
        if not self.sees_all:  # as far as a list says it: each has to be asked about
            idle = self.secrets(status="enabled").exclude(pk__in=self.rotating)
            of_each = {kind: idle.filter(managed__credential=kind).order_by() for kind in TROUBLED}
            most = paging.COUNT_CAP + 1
            return Counter({kind: rows[:most].count() for kind, rows in of_each.items()}), None
        # All accounts are counted in an index, and the few that rotate or are to be deleted are subtracted.
        kept, counts, drifted = _troubled(), Counter[str](), 0
        if not self.counts_all:
            kept = kept.filter(secret__region__code=self.region)
        for kind, code, count in _COUNTED_TROUBLED() if self.counts_all else _by_state(kept):
            counts[kind] += count
            drifted += count if _is_drifted(kind, code) else 0
        if not counts:
            return counts, drifted
        facts = ("secret", "credential", "credential_code")
        rotating = list(kept.filter(secret__in=self.rotating).values_list(*facts))
        planned = {"secret__purged_at__isnull": True, "secret__deletion_planned_at__isnull": False}
        ending = list(kept.filter(**planned).values_list(*facts))
        counts.subtract(kind for _, kind, _ in {*rotating, *ending})
        return counts, drifted - sum(_is_drifted(kind, code) for _, kind, code in rotating)


def _troubled() -> QuerySet[ManagedAccount]:
    return ManagedAccount.objects.filter(released_at__isnull=True, credential__in=TROUBLED).order_by()


def _by_state(rows: QuerySet[ManagedAccount]) -> QuerySet[Any, Any]:
    return rows.values_list("credential", "credential_code").annotate(count=Count("*"))


_COUNTED_TROUBLED = prepared.Question(lambda: _by_state(_troubled()))


def _is_drifted(credential: str, code: str) -> bool:
    return credential == Credential.OUT_OF_SYNC and code in secret_states.DRIFTED


def _the_only_region() -> list[str]:
    """The region, if there is one only: it has all that there is."""
    codes = [region.code for region in decisions.every_region()]
    return codes if len(codes) == 1 else []


@lru_cache(maxsize=64)
def _of_secrets(**chosen: str) -> dict[str, Any]:
    """What the list of secrets makes of these filters; a form takes longer to make than the rows to count."""
    return SecretFilters(chosen, keys=()).chosen()


@lru_cache(maxsize=64)
def _of_runs(**chosen: str) -> dict[str, Any]:
    return RunFilters(chosen).chosen()
