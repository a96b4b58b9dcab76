"""Health checks of this process and of the installation, for monitoring. None needs a sign-in.

`console.middleware.Probes` calls these before all else, for any host name or address in the request.
"""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console.process import health
from secrets_app import keyring

_RETRY_SECONDS = "10"


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 while this process answers; it depends on nothing else."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 while this process can serve; 503 with what keeps it from serving."""
    return _answer(obstacles=health.obstacles())


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while web, worker and beat all run, and none is sealed; 503 with the names of those that do not."""
    try:
        return _answer(missing=health.missing(), sealed=keyring.is_sealed())
    except (DatabaseError, InterfaceError):
        return _answer(missing=["database"], sealed=False)


def _answer(**answers: list[str] | bool) -> HttpResponse:
    is_well = not any(answers.values())
    shown = {"status": "ok" if is_well else "unavailable", **answers}
    response = JsonResponse(shown, status=200 if is_well else 503)
    if not is_well:
        response["Retry-After"] = _RETRY_SECONDS
        # Django would write a line for each of them; `console.process.health` writes one for each change.
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response
