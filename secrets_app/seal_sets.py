"""The only writer of the seals of sets, by which a row that was deleted, or added, is seen.

Four sets decide: a principal's groups and policies, a group's policies, a user's ways in (second factors and
identities), and a secret's tags. The rows of the first three are written by Django, guardian and allauth too,
so their seals follow the signals of these. A set that does not agree with its seal before a change is not
sealed after it either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from secrets_app import seals
from secrets_app.models import Attachment, GroupSeal, Principal, Secret, User

Members: Any = Principal.groups.through
_HELD = "_held_before"  # what a signal before a change tells the one after it


# ---------------------------------------------------------------- what each set is
# Tuples, and no lists: `seals` remembers the seal of values that it can look up, and each request asks again.


def rights_values(principal_id: UUID, groups: Iterable[int], policies: Iterable[UUID]) -> list[object]:
    """What the seal of a principal's groups and policies is over."""
    return [principal_id, tuple(sorted(groups)), tuple(sorted(str(policy) for policy in policies))]


def group_values(group_id: int, name: str, policies: Iterable[UUID]) -> list[object]:
    """What the seal of a group is over."""
    return [group_id, name, tuple(sorted(str(policy) for policy in policies))]


def tag_values(secret_id: UUID, tags: Mapping[str, str]) -> list[object]:
    """What the seal of a secret's tags is over."""
    return [secret_id, tuple(sorted(tags.items()))]


_WAYS = {"user", "type", "data", "provider", "uid"}
RIGHTS, GROUP, WAYS_IN, TAGS = "rights of a principal", "group", "ways in of a user", "tags of a secret"


def rights_hold(principal_id: UUID) -> bool:
    """Whether the principal has the groups and policies that Keyturn gave. Raises `seals.KeyMissing`."""
    seal = Principal.objects.filter(pk=principal_id).values_list("rights_seal", flat=True).first()
    return seal is not None and seals.agrees(seal, RIGHTS, _rights(principal_id))


def group_holds(group_id: int) -> bool:
    """Whether the group has the name and the policies that Keyturn gave. Raises `seals.KeyMissing`."""
    seal = GroupSeal.objects.filter(pk=group_id).values_list("seal", flat=True).first()
    return seal is not None and seals.agrees(seal, GROUP, _group(group_id))


def ways_in_hold(user_id: UUID) -> bool:
    """Whether the user's second factors and identities are those that Keyturn stored.

    Raises `seals.KeyMissing`.
    """
    seal = User.objects.filter(pk=user_id).values_list("ways_in_seal", flat=True).first()
    return seal is not None and seals.agrees(seal, WAYS_IN, _ways_in(user_id))


def tags_hold(secret: Secret, tags: Mapping[str, str]) -> bool:
    """Whether these tags, which were just read, are those that Keyturn set. Raises `seals.KeyMissing`."""
    if seals.agrees(secret.tags_seal, TAGS, tag_values(secret.pk, tags)):
        return True
    stored = Secret.objects.filter(pk=secret.pk).values_list("tags_seal", flat=True).first()
    return stored is not None and seals.agrees(stored, TAGS, tag_values(secret.pk, tags))


def put_tags(secret: Secret, tags: Mapping[str, str]) -> None:
    """Seal these tags as the whole set of this secret's."""
    secret.tags_seal = seals.mac(TAGS, tag_values(secret.pk, tags))
    Secret.objects.filter(pk=secret.pk).update(tags_seal=secret.tags_seal)


def accept(owner: Principal | User | Group | Secret) -> None:
    """Seal the set of this row as it is in the database: a user has checked it."""
    if isinstance(owner, Principal):
        _seal_rights(owner.pk)
    elif isinstance(owner, User):
        _seal_ways_in(owner.pk)
    elif isinstance(owner, Group):
        _seal_group(owner.pk)
    else:
        put_tags(owner, {tag.key: tag.value for tag in owner.tags.all()})


def _rights(principal_id: UUID) -> list[object]:
    groups = Members.objects.filter(principal_id=principal_id).values_list("group_id", flat=True)
    policies = Attachment.objects.filter(principal_id=principal_id).values_list("policy_id", flat=True)
    return rights_values(principal_id, groups, policies)


def _group(group_id: int) -> list[object]:
    name = Group.objects.filter(pk=group_id).values_list("name", flat=True).first() or ""
    policies = Attachment.objects.filter(group_id=group_id).values_list("policy_id", flat=True)
    return group_values(group_id, name, policies)


def _ways_in(user_id: UUID) -> list[object]:
    factors = Authenticator.objects.filter(user_id=user_id).order_by("pk")
    identities = SocialAccount.objects.filter(user_id=user_id).order_by("provider", "uid")
    return [
        user_id,
        [[row.pk, str(row.type), row.data] for row in factors],
        [[row.provider, row.uid] for row in identities],
    ]


def _seal_rights(principal_id: UUID) -> None:
    seal = seals.mac(RIGHTS, _rights(principal_id))
    Principal.objects.filter(pk=principal_id).update(rights_seal=seal)


def _seal_group(group_id: int) -> None:
    fields = {"seal": seals.mac(GROUP, _group(group_id))}
    GroupSeal.objects.update_or_create(group_id=group_id, defaults=fields)


def _seal_ways_in(user_id: UUID) -> None:
    User.objects.filter(pk=user_id).update(ways_in_seal=seals.mac(WAYS_IN, _ways_in(user_id)))


# ---------------------------------------------------------------- the sets of a new row are empty


def _user_saved(instance: User, created: bool, raw: bool = False, **_: Any) -> None:
    if created and not raw:
        instance.ways_in_seal = seals.mac(WAYS_IN, [instance.pk, [], []])
        User.objects.filter(pk=instance.pk).update(ways_in_seal=instance.ways_in_seal)


def _principal_saved(instance: Principal, created: bool, raw: bool = False, **_: Any) -> None:
    if created and not raw:
        instance.rights_seal = seals.mac(RIGHTS, rights_values(instance.pk, [], []))
        Principal.objects.filter(pk=instance.pk).update(rights_seal=instance.rights_seal)


def _secret_saved(instance: Secret, created: bool, raw: bool = False, **_: Any) -> None:
    if created and not raw:
        put_tags(instance, {})


def _group_will_be_saved(instance: Group, **_: Any) -> None:
    vars(instance)[_HELD] = instance.pk is None or group_holds(instance.pk)


def _group_saved(instance: Group, raw: bool = False, **_: Any) -> None:
    if vars(instance).pop(_HELD) and not raw:
        _seal_group(instance.pk)


# ---------------------------------------------------------------- memberships


def _members_change(
    instance: Principal | Group, action: str, reverse: bool, pk_set: set[Any] | None, **_: Any
) -> None:
    """Follow `principal.groups` and `group.members`; the principals whose seal held before get a new one."""
    if action.startswith("pre_"):
        touched = _touched(instance, reverse, pk_set)
        _lock(Principal.objects.filter(pk__in=touched))
        vars(instance)[_HELD] = [pk for pk in touched if rights_hold(pk)]
    else:
        for principal_id in vars(instance).pop(_HELD, ()):
            _seal_rights(principal_id)


def _touched(instance: Principal | Group, reverse: bool, pk_set: set[Any] | None) -> Iterable[Any]:
    if not reverse:
        return [instance.pk]
    if pk_set is None:
        return list(Members.objects.filter(group_id=instance.pk).values_list("principal_id", flat=True))
    return pk_set


# ---------------------------------------------------------------- attachments, factors, identities


def _lock(rows: QuerySet[Any]) -> None:
    """Lock the rows of a set: of two changes at once, the second sees the result of the first."""
    if connection.in_atomic_block:  # else allauth saves a factor, for its user, outside a transaction
        list(rows.select_for_update(no_key=True).values_list("pk"))


def _attachment_will_change(instance: Attachment, **_: Any) -> None:
    if instance.principal_id is not None:
        _lock(Principal.objects.filter(pk=instance.principal_id))
        vars(instance)[_HELD] = rights_hold(instance.principal_id)
    elif instance.group_id is not None:
        _lock(Group.objects.filter(pk=instance.group_id))
        vars(instance)[_HELD] = group_holds(instance.group_id)


def _attachment_changed(instance: Attachment, **_: Any) -> None:
    if not vars(instance).pop(_HELD):
        return
    if instance.principal_id is not None:
        _seal_rights(instance.principal_id)
    elif instance.group_id is not None:
        _seal_group(instance.group_id)


def _way_in_will_change(
    instance: Authenticator | SocialAccount, update_fields: Iterable[str] | None = None, **_: Any
) -> None:
    if update_fields is not None and not _WAYS & set(update_fields):
        vars(instance)[_HELD] = False  # when it was last used is not in the seal
        return
    _lock(User.objects.filter(pk=instance.user_id))
    vars(instance)[_HELD] = ways_in_hold(instance.user_id)


def _way_in_changed(instance: Authenticator | SocialAccount, **_: Any) -> None:
    if vars(instance).pop(_HELD):
        _seal_ways_in(instance.user_id)


def _connect() -> None:
    post_save.connect(_user_saved, sender=User, dispatch_uid="seal_sets.user")
    post_save.connect(_principal_saved, sender=Principal, dispatch_uid="seal_sets.principal")
    post_save.connect(_secret_saved, sender=Secret, dispatch_uid="seal_sets.secret")
    pre_save.connect(_group_will_be_saved, sender=Group, dispatch_uid="seal_sets.group_before")
    post_save.connect(_group_saved, sender=Group, dispatch_uid="seal_sets.group")
    m2m_changed.connect(_members_change, sender=Members, dispatch_uid="seal_sets.members")
    rows = ((Attachment, _attachment_will_change, _attachment_changed),)
    ways = tuple((table, _way_in_will_change, _way_in_changed) for table in (Authenticator, SocialAccount))
    for table, before, after in (*rows, *ways):
        for signal, receiver in (
            (pre_save, before),
            (pre_delete, before),
            (post_save, after),
            (post_delete, after),
        ):
            signal.connect(
                receiver, sender=table, dispatch_uid=f"seal_sets.{table.__name__}.{receiver.__name__}"
            )


_connect()
