"""The OS account that a secret manages, if it manages one; and an account as policies know it.

A generic secret manages no account. Other modules read a secret's account only through this one, so that
none of them takes it for granted.

Policies name an account `...:instance/ID/user/NAME`. To manage one is a right on the instance and the user,
independent of the secret's name: a user who manages an account sets its password, and so knows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from rotation import wires
from rotation.models import Instance, ManagedAccount
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions


class Unmanaged(DomainError):
    """This secret belongs to no instance, so there is nothing to rotate."""

    code = "secret_unmanaged"


def of(secret: Secret) -> ManagedAccount | None:
    """Return the account that `secret` manages; None for a generic secret."""
    return getattr(secret, "managed", None)


def needed(secret: Secret) -> ManagedAccount:
    """Return the account that `secret` manages. Raises `Unmanaged`."""
    account = of(secret)
    if account is None:
        raise Unmanaged
    return account


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
