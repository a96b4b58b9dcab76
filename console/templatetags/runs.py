"""What a template asks about a run: how it stands, its timeline, whether it may be retried."""

from __future__ import annotations

from django import template
from django.template import Context

from console.access import resources
from console.presentation import instance_states, run_states, secret_states
from console.reports.resolving import unresolved
from rotation import accounts, reasons
from rotation.models import Run, Step
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action

register = template.Library()

register.filter("run_badge", run_states.run_badge)
register.filter("run_timeline", run_states.timeline)
register.filter("run_mark", run_states.mark)
register.filter("instance_badge", instance_states.instance_badge)
register.filter("override_label", run_states.override_label)
register.filter("findings", run_states.findings)
register.filter("host_key_badge", instance_states.host_key_badge)
register.filter("listed_host_keys", instance_states.listed_host_keys)


@register.filter
def credential_badge(secret: Secret) -> secret_states.Fact:
    """Whether the host accepts the secret's value, as far as there is proof."""
    return secret_states.credential(
        accounts.of(secret), is_rotating=bool(getattr(secret, "is_rotating", False))
    )


@register.simple_tag(takes_context=True)
def may_open_place(context: Context, run: Run, target: str) -> bool:
    """Whether the reader may open the page that an advice sends to."""
    request, instance = context["request"], run.instance
    if target == "instance":
        return resources.may(request, Action.DESCRIBE_INSTANCE, instance)
    if target == "credential" and instance.credential:
        return resources.may(request, Action.DESCRIBE_CREDENTIAL, instance.credential)
    return target == "secret" and resources.may(request, Action.DESCRIBE_SECRET, run.secret)


@register.simple_tag(takes_context=True)
def may_retry(context: Context, run: Run) -> bool:
    """Whether the reader may have the same work done again that this run did not bring to its end."""
    return run_states.is_retryable(run) and _may_again(context, run)


def _may_again(context: Context, run: Run) -> bool:
    request = context["request"]
    if run.secret is None:
        is_registered = run.instance.retired_at is None
        may_look = is_registered and resources.may(request, Action.CHECK_INSTANCE, run.instance)
        actor = request.user.principal
        is_theirs = not run.username or accounts.may_manage(run.instance, run.username, actor=actor)
        return may_look and is_theirs
    return run.secret.is_enabled and resources.may(request, Action.ROTATE_SECRET, run.secret)


@register.simple_tag(takes_context=True)
def next_step(context: Context, run: Run) -> str:
    """What its advice says to the reader, who may not do it perhaps."""
    advice = run_states.run_badge(run).next_step
    is_for_all = reasons.waits(run.code) and advice.asks != "retry"
    if not advice.text or is_for_all:
        return advice.text
    if not _may_again(context, run):
        needs = Action.ROTATE_SECRET if run.secret else Action.CHECK_INSTANCE
    elif run_states.is_overridable(run) and not may_override(context, run):
        needs = Action.OVERRIDE_CHECK
    elif advice.asks == "rebind" and not resources.may(context["request"], Action.REBIND_ACCOUNT, run.secret):
        needs = Action.REBIND_ACCOUNT
    else:
        return advice.text
    return secret_states.for_others(needs, advice.text)


@register.simple_tag(takes_context=True)
def remedies(context: Context, run: Run) -> tuple[str, ...]:
    """What the advice of this run names and its reader may do, beside a retry."""
    return run_states.remedies(run) if _may_again(context, run) else ()


@register.simple_tag(takes_context=True)
def may_retry_items(context: Context, run: Run) -> bool:
    """Whether the reader may give the dependants that this rotation names the current value again."""
    is_named = run.outcome == Run.Outcome.SUCCEEDED and run.code == "dependants"
    return is_named and run.secret is not None and _may_again(context, run)


@register.simple_tag(takes_context=True)
def may_override(context: Context, run: Run) -> bool:
    """Whether the reader may let the rotation go on past the check that blocked it."""
    if run.secret is None or not run.secret.is_enabled or not run_states.is_overridable(run):
        return False
    request = context["request"]
    return resources.may(request, Action.ROTATE_SECRET, run.secret) and resources.may(
        request, Action.OVERRIDE_CHECK, run.secret
    )


@register.simple_tag(takes_context=True)
def may_resolve(context: Context, run: Run) -> bool:
    """Whether the reader may say what became of a value that this run's instance does not confirm."""
    if run.secret is None or not resources.may(context["request"], Action.RESOLVE_ROTATION, run.secret):
        return False
    return unresolved(run.secret) is not None


@register.filter
def is_promoted(run: Run) -> bool:
    """Whether the new value is current already, and what is left of the run comes after that."""
    return any(step.name == Step.Name.FINISH and step.state == Step.State.DONE for step in run.steps.all())


@register.simple_tag(takes_context=True)
def may_cancel(context: Context, run: Run) -> bool:
    """Whether the reader may end the run: its host was told nothing so far."""
    is_open = run.secret is not None and run.is_active and not run.attempts
    return is_open and resources.may(context["request"], Action.ROTATE_SECRET, run.secret)
