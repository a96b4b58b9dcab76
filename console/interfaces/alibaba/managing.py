"""Actions on a secret of an instance, whose value Keyturn changes: creation, rotation, when it rotates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction

from console.fetching import instances_and_runs
from console.interfaces import new_regions
from console.interfaces.alibaba import calls, custom_data, describing, faults, policies
from console.interfaces.alibaba.calls import Call
from rotation import accounts, runs, schedules, tasks
from rotation.managed import creation
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds import table as kinds
from secrets_app.models import Key, Secret
from secrets_app.secrets import lifecycle, versions

_KINDS = {name: kind for kind, name in describing.SUB_TYPES.items()}
#: What the value of each kind holds beside the user's name, the private half first.
_PARTS = {Secret.Kind.PASSWORD: ("Password",), Secret.Kind.KEY_PAIR: ("PrivateKey", "PublicKey")}


def create(
    call: Call,
    name: str,
    value: versions.Value,
    *,
    version_id: str,
    description: str,
    tags: Mapping[str, str],
    key: Key | None,
) -> Secret:
    """Make a secret of an account that exists on an instance, with its present password or key pair."""
    kind, instance_id, texts = _config(call)
    username, private = _account(value, kind)
    is_on, interval = call.given.flag("EnableAutomaticRotation"), _interval(call)
    if is_on and not interval:
        raise faults.missing("RotationInterval")
    instance = instances_and_runs.instance_named(
        call.actor, call.region.code, instance_id, Action.DESCRIBE_INSTANCE
    )
    creation.require_creation(call.region, name, tags, os=instance.os, actor=call.actor)
    calls.require_free(call, name)
    policy = policies.of_new(call, name, tags, os=instance.os)
    with transaction.atomic(), trail.at_the_end():
        secret, run = creation.create(
            name,
            region=call.region,
            instance=instance,
            username=username,
            actor=call.actor,
            kind=kind,
            initial=private,
            version_id=version_id,
            description=description,
            tags=tags,
            is_on=is_on,
            period=interval or timedelta(days=30),
            key=key,
        )
        lifecycle.keep_custom_data(secret, texts)
        policies.put_first(secret, policy, actor=call.actor)
        if run is not None:
            tasks.wake(run)
    return secret


def _config(call: Call) -> tuple[str, str, dict[str, str]]:
    """The kind of credential, the instance and the CustomData in ExtendedConfig. Raises `faults.Fault`."""
    if len(call.given.text("ExtendedConfig", needed=True, most=100_000)) > custom_data.CONFIG_LENGTH:
        raise faults.invalid(f"ExtendedConfig has at most {custom_data.CONFIG_LENGTH} characters.")
    config = call.given.json("ExtendedConfig")
    if not isinstance(config, dict):
        raise faults.invalid("ExtendedConfig is a JSON object.")
    kind, instance_id = _KINDS.get(str(config.get("SecretSubType"))), config.get("InstanceId")
    if kind is None:
        raise faults.invalid("The SecretSubType of an ECS secret is Password or SSHKey.")
    if not isinstance(instance_id, str) or not 1 <= len(instance_id) <= 80:
        raise faults.invalid("ExtendedConfig names an instance of Keyturn by its InstanceId.")
    code = config.get("RegionId")
    if code and (not isinstance(code, str) or new_regions.region(code) != call.region):
        raise faults.invalid("The instance is in another region than the secret.")
    return kind, instance_id, custom_data.checked(config.get("CustomData"))


def _account(value: versions.Value, kind: str) -> tuple[str, Plaintext]:
    """The user and the private half in SecretData.

    Raises `faults.Fault`, or as the kind reads it, and repeats neither.
    """
    parts = _PARTS[Secret.Kind(kind)]
    wrong = faults.invalid(
        f"SecretData is a JSON object with the texts {', '.join(['UserName', *sorted(parts)])}."
    )
    try:
        given = json.loads(value.credential.reveal()) if value.text is not None else None
    except (ValueError, RecursionError):
        raise wrong from None
    entries = [given.get(name) for name in ("UserName", *parts)] if isinstance(given, dict) else []
    texts = [entry for entry in entries if isinstance(entry, str) and entry]
    if len(texts) != 1 + len(parts):
        raise wrong
    private = Plaintext(texts[1])
    halves = kinds.TABLE[kind].read(private)
    if kinds.TABLE[kind].HAS_PUBLIC_HALF:
        mine = str(halves.get("public_key", "")).split()[:2]
        if texts[2].split()[:2] != mine:
            raise faults.invalid("PublicKey is not the public half of PrivateKey.")
    return texts[0], private


def rotate_secret(call: Call) -> dict[str, Any]:
    """Start a rotation; a VersionId that comes again starts nothing more."""
    token = call.given.text("VersionId", needed=True, most=64)
    secret = call.secret(Action.ROTATE_SECRET)
    accounts.needed(secret)
    with transaction.atomic():
        if not secret.versions.filter(version_id=token).exists():
            tasks.wake(runs.start(secret, actor=call.actor, token=token))
    return {"Arn": describing.arn(secret), "SecretName": secret.name, "VersionId": token}


def update_secret_rotation_policy(call: Call) -> dict[str, Any]:
    """Turn automatic rotation on or off; an interval takes the place of times that were set in Keyturn.

    A schedule that a user has paused stays paused.
    """
    is_on, interval = call.given.flag("EnableAutomaticRotation", needed=True), _interval(call)
    if is_on and not interval:
        raise faults.missing("RotationInterval")
    secret = call.secret(Action.UPDATE_ROTATION)
    accounts.needed(secret)
    had = secret.schedule
    schedules.change(
        secret,
        revision=had.revision,
        is_on=is_on,
        period=interval if is_on and interval else had.period,
        cron="" if is_on else had.cron,
        zone=had.zone,
        jitter=had.jitter,
        catch_up=had.catch_up,
        is_paused=had.paused_at is not None,
        actor=call.actor,
    )
    return {"SecretName": secret.name}


def _interval(call: Call) -> timedelta | None:
    seconds = call.given.seconds("RotationInterval")
    return timedelta(seconds=seconds) if seconds else None
