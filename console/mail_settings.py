"""Which mail server takes Keyturn's messages, as the environment says: all that it needs, or none.

A half configuration stops the start with one sentence. The password stands in a file and is read when it is
needed: no setting and no process' environment holds it, and it can be replaced at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from console import env, openid_settings

HOST, PORT, SECURITY = "KEYTURN_EMAIL_HOST", "KEYTURN_EMAIL_PORT", "KEYTURN_EMAIL_SECURITY"
USER, PASSWORD_FILE, FROM = "KEYTURN_EMAIL_USER", "KEYTURN_EMAIL_PASSWORD_FILE", "KEYTURN_EMAIL_FROM"
#: How the connection is encrypted, and the usual port for it.
PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True)
class Server:
    """One mail server, and as whom Keyturn signs in and sends there."""

    host: str
    port: int
    security: str  # of `PORTS`
    sender: str
    user: str = ""
    password_file: Path | None = None

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


def read() -> Server | None:
    """The server that is configured, or None. Raises ImproperlyConfigured for half of one."""
    given = sorted(name for name in (HOST, PORT, SECURITY, USER, PASSWORD_FILE, FROM) if env.text(name, ""))
    if not given:
        return None
    if lacking := [name for name in (HOST, FROM) if name not in given]:
        raise ImproperlyConfigured(
            f"{given[0]} is set, so {' and '.join(lacking)} must be set too; to send no mail, leave all of "
            "them unset."
        )
    if (USER in given) != (PASSWORD_FILE in given):
        raise ImproperlyConfigured(f"{USER} and {PASSWORD_FILE} belong together: set both of them or none.")
    security = env.choice(SECURITY, "starttls", tuple(PORTS))
    server = Server(
        host=env.text(HOST, ""),
        port=env.number(PORT, PORTS[security], least=1, most=65535),
        security=security,
        sender=env.text(FROM, ""),
        user=env.text(USER, ""),
        password_file=env.path(PASSWORD_FILE, Path("/")) if PASSWORD_FILE in given else None,
    )
    if "@" not in server.sender:
        raise ImproperlyConfigured(f"{FROM} must be an e-mail address.")
    if server.password_file and security == "none" and server.host not in openid_settings.LOOPBACK:
        raise ImproperlyConfigured(
            f"{SECURITY} is none, so the password would travel unencrypted: set it to starttls or tls."
        )
    return server
