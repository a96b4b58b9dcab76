"""GetSecretValue, decided by what is kept: the way of `door` and `reading` where it ends in a value.

Of generic secrets: what the answer says of the rotation of a managed one is not kept.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from console.interfaces import kept, staging
from console.interfaces.alibaba import calls, faults, labels, nonces, parameters, reading, signatures
from secrets_app import origin
from secrets_app.errors import DomainError
from secrets_app.people import access_keys

OPERATION = "GetSecretValue"
#: With one of these, the call asks for more than is kept.
_MORE = ("VersionId", "Recipient", "FetchExtendedConfig", "DryRun")


def answer(
    sent: signatures.Request, signature: signatures.Signature, where: dict[str, Any], client: str
) -> dict[str, Any]:
    """Return what the call is answered, once its event is durable. Raises `kept.NotAsKept`.

    Raises `faults.Fault` too: for a call too many, and where the failure of the read was recorded.
    """
    key = kept.signed(
        signature.key_id, lambda secret: signatures.require(sent, signature, secret, now=timezone.now())
    )
    named = {"access_key": key.row.key_id, "client": client}
    with origin.bind(**where, at=timezone.now(), signed=named):
        found = kept.Found(key)
        call, stage = _asked(sent, signature, found)
        secret = found.checked()
        stages = staging.Stages(secret.labels, labels.ROLES)
        version = stages.holder(stage or labels.CURRENT)
        if version is None or not secret.row.is_generic:
            raise kept.NotAsKept
        calls.require_rate(call, key.row, is_read=True)
        try:
            value = found.fetch(secret, version, nonces.Once(key.row, signature))
        except kept.NotAsKept:
            raise
        except DomainError as error:
            raise faults.of(error) from None
        nonces.sweep()
        access_keys.note_use(key.row, OPERATION)
        return reading.said(version, stages, value)


def _asked(
    sent: signatures.Request, signature: signatures.Signature, found: kept.Found
) -> tuple[calls.Call, str]:
    """The call, and the stage that it names."""
    try:
        given = parameters.of_call(sent.body, signature.given, is_whole=signature.scheme in signatures.RPC)
        if any(name in given for name in _MORE):
            raise kept.NotAsKept
        stage = given.text("VersionStage", most=labels.LENGTH)
        region, said = calls.region_said(signature.region, given, sent.headers.get("host", ""))
        if region is None:
            raise kept.NotAsKept
        call = calls.Call(OPERATION, found.actor, found.known(region), said or region.code, given)
        call.named = lambda call, name: found.named(call.region, name)
        if calls.find(call, given.text("SecretName", needed=True)) is None:
            raise kept.NotAsKept
    except DomainError:
        raise kept.NotAsKept from None
    return call, stage
