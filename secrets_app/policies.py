"""The decision: may this principal do this to that?

One function decides, `decide`. It knows three groups for now: administrators may do everything,
auditors read everything but values, helpdesk lists, describes and restores secrets.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from secrets_app import users
from secrets_app.models import Principal


class Action(enum.StrEnum):
    """Everything that can be asked for, under KMS's names where KMS has one."""

    LIST_SECRETS = "kms:ListSecrets"
    DESCRIBE_SECRET = "kms:DescribeSecret"
    CREATE_SECRET = "kms:CreateSecret"
    ROTATE_SECRET = "kms:RotateSecret"
    PUT_SECRET_VALUE = "kms:PutSecretValue"
    GET_SECRET_VALUE = "kms:GetSecretValue"
    UPDATE_SECRET = "kms:UpdateSecret"
    UPDATE_ROTATION = "kms:UpdateSecretRotationPolicy"
    DELETE_SECRET = "kms:DeleteSecret"
    RESTORE_SECRET = "kms:RestoreSecret"
    RESOLVE_ROTATION = "kms:ResolveRotation"
    OVERRIDE_CHECK = "kms:OverridePreflightCheck"
    LIST_INSTANCES = "kms:ListInstances"
    DESCRIBE_INSTANCE = "kms:DescribeInstance"
    REGISTER_INSTANCE = "kms:RegisterInstance"
    UPDATE_INSTANCE = "kms:UpdateInstance"
    CHECK_INSTANCE = "kms:CheckInstance"
    APPROVE_HOST_KEY = "kms:ApproveHostKey"
    LIST_CREDENTIALS = "kms:ListManagementCredentials"
    DESCRIBE_CREDENTIAL = "kms:DescribeManagementCredential"
    CREATE_CREDENTIAL = "kms:CreateManagementCredential"
    USE_CREDENTIAL = "kms:UseManagementCredential"
    LIST_RUNS = "kms:ListRotations"
    DESCRIBE_RUN = "kms:DescribeRotation"
    LIST_EVENTS = "kms:ListAuditEvents"


READS = frozenset(action for action in Action if action.value.startswith(("kms:List", "kms:Describe")))
ROLES: dict[str, frozenset[Action]] = {
    users.ADMINISTRATORS: frozenset(Action),
    users.AUDITORS: READS,
    users.HELPDESK: frozenset({Action.LIST_SECRETS, Action.DESCRIBE_SECRET, Action.RESTORE_SECRET}),
}
SCHEDULED = frozenset({Action.ROTATE_SECRET, Action.DESCRIBE_SECRET})


class NotAllowed(Exception):
    """This principal may not do this."""


@dataclass(frozen=True)
class Decision:
    """Allowed or not, and what made it so."""

    allowed: bool
    because: str  # a sentence for those who may see why


def decide(principal: Principal | None, action: Action, resource: object = None) -> Decision:
    """Decide whether `principal` may do `action` to `resource`; where in doubt, no."""
    if principal is None:
        return Decision(False, "Nobody is signed in.")
    if principal.kind == Principal.Kind.SYSTEM:
        return Decision(action in SCHEDULED, "Schedules rotate secrets and do nothing else.")
    user = principal.user
    if user is None or not user.is_active:
        return Decision(False, "This user is disabled.")
    for group in user.groups.all():
        if action in ROLES.get(group.name, frozenset()):
            return Decision(True, f"Members of {group.name} may.")
    return Decision(False, f"No group of {principal.name} allows {action.value}.")


def allows(principal: Principal | None, action: Action, resource: object = None) -> bool:
    return decide(principal, action, resource).allowed


def require(principal: Principal | None, action: Action, resource: object = None) -> None:
    """Return if allowed. Raises `NotAllowed` with the sentence that says why not."""
    decision = decide(principal, action, resource)
    if not decision.allowed:
        raise NotAllowed(decision.because)
