"""Which identity provider signs people in, as the environment says: all of it, or nothing at all.

A half configuration stops the start with one sentence. The client's secret stands in a file and is read when
it is needed: no setting, no session and no process' environment holds it, and it can be replaced at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from console import env

ISSUER, CLIENT = "KEYTURN_OIDC_ISSUER", "KEYTURN_OIDC_CLIENT_ID"
SECRET_FILE, NAME = "KEYTURN_OIDC_CLIENT_SECRET_FILE", "KEYTURN_OIDC_NAME"
ONLY, SECOND_FACTOR = "KEYTURN_OIDC_ONLY", "KEYTURN_OIDC_SECOND_FACTOR"
NEEDED = (ISSUER, CLIENT, SECRET_FILE)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
ISSUER_LENGTH = 200  # of the column that binds a person to it


@dataclass(frozen=True)
class Provider:
    """One identity provider, and what its word counts for."""

    issuer: str
    client_id: str
    secret_file: Path
    name: str
    is_only: bool = False
    #: Values of `amr` or `acr` that prove a second factor; with none the provider's factors never count.
    second_factor: frozenset[str] = frozenset()


def provider() -> Provider:
    """The provider that is configured. Raises LookupError where `settings.OIDC` says that none is."""
    configured: Provider | None = settings.OIDC
    if configured is None:
        raise LookupError("No identity provider is configured.")
    return configured


def read() -> Provider | None:
    """The provider that is configured, or None. Raises ImproperlyConfigured for half of one."""
    given = {name for name in (*NEEDED, NAME, ONLY, SECOND_FACTOR) if env.text(name, "")}
    if not given:
        return None
    if lacking := [name for name in NEEDED if name not in given]:
        raise ImproperlyConfigured(
            f"{sorted(given)[0]} is set, so {' and '.join(lacking)} must be set too; "
            "to sign in without an identity provider, leave all of them unset."
        )
    issuer = env.text(ISSUER, "")
    require_safe(issuer)
    provider = Provider(
        issuer=issuer,
        client_id=env.text(CLIENT, ""),
        secret_file=env.path(SECRET_FILE, Path("/")),
        name=env.text(NAME, urlsplit(issuer).hostname or "")[:40],
        is_only=env.flag(ONLY, False),
        second_factor=frozenset(env.words(SECOND_FACTOR, "")),
    )
    try:
        secret_in(provider.secret_file)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{SECRET_FILE} must name the file with the client's secret: {error}"
        ) from None
    return provider


def secret_in(file: Path) -> str:
    """The client's secret. Raises ValueError, whose message never holds it."""
    try:
        content = file.read_text(encoding="ascii").strip()
    except OSError:
        raise ValueError(f"{file} cannot be read.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} holds something else.") from None
    if not content:
        raise ValueError(f"{file} is empty.")
    return content


def is_safe(url: object) -> bool:
    """Whether this is an address by https, or by http on this machine, without a name or password in it."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_plain = parts.scheme == "http" and parts.hostname in LOOPBACK
        return bool(parts.hostname) and not parts.username and (parts.scheme == "https" or is_plain)
    except ValueError:
        return False


def require_safe(issuer: str) -> None:
    """Return if this can be an issuer. Raises ImproperlyConfigured."""
    if not is_safe(issuer) or {"?", "#"} & set(issuer) or len(issuer) > ISSUER_LENGTH:
        raise ImproperlyConfigured(
            f"{ISSUER} must be the provider's issuer, exactly as its discovery document says it: an https:// "
            f"URL (http:// on this machine alone) without a query, of at most {ISSUER_LENGTH} characters."
        )
