"""Carry Celery's messages in one table of Keyturn's own database: a small installation needs no broker.

At least once: taking a message claims its row and does not remove it; only the acknowledgement does.
A claim older than the transport option `visibility_timeout` (seconds) is void, and the message is
delivered again, so a consumer that is killed loses nothing. Sending is an INSERT on the caller's
connection: inside a transaction the message appears with the commit or not at all, and its commit wakes the
consumers. They also poll, for claims that are void and in case a wake-up was lost.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from queue import Empty
from typing import Any

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from kombu.transport import base, virtual
from kombu.utils.json import dumps, loads

from console.models import Message
from console.process import bells

logger = logging.getLogger(__name__)

LOOK_EVERY = 2.0  # seconds, of a consumer that is woken
MOST_DELIVERIES = 10  # a message that ends its consumer every time must not do so for ever


class QoS(virtual.QoS):
    """What this consumer holds. A thread of the worker's pool may acknowledge, each on its own connection."""

    channel: Channel

    def ack(self, delivery_tag: str) -> None:
        self.channel.remove(delivery_tag)
        super().ack(delivery_tag)
        self.channel.has_room()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if requeue:
            self.channel.release([delivery_tag])
        else:
            self.channel.remove(delivery_tag)
        super().ack(delivery_tag)
        self.channel.has_room()

    def restore_unacked(self) -> None:
        held: OrderedDict[str, Any] = self._delivered or OrderedDict()
        self._flush()  # type: ignore[attr-defined]  # those that another thread has acknowledged
        self.channel.release(list(held))
        held.clear()


class Channel(virtual.Channel):
    QoS = QoS
    visibility_timeout = 3600.0
    from_transport_options = (*virtual.Channel.from_transport_options, "visibility_timeout")

    def remove(self, tag: str) -> None:
        _renew_connection()
        Message.objects.filter(tag=tag).delete()

    def release(self, tags: Iterable[str]) -> None:
        """Let the next consumer have these at once."""
        _renew_connection()
        Message.objects.filter(tag__in=tags).update(claimed_at=None)
        transaction.on_commit(bells.ring)

    def has_room(self) -> None:
        """Have the consumer look again, as it may have been at its limit of held messages."""
        if isinstance(transport := self.connection, Transport):  # none of a channel that was closed meanwhile
            transport.look_again()

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        _renew_connection()
        Message.objects.create(queue=queue, tag=message["properties"]["delivery_tag"], body=dumps(message))
        transaction.on_commit(bells.ring)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        _renew_connection()
        while row := self._claim(queue):
            if (message := self._opened(row)) is not None:
                return message
            row.delete()
        raise Empty

    def _claim(self, queue: str) -> Message | None:
        waiting = self._waiting(queue)
        # SQLite has one writer: a poll that finds nothing, which is nearly every one, only reads.
        if not waiting.exists():
            return None
        with transaction.atomic():
            # Where rows cannot be locked, the immediate transaction already keeps every other writer out.
            row = waiting.select_for_update(skip_locked=True).first()
            if row:
                Message.objects.filter(pk=row.pk).update(claimed_at=Now(), deliveries=F("deliveries") + 1)
        return row

    def _waiting(self, queue: str) -> QuerySet[Message]:
        allowed = timedelta(seconds=self.visibility_timeout)
        free = Q(claimed_at=None) | Q(claimed_at__lt=Now() - allowed)
        return Message.objects.filter(free, queue=queue).order_by("pk")

    def _opened(self, row: Message) -> dict[str, Any] | None:
        """Return the message in a row; None, with a log line, where it holds none: the next must be read."""
        if row.deliveries >= MOST_DELIVERIES:
            logger.error(
                "Refused message %s: delivered %s times, never acknowledged.", row.pk, row.deliveries
            )
            return None
        try:
            message: dict[str, Any] = loads(row.body)
            message["properties"]["delivery_tag"] = row.tag
            message["properties"]["delivery_info"]["redelivered"] = row.deliveries > 0
            message["headers"].get("task")
            self.Message(message, channel=self)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            logger.error("Refused message %s: not a message (%s).", row.pk, type(error).__name__)
            return None
        return message

    def _size(self, queue: str) -> int:
        return Message.objects.filter(queue=queue).count()

    def _purge(self, queue: str) -> int:
        return Message.objects.filter(queue=queue).delete()[0]


class Transport(virtual.Transport):
    Channel = Channel
    driver_type = "embedded"
    driver_name = "database"
    polling_interval = 0.25  # one indexed read, by a consumer that cannot be woken
    # Told of these, Celery reconnects and goes on.
    connection_errors = (*base.Transport.connection_errors, OperationalError, InterfaceError)

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._bell: bells.Bell | None = None
        self._has_tried = False

    def driver_version(self) -> str:
        return "1"

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        """Deliver one message as soon as there is one. Raises TimeoutError where there was none in time."""
        assert self.cycle is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if bell := self._own_bell():
                bell.clear()  # before the look: what is sent after it rings again
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                left = LOOK_EVERY if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError from None
                self._wait(bell, left)
            else:
                return

    def _wait(self, bell: bells.Bell | None, seconds: float) -> None:
        # Beside another database than a file a sender may be on another machine, and ring unheard.
        look_every = LOOK_EVERY if bell and connection.vendor == "sqlite" else self.polling_interval
        if bell:
            bell.wait(min(seconds, look_every))
        else:
            time.sleep(min(seconds, look_every))

    def _own_bell(self) -> bells.Bell | None:
        """This consumer's bell, if the data folder takes one; it is tried once."""
        if not self._has_tried:
            self._has_tried = True
            try:
                self._bell = bells.Bell()
            except OSError as error:
                logger.warning("The embedded broker's consumer cannot be woken and looks often (%s).", error)
        return self._bell

    def look_again(self) -> None:
        if bell := self._bell:
            bell.ring()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._bell:
            self._bell.close()
        self._bell, self._has_tried = None, False


def _renew_connection() -> None:
    """Replace this thread's database connection where it broke or is old: no request ends here to do it."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
