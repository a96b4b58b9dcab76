"""What rights are made of, policies, users and groups, as far as a principal may see and use them.

A row that the principal may not describe is not found (`NotFound`). A change that gives a right needs *KMS
full access* beside its action (`Refused`, recorded).
"""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet

from secrets_app import regions
from secrets_app.actions import Action, Kind, arn
from secrets_app.models import Attachment, Invitation, Policy, Principal, Secret, User
from secrets_app.people import machines, users
from secrets_app.policy import decisions, requiring, resource_documents

# ---------------------------------------------------------------- policies


def listed_policies(actor: Principal) -> QuerySet[Policy]:
    """The policies that `actor` may see. Raises `Refused`."""
    requiring.require(actor, Action.LIST_POLICIES)
    return seen_policies(actor)


def seen_policies(actor: Principal) -> QuerySet[Policy]:
    """Those which one may describe."""
    rows = Policy.objects.select_related("account")
    seen = [row.pk for row in rows if decisions.allows(actor, Action.DESCRIBE_POLICY, row)]
    return Policy.objects.filter(pk__in=seen).select_related("account", "created_by")


def policy(actor: Principal, pk: UUID, action: Action = Action.DESCRIBE_POLICY) -> Policy:
    """Return one policy for `action`, which takes full access unless it is to look. Raises `NotFound`."""
    row = Policy.objects.select_related("account", "created_by").filter(pk=pk).first()
    if row is None or not decisions.allows(actor, Action.DESCRIBE_POLICY, row):
        raise requiring.NotFound
    if action != Action.DESCRIBE_POLICY:
        requiring.require_full_access(actor, action, row)
    return row


def seen_holders(actor: Principal, attached: QuerySet[Attachment]) -> list[Attachment]:
    """The attachments to users that `actor` may describe, and to groups where they may list them."""
    names = ShownNames(actor)
    return [attachment for attachment in attached if names.shows(attachment.principal or attachment.group)]


def attachments_of(principal: Principal) -> QuerySet[Attachment]:
    """Every policy that holds for a user or an application, attached directly or through a group."""
    rows = Attachment.objects.filter(Q(principal=principal) | Q(group__in=principal.groups.all()))
    return rows.select_related("policy", "group").order_by("policy__name", "group__name")


def seen_attachments(actor: Principal, attached: QuerySet[Attachment]) -> list[Attachment]:
    """The attachments of policies that `actor` may describe."""
    shown = set(seen_policies(actor).values_list("pk", flat=True))
    return [attachment for attachment in attached if attachment.policy_id in shown]


# ---------------------------------------------------------------- users


def listed_users(actor: Principal) -> QuerySet[User]:
    """The people that `actor` may see. Raises `Refused`."""
    requiring.require(actor, Action.LIST_USERS)
    return seen_users(actor)


def seen_users(actor: Principal) -> QuerySet[User]:
    """Those whom one may describe."""
    account = regions.account().number
    seen = [
        row.pk
        for row in User.objects.all()
        if decisions.allows(actor, Action.DESCRIBE_USER, users.named(row, account=account))
    ]
    return User.objects.filter(pk__in=seen)


class ShownNames:
    """The names that `actor` may see: of users they may describe, their own, and of groups they may list."""

    def __init__(self, actor: Principal) -> None:
        self.actor = actor
        self.people: set[UUID] = set(seen_users(actor).values_list("pk", flat=True))
        if actor.user_id is not None:
            self.people.add(actor.user_id)
        self.machines: set[UUID] = set(seen_machines(actor).values_list("pk", flat=True))
        self.groups = requiring.may(actor, Action.LIST_GROUPS)

    def shows(self, whom: User | Principal | Group | None) -> bool:
        """Whether `actor` may see what this user, application or group is called."""
        if whom is None or isinstance(whom, Group):
            return self.groups
        user_id = whom.pk if isinstance(whom, User) else whom.user_id
        if user_id is None:
            return whom == self.actor or whom.pk in self.machines
        return user_id in self.people

    def name(self, whom: User | Principal | Group) -> str:
        """What this user, application or group is called here."""
        if self.shows(whom):
            return str(whom)
        if isinstance(whom, Group):
            return "A group that you may not see"
        is_user = isinstance(whom, User) or whom.user_id is not None
        return "A user that you may not see" if is_user else "An application that you may not see"


def user(actor: Principal, pk: UUID, action: Action = Action.DESCRIBE_USER) -> User:
    """Return one person for `action`. Raises `NotFound` or `Refused`."""
    row = User.objects.select_related("principal").filter(pk=pk).first()
    if row is None or not may_describe(actor, row):
        raise requiring.NotFound
    requiring.require(actor, action, users.named(row))
    return row


def listed_machines(actor: Principal) -> QuerySet[Principal]:
    """The applications that `actor` may see. Raises `Refused`."""
    requiring.require(actor, Action.LIST_USERS)
    return seen_machines(actor)


def seen_machines(actor: Principal) -> QuerySet[Principal]:
    """Those which one may describe."""
    account = regions.account().number
    rows = Principal.objects.filter(kind=Principal.Kind.MACHINE)
    seen = [
        row.pk
        for row in rows
        if decisions.allows(actor, Action.DESCRIBE_USER, machines.named(row, account=account))
    ]
    return rows.filter(pk__in=seen)


def machine(actor: Principal, pk: UUID, action: Action = Action.DESCRIBE_USER) -> Principal:
    """Return one application for `action`. Raises `NotFound` or `Refused`."""
    row = Principal.objects.filter(kind=Principal.Kind.MACHINE, pk=pk).first()
    if row is None or not decisions.allows(actor, Action.DESCRIBE_USER, machines.named(row)):
        raise requiring.NotFound
    requiring.require(actor, action, machines.named(row))
    return row


def may_describe(actor: Principal, who: User) -> bool:
    return decisions.allows(actor, Action.DESCRIBE_USER, users.named(who))


def sees_invitation(actor: Principal, row: Invitation) -> bool:
    """Whether `actor` may describe the one who is invited, or has sent the invitation."""
    name = users.Named(arn(Kind.USER, row.username, account=regions.account().number))
    return row.invited_by == actor or decisions.allows(actor, Action.DESCRIBE_USER, name)


def invitation(actor: Principal, pk: UUID) -> Invitation:
    """Return one invitation. Raises `NotFound`."""
    row = Invitation.objects.select_related("invited_by").filter(pk=pk).first()
    if row is None or not sees_invitation(actor, row):
        raise requiring.NotFound
    return row


def sees_resource_policy(actor: Principal, secret: Secret) -> bool:
    """Whether `actor` may read the policy of a secret: its grants, and each principal that it names."""
    if not decisions.allows(actor, Action.LIST_GRANTS, secret):
        return False
    named = Principal.objects.filter(pk__in=resource_documents.named(secret.resource_policy))
    names = ShownNames(actor)
    return all(names.shows(principal) for principal in named.select_related("user"))


# ---------------------------------------------------------------- groups


def groups(actor: Principal) -> QuerySet[Group]:
    """All groups: a group is only a name, its members and its policies. Raises `Refused`."""
    requiring.require(actor, Action.LIST_GROUPS)
    return Group.objects.all()


def group(actor: Principal, pk: int, action: Action = Action.LIST_GROUPS) -> Group:
    """Return one group; to change it takes full access. Raises `NotFound` or `Refused`."""
    requiring.require(actor, Action.LIST_GROUPS)
    row = Group.objects.filter(pk=pk).first()
    if row is None:
        raise requiring.NotFound
    if action != Action.LIST_GROUPS:
        requiring.require_full_access(actor, action, users.named(row))
    return row
