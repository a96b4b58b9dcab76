"""Mail: what is configured, and a test message to oneself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from allauth.core import ratelimit
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from console import errors, mail, mail_settings
from console.access import resources
from console.http import OperatorRequest
from secrets_app import actions, regions
from secrets_app.audit import trail
from secrets_app.models import AuditEvent
from secrets_app.policy.decisions import Action

SUBJECT = "Keyturn: test message"
BODY = (
    "Send test, under Settings, Mail, has sent this message: Keyturn can send mail to this address.\n\n{url}"
)
WITHIN = timedelta(minutes=10)  # as ACCOUNT_RATE_LIMITS has it
_SECURITY = {
    "starttls": "STARTTLS, with a verified certificate",
    "tls": "TLS, with a verified certificate",
    "none": "None",
}


@dataclass(frozen=True)
class Result:
    """What became of a test message."""

    is_sent: bool
    sentence: str


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    return _page(request, None)


@login_required
@require_POST
def send_test(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    resources.require(request, Action.SEND_TEST_MAIL)
    server: mail_settings.Server | None = settings.MAIL
    if server is None:
        return errors.conflict(request, "No mail server is configured.")
    if not request.user.email:
        return errors.conflict(request, "Your user has no e-mail address. An administrator can enter one.")
    if not ratelimit.consume(request, action="test_mail", user=request.user):
        return errors.too_often(
            request, "One user may send 5 test messages in 10 minutes.", timezone.now() + WITHIN
        )
    result = _send(request, server)
    return _page(request, result)


def _send(request: OperatorRequest, server: mail_settings.Server) -> Result:
    """Send it, outside any transaction, and record what became of it."""
    details: dict[str, object] = {"server": server.where}
    outcome = AuditEvent.Outcome.SUCCEEDED
    result = Result(True, f"{server.where} has accepted a message to {request.user.email}.")
    try:
        mail.send(server, request.user.email, SUBJECT, BODY.format(url=settings.PUBLIC_URL))
    except mail.NotSent as error:
        result, outcome = Result(False, str(error)), AuditEvent.Outcome.FAILED
        details["because"] = error.code
    about = actions.arn(actions.Kind.SETTINGS, "", account=regions.account().number)
    trail.record(Action.SEND_TEST_MAIL, about, actor=request.principal, outcome=outcome, details=details)
    return result


def _page(request: OperatorRequest, result: Result | None) -> HttpResponse:
    server: mail_settings.Server | None = settings.MAIL
    context = {
        "heading": "Mail",
        "server": server,
        "rows": _rows(server) if server else [],
        "needed": (mail_settings.HOST, mail_settings.FROM),
        "result": result,
        "may_test": resources.may(request, Action.SEND_TEST_MAIL),
    }
    return render(request, "settings/mail.html", context)


def _rows(server: mail_settings.Server) -> list[tuple[str, str, str]]:
    """Each setting: what it is, its value, its variable. Of the password, only whether there is one."""
    return [
        ("Server", server.host, mail_settings.HOST),
        ("Port", str(server.port), mail_settings.PORT),
        ("Encryption", _SECURITY[server.security], mail_settings.SECURITY),
        ("User", server.user or "None", mail_settings.USER),
        ("Password", "Set" if server.password_file else "None", mail_settings.PASSWORD_FILE),
        ("From", server.sender, mail_settings.FROM),
    ]
