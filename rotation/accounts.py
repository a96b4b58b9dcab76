"""An OS account on an instance, as policies know it: `...:instance/ID/user/NAME`.

To manage an account is a right on the instance and the user, whatever the secret is called: who may manage it
sets its password, and so reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from rotation import wires
from rotation.models import Instance
from secrets_app.models import Principal
from secrets_app.policy import decisions


@dataclass(frozen=True)
class Named:
    """An account that exists on an instance, or may."""

    instance: Instance
    username: str

    @property
    def arn(self) -> str:
        """Empty for a name that no account can have, so that nothing is allowed on it."""
        if not wires.is_username(self.instance.wire, self.username):
            return ""
        # Windows does not tell ADMINISTRATOR from administrator.
        name = self.username.lower() if self.instance.os == Instance.OS.WINDOWS else self.username
        return f"{self.instance.arn}/user/{name}"

    @property
    def pk(self) -> UUID:
        return self.instance.pk


def require(instance: Instance, username: str, *, actor: Principal) -> None:
    """Return if `actor` may manage this account. Raises `decisions.NotAllowed`."""
    decisions.require(actor, decisions.Action.MANAGE_ACCOUNT, Named(instance, username))


def may_manage(instance: Instance, username: str, *, actor: Principal) -> bool:
    return decisions.allows(actor, decisions.Action.MANAGE_ACCOUNT, Named(instance, username))
