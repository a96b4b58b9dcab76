"""Deeds on keys."""

from __future__ import annotations

from secrets_app.keys import key_states
from tests import factories
from tests.screens.routes.calls import Call, Cast, Make

ALIAS = "team/second"


def of_key(action: str, *states: str, **given: str) -> Make:
    """Something done to a key that has gone through these states before."""

    def make(cast: Cast) -> Call:
        actor = factories.administrator()
        key = key_states.create(ALIAS, actor=actor)
        if "disabled" in states:
            key_states.disable(key, actor=actor)
        if "planned" in states:
            key_states.plan_destruction(key, days=7, actor=actor)
        return Call([key.pk], dict(given), (action,))

    return make


CHANGES: dict[str, Make] = {
    "key_create": lambda cast: Call([], {"alias": "team/third"}, ("kms:CreateKey",)),
    "key_new_version": of_key("kms:UpdateKey"),
    "key_rewrap": lambda cast: Call(
        [key_states.create(ALIAS, actor=factories.administrator()).pk],
        {"target": ALIAS},
        ("kms:RewrapStarted",),
        refused="kms:UpdateKey",
    ),
    "key_disable": of_key("kms:DisableKey", alias=ALIAS),
    "key_enable": of_key("kms:EnableKey", "disabled"),
    "key_destroy": of_key("kms:ScheduleKeyDeletion", alias=ALIAS, days="7"),
    "key_cancel": of_key("kms:CancelKeyDeletion", "planned"),
}
