"""The rules of sessions and of shown values, each with its unit and the setting that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

FIXED = ""  # no setting changes it


@dataclass(frozen=True)
class Rule:
    """One rule as it holds now."""

    label: str
    text: str
    variable: str
    note: str = ""


def of_sessions() -> list[Rule]:
    length = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    fresh = timedelta(seconds=settings.ACCOUNT_REAUTHENTICATION_TIMEOUT)
    factor = "Required for administrators" if settings.REQUIRE_MFA else "Administrators may postpone it"
    rules = [
        Rule(
            "Idle time",
            _minutes(settings.SESSION_IDLE),
            "KEYTURN_IDLE_MINUTES",
            "A session without an action of its user ends after it.",
        ),
        Rule(
            "Session length",
            f"{length // timedelta(hours=1)} hours",
            FIXED,
            "A session ends after it in any case.",
        ),
        Rule(
            "Re-authentication",
            _minutes(fresh),
            FIXED,
            "A proof of identity is enough for so long; then sensitive actions ask again.",
        ),
        Rule("Second factor", factor, "KEYTURN_REQUIRE_MFA"),
    ]
    if settings.OIDC:
        only = "Required for all users" if settings.OIDC.is_only else "Optional"
        rules.append(Rule(f"Sign-in with {settings.OIDC.name}", only, "KEYTURN_OIDC_ONLY"))
    return rules


def of_values(shown_seconds: int) -> list[Rule]:
    return [
        Rule(
            "Reads at most",
            f"{settings.READS_AT_MOST:,} values in 10 minutes",
            "KEYTURN_READS_AT_MOST",
            "By one user; an application has the limits below.",
        ),
        Rule(
            "Programs' reads at most",
            f"{settings.API_READS:,} a second, {settings.API_KEY_READS:,} with one access key",
            "KEYTURN_API_READS",
            "Values and descriptions of secrets, by the interfaces for programs.",
        ),
        Rule(
            "Programs' other calls at most",
            f"{settings.API_OTHERS:,} a second, {settings.API_KEY_OTHERS:,} with one access key",
            "KEYTURN_API_OTHERS",
        ),
        Rule(
            "Reason",
            settings.REVEAL_REASON.capitalize(),
            "KEYTURN_REVEAL_REASON",
            "Asked for before a value is shown; a policy may ask for one too.",
        ),
        Rule("Shown for", f"{shown_seconds} seconds", FIXED, "Then the value leaves the page."),
        Rule(
            "Checks at most",
            f"{settings.CHECKS_AT_MOST:,} scans and tests in 10 minutes",
            "KEYTURN_CHECKS_AT_MOST",
            "Identity scans and connection tests that one user starts.",
        ),
    ]


def _minutes(length: timedelta) -> str:
    count = length // timedelta(minutes=1)
    return f"{count} minute{'' if count == 1 else 's'}"
