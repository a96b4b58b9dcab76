"""Operations that read: values, what is known of a secret, its versions."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, time
from typing import Any

from console.interfaces import records, staging
from console.interfaces.aws import faults, labels, listing, managed, replication, rules, shapes
from console.interfaces.aws.calls import Call
from rotation import accounts
from rotation.models import Schedule
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.errors import DomainError
from secrets_app.models import Secret, SecretVersion
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import read_limits, versions

OWNER = "keyturn"  # of a secret whose account Keyturn manages
BATCH_AT_MOST = 20


def moment(at: datetime) -> float:
    """Seconds since 1970 as a number with a fraction."""
    return round(at.timestamp(), 6)


def get_secret_value(call: Call) -> dict[str, Any]:
    return _value(call, str(call.given["SecretId"]))


def _value(call: Call, secret_id: str) -> dict[str, Any]:
    secret = call.secret(Action.GET_SECRET_VALUE, secret_id=secret_id)
    stages = labels.stages(secret)
    version = _version(secret, stages, call.given.get("VersionId", ""), call.given.get("VersionStage", ""))
    try:
        value = versions.fetch(version, actor=call.actor)
    except versions.NoValue:
        raise faults.not_found(
            f"Secrets Manager can't find the specified secret value for VersionId: {version.version_id}"
        ) from None
    return said(call, version, stages, value)


def said(call: Call, version: SecretVersion, stages: staging.Stages, value: versions.Value) -> dict[str, Any]:
    """What a client is answered that may read this value."""
    secret = version.secret
    answer = {
        "ARN": call.arn(secret),
        "Name": secret.name,
        "VersionId": version.version_id,
        "VersionStages": stages.of(version),
        "CreatedDate": moment(version.created_at),
    }
    if value.binary is not None:
        return answer | {"SecretBinary": value.binary.reveal()}
    text = value.text if value.text is not None else value.as_json()
    return answer | {"SecretString": text.reveal()}


def _version(secret: Secret, stages: staging.Stages, version_id: str, stage: str) -> SecretVersion:
    """Return the version that is asked for; the current one where none is named. Raises `faults.Fault`."""
    if not version_id:
        version = stages.holder(stage or labels.CURRENT)
        if version is None:
            raise faults.not_found(
                "Secrets Manager can't find the specified secret value for staging label: "
                f"{stage or labels.CURRENT}"
            )
        return version
    named = secret.versions.filter(version_id=version_id).first()
    if named is None:
        raise faults.not_found(
            f"Secrets Manager can't find the specified secret value for VersionId: {version_id}"
        )
    if stage and stages.holder(stage) != named:
        raise faults.invalid_request(
            "You provided a VersionStage that is not associated to the provided VersionId."
        )
    return named


def batch_get_secret_value(call: Call) -> dict[str, Any]:
    """Read several; one that cannot be read is named in `Errors`, and the others are answered."""
    given = call.given
    # An empty list of filters is none: it would be a question for every value there is.
    if bool(given.get("SecretIdList")) == bool(given.get("Filters")):
        raise faults.invalid_parameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
    if "MaxResults" in given and not given.get("Filters"):
        raise faults.invalid_parameter(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."
        )
    token = ""
    if given.get("Filters"):
        page, token = listing.page(call, most=given.get("MaxResults", BATCH_AT_MOST))
        wanted = [secret.name for secret in page]
    else:
        wanted = shapes.strings("secretIdList", given["SecretIdList"], most=2048)
    values, errors = [], []
    for secret_id in wanted:
        call.about = None
        try:
            values.append(_value(call, secret_id))
        except decisions.NotAllowed as error:
            if not isinstance(error, read_limits.ReasonNeeded):  # which has been recorded
                requiring.refused(call.actor, error)
            fault = faults.denied(call.user_arn, "GetSecretValue", secret_id)
            errors.append({"SecretId": secret_id, "ErrorCode": fault.type, "Message": fault.sentence})
        except DomainError as error:
            fault = faults.of(error)
            if fault.status >= 500:
                raise
            records.failed(call, Action.GET_SECRET_VALUE, error, fault.type)
            errors.append({"SecretId": secret_id, "ErrorCode": fault.type, "Message": fault.sentence})
    return {"SecretValues": values, "Errors": errors} | ({"NextToken": token} if token else {})


def describe_secret(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    stages = labels.by_version(secret.labels.select_related("version"))
    found = described(call, secret) | replication.said_of(secret)
    return found | ({"VersionIdsToStages": stages} if stages else {})


def described(call: Call, secret: Secret) -> dict[str, Any]:
    """What DescribeSecret and ListSecrets both say; what is not set is left out."""
    found: dict[str, Any] = {
        "ARN": call.arn(secret),
        "Name": secret.name,
        "CreatedDate": moment(secret.created_at),
        # SQLite rounds the one; a secret was not changed before it was made.
        "LastChangedDate": moment(max(secret.changed_at, secret.created_at)),
    }
    if secret.description:
        found["Description"] = secret.description
    if key := _key(call, secret):
        found["KmsKeyId"] = key
    if secret.last_read_at is not None:
        day = datetime.combine(secret.last_read_at.astimezone(UTC).date(), time(tzinfo=UTC))
        found["LastAccessedDate"] = moment(day)
    if secret.deletion_due_at is not None:
        found["DeletedDate"] = moment(secret.deletion_due_at)
    tags = [{"Key": tag.key, "Value": tag.value} for tag in secret.tags.all()]
    if tags:
        found["Tags"] = tags
    if not secret.is_generic:
        found |= {"OwningService": OWNER, "Type": managed.TYPE} | _rotation(secret)
        found["ExternalSecretRotationMetadata"] = managed.metadata(call, secret)
    return found


def _key(call: Call, secret: Secret) -> str:
    """The name of the key that seals the values, for one who may see it; empty for the default key."""
    if secret.key.alias == keyring.DEFAULT_ALIAS or not decisions.allows(
        call.actor, Action.DESCRIBE_KEY, secret.key
    ):
        return ""
    return f"alias/{secret.key.alias}"


def _rotation(secret: Secret) -> dict[str, Any]:
    found: dict[str, Any] = {}
    account = accounts.of(secret)
    if account is not None and account.rotated_at is not None:
        found["LastRotatedDate"] = moment(account.rotated_at)
    with contextlib.suppress(Schedule.DoesNotExist):
        schedule = secret.schedule
        found["RotationEnabled"] = schedule.is_on
        if said := rules.of(schedule):
            found["RotationRules"] = said
        if schedule.is_on and schedule.next_at is not None:
            found["NextRotationDate"] = moment(schedule.next_at)
    return found


def list_secret_version_ids(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    rows = secret.versions.filter(destroyed_at__isnull=True).prefetch_related("labels")
    shown = [
        version
        for version in rows.order_by("created_at", "pk")
        if call.given.get("IncludeDeprecated") or version.labels.all()
    ]
    page, token = listing.cut(shown, call.given.get("NextToken", ""), call.given.get("MaxResults", 100))
    key = _key(call, secret) or "DefaultEncryptionKey"
    answer = {"ARN": call.arn(secret), "Name": secret.name, "Versions": [_listed(one, key) for one in page]}
    return answer | ({"NextToken": token} if token else {})


def _listed(version: SecretVersion, key: str) -> dict[str, Any]:
    stages = labels.of(version)
    entry: dict[str, Any] = {
        "VersionId": version.version_id,
        "CreatedDate": moment(version.created_at),
        "KmsKeyIds": [key],
    }
    return entry | ({"VersionStages": stages} if stages else {})


def list_secrets(call: Call) -> dict[str, Any]:
    page, token = listing.page(call, most=call.given.get("MaxResults", 100))
    entries = []
    for secret in page:
        stages = labels.by_version(secret.labels.all())
        more: dict[str, Any] = {"SecretVersionsToStages": stages} if stages else {}
        if primary := listing.primary(secret):
            more["PrimaryRegion"] = primary
        entries.append(described(call, secret) | more)
    return {"SecretList": entries} | ({"NextToken": token} if token else {})
