"""The parts that screens are made of: badge, when, field, steps, icon, copy, sort headers, times.

Built in: templates use these without loading them. Text is escaped by the templates; only icons
and what is written here, which are ours, are marked safe.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Protocol, cast
from uuid import UUID

from django import forms, template
from django.http import QueryDict
from django.template import Context
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from console import private_apis
from console.access import resources
from console.forms.filters import Several
from console.lists import addresses
from console.presentation import durations
from secrets_app.actions import Action

register = template.Library()

#: Every tone has a shape of its own: colour is never the only difference.
TONE_ICONS = {
    "ok": "circle-check",
    "busy": "loader-circle",
    "info": "info",
    "warning": "triangle-alert",
    "danger": "circle-x",
    "muted": "circle-minus",
}

#: Drawn once for each page by `icon_sheet`: a list shows them in every row.
SHEET = frozenset(
    {
        *TONE_ICONS.values(), "copy", "check", "chevron-down", "rotate-cw",
        "layout-dashboard", "key-round", "server", "users", "lock-keyhole", "scroll-text", "settings",
        "search",
    }
)  # fmt: skip

#: In pixels, as base.css has it; each other size has a class of its own there.
USUAL_SIZE = 16

#: What opens a list that is no section of its own.
LISTS = {
    "credentials": Action.LIST_CREDENTIALS,
    "groups": Action.LIST_GROUPS,
    "policies": Action.LIST_POLICIES,
    "users": Action.LIST_USERS,
    "applications": Action.LIST_USERS,
}
QUIET_TONES = frozenset({"ok", "muted"})
LONG_LABEL = 22  # characters


class State(Protocol):
    """Anything that a badge can show."""

    @property
    def label(self) -> str: ...
    @property
    def tone(self) -> str: ...
    @property
    def sentence(self) -> str: ...


class ColumnNode(template.Node):
    """What stands in a column that its reader may have hidden: its heading, or one cell of it."""

    child_nodelists = ("nodelist",)

    def __init__(self, name: str, nodelist: template.NodeList) -> None:
        self.name, self.nodelist = name, nodelist

    def render(self, context: Context) -> SafeString:
        shown = context.get("shown")
        is_hidden = shown is not None and self.name not in shown.columns
        return _NOTHING if is_hidden else self.nodelist.render(context)


_NOTHING = mark_safe("")
#: Read out between two links of one heading.
_AND = mark_safe('<span class="visually-hidden">, </span>')


@register.tag
def column(parser: template.base.Parser, token: template.base.Token) -> ColumnNode:
    """`{% column "kind" %}...{% endcolumn %}`: only if `shown`, the preference of a list, has this column."""
    name = token.split_contents()[1].strip("\"'")
    nodelist = parser.parse(("endcolumn",))
    parser.delete_first_token()
    return ColumnNode(name, nodelist)


@register.simple_tag
def fixed(name: str) -> SafeString:
    """A part that is the same on every page, `{% fixed "_head.html" %}`: rendered once in each process."""
    # Static files have other addresses where another storage keeps them: what one of them says tells it.
    return _fixed(name, static("icon.svg"))


@lru_cache(maxsize=32)
def _fixed(name: str, storage: str) -> SafeString:
    return render_to_string(name)


@register.simple_tag
def icon(name: str, size: int = 16, classes: str = "") -> SafeString:
    """A decorative icon: the words beside it say what it means."""
    return _svg(str(name), size, str(classes))


@lru_cache(maxsize=512)
def _svg(name: str, size: int, classes: str) -> SafeString:
    # Strokes and colour are in base.css: a list would repeat them in each of its rows.
    if size != USUAL_SIZE:
        classes = f"{classes} icon-{size}".strip()
    start = f'<svg class="{f"icon {classes}".strip()}" aria-hidden="true"'
    if name in SHEET:
        return mark_safe(f'{start}><use href="#i-{name}"/></svg>')  # noqa: S308
    return mark_safe(f'{start} viewBox="0 0 24 24">{_shapes(name)}</svg>')  # noqa: S308


@lru_cache(maxsize=512)
def _shapes(name: str) -> str:
    """The shapes of an icon, as Lucide draws them in a square of 24."""
    return private_apis.drawn(name)


@register.simple_tag
def icon_sheet() -> SafeString:
    """The icons that repeat in every row of a list, drawn once for the page."""
    return _sheet()


@cache
def _sheet() -> SafeString:
    drawn = "".join(
        f'<symbol id="i-{name}" viewBox="0 0 24 24">{_shapes(name)}</symbol>' for name in sorted(SHEET)
    )
    return mark_safe(f'<svg class="icon-sheet" aria-hidden="true">{drawn}</svg>')  # noqa: S308


@register.simple_tag
def tone_icon(tone: str, size: int = 16) -> SafeString:
    """The icon of a tone; it turns while something is going on."""
    return _svg(TONE_ICONS[tone], size, "spin" if tone == "busy" else "")


@register.simple_tag
def badge(state: State | str, label: str = "", sentence: str = "") -> SafeString:
    """A state as icon and word: `{% badge secret.credential %}` or `{% badge "ok" "In sync" %}`."""
    if isinstance(state, str):
        return _badge(state, str(label), str(sentence))
    return _badge(state.tone, str(state.label), str(state.sentence))


@register.simple_tag
def fact(state: State, icon: bool = False) -> SafeString:
    """A state in a list: a badge if it needs a look; else a word, with `icon` or without."""
    # A list may cut off a long word, and shows it on hover.
    title = state.label if len(state.label) > LONG_LABEL else ""
    if state.tone not in QUIET_TONES:
        return _badge(state.tone, state.label, ". ".join(filter(None, (title, state.sentence))))
    if icon or title:
        return _badge(state.tone if icon else "", state.label, title)
    return _word(state.label)


@lru_cache(maxsize=512)
def _word(label: str) -> SafeString:
    return escape(label)


@lru_cache(maxsize=512)  # a list shows the same few, row by row
def _badge(tone: str, label: str, sentence: str) -> SafeString:
    return render_to_string("_badge.html", {"tone": tone, "label": label, "sentence": sentence})


@register.simple_tag(takes_context=True)
def may_open(context: Context, name: str) -> bool:
    """Whether the reader may open the list with this name."""
    wanted = resources.SECTIONS.get(name) or LISTS[name]
    actions = wanted if isinstance(wanted, tuple) else (wanted,)
    return any(resources.may(context["request"], action) for action in actions)


@register.simple_tag(takes_context=True)
def crumb(context: Context, label: str, name: str, *arguments: str) -> SafeString:
    """A place above the page: a link, if the reader may open it."""
    if not may_open(context, name):
        return format_html("<li>{}</li>", label)
    return format_html('<li><a href="{}">{}</a></li>', reverse(name, args=arguments), label)


@register.simple_tag
def row_url(name: str, key: UUID | int, region: str = "") -> str:
    """The address of a row of a list: as `{% url name region key %}`, which takes ten times as long."""
    return addresses.of(name, key, region)


@register.simple_tag
def when(moment: datetime | None, relation: bool = True) -> SafeString:
    """A moment in the reader's zone, the exact UTC one on hover, and how long ago or ahead it is.

    No template: a list has three of them in each row.
    """
    if moment is None:
        return _NEVER
    utc, local = moment.astimezone(UTC), timezone.localtime(moment)
    iso = f"{utc:%Y-%m-%dT%H:%M:%SZ}"
    # Digits and the name of a zone, which tzdata has given: nothing here needs a template's escaping.
    title, words = f"{utc:%Y-%m-%d %H:%M:%S UTC}", f"{local:%Y-%m-%d %H:%M %Z}"
    shown = f'<time datetime="{iso}" title="{title}" data-when>{words}</time>'
    if relation:
        shown += (
            f' <span class="second" data-relative="{iso}">{durations.relative(moment, timezone.now())}</span>'
        )
    return mark_safe(shown)  # noqa: S308


@register.simple_tag
def short(moment: datetime | None) -> SafeString:
    """A moment as a list has room for: `14:20` today, `5 Mar 14:20` this year, `5 Mar 2025` before."""
    if moment is None:
        return _NEVER
    words = durations.short(timezone.localtime(moment), timezone.localtime(timezone.now()))
    return _time(moment, words, "data-short")


@register.simple_tag
def near(moment: datetime | None) -> SafeString:
    """How far away a moment is, as a list has room for: `in 3 d`, `5 h ago`."""
    return _time(moment, durations.near(moment, timezone.now()), "data-near") if moment else _NEVER


def _time(moment: datetime, words: str, form: str) -> SafeString:
    # Not by a format: a list has fifty moments, and each would be read twice.
    utc = moment.astimezone(UTC).isoformat(" ", "seconds")[:19]
    attributes = f'datetime="{utc.replace(" ", "T")}Z" title="{utc} UTC"'
    return mark_safe(f"<time {attributes} {form}>{words}</time>")  # noqa: S308


_NEVER = mark_safe('<span class="quiet">\N{EM DASH}</span>')


register.filter("duration", durations.duration)


@register.inclusion_tag("_field.html")
def field(
    bound: forms.BoundField,
    label: str = "",
    prefix: str = "",
    kind: str = "",
    help_text: str = "",
    classes: str = "",
    *,
    is_needed: bool = False,
) -> dict[str, object]:
    """A form field with label, help and error.

    The widget says which kind it is; `switch` (of a tick) and `cards` (of a choice) are asked for.
    `is_needed` if it is not optional where it is shown, though it is in the form.
    """
    kind = kind or _kind(bound)
    # The label says it; a placeholder that repeats it only looks like a value.
    attributes: dict[str, str | bool] = {
        "class": f"{_CLASSES.get(kind, '')} {classes}".strip(),
        "placeholder": "",
    }
    if kind == "textarea" and bound.field.widget.attrs.get("rows") == "10":
        attributes["rows"] = "4"  # ten is Django's own default, and fills half a dialog
    help_text = help_text or str(bound.help_text)
    # Django names only its own help text; the ids are the ones it would use.
    described = [f"{bound.auto_id}_helptext"] if help_text else []
    described += [f"{bound.auto_id}_error"] if bound.errors else []
    if described:
        attributes["aria-describedby"] = " ".join(described)
    control = "" if kind in {"choices", "cards"} else bound.as_widget(attrs=attributes)
    return {
        "field": bound,
        "label": label or bound.label,
        "kind": kind,
        "prefix": prefix,
        "is_needed": is_needed,
        "help": help_text,
        "control": control,
        "described": attributes.get("aria-describedby", ""),
    }


_CLASSES = {"input": "input", "select": "select", "textarea": "textarea"}


def _kind(bound: forms.BoundField) -> str:
    widget = bound.field.widget
    if isinstance(widget, forms.CheckboxInput):
        return "tick"
    if isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple):
        return "choices"
    if isinstance(widget, forms.Select):
        return "select"
    return "textarea" if isinstance(widget, forms.Textarea) else "input"


@register.inclusion_tag("_list_choices.html")
def choices(bound: forms.BoundField) -> dict[str, object]:
    """A filter of a list with several choices, `filters.Several`, as a menu of ticks."""
    field = cast(Several, bound.field)
    chosen = field.to_python(bound.value())
    options = [
        {"value": value, "label": label, "is_chosen": value in chosen} for value, label in field.options
    ]
    labels = [label for value, label in field.options if value in chosen]
    said = f"{len(labels)} chosen" if len(labels) > 2 else ", ".join(labels)
    return {
        "name": bound.html_name,
        "label": bound.label,
        "every": field.every,
        "chosen": said or field.every,
        "options": options,
    }


@register.inclusion_tag("_steps.html")
def steps(names: list[str], current: int) -> dict[str, object]:
    """The steps of a wizard; `current` counts from 1."""
    marks = [_mark(number, current) for number in range(1, len(names) + 1)]
    return {"steps": list(zip(names, marks, strict=True)), "count": len(names), "current": current}


def _mark(number: int, current: int) -> str:
    if number == current:
        return "current"
    return "done" if number < current else "next"


@register.simple_tag
def copy(text: object, what: str = "value", show: bool = True) -> SafeString:
    """A name or id with a button that copies it. Never a secret value: it would stand in the page twice."""
    icons = (_svg("copy", 14, "copy-ready"), _svg("check", 14, "copy-done"))
    label = f"Copy {what}"
    button = format_html(
        '<button type="button" class="copy" data-copy="{}" aria-label="{}" title="{}">{}{}</button>',
        text, label, label, *icons,
    )  # fmt: skip
    if not show:
        return button
    return format_html('<span class="copyable"><span class="mono">{}</span>{}</span>', text, button)


@register.simple_tag(takes_context=True)
def sort_header(
    context: Context,
    key: str,
    label: str,
    default: str = "",
    classes: str = "",
    also: str = "",
    also_label: str = "",
    also_name: str = "",
) -> SafeString:
    """A column's header that sorts by `key`; pressing the sorted one turns the order round.

    `default` is the order of the list where the URL names none, as in `-created`. A column of two facts
    sorts by `also` too, with a link of its own: a short one, whose whole name is `also_name`.

    No template: a list has one for each column.
    """
    parameters = context["request"].GET
    sorted_by = str(parameters.get("sort") or default)
    links = [_sort_link(parameters, sorted_by, key, label)]
    if also:
        links.append(_sort_link(parameters, sorted_by, also, also_label, also_name))
    direction = _direction(sorted_by, key) or _direction(sorted_by, also)
    is_sorted = format_html(' aria-sort="{}"', direction) if direction else ""
    of = format_html(' class="{}"', classes) if classes else ""
    shown = format_html_join(_AND, "{}", ((link,) for link in links))
    return format_html('<th scope="col"{}{}>{}</th>', is_sorted, of, shown)


def _sort_link(parameters: QueryDict, sorted_by: str, key: str, label: str, name: str = "") -> SafeString:
    """The link of a header, to the other direction where the list is sorted by its key now."""
    direction = _direction(sorted_by, key)
    target = f"-{key}" if direction == "ascending" else key
    url = _changed(parameters, sort=target, page=None)
    called = format_html(' aria-label="{0}" title="{0}"', name) if name else ""
    if not direction:
        return format_html('<a class="sort" href="{}"{}>{}</a>', url, called, label)
    arrow = _svg("arrow-up" if direction == "ascending" else "arrow-down", 14, "")
    return format_html('<a class="sort" href="{}"{} data-sorted>{}{}</a>', url, called, label, arrow)


def _direction(sorted_by: str, key: str) -> str:
    """How the list is sorted by this key; empty if by another one."""
    if not key or sorted_by.removeprefix("-") != key:
        return ""
    return "descending" if sorted_by.startswith("-") else "ascending"


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: object) -> str:
    """This page's query with some parameters changed; None removes one."""
    return _changed(context["request"].GET, **changes)


def _changed(parameters: QueryDict, **changes: object) -> str:
    kept = [(key, value) for key, values in parameters.lists() if key not in changes for value in values]
    added = [(key, str(value)) for key, value in changes.items() if value is not None]
    return f"?{urlencode(kept + added)}"


@register.filter
def tone(level: str) -> str:
    """The tone of a message of Django's messages framework."""
    return {"success": "ok", "warning": "warning", "error": "danger"}.get(level, "info")
