"""Fetch with permission what rights are made of: policies, users and groups.

What one may not describe does not exist here either. Whatever hands out a right needs *KMS full access*
beside its action, and is refused before a form is shown.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import Http404

from console.access import resources
from console.http import OperatorRequest
from secrets_app import regions
from secrets_app.actions import Kind, arn
from secrets_app.models import Attachment, Invitation, Policy, Principal, User
from secrets_app.people import users
from secrets_app.policy import decisions, policies
from secrets_app.policy.decisions import Action


def has_full_access(request: OperatorRequest) -> bool:
    return policies.has_full_access(request.principal)


def require_full_access(request: OperatorRequest, action: Action, resource: object = None) -> None:
    """Return for an administrator who may do `action` too; else record the refusal. Raises `Refused`."""
    resources.require(request, action, resource)
    if not has_full_access(request):
        sentence = "Only users with KMS full access can change permissions."
        resources.refuse(request, action, resource, decisions.Decision(False, sentence))


# ---------------------------------------------------------------- policies


def listed_policies(request: OperatorRequest) -> QuerySet[Policy]:
    """The policies that this person may see. Raises `Refused`."""
    resources.require(request, Action.LIST_POLICIES)
    return seen_policies(request)


def seen_policies(request: OperatorRequest) -> QuerySet[Policy]:
    """Those which one may describe."""
    rows = Policy.objects.select_related("account")
    seen = [row.pk for row in rows if decisions.allows(request.principal, Action.DESCRIBE_POLICY, row)]
    return Policy.objects.filter(pk__in=seen).select_related("account", "created_by")


def policy(request: OperatorRequest, pk: UUID, action: Action = Action.DESCRIBE_POLICY) -> Policy:
    """Return one policy for `action`, which takes full access unless it is to look. Raises Http404."""
    found = Policy.objects.select_related("account", "created_by").filter(pk=pk).first()
    if found is None or not decisions.allows(request.principal, Action.DESCRIBE_POLICY, found):
        raise Http404
    if action != Action.DESCRIBE_POLICY:
        require_full_access(request, action, found)
    return found


def seen_holders(request: OperatorRequest, attached: QuerySet[Attachment]) -> list[Attachment]:
    """The attachments to users that this person may describe, and to groups where they may list them."""
    lists_groups = resources.may(request, Action.LIST_GROUPS)
    people = set(seen_users(request).values_list("pk", flat=True))
    return [
        one
        for one in attached
        if (one.principal.user_id in people if one.principal is not None else lists_groups)
    ]


def seen_attachments(request: OperatorRequest, attached: QuerySet[Attachment]) -> list[Attachment]:
    """The attachments of policies that this person may describe."""
    shown = set(seen_policies(request).values_list("pk", flat=True))
    return [one for one in attached if one.policy_id in shown]


# ---------------------------------------------------------------- users


def listed_users(request: OperatorRequest) -> QuerySet[User]:
    """The people that this person may see. Raises `Refused`."""
    resources.require(request, Action.LIST_USERS)
    return seen_users(request)


def seen_users(request: OperatorRequest) -> QuerySet[User]:
    """Those whom one may describe."""
    account = regions.account().number
    seen = [
        row.pk
        for row in User.objects.all()
        if decisions.allows(request.principal, Action.DESCRIBE_USER, users.named(row, account=account))
    ]
    return User.objects.filter(pk__in=seen)


class Told:
    """Whose names this person is told: of users they may describe, their own, and of groups they may list."""

    def __init__(self, request: OperatorRequest) -> None:
        self.people = {*seen_users(request).values_list("pk", flat=True), request.user.pk}
        self.groups = resources.may(request, Action.LIST_GROUPS)

    def name(self, whom: User | Principal | Group) -> str:
        """What this user, application or group is called here."""
        if isinstance(whom, Group):
            return str(whom) if self.groups else "A group that you may not see"
        user_id = whom.pk if isinstance(whom, User) else whom.user_id
        if user_id is None:
            return "An application that you may not see"
        return str(whom) if user_id in self.people else "A user that you may not see"


def user(request: OperatorRequest, pk: UUID, action: Action = Action.DESCRIBE_USER) -> User:
    """Return one person for `action`. Raises Http404 or `Refused`."""
    found = User.objects.select_related("principal").filter(pk=pk).first()
    if found is None or not may_describe(request, found):
        raise Http404
    resources.require(request, action, users.named(found))
    return found


def may_describe(request: OperatorRequest, who: User) -> bool:
    return decisions.allows(request.principal, Action.DESCRIBE_USER, users.named(who))


def sees_invitation(request: OperatorRequest, row: Invitation) -> bool:
    """Whether this person may describe the one who is invited, or has sent the invitation."""
    name = users.Named(arn(Kind.USER, row.username, account=regions.account().number))
    return row.invited_by == request.principal or decisions.allows(
        request.principal, Action.DESCRIBE_USER, name
    )


def invitation(request: OperatorRequest, pk: UUID) -> Invitation:
    """Return one invitation. Raises Http404."""
    found = Invitation.objects.select_related("invited_by").filter(pk=pk).first()
    if found is None or not sees_invitation(request, found):
        raise Http404
    return found


# ---------------------------------------------------------------- groups


def groups(request: OperatorRequest) -> QuerySet[Group]:
    """All groups: a group is only a name, its members and its policies. Raises `Refused`."""
    resources.require(request, Action.LIST_GROUPS)
    return Group.objects.all()


def group(request: OperatorRequest, pk: int, action: Action = Action.LIST_GROUPS) -> Group:
    """Return one group; to change it takes full access. Raises Http404 or `Refused`."""
    resources.require(request, Action.LIST_GROUPS)
    found = Group.objects.filter(pk=pk).first()
    if found is None:
        raise Http404
    if action != Action.LIST_GROUPS:
        require_full_access(request, action, users.named(found))
    return found
