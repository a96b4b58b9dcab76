"""Actions that read: values, what is known of a secret, its versions, lists."""

from __future__ import annotations

from typing import Any

from console.interfaces import records, staging
from console.interfaces.alibaba import describing, faults, labels, listing
from console.interfaces.alibaba.calls import Call, moment
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.errors import DomainError
from secrets_app.models import Secret, SecretVersion
from secrets_app.policy import decisions, requiring
from secrets_app.secrets import read_limits, versions

BATCH_AT_MOST = 20
VALID = "The request is valid, but the DryRun parameter is set: nothing was done."


def get_secret_value(call: Call) -> dict[str, Any]:
    given = call.given
    if "Recipient" in given:
        raise faults.invalid("Keyturn does not encrypt a value for a Recipient.")
    wanted = given.text("VersionId", most=64), given.text("VersionStage", most=labels.LENGTH)
    with_config, is_dry = given.flag("FetchExtendedConfig"), given.flag("DryRun")
    secret = call.secret(Action.GET_SECRET_VALUE)
    stages = labels.stages(secret)
    version = _version(secret, stages, *wanted)
    if is_dry:
        raise faults.Fault(faults.DRY_RUN, VALID)
    answer = _value(version, stages, call)
    return answer | (describing.extended_config(call, secret) if with_config else {})


def _value(version: SecretVersion, stages: staging.Stages, call: Call) -> dict[str, Any]:
    return said(version, stages, versions.fetch(version, actor=call.actor))


def said(version: SecretVersion, stages: staging.Stages, value: versions.Value) -> dict[str, Any]:
    """What a client is answered that may read this value."""
    secret = version.secret
    answer: dict[str, Any] = {
        "SecretName": secret.name,
        "SecretType": describing.type_of(secret),
        "VersionId": version.version_id,
        "VersionStages": {"VersionStage": stages.of(version)},
        "CreateTime": moment(version.created_at),
        **describing.rotation(secret),
    }
    if value.binary is not None:
        return answer | {"SecretDataType": "binary", "SecretData": value.binary.reveal()}
    text = value.text if value.text is not None else value.as_json()
    return answer | {"SecretDataType": "text", "SecretData": text.reveal()}


def _version(secret: Secret, stages: staging.Stages, version_id: str, stage: str) -> SecretVersion:
    """Return the version that is asked for; the current one where none is named. Raises `faults.Fault`.

    Of a managed secret the current and the previous one are read, and a version id is not looked at.
    """
    if not secret.is_generic:
        if stage and stage not in {labels.CURRENT, labels.PREVIOUS}:
            raise faults.NOT_FOUND()
        version_id = ""
    if not version_id:
        version = stages.holder(stage or labels.CURRENT)
    else:
        version = secret.versions.filter(version_id=version_id).first()
        if version is not None and stage and stages.holder(stage) != version:
            raise faults.NOT_FOUND()
    if version is None:
        raise faults.NOT_FOUND()
    return version


def batch_get_secret_value(call: Call) -> dict[str, Any]:
    """Read several; one that cannot be read is named in `Errors`, and the others are answered."""
    wanted = call.given.json("SecretsList")
    if wanted is None:
        raise faults.missing("SecretsList")
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= BATCH_AT_MOST:
        raise faults.invalid(f"SecretsList is a list of 1 to {BATCH_AT_MOST} secrets.")
    values, errors = [], []
    for entry in wanted:
        name, version_id, stage = _asked(entry)
        call.about = None
        try:
            secret = call.secret(Action.GET_SECRET_VALUE, name=name)
            stages = labels.stages(secret)
            value = _value(_version(secret, stages, version_id, stage), stages, call)
            config = describing.extended_config(call, secret) if entry.get("FetchExtendedConfig") else {}
            values.append(value | config)
        except decisions.NotAllowed as error:
            if not isinstance(error, read_limits.ReasonNeeded):  # which has been recorded
                requiring.refused(call.actor, error)
            errors.append(_failed(name, faults.DENIED()))
        except DomainError as error:
            fault = faults.of(error)
            if fault.status >= 500:
                raise
            records.failed(call, Action.GET_SECRET_VALUE, error, fault.name)
            errors.append(_failed(name, fault))
    return {"SecretValues": values, "Errors": errors}


def _asked(entry: Any) -> tuple[str, str, str]:
    if not isinstance(entry, dict):
        raise faults.invalid("SecretsList is a list of objects.")
    texts = [entry.get(name) or "" for name in ("SecretName", "VersionId", "VersionStage")]
    if not all(isinstance(text, str) and len(text) <= 2048 for text in texts) or not texts[0]:
        raise faults.invalid("An entry of SecretsList has SecretName, and VersionId or VersionStage.")
    return texts[0], texts[1], texts[2]


def _failed(name: str, fault: faults.Fault) -> dict[str, Any]:
    return {
        "SecretName": name,
        "Code": fault.name,
        "HttpStatus": str(fault.status),
        "Message": fault.sentence,
    }


def describe_secret(call: Call) -> dict[str, Any]:
    with_tags = call.given.flag("FetchTags")
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    found: dict[str, Any] = {
        "Arn": describing.arn(secret),
        **_listed(secret),
        "Description": secret.description,
        **describing.extended_config(call, secret),
        **describing.rotation(secret),
    }
    if secret.key.alias != keyring.DEFAULT_ALIAS and decisions.allows(
        call.actor, Action.DESCRIBE_KEY, secret.key
    ):
        found["EncryptionKeyId"] = f"alias/{secret.key.alias}"
    return found | (describing.tags(secret) if with_tags else {})


def _listed(secret: Secret) -> dict[str, Any]:
    found = {
        "SecretName": secret.name,
        "SecretType": describing.type_of(secret),
        "CreateTime": moment(secret.created_at),
        # SQLite rounds the one; a secret was not changed before it was made.
        "UpdateTime": moment(max(secret.changed_at, secret.created_at)),
    }
    if secret.deletion_due_at is not None:
        found["PlannedDeleteTime"] = moment(secret.deletion_due_at)
    return found


def list_secrets(call: Call) -> dict[str, Any]:
    with_tags = call.given.flag("FetchTags")
    page = listing.page_of(call, default=10, most=100)
    rows, total = listing.secrets(call, page, listing.filters(call.given.json("Filters")))
    shown = [_listed(secret) | (describing.tags(secret) if with_tags else {}) for secret in rows]
    return page.said(total) | {"SecretList": {"Secret": shown}}


def list_secret_version_ids(call: Call) -> dict[str, Any]:
    with_deprecated = call.given.flag("IncludeDeprecated")
    page = listing.page_of(call, default=20, most=100)
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    rows = secret.versions.filter(destroyed_at__isnull=True).prefetch_related("labels")
    shown = [
        {
            "VersionId": version.version_id,
            "CreateTime": moment(version.created_at),
            "VersionStages": {"VersionStage": labels.of(version)},
        }
        for version in rows.order_by("-created_at", "pk")
        if with_deprecated or version.labels.all()
    ]
    answer = {"SecretName": secret.name, **page.said(len(shown))}
    return answer | {"VersionIds": {"VersionId": page.of(shown)}}
