"""Actions that change a generic secret, what is said of any secret, or whether it stays."""

from __future__ import annotations

import base64
from typing import Any

from django.db import transaction

from console.interfaces import new_regions
from console.interfaces.alibaba import custom_data, describing, faults, labels, managing, policies, tagging
from console.interfaces.alibaba.calls import Call, moment, new_name, require_free
from rotation import tasks
from rotation.managed import deletion
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import (
    ECS_PREFIX,
    RECOVERY_WINDOW_DAYS,
    VALUE_LIMIT_BYTES,
    Key,
    Secret,
)
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import generic, lifecycle, versions

WINDOW = 30
DESCRIPTION_LENGTH = 1024
_SERVICE_KEYS = {"", "alias/acs/secretsmanager", "alias/acs/kms", "Acs/KMS"}


def create_secret(call: Call) -> dict[str, Any]:
    """Make a generic secret, or one of an instance that Keyturn manages."""
    given = call.given
    name, type_ = new_name(call), given.text("SecretType") or "Generic"
    if "DKMSInstanceId" in given:
        raise faults.invalid("Keyturn has no DKMSInstanceId: leave it out.")
    is_ecs = type_ == "ECS"
    if type_ not in {"Generic", "ECS"}:
        raise faults.invalid("SecretType is Generic or ECS.")
    if name.startswith("acs/") != is_ecs or (is_ecs and not name.startswith(ECS_PREFIX)):
        raise faults.invalid(f"The name of an ECS secret begins with {ECS_PREFIX}, and no other's with acs/.")
    version_id, value = _version_id(call), _given_value(call)
    description = given.text("Description", most=DESCRIPTION_LENGTH)
    key, tags = _key(call), tagging.given(given.json("Tags"))
    texts: dict[str, Any] = {"version_id": version_id, "description": description, "tags": tags, "key": key}
    create = managing.create if is_ecs else _create_generic
    secret = create(call, name, value, **texts)
    call.about = secret
    return {
        "Arn": describing.arn(secret),
        "SecretName": secret.name,
        "SecretType": describing.type_of(secret),
        "VersionId": version_id,
        **describing.extended_config(call, secret),
        **describing.rotation(secret),
    }


def _create_generic(
    call: Call, name: str, value: versions.Value, *, tags: dict[str, str], **texts: Any
) -> Secret:
    requiring.require(call.actor, Action.CREATE_SECRET, decisions.new_secret(call.region, name, tags))
    # The domain takes the same creation twice for one, as AWS does; this service does not.
    require_free(call, name)
    policy = policies.of_new(call, name, tags)
    with new_regions.region_for(call, name, tags) as region, transaction.atomic(), trail.at_the_end():
        secret = generic.create(name, region=region, actor=call.actor, value=value, tags=tags, **texts)[0]
        policies.put_first(secret, policy, actor=call.actor)
    return secret


def put_secret_value(call: Call) -> dict[str, Any]:
    version_id, value = _version_id(call), _given_value(call)
    stages = _stages(call)
    secret = call.secret(Action.PUT_SECRET_VALUE)
    with transaction.atomic():
        lifecycle.held(secret.pk)
        if stages is not None and not secret.versions.filter(version_id=version_id).exists():
            labels.require_room(secret, stages)
        roles = None if stages is None else [labels.role_of(stage) for stage in stages]
        version = generic.put(secret, value, actor=call.actor, version_id=version_id, labels=roles)
    return _named(secret) | {
        "VersionId": version.version_id,
        "VersionStages": {"VersionStage": labels.of(version)},
    }


def _stages(call: Call) -> list[str] | None:
    """The stages that a new version is to have: a list, or the object that older pages show."""
    sent = call.given.json("VersionStages")
    value = sent.get("VersionStage") if isinstance(sent, dict) else sent
    if value is None:
        return None
    if not (
        isinstance(value, list)
        and 1 <= len(value) <= labels.AT_MOST
        and all(isinstance(one, str) and 1 <= len(one) <= labels.LENGTH for one in value)
    ):
        raise faults.invalid(
            f"VersionStages is a list of 1 to {labels.AT_MOST} stages of at most {labels.LENGTH} characters."
        )
    for stage in value:
        labels.role_of(stage)
    return value


def update_secret(call: Call) -> dict[str, Any]:
    given = call.given
    description = given.text("Description", most=DESCRIPTION_LENGTH)
    texts = custom_data.sent(given)
    secret = call.secret(Action.UPDATE_SECRET)
    if texts and secret.is_generic:
        raise faults.invalid("A generic secret has no ExtendedConfig.")
    lifecycle.edit(
        secret,
        revision=secret.revision,
        description=description or secret.description,
        tags=None,
        password_policy=passwords.policy(secret.password_policy),
        actor=call.actor,
        custom_data=None if secret.is_generic else texts,
    )
    return _named(secret)


def update_secret_version_stage(call: Call) -> dict[str, Any]:
    """Move a stage to a version, or take it away: the service asks not where it was before."""
    given = call.given
    stage = given.text("VersionStage", needed=True, most=labels.LENGTH)
    source, target = given.text("RemoveFromVersion", most=64), given.text("MoveToVersion", most=64)
    role = labels.role_of(stage)
    secret = call.secret(Action.PUT_SECRET_VALUE)
    if not source and not target:
        raise faults.invalid("Send MoveToVersion, RemoveFromVersion, or both.")
    if stage in labels.ROLES and not target:
        raise faults.invalid(f"{stage} can be moved, and not be removed: send MoveToVersion.")
    with transaction.atomic():
        lifecycle.held(secret.pk)
        if target:
            labels.require_room(secret, [stage])
        if not source:
            holder = labels.stages(secret).holder(stage)
            source = holder.version_id if holder else ""
        generic.move_label(secret, role, actor=call.actor, remove_from=source, to=target)
    return _named(secret)


def delete_secret(call: Call) -> dict[str, Any]:
    """Plan a deletion, or delete at once. A client that sends both, as Terraform does, means at once."""
    least, most = RECOVERY_WINDOW_DAYS
    at_once = call.given.flag("ForceDeleteWithoutRecovery")
    days = WINDOW
    if not at_once:
        days = call.given.number("RecoveryWindowInDays", WINDOW, least=least, most=most)
    secret = call.secret(Action.DELETE_SECRET, while_marked=at_once)
    if not at_once:
        deletion.plan_deletion(secret, actor=call.actor, days=days)
    else:
        with transaction.atomic():
            if secret.is_pending_deletion:
                lifecycle.restore(secret)
            deletion.purge(secret, actor=call.actor)
    due = Secret.objects.get(pk=secret.pk).deletion_due_at
    return _named(secret) | ({"PlannedDeleteTime": moment(due)} if due and not at_once else {})


def restore_secret(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.RESTORE_SECRET, while_marked=True)
    with transaction.atomic():
        restored = deletion.restore(secret, actor=call.actor)
        if restored.run is not None:
            tasks.wake(restored.run)
    return _named(secret)


def _named(secret: Secret) -> dict[str, Any]:
    return {"SecretName": secret.name}


# ---------------------------------------------------------------- what is given


def _version_id(call: Call) -> str:
    return call.given.text("VersionId", needed=True, most=64)


def _given_value(call: Call) -> versions.Value:
    """The value of a request. Raises `faults.Fault`, never repeating it."""
    text = call.given.text("SecretData", needed=True, most=100_000, may_hold_nul=True)
    kind = call.given.text("SecretDataType") or "text"
    if kind not in {"text", "binary"}:
        raise faults.invalid("SecretDataType is text or binary.")
    whole = text.encode()
    if kind == "binary":
        try:
            whole = base64.b64decode(text, validate=True)
        except ValueError:
            raise faults.invalid("SecretData of the type binary is Base64.") from None
    if not 1 <= len(whole) <= VALUE_LIMIT_BYTES:
        raise faults.BY_CODE["value_too_large"]()
    if kind == "binary":
        return versions.Value("", binary=Plaintext(base64.b64encode(whole).decode()))
    return versions.Value("", text=Plaintext(text))


def _key(call: Call) -> Key | None:
    """The key that a request names, if it names one. Raises `faults.Fault`."""
    name = call.given.text("EncryptionKeyId")
    if name in _SERVICE_KEYS:
        return None
    alias = name.rpartition(":")[2].removeprefix("alias/").removeprefix("key/")
    key = Key.objects.select_related("account").filter(alias=alias).first()
    if key is None or not (
        key.alias == keyring.DEFAULT_ALIAS or decisions.allows(call.actor, Action.DESCRIBE_KEY, key)
    ):
        raise faults.NOT_FOUND()
    return key
