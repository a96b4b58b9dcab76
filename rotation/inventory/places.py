"""Regions, as an administrator changes them: made, renamed, and retired once nothing is in them.

Here and not beside their writer, because what is in a region is secrets and instances.
"""

from __future__ import annotations

from django.db import transaction

from rotation.models import Instance
from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Region, Secret
from secrets_app.policy import decisions


class NotEmpty(DomainError):
    """Something is in this region; the message says how much."""

    code = "region_not_empty"


def create(code: str, name: str, *, actor: Principal) -> Region:
    """Make a region. Raises `regions.BadCode`, `regions.CodeTaken` or `decisions.NotAllowed`."""
    decisions.require(actor, Action.CREATE_REGION)
    region = regions.create(code, name, actor=actor)
    decisions.forget()
    return region


def rename(region: Region, name: str, *, was: str, actor: Principal) -> None:
    """Change what a region is called. Raises `decisions.NotAllowed`, and as `regions.rename`."""
    decisions.require(actor, Action.UPDATE_REGION, regions.named(region))
    regions.rename(region, name, was=was, actor=actor)
    decisions.forget()


def retire(region: Region, *, actor: Principal, reason: str = "") -> None:
    """Let a region go in which nothing is left but history.

    Raises `NotEmpty`, `regions.LastRegion`, `regions.Retired` or `decisions.NotAllowed`; nothing changes
    then.
    """
    decisions.require(actor, Action.RETIRE_REGION, regions.named(region))
    with transaction.atomic():
        held = regions.hold_to_retire(region)
        if needed := why_not(held):
            raise NotEmpty(f"{held.name} cannot be retired yet. {needed}")
        regions.retire(held, actor=actor, reason=reason)
    decisions.forget()


def why_not(region: Region) -> str:
    """Say what keeps a region from being retired; nothing where nothing does."""
    secrets = Secret.objects.kept().filter(region=region).count()
    instances = Instance.objects.registered().filter(region=region).count()
    said = []
    if secrets:
        said.append(f"{secrets} secret{'' if secrets == 1 else 's'}")
    if instances:
        said.append(f"{instances} instance{'' if instances == 1 else 's'}")
    if not said:
        return ""
    are = "is" if secrets + instances == 1 else "are"
    return f"{' and '.join(said)} {are} in it. Delete the secrets and retire the instances first."
