"""The table of methods: one row for each kind of credential."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rotation.engine.methods import key_pair, password
from rotation.engine.methods.method import Method
from rotation.models import Run
from secrets_app.models import Secret

TABLE: Final[Mapping[str, Method]] = MappingProxyType(
    {Secret.Kind.PASSWORD: password, Secret.Kind.KEY_PAIR: key_pair}
)


def of(run: Run) -> Method:
    """Return how the credential of this run is worked on: the secret's, or the account's that is looked at.

    An instance alone is looked at as for a password.
    """
    return TABLE[run.secret.kind if run.secret else run.account_kind or Secret.Kind.PASSWORD]
