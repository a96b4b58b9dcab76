"""What is known of an account's credential on its host: noted, doubted, and when it is looked at again."""

from __future__ import annotations

import math
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from rotation import binding
from rotation.connectors import base
from rotation.models import ManagedAccount, Run
from secrets_app import prepared
from secrets_app.models import Label

Credential = ManagedAccount.Credential
_ROTATED = prepared.Change(
    lambda pk, bindings, level, code, sentence: (
        ManagedAccount.objects.filter(pk=pk, bindings=bindings),
        {
            "rotated_at": Now(),
            "traces": {},
            "credential_code": code,
            "credential_sentence": sentence,
            "credential": Credential.IN_SYNC,
            "verified_at": Now(),
            "verified_level": level,
        },
    )
)
_RAISE = prepared.Change(
    lambda pk, generation, following: (
        ManagedAccount.objects.filter(pk=pk, generation=generation),
        {"generation": following},
    )
)


#: Codes of a credential: the host was not asked since an older database was restored; and it refused.
RESTORED, DATABASE_OLDER = "restored", "database_older"
#: The host accepts the current value, but the last login with it did not succeed.
NO_LOGIN = "no_login"


def note(account: ManagedAccount, credential: str, sentence: str = "", code: str = "") -> None:
    """Write what is now known of the account's credential, and why."""
    ManagedAccount.objects.filter(pk=account.pk).update(
        credential=credential, credential_sentence=sentence[:500], credential_code=code
    )
    binding.follow_one(account)


def note_verified(
    account: ManagedAccount,
    level: base.Level | None,
    *,
    rotated: bool = False,
    changed: bool = False,
    no_login: str = "",
) -> None:
    """Write that the host accepted the current value just now, and how that was shown.

    `rotated` says that the value is new, `changed` that it was set on the host again. `no_login` is why a
    login with it did not succeed; that stays until the next login, because the host's own check does not
    cover it. If the account was bound to another machine since the run began, the proof does not count.
    """
    code = NO_LOGIN if no_login else ""
    if rotated:
        is_same = _ROTATED(account.pk, account.bindings, level or "", code, no_login[:500])
        binding.follow_one(account, is_proven=bool(is_same))
        return
    # What the account looked like before a change says nothing any more.
    fields: dict[str, object] = {"traces": {}} if changed else {}
    same = ManagedAccount.objects.filter(pk=account.pk, bindings=account.bindings)
    if no_login or changed or level in {base.Level.LOGIN, base.Level.COMMAND}:
        fields |= {"credential_code": code, "credential_sentence": no_login[:500]}
    else:
        _forget(account)
    is_same = same.update(
        credential=Credential.IN_SYNC,
        verified_at=Now(),
        verified_level=level or "",
        **fields,
    )
    binding.follow_one(account, is_proven=bool(is_same))


def note_traces(account: ManagedAccount, traces: dict[str, object]) -> None:
    """Write what the account looks like while it is in sync, to compare with another day."""
    same = ManagedAccount.objects.filter(pk=account.pk, bindings=account.bindings)
    same.update(credential=Credential.IN_SYNC, traces=traces)
    _forget(account)
    binding.follow_one(account)


def no_login(account: ManagedAccount) -> str:
    """Return why the last login with the current value did not succeed, or nothing."""
    rows = ManagedAccount.objects.filter(pk=account.pk, credential_code=NO_LOGIN)
    return rows.values_list("credential_sentence", flat=True).first() or ""


def _forget(account: ManagedAccount) -> None:
    """Clear the credential's problem, except the reason why a login with it did not succeed."""
    rows = ManagedAccount.objects.filter(pk=account.pk, bindings=account.bindings)
    rows.exclude(credential_code=NO_LOGIN).update(credential_code="", credential_sentence="")


def doubt_all() -> None:
    """Mark every account as not verified: its state was true when the restored database was copied.

    An account that is in doubt already, or known to be wrong, stays so.
    """
    known = [Credential.IN_SYNC, Credential.NOT_VERIFIED, Credential.UNREACHABLE, Credential.BLOCKED]
    ManagedAccount.objects.filter(released_at__isnull=True, credential__in=known).update(
        credential=Credential.NOT_VERIFIED,
        credential_code=RESTORED,
        credential_sentence="An older database was restored. The instance was not asked since.",
        traces={},  # the same look as then proves nothing of now
    )


def verifiable() -> QuerySet[ManagedAccount]:
    """The accounts with a current value that a host can be asked about."""
    kept = ManagedAccount.objects.filter(released_at__isnull=True).exclude(
        credential__in=[Credential.GONE, Credential.NO_VALUE]
    )
    return kept.filter(
        Exists(Label.objects.filter(secret=OuterRef("secret"), role=Label.Role.CURRENT)),
        secret__deletion_planned_at__isnull=True,
        secret__purged_at__isnull=True,
    )


def due_for_drift_check(share: timedelta) -> list[ManagedAccount]:
    """Return accounts without a check for a day, longest first: as many as belong into `share` of a day.

    So the checks of any number of accounts spread over the day.
    """
    kept = ManagedAccount.objects.filter(released_at__isnull=True)
    limit = math.ceil(kept.count() * share / settings.DRIFT_EVERY)
    can_drift = (
        kept.exclude(credential__in=[Credential.GONE, Credential.NO_VALUE])
        .filter(secret__deletion_planned_at__isnull=True, secret__purged_at__isnull=True)
        .filter(Exists(Label.objects.filter(secret=OuterRef("secret"), role=Label.Role.CURRENT)))
        .exclude(Exists(Run.objects.active().filter(secret=OuterRef("secret"))))
    )
    due = can_drift.filter(_was_not_looked_at())
    return list(due.select_related("secret").order_by(F("drift_checked_at").asc(nulls_first=True))[:limit])


def claim_drift_check(account: ManagedAccount) -> bool:
    """Note that the account is looked at now; True for the one caller that may start the run."""
    still = ManagedAccount.objects.filter(_was_not_looked_at(), pk=account.pk)
    return bool(still.update(drift_checked_at=Now()))


def _was_not_looked_at() -> Q:
    return Q(drift_checked_at__isnull=True) | Q(drift_checked_at__lte=Now() - settings.DRIFT_EVERY)


def raise_generation(account: ManagedAccount, on_host: int) -> int:
    """Return the next attempt's number, above ours and the host's, and keep it."""
    while True:
        following = max(account.generation, on_host) + 1
        if _RAISE(account.pk, account.generation, following):
            account.generation = following
            return following
        account.refresh_from_db(fields=["generation"])  # another run has raised it since it was read
