"""Operations that change a secret: its values, labels and tags, its deletion, and a rotation."""

from __future__ import annotations

import base64
import secrets as randomness
import string
from typing import Any

from django.db import transaction

from console.interfaces import new_regions
from console.interfaces.aws import calls, faults, keys, labels, managed, replication, rules, shapes
from console.interfaces.aws.calls import Call, check_name
from console.interfaces.aws.reading import moment
from rotation import runs, schedules, tasks
from rotation.managed import deletion
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import RECOVERY_WINDOW_DAYS, Key, Secret, SecretVersion
from secrets_app.policy import requiring
from secrets_app.secrets import generic, lifecycle, versions

WINDOW = 30


def _named(call: Call, secret: Secret) -> dict[str, Any]:
    return {"ARN": call.arn(secret), "Name": secret.name}


def create_secret(call: Call) -> dict[str, Any]:
    given, name = call.given, str(call.given["Name"])
    check_name(name)
    token, value = shapes.token(given), _given_value(given)
    if given.get("CrossAccountPrimaryARN"):
        raise replication.ONE_ACCOUNT()
    replicas = replication.read(call)
    if given.get("Type") and given["Type"] != managed.TYPE:
        raise faults.invalid_parameter(f"The type of a secret is {managed.TYPE}, or absent.")
    key, tags = _key(call), shapes.tags(given.get("Tags", []))
    with transaction.atomic(), trail.at_the_end():
        secret, version = _created(call, name, token, value, key, tags)
        if replicas and not secret.replicas.exists():  # a request that is sent again finds them
            replication.add(call, secret, replicas)
    call.about = secret
    answer = _named(call, secret) | ({"VersionId": version.version_id} if version else {})
    return answer | ({"ReplicationStatus": replication.statuses(secret)} if replicas else {})


def _created(
    call: Call, name: str, token: str, value: versions.Value | None, key: Key | None, tags: dict[str, str]
) -> tuple[Secret, SecretVersion | None]:
    try:
        # The right first: who may not make it learns nothing of what is there.
        if call.given.get("Type"):
            return managed.create(call, name, token, value, tags, key)
        with new_regions.region_for(call, name, tags) as region:
            return generic.create(
                name,
                region=region,
                actor=call.actor,
                value=value,
                version_id=token,
                description=call.given.get("Description", ""),
                tags=tags,
                key=key,
            )
    except generic.TokenTaken:
        raise _token_taken(call, token, _existing(call, name)) from None
    except lifecycle.NameTaken:
        if _existing(call, name).is_pending_deletion:
            raise faults.CREATE_MARKED() from None
        raise faults.exists(f"The operation failed because the secret {name} already exists.") from None


def _existing(call: Call, name: str) -> Secret:
    return Secret.objects.get(region=call.region, name=name, purged_at__isnull=True)


def put_secret_value(call: Call) -> dict[str, Any]:
    token, value = shapes.token(call.given), _given_value(call.given)
    secret = call.secret(Action.PUT_SECRET_VALUE)
    if value is None:
        raise faults.invalid_request("You must provide either SecretString or SecretBinary.")
    stages = call.given.get("VersionStages")
    if stages is not None:
        stages = [labels.role_of(one) for one in shapes.strings("versionStages", stages, most=256)]
    version = _put(call, secret, value, token, stages)
    answer = _named(call, secret) | {"VersionId": version.version_id}
    return answer | {"VersionStages": labels.of(version)}


def _put(
    call: Call, secret: Secret, value: versions.Value, token: str, stages: list[str] | None = None
) -> SecretVersion:
    try:
        return generic.put(secret, value, actor=call.actor, version_id=token, labels=stages)
    except generic.TokenTaken:
        raise _token_taken(call, token, secret) from None


def _token_taken(call: Call, token: str, secret: Secret) -> faults.Fault:
    return faults.exists(
        f"You can't use ClientRequestToken {token} because that value is already in use for a version of "
        f"secret {call.arn(secret)}."
    )


def update_secret(call: Call) -> dict[str, Any]:
    """Change the description, or put a value, or both, in one transaction."""
    given = call.given
    token, value = shapes.token(given), _given_value(given)
    secret = call.secret(Action.UPDATE_SECRET)
    if given.get("Type") and (secret.is_generic or given["Type"] != managed.TYPE):
        raise faults.invalid_request("Keyturn does not change the type of a secret.")
    key = _key(call)
    if key is not None and key.pk != secret.key_id:
        raise faults.invalid_request("Keyturn changes the key of a secret on the key's own page.")
    if value is not None:
        requiring.require(call.actor, Action.PUT_SECRET_VALUE, secret)
    version = None
    with transaction.atomic(), trail.at_the_end():
        if "Description" in given or value is None:
            lifecycle.edit(
                secret,
                revision=secret.revision,
                description=given.get("Description", secret.description),
                tags=None,
                password_policy=passwords.policy(secret.password_policy),
                actor=call.actor,
            )
        if value is not None:
            version = _put(call, secret, value, token)
    return _named(call, secret) | ({"VersionId": version.version_id} if version else {})


def update_secret_version_stage(call: Call) -> dict[str, Any]:
    given = call.given
    secret = call.secret(Action.PUT_SECRET_VALUE)
    stage = str(given["VersionStage"])
    source, target = given.get("RemoveFromVersionId", ""), given.get("MoveToVersionId", "")
    if not source and not target:
        raise faults.invalid_parameter(
            "You must provide a value for RemoveFromVersionId, MoveToVersionId, or both."
        )
    try:
        generic.move_label(secret, labels.role_of(stage), actor=call.actor, remove_from=source, to=target)
    except generic.NoVersion:
        raise faults.not_found(
            "Secrets Manager can't find the specified secret version: the version id is unknown."
        ) from None
    except generic.LabelElsewhere as error:
        raise _elsewhere(stage, source, error.version_id) from None
    return _named(call, secret)


def _elsewhere(stage: str, source: str, holder: str) -> faults.Fault:
    if not holder:
        return faults.invalid_parameter(f"Staging label {stage} is not attached to version {source}.")
    said = "can't be empty" if not source else "is another version"
    return faults.invalid_parameter(
        f"The parameter RemoveFromVersionId {said}. Staging label {stage} is currently attached to version "
        f"{holder}, so you must explicitly reference that version in RemoveFromVersionId."
    )


def delete_secret(call: Call) -> dict[str, Any]:
    given = call.given
    days, at_once = given.get("RecoveryWindowInDays"), bool(given.get("ForceDeleteWithoutRecovery"))
    if days is not None and at_once:
        raise faults.invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
        )
    least, most = RECOVERY_WINDOW_DAYS
    if days is not None and not least <= days <= most:
        raise faults.BY_CODE["recovery_window_invalid"]()
    secret = call.secret(Action.DELETE_SECRET, while_marked=at_once)
    if codes := [calls.name_of(row.region) for row in secret.replicas.select_related("region")]:
        raise faults.invalid_parameter(
            f"You can't delete secret {call.arn(secret)} that still has replica regions "
            f"[{', '.join(sorted(codes))}]"
        )
    if not at_once:
        deletion.plan_deletion(secret, actor=call.actor, days=days or WINDOW)
    else:
        with transaction.atomic():
            if secret.is_pending_deletion:
                lifecycle.restore(secret)
            deletion.purge(secret, actor=call.actor)
    due = Secret.objects.get(pk=secret.pk)
    return _named(call, secret) | {
        "DeletionDate": moment(due.deletion_due_at or due.purged_at or due.changed_at)
    }


def restore_secret(call: Call) -> dict[str, Any]:
    """Undo a planned deletion; of a secret that is not to be deleted, nothing is done, as in the service."""
    secret = call.secret(Action.RESTORE_SECRET, while_marked=True)
    if secret.is_pending_deletion:
        with transaction.atomic():
            restored = deletion.restore(secret, actor=call.actor)
            if restored.run is not None:
                tasks.wake(restored.run)
    return _named(call, secret)


def tag_resource(call: Call) -> dict[str, Any]:
    given = shapes.tags(call.given["Tags"])
    secret = call.secret(Action.TAG_RESOURCE)
    before = {tag.key: tag.value for tag in secret.tags.all()}
    lifecycle.retag(secret, before | given, actor=call.actor)
    return {}


def untag_resource(call: Call) -> dict[str, Any]:
    keys = set(shapes.strings("tagKeys", call.given["TagKeys"], most=128))
    secret = call.secret(Action.UNTAG_RESOURCE)
    before = {tag.key: tag.value for tag in secret.tags.all()}
    lifecycle.retag(secret, {key: text for key, text in before.items() if key not in keys}, actor=call.actor)
    return {}


def rotate_secret(call: Call) -> dict[str, Any]:
    """Set when a managed secret rotates, start a rotation of it, or both, in one transaction.

    The worker makes the version, so the answer names none yet.
    """
    given = call.given
    token, at_once = shapes.token(given), given.get("RotateImmediately", True)
    secret = call.secret(Action.ROTATE_SECRET)
    if secret.is_generic or given.get("RotationLambdaARN"):
        raise faults.invalid_request("No Lambda rotation function ARN is associated with this secret.")
    managed.require_same(call, secret)
    wanted = rules.read(given["RotationRules"]) if "RotationRules" in given else None
    if wanted is None and not at_once:
        raise faults.invalid_request("Keyturn checks a managed secret without a rotation on its own page.")
    with transaction.atomic(), trail.at_the_end():
        if wanted is not None:
            _reschedule(call, secret, is_on=True, wanted=wanted)
        if at_once:
            tasks.wake(runs.start(secret, actor=call.actor, token=token))
    return _named(call, secret)


def cancel_rotate_secret(call: Call) -> dict[str, Any]:
    """Turn automatic rotation off; its rules stay, and a rotation that runs ends as it does."""
    secret = call.secret(Action.UPDATE_ROTATION)
    if secret.is_generic:
        raise faults.invalid_request("No Lambda rotation function ARN is associated with this secret.")
    _reschedule(call, secret, is_on=False)
    return _named(call, secret)


def _reschedule(call: Call, secret: Secret, *, is_on: bool, wanted: rules.Rules | None = None) -> None:
    """Change when a secret rotates; what a request does not speak of stays, a pause too."""
    had = secret.schedule
    schedules.change(
        secret,
        revision=had.revision,
        is_on=is_on,
        period=wanted.period if wanted else had.period,
        cron=wanted.cron if wanted else had.cron,
        zone="UTC" if wanted else had.zone,
        jitter=wanted.jitter if wanted else had.jitter,
        catch_up=had.catch_up,
        is_paused=had.paused_at is not None,
        actor=call.actor,
    )


# ---------------------------------------------------------------- what is given


def _given_value(given: dict[str, Any]) -> versions.Value | None:
    """The value of a request, if it has one. Raises `faults.Fault`, never repeating it."""
    text, binary = given.get("SecretString"), given.get("SecretBinary")
    if text is not None and binary is not None:
        raise faults.invalid_parameter(
            "You can't specify both a binary secret value and a string secret value."
        )
    if text is not None:
        return versions.Value("", text=Plaintext(text))
    if binary is None:
        return None
    try:
        whole = base64.b64decode(binary, validate=True)
    except ValueError:
        raise faults.serialization("SecretBinary is not Base64.") from None
    return versions.Value("", binary=Plaintext(base64.b64encode(whole).decode()))


def _key(call: Call) -> Key | None:
    """The key that a request names, if it names one. Raises `faults.Fault`."""
    return keys.named(call, str(call.given.get("KmsKeyId", "")))


# ---------------------------------------------------------------- a random password


def get_random_password(call: Call) -> dict[str, Any]:
    """Make a password of the classes that are not excluded; it is stored nowhere."""
    given = call.given
    sets = [
        ("ExcludeLowercase", string.ascii_lowercase), ("ExcludeUppercase", string.ascii_uppercase),
        ("ExcludeNumbers", string.digits), ("ExcludePunctuation", string.punctuation),
    ]  # fmt: skip
    excluded = set(given.get("ExcludeCharacters", ""))
    chosen = ["".join(c for c in text if c not in excluded) for name, text in sets if not given.get(name)]
    if given.get("IncludeSpace") and " " not in excluded:
        chosen.append(" ")
    chosen = [text for text in chosen if text]
    length, each = given.get("PasswordLength", 32), given.get("RequireEachIncludedType", True)
    if not chosen:
        raise faults.invalid_request("The password would have no characters to be made of.")
    if each and length < len(chosen):
        raise faults.invalid_parameter(
            f"PasswordLength must be at least {len(chosen)} to hold one character of each included type."
        )
    alphabet = "".join(chosen)
    drawn = [randomness.choice(text) for text in chosen] if each else []
    drawn += [randomness.choice(alphabet) for _ in range(length - len(drawn))]
    randomness.SystemRandom().shuffle(drawn)
    return {"RandomPassword": "".join(drawn)}
