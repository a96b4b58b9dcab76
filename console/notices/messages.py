"""What a message says, in each shape. Ids, names, codes and sentences of Keyturn's own; never a value.

Sources: Alibaba Cloud, "Monitor the rotation of dynamic ECS secrets"; Amazon EventBridge, "AWS service events
delivered via CloudTrail"; Slack, "Sending messages using incoming webhooks"; Microsoft, "Create incoming
webhooks" (Adaptive Card 1.4); DingTalk, "Custom robot access" (text).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from console.models import Subscription
from console.notices import kinds
from console.notices.kinds import Kind
from console.siem import records, shapes
from rotation.models import Run
from secrets_app.models import AuditEvent

Shape = Subscription.Shape
LISTED: Final = 50  # of a digest, in a message for people; of the others it says how many they are


@dataclass(frozen=True)
class Notice:
    """One event as it is told."""

    id: UUID  # of its delivery, or of the test
    kind: str
    label: str
    severity: str
    event: AuditEvent | None  # none for a test
    sentence: str = ""  # of the run that ended

    @property
    def title(self) -> str:
        name = records.place(self.event)[1] if self.event else ""
        return f"{self.label}: {name}" if name else self.label

    @property
    def at(self) -> datetime:
        return self.event.at if self.event else datetime.now(UTC)

    @property
    def url(self) -> str:
        path = reverse("audit_event", args=[self.event.sequence]) if self.event else reverse("home")
        return settings.PUBLIC_URL.rstrip("/") + path


def notices(rows: Sequence[tuple[UUID, Kind, AuditEvent]]) -> list[Notice]:
    """Put together what these events say; of one that a run left, with the sentence of the run."""
    sentences = _sentences([event for _, _, event in rows])
    return [
        Notice(pk, kind.name, kind.label, kind.severity, event, sentences.get(event.details.get("run"), ""))
        for pk, kind, event in rows
    ]


def test(pk: UUID) -> Notice:
    """A message that says that messages arrive."""
    return Notice(pk, kinds.TEST, "Keyturn: test message", "info", None)


def _sentences(events: Sequence[AuditEvent]) -> dict[Any, str]:
    wanted = {UUID(str(event.details["run"])) for event in events if event.details.get("run")}
    return {str(pk): text for pk, text in Run.objects.filter(pk__in=wanted).values_list("pk", "sentence")}


# ---------------------------------------------------------------- for people


def subject(told: Sequence[Notice]) -> str:
    """One line, without line ends."""
    text = told[0].title if len(told) == 1 else f"{len(told)} events"
    return f"Keyturn: {text}"[:200]


def text(told: Sequence[Notice]) -> str:
    """The words of a mail, and of a chat's message."""
    if len(told) == 1:
        return "\n".join(_paragraph(told[0]))
    lines = [f"{notice.at:%Y-%m-%d %H:%M} UTC  {notice.title}" for notice in told[:LISTED]]
    if len(told) > LISTED:
        lines.append(f"And {len(told) - LISTED} more: {settings.PUBLIC_URL}")
    return "\n".join([f"{len(told)} events", "", *lines])


def _paragraph(notice: Notice) -> list[str]:
    if notice.event is None:
        return [notice.label, "Send test, under Settings, Notifications, has sent this message.", notice.url]
    lines = [notice.title, f"{notice.at:%Y-%m-%d %H:%M:%S} UTC", notice.event.resource]
    if notice.sentence:
        lines.append(notice.sentence)
    return [*lines, f"By {notice.event.actor_name}", notice.url]


# ---------------------------------------------------------------- for programs


def body(shape: str, told: Sequence[Notice], *, message: UUID, version: str) -> bytes:
    """The body of a webhook's request in this shape, as JSON in UTF-8."""
    content = _BODIES[shape](told, message, version)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _keyturn(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    head = {"version": "1", "id": str(message), "source": settings.PUBLIC_URL, "product": version}
    if len(told) == 1:
        return head | _own(told[0])
    return head | {"event": "digest", "events": [{"id": str(one.id), **_own(one)} for one in told]}


def _own(notice: Notice) -> dict[str, Any]:
    found: dict[str, Any] = {
        "event": notice.kind,
        "severity": notice.severity,
        "title": notice.title,
        "time": notice.at.astimezone(UTC).isoformat(),
        "url": notice.url,
    }
    if notice.event is not None:
        region, name = records.place(notice.event)
        found |= {
            "sequence": notice.event.sequence, "action": notice.event.action, "outcome": notice.event.outcome,
            "actor": notice.event.actor_name, "resource": notice.event.resource, "region": region,
            "name": name, "versionId": notice.event.version_id,
        }  # fmt: skip
        if code := notice.event.details.get("code"):
            found["code"] = code
        if notice.sentence:
            found["reason"] = notice.sentence
    return found


def _record(notice: Notice) -> records.Record | None:
    """The event as the trail's export tells it; of one that is told as two things, the last one.

    Without the reason that its user gave: that stays in the trail.
    """
    if notice.event is None:
        return None
    return replace(list(records.of([notice.event]))[-1], reason="")


def _cloudmonitor(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    record = _record(told[0])
    if record is None:
        return {
            "product": "KMS", "ver": "1.0", "name": "Keyturn:Test", "type": "Notification", "level": "INFO",
            "status": "Normal", "content": {"eventId": str(message)},
        }  # fmt: skip
    content = shapes.cloudmonitor(record)
    if told[0].sentence and "failureInfo" in content["content"]:
        content["content"]["failureInfo"]["errorMessage"] = told[0].sentence
    return content


def _eventbridge(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    record = _record(told[0])
    if record is None:
        detail: dict[str, Any] = {"message": told[0].label}
        return _envelope("Keyturn Test", "keyturn", "", "", told[0].at, [], detail, message)
    is_aws = record.source == records.AWS_SOURCE or record.name in _AWS_SERVICE_EVENTS
    kind = "AWS Service Event via CloudTrail" if record.is_service else "AWS API Call via CloudTrail"
    return _envelope(
        kind, "aws.secretsmanager" if is_aws else "keyturn", record.account, record.region, record.at,
        [record.resource], shapes.cloudtrail(record), message,
    )  # fmt: skip


_AWS_SERVICE_EVENTS: Final = frozenset(
    {
        "RotationStarted", "RotationSucceeded", "RotationFailed", "RotationAbandoned",
        "StartSecretVersionDelete", "CancelSecretVersionDelete", "EndSecretVersionDelete",
    }
)  # fmt: skip


def _envelope(
    kind: str, source: str, account: str, region: str, at: datetime, resources: list[str],
    detail: dict[str, Any], message: UUID,
) -> dict[str, Any]:  # fmt: skip
    return {
        "version": "0", "id": str(message), "detail-type": kind, "source": source, "account": account,
        "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "region": region, "resources": resources,
        "detail": detail,
    }  # fmt: skip


def _slack(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    # Slack's own escapes: without them a name could mention a channel.
    safe = text(told).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": safe}


def _teams(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    lines = text(told).split("\n")
    blocks: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": lines[0], "weight": "Bolder", "size": "Medium", "wrap": True}
    ]
    blocks += [
        {"type": "TextBlock", "text": line, "wrap": True, "spacing": "None"} for line in lines[1:] if line
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard",
        "version": "1.4", "body": blocks,
    }  # fmt: skip
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _dingtalk(told: Sequence[Notice], message: UUID, version: str) -> dict[str, Any]:
    # A robot may be set to take only messages with a keyword: "Keyturn" is in each.
    return {"msgtype": "text", "text": {"content": f"{subject(told)}\n{text(told)}"}}


_BODIES: Final[dict[str, Callable[[Sequence[Notice], UUID, str], dict[str, Any]]]] = {
    Shape.KEYTURN: _keyturn,
    Shape.CLOUDMONITOR: _cloudmonitor,
    Shape.EVENTBRIDGE: _eventbridge,
    Shape.SLACK: _slack,
    Shape.TEAMS: _teams,
    Shape.DINGTALK: _dingtalk,
}
