"""The table of operations: what does each, and under which action of Keyturn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.interfaces.aws import reading, replication, resource_policies, writing
from console.interfaces.aws.calls import Call
from secrets_app.actions import Action


@dataclass(frozen=True)
class Operation:
    """One operation."""

    do: Callable[[Call], dict[str, Any]]
    action: str  # the right that it asks for first, and its name in the audit trail
    is_read: bool = False  # of a value, or of what is known of one secret: more of them are answered


TABLE: dict[str, Operation] = {
    "AssociateCrossAccountReplica": Operation(replication.across_accounts, Action.UPDATE_SECRET),
    "BatchGetSecretValue": Operation(reading.batch_get_secret_value, Action.GET_SECRET_VALUE, is_read=True),
    "CancelRotateSecret": Operation(writing.cancel_rotate_secret, Action.UPDATE_ROTATION),
    "CreateSecret": Operation(writing.create_secret, Action.CREATE_SECRET),
    "DeleteResourcePolicy": Operation(resource_policies.delete_resource_policy, Action.SET_SECRET_POLICY),
    "DeleteSecret": Operation(writing.delete_secret, Action.DELETE_SECRET),
    "DescribeSecret": Operation(reading.describe_secret, Action.DESCRIBE_SECRET, is_read=True),
    "DisassociateCrossAccountReplica": Operation(replication.across_accounts, Action.UPDATE_SECRET),
    "GetRandomPassword": Operation(writing.get_random_password, "kms:GetRandomPassword"),
    "GetResourcePolicy": Operation(resource_policies.get_resource_policy, Action.DESCRIBE_SECRET),
    "GetSecretValue": Operation(reading.get_secret_value, Action.GET_SECRET_VALUE, is_read=True),
    "ListResourcePolicies": Operation(resource_policies.list_resource_policies, Action.DESCRIBE_SECRET),
    "ListSecretVersionIds": Operation(reading.list_secret_version_ids, Action.DESCRIBE_SECRET),
    "ListSecrets": Operation(reading.list_secrets, Action.LIST_SECRETS),
    "PutResourcePolicy": Operation(resource_policies.put_resource_policy, Action.SET_SECRET_POLICY),
    "PutSecretValue": Operation(writing.put_secret_value, Action.PUT_SECRET_VALUE),
    "RemoveRegionsFromReplication": Operation(
        replication.remove_regions_from_replication, Action.UPDATE_SECRET
    ),
    "ReplicateSecretToRegions": Operation(replication.replicate_secret_to_regions, Action.UPDATE_SECRET),
    "RestoreSecret": Operation(writing.restore_secret, Action.RESTORE_SECRET),
    "RotateSecret": Operation(writing.rotate_secret, Action.ROTATE_SECRET),
    "StopReplicationToReplica": Operation(replication.stop_replication_to_replica, Action.UPDATE_SECRET),
    "TagResource": Operation(writing.tag_resource, Action.TAG_RESOURCE),
    "UntagResource": Operation(writing.untag_resource, Action.UNTAG_RESOURCE),
    "UpdateSecret": Operation(writing.update_secret, Action.UPDATE_SECRET),
    "UpdateSecretVersionStage": Operation(writing.update_secret_version_stage, Action.PUT_SECRET_VALUE),
    "ValidateResourcePolicy": Operation(resource_policies.validate_resource_policy, Action.DESCRIBE_SECRET),
}
