"""What the console itself keeps: messages between processes, how users see lists, what is told to whom."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from secrets_app.models import Identified, Principal, SealedValue
from secrets_app.seals import SealedRow


class Message(models.Model):
    """One message of the embedded broker; `console.process.broker` alone writes this table."""

    queue = models.CharField(max_length=200)
    tag = models.CharField(max_length=64, unique=True)  # Celery's delivery tag: what an acknowledgement names
    body = models.TextField()  # JSON; task arguments are ids, so there is nothing secret in it
    claimed_at = models.DateTimeField(null=True)  # none: waiting for a consumer
    deliveries = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["queue", "claimed_at"], name="message_waiting")]


class Heartbeat(models.Model):
    """When a kind of process last showed that it works; `console.process.health` alone writes this table."""

    process = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()


class CacheEntry(models.Model):
    """One entry of the cache; `console.cache` alone writes this table, and believes none without its seal."""

    key = models.CharField(max_length=64, primary_key=True)  # a keyed hash
    value = models.TextField()  # JSON
    seal = models.CharField(max_length=64)
    expires_at = models.DateTimeField(db_index=True)


class ListPreference(models.Model):
    """How a user sees one list; `console.lists.preferences` alone writes this table."""

    principal = models.ForeignKey("secrets_app.Principal", on_delete=models.CASCADE)
    name = models.CharField(max_length=20)  # of the list
    rows = models.PositiveSmallIntegerField()  # on a page
    columns = models.JSONField()  # names of those that are shown
    is_compact = models.BooleanField(default=False)  # lower rows

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["principal", "name"], name="one_preference_of_a_list"),
        ]


class Subscription(SealedRow, Identified):
    """What is told to whom, and how. Writer: `console.notices.subscriptions`; of the rest, `deliveries`.

    It acts for its subscriber without a session, so the row decides and is sealed.
    """

    SEALED = (
        "id", "subscriber_id", "is_own", "channel", "shape", "host", "sealed_id", "events", "regions",
        "tag_key", "tag_value", "name_pattern", "is_enabled",
    )  # fmt: skip

    class Channel(models.TextChoices):
        MAIL = "mail", "E-mail"  # to the address of the subscriber
        WEBHOOK = "webhook", "Webhook"

    class Shape(models.TextChoices):
        KEYTURN = "keyturn", "Keyturn"
        CLOUDMONITOR = "cloudmonitor", "CloudMonitor (rotations only)"
        EVENTBRIDGE = "eventbridge", "EventBridge"
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"
        DINGTALK = "dingtalk", "DingTalk"

    subscriber = models.ForeignKey(
        Principal, on_delete=models.PROTECT, related_name="+"
    )  # whose rights count
    is_own = models.BooleanField(default=False)  # the mails that a user has chosen for themselves
    name = models.CharField(max_length=80)
    channel = models.CharField(max_length=8, choices=Channel)
    shape = models.CharField(max_length=12, choices=Shape, blank=True)
    host = models.CharField(max_length=255, blank=True)  # of a webhook: its address is sealed, with its key
    sealed = models.ForeignKey(SealedValue, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    events = models.JSONField(default=list)  # names of `console.notices.kinds`
    regions = models.JSONField(default=list)  # codes; none: all, and what belongs to no region
    tag_key = models.CharField(max_length=128, blank=True)
    tag_value = models.CharField(max_length=256, blank=True)
    name_pattern = models.CharField(max_length=512, blank=True)  # of the resource, with * and ?
    digest = models.DurationField(null=True, blank=True)  # events of so long are one message
    is_enabled = models.BooleanField(default=True)
    revision = models.PositiveIntegerField(default=1)  # an edit says which one it was made on
    failures = models.PositiveIntegerField(default=0)  # in a row, of the receiver as a whole
    paused_until = models.DateTimeField(null=True, blank=True)  # after one of them
    carried_until = models.DateTimeField(null=True, blank=True)  # a process is at it until then
    carrier = models.UUIDField(null=True, blank=True)  # ... and which
    problem = models.CharField(max_length=300, blank=True)  # of the last try; empty after one that succeeded
    told_at = models.DateTimeField(null=True, blank=True)  # when the receiver last accepted something

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["subscriber"], condition=models.Q(is_own=True), name="one_own_subscription"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One event that is told to one subscriber. Writer: `console.notices.deliveries`.

    The id is made of the subscription and the event, so it is the same however often it is sent.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"  # not accepted within a day
        WITHHELD = "withheld", "Withheld"  # the subscriber may not see it

    id = models.UUIDField(primary_key=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries")
    sequence = models.BigIntegerField()  # of the event in the audit trail
    kind = models.CharField(max_length=24)  # of `console.notices.kinds`
    about = models.UUIDField(null=True)  # the resource: of one of them, deliveries keep their order
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    due_at = models.DateTimeField(db_default=Now())
    give_up_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    answer = models.PositiveSmallIntegerField(default=0)  # HTTP status or SMTP reply; 0 where there was none
    problem = models.CharField(max_length=300, blank=True)
    batch = models.UUIDField(null=True)  # of a digest: those that were sent together stay together
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["subscription", "sequence"], name="one_delivery_of_an_event"),
        ]
        indexes = [
            models.Index(
                fields=["subscription", "sequence"],
                condition=models.Q(state="waiting"),
                name="delivery_waiting",
            ),
            models.Index(fields=["subscription", "-created_at", "id"], name="delivery_of_subscription"),
            models.Index(
                fields=["ended_at"], condition=models.Q(ended_at__isnull=False), name="delivery_ended"
            ),
        ]


class NoticeCursor(models.Model):
    """How far the audit trail was followed: one row. Writer: `console.notices.following`."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    sequence = models.BigIntegerField()


class NotedCondition(models.Model):
    """What was recorded once, so that it is not recorded again. Writer: `console.notices.conditions`."""

    name = models.CharField(max_length=120, primary_key=True)
    noted_at = models.DateTimeField(db_default=Now())
