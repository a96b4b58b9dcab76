"""A command as an interface: it acts as a user, answers in words or JSON, and ends with a code for its cause.

It decides nothing: what the user may see and do is decided where the screens ask too, and recorded with the
command as its origin. A command has no second factor and no network address, so a policy that needs one of
these does not allow it.
"""

from __future__ import annotations

import json
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand
from django.db import DatabaseError
from django.utils import timezone

from console.commands import exits
from console.commands.exits import Exit
from console.commands.given import CarefulParser
from rotation.models import Run
from secrets_app import keyring, origin
from secrets_app.errors import DomainError
from secrets_app.models import Principal, User
from secrets_app.policy import decisions, requiring

Options = Mapping[str, Any]
LOOK_EVERY_SECONDS = 0.5
WAIT_SECONDS = 120.0
#: Before the id of a command in the audit trail, where a request has its own.
SOURCE = "command-"


class MayNotAct(DomainError):
    """There is no active user of this name who may act in a command."""

    code = "acting_user_refused"


class Exists(DomainError):
    """There is one by this name already; nothing was changed."""

    code = "already_exists"

    def __init__(self, sentence: str, known_id: object) -> None:
        super().__init__(sentence)
        self.known = {"id": str(known_id)}


class Answer(dict[str, Any]):
    """What a command has to say, under names that stay; and how it ends."""

    def __init__(self, *, exit: Exit = Exit.DONE, **said: Any) -> None:
        super().__init__(**said)
        self.exit = exit


class Face(BaseCommand):
    """A command with verbs: `VERBS` names the method of each, which is given the user's principal."""

    requires_system_checks: ClassVar[list[str]] = []  # type: ignore[misc]
    VERBS: ClassVar[Mapping[str, str]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        # Django makes the parser itself, and one for each verb of the same class.
        parser.__class__ = CarefulParser
        parser.allow_abbrev = False
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for verb, says in self.VERBS.items():
            added = verbs.add_parser(verb, help=says, description=says, allow_abbrev=False)
            added.add_argument("--as", dest="acting", required=True, metavar="USER", help="the user who acts")
            added.add_argument("--json", action="store_true", help="answer with one JSON document")
            getattr(self, f"add_to_{verb}")(added)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = self._carried_out(options)
        except DomainError as error:
            self._end(
                exits.of_error(error), error.code, error.sentence, options, **getattr(error, "known", {})
            )
        except DatabaseError:
            self._end(Exit.UNAVAILABLE, "database", "Keyturn's database does not answer.", options)
        if options["json"]:
            self.stdout.write(json.dumps(answer, default=str))
        else:
            for line in lines(answer):
                self.stdout.write(line)
        if answer.exit:
            raise SystemExit(int(answer.exit))

    def _carried_out(self, options: Options) -> Answer:
        # Decided as of now, as a request is; and over no network, so neither over TLS nor without.
        with origin.bind(request_id=f"{SOURCE}{uuid.uuid4().hex}", is_mfa=False, at=timezone.now()):
            if keyring.is_sealed():
                raise keyring.Sealed
            actor = acting(options["acting"])
            carry_out: Callable[[Principal, Options], Answer] = getattr(self, options["verb"])
            try:
                return carry_out(actor, options)
            except decisions.NotAllowed as error:
                raise requiring.refused(actor, error) from None

    def _end(self, code: Exit, name: str, sentence: str, options: Options, **known: Any) -> NoReturn:
        if options["json"]:
            error = {"code": name, "sentence": sentence, "exit": int(code), **known}
            self.stdout.write(json.dumps({"error": error}, default=str))
        self.stderr.write(sentence)
        raise SystemExit(int(code))


def acting(name: str) -> Principal:
    """Return the principal of the user who acts. Raises `MayNotAct`."""
    user = User.objects.select_related("principal").filter(username=name).first()
    if user is None or not user.is_active:
        raise MayNotAct
    if user.must_change_password:
        raise MayNotAct("This user must sign in and choose a password first.")
    return user.principal


# ---------------------------------------------------------------- runs


def add_wait(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=float,
        nargs="?",
        const=WAIT_SECONDS,
        metavar="SECONDS",
        help=f"wait until the run has ended, at most this long ({WAIT_SECONDS:.0f})",
    )


def after(run: Run, options: Options, **said: Any) -> Answer:
    """Answer with a run: as it is now, or as it is when it has ended or the time is over."""
    if options["wait"] is None:
        return Answer(**said, run=shown_run(run))
    until = time.monotonic() + options["wait"]
    while True:
        run.refresh_from_db()
        if run.state == Run.State.ENDED or time.monotonic() >= until:
            return Answer(exit=exits.of_run(run), **said, run=shown_run(run))
        time.sleep(LOOK_EVERY_SECONDS)


def shown_run(run: Run) -> dict[str, Any]:
    names = ("kind", "state", "outcome", "truth", "code", "sentence")
    return {"id": str(run.pk), **{name: getattr(run, name) for name in names}}


# ---------------------------------------------------------------- words


def lines(said: Mapping[str, Any], under: str = "") -> list[str]:
    """Return an answer as lines of a name and what it is; a list has an empty line between its rows."""
    told = []
    for name, what in said.items():
        if isinstance(what, Mapping):
            told += lines(what, f"{under}{name} ")
        elif isinstance(what, list) and what and isinstance(what[0], Mapping):
            for row in what:
                told += [*lines(row, under), ""]
        elif what not in (None, "", [], {}):
            shown = ", ".join(str(one) for one in what) if isinstance(what, list) else what
            told.append(f"{(under + name).replace('_', ' '):<20} {shown}")
    return told
