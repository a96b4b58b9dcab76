"""Everything that can be asked for, and what it is asked of: the one table of actions and resources.

Imports no other room. `docs/actions.md` is the same table for people, and a test holds the two together.
"""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """A kind of resource, as the last part of an ARN begins."""

    SECRET = "secret"
    INSTANCE = "instance"
    ROTATION = "rotation"  # a container only: one run goes by the name of its secret or instance
    CREDENTIAL = "credential"
    KEY = "key"
    USER = "user"
    GROUP = "group"
    POLICY = "policy"
    AUDIT = "audit"  # the trail, which is one
    REGION = "region"
    SETTINGS = "settings"  # of the installation, which are one

    @property
    def is_regional(self) -> bool:
        return self in {Kind.SECRET, Kind.INSTANCE, Kind.ROTATION}


class Action(enum.StrEnum):
    """What may be allowed or denied, under KMS's names where KMS has one."""

    def __new__(cls, name: str, kind: Kind, on_container: bool = False) -> Action:
        member = str.__new__(cls, name)
        member._value_ = name
        member.kind = kind
        member.on_container = on_container
        return member

    kind: Kind
    on_container: bool  # asked of `...:secret`, where there is no one secret yet, or there are many

    LIST_SECRETS = "kms:ListSecrets", Kind.SECRET, True
    CREATE_SECRET = "kms:CreateSecret", Kind.SECRET
    DESCRIBE_SECRET = "kms:DescribeSecret", Kind.SECRET
    ROTATE_SECRET = "kms:RotateSecret", Kind.SECRET
    PUT_SECRET_VALUE = "kms:PutSecretValue", Kind.SECRET
    GET_SECRET_VALUE = "kms:GetSecretValue", Kind.SECRET
    UPDATE_SECRET = "kms:UpdateSecret", Kind.SECRET
    TAG_RESOURCE = "kms:TagResource", Kind.SECRET
    UNTAG_RESOURCE = "kms:UntagResource", Kind.SECRET
    UPDATE_ROTATION = "kms:UpdateSecretRotationPolicy", Kind.SECRET
    DELETE_SECRET = "kms:DeleteSecret", Kind.SECRET
    RESTORE_SECRET = "kms:RestoreSecret", Kind.SECRET
    RESOLVE_ROTATION = "kms:ResolveRotation", Kind.SECRET
    OVERRIDE_CHECK = "kms:OverridePreflightCheck", Kind.SECRET
    OVERRIDE_POLICY = "kms:OverridePasswordPolicy", Kind.SECRET
    REBIND_ACCOUNT = "kms:RebindManagedAccount", Kind.SECRET
    LIST_GRANTS = "kms:ListGrants", Kind.SECRET
    CREATE_GRANT = "kms:CreateGrant", Kind.SECRET
    REVOKE_GRANT = "kms:RevokeGrant", Kind.SECRET
    SET_SECRET_POLICY = "kms:SetSecretPolicy", Kind.SECRET  # which requires full access too
    LIST_INSTANCES = "kms:ListInstances", Kind.INSTANCE, True
    REGISTER_INSTANCE = "kms:RegisterInstance", Kind.INSTANCE, True
    DESCRIBE_INSTANCE = "kms:DescribeInstance", Kind.INSTANCE
    UPDATE_INSTANCE = "kms:UpdateInstance", Kind.INSTANCE
    CHECK_INSTANCE = "kms:CheckInstance", Kind.INSTANCE
    APPROVE_HOST_KEY = "kms:ApproveHostKey", Kind.INSTANCE
    DEREGISTER_INSTANCE = "kms:DeregisterInstance", Kind.INSTANCE
    MANAGE_ACCOUNT = "kms:ManageAccount", Kind.INSTANCE  # of `...:instance/ID/user/NAME`
    LIST_CREDENTIALS = "kms:ListManagementCredentials", Kind.CREDENTIAL, True
    CREATE_CREDENTIAL = "kms:CreateManagementCredential", Kind.CREDENTIAL, True
    DESCRIBE_CREDENTIAL = "kms:DescribeManagementCredential", Kind.CREDENTIAL
    USE_CREDENTIAL = "kms:UseManagementCredential", Kind.CREDENTIAL
    DELETE_CREDENTIAL = "kms:DeleteManagementCredential", Kind.CREDENTIAL
    LIST_RUNS = "kms:ListRotations", Kind.ROTATION, True
    DESCRIBE_RUN = "kms:DescribeRotation", Kind.SECRET  # or the instance, for a run that has no secret
    LIST_KEYS = "kms:ListKeys", Kind.KEY, True
    CREATE_KEY = "kms:CreateKey", Kind.KEY, True
    DESCRIBE_KEY = "kms:DescribeKey", Kind.KEY
    UPDATE_KEY = "kms:UpdateKey", Kind.KEY
    DISABLE_KEY = "kms:DisableKey", Kind.KEY
    ENABLE_KEY = "kms:EnableKey", Kind.KEY
    SCHEDULE_KEY_DELETION = "kms:ScheduleKeyDeletion", Kind.KEY
    CANCEL_KEY_DELETION = "kms:CancelKeyDeletion", Kind.KEY
    LIST_USERS = "kms:ListUsers", Kind.USER, True
    CREATE_USER = "kms:CreateUser", Kind.USER, True
    DESCRIBE_USER = "kms:DescribeUser", Kind.USER
    UPDATE_USER = "kms:UpdateUser", Kind.USER
    DISABLE_USER = "kms:DisableUser", Kind.USER
    RESET_SIGN_IN = "kms:ResetSignIn", Kind.USER
    RESET_SECOND_FACTOR = "kms:ResetSecondFactor", Kind.USER
    LIST_ACCESS_KEYS = "kms:ListAccessKeys", Kind.USER
    CREATE_ACCESS_KEY = "kms:CreateAccessKey", Kind.USER
    UPDATE_ACCESS_KEY = "kms:UpdateAccessKey", Kind.USER
    DELETE_ACCESS_KEY = "kms:DeleteAccessKey", Kind.USER
    LIST_GROUPS = "kms:ListGroups", Kind.GROUP, True
    CREATE_GROUP = "kms:CreateGroup", Kind.GROUP, True
    UPDATE_GROUP = "kms:UpdateGroup", Kind.GROUP
    LIST_POLICIES = "kms:ListPolicies", Kind.POLICY, True
    CREATE_POLICY = "kms:CreatePolicy", Kind.POLICY, True
    DESCRIBE_POLICY = "kms:DescribePolicy", Kind.POLICY
    UPDATE_POLICY = "kms:UpdatePolicy", Kind.POLICY
    DELETE_POLICY = "kms:DeletePolicy", Kind.POLICY
    ATTACH_POLICY = "kms:AttachPolicy", Kind.POLICY
    SIMULATE_POLICY = "kms:SimulatePolicy", Kind.POLICY, True
    LIST_EVENTS = "kms:ListAuditEvents", Kind.AUDIT, True
    VERIFY_AUDIT = "kms:VerifyAuditTrail", Kind.AUDIT, True
    LOOK_UP_VALUE = "kms:LookUpValue", Kind.AUDIT, True
    ACKNOWLEDGE_RESTORE = "kms:AcknowledgeRestore", Kind.AUDIT, True

    DESCRIBE_SETTINGS = "kms:DescribeSettings", Kind.SETTINGS, True
    SEND_TEST_MAIL = "kms:SendTestMail", Kind.SETTINGS, True
    MANAGE_NOTIFICATIONS = "kms:ManageNotifications", Kind.SETTINGS, True
    CREATE_REGION = "kms:CreateRegion", Kind.REGION, True
    UPDATE_REGION = "kms:UpdateRegion", Kind.REGION
    RETIRE_REGION = "kms:RetireRegion", Kind.REGION

    @property
    def is_read(self) -> bool:
        """Whether it only looks, and at no value."""
        return self.value.startswith(("kms:List", "kms:Describe"))


#: What policies of AWS call an action of ours. Source: AWS, "Actions defined by AWS Secrets Manager".
AWS_NAMES = {
    f"secretsmanager:{action.removeprefix('kms:')}": action
    for action in (
        Action.CREATE_SECRET,
        Action.DELETE_SECRET,
        Action.DESCRIBE_SECRET,
        Action.GET_SECRET_VALUE,
        Action.LIST_SECRETS,
        Action.PUT_SECRET_VALUE,
        Action.RESTORE_SECRET,
        Action.ROTATE_SECRET,
        Action.TAG_RESOURCE,
        Action.UNTAG_RESOURCE,
        Action.UPDATE_SECRET,
    )
}
#: Operations there that are no action here, and the action that decides each.
AWS_DECIDED_BY = {
    "secretsmanager:BatchGetSecretValue": Action.GET_SECRET_VALUE,
    "secretsmanager:CancelRotateSecret": Action.UPDATE_ROTATION,
    "secretsmanager:DeleteResourcePolicy": Action.SET_SECRET_POLICY,
    "secretsmanager:GetResourcePolicy": Action.DESCRIBE_SECRET,
    "secretsmanager:ListResourcePolicies": Action.DESCRIBE_SECRET,
    "secretsmanager:PutResourcePolicy": Action.SET_SECRET_POLICY,
    "secretsmanager:ValidateResourcePolicy": Action.DESCRIBE_SECRET,
    "secretsmanager:AssociateCrossAccountReplica": Action.UPDATE_SECRET,
    "secretsmanager:DisassociateCrossAccountReplica": Action.UPDATE_SECRET,
    "secretsmanager:RemoveRegionsFromReplication": Action.UPDATE_SECRET,
    "secretsmanager:ReplicateSecretToRegions": Action.UPDATE_SECRET,
    "secretsmanager:StopReplicationToReplica": Action.UPDATE_SECRET,
    "secretsmanager:ListSecretVersionIds": Action.DESCRIBE_SECRET,
    "secretsmanager:UpdateSecretVersionStage": Action.PUT_SECRET_VALUE,
}

#: A user with one of these on a secret can come to know its value: it is shown, sent to a machine of their
#: choice, or chosen by them (with RotateSecret). `docs/actions.md` names them to people, and those of other
#: kinds.
EQUAL_REVEAL = (Action.GET_SECRET_VALUE, Action.REBIND_ACCOUNT, Action.PUT_SECRET_VALUE)

#: The actions that a grant on one secret may give.
OF_A_SECRET = tuple(
    action
    for action in Action
    if action.kind == Kind.SECRET
    and not action.on_container
    and action not in {Action.CREATE_SECRET, Action.SET_SECRET_POLICY}
)


def named(name: str) -> Action | None:
    """The action of this name; None where there is none. Case counts."""
    action = Action._value2member_map_.get(name)
    return action if isinstance(action, Action) else None


def principal_arn(name: str, *, account: str) -> str:
    """How a resource policy calls a user or an application. Source: RAM, "Policy elements", Principal."""
    return f"acs:ram::{account}:user/{name}"


def all_users(account: str) -> str:
    """What a policy of one secret calls all users of an account. Source: KMS, "Secret policies"."""
    return f"acs:ram::{account}:*"


def arn(kind: str, name: str, *, account: str, region: str = "") -> str:
    """`acs:kms:region:account:kind/name`; the container's without a name. Source: KMS, "Resource types"."""
    return f"acs:kms:{region}:{account}:{kind}" + (f"/{name}" if name else "")
