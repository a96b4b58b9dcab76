"""Secrets of a type that is managed: those of accounts on instances, made and described as AWS's clients do.

The service has types of secrets whose rotation it manages; a client names one as `Type`, gives a JSON object
of the type's own form, and reads what the rotation goes by as `ExternalSecretRotationMetadata`. Keyturn has
one type. Source: AWS Secrets Manager User Guide, "Managed external secrets".
"""

from __future__ import annotations

import json

from console.fetching import instances_and_runs
from console.interfaces.aws import faults, shapes
from console.interfaces.aws.calls import Call
from rotation import accounts, tasks
from rotation.managed import creation
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds import table as kinds
from secrets_app.models import ECS_PREFIX, Key, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, versions

TYPE = "ManagedECSSecret"
INSTANCE, USER, SUB_TYPE = "InstanceId", "UserName", "SecretSubType"
SUB_TYPES = {Secret.Kind.PASSWORD.value: "Password", Secret.Kind.KEY_PAIR.value: "SSHKey"}
_KINDS = {name: kind for kind, name in SUB_TYPES.items()}
#: What holds the private half of each kind in the value.
_HALVES = {"Password": Secret.Kind.PASSWORD.value, "PrivateKey": Secret.Kind.KEY_PAIR.value}
_MEMBERS = frozenset({INSTANCE, USER, SUB_TYPE, "PublicKey", *_HALVES})


def create(
    call: Call, name: str, token: str, value: versions.Value | None, tags: dict[str, str], key: Key | None
) -> tuple[Secret, SecretVersion | None]:
    """Make a secret of an account, with its present password or private key or with none.

    Raises `faults.Fault`, which repeats nothing of the value, or as `creation.create`.
    """
    if not name.startswith(ECS_PREFIX):
        raise faults.invalid_parameter(f"The name of a secret of this type begins with {ECS_PREFIX}.")
    given = _read(value)
    instance = instances_and_runs.instance_named(
        call.actor, call.region.code, given[INSTANCE], Action.DESCRIBE_INSTANCE
    )
    creation.require_creation(call.region, name, tags, os=instance.os, actor=call.actor)
    kind, initial = _credential(given)
    again = _made_before(call, name, token, given[USER], initial)
    if again is not None:
        return again.secret, again
    secret, run = creation.create(
        name,
        region=call.region,
        instance=instance,
        username=given[USER],
        actor=call.actor,
        kind=kind,
        initial=initial,
        version_id=token,
        description=call.given.get("Description", ""),
        tags=tags,
        key=key,
    )
    if run is not None:
        tasks.wake(run)
    return secret, secret.versions.filter(version_id=token).first()


def _made_before(
    call: Call, name: str, token: str, username: str, initial: Plaintext | None
) -> SecretVersion | None:
    """The version that the same request made. Raises `lifecycle.NameTaken` for another secret."""
    there = Secret.objects.kept().filter(region=call.region, name=name).first()
    if there is None:
        return None
    version = there.versions.filter(version_id=token).first()
    if version is None or initial is None or there.is_generic or not there.is_enabled:
        raise lifecycle.NameTaken
    if version.value_mark != versions.mark(versions.given(there, username, initial)):
        raise faults.exists(
            f"You can't use ClientRequestToken {token} because that value is already in use for a version of "
            f"secret {call.arn(there)}."
        )
    return version


def _read(value: versions.Value | None) -> dict[str, str]:
    wrong = faults.invalid_parameter(
        f"The SecretString of a {TYPE} is a JSON object of texts: {INSTANCE}, {USER}, and Password, or "
        f"PrivateKey, or {SUB_TYPE} (Password or SSHKey) for a value that the first rotation makes."
    )
    try:
        given = json.loads(value.text.reveal()) if value is not None and value.text is not None else None
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(given, dict) or not given.keys() <= _MEMBERS:
        raise wrong
    is_text = all(isinstance(one, str) and one for one in given.values())
    if not is_text or not {INSTANCE, USER} <= given.keys() or len(given[INSTANCE]) > 80:
        raise wrong
    if len(_HALVES.keys() & given.keys()) > 1 or given.get(SUB_TYPE, "Password") not in _KINDS:
        raise wrong
    return given


def _credential(given: dict[str, str]) -> tuple[str, Plaintext | None]:
    """The kind of the account's credential, and its private half where one is given."""
    half = next(iter(_HALVES.keys() & given.keys()), "")
    if not half:
        return _KINDS[given.get(SUB_TYPE, "Password")], None
    kind, private = _HALVES[half], Plaintext(given[half])
    if given.get(SUB_TYPE, SUB_TYPES[kind]) != SUB_TYPES[kind]:
        raise faults.invalid_parameter(f"The {SUB_TYPE} is not that of the value.")
    halves = kinds.TABLE[kind].read(private)
    mine = str(halves.get("public_key", "")).split()[:2]
    if "PublicKey" in given and given["PublicKey"].split()[:2] != mine:
        raise faults.invalid_parameter("PublicKey is not the public half of PrivateKey.")
    return kind, private


def metadata(call: Call, secret: Secret) -> list[dict[str, str]]:
    """What the rotation of a managed secret goes by; the instance only for who may describe it."""
    account = accounts.of(secret)
    if account is None:
        return []
    found = {USER: account.username, SUB_TYPE: SUB_TYPES[secret.kind]}
    if decisions.allows(call.actor, Action.DESCRIBE_INSTANCE, account.instance):
        found[INSTANCE] = account.instance.instance_id
    return [{"Key": name, "Value": text} for name, text in sorted(found.items())]


def require_same(call: Call, secret: Secret) -> None:
    """Return if the metadata of a request, if it has any, is the secret's own. Raises `faults.Fault`.

    An account is what a managed secret is: another one is another secret.
    """
    if call.given.get("ExternalSecretRotationRoleArn"):
        raise faults.invalid_parameter("Keyturn rotates without a role.")
    own = {one["Key"]: one["Value"] for one in metadata(call, secret)}
    for item in call.given.get("ExternalSecretRotationMetadata", ()):
        if not isinstance(item, dict):
            raise faults.serialization("ExternalSecretRotationMetadata is a list of objects.")
        shapes.check_members("externalSecretRotationMetadata", item, shapes.METADATA)
        if own.get(item["Key"]) != item["Value"]:
            raise faults.invalid_parameter(
                "ExternalSecretRotationMetadata cannot be changed: it names the account of this secret."
            )
