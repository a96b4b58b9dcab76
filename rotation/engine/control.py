"""Try a random wrong password on an instance once a day: the instance must refuse it.

If a host accepts any password, its answers prove nothing. This is the only failed login of a normal run, so
it is counted: one a day for each instance, and none if another one follows within minutes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

from rotation import reasons
from rotation.connectors import base
from rotation.engine.work import TEST, Work
from rotation.inventory import instances
from secrets_app.crypto.plaintext import Plaintext

EVERY = timedelta(days=1)


def check(work: Work, facts: base.Facts) -> Iterator[base.Check]:
    """Yield a line of the checklist if the control was due; blocked if the wrong password was accepted.

    Raises `Unreachable` or `HostKeyChanged`.
    """
    if not facts.password_login or not _is_due(work):
        return
    wrong = Plaintext(secrets.token_urlsafe(24))
    proof = work.connector.prove_login(base.Login(work.account.username, password=wrong), timeout=TEST)
    if proof.verdict == base.Verdict.ACCEPTED:
        sentence = reasons.sentence("accepts_anything")
        yield base.Check("control", base.Mark.BLOCKED, sentence, "accepts_anything")
    elif proof.verdict == base.Verdict.REJECTED:
        instances.note_control(work.run.instance)
        yield base.Check("control", base.Mark.PASSED, "The instance refuses a random wrong password.")
    else:
        yield base.Check("control", base.Mark.UNKNOWN, f"A random wrong password: {proof.reason}")


def _is_due(work: Work) -> bool:
    # A run that proves the old password refused makes its one failed login then.
    if work.tries_old_password:
        return False
    return not instances.was_controlled_within(work.run.instance, EVERY, before=work.taken_at)
