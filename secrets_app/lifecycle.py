"""The only writer of secrets and their tags."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from secrets_app import keypairs, keyring
from secrets_app.models import NAME_LENGTH, NAME_PATTERN, TAG_LIMIT, Principal, Region, Secret, Tag
from secrets_app.passwords import Policy

DESCRIPTION_LENGTH = 4096


class NameTaken(Exception):
    """A secret with this name exists in this region, perhaps pending deletion."""


class BadName(ValueError):
    """A secret's name has 1 to 192 letters, digits and / _ + = . @ - characters."""


def create(
    name: str,
    *,
    region: Region,
    kind: str,
    actor: Principal,
    description: str = "",
    password_policy: Policy | None = None,
    key_algorithm: str = "",
    tags: Mapping[str, str] | None = None,
) -> Secret:
    """Make a secret without a value. Raises `BadName`, `NameTaken`, `passwords.Unfit` or ValueError.

    The caller records the event, since it knows what the secret is for.
    """
    if len(name) > NAME_LENGTH or not re.match(NAME_PATTERN, name):
        raise BadName(BadName.__doc__)
    if len(description) > DESCRIPTION_LENGTH:
        raise ValueError(f"A description has at most {DESCRIPTION_LENGTH:,} characters.")
    if kind == Secret.Kind.KEY_PAIR and key_algorithm not in keypairs.ALGORITHMS:
        raise ValueError(f"Unknown key algorithm {key_algorithm!r}.")
    try:
        with transaction.atomic():
            secret = Secret.objects.create(
                account_id=region.account_id,
                region=region,
                name=name,
                kind=kind,
                key=keyring.default_key(),
                description=description,
                password_policy=(password_policy or Policy()).check().as_json(),
                key_algorithm=key_algorithm,
                created_by=actor,
            )
            _set_tags(secret, tags or {})
    except IntegrityError:
        raise NameTaken(f"{name} is in use in {region.name}.") from None
    return secret


def note_read(secret: Secret, actor: Principal) -> None:
    """Keep who last saw a value, for whoever asks later whether the secret is still in use."""
    Secret.objects.filter(pk=secret.pk).update(last_read_at=Now(), last_read_by=actor)


def _set_tags(secret: Secret, tags: Mapping[str, str]) -> None:
    if len(tags) > TAG_LIMIT:
        raise ValueError(f"A secret has at most {TAG_LIMIT} tags.")
    secret.tags.all().delete()
    Tag.objects.bulk_create(Tag(secret=secret, key=key, value=value) for key, value in tags.items())
