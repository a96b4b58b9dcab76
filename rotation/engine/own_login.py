"""What Keyturn logs in to an instance with while the instance's own login is being changed.

Until a rotation is settled, the login may need either the current or the pending value of its secret. At most
one of the two attempts here fails; the steps that the run has recorded say which value is tried first.
"""

from __future__ import annotations

from rotation.connectors import base
from rotation.inventory import management
from rotation.models import Instance, Step
from secrets_app.models import KeyVersion, Label, SecretVersion

TRY = 15.0  # seconds for one login
#: Of a login that was refused by a host that never says why.
_MAY_BE_WRONG = frozenset({"no_reason_given"})
_EVIDENCE = {Label.Role.PENDING: "own_login_pending", Label.Role.CURRENT: "own_login_current"}


def choose(
    instance: Instance, connector: base.Logins, *, over: base.Endpoint, known: KeyVersion | None = None
) -> base.Manager:
    """Return what the instance accepts now, trying where that is not known; `connector` trusts `over`.

    `known` as in `management.manager`.

    Raises what `management.manager` and `Connector.prove_login` raise.
    """
    pending = _unsettled(instance)
    login = instance.own_login
    current = login.labelled(Label.Role.CURRENT) if login else None
    if pending is None or current is None:
        return management.manager(instance, over=over, known=known)
    likelier, other = (pending, current) if _is_there(pending) else (current, pending)
    first = management.own_manager(instance, likelier, over=over)
    proof = connector.prove_login(first.login, timeout=TRY)
    if proof.verdict != base.Verdict.REJECTED and proof.code not in _MAY_BE_WRONG:
        return first
    # The host has one of the two; if it has neither, the caller's login is refused and the run blocked.
    return management.own_manager(instance, other, over=over)


def seen(role: Label.Role) -> dict[str, str]:
    """A line of a step's evidence: which of the two values the host was shown to have."""
    words = {
        Label.Role.PENDING: "The instance has the pending value as Keyturn's own login.",
        Label.Role.CURRENT: "The instance has the current value as Keyturn's own login.",
    }
    return {"name": _EVIDENCE[role], "mark": base.Mark.PASSED.value, "sentence": words[role]}


def _unsettled(instance: Instance) -> SecretVersion | None:
    pending = instance.own_login.labelled(Label.Role.PENDING) if instance.own_login else None
    return pending if pending and pending.offered_at and not pending.dead_at else None


def _is_there(pending: SecretVersion) -> bool:
    """Whether the host likelier has the pending value than the current one."""
    if pending.public_key:
        return False  # the current key works until long after the new one does
    steps = Step.objects.filter(run__version=pending, name__in=[Step.Name.SET, Step.Name.PROBE])
    for step in steps.order_by("-started_at", "-number"):
        names = {line.get("name") for line in step.evidence}
        if names & set(_EVIDENCE.values()):
            return _EVIDENCE[Label.Role.PENDING] in names
        if step.name == Step.Name.SET:
            return step.state != Step.State.FAILED
    return False  # the run broke off before it sent anything
