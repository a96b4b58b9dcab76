"""Text that would be code if a page took it for markup, and a site in which everybody wrote such text.

The rows are written past the forms, so that also what a form refuses, or a host says, is in the pages.
"""

# ruff: noqa: E501
from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection, models

from rotation.models import BulkItem, HostKey, Instance, ManagedAccount, ManagementCredential, Run, Step
from secrets_app import seal_sets, seals
from secrets_app.audit import append_only
from secrets_app.models import (
    AuditEvent,
    Invitation,
    Key,
    Label,
    Policy,
    Principal,
    Region,
    Rewrap,
    Secret,
    SecretVersion,
    Tag,
    User,
)  # fmt: skip
from tests import markup

CALL = "window.zqx=1"
_HANDLERS = (
    "onerror",
    "onload",
    "onfocus",
    "onclick",
    "onmouseover",
    "ontoggle",
    "onpointerenter",
    "onbegin",
)
_GADGETS = (
    "hx-get='/zqx'", "hx-post='/zqx'", "hx-delete='/zqx'", "hx-get='https://zqx.example/'", "hx-on:click='{c}'",
    "hx-on--load='{c}'", "hx-vals='js:{{a:{c}}}'", "hx-headers='js:{{a:{c}}}'", "hx-ext='zqx'",
    "hx-trigger='load[{c}]' hx-get='/zqx'", "hx-swap-oob='true' id='dialog'", "hx-boost='true'",
    "hx-include='body' hx-get='/zqx'", "data-hx-get='/zqx' data-hx-trigger='load'", "hx-preserve id='main'",
)  # fmt: skip
PAYLOADS = [
    f"<script>{CALL}</script>", f"</script><script>{CALL}</script>", f"<ScRiPt>{CALL}</sCrIpT>",
    "<script src=https://zqx.example/a.js></script>", f"<svg/onload={CALL}>", f"<svg><script>{CALL}</script></svg>",
    f"<img src=x onerror={CALL}>", f"'\"><img src=x onerror={CALL}>", f"\" autofocus onfocus=\"{CALL}",
    f"' autofocus onfocus='{CALL}", f"` onfocus=`{CALL}", f"<a href=javascript:{CALL}>zqx</a>",
    f"<a href='java\tscript:{CALL}'>zqx</a>", f"<iframe srcdoc='<script>{CALL}</script>'></iframe>",
    "<iframe src=https://zqx.example/></iframe>", f"<object data=javascript:{CALL}></object>",
    f"<embed src=javascript:{CALL}>", "<base href=https://zqx.example/>", "<link rel=stylesheet href=//zqx.example/>",
    "<meta http-equiv=refresh content='0;url=https://zqx.example/'>", "<form action=https://zqx.example/><input name=a>",
    f"<button formaction=javascript:{CALL}>zqx</button>", f"<details open ontoggle={CALL}>", f"<body onload={CALL}>",
    f"<math><mtext></p><img src=x onerror={CALL}></math>", f"</textarea><img src=x onerror={CALL}>",
    f"</title><img src=x onerror={CALL}>", f"</option></select><img src=x onerror={CALL}>",
    f"--><img src=x onerror={CALL}>", f"]]><img src=x onerror={CALL}>", "<style>@import'https://zqx.example/'</style>",
    "<p style=background:url(https://zqx.example/)>zqx</p>", f"javascript:{CALL}", f"data:text/html,<script>{CALL}</script>",
    f"&lt;img src=x onerror={CALL}&gt;", f"&#60;img src=x onerror={CALL}&#62;", f"\\u003cimg src=x onerror={CALL}\\u003e",
    f"{{{{ {CALL} }}}}", "{% load static %}{{ settings.SECRET_KEY }}", f"${{{CALL}}}",
    *(f"<zqx-{number} {name}={CALL}>" for number, name in enumerate(_HANDLERS)),
    *(f"<b {gadget.format(c=CALL)}>zqx</b>" for gadget in _GADGETS),
]  # fmt: skip
EVERYTHING = " ".join(PAYLOADS)

SHAPES = {"path", "circle", "rect", "line", "polyline", "polygon", "ellipse"}  # of an icon

#: Whatever people, browsers or hosts can have written, by table.
WRITTEN: dict[type[models.Model], tuple[str, ...]] = {
    ManagementCredential: ("name", "username", "public_key"),
    Instance: ("name", "detached_because", "state_sentence", "machine_id", "os_name"),
    HostKey: ("algorithm", "fingerprint"),
    ManagedAccount: ("username", "credential_sentence"),
    Run: ("reason", "username", "sentence", "worker"),
    Step: ("worker", "sentence"),
    BulkItem: ("sentence",),
    Region: ("name",),
    User: ("username", "display_name"),
    Principal: ("name",),
    Invitation: ("username", "display_name"),
    Key: ("alias", "description"),
    Rewrap: ("sentence",),
    Secret: ("name", "description", "deletion_reason"),
    SecretVersion: ("version_id", "public_key"),
    Label: ("name",),
    Tag: ("key", "value"),
    Policy: ("name", "description"),
    Group: ("name",),
    UserSession: ("user_agent",),
    AuditEvent: ("actor_name", "action", "resource", "decision", "reason"),
}


def write(text_of: Callable[[int], str]) -> None:
    """Put a text into every written field of every row that has something there."""
    numbers = itertools.count()
    append_only.lift()
    for model, names in WRITTEN.items():
        for row in model.objects.all():
            fresh = {name: _fit(row, name, text_of, next(numbers)) for name in names if getattr(row, name)}
            model.objects.filter(pk=row.pk).update(**fresh, **_structured(row, text_of(next(numbers))))
    _seal_again()
    append_only.install()


def _seal_again() -> None:
    """Somebody wrote these texts by the forms, as far as the seals can tell."""
    for table in apps.get_models():
        if issubclass(table, seals.SealedRow):
            for row in table._base_manager.all():
                seals.accept(row)
    for table in (Principal, User, Group, Secret):
        for owner in table._base_manager.all():
            seal_sets.accept(owner)


def _fit(row: models.Model, name: str, text_of: Callable[[int], str], number: int) -> str:
    """All payloads where there is room for them; SQLite has room everywhere, PostgreSQL keeps to the length."""
    if name == "public_key":  # its comment is text; the key itself is read
        return " ".join([*row.public_key.split()[:2], text_of(number)])
    length = row._meta.get_field(name).max_length
    if length is None or connection.vendor == "sqlite":
        return f"{text_of(-1)} {number}"
    return f"{number} {text_of(number)}"[:length]


def _structured(row: models.Model, text: str) -> dict[str, Any]:
    """What a host says in lists: accounts, checks, evidence; and the details of an event."""
    if isinstance(row, Instance):
        checks = [line | {"sentence": text} for line in row.checks or []]
        return {"accounts": [text], "checks": checks}
    if isinstance(row, Step):
        return {"evidence": [line | {"sentence": text} for line in row.evidence or []]}
    if isinstance(row, AuditEvent):
        return {"details": dict.fromkeys(row.details, text)}
    return {}


def payload(number: int) -> str:
    return EVERYTHING if number < 0 else PAYLOADS[number % len(PAYLOADS)]


def plain(number: int) -> str:
    return "nothing but words"


class Page(markup.Reader):
    """The elements of a page and their attributes, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str]] = []
        self.links: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.feed(html)

    def begins(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.values += [(name, value or "") for name, value in attrs]
        found = dict(attrs)
        if tag == "a" and (found.get("href") or "").startswith("/"):
            self.links.add(found["href"] or "")
        if tag in {"input", "textarea", "select"} and found.get("name"):
            self.fields.append(found | {"tag": tag})

    def shape(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """How often there is each element; another name sorts elsewhere, another action has another icon."""
        return Counter(found for found in self.elements if found[0] not in SHAPES)

    def intruders(self) -> Iterator[str]:
        """Elements and attributes that no template of ours makes."""
        for tag, names in self.elements:
            if "zqx" in tag or tag in {"iframe", "object", "embed", "base", "style", "math"}:
                yield f"<{tag}>"
            yield from (
                f"<{tag} {name}>" for name in names if name.startswith(("on", "hx-on", "data-hx", "style"))
            )
        for name, value in self.values:
            bare = "".join(value.split()).lower()
            is_code = name.startswith(("hx-", "on")) or name in {
                "href",
                "src",
                "action",
                "formaction",
                "srcdoc",
            }
            if is_code and (bare.startswith(("javascript:", "data:", "//", "https://zqx")) or CALL in value):
                yield f"{name}={value[:60]}"
