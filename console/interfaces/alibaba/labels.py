"""Stages: the roles of Keyturn under the service's names, and custom ones as they are."""

from __future__ import annotations

from console.interfaces import staging
from console.interfaces.alibaba import faults
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import generic

CURRENT, PREVIOUS = "ACSCurrent", "ACSPrevious"
ROLES = {CURRENT: Label.Role.CURRENT, PREVIOUS: Label.Role.PREVIOUS, "ACSPending": Label.Role.PENDING}
AT_MOST = 8  # on one secret
LENGTH = 64


def role_of(stage: str) -> str:
    """What Keyturn calls a stage that a client sets: a role, or a custom label. Raises `faults.Fault`."""
    if stage.startswith("ACS") and stage not in {CURRENT, PREVIOUS}:
        raise faults.invalid("A stage that begins with ACS is ACSCurrent or ACSPrevious.")
    return ROLES.get(stage) or generic.custom(stage)


def name(label: Label) -> str:
    return staging.name(label, ROLES)


def of(version: SecretVersion) -> list[str]:
    return sorted(name(label) for label in version.labels.all())


def stages(secret: Secret) -> staging.Stages:
    """Read the stages of this secret."""
    return staging.read(secret, ROLES)


def require_room(secret: Secret, stages: list[str]) -> None:
    """Return if the secret can have these stages beside those it has. Raises `faults.Fault`."""
    has = {name(label) for label in secret.labels.all()}
    if len(has.union(stages)) > AT_MOST:
        raise faults.limit(f"A secret has at most {AT_MOST} stages.")
