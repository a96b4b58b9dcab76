"""The table of operations: what does each, under which action of Keyturn, and whether that records it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.interfaces.aws import reading, writing
from console.interfaces.aws.calls import Call
from secrets_app.actions import Action


@dataclass(frozen=True)
class Operation:
    """One operation."""

    do: Callable[[Call], dict[str, Any]]
    action: str  # the right that it asks for first, and its name in the audit trail
    is_recorded: bool = True  # by the function of the domain that it calls; else the door records it


TABLE: dict[str, Operation] = {
    "BatchGetSecretValue": Operation(reading.batch_get_secret_value, Action.GET_SECRET_VALUE),
    "CreateSecret": Operation(writing.create_secret, Action.CREATE_SECRET),
    "DeleteSecret": Operation(writing.delete_secret, Action.DELETE_SECRET),
    "DescribeSecret": Operation(reading.describe_secret, Action.DESCRIBE_SECRET, is_recorded=False),
    "GetRandomPassword": Operation(writing.get_random_password, "kms:GetRandomPassword", is_recorded=False),
    "GetResourcePolicy": Operation(reading.get_resource_policy, Action.DESCRIBE_SECRET, is_recorded=False),
    "GetSecretValue": Operation(reading.get_secret_value, Action.GET_SECRET_VALUE),
    "ListSecretVersionIds": Operation(
        reading.list_secret_version_ids, Action.DESCRIBE_SECRET, is_recorded=False
    ),
    "ListSecrets": Operation(reading.list_secrets, Action.LIST_SECRETS, is_recorded=False),
    "PutSecretValue": Operation(writing.put_secret_value, Action.PUT_SECRET_VALUE),
    "RestoreSecret": Operation(writing.restore_secret, Action.RESTORE_SECRET),
    "RotateSecret": Operation(writing.rotate_secret, Action.ROTATE_SECRET),
    "TagResource": Operation(writing.tag_resource, Action.TAG_RESOURCE),
    "UntagResource": Operation(writing.untag_resource, Action.UNTAG_RESOURCE),
    "UpdateSecret": Operation(writing.update_secret, Action.UPDATE_SECRET),
    "UpdateSecretVersionStage": Operation(writing.update_secret_version_stage, Action.PUT_SECRET_VALUE),
}
