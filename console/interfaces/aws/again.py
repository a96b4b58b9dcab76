"""GetSecretValue, decided by what is kept: the way of `door` and `reading` where it ends in a value."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from console.interfaces import kept, new_regions, staging
from console.interfaces.aws import calls, faults, labels, reading, shapes, signatures
from secrets_app import origin
from secrets_app.errors import DomainError
from secrets_app.people import access_keys

SERVICE = "secretsmanager"
OPERATION = "GetSecretValue"


def is_one(sent: signatures.Request) -> bool:
    """Whether the request says that it reads one value."""
    return sent.headers.get("x-amz-target") == f"{SERVICE}.{OPERATION}"


def answer(sent: signatures.Request, where: dict[str, Any], client: str) -> dict[str, Any]:
    """Return what the call is answered, once its event is durable. Raises `kept.NotAsKept`.

    Raises `faults.Fault` too: for a call too many, and where the failure of the read was recorded.
    """
    try:
        signature = signatures.read(sent)
    except faults.Fault:
        raise kept.NotAsKept from None
    if signature.service != SERVICE or "x-amz-security-token" in sent.headers:
        raise kept.NotAsKept
    key = kept.signed(
        signature.key_id, lambda secret: signatures.require(sent, signature, secret, now=timezone.now())
    )
    named = {"access_key": key.row.key_id, "client": client}
    with origin.bind(**where, at=timezone.now(), signed=named):
        found = kept.Found(key)
        call = _asked(sent, found, signature.region)
        secret = found.checked()
        stages = staging.Stages(secret.labels, labels.ROLES)
        version = stages.holder(call.given.get("VersionStage", "") or labels.CURRENT)
        # A version that is named is looked for among all there are.
        if version is None or call.given.get("VersionId"):
            raise kept.NotAsKept
        calls.require_rate(call, key.row, is_read=True)
        try:
            value = found.fetch(secret, version)
        except kept.NotAsKept:
            raise
        except DomainError as error:
            raise faults.of(error) from None
        access_keys.note_use(key.row, OPERATION)
        return reading.said(call, version, stages, value)


def _asked(sent: signatures.Request, found: kept.Found, region_name: str) -> calls.Call:
    try:
        region = found.known(new_regions.region(region_name))
        given = shapes.read(OPERATION, sent.body)
        call = calls.Call(OPERATION, found.actor, region, region_name, given)
        call.named = lambda call, name: found.named(call.region, name)
        if calls.find(call, str(given["SecretId"])) is None:
            raise kept.NotAsKept
    except DomainError:
        raise kept.NotAsKept from None
    return call
