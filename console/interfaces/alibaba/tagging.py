"""Actions on tags: of one secret, and of several."""

from __future__ import annotations

from typing import Any

from console.interfaces import new_regions
from console.interfaces.alibaba import faults
from console.interfaces.alibaba.calls import Call
from secrets_app.actions import Action
from secrets_app.models import TAG_LIMIT, Secret
from secrets_app.secrets import lifecycle

RESOURCES_AT_MOST, ROWS_AT_MOST = 50, 200


def given(value: Any) -> dict[str, str]:
    """Return tags in the form of CreateSecret and TagResource as a mapping. Raises `faults.Fault`."""
    if value is None:
        return {}
    if not isinstance(value, list) or not all(isinstance(tag, dict) for tag in value):
        raise faults.invalid("Tags is a list of objects with TagKey and TagValue.")
    return _mapped([(tag.get("TagKey"), tag.get("TagValue")) for tag in value])


def _numbered(call: Call) -> dict[str, str]:
    """Return the tags in `Tag.1.Key` and `Tag.1.Value`."""
    return _mapped([(one.get("Key"), one.get("Value", "")) for one in call.given.numbered("Tag")])


def _mapped(pairs: list[tuple[Any, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in pairs:
        if not isinstance(key, str) or not key or not isinstance(text or "", str):
            raise faults.invalid("A tag has a key and a value.")
        if key in found:
            raise faults.invalid("A tag key is given more than once.")
        found[key] = text or ""
    if len(found) > TAG_LIMIT:
        raise faults.invalid(f"A request has at most {TAG_LIMIT} tags.")
    return found


def tag_resource(call: Call) -> dict[str, Any]:
    _refuse_others(call)
    tags = given(call.given.json("Tags"))
    if not tags:
        raise faults.missing("Tags")
    _add(call.secret(Action.TAG_RESOURCE), tags, call)
    return {}


def untag_resource(call: Call) -> dict[str, Any]:
    _refuse_others(call)
    keys = call.given.strings("TagKeys", most=TAG_LIMIT)
    if not keys:
        raise faults.missing("TagKeys")
    _remove(call.secret(Action.UNTAG_RESOURCE), set(keys), call)
    return {}


def _refuse_others(call: Call) -> None:
    if "KeyId" in call.given or "CertificateId" in call.given:
        raise faults.invalid("Keyturn tags secrets: send SecretName alone.")


def tag_resources(call: Call) -> dict[str, Any]:
    """Tag several secrets; each is found and allowed before the first one is changed."""
    names, tags = _resources(call, needed=True), _numbered(call)
    if not tags:
        raise faults.missing("Tag")
    for secret in [call.secret(Action.TAG_RESOURCE, name=name) for name in names]:
        call.about = secret
        _add(secret, tags, call)
    return {}


def untag_resources(call: Call) -> dict[str, Any]:
    names, keys = _resources(call, needed=True), set(call.given.strings("TagKey", most=TAG_LIMIT))
    is_all = call.given.flag("All")
    if not keys and not is_all:
        raise faults.missing("TagKey")
    for secret in [call.secret(Action.UNTAG_RESOURCE, name=name) for name in names]:
        call.about = secret
        _remove(secret, keys or {tag.key for tag in secret.tags.all()}, call)
    return {}


def list_tag_resources(call: Call) -> dict[str, Any]:
    """Name the tags of some secrets, or of those that have all the tags which are given."""
    names, wanted = _resources(call, needed=False), call.given.numbered("Tag")
    first = call.given.number("NextToken", 0, least=0, most=1_000_000)
    if names:
        found = [call.secret(Action.DESCRIBE_SECRET, while_marked=True, name=name) for name in names]
    elif wanted:
        rows = new_regions.secrets(call).prefetch_related("tags")
        for one in wanted:
            rows = rows.filter(tags__key=one.get("Key", ""))
        found = list(rows.order_by("name"))
    else:
        raise faults.missing("ResourceId")
    call.about = found[0] if len(found) == 1 else None
    rows_of = [
        {"ResourceId": secret.name, "ResourceType": "secret", "TagKey": tag.key, "TagValue": tag.value}
        for secret in found
        if _has(secret, wanted)
        for tag in secret.tags.all()
    ]
    following = first + ROWS_AT_MOST
    answer = {"TagResources": {"TagResource": rows_of[first:following]}}
    return answer | ({"NextToken": str(following)} if len(rows_of) > following else {})


def _has(secret: Secret, wanted: list[dict[str, str]]) -> bool:
    has = {tag.key: tag.value for tag in secret.tags.all()}
    return all(
        one.get("Key", "") in has and ("Value" not in one or has[one["Key"]] == one["Value"])
        for one in wanted
    )


def _resources(call: Call, *, needed: bool) -> list[str]:
    if call.given.text("ResourceType", needed=True) != "secret":
        raise faults.invalid("Keyturn tags secrets: ResourceType is secret.")
    names = call.given.strings("ResourceId", most=RESOURCES_AT_MOST)
    if needed and not names:
        raise faults.missing("ResourceId")
    return list(dict.fromkeys(names))


def _add(secret: Secret, tags: dict[str, str], call: Call) -> None:
    before = {tag.key: tag.value for tag in secret.tags.all()}
    after = before | tags
    # The console and the other interface take more; what they made stays, and can be changed.
    if len(after) > max(TAG_LIMIT, len(before)):
        raise faults.limit(f"A secret has at most {TAG_LIMIT} tags.")
    lifecycle.retag(secret, after, actor=call.actor)


def _remove(secret: Secret, keys: set[str], call: Call) -> None:
    kept = {tag.key: tag.value for tag in secret.tags.all() if tag.key not in keys}
    lifecycle.retag(secret, kept, actor=call.actor)
