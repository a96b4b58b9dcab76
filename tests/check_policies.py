"""The engine of rights against a second, slower one, on random requests: `./keyturn check-policies`.

A case is one decision. Making a policy costs far more than deciding by it, so each random policy, with some
grants and a policy of the secret beside it, is asked, in one random context, about every action on every
secret. Says the seed, so that a run can be repeated, and how far it is. Where the two disagree it prints the
smallest disagreement that was found, and ends with 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import secrets
import sys
import time
import uuid
from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from secrets_app.policy import ram_conditions, ram_documents, ram_statements, resource_documents
from tests.unit import policy_strategies as some
from tests.unit import ram_reference as reference

QUESTIONS = list(itertools.product(some.ACTIONS, some.SECRETS))  # that each policy is asked
BATCH = 500 * len(QUESTIONS)  # cases that one seed makes; what hypothesis remembers of more slows it down

PEOPLE = {"ann": uuid.UUID(int=1), "bea": uuid.UUID(int=2)}  # ann asks

contexts = st.builds(
    lambda *parts: dict(ChainMap(*parts)), some.request_contexts, some.tag_contexts, some.os_contexts
)


@dataclass(frozen=True)
class Case:
    """One question, and what the two answered."""

    document: str
    action: str
    resource: str
    context: dict[str, str]
    engine: bool
    reference: bool

    def __str__(self) -> str:
        words = {True: "allows", False: "denies"}
        return (
            f"{self.document}\n{self.action} on {self.resource}\n"
            f"in a request with {json.dumps(self.context)}\n"
            f"The engine {words[self.engine]}, the reference {words[self.reference]}."
        )


def granted(grants: list[dict[str, Any]]) -> tuple[ram_statements.Statement, ...]:
    """Grants as they are kept, and read again."""
    return tuple(
        ram_statements.Statement(
            ram_statements.Effect.ALLOW, (grant["Action"],), ("*",), ram_conditions.conditions(_kept(grant))
        )
        for grant in grants
    )


def of_secret(found: list[dict[str, Any]]) -> tuple[ram_statements.Statement, ...]:
    """What a policy of the secret says to the user who asks, as it is kept and read again."""
    if not found:
        return ()
    text = some.document(found)
    accounts = {f"{some.ACCOUNT:0>12}", f"{some.ACCOUNT:0>16}"}
    named = resource_documents.read(text, resources=["x"], accounts=accounts, find=PEOPLE.get)
    return resource_documents.about(resource_documents.stored(text, named), PEOPLE["ann"])


def _kept(grant: dict[str, Any]) -> str:
    return ram_conditions.written(
        ram_conditions.Condition(operator, key, tuple(reference.listed(values)))
        for operator, keys in grant.get("Condition", {}).items()
        for key, values in keys.items()
    )


def check(number: int, count: int) -> Case | None:
    """Try `count` cases that follow from this seed, in whole policies; return the smallest that differs."""
    worst: list[Case] = []

    @seed(number)
    @settings(
        max_examples=math.ceil(count / len(QUESTIONS)),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(some.policies, some.grants, some.resource_policies, contexts)
    def agrees(found, given_too, its_own, context):
        everything = [*found, *given_too, *its_own]
        text = some.document(everything)
        statements = ram_documents.read(some.document(found), actions=some.ACTIONS) + granted(given_too)
        statements += of_secret(its_own)
        for action, resource in QUESTIONS:
            ours = ram_statements.decide(statements, action, resource, context).allowed
            theirs = reference.decide(everything, action, resource, context, some.ME)
            if ours != theirs:
                worst.append(Case(text, action, resource, context, ours, theirs))
                raise AssertionError

    try:
        agrees()
    except AssertionError:
        return worst[-1]  # the last that hypothesis tries is the smallest that it found
    return None


def _checked(batch: tuple[int, int]) -> tuple[int, Case | None]:
    return batch[1], check(*batch)


def batches(start: int, cases: int) -> Iterator[tuple[int, int]]:
    """The seed and the size of each batch."""
    for n, done in enumerate(range(0, cases, BATCH)):
        yield start + n, min(BATCH, cases - done)


def run(start: int, cases: int, jobs: int) -> Case | None:
    """Try them all, and stop soon after a disagreement; return the smallest one of those found."""
    if jobs == 1:
        return _tell(map(_checked, batches(start, cases)), cases)
    with multiprocessing.Pool(jobs) as pool:
        return _tell(pool.imap_unordered(_checked, batches(start, cases)), cases)


def _tell(results: Iterable[tuple[int, Case | None]], cases: int) -> Case | None:
    began = said = time.monotonic()
    done = 0
    for count, case in results:
        if case is not None:
            return case
        done += count
        if time.monotonic() - said > 5 or done == cases:
            said = time.monotonic()
            print(f"{done:,} of {cases:,} agree, {done / max(said - began, 0.001):,.0f} a second", flush=True)
    return None


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="keyturn check-policies", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(words)
    print(
        f"seed {options.seed}: ./keyturn check-policies --seed {options.seed} tries the same cases",
        flush=True,
    )
    cases = math.ceil(options.cases / len(QUESTIONS)) * len(QUESTIONS)
    case = run(options.seed, cases, options.jobs)
    if case is None:
        return 0
    print(f"The two disagree. The smallest case:\n{case}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
