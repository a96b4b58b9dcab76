"""What the answers of several actions say of a secret: its type, its rotation, its extended configuration."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from console.interfaces.alibaba.calls import Call, moment
from rotation import accounts
from rotation.models import ManagedAccount, Schedule
from secrets_app.actions import Action
from secrets_app.models import Secret
from secrets_app.policy import decisions

SUB_TYPES = {Secret.Kind.PASSWORD: "Password", Secret.Kind.KEY_PAIR: "SSHKey"}
#: With these no rotation succeeds before a person has acted.
_ABNORMAL = (ManagedAccount.Credential.BLOCKED, ManagedAccount.Credential.GONE)


def arn(secret: Secret) -> str:
    """The ARN as Keyturn's policies have it, which is the service's form."""
    return secret.arn


def type_of(secret: Secret) -> str:
    return "Generic" if secret.is_generic else "ECS"


def rotation(secret: Secret) -> dict[str, Any]:
    """Whether and when a managed secret rotates automatically; nothing for another one."""
    account = None if secret.is_generic else accounts.of(secret)
    if account is None:
        return {}
    found: dict[str, Any] = {"AutomaticRotation": "Disabled"}
    if account.rotated_at is not None:
        found["LastRotationDate"] = moment(account.rotated_at)
    with contextlib.suppress(Schedule.DoesNotExist):
        found |= _scheduled(secret.schedule, account)
    return found


def _scheduled(schedule: Schedule, account: ManagedAccount) -> dict[str, Any]:
    if not schedule.is_on or schedule.paused_at:
        return {"AutomaticRotation": "Disabled"}
    found: dict[str, Any] = {"RotationInterval": f"{int(schedule.period.total_seconds())}s"}
    if schedule.stopped_at or account.credential in _ABNORMAL:
        return found | {"AutomaticRotation": "Invalid"}
    if schedule.next_at is not None:
        found["NextRotationDate"] = moment(schedule.next_at)
    return found | {"AutomaticRotation": "Enabled"}


def extended_config(call: Call, secret: Secret) -> dict[str, str]:
    """What a managed secret changes, as the JSON that the service has for a secret of ECS.

    The instance stands there only for one who may describe it.
    """
    account = accounts.of(secret)
    if account is None:
        return {}
    known = decisions.allows(call.actor, Action.DESCRIBE_INSTANCE, account.instance)
    config = {
        "SecretSubType": SUB_TYPES[Secret.Kind(secret.kind)],
        "RegionId": call.region_name,
        "InstanceId": account.instance.instance_id if known else "",
        "CustomData": secret.custom_data,
    }
    return {"ExtendedConfig": json.dumps(config)}


def tags(secret: Secret) -> dict[str, Any]:
    return {"Tags": {"Tag": [{"TagKey": tag.key, "TagValue": tag.value} for tag in secret.tags.all()]}}
