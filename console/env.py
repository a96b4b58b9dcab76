"""Typed readers of the environment, each failing loudly with the variable's name.

A wrong setting stops the start with one sentence; it never becomes a default in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from secrets_app.journal import objects
from secrets_app.root_keys import addresses


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


def digits(name: str, *, lengths: Collection[int]) -> str:
    """Digits of one of these lengths, or the empty string where the variable is unset."""
    raw = text(name, "")
    if raw and not (re.fullmatch("[0-9]+", raw) and len(raw) in lengths):
        raise ImproperlyConfigured(f"{name} has {' or '.join(map(str, lengths))} digits, not {raw!r}.")
    return raw


def pairs(name: str) -> dict[str, str]:
    """Pairs separated by commas: `eu-west-1=main,us-east-1=lab`. Raises ImproperlyConfigured."""
    found = {}
    for word in words(name, ""):
        key, sign, value = (part.strip() for part in word.partition("="))
        if not (key and sign and value):
            raise ImproperlyConfigured(f"{name}: write pairs as eu-west-1=main, not {word}.")
        found[key] = value
    return found


def networks(name: str, default: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks separated by commas: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7` for one address."""
    parsed = []
    for word in words(name, default):
        try:
            parsed.append(ip_network(word))
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {error}. Write networks as 10.0.0.0/8.") from None
    return tuple(parsed)


def path(name: str, default: Path) -> Path:
    """An absolute path; `~` is the home folder."""
    absolute = Path(text(name, str(default))).expanduser()
    if not absolute.is_absolute():
        raise ImproperlyConfigured(f"{name} must be an absolute path, not {str(absolute)!r}.")
    return absolute


def optional_path(name: str) -> Path | None:
    """As `path`; None where nothing is named."""
    return path(name, Path("/")) if text(name, "") else None


def url(name: str, default: str, *, schemes: tuple[str, ...]) -> str:
    """A URL with one of `schemes`. The message never repeats the URL: it may hold a password."""
    address = text(name, default)
    _parts(name, address, schemes)
    return address


def optional_url(name: str, *, schemes: tuple[str, ...]) -> str:
    """As `url`, and without a user or a password; empty where nothing is named."""
    address = url(name, "", schemes=schemes) if text(name, "") else ""
    if "@" in address:
        raise ImproperlyConfigured(f"{name} must hold no user and no password.")
    return address


def services(database: Mapping[str, Any], *urls: str) -> tuple[tuple[str, int], ...]:
    """The names and ports of a database, in Django's words, and of what stands at these URLs."""
    pairs = [place for url in urls for place in _at(urlsplit(url))]
    if not str(database["ENGINE"]).endswith("sqlite3"):
        given = database.get("OPTIONS", {})
        hosts = [database.get("HOST"), given.get("host"), given.get("hostaddr")]
        ports = [database.get("PORT"), given.get("port"), "5432"]
        # Of several servers libpq takes the names and ports from lists. A socket's folder is this machine.
        names = set(",".join(str(words or "") for words in hosts).split(",")) - {""} or {"localhost"}
        listed = ",".join(str(words or "") for words in ports).split(",")
        numbers = {int(number) for number in listed if number.isdecimal()}
        local = {"localhost" if name.startswith("/") else name for name in names}
        pairs += [(name, number) for name in sorted(local) for number in sorted(numbers)]
    return tuple(pairs)


#: Amazon S3 user guide, "General purpose bucket naming rules".
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PORTS: Final = {
    "https": 443, "http": 80, "redis": 6379, "rediss": 6379, "postgresql": 5432, "postgres": 5432,
}  # fmt: skip


def _at(parts: SplitResult) -> list[tuple[str, int]]:
    """The name and port that a URL leads to; of a bucket's, those of the store."""
    if parts.scheme == "s3":
        return _at(urlsplit(dict(parse_qsl(parts.query)).get("endpoint", "")))
    port = parts.port or _PORTS.get(parts.scheme)
    return [(parts.hostname, port)] if parts.hostname and port else []


def root_key(name: str, default: str) -> str:
    """The address of a root key, which holds no secret. Raises ImproperlyConfigured."""
    address = text(name, default)
    try:
        addresses.parse(address)
    except addresses.BadAddress as error:
        raise ImproperlyConfigured(f"{name}: {error}") from None
    return address


def journal(name: str, own: Mapping[str, Any]) -> str:
    """The place of the credential journal: `file:` and a path, a PostgreSQL's URL, a bucket's, or nothing.

    A URL holds no password, and leads elsewhere than to the PostgreSQL of the database `own`: with that one
    the journal would be lost. Raises ImproperlyConfigured.
    """
    place = text(name, "")
    if place.startswith(("postgresql:", "postgres:")):
        _parts(name, place, ("postgresql", "postgres"))
        parts = urlsplit(place)
        if parts.password is not None or "password" in dict(parse_qsl(parts.query, keep_blank_values=True)):
            raise ImproperlyConfigured(f"{name} must hold no password: put it in {name}_PASSWORD_FILE.")
        if (parts.hostname, parts.port or 5432) in services(own):
            raise ImproperlyConfigured(
                f"{name} must be on another machine than Keyturn's own database, or at another port."
            )
    elif place.startswith(objects.SCHEME):
        _require_store(name, place)
    elif place and not (place.startswith("file:/") and len(place) > len("file:/")):
        raise ImproperlyConfigured(
            f"{name} must be file: and an absolute path, postgresql://user@host/name, or s3://bucket/prefix."
        )
    return place


def _require_store(name: str, place: str) -> None:
    """Return if `place` is a bucket's URL, with options that are known. Raises ImproperlyConfigured."""
    try:
        parts = urlsplit(place)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint = urlsplit(options.get("endpoint", "https://s3"))
        at = endpoint.hostname
    except ValueError:
        raise ImproperlyConfigured(f"{name} is no URL of a bucket.") from None
    if "@" in parts.netloc or "@" in endpoint.netloc:
        raise ImproperlyConfigured(f"{name} must hold no password: the SDK finds its credentials elsewhere.")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ImproperlyConfigured(f"{name} must name a bucket: s3://bucket/prefix.")
    if unknown := sorted(set(options) - objects.OPTIONS):
        raise ImproperlyConfigured(f"{name}: the option {unknown[0][:40]} is unknown.")
    if not at or not (endpoint.scheme == "https" or (endpoint.scheme == "http" and at in addresses.LOOPBACK)):
        raise ImproperlyConfigured(f"{name}: the endpoint must begin with https://.")
    if "ca-file" in options and not Path(options["ca-file"]).is_absolute():
        raise ImproperlyConfigured(f"{name}: ca-file must be an absolute path.")


def secret_url(name: str, default: str, *, schemes: tuple[str, ...]) -> str:
    """As `url`; it may stand in a file instead, which `<name>_FILE` names."""
    address = _from_file(name) or text(name, default)
    _parts(name, address, schemes)
    return address


#: Of libpq: a server that takes connections and says nothing, or is cut off without a word, would hold every
#: thread for hours. In seconds; the last one in milliseconds, for what was sent and not received.
_PATIENCE: Final = {
    "connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}  # fmt: skip


def database(name: str, default: str, *, password: str = "") -> dict[str, object]:
    """Django's settings of the database at a URL: `sqlite:///path` or `postgresql://user:password@host/name`.

    The URL may stand in the file that `<name>_FILE` names, its password in that of `<password>_FILE`.
    """
    address = secret_url(name, default, schemes=("sqlite", "postgresql", "postgres"))
    parts = urlsplit(address)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": unquote(parts.path)}
    apart = _from_file(password) if password else ""
    if apart and parts.password:
        raise ImproperlyConfigured(
            f"{name} holds a password and {password}_FILE names another: keep one of them."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": apart or unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": {**_PATIENCE, **dict(parse_qsl(parts.query))},
    }


def _from_file(name: str) -> str:
    """What the file named by `<name>_FILE` holds; the empty string where none is named."""
    given = f"{name}_FILE"
    if not text(given, ""):
        return ""
    if text(name, ""):
        raise ImproperlyConfigured(f"{name} and {given} are both set: keep one of them.")
    file = path(given, Path("/"))
    try:
        content = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{given}: {file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ImproperlyConfigured(f"{given}: {file} is not text.") from None
    if not content:
        raise ImproperlyConfigured(f"{given}: {file} is empty.")
    return content


def _parts(name: str, address: str, schemes: tuple[str, ...]) -> None:
    """Return if this is a whole URL with one of `schemes`. Raises ImproperlyConfigured, without the URL."""
    scheme, mark, rest = address.partition("://")
    if not mark or scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {' or '.join(schemes)}://.")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _unreadable(name) from None
    if scheme == "sqlite":
        if parts.netloc or not parts.path.startswith("/"):
            raise ImproperlyConfigured(f"{name} must name the file by an absolute path: sqlite:///path.")
        return
    # A mark of the password that was not encoded ends the host's part before the @.
    if parts.fragment or "#" in rest or "@" in parts.path + parts.query or _HALF_ENCODED.search(parts.netloc):
        raise _unreadable(name)
    if not host:
        raise ImproperlyConfigured(f"{name} must name a host: {scheme}://host.")
    if scheme.startswith("redis") and not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ImproperlyConfigured(
            f"{name} must end with the number of a Redis database: {scheme}://host:6379/0."
        )
    if scheme.startswith("postgres") and not re.fullmatch(r"/[^/]+", parts.path):
        raise ImproperlyConfigured(f"{name} must end with the database's name: {scheme}://user@host/name.")


_HALF_ENCODED = re.compile("%(?![0-9a-fA-F]{2})")


def _unreadable(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{name} is not a readable URL. In its user name and password, write each of # / ? @ : [ ] % "
        "percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40, : is %3A, [ is %5B, ] is %5D, % is %25."
    )
