"""The only writer of subscriptions: what is told to whom, and in which shape.

A subscription is told what its subscriber may see at the moment of sending. A user who changes one becomes
its subscriber: otherwise an edit of its address would send what another user may see to a place of the
editor's choice. The address of a webhook often holds a token, so it is sealed together with the signing key.
"""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from console.models import Subscription
from console.notices import addresses, kinds
from secrets_app import actions, keyring, regions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Principal
from secrets_app.policy import decisions

FIELD = "webhook"
AT_MOST = 100
ROBOT_AT_MOST = 200  # characters
CHOOSE_OWN = "kms:ChooseOwnNotifications"


class Outdated(DomainError):
    """Another user changed this subscription in the meantime; nothing was saved."""

    code = "subscription_outdated"


class TooMany(DomainError):
    """There are 100 subscriptions. Delete one that is no longer needed."""

    code = "subscriptions_at_most"


class Unfit(DomainError, ValueError):
    """This shape cannot tell these events, or not as a digest; the message says why."""

    code = "subscription_unfit"


@dataclass(frozen=True)
class Wanted:
    """What a subscription is to be told, and how."""

    name: str
    channel: str
    events: tuple[str, ...]
    shape: str = ""
    regions: tuple[str, ...] = ()
    tag_key: str = ""
    tag_value: str = ""
    name_pattern: str = ""
    digest: timedelta | None = None
    is_enabled: bool = True

    def columns(self) -> dict[str, Any]:
        is_webhook = self.channel == Subscription.Channel.WEBHOOK
        return {
            "name": self.name,
            "channel": self.channel,
            "shape": self.shape if is_webhook else "",
            "events": [kind.name for kind in kinds.ALL if kind.name in self.events],
            "regions": sorted(self.regions),
            "tag_key": self.tag_key,
            "tag_value": self.tag_value,
            "name_pattern": self.name_pattern,
            "digest": self.digest,
            "is_enabled": self.is_enabled,
        }


@dataclass(frozen=True)
class Opened:
    """The address of a webhook, and the keys that sign what is sent there."""

    url: Plaintext
    key: Plaintext
    robot: Plaintext  # of a signed robot of DingTalk; else empty


def all_of_installation(actor: Principal) -> QuerySet[Subscription]:
    """Those that administrators manage. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.MANAGE_NOTIFICATIONS)
    return Subscription.objects.filter(is_own=False).select_related("subscriber")


def create(
    wanted: Wanted, *, actor: Principal, url: Plaintext, robot: Plaintext | None = None
) -> tuple[Subscription, Plaintext]:
    """Make a subscription; return it with the key that signs what is sent, which is shown once.

    `robot` is the secret of a signed robot of DingTalk. Raises `decisions.NotAllowed`,
    `addresses.BadAddress`, `Unfit`, `TooMany`, or as `keyring.seal`.
    """
    decisions.require(actor, Action.MANAGE_NOTIFICATIONS)
    _require_fit(wanted)
    _require_fit_robot(wanted, robot)
    row = Subscription(id=uuid.uuid4(), subscriber=actor, **wanted.columns())
    key = Plaintext("")
    with transaction.atomic():
        if Subscription.objects.filter(is_own=False).count() >= AT_MOST:
            raise TooMany
        if row.channel == Subscription.Channel.WEBHOOK:
            key = _new_key()
            _seal(row, Opened(url, key, robot or Plaintext("")))
        row.save(force_insert=True)
        _record(row, actor, "create")
    return row, key


def edit(
    row: Subscription,
    wanted: Wanted,
    *,
    revision: int,
    actor: Principal,
    url: Plaintext | None = None,
    with_new_key: bool = False,
    robot: Plaintext | None = None,
) -> Plaintext:
    """Change a subscription of the revision that was shown; the editor becomes its subscriber.

    Without `url` the address stays, and without both the robot's secret does: it belongs to the robot at the
    address. Returns the new key, which is shown once; empty if it stays. Raises `Outdated` and as `create`.
    """
    decisions.require(actor, Action.MANAGE_NOTIFICATIONS)
    _require_fit(wanted)
    _require_fit_robot(wanted, robot)
    key = Plaintext("")
    with transaction.atomic():
        rows = Subscription.objects.select_for_update()
        had = rows.filter(pk=row.pk, is_own=False, revision=revision).first()
        if had is None or had.channel != wanted.channel:
            raise Outdated
        for column, value in wanted.columns().items():
            setattr(had, column, value)
        old = had.sealed
        if had.channel == Subscription.Channel.WEBHOOK and (url or with_new_key or robot):
            known = opened(had)
            key = _new_key() if with_new_key else Plaintext("")
            kept = Plaintext("") if url else known.robot
            _seal(had, Opened(url or known.url, key or known.key, robot or kept))
        had.subscriber, had.revision = actor, had.revision + 1
        had.failures, had.paused_until, had.problem = 0, None, ""
        had.save()
        if old is not None and old.pk != had.sealed_id:
            keyring.destroy(old)
        _record(had, actor, "edit", new_address=bool(url), new_key=with_new_key)
    return key


def delete(row: Subscription, *, actor: Principal) -> None:
    """Delete a subscription with its deliveries. Raises `decisions.NotAllowed`."""
    decisions.require(actor, Action.MANAGE_NOTIFICATIONS)
    with transaction.atomic():
        had = Subscription.objects.select_for_update().filter(pk=row.pk, is_own=False).first()
        if had is None:
            return
        old = had.sealed
        had.delete()
        if old is not None:
            keyring.destroy(old)
        _record(row, actor, "delete")


def note_managed(row: Subscription, *, actor: Principal, did: str, **details: object) -> None:
    """Record what was done with a subscription, and changes no setting: a test, a second sending."""
    _record(row, actor, did, **details)


def opened(row: Subscription) -> Opened:
    """Open the address and the key of a webhook. Raises as `keyring.open_`."""
    assert row.sealed is not None
    text = keyring.open_(row.sealed, owner_id=row.pk, subject_id=row.pk, field=FIELD)
    content = json.loads(text)
    return Opened(*(Plaintext(content.get(name, "")) for name in ("url", "key", "robot")))


# ---------------------------------------------------------------- of one's own


def own(principal: Principal) -> Subscription | None:
    """The mails that a user has chosen for themselves."""
    return Subscription.objects.filter(subscriber=principal, is_own=True).first()


def choose_own(principal: Principal, events: tuple[str, ...], digest: timedelta | None) -> None:
    """Have a user be told of these events by mail; of none, where `events` is empty."""
    wanted = Wanted("Own mails", Subscription.Channel.MAIL, events, digest=digest, is_enabled=bool(events))
    with transaction.atomic():
        # Of two requests at once, the second one changes what the first has made.
        Subscription.objects.get_or_create(subscriber=principal, is_own=True, defaults=wanted.columns())
        row = Subscription.objects.select_for_update().get(subscriber=principal, is_own=True)
        for column, value in wanted.columns().items():
            setattr(row, column, value)
        row.revision = row.revision + 1
        row.failures, row.paused_until, row.problem = 0, None, ""
        row.save()
        about = actions.arn(actions.Kind.USER, principal.name, account=regions.account().number)
        trail.record(
            CHOOSE_OWN, about, actor=principal, resource_id=principal.user_id, details={"events": row.events}
        )


# ---------------------------------------------------------------- how far each is


def note_accepted(row: Subscription, carrier: uuid.UUID, now: Any) -> None:
    """Note that the receiver works."""
    rows = Subscription.objects.filter(pk=row.pk, carrier=carrier)
    rows.update(failures=0, paused_until=None, problem="", told_at=now)


def note_problem(row: Subscription, carrier: uuid.UUID, problem: str, until: Any) -> None:
    """Note that the receiver as a whole does not work, and when it is tried again."""
    rows = Subscription.objects.filter(pk=row.pk, carrier=carrier)
    rows.update(failures=F("failures") + 1, paused_until=until, problem=problem[:300])


def take(row: Subscription, carrier: uuid.UUID, now: Any, until: Any) -> bool:
    """Have one process send what is due; False while another one does."""
    free = Subscription.objects.filter(pk=row.pk, is_enabled=True)
    free = free.exclude(carried_until__gt=now) | free.filter(carrier=carrier)
    return bool(free.update(carrier=carrier, carried_until=until))


def let_go(row: Subscription, carrier: uuid.UUID) -> None:
    """Let another process send at once."""
    Subscription.objects.filter(pk=row.pk, carrier=carrier).update(carried_until=None, carrier=None)


def try_again(row: Subscription) -> None:
    """Forget that the receiver did not work."""
    Subscription.objects.filter(pk=row.pk).update(failures=0, paused_until=None)


# ---------------------------------------------------------------- what they are made of


def _require_fit(wanted: Wanted) -> None:
    Shape = Subscription.Shape
    if not set(wanted.events) <= set(kinds.BY_NAME) or not wanted.events:
        raise Unfit("Choose at least one event.")
    if wanted.channel != Subscription.Channel.WEBHOOK:
        return
    if wanted.shape == Shape.CLOUDMONITOR and not set(wanted.events) <= kinds.OF_ROTATIONS:
        labels = ", ".join(kind.label for kind in kinds.ALL if kind.name in kinds.OF_ROTATIONS)
        raise Unfit(f"CloudMonitor's shape tells only how rotations ended: {labels}.")
    if wanted.digest and wanted.shape in {Shape.CLOUDMONITOR, Shape.EVENTBRIDGE}:
        raise Unfit("This shape has one event in each message, so it cannot be a digest.")


def _require_fit_robot(wanted: Wanted, robot: Plaintext | None) -> None:
    if not robot:
        return
    if wanted.channel != Subscription.Channel.WEBHOOK or wanted.shape != Subscription.Shape.DINGTALK:
        raise Unfit("Only a robot of DingTalk has a secret of its own.")
    if len(robot) > ROBOT_AT_MOST or not all(33 <= byte <= 126 for byte in robot.encode()):
        raise Unfit(f"The secret of a robot has at most {ROBOT_AT_MOST} letters and digits, and no space.")


def _new_key() -> Plaintext:
    return Plaintext(base64.b64encode(secrets.token_bytes(32)).decode())


def _seal(row: Subscription, content: Opened) -> None:
    row.host = addresses.place(content.url).host
    held = {"url": content.url.reveal(), "key": content.key.reveal(), "robot": content.robot.reveal()}
    text = Plaintext(json.dumps(held))
    row.sealed = keyring.seal(text.encode(), owner_id=row.pk, subject_id=row.pk, field=FIELD)


def _record(row: Subscription, actor: Principal, did: str, **details: object) -> None:
    about = actions.arn(actions.Kind.SETTINGS, "", account=regions.account().number)
    told: Mapping[str, object] = {
        "did": did, "subscription": str(row.pk), "name": row.name, "channel": row.channel, "host": row.host,
    }  # fmt: skip
    trail.record(
        Action.MANAGE_NOTIFICATIONS, about, actor=actor, resource_id=row.pk, details={**told, **details}
    )
