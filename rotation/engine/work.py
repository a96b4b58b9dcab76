"""What a worker holds while it carries one run, and the ways a run ends or is put off.

Every way writes the run, its account and its schedule together, under the lease, and raises `Stop`:
nothing more is done for the run after that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

from django.conf import settings
from django.db import transaction

from rotation import accounts, binding, leases, reasons, schedules, spans, wires
from rotation.connectors import base
from rotation.engine import own_login
from rotation.inventory import management
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Run, Step
from secrets_app import keyring
from secrets_app.models import KeyVersion, Label, Secret, SecretVersion
from secrets_app.secrets import lifecycle, versions

if TYPE_CHECKING:  # a method is given the work that it is a part of
    from rotation.engine.methods.method import Method

_random = random.SystemRandom()

#: Seconds that each conversation may take; every one is well below the lease.
PREFLIGHT, SET, TEST, PROBE, SCAN = 20.0, 20.0, 15.0, 20.0, 20.0
DEPENDANT = 40.0  # one that stops slowly and starts slowly
BACK_OFF = tuple(timedelta(seconds=s) for s in (3, 10, 30, 120, 600, 1800))
CHANGES = frozenset({Run.Kind.ROTATE, Run.Kind.RECONCILE})
#: Kinds of runs that give a host a value to keep.
TELLS = CHANGES | {Run.Kind.DEPENDANTS}

Connect = Callable[[base.Endpoint], base.Target]
Credential = ManagedAccount.Credential


class Stop(Exception):
    """The run's state is written; there is nothing more to do for this worker."""


class Arrived(Exception):
    """The run would end without success, but its value is the one that the host accepts."""

    def __init__(self, version: SecretVersion, sentence: str) -> None:
        super().__init__(sentence)
        self.version = version


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
    method: Method
    scanner: base.Scanner | None = None
    refusal: base.Refused | None = None  # the last one of a value
    told: base.Proof | None = None  # what the host itself said of the value that it had just taken
    no_login: str | None = None  # why a login with the value that is current now failed; None: not known here
    shut_out: base.Proof | None = None  # why a login with the current value failed before the change
    login_works: bool = False  # a login with the current value worked just now
    login_follows: bool = False  # with the new value, before the host's own check is asked
    _endpoint: base.Endpoint | None = field(default=None, repr=False)
    _connector: base.Target | None = field(default=None, repr=False)
    _manager: base.Manager | None = field(default=None, repr=False)
    _values: dict[UUID, versions.Value] = field(default_factory=dict, repr=False)
    _usable: dict[UUID, KeyVersion] = field(default_factory=dict, repr=False)
    _labels: dict[str, SecretVersion] | None = field(default=None, repr=False)
    _account_read: ManagedAccount | None = field(default=None, repr=False)  # with the connection
    _may_have_others: bool = True  # other secrets that manage the account
    _promoted: float | None = None  # when the new value became current, by this worker's monotonic clock
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def secret(self) -> Secret:
        assert self.run.secret is not None
        return self.run.secret

    @property
    def account(self) -> ManagedAccount:
        return accounts.needed(self.secret)

    def labelled(self, role: str) -> SecretVersion | None:
        """The version with this label, or None. Read once: only the holder of the lease moves a label."""
        if self._labels is None:
            self._labels = versions.labelled(self.secret)
        return self._labels.get(role)

    def has_pending(self, version: SecretVersion) -> None:
        """Say that this version has just become the pending one."""
        if self._labels is not None:
            self._labels[Label.Role.PENDING] = version

    def promoted(self, version: SecretVersion) -> None:
        """Say that this version has just become the current one, and the current one the previous."""
        self._promoted = time.monotonic()
        if self._labels is not None:
            old, self._labels = self._labels.get(Label.Role.CURRENT), {}
            self._labels[Label.Role.CURRENT] = version
            if old is not None:
                self._labels[Label.Role.PREVIOUS] = old

    def overlap(self) -> None:
        """Leave the old key its time if a client may have fetched it just now, and be logging on with it.

        Not one that has leaked. A worker that continues another one's run leaves it none: its lease had to
        end first.
        """
        if self._promoted is not None and not self.run.is_leak:
            left = self._promoted + settings.KEY_OVERLAP.total_seconds() - time.monotonic()
            if left > 0 and lifecycle.may_have_been_read(self.secret, settings.KEY_OVERLAP):
                time.sleep(left)

    def labels_moved(self) -> None:
        """Have the labels read again: one of them has moved."""
        self._labels = None

    @property
    def console_id(self) -> str:
        return str(self.secret.account_id)

    @property
    def taken_at(self) -> datetime:
        """When this worker took the run up, by the database's clock: a worker's own may be wrong by a day."""
        assert self.lease.taken_at is not None
        return self.lease.taken_at

    @property
    def is_own_login(self) -> bool:
        """Whether Keyturn logs in to the instance with this very secret."""
        return self.run.secret_id is not None and self.run.instance.own_login_id == self.run.secret_id

    @property
    def ends_sessions(self) -> bool:
        return self.account.ends_sessions or self.run.is_leak

    @property
    def tries_old_password(self) -> bool:
        """Whether the run ends by a login with the old password, which must be refused."""
        return self.method.REPLACES and (self.account.proves_old_refused or self.run.is_leak)

    @property
    def endpoint(self) -> base.Endpoint:
        """Where the host is; trusts only keys to which every account is bound whose value may be sent."""
        if self._endpoint is None:
            instance = self.run.instance
            needed = [secret for secret in (self.run.secret, instance.own_login) if secret is not None]
            read, self._account_read = self._account_read, None
            self._endpoint = binding.narrowed(
                management.endpoint(instance), instance, needed, read=[read] if read else []
            )
        return self._endpoint

    @property
    def connector(self) -> base.Target:
        """The instance, with the least that every wire can do; more is asked for by the part it is in."""
        if self._connector is None:
            self._require_whole()
            self._connector = self.connect(self.endpoint)
            if isinstance(self._connector, base.Sharing):
                self._open.enter_context(self._connector.shared())
        leases.sure(self.lease)
        return self._connector

    def hang_up(self) -> None:
        """Close what the calls to the host have shared, and forget what was sent to it."""
        self._values.clear()
        self._open.close()

    @property
    def passwords(self) -> base.Passwords:
        """The part of the connector that changes passwords. Raises `base.Refused` where the wire has none."""
        if isinstance(self.connector, base.Passwords):
            return self.connector
        raise self._lacks("change passwords")

    @property
    def keys(self) -> base.Keys:
        """The part that changes key pairs. Raises as `passwords`."""
        if isinstance(self.connector, base.Keys):
            return self.connector
        raise self._lacks("change key pairs")

    @property
    def sessions(self) -> base.Sessions:
        """The part that ends sessions. Raises as `passwords`."""
        if isinstance(self.connector, base.Sessions):
            return self.connector
        raise self._lacks("end sessions")

    @property
    def dependants(self) -> base.Dependants:
        """The part that updates what runs as the account. Raises as `passwords`."""
        if isinstance(self.connector, base.Dependants):
            return self.connector
        raise self._lacks("update what runs as an account")

    @property
    def lifelines(self) -> base.Lifelines:
        """The part that keeps a session open. Raises as `passwords`."""
        if isinstance(self.connector, base.Lifelines):
            return self.connector
        raise self._lacks("keep a session open while the instance's own login changes")

    def require_kind(self) -> None:
        """Return if the wire can change this kind of credential at all. Raises `base.Refused`."""
        if not wires.takes(self.run.instance.wire, self.method.KIND, self.run.instance.os):
            raise self._lacks(f"change {self.secret.get_kind_display().lower()}s")

    def _lacks(self, part: str) -> base.Refused:
        wire = wires.label(self.run.instance.wire)
        return base.Refused(reasons.sentence("unsupported", wire, part), code="unsupported")

    def _require_whole(self) -> None:
        """Return if the rows that say whose value goes where are as Keyturn wrote them, and agree."""
        if self.run.secret is None:
            return
        # It may have been bound to another machine since the run was read.
        self._account_read, self._may_have_others = binding.read_again(self.account, self.lease)
        management.require_whole(self.secret, self.account)
        if self.account.instance_id != self.run.instance_id:
            raise management.ChangedOutside("The instance of this run")

    @property
    def manager(self) -> base.Manager:
        if self._manager is None:
            # The key that has just sealed the new value may be the one that opens the login.
            known = next(iter(self._usable.values()), None)
            self._manager = own_login.choose(
                self.run.instance, self.connector, over=self.endpoint, known=known
            )
        return self._manager

    def work_as(self, version: SecretVersion | None) -> None:
        """Use this version of the instance's own login from now on; None: what the labels say."""
        if self.is_own_login:
            instance = self.run.instance
            self._manager = management.own_manager(instance, version, over=self.endpoint) if version else None

    @contextmanager
    def step(self, name: str, *, then: str = "", is_kept: bool = False) -> Iterator[StepNotes]:
        """One step, kept as evidence; what the block raises ends it as failed.

        One that is done starts the step that comes `then`. With `is_kept` it is written with what the caller
        writes next under the lease, before the host hears anything more.
        """
        row = leases.begin(self.lease, name)
        notes = StepNotes()
        try:
            with spans.span(f"step {name}", run_id=str(self.run.pk)):
                yield notes
        except (base.ConnectorError, management.NotAttached, keyring.KeyUnusable) as error:
            leases.finish(self.lease, row, Step.State.FAILED, notes.sentence or str(error), notes.evidence)
            raise
        is_done = notes.state == Step.State.DONE
        if is_done and is_kept:
            leases.keep(self.lease, row, notes.state, notes.sentence, notes.evidence)
            return
        leases.finish(
            self.lease,
            row,
            notes.state,
            notes.sentence,
            notes.evidence,
            then=then if is_done else "",
            is_soon=not self.is_own_login,  # of which the step says which value comes first
        )

    def value(self, version: SecretVersion) -> versions.Value:
        """Open `version` to send it over this work's connection, once for all its steps.

        Where it may go is asked each time. Once the host has heard a value, it can be tested even if its key
        is disabled meanwhile. Raises as `binding.value`.
        """
        held = self._values.get(version.pk)
        if held is None:
            held = self._values[version.pk] = binding.value(
                version, over=self.endpoint, lease=self.lease, by=self._usable.pop(version.pk, None)
            )
        else:
            binding.require(version, over=self.endpoint, lease=self.lease)
        return held

    def opens(self, version: SecretVersion, by: KeyVersion) -> None:
        """Remember for the next step that `by` was just seen to open `version`."""
        self._usable = {version.pk: by}

    def opener(self, version: SecretVersion) -> KeyVersion | None:
        """What was seen to open `version` and has opened nothing since, or None."""
        return self._usable.get(version.pk)

    def may_have_others(self, facts: base.Facts) -> bool:
        """Whether another secret may manage the account on this machine; False if that is known."""
        # The rows were read before the host was: what it calls itself may be new.
        return self._may_have_others or facts.machine_id[:64] != self.account.instance.machine_id

    # ---------------------------------------------------------------- what the host accepts

    def look(self) -> base.Facts:
        """Ask the host for its facts about the account; reads only."""
        current = self.labelled(Label.Role.CURRENT)
        return self.connector.preflight(
            self.manager,
            self.account.username,
            timeout=PREFLIGHT,
            console_id=self.console_id,
            kind=self.method.KIND,
            allowed=self.run.overrides,
            public_key=current.public_key if current else "",
        )

    def probe(self, version: SecretVersion) -> base.Proof:
        """Ask the host's own check whether it accepts `version`; counts as no login."""
        return self.method.probe(self, version)

    def ask(self, version: SecretVersion) -> base.Proof:
        """As `probe`, but where the check can say nothing of a value that is in doubt, a login decides."""
        return self.method.ask(self, version)

    def truth(self, version: SecretVersion) -> str:
        """Say which value works, by checks that count as no login."""
        current = self.labelled(Label.Role.CURRENT)
        try:
            # Of two keys both may work; what counts is that the current one still does.
            if current and current.pk == version.pk:  # set again: there is no other
                works = self.probe(current).verdict
                return {
                    base.Verdict.ACCEPTED: self._truth_of_accepted(current),
                    base.Verdict.REJECTED: Run.Truth.NEITHER,
                }.get(works, Run.Truth.UNKNOWN)
            if current and not self.method.REPLACES and self.probe(current).verdict == base.Verdict.ACCEPTED:
                return self._truth_of_accepted(current)
            new = self.probe(version).verdict
            if new == base.Verdict.ACCEPTED:
                return Run.Truth.NEW
            if current is None:
                return Run.Truth.UNKNOWN
            answer = self.probe(current).verdict
        except (base.ConnectorError, management.NotAttached, keyring.KeyUnusable):
            return Run.Truth.UNKNOWN
        if answer == base.Verdict.ACCEPTED:
            return Run.Truth.OLD
        # What could not be asked of either is no refusal.
        is_neither = new == answer == base.Verdict.REJECTED
        return Run.Truth.NEITHER if is_neither else Run.Truth.UNKNOWN

    def _truth_of_accepted(self, current: SecretVersion) -> str:
        """What is known of a value that the check accepts: a key may stand in its file and open nothing."""
        is_known = self.method.REPLACES or current.is_proven
        return Run.Truth.OLD if is_known else Run.Truth.UNKNOWN

    # ---------------------------------------------------------------- how a run ends without success

    def settle(self, error: base.ConnectorError | management.NotAttached) -> NoReturn:
        """Turn what is known of the host into a wait or an end; nothing on it has changed."""
        sentence = str(error)
        if error.code == base.LoginRefused.code:
            sentence = f"{sentence} {self._how_to_get_in()}"
        credential = Credential.UNREACHABLE if reasons.is_away(error.code) else Credential.BLOCKED
        if reasons.waits(error.code) and self.run.attempts:
            credential = Credential.UNVERIFIED  # the host was told a value, and has not been asked since
        if reasons.waits(error.code):
            self.put_off(error.code, sentence, credential)
        self.block(error.code, sentence)

    def _how_to_get_in(self) -> str:
        """What a user does if the host refuses Keyturn's login, which may follow a restored snapshot."""
        instance = self.run.instance
        if instance.own_login is not None:
            return (
                f"It logs in with the secret {instance.own_login.name}. Log in on the instance by other "
                f"means "
                "and set that secret's current value there, or attach a management credential to the "
                "instance. Then retry."
            )
        name = instance.credential.name if instance.credential else ""
        return (
            "Log in on the instance by other means and run the command on the page of the management "
            f"credential {name} there, or attach another credential. Then test the connection and retry."
        )

    def put_off(
        self, code: str, sentence: str, credential: str, *, least: timedelta = timedelta(0)
    ) -> NoReturn:
        """Give the lease back until later; after the last wait, end the run as failed."""
        if self.run.waits >= len(BACK_OFF):
            self.end(Run.Outcome.FAILED, code, sentence, credential, truth=self._truth_at_the_end())
        with transaction.atomic():
            # A network that comes back meets its hosts' runs one after the other.
            delay = max(BACK_OFF[self.run.waits] * _random.uniform(0.8, 1.2), least)
            leases.wait(self.lease, delay, code=code, sentence=sentence)
            self.note(credential, sentence, code)
        raise Stop

    def _truth_at_the_end(self) -> str:
        if self.run.secret is None or self.run.kind not in CHANGES:
            return ""
        version, current = self.run.version, self.labelled(Label.Role.CURRENT)
        if version and version.offered_at:
            return self.truth(version)
        # No host heard of a new value: what was proven to work before still does.
        return Run.Truth.OLD if current and current.is_proven else ""

    def doubt(self, proof: base.Proof, sentence: str) -> NoReturn:
        """End or put off the run over an unclear answer; either way the pending value is kept."""
        if reasons.stops(proof.code):
            self.block(proof.code, f"{sentence}: {proof.reason}")
        sentence = f"{sentence}: {proof.reason}"
        if proof.code == "refused_login":
            self.put_off(proof.code, sentence, Credential.UNVERIFIED, least=settings.FAILED_LOGINS_APART)
        self.put_off("unverified", sentence, Credential.UNVERIFIED)

    def block(self, code: str, sentence: str) -> NoReturn:
        """End the run: a person must act first. What a host may have heard stays pending."""
        version, truth = self.run.version, ""
        if self.run.attempts and version is not None and version.offered_at:
            if reasons.is_said_by_root(code):
                truth = self.truth(version)
            if truth == Run.Truth.NEW:
                self._arrive(version, sentence)
            is_old = truth == Run.Truth.OLD
            known = (
                "The current value still works; the new one is kept as pending."
                if is_old
                else "The instance may have the new value; it is kept as pending."
            )
            sentence, truth = f"{sentence} {known}", truth if is_old else ""
        self.end(Run.Outcome.BLOCKED, code, sentence, Credential.BLOCKED, truth=truth)

    def fail(self, version: SecretVersion, code: str, sentence: str, *, truth: str = "") -> NoReturn:
        """End the run and say which value works, asking the host where `truth` is not given."""
        truth = truth or self.truth(version)
        credential = Credential.OUT_OF_SYNC if truth == Run.Truth.NEITHER else Credential.UNVERIFIED
        if truth == Run.Truth.OLD:
            credential = Credential.IN_SYNC
        elif not self.secret.labels.exists():
            credential = Credential.NO_VALUE
        self.end(Run.Outcome.FAILED, code, sentence, credential, truth=truth)

    def end(self, outcome: str, code: str, sentence: str, credential: str, *, truth: str = "") -> NoReturn:
        """Write the end of a run that did not succeed, in one transaction."""
        if truth == Run.Truth.NEW and self.run.version is not None:
            self._arrive(self.run.version, sentence)
        self.close(outcome, code, sentence, credential, truth=truth)
        raise Stop

    def _arrive(self, version: SecretVersion, sentence: str) -> None:
        """Raise `Arrived` for a value that the host accepts in place of the current one.

        Of two keys both may work, and one that stands in its file may open nothing; a password has no other.
        """
        pending = self.labelled(Label.Role.PENDING)
        if self.run.kind == Run.Kind.ROTATE and self.method.REPLACES and pending == version:
            raise Arrived(version, sentence)

    def close(self, outcome: str, code: str, sentence: str, credential: str, *, truth: str = "") -> None:
        """As `end`, for a caller that has more to write in its transaction."""
        with transaction.atomic():
            self.note(credential, sentence, code)
            if self.run.kind == Run.Kind.ROTATE and self.run.trigger == Run.Trigger.SCHEDULE:
                schedules.failed(self.secret)
            leases.end(self.lease, outcome, truth=truth, code=code, sentence=sentence)

    def note(self, credential: str, sentence: str, code: str) -> None:
        if self.run.secret is not None and credential:
            credential_state.note(self.account, credential, sentence, code)
