"""Staging labels: the roles of Keyturn under the service's names, and custom ones as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from secrets_app import prepared
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import generic

CURRENT = "AWSCURRENT"
ROLES = {CURRENT: Label.Role.CURRENT, "AWSPREVIOUS": Label.Role.PREVIOUS, "AWSPENDING": Label.Role.PENDING}
_NAMES = {role: name for name, role in ROLES.items()}


_OF_SECRET = prepared.Question(lambda secret: Label.objects.select_related("version").filter(secret=secret))


def role_of(stage: str) -> str:
    """What Keyturn calls this stage: a role, or a custom label."""
    return ROLES.get(stage) or generic.custom(stage)


def name(label: Label) -> str:
    return _NAMES.get(Label.Role(label.role), label.name)


def of(version: SecretVersion) -> list[str]:
    return sorted(name(label) for label in version.labels.all())


def by_version(labels: Iterable[Label]) -> dict[str, list[str]]:
    """The stages of each version that has one; the labels with their versions."""
    found: dict[str, list[str]] = {}
    for label in labels:
        found.setdefault(label.version.version_id, []).append(name(label))
    return {version: sorted(stages) for version, stages in found.items()}


@dataclass(frozen=True)
class Stages:
    """The stages of one secret as they were at one moment, with the versions that have them."""

    labels: tuple[Label, ...]

    def holder(self, stage: str) -> SecretVersion | None:
        """The version that has this stage."""
        # By the role, and not by what it is called here: a custom label can have that name by another
        # interface.
        wanted = (ROLES[stage], "") if stage in ROLES else (Label.Role.CUSTOM, stage)
        return next((one.version for one in self.labels if (one.role, one.name) == wanted), None)

    def of(self, version: SecretVersion) -> list[str]:
        return sorted(name(one) for one in self.labels if one.version_id == version.pk)


def stages(secret: Secret) -> Stages:
    """Read the stages of this secret."""
    found = tuple(_OF_SECRET(secret.pk))
    for label in found:
        label.version.secret = secret
    return Stages(found)
