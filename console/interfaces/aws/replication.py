"""Operations on replicas, which are copies of a secret in other regions of Keyturn."""

from __future__ import annotations

import re
from typing import Any

from console.interfaces import new_regions
from console.interfaces.aws import calls, faults, keys, shapes
from console.interfaces.aws.calls import Call
from secrets_app.actions import Action
from secrets_app.models import Key, Region, Replica, Secret
from secrets_app.secrets import replicas

_REGION = re.compile(r"([a-z]+-)+\d+")
_MEMBERS = {"Region": shapes.Member(str, 1, 128, is_required=True), "KmsKeyId": shapes.Member(str, 0, 2048)}
_STATES = {Replica.State.IN_SYNC: "InSync", Replica.State.FAILED: "Failed"}


def replicate_secret_to_regions(call: Call) -> dict[str, Any]:
    wanted = read(call)
    secret = call.secret(Action.UPDATE_SECRET)
    add(call, secret, wanted)
    return {"ARN": call.arn(secret), "ReplicationStatus": statuses(secret)}


def remove_regions_from_replication(call: Call) -> dict[str, Any]:
    names = shapes.strings("removeReplicaRegions", call.given["RemoveReplicaRegions"], most=128)
    secret = call.secret(Action.UPDATE_SECRET)
    found = {_region(name, f"removeReplicaRegions.{n}.member") for n, name in enumerate(names, start=1)}
    replicas.remove(secret, found, actor=call.actor)
    return {"ARN": call.arn(secret), "ReplicationStatus": statuses(secret)}


def stop_replication_to_replica(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.UPDATE_SECRET)
    replicas.stop(secret, actor=call.actor)
    return {"ARN": call.arn(secret)}


def across_accounts(call: Call) -> dict[str, Any]:
    """Refuse a replica in another account: an installation of Keyturn is one account."""
    call.secret(Action.UPDATE_SECRET)
    raise ONE_ACCOUNT()


def ONE_ACCOUNT() -> faults.Fault:
    return faults.invalid_parameter("There is no other account in this installation of Keyturn.")


def read(call: Call) -> list[tuple[Region, Key | None]]:
    """The regions in AddReplicaRegions, each with the key that it names. Raises `faults.Fault`."""
    found: list[tuple[Region, Key | None]] = []
    for number, entry in enumerate(call.given.get("AddReplicaRegions", ()), start=1):
        where = f"addReplicaRegions.{number}.member"
        if not isinstance(entry, dict):
            raise faults.serialization("The member AddReplicaRegions has another type.")
        shapes.check_members(where, entry, _MEMBERS)
        region = _region(entry["Region"], f"{where}.region")
        if region == call.region or region in {one for one, _ in found}:
            raise INVALID()
        found.append((region, keys.named(call, str(entry.get("KmsKeyId") or ""))))
    return found


def add(call: Call, secret: Secret, wanted: list[tuple[Region, Key | None]]) -> None:
    overwrite = bool(call.given.get("ForceOverwriteReplicaSecret"))
    for region, key in wanted:
        replicas.add(secret, region, actor=call.actor, key=key, overwrite=overwrite)


def INVALID() -> faults.Fault:
    return faults.invalid_parameter("Invalid replica region.")


def _region(name: str, where: str) -> Region:
    found = new_regions.region(name)
    if found is not None:
        return found
    if not _REGION.fullmatch(name):
        raise faults.invalid(
            f"1 validation error detected: Value at '{where}' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: ^([a-z]+-)+\\d+$"
        )
    raise INVALID()


def statuses(secret: Secret) -> list[dict[str, Any]]:
    """How each replica stands, by region."""
    rows = secret.replicas.select_related("region", "key", "secret", "primary").order_by("region__code")
    return [_status(replica) for replica in rows]


def _status(replica: Replica) -> dict[str, Any]:
    is_late = replica.state == Replica.State.IN_SYNC and not replicas.is_in_step(replica)
    found = {
        "Region": calls.name_of(replica.region),
        "KmsKeyId": f"alias/{replica.key.alias}",
        "Status": "InProgress" if is_late else _STATES[Replica.State(replica.state)],
    }
    return found | ({"StatusMessage": replica.message} if replica.message else {})


def said_of(secret: Secret) -> dict[str, Any]:
    """What is said of a secret that has replicas, or is one; nothing of another."""
    of = Replica.objects.select_related("primary__region").filter(secret=secret).first()
    if of is not None:
        return {"PrimaryRegion": calls.name_of(of.primary.region)}
    found = statuses(secret)
    return {"PrimaryRegion": calls.name_of(secret.region), "ReplicationStatus": found} if found else {}
