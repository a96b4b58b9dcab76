"""Generic secrets, as their own programs change them: values by a token, and labels that are moved.

The rules are AWS Secrets Manager's, whose clients rely on them: a request that is sent again with its token
does nothing more; the version that loses the current label gets the previous one.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from django.db import transaction

from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import (
    GENERIC_VALUE_LIMIT_BYTES,
    Key,
    Label,
    Principal,
    Region,
    Secret,
    SecretVersion,
)
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, replicas, versions

VERSIONS_AT_MOST = 100  # with a value; those without a label go first, once they are a day old
KEPT_FOR = timedelta(hours=24)
LABELS_AT_MOST = 20  # on one version
_BY_NAME = {role.value: role for role in Label.Role if role != Label.Role.CUSTOM}


class TokenTaken(DomainError):
    """This token was used for another value of this secret."""

    code = "version_token_taken"


class Managed(DomainError):
    """Keyturn manages this secret: its value changes only by a rotation."""

    code = "secret_is_managed"


class Outdated(DomainError):
    """Another user changed this value in the meantime; nothing was saved. Open the form again."""

    code = "value_outdated"


class TooLarge(DomainError, ValueError):
    """A value has 1 to 65,536 bytes."""

    code = "value_too_large"


class TooManyVersions(DomainError):
    """This secret has 100 versions that are less than a day old or have a label."""

    code = "versions_at_most"


class TooManyLabels(DomainError):
    """A version has at most 20 labels."""

    code = "labels_at_most"


class LabelElsewhere(DomainError, ValueError):
    """This label is on another version than the request says; `version_id` is that one."""

    code = "label_elsewhere"

    def __init__(self, version_id: str) -> None:
        super().__init__()
        self.version_id = version_id


class CurrentStays(DomainError, ValueError):
    """The current label can be moved to another version, and not be removed."""

    code = "current_label_stays"


class NoVersion(DomainError):
    """This secret has no such version."""

    code = "no_such_version"


def create(
    name: str,
    *,
    region: Region,
    actor: Principal,
    value: versions.Value | None = None,
    version_id: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    key: Key | None = None,
    reminder_days: int = 0,
) -> tuple[Secret, SecretVersion | None]:
    """Make a generic secret, with its first value where one is given, which is due after `reminder_days`.

    The same request again returns what the first one made. Raises `TokenTaken`, `TooLarge`,
    `decisions.NotAllowed` or as `lifecycle.create`.
    """
    future = decisions.new_secret(region, name, tags or {})
    decisions.require(actor, Action.CREATE_SECRET, future)
    if tags:
        decisions.require(actor, Action.TAG_RESOURCE, future)
    if key is not None and key != keyring.default_key():
        decisions.require(actor, Action.DESCRIBE_KEY, key)
    if value is not None:
        _check(value)
        again = _made_before(region, name, value, version_id)
        if again is not None:
            return again.secret, again
    with transaction.atomic():
        secret = lifecycle.create(
            name,
            region=region,
            actor=actor,
            type=Secret.Type.GENERIC,
            description=description,
            tags=tags,
            key=key,
        )
        version = None
        if value is not None:
            version = versions.add(secret, value, actor=actor, version_id=version_id)
            versions.put_label(version, Label.Role.CURRENT)
        lifecycle.remind(secret, reminder_days)
        trail.record(
            Action.CREATE_SECRET,
            secret,
            actor=actor,
            version_id=version.version_id if version else "",
            value_mark=version.value_mark if version else "",
            details={"type": "generic", "key": secret.key.alias},
        )
    return secret, version


def _made_before(region: Region, name: str, value: versions.Value, version_id: str) -> SecretVersion | None:
    found = SecretVersion.objects.select_related("secret__region", "secret__account").filter(
        secret__region=region, secret__name=name, secret__purged_at=None, version_id=version_id
    )
    version = found.first() if version_id else None
    if version is None or not version.secret.is_enabled:
        return None
    _require_same(version, value)
    return version


def put(
    secret: Secret,
    value: versions.Value,
    *,
    actor: Principal,
    version_id: str,
    labels: Iterable[str] | None = None,
    replaces: str | None = None,
) -> SecretVersion:
    """Store a value as a new version with these labels; without any, as the current one.

    `labels` are roles (`current`, `previous`, `pending`) or custom ones, as `custom` writes them. The first
    value of a secret is the current one in any case. With `replaces`, only in the place of that version:
    empty for none yet.

    Raises `Outdated`, `TokenTaken`, `Managed`, `TooLarge`, `TooManyVersions`, `TooManyLabels`,
    `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.PUT_SECRET_VALUE, secret)
    _check(value)
    wanted = None if labels is None else set(labels)
    if wanted is not None and len(wanted) > LABELS_AT_MOST:
        raise TooManyLabels
    with transaction.atomic():
        held = _held(secret)
        same = held.versions.filter(version_id=version_id).first()
        if same is not None:
            _require_same(same, value)
            return same
        current = held.labelled(Label.Role.CURRENT)
        if replaces is not None and replaces != (current.version_id if current else ""):
            raise Outdated
        if not versions.prune_unlabelled(held, most=VERSIONS_AT_MOST - 1, older_than=KEPT_FOR):
            raise TooManyVersions
        new = versions.add(held, value, actor=actor, version_id=version_id)
        becomes_current = wanted is None or Label.Role.CURRENT in wanted or current is None
        # A value that is put in the place of one which a rotation has just made current ends that rotation.
        abandons = wanted is None and current is not None and _has(current, Label.Role.PENDING)
        if abandons:
            versions.take_label(held, Label.Role.PENDING)
        if becomes_current:
            _make_current(new, current)
        for label in sorted((wanted or set()) - {Label.Role.CURRENT}):
            _put(new, label)
        lifecycle.touch(held)
        lifecycle.remind_of_new(held)
        replicas.follow(held)
        trail.record(
            Action.PUT_SECRET_VALUE,
            secret,
            actor=actor,
            version_id=new.version_id,
            value_mark=new.value_mark,
            details={"current": becomes_current, "labels": sorted(str(label) for label in wanted or ())}
            | ({"abandons": True} if abandons else {}),
        )
    return new


def move_label(secret: Secret, label: str, *, actor: Principal, remove_from: str = "", to: str = "") -> None:
    """Move a label to the version `to`, or take it from `remove_from`, where it has to be.

    A custom label is as `custom` writes it. Raises `NoVersion`, `LabelElsewhere`, `CurrentStays`,
    `TooManyLabels`, `Managed`, `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.PUT_SECRET_VALUE, secret)
    with transaction.atomic():
        held = _held(secret)
        holder, source, target = _holder(held, label), _named(held, remove_from), _named(held, to)
        if holder is not None and source != holder and (target != holder or source is not None):
            raise LabelElsewhere(holder.version_id)
        if holder is None and source is not None:
            raise LabelElsewhere("")
        if target is None and label == Label.Role.CURRENT:
            raise CurrentStays
        if target == holder:
            return
        if target is None:
            versions.take_label(held, *_stored(label))
        elif label == Label.Role.CURRENT:
            _make_current(target, holder)
        else:
            if target.labels.count() >= LABELS_AT_MOST:
                raise TooManyLabels
            _put(target, label)
        lifecycle.touch(held)
        lifecycle.remind_of_new(held)
        replicas.follow(held)
        is_current = label == Label.Role.CURRENT and target is not None
        trail.record(
            versions.PROMOTED,
            secret,
            actor=actor,
            version_id=to if is_current else "",
            value_mark=target.value_mark if target is not None and is_current else "",
            details={"label": str(label), "to": to, "from": remove_from},
        )


def relabel(
    version: SecretVersion, names: Collection[str], *, becomes_current: bool, actor: Principal
) -> None:
    """Have these be all custom labels of a version, and make it the current one if `becomes_current`.

    A label that another version has moves to this one. Raises as `move_label`; nothing is changed then.
    """
    secret, here = version.secret, version.version_id
    with transaction.atomic(), trail.at_the_end():
        held = _held(secret)
        had = set(version.labels.filter(role=Label.Role.CUSTOM).values_list("name", flat=True))
        for name in sorted(had - set(names)):
            move_label(secret, custom(name), actor=actor, remove_from=here)
        for name in sorted(set(names) - had):
            holder = _holder(held, custom(name))
            move_label(
                secret, custom(name), actor=actor, to=here, remove_from=holder.version_id if holder else ""
            )
        current = held.labelled(Label.Role.CURRENT)
        if becomes_current and current != version:
            move_label(
                secret,
                Label.Role.CURRENT,
                actor=actor,
                to=here,
                remove_from=current.version_id if current else "",
            )


def length_bytes(value: versions.Value) -> int:
    """How long a value is: a text by its bytes in UTF-8; what is binary by its own."""
    if value.binary is not None:
        return len(value.binary.encode()) // 4 * 3 - value.binary.reveal()[-2:].count("=")
    return len(value.credential.encode())


def _check(value: versions.Value) -> None:
    if not 1 <= length_bytes(value) <= GENERIC_VALUE_LIMIT_BYTES:
        raise TooLarge


def _held(secret: Secret) -> Secret:
    held = lifecycle.held(secret.pk)
    lifecycle.require_enabled(held)
    lifecycle.require_own(held)
    if not held.is_generic:
        raise Managed
    return held


def _require_same(version: SecretVersion, value: versions.Value) -> None:
    if not hmac.compare_digest(version.value_mark, versions.mark(value)):
        raise TokenTaken


def _named(secret: Secret, version_id: str) -> SecretVersion | None:
    """The version of this id; None for an empty one. Raises `NoVersion`."""
    if not version_id:
        return None
    version = secret.versions.filter(version_id=version_id).first()
    if version is None:
        raise NoVersion
    return version


def _holder(secret: Secret, label: str) -> SecretVersion | None:
    role, name = _stored(label)
    found = secret.labels.select_related("version").filter(role=role, name=name).first()
    return found.version if found else None


def _has(version: SecretVersion, role: str) -> bool:
    return version.labels.filter(role=role).exists()


def custom(name: str) -> str:
    """The label that a client calls `name`, which means no role, also where it has the name of one."""
    return f"={name}" if name in _BY_NAME or name.startswith("=") else name


def _stored(label: str) -> tuple[str, str]:
    """How a label stands in its row: by its role, or by the name of a custom one."""
    role = _BY_NAME.get(label)
    return (role, "") if role else (Label.Role.CUSTOM, label.removeprefix("="))


def _put(version: SecretVersion, label: str) -> None:
    versions.put_label(version, *_stored(label))


def _make_current(version: SecretVersion, before: SecretVersion | None) -> None:
    versions.put_label(version, Label.Role.CURRENT)
    if before is not None:
        versions.put_label(before, Label.Role.PREVIOUS)
