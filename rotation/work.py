"""What a worker holds while it carries one run, and the ways a run ends or is put off.

Every way writes the run, its account and its schedule together, under the lease, and raises `Stop`:
nothing more is done for the run after that.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction

from rotation import inventory, leases, managed, schedules
from rotation.connectors import base
from rotation.models import ManagedAccount, Run, Step
from secrets_app import versions
from secrets_app.models import Label, Secret, SecretVersion

log = logging.getLogger(__name__)
_random = random.SystemRandom()

#: Seconds that each conversation may take; every one is well below the lease.
PREFLIGHT, SET, TEST, PROBE, SCAN = 20.0, 20.0, 15.0, 15.0, 20.0
BACK_OFF = tuple(timedelta(seconds=s) for s in (3, 10, 30, 120, 600, 1800))
WAITS = frozenset({"unreachable", "late", "busy", "stale", "unknown", "timeout"})  # passes by itself

Connect = Callable[[base.Endpoint], base.Connector]
Credential = ManagedAccount.Credential


class Stop(Exception):
    """The run's state is written; there is nothing more to do for this worker."""


@dataclass
class StepNotes:
    """What a step will say of itself."""

    sentence: str = ""
    state: str = Step.State.DONE
    evidence: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Work:
    """What a worker holds while it carries one run."""

    run: Run
    lease: leases.Lease
    connect: Connect
    scanner: base.Scanner | None = None
    _connector: base.Connector | None = field(default=None, repr=False)
    _manager: base.Manager | None = field(default=None, repr=False)

    @property
    def secret(self) -> Secret:
        assert self.run.secret is not None
        return self.run.secret

    @property
    def account(self) -> ManagedAccount:
        return self.secret.managed

    @property
    def is_key_pair(self) -> bool:
        return self.secret.kind == Secret.Kind.KEY_PAIR

    @property
    def connector(self) -> base.Connector:
        if self._connector is None:
            self._connector = self.connect(inventory.endpoint(self.run.instance))
        return self._connector

    @property
    def manager(self) -> base.Manager:
        if self._manager is None:
            self._manager = inventory.manager(self.run.instance)
        return self._manager

    @contextmanager
    def step(self, name: str) -> Iterator[StepNotes]:
        """One step, kept as evidence; what the block raises ends it as failed."""
        row = leases.begin(self.lease, name)
        notes = StepNotes()
        try:
            yield notes
        except (base.ConnectorError, inventory.NotAttached) as error:
            leases.finish(self.lease, row, Step.State.FAILED, notes.sentence or str(error), notes.evidence)
            raise
        leases.finish(self.lease, row, notes.state, notes.sentence, notes.evidence)

    # ---------------------------------------------------------------- what the host accepts

    def probe(self, version: SecretVersion) -> base.Proof:
        """Ask the host's own check whether it accepts `version`; counts as no login."""
        if version.public_key:
            return self.connector.probe_key(
                self.manager, self.account.username, version.public_key, timeout=PROBE
            )
        password = versions.value(version).credential
        return self.connector.probe_password(self.manager, self.account.username, password, timeout=PROBE)

    def truth(self, version: SecretVersion) -> str:
        """Say which value works, by checks that count as no login."""
        current = self.secret.labelled(Label.Role.CURRENT)
        try:
            # Of two keys both may work; what counts is that the current one still does.
            if current and self.is_key_pair and self.probe(current).verdict == base.Verdict.ACCEPTED:
                return Run.Truth.OLD
            if self.probe(version).verdict == base.Verdict.ACCEPTED:
                return Run.Truth.NEW
            if current is None:
                return Run.Truth.UNKNOWN
            answer = self.probe(current).verdict
        except (base.ConnectorError, inventory.NotAttached):
            return Run.Truth.UNKNOWN
        return {
            base.Verdict.ACCEPTED: Run.Truth.OLD,
            base.Verdict.REJECTED: Run.Truth.NEITHER,
            base.Verdict.UNCLEAR: Run.Truth.UNKNOWN,
        }[answer]

    # ---------------------------------------------------------------- how a run ends without success

    def settle(self, error: base.ConnectorError | inventory.NotAttached) -> None:
        """Turn what is known of the host into a wait or an end; nothing on it has changed."""
        credential = Credential.UNREACHABLE if error.code == base.Unreachable.code else Credential.BLOCKED
        if error.code in WAITS and self.run.attempts:
            credential = Credential.UNVERIFIED  # the host was told a value, and has not been asked since
        try:
            if error.code in WAITS:
                self.put_off(error.code, str(error), credential)
            self.block(error.code, str(error))
        except Stop:
            return
        except leases.Overtaken:
            log.info("run %s was overtaken: lease %s", self.run.pk, self.lease.number)

    def put_off(self, code: str, sentence: str, credential: str) -> None:
        """Give the lease back until later; after the last wait, end the run as failed."""
        if self.run.waits >= len(BACK_OFF):
            self.end(Run.Outcome.FAILED, code, sentence, credential, truth=self._truth_at_the_end())
        with transaction.atomic():
            # A network that comes back meets its hosts' runs one after the other.
            delay = BACK_OFF[self.run.waits] * _random.uniform(0.8, 1.2)
            leases.wait(self.lease, delay, code=code, sentence=sentence)
            self.note(credential, sentence, code)
        raise Stop

    def _truth_at_the_end(self) -> str:
        version, current = (
            self.run.version,
            self.secret.labelled(Label.Role.CURRENT) if self.run.secret else None,
        )
        if version and version.offered_at:
            return self.truth(version)
        # No host heard of a new value: what was proven to work before still does.
        return Run.Truth.OLD if current and current.verified_at else ""

    def block(self, code: str, sentence: str) -> None:
        """End the run: a person must act first, and nothing was changed."""
        self.end(Run.Outcome.BLOCKED, code, sentence, Credential.BLOCKED)

    def fail(self, version: SecretVersion, code: str, sentence: str, *, truth: str = "") -> None:
        """End the run and say which value works, asking the host where `truth` is not given."""
        truth = truth or self.truth(version)
        credential = Credential.OUT_OF_SYNC if truth == Run.Truth.NEITHER else Credential.UNVERIFIED
        if truth == Run.Truth.OLD:
            credential = Credential.IN_SYNC
        elif not self.secret.labels.exists():
            credential = Credential.NO_VALUE
        self.end(Run.Outcome.FAILED, code, sentence, credential, truth=truth)

    def end(self, outcome: str, code: str, sentence: str, credential: str, *, truth: str = "") -> None:
        """Write the end of a run that did not succeed, in one transaction."""
        with transaction.atomic():
            self.note(credential, sentence, code)
            if self.run.kind == Run.Kind.ROTATE and self.run.trigger == Run.Trigger.SCHEDULE:
                schedules.failed(self.secret)
            leases.end(self.lease, outcome, truth=truth, code=code, sentence=sentence)
        raise Stop

    def note(self, credential: str, sentence: str, code: str) -> None:
        if self.run.secret is not None and credential:
            managed.note(self.account, credential, sentence, code)
