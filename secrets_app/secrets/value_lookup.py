"""Was this text ever a value of ours? Which secret's, when was it the current one, and who was shown it.

Compares marks and opens no value. The text is in no event, log or answer; the look-up is recorded
before the answer is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from secrets_app.actions import Action, Kind, arn
from secrets_app.audit import trail
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Principal, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.regions import account
from secrets_app.secrets import versions


@dataclass
class Found:
    """A version that has, or had, this value."""

    secret: Secret
    version: SecretVersion
    current_from: datetime | None = None
    current_until: datetime | None = None  # None too while it is the current one
    reveals: list[AuditEvent] = field(default_factory=list)


def look_up(text: Plaintext, *, actor: Principal) -> list[Found]:
    """Return every version whose value is `text`, newest first.

    Raises `decisions.NotAllowed` or `trail.NotRecorded`. Never call it inside a transaction (RuntimeError).
    """
    decisions.require(actor, Action.LOOK_UP_VALUE)
    marks = {versions.mark(value) for value in _readings(text)}
    rows = SecretVersion.objects.filter(value_mark__in=marks).select_related(
        "secret__region", "secret__account", "secret__managed__instance", "created_by"
    )
    matches = [_match(version) for version in rows.order_by("-created_at")]
    with transaction.atomic(durable=True):
        trail.record(
            Action.LOOK_UP_VALUE,
            arn(Kind.AUDIT, "", account=account().number),
            actor=actor,
            details={"found": [match.version.version_id for match in matches]},
        )
    return matches


def _readings(text: Plaintext) -> Iterator[versions.Value]:
    """What the text can be: as it stands, without the line's end that came with it, or a key."""
    raw = text.reveal()
    for reading in dict.fromkeys((raw, raw.rstrip("\r\n"), raw.strip())):
        yield versions.Value("", password=Plaintext(reading))
    try:
        pair = key_pairs.read(text)
    except key_pairs.Unreadable:
        return
    yield versions.Value("", public_key=pair.public_key, private_key=pair.private_key)


def _match(version: SecretVersion) -> Found:
    secret = version.secret
    became_current = Q(action__in=[Action.CREATE_SECRET.value, versions.PROMOTED]) | Q(
        action=Action.PUT_SECRET_VALUE.value, details__current=True
    )
    stages = AuditEvent.objects.filter(became_current, resource_id=secret.pk).exclude(version_id="")
    began = stages.filter(version_id=version.version_id).order_by("sequence").first()
    ended = stages.filter(sequence__gt=began.sequence).order_by("sequence").first() if began else None
    reads = AuditEvent.objects.filter(
        resource_id=secret.pk,
        action=Action.GET_SECRET_VALUE.value,
        version_id=version.version_id,
        outcome=AuditEvent.Outcome.SUCCEEDED,
    )
    return Found(
        secret,
        version,
        began.at if began else None,
        ended.at if ended else None,
        list(reads[:100]),
    )
