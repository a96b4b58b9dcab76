"""The only writer of policies and of what they are attached to.

Only users with *KMS full access* may change either: any lesser right to edit policies would be a right to
everything. The last administrator cannot remove that access from all users, nor from itself.
"""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Group
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from secrets_app import regions
from secrets_app.actions import EQUAL_REVEAL, Action, Kind
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Attachment, Policy, Principal, User
from secrets_app.policy import decisions, holdings, ram_documents

FULL_ACCESS = holdings.FULL_ACCESS
SECRET_ADMINISTRATOR = "SecretAdministrator"
SECRET_USER = "SecretUser"
ROTATION_OPERATOR = "RotationOperator"
HELPDESK = "Helpdesk"
AUDITOR = "Auditor"

_READS = sorted(action.value for action in Action if action.is_read)
_HANDLE = sorted(
    action.value
    for action in Action
    if (
        action.kind in {Kind.SECRET, Kind.ROTATION}
        and action not in {*EQUAL_REVEAL, Action.SET_SECRET_POLICY}
    )
    or (action.is_read and action.kind in {Kind.INSTANCE, Kind.KEY})
)

#: name -> (description, actions); each allows them on everything.
SYSTEM: dict[str, tuple[str, list[str]]] = {
    FULL_ACCESS: ("Everything, policies and users included.", ["*"]),
    SECRET_ADMINISTRATOR: (
        "Creates, rotates, reads and deletes secrets; changes no instance, user, policy or key.",
        [
            *_HANDLE,
            *(action.value for action in EQUAL_REVEAL),
            Action.CHECK_INSTANCE.value,
            Action.MANAGE_ACCOUNT.value,
        ],
    ),
    SECRET_USER: (
        "Reads values by link; sees no list.",
        [Action.DESCRIBE_SECRET.value, Action.GET_SECRET_VALUE.value],
    ),
    ROTATION_OPERATOR: (
        "Rotates and watches; reads no value.",
        [Action.LIST_SECRETS.value, Action.DESCRIBE_SECRET.value, Action.ROTATE_SECRET.value,
         Action.LIST_INSTANCES.value, Action.DESCRIBE_INSTANCE.value, Action.CHECK_INSTANCE.value,
         Action.LIST_RUNS.value, Action.DESCRIBE_RUN.value],
    ),
    HELPDESK: (
        "Lists, describes and restores secrets; nothing else.",
        [Action.LIST_SECRETS.value, Action.DESCRIBE_SECRET.value, Action.RESTORE_SECRET.value],
    ),
    AUDITOR: (
        "Reads everything but values, and verifies the audit trail.",
        [*_READS, Action.VERIFY_AUDIT.value],
    ),
}  # fmt: skip


class NameTaken(DomainError):
    """A policy with this name exists. Choose another name."""

    code = "policy_name_taken"


class Outdated(DomainError):
    """Another user changed this in the meantime; nothing was saved."""

    code = "policy_outdated"


class NotYours(DomainError):
    """System policies are read-only. Copy the document into a policy of your own."""

    code = "system_policy"


class StillAttached(DomainError):
    """This policy is attached; the message says to whom, as far as the reader may know."""

    code = "policy_attached"


class LastAdministrator(DomainError):
    """No user would have KMS full access. Give it to another user first."""

    code = "last_administrator"


# ---------------------------------------------------------------- system policies


def ensure() -> None:
    """Have the system policies as this version of Keyturn knows them."""
    account = regions.account()
    for name, (description, actions) in SYSTEM.items():
        fields = {"kind": Policy.Kind.SYSTEM, "description": description, "document": document(actions)}
        policy, is_new = Policy.objects.get_or_create(account=account, name=name, defaults=fields)
        if not is_new and policy.document != fields["document"]:
            Policy.objects.filter(pk=policy.pk).update(**fields, revision=F("revision") + 1, changed_at=Now())


def document(actions: list[str]) -> str:
    """A document that allows these actions on everything."""
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "1", "Statement": [statement]}, indent=2)


def give_group(group: Group, name: str) -> None:
    """Attach a system policy to a group that comes with the product."""
    ensure()
    policy = Policy.objects.get(account=regions.account(), name=name)
    Attachment.objects.get_or_create(policy=policy, group=group)


# ---------------------------------------------------------------- custom policies


def create(name: str, text: str, *, actor: Principal, description: str = "") -> Policy:
    """Store a custom policy. Raises `decisions.NotAllowed`, `ram_documents.BadDocument` or `NameTaken`."""
    decisions.require(actor, Action.CREATE_POLICY)
    require_full_access(actor, Action.CREATE_POLICY)
    ram_documents.read(text, actions=tuple(Action))
    try:
        with transaction.atomic():
            policy = Policy.objects.create(
                account=regions.account(), name=name, description=description, document=text, created_by=actor
            )
            trail.record(Action.CREATE_POLICY, policy, actor=actor)
    except IntegrityError:
        raise NameTaken(NameTaken.__doc__) from None
    return policy


def change(policy: Policy, text: str, *, revision: int, actor: Principal, description: str = "") -> Policy:
    """Save a document that was opened at `revision`; it takes effect immediately for all users who have it.

    Raises `decisions.NotAllowed`, `ram_documents.BadDocument`, `NotYours` or `Outdated`.
    """
    decisions.require(actor, Action.UPDATE_POLICY, policy)
    require_full_access(actor, Action.UPDATE_POLICY, policy)
    if policy.kind == Policy.Kind.SYSTEM:
        raise NotYours(NotYours.__doc__)
    ram_documents.read(text, actions=tuple(Action))
    with transaction.atomic():
        saved = Policy.objects.filter(pk=policy.pk, revision=revision).update(
            document=text, description=description, revision=F("revision") + 1, changed_at=Now()
        )
        if not saved:
            raise Outdated(Outdated.__doc__)
        policy.refresh_from_db()
        trail.record(Action.UPDATE_POLICY, policy, actor=actor, details={"revision": policy.revision})
    decisions.forget()
    return policy


def delete(policy: Policy, *, actor: Principal) -> None:
    """Delete a custom policy that is attached to no user or group. Raises as `change`, or `StillAttached`."""
    decisions.require(actor, Action.DELETE_POLICY, policy)
    require_full_access(actor, Action.DELETE_POLICY, policy)
    if policy.kind == Policy.Kind.SYSTEM:
        raise NotYours(NotYours.__doc__)
    with transaction.atomic():
        held = Policy.objects.select_for_update().get(pk=policy.pk)
        holders = _holders(held, actor)
        if holders:
            raise StillAttached(f"It is attached to {holders}. Detach it first.")
        Policy.objects.filter(pk=held.pk).delete()
        trail.record(Action.DELETE_POLICY, policy, actor=actor)


def _holders(policy: Policy, actor: Principal) -> str:
    """Whom a policy is attached to: the first few that `actor` may list, and how many else."""
    attached = list(policy.attachments.select_related("principal", "group"))
    lists_users = decisions.allows(actor, Action.LIST_USERS)
    lists_groups = decisions.allows(actor, Action.LIST_GROUPS)
    named = [str(a.principal or a.group) for a in attached if (lists_users if a.principal else lists_groups)][
        :5
    ]
    left = len(attached) - len(named)
    singular, plural = ("other", "others") if named else ("user or group", "users or groups")
    return ", ".join([*named, *([f"{left} {singular if left == 1 else plural}"] if left else [])])


# ---------------------------------------------------------------- attachments


def attach(policy: Policy, to: Principal | User | Group, *, actor: Principal) -> None:
    """Have `policy` hold for a principal or a group. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.ATTACH_POLICY, policy)
    require_full_access(actor, Action.ATTACH_POLICY, policy)
    with transaction.atomic():
        _, is_new = Attachment.objects.get_or_create(
            policy=policy, **_whom(to), defaults={"attached_by": actor}
        )
        if is_new:
            details = {"attached": True, **_named(to)}
            trail.record(Action.ATTACH_POLICY, policy, actor=actor, details=details)
    decisions.forget()


def detach(policy: Policy, whose: Principal | User | Group, *, actor: Principal) -> None:
    """End that. Raises `decisions.NotAllowed` or `LastAdministrator`."""
    decisions.require(actor, Action.ATTACH_POLICY, policy)
    require_full_access(actor, Action.ATTACH_POLICY, policy)
    with transaction.atomic():
        gone, _ = Attachment.objects.filter(policy=policy, **_whom(whose)).delete()
        if gone:
            require_an_administrator()
            details = {"attached": False, **_named(whose)}
            trail.record(Action.ATTACH_POLICY, policy, actor=actor, details=details)
    decisions.forget()


def has_full_access(principal: Principal) -> bool:
    return _with_full_access().filter(pk=principal.pk).exists()


def require_full_access(actor: Principal, action: Action, resource: object = None) -> None:
    """Return for an administrator, who wants to do this. Raises `decisions.NotAllowed`."""
    if not has_full_access(actor):
        sentence = "Only users with KMS full access can change permissions."
        raise decisions.NotAllowed(sentence, action, resource)


def require_an_administrator() -> None:
    """Return if a user still has full access. Raises `LastAdministrator`; call it after the change."""
    # Of two users who remove it from each other at once, the second waits here and sees what the first did.
    list(Policy.objects.select_for_update().filter(kind=Policy.Kind.SYSTEM, name=FULL_ACCESS))
    # A machine does not count: no user could sign in as it and give the right to another user.
    if not _with_full_access().filter(user__is_active=True).exists():
        raise LastAdministrator(LastAdministrator.__doc__)


def _with_full_access() -> models.QuerySet[Principal]:
    full = Attachment.objects.filter(policy__kind=Policy.Kind.SYSTEM, policy__name=FULL_ACCESS)
    directly = Q(pk__in=full.filter(principal__isnull=False).values("principal"))
    by_group = Q(groups__in=full.filter(group__isnull=False).values("group"))
    works = Q(user__is_active=True) | Q(kind=Principal.Kind.MACHINE, is_active=True)
    return Principal.objects.filter(directly | by_group, works)


def _whom(to: Principal | User | Group) -> dict[str, Any]:
    return {"group": to} if isinstance(to, Group) else {"principal": decisions.principal_of(to)}


def _named(to: Principal | User | Group) -> dict[str, str]:
    if isinstance(to, Group):
        return {"group": to.name}
    principal = decisions.principal_of(to)
    return {str(principal.kind): principal.name}
