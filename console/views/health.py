"""Whether this installation works, for whoever watches it. It tells nothing that needs a sign-in."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import health
from secrets_app import keyring


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while web, worker and beat all run; 503 with the names of those that do not."""
    missing = health.missing()
    answer = {"status": "unavailable" if missing else "ok", "missing": missing, "sealed": keyring.is_sealed()}
    return JsonResponse(answer, status=503 if missing else 200)
