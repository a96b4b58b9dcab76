"""Typed readers of the environment, each failing loudly with the variable's name.

A wrong setting stops the start with one sentence; it never becomes a default in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str) -> str:
    """The variable's text, stripped; `default` where it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    """`true`, `yes`, `on`, `1` or their opposites."""
    raw = text(name, "").lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {raw!r}.")


def number(name: str, default: int, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`, both allowed."""
    raw = text(name, str(default))
    if not re.fullmatch(r"-?[0-9]{1,18}", raw) or not least <= int(raw) <= most:
        raise ImproperlyConfigured(f"{name} must be a whole number from {least} to {most}, not {raw!r}.")
    return int(raw)


def choice(name: str, default: str, options: Collection[str]) -> str:
    """One of `options`. Raises ImproperlyConfigured for anything else."""
    given = text(name, default)
    if given not in options:
        raise ImproperlyConfigured(f"{name} is one of {', '.join(options)}.")
    return given


def words(name: str, default: str) -> list[str]:
    """Words separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str, default: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks separated by commas: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7` for one address."""
    found = []
    for word in words(name, default):
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {error}. Write networks as 10.0.0.0/8.") from None
    return tuple(found)


def path(name: str, default: Path) -> Path:
    """An absolute path; `~` is the home folder."""
    found = Path(text(name, str(default))).expanduser()
    if not found.is_absolute():
        raise ImproperlyConfigured(f"{name} must be an absolute path, not {str(found)!r}.")
    return found


def url(name: str, default: str, *, schemes: tuple[str, ...]) -> str:
    """A URL with one of `schemes`. The message never repeats the URL: it may hold a password."""
    found = text(name, default)
    if urlsplit(found).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {' or '.join(schemes)}://.")
    return found


def services(database: Mapping[str, Any], *urls: str) -> tuple[tuple[str, int], ...]:
    """The names and ports of a database, in Django's words, and of what stands at these URLs."""
    found = [place for url in urls for place in _at(urlsplit(url))]
    if not str(database["ENGINE"]).endswith("sqlite3"):
        given = database.get("OPTIONS", {})
        hosts = [database.get("HOST"), given.get("host"), given.get("hostaddr")]
        ports = [database.get("PORT"), given.get("port"), "5432"]
        # Of several servers libpq takes the names and ports from lists. A socket's folder is this machine.
        names = set(",".join(str(words or "") for words in hosts).split(",")) - {""} or {"localhost"}
        listed = ",".join(str(words or "") for words in ports).split(",")
        numbers = {int(number) for number in listed if number.isdecimal()}
        local = {"localhost" if name.startswith("/") else name for name in names}
        found += [(name, number) for name in sorted(local) for number in sorted(numbers)]
    return tuple(found)


def _at(parts: SplitResult) -> list[tuple[str, int]]:
    """The name and port that a URL leads to."""
    port = parts.port or {"https": 443, "http": 80, "redis": 6379, "rediss": 6379}.get(parts.scheme)
    return [(parts.hostname, port)] if parts.hostname and port else []


def database(name: str, default: str) -> dict[str, object]:
    """Django's settings of the database at a URL: `sqlite:///absolute/path` or `postgresql://user:password@host/name`."""
    parts = urlsplit(url(name, default, schemes=("sqlite", "postgresql")))
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(parts.path)}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
    }
