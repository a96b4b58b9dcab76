"""What the tests of runs share: a simulated host's worker, one that dies, and short questions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from rotation import runs
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.engine import engine, failpoints
from rotation.models import ManagedAccount, Run
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories

OLD = "the-old-password-1"


def simulated_host(password: str = OLD) -> MemoryHost:
    """Return a host with the account svc, which has this password."""
    host = MemoryHost()
    host.add_account("svc", password)
    return host


class Crash(BaseException):
    """Stands for a worker that is gone: nothing catches it."""


def rotate(secret: Secret, **given: object) -> Run:
    return runs.start(secret, actor=factories.administrator(), **given)  # type: ignore[arg-type]


def drive(run: Run, host: MemoryHost, turns: int = 1) -> Run:
    """Let a worker take the run up, `turns` times, whatever time it waits for."""
    for _ in range(turns):
        past = Now() - timedelta(seconds=1)
        Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
        engine.advance(run.pk, worker="w", connect=lambda endpoint: MemoryConnector(host), scanner=None)
    run.refresh_from_db()
    return run


def die_at(place: str, run: Run, host: MemoryHost) -> None:
    """Let a worker die at `place`."""

    def die() -> None:
        failpoints.disarm()
        raise Crash

    failpoints.arm(place, die)
    with pytest.raises(Crash):
        drive(run, host)


def drive_killed_at(place: str, run: Run, host: MemoryHost) -> Run:
    """Let a worker die at `place`, and another one follow."""
    die_at(place, run, host)
    return drive(run, host)


def drive_overtaken_at(place: str, run: Run, host: MemoryHost) -> Run:
    """Let a worker stop at `place` while another one finishes, and go on then, after the end of its lease."""

    def overtake() -> None:
        failpoints.disarm()
        drive(run, host)

    failpoints.arm(place, overtake)
    return drive(run, host)


def account(secret: Secret) -> ManagedAccount:
    return ManagedAccount.objects.get(secret=secret)


def current(secret: Secret) -> versions.Value:
    return versions.value(secret.labelled("current"))


def password(secret: Secret) -> str:
    return current(secret).password.reveal()


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps.all()]


def evidence(run: Run) -> str:
    """Everything that the run's steps say, in one text."""
    lines = [line["sentence"] for step in run.steps.all() for line in step.evidence]
    return "\n".join([*(step.sentence for step in run.steps.all()), *lines])
