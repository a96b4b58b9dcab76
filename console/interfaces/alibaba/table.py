"""The table of actions: what does each, and under which action of Keyturn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.interfaces.alibaba import managing, others, policies, reading, tagging, writing
from console.interfaces.alibaba.calls import Call
from secrets_app.actions import Action


@dataclass(frozen=True)
class Entry:
    """One action of the interface."""

    do: Callable[[Call], dict[str, Any]]
    right: str  # that it asks for first, and its name in the audit trail
    is_read: bool = False  # of a value, or of what is known of one secret: more of them are answered


TABLE: dict[str, Entry] = {
    "BatchGetSecretValue": Entry(reading.batch_get_secret_value, Action.GET_SECRET_VALUE, is_read=True),
    "CreateSecret": Entry(writing.create_secret, Action.CREATE_SECRET),
    "DeleteSecret": Entry(writing.delete_secret, Action.DELETE_SECRET),
    "DescribeAccountKmsStatus": Entry(others.describe_account_kms_status, "kms:DescribeAccountKmsStatus"),
    "DescribeRegions": Entry(others.describe_regions, "kms:DescribeRegions"),
    "DescribeSecret": Entry(reading.describe_secret, Action.DESCRIBE_SECRET, is_read=True),
    "GetRandomPassword": Entry(others.get_random_password, "kms:GetRandomPassword"),
    "GetSecretPolicy": Entry(policies.get_secret_policy, Action.DESCRIBE_SECRET),
    "GetSecretValue": Entry(reading.get_secret_value, Action.GET_SECRET_VALUE, is_read=True),
    "ListSecretVersionIds": Entry(reading.list_secret_version_ids, Action.DESCRIBE_SECRET),
    "ListSecrets": Entry(reading.list_secrets, Action.LIST_SECRETS),
    "ListTagResources": Entry(tagging.list_tag_resources, Action.DESCRIBE_SECRET),
    "PutSecretValue": Entry(writing.put_secret_value, Action.PUT_SECRET_VALUE),
    "RestoreSecret": Entry(writing.restore_secret, Action.RESTORE_SECRET),
    "RotateSecret": Entry(managing.rotate_secret, Action.ROTATE_SECRET),
    "SetSecretPolicy": Entry(policies.set_secret_policy, Action.SET_SECRET_POLICY),
    "TagResource": Entry(tagging.tag_resource, Action.TAG_RESOURCE),
    "TagResources": Entry(tagging.tag_resources, Action.TAG_RESOURCE),
    "UntagResource": Entry(tagging.untag_resource, Action.UNTAG_RESOURCE),
    "UntagResources": Entry(tagging.untag_resources, Action.UNTAG_RESOURCE),
    "UpdateSecret": Entry(writing.update_secret, Action.UPDATE_SECRET),
    "UpdateSecretRotationPolicy": Entry(managing.update_secret_rotation_policy, Action.UPDATE_ROTATION),
    "UpdateSecretVersionStage": Entry(writing.update_secret_version_stage, Action.PUT_SECRET_VALUE),
}
