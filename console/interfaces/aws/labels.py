"""Staging labels: the roles of Keyturn under the service's names, and custom ones as they are."""

from __future__ import annotations

from collections.abc import Iterable

from console.interfaces import staging
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import generic

CURRENT = "AWSCURRENT"
ROLES = {CURRENT: Label.Role.CURRENT, "AWSPREVIOUS": Label.Role.PREVIOUS, "AWSPENDING": Label.Role.PENDING}


def role_of(stage: str) -> str:
    """What Keyturn calls this stage: a role, or a custom label."""
    return ROLES.get(stage) or generic.custom(stage)


def name(label: Label) -> str:
    return staging.name(label, ROLES)


def of(version: SecretVersion) -> list[str]:
    return sorted(name(label) for label in version.labels.all())


def by_version(labels: Iterable[Label]) -> dict[str, list[str]]:
    """The stages of each version that has one; the labels with their versions."""
    found: dict[str, list[str]] = {}
    for label in labels:
        found.setdefault(label.version.version_id, []).append(name(label))
    return {version: sorted(stages) for version, stages in found.items()}


def stages(secret: Secret) -> staging.Stages:
    """Read the stages of this secret."""
    return staging.read(secret, ROLES)
