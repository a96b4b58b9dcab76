"""The typed request of a signed-in operator, and what a request says about where it came from."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from secrets_app.models import Principal, User

#: What a class of a library's views may be asked by. Without it a view that deletes takes DELETE too, and
#: then asks nothing that it asks of a form; a view of a form takes PUT.
FORM_METHODS = ["get", "head", "post"]
RETRY_SECONDS = "15"  # after which a 503 may have passed
#: Browsers keep Secure cookies for these even on plain http.
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


class OperatorRequest(HttpRequest):
    """What a view behind `login_required` receives."""

    user: User
    principal: Principal
    htmx: HtmxDetails
    request_id: str


def client_address(request: HttpRequest) -> str | None:
    """The address to throttle by and to write down; None if there is none (a Unix socket).

    X-Forwarded-For is the client's own claim, so it counts only where the installation says that a
    proxy stands in front; then its last entry is the one that this proxy added.
    """
    if settings.SECURE_PROXY_SSL_HEADER:
        forwarded = request.headers.get("X-Forwarded-For", "").rsplit(",", 1)[-1].strip()
        if forwarded:
            return forwarded
    return request.META.get("REMOTE_ADDR") or None


def network(address: str) -> str:
    """The network that a few of many addresses come from: what one person can have all of.

    A `/24` of IPv4 and a `/48` of IPv6, the most that a provider gives one customer; else the text itself.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


def keeps_cookies(request: HttpRequest) -> bool:
    """False where the browser drops our Secure cookies: plain http, and not from its own machine."""
    host = urlsplit(f"//{request.get_host()}").hostname or ""
    return request.is_secure() or host in _LOOPBACK_NAMES or host.endswith(".localhost")
