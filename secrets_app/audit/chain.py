"""How an event and a checkpoint become bytes, and how each is tied to the one before it.

Pure: rows and keys in, digests out. A field more, or another order, is another format: raise its number.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from uuid import UUID

GENESIS = "0" * 64
EVENT_FORMAT = "keyturn audit event 1"
CHECKPOINT_FORMAT = "keyturn checkpoint 1"
# Made once: a verification reads every event there is, and asks for each of these many times in each.
_LENGTHS = [length.to_bytes(4, "big") for length in range(1024)]
_SHORT = [length.to_bytes(4, "big").decode() for length in range(128)]  # those that are ASCII themselves
_FORMAT = _SHORT[len(EVENT_FORMAT)] + EVENT_FORMAT
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


class Event(Protocol):
    """What is chained of an event: all of its columns but the digest itself."""

    sequence: int
    at: datetime
    actor_id: UUID | None
    actor_name: str
    action: str
    resource: str
    resource_id: UUID | None
    version_id: str
    outcome: str
    decision: str
    reason: str
    details: object
    request_id: str
    session: str
    address: str | None
    value_mark: str


class Checkpoint(Protocol):
    """What is signed of a checkpoint."""

    @property
    def sequence(self) -> int: ...
    @property
    def mac(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def previous(self) -> str: ...


def encode(event: Event) -> bytes:
    """Every column in a fixed order, each with its length before it, so that no two events look alike."""
    return encode_texts(
        str(event.sequence),
        moment(event.at),
        _hex(event.actor_id),
        event.actor_name,
        event.action,
        event.resource,
        _hex(event.resource_id),
        event.version_id,
        event.outcome,
        event.decision,
        event.reason,
        _canonical(event.details),
        event.request_id,
        event.session,
        packed(event.address) if event.address else "",
        event.value_mark,
    )


def encode_texts(
    sequence: str,
    at: str,
    actor: str,
    actor_name: str,
    action: str,
    resource: str,
    resource_id: str,
    version_id: str,
    outcome: str,
    decision: str,
    reason: str,
    details: str,
    request_id: str,
    session: str,
    address: str,
    value_mark: str,
) -> bytes:
    """As `encode`, of columns that are texts already.

    Where all are short and ASCII, as nearly always, the lengths are characters too, and one encoding does.
    """
    n = _SHORT
    try:
        framed = (
            f"{_FORMAT}{n[len(sequence)]}{sequence}{n[len(at)]}{at}{n[len(actor)]}{actor}"
            f"{n[len(actor_name)]}{actor_name}{n[len(action)]}{action}{n[len(resource)]}{resource}"
            f"{n[len(resource_id)]}{resource_id}{n[len(version_id)]}{version_id}{n[len(outcome)]}{outcome}"
            f"{n[len(decision)]}{decision}{n[len(reason)]}{reason}{n[len(details)]}{details}"
            f"{n[len(request_id)]}{request_id}{n[len(session)]}{session}{n[len(address)]}{address}"
            f"{n[len(value_mark)]}{value_mark}"
        )
        if framed.isascii():
            return framed.encode()
    except IndexError:  # one of them is longer
        pass
    return _joined(
        EVENT_FORMAT, sequence, at, actor, actor_name, action, resource, resource_id, version_id, outcome,
        decision, reason, details, request_id, session, address, value_mark,
    )  # fmt: skip


def mac(key: bytes, event: Event, previous: str) -> str:
    """The digest of an event that follows the one whose digest is `previous`."""
    return tied(key, encode(event), previous)


def tied(key: bytes, encoded: bytes, previous: str) -> str:
    """As `mac`, of an event that is encoded already."""
    return hmac.digest(key, encoded + bytes.fromhex(previous), "sha256").hex()


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """What a checkpoint's signature is made of."""
    return _joined(
        CHECKPOINT_FORMAT,
        str(checkpoint.sequence),
        checkpoint.mac,
        moment(checkpoint.at),
        checkpoint.previous,
    )


def checkpoint_hash(checkpoint: Checkpoint) -> str:
    """What the next checkpoint says of this one."""
    return hashlib.sha256(checkpoint_bytes(checkpoint)).hexdigest()


def moment(at: datetime) -> str:
    """The same text for the same microsecond, whatever the zone."""
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")


@lru_cache(maxsize=1024)
def packed(address: str) -> str:
    """The same text for the same address, however it is written."""
    return ipaddress.ip_address(address).packed.hex()


@lru_cache(maxsize=1024)
def canonical(details: str) -> str:
    """The same text for the same details, from the text that a database keeps of them."""
    return _canonical(json.loads(details))


def _hex(number: UUID | None) -> str:
    return number.hex if number else ""


def _joined(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    try:
        return b"".join([_LENGTHS[len(part)] + part for part in encoded])
    except IndexError:  # of a part that is longer than nearly all
        return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])
