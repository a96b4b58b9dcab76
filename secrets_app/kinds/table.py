"""The table of kinds: one row for each kind of credential."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from secrets_app.kinds import key_pair, password
from secrets_app.kinds.kind import Kind
from secrets_app.models import Secret

TABLE: Final[Mapping[str, Kind]] = MappingProxyType(
    {Secret.Kind.PASSWORD: password, Secret.Kind.KEY_PAIR: key_pair}
)


def of(secret: Secret) -> Kind | None:
    """Return the kind of the credential in `secret`; None for a generic secret, which has none."""
    return TABLE.get(secret.kind)
