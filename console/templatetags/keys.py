"""What only the screens of keys ask in a template."""

from __future__ import annotations

from datetime import datetime

from django import template

from console import states_keys
from console.states import Fact
from secrets_app.models import Key, KeyVersion, Rewrap

register = template.Library()


@register.filter
def key_badge(key: Key) -> Fact:
    return states_keys.of_key(key)


@register.filter
def key_version_badge(version: KeyVersion) -> Fact:
    return states_keys.of_version(version)


@register.filter
def primary_version(key: Key) -> KeyVersion | None:
    return states_keys.primary(key)


@register.filter
def renewed_at(key: Key) -> datetime | None:
    return states_keys.renewed_at(key)


@register.filter
def percent(work: Rewrap) -> int:
    """How much of a rewrap is done."""
    return 100 if not work.total else min(100, work.done * 100 // work.total)
