"""The staging labels of one secret, under the names that a service has for Keyturn's roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secrets_app import prepared
from secrets_app.models import Label, Secret, SecretVersion

_OF_SECRET = prepared.Question(lambda secret: Label.objects.select_related("version").filter(secret=secret))


@dataclass(frozen=True)
class Stages:
    """The stages of one secret as they were at one moment, with the versions that have them."""

    labels: tuple[Label, ...]
    roles: Mapping[str, Label.Role]  # by the service's names

    def holder(self, stage: str) -> SecretVersion | None:
        """The version that has this stage."""
        # By the role, and not by what it is called here: a custom label can have that name by another
        # interface.
        wanted = (self.roles[stage], "") if stage in self.roles else (Label.Role.CUSTOM, stage)
        return next((one.version for one in self.labels if (one.role, one.name) == wanted), None)

    def of(self, version: SecretVersion) -> list[str]:
        return sorted(name(one, self.roles) for one in self.labels if one.version_id == version.pk)


def name(label: Label, roles: Mapping[str, Label.Role]) -> str:
    """What the service calls this label."""
    return next((known for known, role in roles.items() if role == label.role), label.name)


def read(secret: Secret, roles: Mapping[str, Label.Role]) -> Stages:
    """Read the stages of this secret."""
    found = tuple(_OF_SECRET(secret.pk))
    for label in found:
        label.version.secret = secret
    return Stages(found, roles)
