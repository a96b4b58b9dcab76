"""AZ-01, P-12 and what of WEB-01 is true of every answer: every route, for everybody, on everything.

The expectation is the table in `az_table`; what follows from it is worked out here in a few lines, and not
by what is tested. One walk serves all tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.urls import get_resolver, reverse

from secrets_app import keyring
from tests.screens import az_world
from tests.screens.az_table import FULL_ACCESS, PERSONS, ROUTES, STRANGERS, Route

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("matrix")]

WAYS: dict[str, dict[str, str]] = {"page": {}, "htmx": az_world.HTMX}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
ON_PAGES_TOO = ("anonymous", "disabled", "ann", "cal", "dot")
BY_EVERY_METHOD = ("anonymous", "dot")
#: Who asks for what is not there, beside what they may not see.
ASKS_FOR_NOTHING = ("ann", "gil", "sue", "dot")


@dataclass(frozen=True)
class Case:
    name: str
    person: str
    which: str
    method: str
    way: str
    is_stale: bool = False

    def __str__(self) -> str:
        words = [self.name, "as", self.person, "on", self.which, "by", self.method, self.way]
        return " ".join([*words, *(["long after signing in"] if self.is_stale else [])])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def walk(django_db_setup: None, django_db_blocker) -> dict[Case, Answer]:
    """Every case and its answer, of one site."""
    with django_db_blocker.unblock(), az_world.undone():
        keyring.ensure_root_key()
        world = az_world.build(PERSONS)
        return {case: send(world, case) for case in cases()}


# ---------------------------------------------------------------- what is asked


def routes() -> dict[str, str]:
    """Name and pattern of every route; one without a name of its own goes by its pattern."""
    found = get_resolver().url_patterns
    return {str(getattr(one, "name", None) or one.pattern): str(one.pattern) for one in found}


def cases() -> Iterator[Case]:
    for name, pattern in routes().items():
        route = ROUTES.get(name)
        if route is None:
            continue  # the test of the table names it
        for method in METHODS:
            is_taken = method in route.answers.replace(",", " ").split()
            for person in PERSONS:
                if person in BY_EVERY_METHOD or (is_taken and method in {"GET", "POST"}):
                    yield from _of(name, pattern, person, method)
        for method in ("GET", "POST"):
            for way in WAYS:
                yield Case(name, "dot", "own", method, way, is_stale=True)


def _of(name: str, pattern: str, person: str, method: str) -> Iterator[Case]:
    yield Case(name, person, "own", method, "htmx")
    if person in ON_PAGES_TOO:
        yield Case(name, person, "own", method, "page")
    if person in STRANGERS or method not in {"GET", "POST"}:
        return
    of = ROUTES[name].of
    if of:
        yield Case(name, person, "foreign", method, "htmx")
    if of and person in ASKS_FOR_NOTHING:
        is_regional, is_one = "<slug:region>" in pattern, of != "region"
        others = {
            "missing": True,
            "all": is_regional,
            "misplaced": is_regional and is_one,
            "part": pattern.count("<") - is_regional > 1,
        }
        yield from (Case(name, person, which, method, "htmx") for which, asked in others.items() if asked)
        if person == "ann":
            yield Case(name, person, "foreign", method, "page")
            yield Case(name, person, "missing", method, "page")


def send(world: az_world.World, case: Case) -> Answer:
    args = world.args(ROUTES[case.name].of, case.which, case.person)
    url = reverse(case.name, kwargs=args)
    given = world.bodies.get(("foreign " if case.which == "foreign" else "") + case.name, {})
    if case.name == "secret_revoke":
        url += f"?of={given['of']}"
    cookie = (world.stale if case.is_stale else world.cookies).get(case.person, "")
    answer = az_world.ask(url, case.method, cookie=cookie, given=given, **WAYS[case.way])
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    for value in args.values():
        body = body.replace(str(value).encode(), b"ID")
    return Answer(answer.status_code, dict(answer.headers), body)


# ---------------------------------------------------------------- what follows from the table


def expected(case: Case) -> int:
    route = ROUTES[case.name]
    if case.person in STRANGERS and not route.strangers:
        return 302 if case.way == "page" else 401
    is_stranger = case.person in STRANGERS
    answer = listed(route.strangers if is_stranger else route.answers, case.method, case.way)
    if answer == 405:
        return 405
    if case.is_stale and route.asks_again:
        return 302 if case.way == "page" else 401
    return next(closed(route, case.person, case.which), answer)


def listed(answers: str, method: str, way: str) -> int:
    for part in answers.split(","):
        *methods, status = part.split()
        if method in methods:
            page, _, htmx = status.partition("/")
            return int(htmx if way == "htmx" and htmx else page)
    return 405


def closed(route: Route, person: str, which: str) -> Iterator[int]:
    """The status of each gate that does not let this person through, in their order."""
    is_there = which not in {"missing", "misplaced"}
    for gate in route.opened_by:
        word, _, action = gate.rpartition(" ")
        if word == "anywhere":
            is_open, status = holds(person, action, "own"), 403
        elif word == "sees":
            is_open, status = is_there and holds(person, action, which), 404
        elif word == "here" or action.startswith("kms:"):
            is_open, status = holds(person, action, which), 403
        elif gate == "full":
            is_open, status = person in FULL_ACCESS, 403
        elif gate == "exists" and route.of == "link":
            is_open, status = is_there, 410
        else:
            refused = {"region": {"missing"}, "exists": {"missing"}, "part": {"part"}}
            is_open, status = which not in refused.get(gate, {"foreign", "missing"}), 404
        if not is_open:
            yield status


def holds(person: str, action: str, which: str) -> bool:
    for scope, actions in PERSONS[person].items():
        if (action in actions or "kms:*" in actions) and (
            scope == "everywhere" or which in {"own", "part", "all"}
        ):
            return True
    return False


# ---------------------------------------------------------------- AZ-01


def test_az_01_every_route_is_declared_and_nothing_else_is():
    found = routes()
    assert len(found) == len(get_resolver().url_patterns), "two routes have one name"
    assert dict.fromkeys(found.keys() - ROUTES.keys(), "not declared in az_table.ROUTES") == {}
    assert dict.fromkeys(ROUTES.keys() - found.keys(), "no such route") == {}


def test_az_01_everybody_gets_what_the_table_says_and_nothing_else(walk):
    wrong = [
        f"{case}: {answer.status} and not {expected(case)}"
        for case, answer in walk.items()
        if answer.status != expected(case)
    ]
    assert not wrong, "\n".join(wrong)
    assert len(walk) > 4000
    assert {case.name for case in walk} == set(ROUTES)


def test_az_01_what_asks_again_leads_to_confirming_and_back(walk):
    for case, answer in walk.items():
        if case.is_stale and ROUTES[case.name].asks_again and answer.status in {302, 401}:
            told = answer.headers.get("HX-Trigger", "") + answer.headers.get("Location", "")
            assert "confirmFirst" in told or told.startswith("/confirm/?next="), case
