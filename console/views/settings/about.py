"""What this installation is made of, and the rules that its environment sets. Both are read-only."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from console.reports import installation, session_rules
from console.views.secrets import reveal
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    context = {"heading": "About", "parts": installation.parts()}
    return render(request, "settings/about.html", context)


@login_required
@require_safe
def rules(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    groups = [
        ("Sessions", session_rules.of_sessions()),
        ("Values", session_rules.of_values(reveal.SHOWN_SECONDS)),
    ]
    context = {"heading": "Sessions and reveal", "groups": groups}
    return render(request, "settings/rules.html", context)
