"""What is no text in UTF-8 is refused at the door, so that nothing behind it has to think of that.

A form's own fields say what is wrong with what was typed into them. This is about what no browser sends: NUL
in an address, which no page has and PostgreSQL takes in no question; and a body in another encoding, of which
some make half characters that can be stored and never shown again.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from console import errors


class Readable:
    """Answer 400 to what cannot be read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request) if _can_be_read(request) else errors.unreadable()


def _can_be_read(request: HttpRequest) -> bool:
    if "\0" in request.path_info or b"\0" in unquote_to_bytes(request.META.get("QUERY_STRING", "")):
        return False
    said = (request.content_params or {}).get("charset", "utf-8")
    return said.strip("'\" ").lower() in {"utf-8", "utf8"}
