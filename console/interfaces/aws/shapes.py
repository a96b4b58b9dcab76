"""The members of each operation's input: types, limits, and which must be there. Source: the service's model.

A client's library checks the types and what must be there; lengths and patterns are left to the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from console.interfaces.aws import faults


@dataclass(frozen=True)
class Member:
    """One member: its type, and its least and most characters, number, or entries."""

    type: type = str
    least: int = 0
    most: int = 1 << 31
    is_required: bool = False


SECRET_ID = Member(str, 1, 2048, is_required=True)
_ID = {"SecretId": SECRET_ID}
_TOKEN = {"ClientRequestToken": Member(str)}  # its length has a text of its own
_VALUE = {"SecretString": Member(str, 1, 65536), "SecretBinary": Member(str, 1, 87384)}
_TEXTS = {"Description": Member(str, 0, 2048), "KmsKeyId": Member(str, 0, 2048), "Type": Member(str, 0, 256)}
_TAGS = Member(list)
_PAGE = {"MaxResults": Member(int, 1, 100), "NextToken": Member(str, 1, 4096)}
_FILTERS = {"Filters": Member(list, 0, 10)}
_POLICY_NAME = {"PolicyName": Member(str, 1, 64)}
_POLICY = Member(str, 1, 20480, is_required=True)

RULES = {
    "AutomaticallyAfterDays": Member(int),
    "Duration": Member(str, 2, 3),
    "ScheduleExpression": Member(str, 1, 256),
}

METADATA = {
    "Key": Member(str, 1, 256, is_required=True),
    "Value": Member(str, 1, 2048, is_required=True),
}

INPUTS: dict[str, dict[str, Member]] = {
    "AssociateCrossAccountReplica": {
        **_ID, "CrossAccountReplicaARN": Member(str, 1, 2048, is_required=True),
        "ReplicationRoleARN": Member(str, 20, 2048), "ReplicaRestriction": Member(str, 1, 64),
    },
    "BatchGetSecretValue": {
        "SecretIdList": Member(list, 1, 20), **_FILTERS, **_PAGE, "MaxResults": Member(int, 1, 20),
    },
    "CancelRotateSecret": _ID,
    "CreateSecret": {
        "Name": Member(str, 1, 512, is_required=True), **_TOKEN, **_VALUE, **_TEXTS, "Tags": _TAGS,
        "AddReplicaRegions": Member(list), "ForceOverwriteReplicaSecret": Member(bool),
        "CrossAccountPrimaryARN": Member(str, 1, 2048),
    },
    "DeleteResourcePolicy": {**_ID, **_POLICY_NAME},
    "DeleteSecret": {
        **_ID, "RecoveryWindowInDays": Member(int), "ForceDeleteWithoutRecovery": Member(bool),
    },
    "DescribeSecret": _ID,
    "DisassociateCrossAccountReplica": {
        **_ID, "CrossAccountReplicaARN": Member(str, 1, 2048, is_required=True),
    },
    "GetRandomPassword": {
        "PasswordLength": Member(int, 1, 4096), "ExcludeCharacters": Member(str, 0, 4096),
        "ExcludeNumbers": Member(bool), "ExcludePunctuation": Member(bool),
        "ExcludeUppercase": Member(bool), "ExcludeLowercase": Member(bool), "IncludeSpace": Member(bool),
        "RequireEachIncludedType": Member(bool),
    },
    "GetResourcePolicy": {**_ID, **_POLICY_NAME},
    "GetSecretValue": {**_ID, "VersionId": Member(str, 32, 64), "VersionStage": Member(str, 1, 256)},
    "ListResourcePolicies": {**_ID, **_PAGE},
    "ListSecretVersionIds": {**_ID, **_PAGE, "IncludeDeprecated": Member(bool)},
    "ListSecrets": {
        **_FILTERS, **_PAGE, "IncludePlannedDeletion": Member(bool), "SortOrder": Member(str),
        "SortBy": Member(str),
    },
    "PutResourcePolicy": {
        **_ID, **_POLICY_NAME, "ResourcePolicy": _POLICY, "BlockPublicPolicy": Member(bool),
    },
    "PutSecretValue": {
        **_ID, **_TOKEN, **_VALUE, "VersionStages": Member(list, 1, 20),
        "RotationToken": Member(str, 36, 256),
    },
    "RemoveRegionsFromReplication": {
        **_ID, "RemoveReplicaRegions": Member(list, 1, 64, is_required=True),
    },
    "ReplicateSecretToRegions": {
        **_ID, "AddReplicaRegions": Member(list, 1, 64, is_required=True),
        "ForceOverwriteReplicaSecret": Member(bool),
    },
    "RestoreSecret": _ID,
    "RotateSecret": {
        **_ID, **_TOKEN, "RotationLambdaARN": Member(str, 0, 2048), "RotationRules": Member(dict),
        "RotateImmediately": Member(bool), "ExternalSecretRotationMetadata": Member(list, 0, 64),
        "ExternalSecretRotationRoleArn": Member(str, 20, 2048),
    },
    "StopReplicationToReplica": _ID,
    "TagResource": {**_ID, "Tags": Member(list, is_required=True)},
    "UntagResource": {**_ID, "TagKeys": Member(list, is_required=True)},
    "UpdateSecret": {**_ID, **_TOKEN, **_VALUE, **_TEXTS},
    "UpdateSecretVersionStage": {
        **_ID, "VersionStage": Member(str, 1, 256, is_required=True),
        "RemoveFromVersionId": Member(str, 32, 64), "MoveToVersionId": Member(str, 32, 64),
    },
    "ValidateResourcePolicy": {"SecretId": Member(str, 1, 2048), "ResourcePolicy": _POLICY},
}  # fmt: skip


def read(operation: str, body: bytes) -> dict[str, Any]:
    """Return the input of an operation from the body; null and unknown members are left out.

    Raises `faults.Fault`, which never repeats a value.
    """
    given = _parsed(body)
    members = {name: given[name] for name in INPUTS[operation] if given.get(name) is not None}
    for name, member in INPUTS[operation].items():
        _check(name, members.get(name), member)
    for name, value in members.items():
        for text in _texts(value):
            _check_text(text, may_hold_nul=name == "SecretString")
    return members


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body.decode(), parse_constant=_no_constant) if body.strip() else {}
    except (ValueError, RecursionError):
        raise faults.serialization("The body is not a JSON document.") from None
    if not isinstance(given, dict):
        raise faults.serialization("The body is not a JSON object.")
    return given


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _check(name: str, value: Any, member: Member) -> None:
    where = f"'{name[0].lower()}{name[1:]}'"
    if value is None:
        if member.is_required:
            raise _failed(where, "Member must not be null")
        return
    is_number = isinstance(value, int)
    if not isinstance(value, member.type) or (member.type is int and isinstance(value, bool)):
        raise faults.serialization(f"The member {name} has another type.")
    if isinstance(value, bool):
        return
    size = cast(int, value) if is_number else len(cast(str, value))  # a text, a list or an object
    what = "value" if is_number else "length"
    if size < member.least:
        raise _failed(where, f"Member must have {what} greater than or equal to {member.least}")
    if size > member.most:
        raise _failed(where, f"Member must have {what} less than or equal to {member.most}")


def _failed(where: str, constraint: str) -> faults.Fault:
    return faults.invalid(
        f"1 validation error detected: Value at {where} failed to satisfy constraint: {constraint}"
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)


def _check_text(text: str, *, may_hold_nul: bool) -> None:
    """Half of a surrogate pair is no character, and a column holds no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise faults.serialization("The body holds text that is not Unicode.") from None
    if "\0" in text and not may_hold_nul:
        raise faults.invalid("A text holds a NUL character.")


def strings(name: str, values: list[Any], *, most: int, least: int = 1) -> list[str]:
    """Return a list of texts of these lengths. Raises `faults.Fault`."""
    for number, value in enumerate(values, start=1):
        _check(f"{name}.{number}.member", value, Member(str, least, most, is_required=True))
    return values


def tags(values: list[Any]) -> dict[str, str]:
    """Return tags as a mapping. Raises `faults.Fault`."""
    found: dict[str, str] = {}
    for number, tag in enumerate(values, start=1):
        if not isinstance(tag, dict):
            raise faults.serialization("The member Tags has another type.")
        _check(f"tags.{number}.member.key", tag.get("Key"), Member(str, 1, 128, is_required=True))
        value = tag.get("Value")
        _check(f"tags.{number}.member.value", value, Member(str, 0, 256))
        if tag["Key"].lower().startswith("aws:"):
            raise faults.invalid_parameter("Tag keys that begin with aws: are reserved.")
        if tag["Key"] in found:
            raise faults.invalid_parameter("A tag key is given more than once.")
        found[tag["Key"]] = value or ""
    return found


def check_members(name: str, given: dict[str, Any], members: dict[str, Member]) -> None:
    """Return if the members of a structure have these types and lengths. Raises `faults.Fault`."""
    for member, shape in members.items():
        _check(f"{name}.{member[0].lower()}{member[1:]}", given.get(member), shape)


FILTER_KEYS = ("description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all")
_FILTER_VALUE = re.compile(r"!?[a-zA-Z0-9 :_@/+=.\-!]*")


def filters(values: list[Any]) -> list[tuple[str, list[str]]]:
    """Return filters as pairs of a key and values. Raises `faults.Fault`."""
    found = []
    for number, entry in enumerate(values, start=1):
        if not isinstance(entry, dict):
            raise faults.serialization("The member Filters has another type.")
        key, texts = entry.get("Key"), entry.get("Values")
        if not key:
            raise faults.invalid_parameter("Invalid filter key")
        if key not in FILTER_KEYS:
            raise faults.invalid(
                f"1 validation error detected: Value at 'filters.{number}.member.key' failed to satisfy "
                f"constraint: Member must satisfy enum value set: [{', '.join(sorted(FILTER_KEYS))}]"
            )
        if not texts:
            raise faults.invalid_parameter(f"Invalid filter values for key: {key}")
        _check(f"filters.{number}.member.values", texts, Member(list, 1, 10))
        strings(f"filters.{number}.member.values", texts, most=512, least=0)
        if not all(_FILTER_VALUE.fullmatch(text) for text in texts):
            raise faults.invalid_parameter(f"Invalid filter values for key: {key}")
        found.append((key, texts))
    return found


def token(given: dict[str, Any]) -> str:
    """Return the client's token, which is the id of the version that it makes. Raises `faults.Fault`."""
    text = given.get("ClientRequestToken", "")
    if not text:
        raise faults.NO_TOKEN()
    if not 32 <= len(text) <= 64:
        raise faults.invalid_parameter("ClientRequestToken must be 32-64 characters long.")
    return str(text)
