"""What the engine asks of a kind of credential: one module for each kind keeps this protocol.

A method makes a value, sets it on a host, and says whether it works; it also removes what a failed or a
successful rotation leaves on the host. The order of a run is the engine's decision.
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
    """How one kind of credential is made, set, checked, proven and cleaned up."""

    @property
    def KIND(self) -> base.Kind:
        """What it is called on a wire."""
        ...

    @property
    def REPLACES(self) -> bool:
        """Whether a host that has the new value refuses the old one, without a second change."""
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

    def ask(self, work: Work, version: SecretVersion) -> base.Proof:
        """As `probe`, for a check of its own: it may log in with a value that was refused last."""
        ...

    def prove(self, work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
        """Show whether the value works, by a login on a new connection where there can be one."""
        ...

    def undo(self, work: Work, version: SecretVersion, facts: base.Facts | None, proof: base.Proof) -> None:
        """Remove a value from the host that was not shown to work, if that helps.

        Ends the run as failed if the host is as it was before.
        """
        ...

    def control(self, work: Work, facts: base.Facts) -> Iterable[base.Check]:
        """Check that the host refuses a wrong value, if that is due; yield lines of the checklist."""
        ...

    def is_due(self, work: Work) -> bool:
        """Whether anything is left to do on the host once the new value is current."""
        ...

    def clean(self, work: Work) -> None:
        """Remove the other values that the host accepts; if that fails, end the run or put it off."""
        ...

    def disprove(self, work: Work) -> str:
        """Show last that the old value is refused. Return a sentence for the user, or nothing."""
        ...
