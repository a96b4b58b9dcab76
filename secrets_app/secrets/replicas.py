"""The only writer of replicas: copies of a secret in other regions, which are kept in step with it.

A copy is a generic secret of the same name whose values, labels, tags and description follow its primary's.
It can be read and not changed there, and has a resource policy of its own. A change of a value is copied in
the transaction that makes it; if that fails, the change stays, the replica says why, and `catch_up` tries
again. It also carries what changes elsewhere: tags, and the values that a rotation makes.

Source of the rules: AWS Secrets Manager User Guide, "Replicate secrets across Regions".
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet

from secrets_app import keyring, regions, seals
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import envelope
from secrets_app.errors import DomainError
from secrets_app.models import Key, Label, Principal, Region, Replica, Secret
from secrets_app.people import users
from secrets_app.policy import decisions, grants
from secrets_app.secrets import lifecycle, resource_policies, versions

#: In the trail. The right is the one to change a secret, with those to its value and to make one there.
REPLICATED, REMOVED, PROMOTED = "kms:ReplicateSecret", "kms:RemoveReplica", "kms:StopReplication"
KEPT_AT_MOST, KEPT_FOR = 100, timedelta(hours=24)  # as of the primary
_SUFFIXES = 62**6  # clients read six letters and digits of a secret's id at the end of its ARN


class BadRegion(DomainError, ValueError):
    """A secret is replicated to another region than its own, and to each one once."""

    code = "replica_region_invalid"


class NoReplica(DomainError):
    """This secret has no replica there, or is none."""

    code = "replica_unknown"


class _Failed(DomainError):
    """The copy could not be made; the message says why."""

    code = "replica_failed"


def add(
    primary: Secret, region: Region, *, actor: Principal, key: Key | None = None, overwrite: bool = False
) -> Replica:
    """Copy this secret to `region` and keep the copy in step, under `key` or the default key.

    A secret of that name there is replaced if `overwrite`, which takes the right to delete it; else the
    replica that is returned has failed and says so. Raises `BadRegion`, `regions.Retired`,
    `lifecycle.IsReplica`, `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    _require(primary, region, actor)
    if key is not None and key != keyring.default_key():
        decisions.require(actor, Action.DESCRIBE_KEY, key)
    with transaction.atomic(), trail.at_the_end():
        held = _held(primary)
        if region.pk == held.region_id or Replica.objects.filter(primary=held, region=region).exists():
            raise BadRegion
        regions.hold(region)
        replica = Replica.objects.create(
            primary=held,
            region=region,
            key=key or keyring.default_key(),
            created_by=actor,
            state=Replica.State.FAILED,
        )
        rival = Secret.objects.kept().filter(region=region, name=held.name).first()
        if rival is not None and overwrite:
            _clear(rival, actor)
        _follow(replica)
        details = {"region": region.code, "state": replica.state, "overwrite": overwrite}
        trail.record(REPLICATED, held, actor=actor, details=details)
    return replica


def remove(primary: Secret, wanted: Collection[Region], *, actor: Principal) -> None:
    """Delete the copies in these regions. Raises `NoReplica`, `lifecycle.NotEnabled` or `NotAllowed`."""
    decisions.require(actor, Action.UPDATE_SECRET, primary)
    with transaction.atomic(), trail.at_the_end():
        held = _held(primary)
        rows = list(_rows(Replica.objects.filter(primary=held, region__in=wanted)))
        if len(rows) != len(set(wanted)):
            raise NoReplica
        for replica in rows:
            copy = replica.secret
            Replica.objects.filter(pk=replica.pk).delete()
            if copy is not None and not copy.purged_at and seals.holds(replica):
                _purge(copy, actor)
            details = {"region": replica.region.code}
            trail.record(REMOVED, held, actor=actor, details=details)


def stop(copy: Secret, *, actor: Principal) -> None:
    """Make a copy a secret of its own, which follows no other. Raises `NoReplica` or `NotAllowed`."""
    decisions.require(actor, Action.UPDATE_SECRET, copy)
    with transaction.atomic():
        replica = Replica.objects.filter(secret=copy).first()
        if replica is None:
            raise NoReplica
        lifecycle.held(replica.primary_id)  # so that no value is on its way
        lifecycle.held(copy.pk)
        Replica.objects.filter(pk=replica.pk).delete()
        lifecycle.touch(copy)
        trail.record(PROMOTED, copy, actor=actor)


def follow(primary: Secret) -> None:
    """Bring the copies of a secret, which the caller holds, into step; one that cannot be says why."""
    for replica in _rows(Replica.objects.filter(primary=primary)):
        _follow(replica)


def catch_up() -> int:
    """Bring every copy into step that is not; return how many are now. For a chore.

    Looks first and then holds: a primary whose copies are in step is not held, and waits for nothing.
    """
    done = 0
    behind = [row for row in _rows(Replica.objects.all()) if row.primary.is_enabled and not is_in_step(row)]
    for row in behind:
        with transaction.atomic():
            held = lifecycle.held(row.primary_id)
            replica = _rows(Replica.objects.filter(pk=row.pk)).first()
            if replica is None or not held.is_enabled or is_in_step(replica):
                continue
            done += _follow(replica)
    return done


def is_in_step(replica: Replica) -> bool:
    """Whether the copy has the labels, values, tags and description of its primary."""
    copy, primary = replica.secret, replica.primary
    if copy is None or replica.state != Replica.State.IN_SYNC:
        return False
    return _looks(copy) == _looks(primary)


def _looks(secret: Secret) -> tuple[object, ...]:
    labels = {_named(label): label.version.version_id for label in _labels(secret)}
    return secret.description, {tag.key: tag.value for tag in secret.tags.all()}, labels


def _rows(rows: QuerySet[Replica]) -> QuerySet[Replica]:
    related = ("primary__region__account", "primary__account", "region__account", "key", "secret__account")
    return rows.select_related(*related, "secret__region").order_by("region__code")


def _require(primary: Secret, region: Region, actor: Principal) -> None:
    """Users who may read the copy there know the value, so to make one takes the right to it."""
    decisions.require(actor, Action.UPDATE_SECRET, primary)
    decisions.require(actor, Action.GET_SECRET_VALUE, primary)
    tags = {tag.key: tag.value for tag in primary.tags.all()}
    future = decisions.new_secret(region, primary.name, tags)
    decisions.require(actor, Action.CREATE_SECRET, future)
    if tags:
        decisions.require(actor, Action.TAG_RESOURCE, future)


def _held(primary: Secret) -> Secret:
    held = lifecycle.held(primary.pk)
    lifecycle.require_enabled(held)
    lifecycle.require_own(held)
    return held


def _clear(rival: Secret, actor: Principal) -> None:
    """Delete a secret that stands in the way, if it is one that nothing depends on."""
    decisions.require(actor, Action.DELETE_SECRET, rival)
    held = lifecycle.held(rival.pk)
    is_free = held.is_generic and not Replica.objects.filter(primary=held).exists()
    if is_free and not Replica.objects.filter(secret=held).exists():
        _purge(held, actor)


def _purge(copy: Secret, actor: Principal) -> None:
    if copy.is_pending_deletion:
        lifecycle.restore(copy)
    lifecycle.mark_purged(copy, actor=actor, reason="Replication")
    grants.end_all(copy)
    resource_policies.end(copy)
    destroyed = versions.destroy_all(copy)
    details = {"immediately": True, "versions": destroyed}
    trail.record(Action.DELETE_SECRET, copy, actor=actor, reason="Replication", details=details)


# ---------------------------------------------------------------- copying


def _follow(replica: Replica) -> bool:
    """Copy, or note why that failed; never stops the change of the primary. The caller holds that."""
    try:
        with transaction.atomic():
            _copy(replica)
    except (DomainError, envelope.Tampered) as error:
        replica.state, replica.message = Replica.State.FAILED, str(error)[:500]
        replica.secret_id = Replica.objects.filter(pk=replica.pk).values_list("secret_id", flat=True).get()
    else:
        replica.state, replica.message = Replica.State.IN_SYNC, ""
    Replica.objects.filter(pk=replica.pk).update(state=replica.state, message=replica.message)
    return replica.state == Replica.State.IN_SYNC


def _copy(replica: Replica) -> None:
    # A row that another hand wrote would send values to a secret of its choice.
    if not seals.holds(replica):
        raise _Failed(seals.SENTENCE)
    primary = replica.primary
    copy = replica.secret if replica.secret is not None else _made(replica)
    if copy.purged_at is not None:
        raise _Failed("The copy was deleted.")
    lifecycle.held(copy.pk)
    author = users.system()
    there = set(copy.versions.values_list("version_id", flat=True))
    wanted = list(_labels(primary))
    for version in {label.version.pk: label.version for label in wanted}.values():
        if version.version_id not in there and version.destroyed_at is None:
            versions.copy(version, copy, actor=author)
    by_id = {version.version_id: version for version in copy.versions.all()}
    kept = {_named(label): by_id[label.version.version_id] for label in wanted}
    for label in copy.labels.all():
        if _named(label) not in kept:
            versions.take_label(copy, *_named(label))
    had = {_named(label): label.version_id for label in copy.labels.all()}
    for name, version in kept.items():
        if had.get(name) != version.pk:
            versions.put_label(version, *name)
    lifecycle.mirror(copy, description=primary.description, tags={t.key: t.value for t in primary.tags.all()})
    versions.prune_unlabelled(copy, most=KEPT_AT_MOST, older_than=KEPT_FOR)


def _made(replica: Replica) -> Secret:
    primary = replica.primary
    try:
        copy = lifecycle.create(
            primary.name,
            region=replica.region,
            actor=replica.created_by,
            type=Secret.Type.GENERIC,
            description=primary.description,
            key=replica.key,
            pk=_alike(primary),
        )
    except lifecycle.NameTaken:
        where = f"Secret name {primary.name} already exists in region {replica.region.code}."
        raise _Failed(f"Replication failed: {where}") from None
    Replica.objects.filter(pk=replica.pk).update(secret=copy)
    replica.secret = copy
    return copy


def _alike(primary: Secret) -> uuid.UUID:
    """A new id which ends, for clients, as that of the primary: their ARNs differ in the region alone."""
    number = uuid.uuid4().int
    return uuid.UUID(int=number - number % _SUFFIXES + primary.pk.int % _SUFFIXES)


def _labels(secret: Secret) -> Iterable[Label]:
    """The labels of a secret; of one that Keyturn manages not the pending one, which no client reads."""
    rows = secret.labels.select_related("version__sealed")
    return rows if secret.is_generic else rows.exclude(role=Label.Role.PENDING)


def _named(label: Label) -> tuple[str, str]:
    return label.role, label.name
