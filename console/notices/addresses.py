"""Where a webhook may lead: to public addresses over https, and to what the settings name beside them.

An address is judged as it is entered, as far as that is possible, and again as it was found for the
connection that is about to be made, which then goes to that very address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from rotation.connectors.networks import EVERYWHERE, Network, Networks, Resolve
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

LONGEST = 2_000
#: Addresses of one's own network, which are open only if `KEYTURN_WEBHOOK_NETWORKS` names them (RFC 1918,
#: 4193, 6598; benchmarking and documentation, RFC 2544, 5737, 3849).
PRIVATE: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "198.18.0.0/15",
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32",
    )
)  # fmt: skip


class BadAddress(DomainError, ValueError):
    """A webhook's address is an https address without a user, such as https://hooks.example.com/keyturn."""

    code = "webhook_address_invalid"


@dataclass(frozen=True)
class Place:
    """A webhook's address, taken apart; the part after the host may hold a token, so it is not printed."""

    host: str
    port: int
    is_encrypted: bool
    target: Plaintext  # path and query

    @property
    def host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.is_encrypted else 80) else f"{name}:{self.port}"


@dataclass(frozen=True)
class WebhookNetworks(Networks):
    """Public addresses, and the networks that are named; unencrypted only to the latter."""

    named: tuple[Network, ...] = ()
    is_encrypted: bool = True

    def permit(self, address: str, port: int, *, resolve: Resolve) -> bool:
        public = Networks(EVERYWHERE, (*PRIVATE, *self.forbidden), self.services)
        inner = Networks(self.named, self.forbidden, self.services)
        if self.named and inner.permit(address, port, resolve=resolve):
            return True
        return self.is_encrypted and public.permit(address, port, resolve=resolve)


def networks(*, is_encrypted: bool) -> WebhookNetworks:
    """Where webhooks may lead, as this installation is set up."""
    return WebhookNetworks(
        forbidden=tuple(settings.FORBIDDEN_NETWORKS),
        services=tuple(settings.OWN_SERVICES),
        named=tuple(settings.WEBHOOK_NETWORKS),
        is_encrypted=is_encrypted,
    )


def place(url: Plaintext) -> Place:
    """Take an address apart. Raises `BadAddress`, whose sentence repeats no more of it than its host."""
    parts = _parts(url.reveal())
    host = _host(parts)
    is_encrypted = parts.scheme == "https"
    allowed = settings.WEBHOOK_HOSTS
    if allowed and not any(_is_named(host, pattern) for pattern in allowed):
        raise BadAddress(f"{host} is not among the hosts in KEYTURN_WEBHOOK_HOSTS.")
    if not is_encrypted and not settings.WEBHOOK_NETWORKS:
        raise BadAddress(
            "A webhook's address begins with https://, unless KEYTURN_WEBHOOK_NETWORKS names its network."
        )
    port = _port(parts) or (443 if is_encrypted else 80)
    if not _may_lead_to(host, port, is_encrypted=is_encrypted):
        raise BadAddress(f"{host} is a private address: KEYTURN_WEBHOOK_NETWORKS must name its network.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, port, is_encrypted, Plaintext(target))


def _parts(text: str) -> SplitResult:
    is_plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= LONGEST
    try:
        parts = urlsplit(text)
    except ValueError:
        raise BadAddress from None
    if not is_plain or parts.scheme not in {"https", "http"} or "@" in parts.netloc or "\\" in text:
        raise BadAddress
    return parts


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    is_name = 0 < len(host) <= 253 and all(c.isalnum() or c in "-._:" for c in host)
    if not is_name:
        raise BadAddress
    return host


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or 0
    except ValueError:
        raise BadAddress from None


def _is_named(host: str, pattern: str) -> bool:
    """`hooks.example.com`, or `*.example.com` for every name below it."""
    pattern = pattern.lower()
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _may_lead_to(host: str, port: int, *, is_encrypted: bool) -> bool:
    """Whether this may be entered: a name is judged when it is resolved."""
    try:
        ip_address(host)
    except ValueError:
        return True
    return networks(is_encrypted=is_encrypted).permit(host, port, resolve=lambda name, port: ())
