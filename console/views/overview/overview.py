"""The overview: what needs a person now, figures, pictures."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from console.reports.overview.figures import Figures
from console.reports.overview.needs import Needs
from console.reports.overview.seen import Seen
from secrets_app.policy.decisions import Action


@login_required
@require_safe
def index(request: OperatorRequest, region: str) -> HttpResponse:
    resources.require(request, Action.LIST_RUNS)
    resources.region(request, region)
    seen = Seen(request, region)
    needs, figures = Needs(seen), Figures(seen)
    context = {"region": region, "attention": needs, "figures": figures.figures, "charts": figures.charts}
    return render(request, "overview/overview.html", context)
