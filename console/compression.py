"""Compress the pages that hold nothing secret.

The length of a compressed page shows which texts in it are equal: a user who can put text into a page, and
measure its length, can guess what stands beside that text (BREACH, CVE-2013-3587). So a page is compressed
only if its route is named here. None of these shows a value, a code, a link to sign in, or the secret of an
authenticator app. The CSRF token is masked again in each answer, and Django adds a random number of bytes
(GZipMiddleware, "Heal the Breach"). The answer to a form is never compressed: values and codes are in those.
"""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

#: Names of routes. A new one is not compressed before it was looked at.
PAGES: Final = frozenset(
    {
        "overview",
        "secrets",
        "secret",
        "instances",
        "instance",
        "rotations",
        "run",
        "search",
        "credentials",
        "audit",
        "audit_event",
        "access_review",
        "policies",
        "policy",
        "applications",
        "application",
        "access_keys",
        "groups",
        "group",
        "users",
        "user",
        "user_revealed",
        "keys",
        "key",
        "bulk_actions",
        "bulk_action",
        "help",
        "help_chapter",
        "settings_regions",
        "settings_rules",
        "settings_about",
    }
)


class Compression(GZipMiddleware):
    """Django's, for these pages alone."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return super().process_response(request, response) if _is_open(request, response) else response


def _is_open(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Whether this is the page itself, as a GET asked for it: no error, no file, and no form's answer."""
    match = request.resolver_match
    return (
        match is not None
        and match.view_name in PAGES
        and request.method == "GET"
        and response.status_code == 200
        and not response.streaming
        and response.get("Content-Type", "").startswith("text/html")
    )
