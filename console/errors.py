"""Answers that are not what was asked for: refused, missing, changed meanwhile, broken, sealed.

As a page where a page was asked for; inside the dialog where a dialog was; as a toast where a part of
a page was, so that an error never replaces a table.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from allauth.mfa.models import Authenticator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from console import http
from console.access import resources
from console.process import databases, logs
from console.sessions import expiry
from secrets_app.audit import trail
from secrets_app.people import second_factors
from secrets_app.policy import requiring
from secrets_app.policy.decisions import Action

_DIALOGS = {"dialog", "dialog-content"}


@dataclass(frozen=True)
class Problem:
    """A status and the words for it: what is wrong, and what to do next."""

    status: int
    title: str
    sentence: str
    advice: str = ""
    icon: str = "circle-alert"
    because: str = ""  # what decided it
    url: str = ""  # where to look into that
    way_out: tuple[str, str] = ("", "")  # a link that helps: its address and its words


FORBIDDEN = Problem(
    403,
    "You may not do this",
    "Your permissions do not cover this page or action.",
    "Ask an administrator for the permission, or go back to a page that you may see.",
    "ban",
)
NOT_FOUND = Problem(
    404,
    "Page not found",
    "This address does not exist, or you do not have permission to see it.",
    "Check the address, or search for the item in its list.",
    "search",
)
FORM_EXPIRED = Problem(
    403,
    "The form is no longer valid",
    "It was sent from an old page, from another site, or without its cookie. Nothing was changed.",
    "Go back, reload the page and send it again.",
    "history",
)
NO_COOKIES = Problem(
    403,
    "Your browser keeps no cookie from this address",
    "Keyturn's cookies are sent over https only, and this address uses plain http. Nothing was changed.",
    "Open Keyturn over https, or on the machine that it runs on at http://localhost.",
    "unplug",
)
UNREADABLE = Problem(
    400,
    "This request cannot be read",
    "The address contains an invalid character, or the form is not in UTF-8. Nothing was changed.",
    "Go back and open the page from its list.",
)
BROKEN = Problem(
    500,
    "Keyturn could not complete this request",
    "An unexpected error occurred.",
    "Check the current state in the list before you try again. "
    "Keyturn's log has details under the request ID.",
    "triangle-alert",
)
DATABASE_AWAY = Problem(
    503,
    "The database does not answer",
    "Nothing can be read or changed until it is available again. The credentials on the instances do "
    "not change.",
    "An administrator checks that the database runs and that Keyturn has its right address; "
    "then reload this page.",
    "unplug",
)
DATABASE_READ_ONLY = Problem(
    503,
    "The database takes no changes",
    "It is read-only now, so users cannot sign in and nothing can be started or changed. "
    "The credentials on the instances do not change.",
    "An administrator checks whether the database is a standby, or was set to read-only. "
    "Keyturn continues automatically when changes are possible again.",
    "unplug",
)
DISK_FULL = Problem(
    503,
    "The database's disk is full",
    "Nothing can be stored, so nothing was changed. The credentials on the instances do not change.",
    "An administrator frees space on the database's disk. Keyturn then continues automatically.",
    "unplug",
)
DATABASE_BUSY = Problem(
    503,
    "The database is busy",
    "Another process has kept it locked for too long. Nothing was changed.",
    "Wait a moment, then try again.",
    "unplug",
)
DATABASE_CROWDED = Problem(
    503,
    "The database has no connection left",
    "As many clients are connected as the database takes. Nothing was changed.",
    "Wait a moment, then try again. If this lasts, an administrator raises max_connections, or ends other "
    "clients of the database.",
    "unplug",
)
DATABASE_SLOW = Problem(
    503,
    "The database is too slow",
    "It did not answer in time, so the request was ended. Nothing was changed.",
    "Wait a moment, then try again. If this lasts, an administrator looks for what keeps the database busy "
    "or locked.",
    "unplug",
)
DATABASE_UNTRUSTED = Problem(
    503,
    "The database's certificate is not accepted",
    "Keyturn does not connect to it: the certificate has expired, is for another name, or is signed by an "
    "authority that this machine does not know. The credentials on the instances do not change.",
    "An administrator renews the certificate, or corrects sslrootcert in KEYTURN_DATABASE_URL. Keyturn then "
    "continues automatically.",
    "unplug",
)
NOT_RECORDED = Problem(
    503,
    "This cannot be recorded",
    "Showing a value or changing something requires an entry in the audit trail, and the trail accepts none "
    "now. Nothing was done.",
    "An administrator runs `manage.py audit verify` on the machine that Keyturn runs on and checks Keyturn's "
    "log.",
    "scroll-text",
)
SEALED = Problem(
    503,
    "Keyturn is sealed",
    "The root key is missing, or it is not the one that this database was sealed under. "
    "Nothing is read, rotated or changed, and users cannot sign in.",
    "An administrator puts the right root key back where Keyturn looks for it. "
    "No restart is needed: reload this page.",
    "lock-keyhole",
)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403, for Django's handler; it says why, where the rules of rights refused it.

    The sentence names only policies and grants of the user who asked.
    """
    if not isinstance(exception, requiring.Refused):
        return answer(request, FORBIDDEN)
    problem = replace(FORBIDDEN, because=str(exception), url=_simulator(request, exception))
    return answer(request, _with_second_factor(request, problem) if exception.lacks_factor else problem)


def _with_second_factor(request: HttpRequest, problem: Problem) -> Problem:
    """What to do for a user whom a second factor would allow it."""
    next_ = f"?{urlencode({'next': request.get_full_path()})}" if request.method == "GET" else ""
    own = Authenticator.objects.filter(user=request.user, type__in=second_factors.KINDS)
    ways = set(own.values_list("type", flat=True))
    if not ways:
        advice = "Your policies allow this only after sign-in with a second factor. Set one up."
        return replace(problem, advice=advice, way_out=(reverse("mfa_index"), "Set up a second factor"))
    name = "mfa_reauthenticate" if Authenticator.Type.TOTP in ways else "mfa_reauthenticate_webauthn"
    advice = "Your policies allow this only after you confirm with a second factor in this session."
    return replace(problem, advice=advice, way_out=(reverse(name) + next_, "Confirm with your second factor"))


def _simulator(request: HttpRequest, refused: requiring.Refused) -> str:
    """The same question in the simulator, for those who may ask it there."""
    if not resources.may(request, Action.SIMULATE_POLICY):
        return ""
    asked = {"user": request.user.get_username(), "action": refused.action, "resource": refused.arn}
    return f"{reverse('simulator')}?{urlencode(asked)}"


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404, for Django's handler. It never repeats the address: another user may have written it."""
    return answer(request, NOT_FOUND)


def conflict(request: HttpRequest, sentence: str, *, title: str = "This cannot be done now") -> HttpResponse:
    """409: something has changed since the page was opened."""
    return answer(
        request,
        Problem(
            409, title, sentence, "Close this dialog and check the current state before you decide again."
        ),
    )


def too_often(request: HttpRequest, sentence: str, again_at: datetime) -> HttpResponse:
    """429: enough for now; says when to try again."""
    local = timezone.localtime(again_at)
    left = max(int((again_at - timezone.now()).total_seconds()) + 1, 1)
    advice = f"Try again at {local:%H:%M:%S} ({local.tzname()}), in {(left + 59) // 60} minutes at most."
    response = answer(request, Problem(429, "Too many requests", sentence, advice, "hourglass"))
    response["Retry-After"] = str(left)
    return response


def unprocessable(
    request: HttpRequest, sentence: str, *, title: str = "This cannot be accepted"
) -> HttpResponse:
    """422, where there is no form to show the sentence in."""
    return answer(request, Problem(422, title, sentence))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 from the CSRF check, with the cause that people meet most where it applies."""
    # Signing in in another tab makes this page's tokens old; an error would take the place of the form.
    if getattr(request, "htmx", None) and _is_signed_in(request):
        return expiry.sign_in_again()
    return answer(request, FORM_EXPIRED if http.keeps_cookies(request) else NO_COOKIES)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 or 503, for Django's handler. Asks neither the database nor the session: they may be the cause."""
    error = sys.exception()
    trouble = databases.trouble(error)
    if trouble == databases.Trouble.NOT_SET_UP:
        return not_set_up()
    if error is not None:
        databases.passes(error)
    problem = _OF_DATABASE[trouble] if trouble else BROKEN
    if isinstance(error, trail.NotRecorded) and trouble == databases.Trouble.AWAY:
        problem = NOT_RECORDED
    return _static_page(problem, request_id=_logged_id(request, error))


_OF_DATABASE: dict[databases.Trouble | None, Problem] = {
    databases.Trouble.AWAY: DATABASE_AWAY,
    databases.Trouble.READ_ONLY: DATABASE_READ_ONLY,
    databases.Trouble.FULL: DISK_FULL,
    databases.Trouble.BUSY: DATABASE_BUSY,
    databases.Trouble.CROWDED: DATABASE_CROWDED,
    databases.Trouble.SLOW: DATABASE_SLOW,
    databases.Trouble.UNTRUSTED: DATABASE_UNTRUSTED,
}


def not_recorded(request: HttpRequest, error: BaseException | None = None) -> HttpResponse:
    """503: the audit trail takes no event, so nothing was done; with the database's reason if it has one."""
    trouble = databases.trouble(error)
    problem = NOT_RECORDED
    if trouble in _OF_DATABASE and trouble != databases.Trouble.AWAY:
        problem = _OF_DATABASE[trouble]
    return _told(_static_page(problem, request_id=_logged_id(request, error)))


def _logged_id(request: HttpRequest, error: BaseException | None) -> str:
    """The id under which the log says more; none where the log has one line for many requests."""
    return "" if logs.passing_cause(error) else getattr(request, "request_id", "")


def unreadable() -> HttpResponse:
    """400, before anything else looked at the request: it holds what is no text."""
    return _static_page(UNREADABLE)


def sealed() -> HttpResponse:
    """The one page of sealed mode."""
    return _told(_static_page(SEALED))


def _told(response: HttpResponse) -> HttpResponse:
    """The answer, of whose cause the log has a line: Django would write one more for each request."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def not_set_up() -> HttpResponse:
    """The one page before the set-up has run. It needs no static file, since there are none yet."""
    response = HttpResponse(render_to_string("errors/not_set_up.html"), status=503)
    response["Retry-After"] = http.RETRY_SECONDS
    return response


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Show a problem in the form that fits what was asked for."""
    htmx = getattr(request, "htmx", None)
    context = {"problem": problem, "shell": "base.html" if _is_signed_in(request) else "single.html"}
    if not htmx or htmx.boosted:
        return render(request, "errors/error.html", context, status=problem.status)
    if htmx.target in _DIALOGS:
        return render(request, "errors/_error_dialog.html", context, status=problem.status)
    sentence = f"{problem.title}. {problem.because or problem.sentence}"
    toast = {"toast": {"tone": "danger", "text": sentence}}
    headers = {"HX-Reswap": "none", "HX-Trigger": json.dumps(toast)}
    return HttpResponse(status=problem.status, headers=headers)


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(getattr(request, "user", None) and request.user.is_authenticated)


def _static_page(problem: Problem, request_id: str = "") -> HttpResponse:
    context = {"problem": problem, "shell": "single.html", "request_id": request_id}
    try:
        text = render_to_string("errors/error.html", context)
    except ValueError:  # the static files are not there, which the set-up makes
        return not_set_up()
    response = HttpResponse(text, status=problem.status)
    if problem.status == 503:
        response["Retry-After"] = http.RETRY_SECONDS
    return response
