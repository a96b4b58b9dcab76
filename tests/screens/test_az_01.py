"""AZ-01 and P-12: every route, for everybody, on what is theirs, what is not, and what is not there.

The expectation is the table in `az_table`; what follows from it is worked out here in a few lines, and not
by what is tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.urls import get_resolver, reverse

from tests.screens import az_table, az_world
from tests.screens.az_table import FULL_ACCESS, PERSONS, ROUTES, STRANGERS, Route

pytestmark = pytest.mark.django_db

WAYS: dict[str, dict[str, str]] = {"page": {}, "htmx": az_world.HTMX}
OTHER_METHODS = ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
REGIONAL = re.compile(r"<slug:region>")


@pytest.fixture
def world() -> az_world.World:
    return az_world.build(PERSONS)


# ---------------------------------------------------------------- what follows from the table


def expected(route: Route, person: str, which: str, method: str, way: str) -> int:
    if person in STRANGERS and not route.strangers:
        return 302 if way == "page" else 401
    answer = listed(route.strangers if person in STRANGERS else route.answers, method, way)
    if answer == 405:
        return 405
    return next((gate for gate in closed(route, person, which)), answer)


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
        if gate == "region" and which == "missing":
            yield 404
        elif gate == "exists" and not is_there:
            yield 410 if route.of == "link" else 404
        elif gate == "mine" and which != "own":
            yield 404
        elif gate == "part" and which == "part":
            yield 404
        elif gate == "full" and person not in FULL_ACCESS:
            yield 403
        elif word == "sees" and not (is_there and holds(person, action, which)):
            yield 404
        elif word == "anywhere" and not holds(person, action, "anywhere"):
            yield 403
        elif action.startswith("kms:") and word in {"", "here"} and not holds(person, action, which):
            yield 403


def holds(person: str, action: str, which: str) -> bool:
    for scope, actions in PERSONS[person].items():
        if action not in actions and "kms:*" not in actions:
            continue
        if scope == "everywhere" or which in {"own", "part", "all", "anywhere"}:
            return True
    return False


def variants(route: Route, pattern: str) -> list[str]:
    if not route.of:
        return ["own"]
    if route.of == "region":
        return ["own", "foreign", "missing", "all"]
    found = ["own", "foreign", "missing"]
    found += ["misplaced"] if REGIONAL.search(pattern) else []
    return found + (["part"] if pattern.count("<") - bool(REGIONAL.search(pattern)) > 1 else [])


def routes() -> dict[str, str]:
    """Name and pattern of every route; one without a name of its own goes by its pattern."""
    found = get_resolver().url_patterns
    return {str(getattr(one, "name", None) or one.pattern): str(one.pattern) for one in found}


def path(world: az_world.World, name: str, which: str, person: str) -> str:
    url = reverse(name, kwargs=world.args(ROUTES[name].of, which, person))
    return url + (f"?of={world.bodies[name]['of']}" if name == "secret_revoke" else "")


def send(world: az_world.World, name: str, which: str, person: str, method: str, way: str, **kept: bool):
    cookies = world.stale if kept.get("stale") else world.cookies
    given = world.bodies.get("foreign " + name if which == "foreign" else name)
    return az_world.ask(
        path(world, name, which, person), method, cookie=cookies.get(person, ""), given=given, **WAYS[way]
    )


# ---------------------------------------------------------------- AZ-01


def test_az_01_every_route_is_declared_and_nothing_else_is():
    found = routes()
    assert len(found) == len(get_resolver().url_patterns), "two routes have one name"
    assert {name: "not declared in az_table.ROUTES" for name in found.keys() - ROUTES.keys()} == {}
    assert {name: "no such route" for name in ROUTES.keys() - found.keys()} == {}


def test_az_01_everybody_gets_what_the_table_says_and_nothing_else(world):
    wrong, count = [], 0
    for name, pattern in routes().items():
        route = ROUTES.get(name)
        if route is None:
            continue  # named by the test above
        for case in cases(route, pattern):
            person, which, method, way = case
            answer = send(world, name, which, person, method, way)
            wanted = expected(route, person, which, method, way)
            count += 1
            if answer.status_code != wanted:
                wrong.append(f"{name} {' '.join(case)}: {answer.status_code} and not {wanted}")
    assert wrong == []
    assert count > 5000


def cases(route: Route, pattern: str) -> Iterator[tuple[str, str, str, str]]:
    """htmx for all; pages, which cost more, on what is theirs; other methods for three of them."""
    for person in PERSONS:
        for method in ("GET", "POST"):
            for which in variants(route, pattern):
                yield person, which, method, "htmx"
                if which == "own":
                    yield person, which, method, "page"
    for person in ("anonymous", "ann", "dot"):
        for method in OTHER_METHODS:
            yield person, "own", method, "page"
