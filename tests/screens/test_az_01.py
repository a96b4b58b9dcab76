"""AZ-01, P-12 and what of WEB-01 is true of every answer: every route, for everybody, on everything.

The expectation is the table in `az_table`; what follows from it is worked out here in a few lines, and not
by what is tested. One walk serves all tests.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from django.test import override_settings
from django.urls import get_resolver, reverse

from secrets_app import keyring
from tests import sessions
from tests.provider_fixtures import configuration
from tests.screens import az_world
from tests.screens.az_table import FULL_ACCESS, LED_ON, PERSONS, ROUTES, STRANGERS, Route

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("matrix")]

WAYS: dict[str, dict[str, str]] = {"page": {}, "htmx": az_world.HTMX}
#: On every page, and never the same twice.
PASSING = re.compile(rb'(?<=csrfmiddlewaretoken" value=")\w+|(?<="X-CSRFToken": ")\w+|(?<=data-seconds=")\d+')
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
#: By a page, all methods; everybody else by htmx, which costs less, what the route takes.
BY_EVERY_METHOD = ("anonymous", "dot")
ASK_FOR_NOTHING = ("ann", "sue", "dot")


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
def walk(django_db_setup: None, django_db_blocker, tmp_path_factory) -> dict[Case, Answer]:
    """Every case and its answer, of one site."""
    nobody = configuration("http://127.0.0.1:9", tmp_path_factory.mktemp("provider") / "client.secret")
    with (
        django_db_blocker.unblock(),
        az_world.undone(),
        _no_collector(),
        override_settings(OIDC=nobody, REVEAL_REASON="optional", **sessions.AS_LONG_AS_IT_TAKES),
    ):
        keyring.ensure_root_key()
        world = az_world.build(PERSONS)
        return {case: send(world, case) for case in cases()}


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """A tenth of the time would go into looking for garbage among what is kept."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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
            for person in PERSONS if is_taken and method in {"GET", "POST"} else BY_EVERY_METHOD:
                yield Case(name, person, "own", method, "page" if person in BY_EVERY_METHOD else "htmx")
            if is_taken and method in {"GET", "POST"}:
                yield from _more(Case(name, "", "", method, "htmx"), pattern)


def _more(case: Case, pattern: str) -> Iterator[Case]:
    """Both ways of asking; then what is not theirs, what is not there, and what is there only in part."""
    for person, way in (("anonymous", "htmx"), ("ann", "page"), ("dot", "htmx")):
        if (person, case.method) != ("dot", "GET"):
            yield replace(case, person=person, which="own", way=way)
    route = ROUTES[case.name]
    if case.method == "POST" or route.asks_again:
        for way in WAYS if route.asks_again else ("htmx",):
            yield replace(case, person="dot", which="own", way=way, is_stale=True)
    if not route.of:
        return
    for person in PERSONS:
        # Those who may do it everywhere look at what is foreign as at their own.
        if person not in STRANGERS and (case.method, person) not in {("GET", "aud"), ("GET", "dot")}:
            yield replace(case, person=person, which="foreign")
    is_regional, is_one = "<slug:region>" in pattern, route.of != "region"
    others = {
        "missing": ASK_FOR_NOTHING,
        "all": ("ann", "sue") if is_regional else (),
        "misplaced": ("sue", "dot") if is_regional and is_one else (),
        "part": ("sue", "dot") if pattern.count("<") - is_regional > 1 else (),
    }
    for which, persons in others.items():
        for person in persons:
            yield replace(case, person=person, which=which)
    for which in ("foreign", "missing"):
        yield replace(case, person="ann", which=which, way="page")


def send(world: az_world.World, case: Case) -> Answer:
    args = world.args(ROUTES[case.name].of, case.which, case.person)
    url = reverse(case.name, kwargs=args)
    given = world.bodies.get(("foreign " if case.which == "foreign" else "") + case.name, {})
    if case.name == "secret_revoke":
        url += f"?of={given['of']}"
    cookie = (world.stale if case.is_stale else world.cookies).get(case.person, "")
    answer = az_world.ask(url, case.method, cookie=cookie, given=given, **WAYS[case.way])
    body = PASSING.sub(b"NEW", answer.content) if answer.status_code == 404 else b""
    for value in args.values():
        body = body.replace(str(value).encode(), b"ID") if isinstance(value, UUID) else body
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
    if case.is_stale and route.asks_again in (True, case.method):
        return 302 if case.way == "page" else 401
    if case.which == "all" and (case.name, case.person, case.method) in LED_ON:
        return 302
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
    assert len(walk) > 4000  # the walk is as wide as it says
    assert {case.name for case in walk} == set(ROUTES)


def test_az_01_what_asks_again_leads_to_confirming_and_back(walk):
    for case, answer in walk.items():
        if case.is_stale and ROUTES[case.name].asks_again in (True, case.method):
            told = answer.headers.get("HX-Trigger", "") + answer.headers.get("Location", "")
            assert "confirmFirst" in told or told.startswith("/confirm/?next="), case


# ---------------------------------------------------------------- P-12


def test_p_12_what_one_may_not_see_and_what_is_not_there_get_the_same_answer(walk):
    told, compared = [], set()
    for case, foreign in walk.items():
        missing = walk.get(replace(case, which="missing"))
        if case.which != "foreign" or missing is None or expected(case) != 404:
            continue
        compared.add(case.name)
        if without_its_id(foreign) != without_its_id(missing):
            told.append(str(case))
    assert not told, "\n".join(told)
    hides = {name for name, route in ROUTES.items() if "sees" in route.gates and route.of != "region"}
    assert compared >= hides


def without_its_id(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """The number of a request and the clock of the session are nobody's secret, and never the same twice."""
    passing = {"X-Request-ID", "X-Session-Seconds"}
    headers = {name: value for name, value in answer.headers.items() if name not in passing}
    return answer.status, headers, answer.body


# ---------------------------------------------------------------- WEB-01

ON_EVERY_ANSWER = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), "
    "serial=(), usb=()",
}


def test_web_01_every_answer_of_every_route_carries_the_headers_and_is_not_kept(walk):
    wrong = []
    for case, answer in walk.items():
        lacking = {name for name, value in ON_EVERY_ANSWER.items() if answer.headers.get(name) != value}
        if "no-store" not in answer.headers.get("Cache-Control", ""):
            lacking.add("Cache-Control")
        wrong += [f"{case}: {name}" for name in sorted(lacking)]
    assert not wrong, "\n".join(wrong[:50])
    assert {answer.status for answer in walk.values()} >= {200, 204, 302, 401, 403, 404, 405, 409, 410, 422}


def test_web_01_only_signing_out_clears_what_the_browser_keeps(walk):
    clears = {
        (case.name, case.method, case.person in STRANGERS)
        for case, answer in walk.items()
        if "Clear-Site-Data" in answer.headers
    }
    assert clears == {("account_logout", "POST", False)}
