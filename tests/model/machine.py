"""What may happen to a secret, as rules that are put in every order that a search can think of.

Requests, workers that die or stand still anywhere, two of them at once, hosts that break, lie and are
restored from a snapshot: after each rule, and at every change of the host in between, `World` looks at
what is true.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rotation import cancelling, retrying, runs
from rotation.managed import deletion
from rotation.models import Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Principal, Secret
from tests.model.workers import MOST_QUERIES, PLACES, Plan
from tests.model.world import FAULTS, PROBLEMS, Reader, World

MOST_TURNS = 12  # in which a run ends once nothing is broken any more
REFUSALS = ("policy", "disk", "sudo", "timeout", "sudo_log")
CUSTOM = ("custom-value-one", "the-first-password-1")
PAIRS = tuple(key_pairs.generate("ed25519") for _ in range(2))

WISHES = (
    "rotate", "rotate", "rotate", "leaked", "custom1", "custom2", "previous", "verify", "cancel", "delete",
    "retry", "reconcile", "drift", "drift",
)  # fmt: skip
CHANGES = (
    *(("fault", fault) for fault in FAULTS),
    *(("refuses", code) for code in ("", *REFUSALS)),
    *(("problem", problem) for problem in ("", *PROBLEMS)),
    *[("mended", "")] * 6,
    *[("snapshot", "")] * 3,
)

plans = st.one_of(
    st.just(Plan()),
    st.just(Plan()),
    st.builds(Plan, place=st.sampled_from(PLACES), dies=st.booleans()),
    st.builds(Plan, at_query=st.integers(1, MOST_QUERIES)),
    st.just(Plan(is_late=True)),
)
# Generated once for each draw, as a worker uses its plan up.
plans = plans.map(copy.copy)


class RotationMachine(RuleBasedStateMachine):
    """One secret and its host; a subclass says which one."""

    secret: ClassVar[Secret]
    actor: ClassVar[Principal]
    reader: ClassVar[Reader]
    first: ClassVar[str]  # the value that it was created with: a password, or a public key

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(is_known=st.sampled_from([True, True, True, False]), one_more=st.integers(0, 2))
    def begin(self, is_known: bool, one_more: int) -> None:
        self.is_followed_by_one_more = not one_more
        self.world = World(self.secret, self.actor, self.first, self.reader, is_known=is_known)

    # ---------------------------------------------------------------- requests

    @rule(wish=st.sampled_from(WISHES))
    def somebody_asks(self, wish: str) -> None:
        self._ask(wish)

    @rule(wish=st.sampled_from(WISHES), plan=plans)
    def somebody_asks_and_a_worker_takes_it_up(self, wish: str, plan: Plan) -> None:
        self._ask(wish)
        if run := self.world.active():
            self.world.reader.let_time_pass()
            self.world.advance(run, plan)

    def _ask(self, wish: str) -> None:
        secret, actor, is_key_pair = self.world.secret, self.actor, self.world.is_key_pair
        with contextlib.suppress(runs.NotRotatable, runs.InProgress, cancelling.TooLate):
            if wish in {"rotate", "leaked"}:
                runs.start(secret, actor=actor, is_leak=wish == "leaked")
            elif wish.startswith("custom"):
                pair, text = PAIRS[int(wish[-1]) - 1], CUSTOM[int(wish[-1]) - 1]
                value = pair.private_key if is_key_pair else Plaintext(text)
                given = {"overrides_policy": True, "reason": "typed"}  # of two ways to type one, the wider
                runs.start(secret, actor=actor, value=value, **given)
            elif wish == "previous":
                if version := secret.labelled("previous"):
                    runs.start(secret, actor=actor, from_version=version)
            elif wish in {"verify", "reconcile", "drift"}:
                getattr(runs, wish)(secret, actor=actor)
            elif wish == "retry":
                if run := secret.runs.order_by("-created_at").first():
                    retrying.retry(run, actor=actor)
            elif wish == "cancel":
                if run := self.world.active():
                    cancelling.cancel(Run.objects.get(pk=run.pk), actor=actor)
            elif wish == "delete":
                kept = Secret.objects.get(pk=secret.pk)
                if kept.is_enabled:
                    deletion.plan_deletion(kept, actor=actor)
                else:
                    deletion.restore(kept, actor=actor)

    # ---------------------------------------------------------------- workers

    @precondition(lambda self: self.world.active())
    @rule(plan=plans, has_time_passed=st.sampled_from([True, True, False]))
    def take_up(self, plan: Plan, has_time_passed: bool) -> None:
        if has_time_passed:
            self.world.reader.let_time_pass()
        self.world.advance(self.world.active(), plan)

    @precondition(lambda self: self.world.active())
    @rule(plan=plans)
    def take_up_again(self, plan: Plan) -> None:
        self.world.reader.let_time_pass()
        self.world.advance(self.world.active(), plan)

    @precondition(lambda self: self.world.workers)
    @rule(which=st.integers(0, 9), plan=plans)
    def a_worker_that_stood_still_goes_on(self, which: int, plan: Plan) -> None:
        worker = self.world.workers[which % len(self.world.workers)]
        worker.plan = plan
        self.world.resume(worker)

    @precondition(lambda self: self.world.late)
    @rule(which=st.integers(0, 9))
    def a_change_that_was_sent_is_applied_late(self, which: int) -> None:
        self.world.apply_late(which % len(self.world.late))

    # ---------------------------------------------------------------- the host

    @rule(change=st.sampled_from(CHANGES))
    def something_happens_to_the_host(self, change: tuple[str, str]) -> None:
        what, which = change
        host = self.world.host
        if what == "fault":
            setattr(host, which, not getattr(host, which))
        elif what == "refuses":
            host.refuses = which
        elif what == "problem":
            host.accounts["svc"].problem = which
        elif what == "mended":
            self._mend()
        else:
            self.world.take_snapshot()

    @precondition(lambda self: self.world.snapshots)
    @rule(which=st.integers(0, 9))
    def the_host_is_restored_from_a_snapshot(self, which: int) -> None:
        self.world.restore_snapshot(which % len(self.world.snapshots))

    # ---------------------------------------------------------------- what is always true

    @invariant()
    def everything_that_is_claimed_is_true(self) -> None:
        if self.world:
            self.world.is_recoverable()
            self.world.is_consistent()

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            # Not after a rule that failed: what is said about that is what counts.
            if sys.exc_info()[0] is None:
                self._everything_ends()
        finally:
            self.world.close()

    def _mend(self) -> None:
        host = self.world.host
        for fault in FAULTS:
            setattr(host, fault, False)
        host.refuses = host.accounts["svc"].problem = ""
        host.kept_keys.clear()

    def _everything_ends(self) -> None:
        """I9: once nothing is broken, every run ends, and one more rotation puts everything right."""
        self._mend()
        for worker in self.world.workers:
            worker.end()
        self.world.late.clear()
        secret = Secret.objects.get(pk=self.world.secret.pk)
        if not secret.is_enabled:
            deletion.restore(secret, actor=self.actor)
        self._drain()
        self.world.says_no_value()
        if not self.is_followed_by_one_more:
            return
        run = runs.start(self.world.secret, actor=self.actor)
        self._drain()
        run.refresh_from_db()
        assert run.outcome == Run.Outcome.SUCCEEDED, f"{run.outcome}: {run.code}: {run.sentence}"
        self.everything_that_is_claimed_is_true()
        assert self.world.accepts_label("current")
        assert self.world.secret.labelled("pending") is None

    def _drain(self) -> None:
        for _ in range(MOST_TURNS):
            if not (run := self.world.active()):
                return
            self.world.reader.let_time_pass()
            self.world.advance(run, Plan())
        if row := self.world.active():
            run = Run.objects.get(pk=row.pk)
            raise AssertionError(f"a run does not end: {run.state} {run.code} {run.tries} {run.sentence}")
