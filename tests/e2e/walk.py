"""Every address of the console, asked for with somebody's session as `curl` would: GET and POST."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from typing import Any

from django.urls import get_resolver, reverse
from playwright.sync_api import Page

#: They end the session that asks.
LAST = {"account_logout", "sessions_end_others", "session_end"}
#: What stands for the number of each kind of thing, by how its address begins.
KINDS = {
    "access/users": "user", "access/policies": "policy", "access/groups": "group",
    "access/attachments": "attachment",
    "access/invitations": "invitation", "credentials": "credential", "keys": "key", "sessions": "number",
    "second-factor": "number", "settings/regions": "region",
    "settings/notifications": "user", "settings/deliveries": "user", "background": "bulk",
    "access/applications": "application", "access/access-keys": "access_key",
}  # fmt: skip
IN_REGION = {"secrets": "secret", "instances": "instance", "rotations": "run"}


def addresses(ids: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The name and address of every route, with things that there are."""
    for pattern in get_resolver().url_patterns:
        route, name = str(pattern.pattern), str(pattern.name)
        if name in LAST:
            continue
        kind = next((k for start, k in KINDS.items() if route.startswith(start)), "")
        if route.startswith("<slug:region>/"):
            kind = IN_REGION.get(route.split("/")[1], "")
        known = {
            "region": "main",
            "sequence": 1,
            "token": "abc",
            "chapter": "screens",
            "form": "cloudtrail",
            "version": ids["version"],
            "member": ids["user"],
        }
        if kind:
            known["pk"] = ids[kind] if kind != "number" else 1
        yield name, reverse(name, kwargs={key: known[key] for key in pattern.pattern.converters})


def answers(
    page: Page, base: str, ids: dict[str, Any], given: dict[str, str], *, begins: str = ""
) -> Iterator[tuple[str, str, int, str]]:
    """What each route answers to this browser: name, method, status, and everything that it sent.

    `begins` is how the names of those begin that are asked.
    """
    page.goto(f"{base}/sessions/")
    token = page.locator("input[name='csrfmiddlewaretoken']").first.get_attribute("value") or ""
    for name, address in addresses(ids):
        if not name.startswith(begins):
            continue
        for method in ("GET", "POST"):
            form = given | {"csrfmiddlewaretoken": token} if method == "POST" else None
            answer = page.request.fetch(f"{base}{address}", method=method, form=form, max_redirects=0)
            headers = json.dumps(answer.headers_array)
            yield name, method, answer.status, headers + answer.body().decode(errors="replace")


def shows(text: str, value: str) -> bool:
    """Whether this value stands there, raw or in one of the ways that pages and files write it."""
    raw = value.encode()
    encoded = [base64.b64encode(b"x" * n + raw).decode()[4:-4] for n in range(3)]
    found = {value, html.escape(value), json.dumps(value)[1:-1], raw.hex(), *encoded}
    return any(form in text for form in found)
