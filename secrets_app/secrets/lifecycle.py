"""The only writer of secrets and their tags."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, UUIDField, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from secrets_app import keyring, names, prepared, regions, seal_sets
from secrets_app.audit import trail
from secrets_app.crypto.passwords import Policy
from secrets_app.errors import DomainError
from secrets_app.kinds import table as kinds
from secrets_app.models import (
    GENERIC_NAME_LENGTH,
    GENERIC_TAG_LIMIT,
    NAME_CHARACTERS,
    NAME_LENGTH,
    NAME_PATTERN,
    RECOVERY_WINDOW_DAYS,
    TAG_LIMIT,
    Key,
    Label,
    Principal,
    Region,
    Replica,
    Secret,
    Tag,
)
from secrets_app.policy import decisions

DESCRIPTION_LENGTH = 4096
REMINDER_DAYS_AT_MOST = 3650
TAG_KEY_LENGTH, TAG_VALUE_LENGTH = 128, 256  # as the columns of Tag hold them


class NameTaken(DomainError):
    """A secret with this name exists in this region, perhaps pending deletion."""

    code = "secret_name_taken"


class BadName(DomainError, ValueError):
    """A secret's name has 1 to 192 letters, digits and / _ + = . @ - characters."""

    code = "secret_name_invalid"


class BadTag(DomainError, ValueError):
    """A tag that KMS would not take; the message says why."""

    code = "tag_invalid"


class Widens(decisions.NotAllowed):
    """These tags would give the user who sets them a right; the message says which."""

    code = "tags_widen_rights"


class Outdated(DomainError):
    """Another user changed this in the meantime; nothing was saved."""

    code = "secret_outdated"


class NotEnabled(DomainError):
    """This secret is pending deletion or purged; the message says until when, and what still works."""

    code = "secret_not_enabled"


class IsReplica(DomainError):
    """This secret is a replica: it changes with its primary, in another region, and not here."""

    code = "secret_is_replica"


class HasReplicas(DomainError):
    """This secret has replicas in other regions; the message says where."""

    code = "secret_has_replicas"

    def __init__(self, codes: Collection[str]) -> None:
        self.codes = sorted(codes)
        super().__init__(
            f"This secret has replicas in {', '.join(self.codes)}. Remove these first, by a program."
        )


class NotPending(DomainError):
    """This secret is not pending deletion: there is nothing to restore."""

    code = "secret_not_pending_deletion"


class BadWindow(DomainError, ValueError):
    """A deletion is planned 7 to 30 days ahead."""

    code = "recovery_window_invalid"


def create(
    name: str,
    *,
    region: Region,
    actor: Principal,
    type: str = Secret.Type.ECS,
    kind: str = "",
    description: str = "",
    password_policy: Policy | None = None,
    key_algorithm: str = "",
    tags: Mapping[str, str] | None = None,
    key: Key | None = None,
    pk: UUID | None = None,
) -> Secret:
    """Make a secret without a value, which `key` will seal; the default key where none is given.

    A generic secret has no `kind`: that says what an account's credential is. Raises `BadName`, `NameTaken`,
    `BadTag`, `passwords.Unfit`, `regions.Retired`, ValueError, or `keyring.KeyDisabled` or
    `keyring.KeyUnusable` for a key that seals nothing now.

    The caller records the event, since it knows what the secret is for.
    """
    is_generic = type == Secret.Type.GENERIC
    if len(name) > (GENERIC_NAME_LENGTH if is_generic else NAME_LENGTH) or not re.match(NAME_PATTERN, name):
        raise BadName(f"{names.stranger(name, NAME_CHARACTERS)} {BadName.__doc__}".strip())
    _check_description(description)
    check_tags(tags or {}, most=GENERIC_TAG_LIMIT if is_generic else TAG_LIMIT)
    if (kind == "") != is_generic:
        raise ValueError("A generic secret has no kind, and a managed one has a kind.")
    algorithms = kinds.TABLE[kind].ALGORITHMS if kind else {}
    key_algorithm = (key_algorithm or settings.KEY_ALGORITHM) if algorithms else ""
    if key_algorithm and key_algorithm not in algorithms:
        raise ValueError(f"Unknown key algorithm {key_algorithm!r}.")
    key = key or keyring.default_key()
    keyring.primary(key)
    try:
        with transaction.atomic():
            if is_generic:  # another one has an instance there, which the caller holds
                regions.hold(region)
            secret = Secret.objects.create(
                **({"pk": pk} if pk else {}),
                account_id=region.account_id,
                region=region,
                name=name,
                type=type,
                kind=kind,
                key=key,
                description=description,
                password_policy=(password_policy or Policy()).check().as_json(),
                key_algorithm=key_algorithm,
                created_by=actor,
            )
            _set_tags(secret, tags or {})
    except IntegrityError:
        raise NameTaken(f"{name} is in use in {region.name}.") from None
    return secret


def change_key(source: Key, target: Key) -> int:
    """Have `target` seal the next values of every secret that uses `source`; return how many those are."""
    return Secret.objects.filter(key=source).update(key=target)


def edit(
    secret: Secret,
    *,
    revision: int,
    description: str,
    tags: Mapping[str, str] | None,
    password_policy: Policy,
    actor: Principal,
    reminder_days: int | None = None,
    custom_data: Mapping[str, str] | None = None,
) -> None:
    """Save what may change of a secret, as a form that was opened at `revision` says it.

    Never the name, the instance or the user: they are what the secret is. None for tags or the reminder
    leaves them as they are, and 0 days end the reminder of a generic secret; so with custom data, which
    clients of Alibaba Cloud keep. Raises `Widens` for tags by
    which `actor` could do more, `Outdated`, `BadTag`, `passwords.Unfit`, ValueError, `NotEnabled` or
    `decisions.NotAllowed`; nothing is saved then.
    """
    decisions.require(actor, decisions.Action.UPDATE_SECRET, secret)
    _check_description(description)
    check_tags(tags or {}, most=tag_limit(secret))
    rules = password_policy.check().as_json()
    with transaction.atomic():
        had = held(secret.pk)
        require_enabled(had)
        require_own(had)
        saved = Secret.objects.filter(pk=had.pk, revision=revision).update(
            description=description,
            password_policy=rules,
            revision=F("revision") + 1,
            changed_at=timezone.now(),
        )
        if not saved:
            raise Outdated
        before = {tag.key: tag.value for tag in had.tags.all()}
        changed = {
            "description": description != had.description,
            "tags": tags is not None and dict(tags) != before,
            "password policy": rules != had.password_policy,
            "reminder": reminder_days is not None and reminder_days != had.reminder_days,
        }
        if reminder_days is not None:
            remind(had, reminder_days)
        if custom_data is not None:
            changed["custom data"] = dict(custom_data) != had.custom_data
            keep_custom_data(had, custom_data)
        if tags is not None and changed["tags"]:
            require_tags(had, before, tags, actor)
            _set_tags(had, tags)
        details = {"changed": [name for name, is_changed in changed.items() if is_changed]}
        trail.record(decisions.Action.UPDATE_SECRET, secret, actor=actor, details=details)


def retag(secret: Secret, tags: Mapping[str, str], *, actor: Principal) -> None:
    """Have these be all tags of the secret. Raises as `edit`; asks for the rights to tags alone."""
    check_tags(tags, most=tag_limit(secret))
    with transaction.atomic():
        had = held(secret.pk)
        require_enabled(had)
        require_own(had)
        before = {tag.key: tag.value for tag in had.tags.all()}
        require_tags(had, before, tags, actor)
        _set_tags(had, tags)
        touch(had)
        set_, gone = sorted(k for k in tags if before.get(k) != tags[k]), sorted(before.keys() - tags.keys())
        action = decisions.Action.UNTAG_RESOURCE if gone and not set_ else decisions.Action.TAG_RESOURCE
        trail.record(action, secret, actor=actor, details={"set": set_, "removed": gone})


def mirror(copy: Secret, *, description: str, tags: Mapping[str, str]) -> None:
    """Give a replica, which the caller holds, the description and the tags of its primary."""
    if {tag.key: tag.value for tag in copy.tags.all()} != dict(tags):
        _set_tags(copy, tags)
    Secret.objects.filter(pk=copy.pk).update(description=description, changed_at=timezone.now())


def keep_policy(secret: Secret, kept: str | None) -> None:
    """Have this be the resource policy of a secret, which the caller holds; None for no policy."""
    Secret.objects.filter(pk=secret.pk).update(resource_policy=kept, changed_at=timezone.now())


def keep_custom_data(secret: Secret, texts: Mapping[str, str]) -> None:
    """Have these be the texts that a client keeps with a secret, which the caller holds."""
    Secret.objects.filter(pk=secret.pk).update(custom_data=dict(texts))


def touch(secret: Secret) -> None:
    """Note that something of this secret, which the caller holds, was changed just now."""
    Secret.objects.filter(pk=secret.pk).update(changed_at=timezone.now())


def remind(secret: Secret, days: int) -> None:
    """Have the value of a secret, which the caller holds, be due `days` after it was stored; 0: never.

    Raises ValueError for a managed secret, which rotates by a schedule, and for more than ten years.
    """
    if not (secret.is_generic or days == 0) or not 0 <= days <= REMINDER_DAYS_AT_MOST:
        raise ValueError(f"A reminder of a generic secret has 1 to {REMINDER_DAYS_AT_MOST:,} days.")
    current = secret.labelled(Label.Role.CURRENT)
    since = current.created_at if current else secret.created_at
    due = since + timedelta(days=days) if days else None
    Secret.objects.filter(pk=secret.pk).update(reminder_days=days, reminder_due_at=due)


def remind_of_new(secret: Secret) -> None:
    """Count the days of the reminder, if there is one, from the value that is current now."""
    if secret.reminder_days:
        remind(secret, secret.reminder_days)


def tag_limit(secret: Secret) -> int:
    return GENERIC_TAG_LIMIT if secret.is_generic else TAG_LIMIT


def require_tags(
    secret: Secret, before: Mapping[str, str], tags: Mapping[str, str], actor: Principal
) -> None:
    """Return if `actor` may put `tags` in the place of those `before`.

    Conditions hang on tags, so the right is asked with the old ones and with the new ones. Raises
    `decisions.NotAllowed` or `Widens`.
    """
    asked = set()
    if any(before.get(key) != value for key, value in tags.items()):
        asked.add(decisions.Action.TAG_RESOURCE)
    if before.keys() - tags.keys():
        asked.add(decisions.Action.UNTAG_RESOURCE)
    for action in sorted(asked):
        decisions.require(actor, action, secret)
        decisions.require(actor, action, decisions.retagged(secret, tags))
    gained = decisions.widened(actor, secret, tags)
    if asked and gained:
        raise Widens(
            f"With these tags you could do more to {secret.name} than now: {', '.join(gained)}. "
            "Ask a user who has these permissions.",
            min(asked),
            secret,
        )


def check_tags(tags: Mapping[str, str], *, most: int = TAG_LIMIT) -> None:
    """Return if KMS would take these tags. Raises `BadTag`.

    The rules are those of its TagResource (help.aliyun.com): 20 tags; no key that begins with acs: or
    aliyun, which are the platform's own, and no http:// or https:// in a key or a value.
    """
    if len(tags) > most:
        raise BadTag(f"A secret has at most {most} tags. Remove {len(tags) - most}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= TAG_KEY_LENGTH or len(value) > TAG_VALUE_LENGTH:
            raise BadTag(
                f"The key of a tag has 1 to {TAG_KEY_LENGTH} characters, its value at most "
                f"{TAG_VALUE_LENGTH}."
            )
        if key.lower().startswith(("acs:", "aliyun")):
            raise BadTag(f"The key {key} begins with acs: or aliyun, which are reserved.")
        if re.search("https?://", f"{key} {value}", re.IGNORECASE):
            raise BadTag(f"The tag {key} holds an address. Write it without http:// or https://.")


def _check_description(description: str) -> None:
    if len(description) > DESCRIPTION_LENGTH:
        raise ValueError(f"A description has at most {DESCRIPTION_LENGTH:,} characters.")


#: Of a read, what is kept with its secret is right to a minute: each event says when it was.
NOTED_EVERY = timedelta(minutes=1)


def hold_readable(secret_ids: Collection[UUID], *, waits: bool) -> dict[UUID, Secret]:
    """Hold these secrets until the caller's transaction ends; return them with what a read asks of them.

    Always in the same order, so that two transactions that hold several do not wait for each other. Unless
    the caller `waits`, secrets that another transaction holds are left out.
    """
    return {secret.pk: secret for secret in (_HELD if waits else _FREE)(secret_ids)}


def _readable(ids: Sequence[UUID], *, waits: bool) -> QuerySet[Secret]:
    rows = Secret.objects.select_for_update(no_key=True, skip_locked=not waits).filter(pk__in=ids)
    return rows.order_by("pk").only("deletion_planned_at", "purged_at", "last_read_at", "last_read_by")


_HELD = prepared.Several(partial(_readable, waits=True))
_FREE = prepared.Several(partial(_readable, waits=False))


def note_reads(readers: Mapping[UUID, UUID], held: Mapping[UUID, Secret], now: datetime) -> None:
    """Keep who last saw a value of each secret, to show later whether it is still in use.

    By the ids of the secrets, which the caller holds, `now` by the database's clock. Of one reader once a
    minute: a program reads a value hundreds of times in it, and each time the row would be written again.
    """
    new = {pk: reader for pk, reader in readers.items() if not _is_noted(held[pk], reader, now)}
    if new:
        last = [When(pk=pk, then=Value(reader)) for pk, reader in new.items()]
        by = Case(*last, output_field=UUIDField())
        Secret.objects.filter(pk__in=new).update(last_read_at=Now(), last_read_by=by)


def note_kept_reads(
    readers: Mapping[UUID, UUID], last: Mapping[UUID, tuple[datetime | None, UUID | None]], now: datetime
) -> None:
    """As `note_reads`, of secrets that the caller does not hold; `last` says when each was read, and by whom.

    A secret that another transaction holds is left out: the next read notes it.
    """
    late = {pk for pk, reader in readers.items() if not _is_recent(*last[pk], reader, now)}
    if late:
        held = hold_readable(late, waits=False)
        note_reads({pk: readers[pk] for pk in held}, held, now)


def may_have_been_read(secret: Secret, within: timedelta) -> bool:
    """Whether a value of this secret, or of a replica, may have been read in this time before now.

    A read is noted at once and those of the same reader that follow it are not, for `NOTED_EVERY`: so this is
    also true of a secret whose last read was longer ago by up to that.
    """
    these = Secret.objects.filter(Q(pk=secret.pk) | Q(replica_of__primary=secret.pk))
    return these.filter(last_read_at__gt=Now() - (within + NOTED_EVERY)).exists()


def _is_noted(secret: Secret, reader: UUID, now: datetime) -> bool:
    return _is_recent(secret.last_read_at, secret.last_read_by_id, reader, now)


def _is_recent(at: datetime | None, by: UUID | None, reader: UUID, now: datetime) -> bool:
    return by == reader and at is not None and now - NOTED_EVERY < at <= now


# ---------------------------------------------------------------- deletion


def held(secret_id: UUID) -> Secret:
    """Return the secret as it is now, unchanged by others until the caller's transaction ends."""
    return Secret.objects.select_for_update().get(pk=secret_id)


def held_idle(secret_ids: Collection[UUID]) -> set[UUID]:
    """Hold those of many that are enabled and not held by another process, as `held` does; return them."""
    free = Secret.objects.select_for_update(skip_locked=True).filter(pk__in=secret_ids)
    return {secret.pk for secret in free if secret.is_enabled}


def require_enabled(secret: Secret) -> None:
    """Return if the secret is neither pending deletion nor purged. Raises `NotEnabled`."""
    if not secret.is_enabled:
        raise NotEnabled(why_not_enabled(secret))


def require_own(secret: Secret) -> None:
    """Return if the secret is changed here and follows no other. Raises `IsReplica`."""
    if secret.is_generic and Replica.objects.filter(secret=secret).exists():
        raise IsReplica


def require_single(secret: Secret) -> None:
    """Return if the secret has no replica and is none. Raises `HasReplicas` or `IsReplica`."""
    require_own(secret)
    if codes := Replica.objects.filter(primary=secret).values_list("region__code", flat=True):
        raise HasReplicas(codes)


def why_not_enabled(secret: Secret) -> str:
    """Say until when the secret can be restored, or when it was purged and by whom."""
    if secret.purged_at:
        by = f" by {secret.purged_by.name}" if secret.purged_by else ""
        return f"Purged on {secret.purged_at:%Y-%m-%d %H:%M} UTC{by}; cannot be restored."
    until = f" on {secret.deletion_due_at:%Y-%m-%d %H:%M} UTC" if secret.deletion_due_at else ""
    return (
        f"This secret is pending deletion{until}. Until then it can be looked at and restored, "
        "and nothing else. Restore it first."
    )


def plan_deletion(secret: Secret, *, days: int, reason: str, actor: Principal) -> None:
    """Have the secret purged `days` from now unless it is restored. Raises `BadWindow` or `NotEnabled`.

    The caller has stopped its work and records the event.
    """
    least, most = RECOVERY_WINDOW_DAYS
    if not least <= days <= most:
        raise BadWindow(BadWindow.__doc__)
    planned = Secret.objects.enabled().filter(pk=secret.pk)
    if not planned.update(
        deletion_planned_at=Now(),
        deletion_due_at=timezone.now() + timedelta(days=days),
        deletion_planned_by=actor,
        deletion_reason=reason[:500],
    ):
        raise NotEnabled(why_not_enabled(Secret.objects.get(pk=secret.pk)))


def restore(secret: Secret) -> None:
    """Undo a planned deletion. Raises `NotPending` or `NotEnabled` (purged). The caller records it."""
    pending = Secret.objects.kept().filter(pk=secret.pk, deletion_planned_at__isnull=False)
    if not pending.update(
        deletion_planned_at=None, deletion_due_at=None, deletion_planned_by=None, deletion_reason=""
    ):
        now = Secret.objects.get(pk=secret.pk)
        if now.purged_at:
            raise NotEnabled(why_not_enabled(now))
        raise NotPending(NotPending.__doc__)


def due_for_purge(limit: int) -> list[Secret]:
    """Return the secrets whose time to be restored is over, longest first."""
    due = Secret.objects.kept().filter(deletion_due_at__lte=Now())
    return list(due.select_related("region", "account").order_by("deletion_due_at")[:limit])


def was_purged_since(moment: datetime) -> bool:
    """Whether a secret was purged after `moment`, by a plan or immediately."""
    return Secret.objects.filter(purged_at__gte=moment).exists()


def mark_purged(secret: Secret, *, actor: Principal, reason: str = "", only_if_due: bool = False) -> None:
    """Make the secret a tombstone: its name is free, its row and history stay. Raises `NotEnabled`.

    The caller destroys the values in the same transaction. With `only_if_due`, a secret that was restored
    in the meantime stays as it is.
    """
    rows = Secret.objects.kept().filter(pk=secret.pk)
    rows = rows.filter(deletion_due_at__lte=Now()) if only_if_due else rows.enabled()
    said = {} if only_if_due else {"deletion_reason": reason[:500], "deletion_planned_by": actor}
    if not rows.update(
        purged_at=Now(),
        purged_by=actor,
        deletion_planned_at=Coalesce("deletion_planned_at", Now()),
        **said,
    ):
        raise NotEnabled(why_not_enabled(Secret.objects.get(pk=secret.pk)))


def _set_tags(secret: Secret, tags: Mapping[str, str]) -> None:
    secret.tags.all().delete()
    Tag.objects.bulk_create(Tag(secret=secret, key=key, value=value) for key, value in tags.items())
    seal_sets.put_tags(secret, tags)
