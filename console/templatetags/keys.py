"""What only the screens of keys ask in a template."""

from __future__ import annotations

from datetime import datetime

from django import template

from console.presentation import key_states
from console.presentation.secret_states import Fact
from secrets_app.models import Key, KeyVersion, Rewrap

register = template.Library()


@register.filter
def key_badge(key: Key) -> Fact:
    return key_states.of_key(key)


@register.filter
def key_version_badge(version: KeyVersion) -> Fact:
    return key_states.of_version(version)


@register.filter
def primary_version(key: Key) -> KeyVersion | None:
    return key_states.primary(key)


@register.filter
def renewed_at(key: Key) -> datetime | None:
    return key_states.renewed_at(key)


@register.filter
def percent(work: Rewrap) -> int:
    """How much of a rewrap is done."""
    return 100 if not work.total else min(100, work.done * 100 // work.total)
