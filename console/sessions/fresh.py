"""Re-authentication: what a borrowed browser must not do requires a recent proof of the user.

`docs/fresh.md` lists every form that is sent to Keyturn, whether it asks, and why.

Signing in counts, and so does confirming with the password, a second factor or at the identity provider; each
for five minutes. Coming by an identity provider counts from when it last asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, cast
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from console.sessions import expiry, proofs
from secrets_app.models import User

Arguments = ParamSpec("Arguments")


def is_fresh(request: HttpRequest) -> bool:
    """Whether this session was opened or confirmed within the last five minutes."""
    if not isinstance(request.user, User):
        return False
    last = proofs.last(request, request.user, began_at=request.session.get(expiry.BEGAN_AT, 0.0))
    return timezone.now().timestamp() - last < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT


def required(
    *, back: str = "", when: Callable[[HttpRequest], bool] | None = None
) -> Callable[[Callable[Arguments, Any]], Callable[Arguments, Any]]:
    """Ask who it is before the view runs, unless that is fresh; with `when`, only for such requests.

    Put it under `login_required` and the method decorators:

        @login_required
        @require_http_methods(["GET", "POST"])
        @fresh.required()
        def reveal(request, ...): ...

    A request of htmx gets a dialog over the page. After it the browser repeats the same click or form, so
    typed values stay in the browser. A plain request is redirected to a page and returns to its own address.
    The values of a plain form are not kept, so a view that answers no GET names one that does (`back`, with
    the same arguments or with none).
    """

    def decorate(view: Callable[Arguments, Any]) -> Callable[Arguments, Any]:
        @wraps(view)
        def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Any:
            request = cast(HttpRequest, args[0])
            is_asked = when is None or when(request)
            return _ask(request, back) if is_asked and not is_fresh(request) else view(*args, **kwargs)

        return guarded

    return decorate


def _ask(request: HttpRequest, back: str) -> HttpResponseBase:
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=401, headers={"HX-Trigger": json.dumps({"confirmFirst": {}})})
    match = request.resolver_match
    url = request.get_full_path()
    if back and match:
        query = request.META.get("QUERY_STRING", "")
        url = _address(back, match.kwargs) + (f"?{query}" if query else "")
    return redirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': url})}")


def _address(name: str, of: dict[str, Any]) -> str:
    """Where to come back to: the page of the same thing, or a list, which is of none."""
    try:
        return reverse(name, kwargs=of)
    except NoReverseMatch:
        return reverse(name)
