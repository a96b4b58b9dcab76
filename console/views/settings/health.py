"""Health: what the doctor finds, as it is now."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from console.watching import doctor, findings
from console.watching.findings import State
from secrets_app.policy.decisions import Action

#: How each state stands on the page: tone and word.
_SHOWN = {
    State.OK: ("ok", "OK"),
    State.WARNING: ("warning", "Warning"),
    State.UNKNOWN: ("muted", "Unknown"),
    State.PROBLEM: ("danger", "Problem"),
}
_WHOLE = {
    State.OK: "Every check is OK.",
    State.WARNING: "Everything works. Some checks have a warning.",
    State.UNKNOWN: "Some checks could not be made.",
    State.PROBLEM: "Some checks found a problem.",
}


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    parts = doctor.parts(request.headers, is_secure=request.is_secure())
    worst = findings.worst(finding for part in parts for finding in part.findings)
    context = {
        "heading": "Health",
        "parts": [
            (part.title, [(finding, *_SHOWN[finding.state]) for finding in part.findings]) for part in parts
        ],
        "tone": _SHOWN[worst][0],
        "whole": _WHOLE[worst],
    }
    return render(request, "settings/health.html", context)
