"""Send what is due to those who may see it now, one process for each subscription at a time.

A process that dies after the receiver has accepted a message, and before that is recorded, has it sent again:
each is delivered at least once, and a repeated one has the same id.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from console import mail, mail_settings
from console.models import Delivery, Subscription
from console.notices import deliveries, following, kinds, messages, subscriptions, webhooks
from console.notices.messages import Notice
from console.notices.webhooks import Answer
from console.version import product_version
from rotation.models import Instance
from secrets_app import keyring, origin, seals
from secrets_app.actions import Action
from secrets_app.crypto.envelope import Tampered
from secrets_app.models import AuditEvent, Principal, User
from secrets_app.policy import decisions

log = logging.getLogger(__name__)

PASS_SECONDS: Final = 20.0  # of one pass, after which the next one goes on
LEASE: Final = timedelta(seconds=30)  # longer than one message takes
CHANGED = "This subscription was changed outside Keyturn: nothing is sent."
_WITHHELD = "The subscriber may not see this event."


def send_due() -> int:
    """Send what is due, for no longer than `PASS_SECONDS`; return how many deliveries have ended."""
    carrier, ends_at, count = uuid.uuid4(), time.monotonic() + PASS_SECONDS, 0
    for subscription in deliveries.subscriptions_due(timezone.now()):
        if time.monotonic() >= ends_at:
            break
        if _take(subscription, carrier):
            try:
                count += _send_all(subscription, carrier, ends_at)
            finally:
                subscriptions.let_go(subscription, carrier)
    return count


def _take(subscription: Subscription, carrier: uuid.UUID) -> bool:
    now = timezone.now()
    return subscriptions.take(subscription, carrier, now, now + LEASE)


def _send_all(subscription: Subscription, carrier: uuid.UUID, ends_at: float) -> int:
    count = 0
    held: set[uuid.UUID | None] = set()
    for rows in _messages(subscription):
        if any(row.about in held for row in rows if row.about):
            continue  # an earlier one of the same resource was put off just now
        # Each time: another process may have taken over from one that was suspended.
        if time.monotonic() >= ends_at or not _take(subscription, carrier):
            break
        answer, seen = _send(subscription, rows)
        now = timezone.now()
        if answer is None:
            count += len(rows)
        elif answer.is_accepted:
            deliveries.note_sent(seen, answer.status)
            subscriptions.note_accepted(subscription, carrier, now)
            count += len(rows)
        else:
            deliveries.note_failed(seen, now, answer.status, answer.problem)
            held |= {row.about for row in seen}
            if answer.is_of_receiver:
                until = now + deliveries.pause(subscription.failures)
                subscriptions.note_problem(subscription, carrier, answer.problem, until)
                log.warning("Subscription %s: %s", subscription.pk, answer.problem)
                break
    return count


def _messages(subscription: Subscription) -> Sequence[Sequence[Delivery]]:
    now = timezone.now()
    if subscription.digest:
        together = deliveries.next_digest(subscription, now)
        return [together] if together else []
    return [[row] for row in deliveries.in_order(subscription, now)]


def _send(subscription: Subscription, rows: Sequence[Delivery]) -> tuple[Answer | None, Sequence[Delivery]]:
    """Send one message; None where there was nothing to send of it. With it, what it was about."""
    if not seals.holds(subscription):
        deliveries.note_withheld(rows, CHANGED)
        return None, rows
    found = AuditEvent.objects.filter(sequence__in=[row.sequence for row in rows]).select_related("actor")
    events = {event.sequence: event for event in found}
    seen = [row for row in rows if may_see(subscription, row, events.get(row.sequence))]
    deliveries.note_withheld([row for row in rows if row not in seen], _WITHHELD)
    if not seen:
        return None, rows
    told = messages.notices([(row.id, kinds.BY_NAME[row.kind], events[row.sequence]) for row in seen])
    message = seen[0].batch or seen[0].id
    return deliver(subscription, told, message), seen


def deliver(subscription: Subscription, told: Sequence[Notice], message: uuid.UUID) -> Answer:
    """Send one message by the channel of this subscription; it is recorded by the caller."""
    if subscription.channel == Subscription.Channel.MAIL:
        return _by_mail(subscription, told, message)
    try:
        opened = subscriptions.opened(subscription)
    except (keyring.Sealed, keyring.KeyUnusable, Tampered) as error:
        return Answer(0, f"The address of the webhook cannot be decrypted: {error}", is_of_receiver=True)
    body = messages.body(subscription.shape, told, message=message, version=product_version())
    kind = told[0].kind if len(told) == 1 else "digest"
    robot = opened.robot if subscription.shape == Subscription.Shape.DINGTALK else None
    return webhooks.post(opened.url, opened.key, body, delivery=message, kind=kind, robot=robot)


def _by_mail(subscription: Subscription, told: Sequence[Notice], message: uuid.UUID) -> Answer:
    server: mail_settings.Server | None = settings.MAIL
    if server is None:
        return Answer(0, "No mail server is configured.", is_of_receiver=True)
    user = User.objects.filter(principal=subscription.subscriber_id).first()
    if user is None or not user.email:
        return Answer(0, "The subscriber has no e-mail address.", is_of_receiver=True)
    try:
        mail.send(
            server, user.email, messages.subject(told), messages.text(told), message_id=f"<{message}@keyturn>"
        )
    except mail.NotSent as error:
        return Answer(error.reply, str(error), is_of_receiver=error.code != "recipient")
    return Answer(250)


# ---------------------------------------------------------------- what a subscriber may see


def may_see(subscription: Subscription, row: Delivery, event: AuditEvent | None) -> bool:
    """Whether the subscriber may see this event now: the resource, and what else its kind asks for.

    No request is under way, so a condition on an address or a second factor does not hold.
    """
    kind = kinds.BY_NAME.get(row.kind)
    if event is None or kind is None:
        return False
    with origin.bind():
        subscriber = Principal.objects.select_related("user").get(pk=subscription.subscriber_id)
        if not subscription.is_own and not decisions.allows(subscriber, Action.MANAGE_NOTIFICATIONS):
            return False
        secret = following.secret_of(event)
        if secret is not None:
            return all(
                decisions.allows(subscriber, action, None if action.on_container else secret)
                for action in {Action.DESCRIBE_SECRET, kind.needs}
            )
        if (instance := _instance(event)) is not None:
            return decisions.allows(subscriber, Action.DESCRIBE_INSTANCE, instance)
        if kind.needs.on_container:
            return decisions.allows(subscriber, kind.needs)
        return decisions.allows(subscriber, Action.LIST_EVENTS)


def _instance(event: AuditEvent) -> Instance | None:
    if event.resource_id is None:
        return None
    rows = Instance.objects.select_related("account", "region")
    return rows.filter(pk=event.resource_id).first()
