"""Fetch with permission what rights are made of: policies, users and groups.

A row that the user may not describe is not found. A change that gives a right needs *KMS full access* beside
its action, and is refused before a form is shown.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import QuerySet

from console.fetching import access_keys, by_region, secrets_and_keys, users_and_policies
from console.http import OperatorRequest
from secrets_app.actions import Action
from secrets_app.models import AccessKey, Attachment, Invitation, Policy, Principal, Secret, User
from secrets_app.people import invitations
from secrets_app.policy import decisions, policies, requiring


def has_full_access(request: OperatorRequest) -> bool:
    return policies.has_full_access(request.principal)


def require_full_access(request: OperatorRequest, action: Action, resource: object = None) -> None:
    """Return for an administrator who may do `action` too; else record the refusal. Raises `Refused`."""
    requiring.require_full_access(request.principal, action, resource)


# ---------------------------------------------------------------- as `fetching` has them


def listed_policies(request: OperatorRequest) -> QuerySet[Policy]:
    return users_and_policies.listed_policies(request.principal)


def seen_policies(request: OperatorRequest) -> QuerySet[Policy]:
    return users_and_policies.seen_policies(request.principal)


def policy(request: OperatorRequest, pk: UUID, action: Action = Action.DESCRIBE_POLICY) -> Policy:
    return users_and_policies.policy(request.principal, pk, action)


def seen_holders(request: OperatorRequest, attached: QuerySet[Attachment]) -> list[Attachment]:
    return users_and_policies.seen_holders(request.principal, attached)


def seen_attachments(request: OperatorRequest, attached: QuerySet[Attachment]) -> list[Attachment]:
    return users_and_policies.seen_attachments(request.principal, attached)


def listed_users(request: OperatorRequest) -> QuerySet[User]:
    return users_and_policies.listed_users(request.principal)


def seen_users(request: OperatorRequest) -> QuerySet[User]:
    return users_and_policies.seen_users(request.principal)


class ShownNames(users_and_policies.ShownNames):
    """The names that the user of this request may see."""

    def __init__(self, request: OperatorRequest) -> None:
        super().__init__(request.principal)


def user(request: OperatorRequest, pk: UUID, action: Action = Action.DESCRIBE_USER) -> User:
    return users_and_policies.user(request.principal, pk, action)


def listed_machines(request: OperatorRequest) -> QuerySet[Principal]:
    return users_and_policies.listed_machines(request.principal)


def seen_machines(request: OperatorRequest) -> QuerySet[Principal]:
    return users_and_policies.seen_machines(request.principal)


def machine(request: OperatorRequest, pk: UUID, action: Action = Action.DESCRIBE_USER) -> Principal:
    return users_and_policies.machine(request.principal, pk, action)


def listed_keys(request: OperatorRequest) -> QuerySet[AccessKey]:
    return access_keys.listed(request.principal)


def seen_keys(request: OperatorRequest) -> QuerySet[AccessKey]:
    return access_keys.seen(request.principal)


def access_key(request: OperatorRequest, pk: UUID, action: Action) -> AccessKey:
    return access_keys.key(request.principal, pk, action)


def key_owners(request: OperatorRequest) -> QuerySet[Principal]:
    return access_keys.owners(request.principal)


def key_owner(request: OperatorRequest, pk: UUID) -> Principal:
    return access_keys.owner(request.principal, pk)


def may_describe(request: OperatorRequest, who: User) -> bool:
    return users_and_policies.may_describe(request.principal, who)


def sees_invitation(request: OperatorRequest, row: Invitation) -> bool:
    return users_and_policies.sees_invitation(request.principal, row)


def invitation(request: OperatorRequest, pk: UUID) -> Invitation:
    return users_and_policies.invitation(request.principal, pk)


def open_invitations(request: OperatorRequest) -> list[Invitation]:
    """The open ones, for users who may invite or may list users. Raises `requiring.Refused`."""
    if not requiring.may(request.principal, Action.CREATE_USER):
        requiring.require(request.principal, Action.LIST_USERS)
    return [row for row in invitations.open_ones() if sees_invitation(request, row)]


def reviewed_secrets(request: OperatorRequest) -> QuerySet[Secret]:
    """Those whose readers this user may see, as far as the search in the URL leaves them.

    Raises `requiring.Refused`.
    """
    requiring.require(request.principal, Action.LIST_USERS)
    requiring.require(request.principal, Action.LIST_POLICIES)
    rows = secrets_and_keys.secrets(request.principal, by_region.ALL_REGIONS)
    rows = rows.filter(decisions.visible(request.principal, Action.LIST_GRANTS, decisions.secret_rows()))
    text = request.GET.get("q", "")[:200].replace("\0", "")
    return rows.filter(name__icontains=text) if text else rows


def groups(request: OperatorRequest) -> QuerySet[Group]:
    return users_and_policies.groups(request.principal)


def group(request: OperatorRequest, pk: int, action: Action = Action.LIST_GROUPS) -> Group:
    return users_and_policies.group(request.principal, pk, action)
