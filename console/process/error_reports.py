"""Limit reports of errors to the place in the code: no request data, and no values from memory.

Django would mail an administrator every field of the form and every variable of every frame; a mark on each
view does not help where a request fails before it, and no list of names knows every variable. Set as
`DEFAULT_EXCEPTION_REPORTER_FILTER`, so it holds for every handler that an installation adds.
"""

from __future__ import annotations

from collections.abc import ItemsView
from types import FrameType, TracebackType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class NothingHeld(SafeExceptionReporterFilter):
    """No variable of a frame, no field of a form, no cookie; also with DEBUG."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        return {}

    def get_safe_cookies(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType | TracebackType
    ) -> ItemsView[str, Any]:
        nothing: dict[str, Any] = {}
        return nothing.items()
