"""What the engine asks of a kind of credential: one module for each kind keeps this protocol.

A method makes a value, has a host take it, and says whether it works; it also knows what a host is left
with when a rotation goes wrong, or well. It decides nothing about the run's order, which is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from rotation.connectors import base
from secrets_app.models import Secret, SecretVersion
from secrets_app.secrets import versions

if TYPE_CHECKING:  # a `Work` holds the method that it works by
    from rotation.engine.work import Work


class Method(Protocol):
    """How one kind of credential is made, told, asked for, proven and cleaned up."""

    @property
    def KIND(self) -> base.Kind:
        """What it is called on a wire."""
        ...

    @property
    def REPLACES(self) -> bool:
        """Whether a host that takes the new value refuses the old one from then on by itself."""
        ...

    def generate(self, secret: Secret, username: str) -> versions.Value:
        """Make a new value, as the secret's own rules say; nothing is stored."""
        ...

    def tell(self, work: Work, version: SecretVersion, generation: int) -> None:
        """Have the host take the value. Raises as the connector's own call does."""
        ...

    def probe(self, work: Work, version: SecretVersion) -> base.Proof:
        """Ask the host whether it accepts the value; counts as no login."""
        ...

    def prove(self, work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
        """Show whether the value works, by a login on a new connection where there can be one."""
        ...

    def undo(self, work: Work, version: SecretVersion, facts: base.Facts | None, proof: base.Proof) -> None:
        """Take back on the host what a value that was not shown to work would leave there, where that helps.

        Ends the run as failed where the host is as it was before.
        """
        ...

    def control(self, work: Work, facts: base.Facts) -> Iterable[base.Check]:
        """Look whether the host refuses what it must refuse, where that is due; lines of the checklist."""
        ...

    def is_due(self, work: Work) -> bool:
        """Whether anything is left to do on the host once the new value is current."""
        ...

    def clean(self, work: Work) -> None:
        """Take away what the host accepts beside the new value, or end the run or put it off."""
        ...

    def disprove(self, work: Work) -> str:
        """Show that the old value is refused, last of all. Returns what a person should know, or nothing."""
        ...
