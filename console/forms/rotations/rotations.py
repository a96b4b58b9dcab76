"""What the list of runs is narrowed to."""

from __future__ import annotations

from django import forms

from console.forms.filters import Several
from console.forms.period import Period
from rotation.models import Run

ACTIVE = "active"


class Filters(Period):
    """What does not make sense narrows nothing."""

    q = forms.CharField(required=False, max_length=200)
    kind = Several("Kind", "All kinds", Run.Kind.choices)
    outcome = Several("Outcome", "All outcomes", [(ACTIVE, "Under way"), *Run.Outcome.choices])
    trigger = Several("Trigger", "All triggers", Run.Trigger.choices)
    instance = forms.CharField(required=False, max_length=80)
    since = forms.DateField(label="From", required=False)
    until = forms.DateField(label="To", required=False)
