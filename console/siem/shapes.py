"""Five shapes: CloudTrail's JSON, OCSF, ECS, CEF, and the rotations as CloudMonitor tells them.

Sources: AWS CloudTrail User Guide; OCSF schema 1.2.0, classes 6003 (API Activity) and 3001 (Account Change);
Elastic Common Schema 8; ArcSight Common Event Format 26; Alibaba Cloud, "Monitor the rotation of dynamic ECS
secrets".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from console.siem import records
from console.siem.records import Record
from secrets_app.actions import Kind, arn
from secrets_app.models import AuditEvent


@dataclass(frozen=True)
class Shape:
    """One shape: its name in addresses and on the command line, and what people call it."""

    name: str
    label: str
    lines: Callable[[Record, str], Iterator[str]]  # of a record, by this version of the product
    ending: str = "jsonl"
    kind: str = "application/jsonl; charset=utf-8"


def lines(rows: Iterable[AuditEvent], shape: Shape, *, version: str) -> Iterator[str]:
    """Yield the lines of these events, each with its end."""
    for record in records.of(rows):
        for line in shape.lines(record, version):
            yield line + "\n"


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


# ---------------------------------------------------------------- CloudTrail


def _cloudtrail(record: Record, version: str) -> Iterator[str]:
    yield _json(cloudtrail(record))


def cloudtrail(record: Record) -> dict[str, Any]:
    """One record as CloudTrail writes it. Nothing that a request held as a value is in it, or ever was."""
    found: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": _identity(record),
        "eventTime": record.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": record.source,
        "eventName": record.name,
        "awsRegion": record.region,
        "sourceIPAddress": record.source if record.is_service else record.address,
        "userAgent": record.source if record.is_service else record.agent,
    }
    if record.error:
        found |= {"errorCode": record.error, "errorMessage": record.message}
    found |= {
        "requestParameters": None if record.is_service else _parameters(record),
        "responseElements": None,
        "requestID": _request_id(record),
        "eventID": record.uid,
        "readOnly": record.is_read,
        "eventType": "AwsServiceEvent" if record.is_service else "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": record.account,
        "eventCategory": "Management",
    }
    more = _additional(record)
    if more:
        found["additionalEventData"] = more
    if record.is_service and record.resource_kind == "secret":
        found["serviceEventDetails"] = {"secretId": record.resource}
    kind = f"Keyturn::{record.resource_kind}"
    found["resources"] = [{"ARN": record.resource, "accountId": record.account, "type": kind}]
    return found


def _identity(record: Record) -> dict[str, Any]:
    if record.is_service:
        return {"type": "AWSService", "accountId": record.account, "invokedBy": record.source}
    found: dict[str, Any] = {
        "type": "IAMUser" if record.actor_kind else "Unknown",
        "principalId": record.actor_id,
        "arn": arn(Kind.USER, record.actor, account=record.account) if record.actor_kind else "",
        "accountId": record.account,
        "userName": record.actor,
    }
    return found | ({"accessKeyId": record.access_key} if record.access_key else {})


def _parameters(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if record.resource_name:
        made = record.name == "CreateSecret"
        found["name" if made else f"{record.resource_kind}Id"] = record.resource_name
    if record.version_id:
        found["versionId"] = record.version_id
    return found


def _request_id(record: Record) -> str:
    if record.is_service and record.name.startswith("Rotation"):
        return f"Rotation-{record.resource}-{record.version_id}"
    return record.request_id


def _additional(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"sequence": record.sequence}
    if record.reason:
        found["reason"] = record.reason
    if record.is_service and record.resource_kind == "secret":
        found["SecretId"] = record.resource
    if record.about:
        about = record.about
        found |= {
            "host": about.host, "instanceId": about.instance_id, "osUser": about.username,
            "credentialKind": about.kind, "connector": about.wire, "outcome": about.outcome,
            "code": about.code, "newVersionId": record.version_id,
        }  # fmt: skip
    return found


# ---------------------------------------------------------------- OCSF

_ACTIVITIES = (
    (1, "Create", ("Create", "Add", "Register", "Invite")),
    (4, "Delete", ("Delete", "Remove", "Purge", "Destroy", "Retire", "Deregister", "Revoke", "End")),
    (3, "Update", (
        "Update", "Edit", "Change", "Put", "Rotate", "Restore", "Tag", "Untag", "Attach", "Reset", "Enable",
        "Disable", "Approve", "Cancel",
    )),
)  # fmt: skip


def _activity(record: Record) -> tuple[int, str]:
    if record.is_read:
        return 2, "Read"
    for number, name, beginnings in _ACTIVITIES:
        if record.name.startswith(beginnings):
            return number, name
    return 99, "Other"


def _ocsf(record: Record, version: str) -> Iterator[str]:
    yield _json(ocsf_activity(record, version))
    if record.name == "RotationSucceeded" and record.about:
        yield _json(ocsf_password_change(record, version))


def _ocsf_base(
    record: Record, version: str, *, category: int, of_class: int, activity: int
) -> dict[str, Any]:
    is_good = record.outcome == AuditEvent.Outcome.SUCCEEDED
    return {
        "category_uid": category,
        "class_uid": of_class,
        "activity_id": activity,
        "type_uid": of_class * 100 + activity,
        "time": _milliseconds(record.at),
        "severity_id": 1 if is_good else 3,
        "status_id": 1 if is_good else 2,
        "metadata": {
            "version": "1.2.0",
            "product": {"vendor_name": "Keyturn", "name": "Keyturn", "version": version},
            "uid": record.uid,
            "sequence": record.sequence,
            "profiles": ["cloud"],
        },
        "cloud": {
            "provider": "Keyturn",
            "region": record.region,
            "account": {"uid": record.account},
        },
    }


def ocsf_activity(record: Record, version: str) -> dict[str, Any]:
    """API Activity (6003)."""
    number, name = _activity(record)
    found = _ocsf_base(record, version, category=6, of_class=6003, activity=number)
    user = {"name": record.actor, "uid": record.actor_id}
    if record.access_key:
        user["credential_uid"] = record.access_key
    response: dict[str, Any] = {
        "code": 200 if not record.error else 403 if record.error == "AccessDenied" else 400
    }
    if record.error:
        response |= {"error": record.error, "error_message": record.message}
    found |= {
        "activity_name": name,
        "actor": {"user": user} | ({"session": {"uid": record.session}} if record.session else {}),
        "api": {
            "operation": record.name,
            "service": {"name": record.source},
            "request": {"uid": record.request_id},
            "response": response,
        },
        "src_endpoint": {"ip": record.address} if record.address else {"name": record.source},
        "resources": [{"uid": record.resource, "name": record.resource_name, "type": record.resource_kind}],
    }
    return found | ({"http_request": {"user_agent": record.agent}} if record.agent else {})


def ocsf_password_change(record: Record, version: str) -> dict[str, Any]:
    """Account Change (3001): the credential of an account on a host was changed."""
    about = record.about
    assert about is not None
    return _ocsf_base(record, version, category=3, of_class=3001, activity=3) | {
        "activity_name": "Password Change",
        "user": {"name": about.username, "domain": about.host},
        "device": {"hostname": about.host, "uid": about.instance_id, "type_id": 1},
        "actor": {"user": {"name": record.actor, "uid": record.actor_id}},
    }


# ---------------------------------------------------------------- Elastic Common Schema


def _ecs(record: Record, version: str) -> Iterator[str]:
    yield _json(ecs(record))


def ecs(record: Record) -> dict[str, Any]:
    """One document of ECS 8."""
    is_good = record.outcome == AuditEvent.Outcome.SUCCEEDED
    found: dict[str, Any] = {
        "@timestamp": record.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ecs": {"version": "8.11.0"},
        "event": {
            "kind": "event",
            "category": ["iam"]
            if record.about or record.resource_kind in {"user", "group"}
            else ["configuration"],
            "type": ["access" if record.is_read else "change"] + ([] if is_good else ["denied"]),
            "action": record.name,
            "provider": record.source,
            "outcome": "success" if is_good else "failure",
            "id": record.uid,
            "sequence": record.sequence,
        },
        "user": {"id": record.actor_id, "name": record.actor},
        "cloud": {"account": {"id": record.account}, "region": record.region},
        "service": {"type": "keyturn", "name": "keyturn"},
        "keyturn": {
            "resource": {"arn": record.resource, "name": record.resource_name},
            "version": record.version_id,
        },
        "related": {"user": [record.actor]} | ({"ip": [record.address]} if record.address else {}),
    }
    if record.reason:
        found["event"]["reason"] = record.reason
    if record.address:
        found["source"] = {"ip": record.address, "address": record.address}
    if record.agent:
        found["user_agent"] = {"original": record.agent}
    if record.error:
        found["error"] = {"code": record.error, "message": record.message}
    if record.about:
        found["host"] = {"name": record.about.host, "id": record.about.instance_id}
        found["user"]["target"] = {"name": record.about.username}
        found["related"]["user"].append(record.about.username)
    return found


# ---------------------------------------------------------------- Common Event Format


def _cef(record: Record, version: str) -> Iterator[str]:
    severity = (
        8
        if record.name == "RotationFailed"
        else 6
        if record.error
        else 4
        if record.name == "GetSecretValue"
        else 2
    )
    head = ("Keyturn", "Keyturn", version, record.name, record.name, str(severity))
    fields = {
        "rt": str(_milliseconds(record.at)),
        "act": record.name,
        "outcome": record.outcome,
        "suser": record.actor,
        "suid": record.actor_id,
        "src": record.address,
        "requestClientApplication": record.agent,
        "externalId": record.uid,
        "reason": record.message or record.reason,
        "dhost": record.about.host if record.about else "",
        "duser": record.about.username if record.about else "",
    }
    for number, (label, text) in enumerate(
        {
            "secret": record.resource,
            "region": record.region,
            "version": record.version_id,
            "accessKey": record.access_key,
            "error": record.error,
        }.items(),
        start=1,
    ):
        if text:
            fields |= {f"cs{number}": text, f"cs{number}Label": label}
    extension = " ".join(f"{name}={_cef_value(text)}" for name, text in fields.items() if text)
    yield "CEF:0|" + "|".join(map(_cef_head, head)) + "|" + extension


def _cef_head(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").splitlines())


def _cef_value(text: str) -> str:
    return "\\n".join(text.replace("\\", "\\\\").replace("=", "\\=").splitlines())


# ---------------------------------------------------------------- CloudMonitor


def _cloudmonitor(record: Record, version: str) -> Iterator[str]:
    if record.name in {"RotationSucceeded", "RotationFailed"}:
        yield _json(cloudmonitor(record))


def cloudmonitor(record: Record) -> dict[str, Any]:
    """How a rotation ended, as CloudMonitor tells it."""
    is_good = record.name == "RotationSucceeded"
    at = record.at.astimezone(UTC)
    content: dict[str, Any] = {
        "eventId": record.uid,
        "secretName": record.resource_name,
        "secretType": "ECS",
        "secretSubType": record.about.kind if record.about else "",
        "RotationEntityArn": record.resource,
        "rotationStatus": "Enabled" if is_good else "Invalid",
    }
    if is_good:
        content["successTime"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        code = record.about.code if record.about else record.error
        content |= {
            "failureInfo": {"errorCode": code or record.error, "errorMessage": record.message},
            "failureTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    return {
        "product": "KMS",
        "ver": "1.0",
        "eventTime": f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}+0000",
        "name": f"Secret:RotateSecret:{'Success' if is_good else 'Failure'}",
        "type": "Notification" if is_good else "Exception",
        "level": "INFO" if is_good else "CRITICAL",
        "status": "Normal" if is_good else "Failed",
        "regionId": record.region,
        "resourceId": record.resource,
        "instanceName": record.about.host if record.about else "",
        "content": content,
    }


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("cloudtrail", "CloudTrail (JSON Lines)", _cloudtrail),
        Shape("ocsf", "OCSF (JSON Lines)", _ocsf),
        Shape("ecs", "Elastic Common Schema (JSON Lines)", _ecs),
        Shape("cef", "CEF", _cef, "cef", "text/plain; charset=utf-8"),
        Shape("cloudmonitor", "Rotations for CloudMonitor (JSON Lines)", _cloudmonitor),
    )
}
