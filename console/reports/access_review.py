"""The access review: who can read each value, wildcards that reach everything, unused grants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.models import Group

from secrets_app.models import Principal, Secret, SecretGroupGrant, SecretPrincipalGrant
from secrets_app.policy import decisions, reach
from secrets_app.policy.decisions import Action

NAMES_SHOWN = 10
GRANTS_SHOWN = 200


@dataclass(frozen=True)
class Readers:
    """Those who could read one value."""

    secret: Secret
    names: list[str]  # of those whom the reader of the review may see
    hidden: int = 0

    @property
    def count(self) -> int:
        return len(self.names) + self.hidden

    @property
    def shown(self) -> list[str]:
        return self.names[:NAMES_SHOWN]

    @property
    def more(self) -> int:
        return max(len(self.names) - NAMES_SHOWN, 0) + self.hidden


#: By each of these alone, with what else is common, a value becomes known: `docs/actions.md`.
_READ = (Action.GET_SECRET_VALUE, Action.REBIND_ACCOUNT)


@dataclass(frozen=True)
class Unused:
    """A grant that nothing was done by for 90 days."""

    secret: Secret
    whom: str
    is_group: bool
    action: str
    grant: SecretPrincipalGrant | SecretGroupGrant


def readers(secrets: list[Secret], shows: Callable[[Principal], bool]) -> list[Readers]:
    """Who could read each of these values, or send it elsewhere; named are those that the reader
    may see, as `shows` says.

    Tags are prefetched by the caller.
    """
    everybody = reach.Everybody(secrets)
    rows = []
    for secret in secrets:
        # What belongs to no instance is sent to none.
        actions = (Action.GET_SECRET_VALUE,) if secret.is_generic else _READ
        who = [right.principal for right in everybody.with_rights(secret, actions)]
        names = [principal.name for principal in who if shows(principal)]
        rows.append(Readers(secret, names, len(who) - len(names)))
    return rows


def unused(reader: Principal, name: Callable[[Principal | Group], str]) -> list[Unused]:
    """Unused grants on secrets whose grants `reader` may list, the oldest first; `name` as the reader may."""
    rows = [
        *(
            Unused(r.content_object, name(r.principal), False, r.permission.codename, r)
            for r in reach.unused_of_principals()
        ),
        *(
            Unused(r.content_object, name(r.group), True, r.permission.codename, r)
            for r in reach.unused_of_groups()
        ),
    ]
    seen = [
        grant_row
        for grant_row in rows
        if decisions.allows(reader, Action.DESCRIBE_SECRET, grant_row.secret)
        and decisions.allows(reader, Action.LIST_GRANTS, grant_row.secret)
    ]
    return sorted(seen, key=lambda grant_row: (grant_row.grant.granted_at, grant_row.action))[:GRANTS_SHOWN]
