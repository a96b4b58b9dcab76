"""Stages: the roles of Keyturn under the service's names, and custom ones as they are."""

from __future__ import annotations

from dataclasses import dataclass

from console.interfaces.alibaba import faults
from secrets_app import prepared
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import generic

CURRENT, PREVIOUS = "ACSCurrent", "ACSPrevious"
ROLES = {CURRENT: Label.Role.CURRENT, PREVIOUS: Label.Role.PREVIOUS, "ACSPending": Label.Role.PENDING}
AT_MOST = 8  # on one secret
LENGTH = 64
_NAMES = {role: name for name, role in ROLES.items()}


_OF_SECRET = prepared.Question(lambda secret: Label.objects.select_related("version").filter(secret=secret))


def role_of(stage: str) -> str:
    """What Keyturn calls a stage that a client sets: a role, or a custom label. Raises `faults.Fault`."""
    if stage.startswith("ACS") and stage not in {CURRENT, PREVIOUS}:
        raise faults.invalid("A stage that begins with ACS is ACSCurrent or ACSPrevious.")
    return ROLES.get(stage) or generic.custom(stage)


def name(label: Label) -> str:
    return _NAMES.get(Label.Role(label.role), label.name)


def of(version: SecretVersion) -> list[str]:
    return sorted(name(label) for label in version.labels.all())


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


def require_room(secret: Secret, stages: list[str]) -> None:
    """Return if the secret can have these stages beside those it has. Raises `faults.Fault`."""
    has = {name(label) for label in secret.labels.all()}
    if len(has.union(stages)) > AT_MOST:
        raise faults.limit(f"A secret has at most {AT_MOST} stages.")
