"""What is true of a secret, in the console's one vocabulary.

Three facts, never one word for two of them: is the secret kept (status), does the host accept its value
(credential), does it rotate automatically (automatic rotation). Each has a tone, a word, one plain sentence
and the next thing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from console.presentation.durations import duration
from rotation import accounts, binding, reasons, schedules
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Schedule
from secrets_app.actions import Action
from secrets_app.models import Secret

Credential = ManagedAccount.Credential


@dataclass(frozen=True)
class Fact:
    """One value of one of the three columns."""

    tone: str
    label: str
    sentence: str
    next_step: str = ""
    needs: Action | None = None  # the right that the next step takes; None for one that any reader can take

    def told(self, may: Callable[[Action], bool]) -> Fact:
        """Return it for a reader who `may` do only some actions: a step of others is named as theirs."""
        if self.needs is None or may(self.needs):
            return self
        # What is no trouble asks nothing of others.
        step = "" if self.tone == "muted" else for_others(self.needs, self.next_step)
        return replace(self, next_step=step, needs=None)


@dataclass(frozen=True)
class Facts:
    """The three facts of one secret."""

    status: Fact
    credential: Fact
    automatic: Fact

    def told(self, may: Callable[[Action], bool]) -> Facts:
        """Return them for a reader who `may` do only some actions."""
        return Facts(self.status.told(may), self.credential.told(may), self.automatic.told(may))


#: Who takes a next step, by the right that it needs.
_OTHERS = {
    Action.ROTATE_SECRET: "rotate this secret",
    Action.OVERRIDE_CHECK: "override this check",
    Action.REBIND_ACCOUNT: "rebind this account",
    Action.UPDATE_ROTATION: "change its rotation",
    Action.RESTORE_SECRET: "restore this secret",
    Action.DELETE_SECRET: "delete this secret",
    Action.CREATE_SECRET: "create secrets",
    Action.CHECK_INSTANCE: "test this instance",
    Action.RESOLVE_ROTATION: "resolve this rotation",
    Action.PUT_SECRET_VALUE: "change its value",
}


def for_others(needs: Action, step: str) -> str:
    """Say a next step to a reader who may not take it."""
    return f"For users who may {_OTHERS[needs]}: {step}"


ENABLED = Fact("ok", "Enabled", "It can be rotated, and its value can be read by those who may.")
KEPT = Fact("ok", "Enabled", "Its value can be read by those who may.")
DELETED = Fact(
    "muted",
    "Deleted",
    "Its values are destroyed; its history stays.",
    "Create a new secret for this account.",
    Action.CREATE_SECRET,
)
ROTATING = Fact(
    "busy", "Rotating", "A rotation was requested and has not ended.", "Wait for the run, or watch its steps."
)
GONE = Fact("muted", "No value", "Its values are destroyed. The credential on the instance was not changed.")
PURGED = Fact("muted", "No value", "Its values are destroyed.")
UNMANAGED = Fact(
    "muted", "No instance", "This secret belongs to no instance, so there is nothing to rotate or to verify."
)
NEVER = Fact("muted", "Not rotated", "This secret belongs to no instance, so there is nothing to rotate.")
PAUSED_BY_DELETION = Fact(
    "muted", "Paused", "It does not rotate while its deletion is planned.", "Restoring it resumes this."
)
OFF = Fact(
    "muted",
    "Off",
    "This secret rotates only when a user starts a rotation.",
    "Rotate it now and then, or after a leak.",
    Action.ROTATE_SECRET,
)

NO_LONGER = Fact("muted", "Off", "A deleted secret does not rotate.")

#: Kept apart from the model: the words are the screen's, the states are the domain's.
CREDENTIALS = {
    Credential.NO_VALUE: Fact(
        "info",
        "No value yet",
        "No value is stored for this account yet.",
        "Rotate it once to create a value.",
        Action.ROTATE_SECRET,
    ),
    Credential.NOT_VERIFIED: Fact(
        "info",
        "Not yet verified",
        "The value was entered by a user and not verified on the instance yet.",
        "Wait for the verification, or rotate: both correct this state.",
        Action.ROTATE_SECRET,
    ),
    Credential.IN_SYNC: Fact("ok", "In sync", "The instance accepted the current value."),
    Credential.UNVERIFIED: Fact(
        "warning",
        "Unverified",
        "The instance may have the old or the new value; both are kept.",
        "Wait for the next attempt, or rotate again when the instance answers.",
        Action.ROTATE_SECRET,
    ),
    Credential.OUT_OF_SYNC: Fact(
        "danger",
        "Out of sync",
        "The instance refuses the current value: the credential was changed there.",
        "Reconcile to set the current value on the instance, or rotate to a new one.",
        Action.ROTATE_SECRET,
    ),
    Credential.UNREACHABLE: Fact(
        "warning",
        "Instance unreachable",
        "The instance did not answer, so the value could not be checked.",
        "Look at the instance's connection; the value itself is kept.",
    ),
    Credential.BLOCKED: Fact(
        "danger",
        "Blocked",
        "The instance does not meet the requirements of a rotation.",
        "Correct what the checks of the instance report, then rotate.",
        Action.ROTATE_SECRET,
    ),
    Credential.GONE: Fact(
        "warning",
        "Instance gone",
        "A user stated that the instance no longer exists; the values are kept, and nothing rotates.",
        "Read what you still need, then delete the secret.",
        Action.DELETE_SECRET,
    ),
}
CREDENTIAL_CHOICES = [
    ("rotating", ROTATING.label),
    *((str(key), fact.label) for key, fact in CREDENTIALS.items()),
    ("drifted", "Drifted: changed outside"),
]
AUTOMATIC_CHOICES = [("on", "On"), ("overdue", "Overdue"), ("off", "Off")]
STATUS_CHOICES = [
    ("enabled", "Enabled"),
    ("pending_deletion", "Pending deletion"),
    ("deleted", "Deleted"),
]

#: Why a host has another value than the current one, where nothing of ours did it.
DRIFTED = frozenset({"changed_outside", "snapshot", credential_state.DATABASE_OLDER})
NOT_SINCE_RESTORE = Fact(
    "warning",
    "Not verified since the database was restored",
    "An older database was restored, and it has not been verified since whether the instance accepts "
    "this value.",
    "Check for drift, or have all credentials verified under Audit.",
    Action.ROTATE_SECRET,
)

#: How a value was shown to work, as a sentence ends.
LEVELS = {
    "hash": "by the instance's own password check",
    "listed": "by the file in which the instance looks for keys",
    "login": "by a new login",
    "command": "by a new login that ran a command",
}


def facts(secret: Secret, *, is_rotating: bool) -> Facts:
    """The three facts of a secret, of which `is_rotating` says whether a rotation is under way."""
    account = accounts.of(secret)
    if secret.purged_at:
        known = GONE if account else PURGED
    else:
        known = credential(account, is_rotating=is_rotating)
    if not secret.is_enabled:
        known = replace(known, next_step="", needs=None)  # nothing but restoring it works
    return Facts(status(secret), known, automatic(secret))


def status(secret: Secret) -> Fact:
    is_managed = accounts.of(secret) is not None
    if secret.status == "deleted":
        return DELETED if is_managed else replace(DELETED, next_step="", needs=None)
    if secret.status == "pending_deletion":
        due = secret.deletion_due_at
        until = f" until {due:%Y-%m-%d}" if due else ""
        return Fact(
            "warning",
            "Pending deletion",
            f"Its values cannot be read{', and it does not rotate' if is_managed else ''}. "
            f"It can be restored{until}.",
            "Restore it before that day to keep it.",
            Action.RESTORE_SECRET,
        )
    return ENABLED if is_managed else KEPT


def credential(account: ManagedAccount | None, *, is_rotating: bool) -> Fact:
    """Whether the host accepts the value, as far as there is proof."""
    if account is None:
        return UNMANAGED
    if is_rotating:
        return ROTATING
    if account.credential_code == credential_state.RESTORED:
        return NOT_SINCE_RESTORE
    known = CREDENTIALS[Credential(account.credential)]
    if account.credential == Credential.IN_SYNC and account.credential_code == credential_state.NO_LOGIN:
        next_step = reasons.advice(credential_state.NO_LOGIN).text
        return Fact("warning", known.label, account.credential_sentence, next_step)
    if account.credential == Credential.IN_SYNC and account.verified_level in LEVELS:
        return Fact(
            known.tone,
            known.label,
            f"The instance accepted the current value, shown {LEVELS[account.verified_level]}.",
        )
    if is_on_other_machine(account):
        return Fact(
            "danger",
            "Not verified on this machine",
            account.credential_sentence,
            "Compare the machine on the instance's page with the instance, then choose Rebind.",
            Action.REBIND_ACCOUNT,
        )
    label = known.label
    if account.credential == Credential.BLOCKED and account.credential_code:
        label = f"{label}: {reasons.label(account.credential_code)}"
    if is_about_identity(account):
        known = replace(known, next_step="Compare it on the instance's page, then rotate.")
    return replace(known, label=label, sentence=account.credential_sentence or known.sentence)


def is_on_other_machine(account: ManagedAccount | None) -> bool:
    """Whether the instance is another machine than the one that has proven the account's value."""
    if account is None:
        return False
    return account.credential == Credential.BLOCKED and account.credential_code == binding.CODE


def is_about_identity(account: ManagedAccount) -> bool:
    """Whether its instance showed another host key, certificate or name than the one that is pinned."""
    return account.credential == Credential.BLOCKED and reasons.is_about_identity(account.credential_code)


def is_drifted(account: ManagedAccount | None) -> bool:
    """Whether the credential was changed outside Keyturn, or the host went back to an earlier state."""
    if account is None:
        return False
    return account.credential == Credential.OUT_OF_SYNC and account.credential_code in DRIFTED


def automatic(secret: Secret) -> Fact:
    """Whether the secret rotates automatically, and how often."""
    if accounts.of(secret) is None:
        return _reminder(secret)
    plan: Schedule | None = getattr(secret, "schedule", None)
    if secret.purged_at:
        return NO_LONGER
    if not secret.is_enabled:
        is_on = plan is not None and plan.is_on
        return (
            PAUSED_BY_DELETION
            if is_on
            else replace(OFF, sentence=PAUSED_BY_DELETION.sentence, next_step="", needs=None)
        )
    if plan is None or not plan.is_on:
        return OFF
    if plan.stopped_at:
        return Fact(
            "danger",
            f"Invalid: stopped after {plan.failures} failures",
            f"{plan.failures} rotations in a row that the schedule started have failed; it starts no more.",
            "Correct the problem that its last run shows; then turn automatic rotation on again.",
            Action.UPDATE_ROTATION,
        )
    if plan.paused_at:
        return Fact(
            "muted",
            "Paused",
            "Its dates pass without a rotation.",
            "Start a rotation yourself if it cannot wait.",
            Action.ROTATE_SECRET,
        )
    recurrence = often(plan)
    if plan.is_overdue and plan.next_at:
        return Fact(
            "warning",
            f"Overdue since {plan.next_at:%Y-%m-%d}",
            f"It should rotate {recurrence}, and the last date has passed.",
            "Look at its last run, or rotate it now.",
            Action.ROTATE_SECRET,
        )
    return Fact("ok", f"On, {recurrence}", f"It rotates automatically {recurrence}.{_details(plan)}")


def _reminder(secret: Secret) -> Fact:
    """When a user is to replace a value that Keyturn does not rotate."""
    due = secret.reminder_due_at
    if due is None or not secret.is_enabled:
        return NEVER
    often = f"every {secret.reminder_days} days" if secret.reminder_days > 1 else "every day"
    if secret.is_value_overdue:
        return Fact(
            "warning",
            f"Overdue since {due:%Y-%m-%d}",
            f"Its value should be replaced {often}, and the last date has passed.",
            "Store a new value with Edit value.",
            Action.PUT_SECRET_VALUE,
        )
    sentence = f"{NEVER.sentence} A reminder asks for a new value {often}, next on {due:%Y-%m-%d}."
    return Fact("muted", f"Reminder {often}", sentence)


def often(plan: Schedule) -> str:
    """`every 7 days`, or `at 02:00 on Sunday (Europe/Berlin)`."""
    if plan.cron:
        return f"{schedules.recurrence_of(plan).words} ({plan.zone})"
    return f"every {duration(plan.period)}"


def _details(plan: Schedule) -> str:
    cron = f" Times: {plan.cron}." if plan.cron else ""
    delay = f" Each date is delayed by up to {duration(plan.jitter)}, at random." if plan.jitter else ""
    missed = (
        " A date that passes while Keyturn is not running is skipped."
        if plan.catch_up == plan.CatchUp.SKIP
        else ""
    )
    return cron + delay + missed
