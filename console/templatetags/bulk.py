"""What a list asks about actions on many of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console.access import resources
from console.presentation import bulk_states, run_states
from rotation.bulk import bulk_actions, deeds
from rotation.models import BulkAction, Run
from secrets_app.policy.decisions import Action

register = template.Library()
register.filter("is_retryable", run_states.is_retryable)
Kind = BulkAction.Action


@dataclass(frozen=True)
class Offer:
    """A button of the bar."""

    name: str
    label: str
    icon: str
    is_danger: bool


_OF_SECRETS = (Kind.ROTATE, Kind.VERIFY, Kind.DRIFT, Kind.TAG, Kind.DELETE, Kind.RESTORE)


@register.simple_tag(takes_context=True)
def bulk_offers(context: Context, things: str) -> list[Offer]:
    """What the reader may do to many `secrets` or `runs` at once."""
    request = context["request"]
    if things == "runs":
        rights = (Action.ROTATE_SECRET, Action.CHECK_INSTANCE)
        return [_offer(Kind.RETRY)] if any(resources.may(request, right) for right in rights) else []
    if request.GET.get("status") == "deleted":
        return []
    return [_offer(kind) for kind in _OF_SECRETS if resources.may(request, deeds.RIGHTS[kind])]


def _offer(kind: Kind) -> Offer:
    return Offer(kind.value, kind.label, bulk_states.ICONS[kind], kind == Kind.DELETE)


@register.simple_tag(takes_context=True)
def bulk_of(context: Context, run: Run) -> BulkAction | None:
    """The reader's own bulk action that started this run."""
    if run.campaign is None:
        return None
    return bulk_actions.of(context["request"].user.principal).filter(pk=run.campaign).first()


@register.simple_tag
def pick(name: str, value: UUID, label: object) -> SafeString:
    """The cell that selects a row: `name` of the field, `value`, `label` of the row.

    No template: a list has one in each row.
    """
    return format_html(
        '<td class="cell-pick"><input type="checkbox" name="{}" value="{}" form="bulk" '
        'aria-label="Select {}"></td>',
        name, value, label,
    )  # fmt: skip


@register.filter
def bulk_icon(bulk: BulkAction) -> str:
    return bulk_states.ICONS[bulk.action]
