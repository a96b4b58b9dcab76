"""Checks of this machine and of the way to it: keys, files, disks, the address of the console, its proxy."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from console.openid_settings import LOOPBACK
from console.presentation import durations
from console.process import health
from console.sign_in import first_password
from console.watching.findings import Said, ok, problem, unknown, warning
from secrets_app import keyring
from secrets_app.journal import journal

LITTLE_BYTES: Final = 1_000_000_000
TOO_LITTLE_BYTES: Final = 100_000_000
ASK_SECONDS: Final = 3.0
RENEW: Final = timedelta(days=14)  # before a certificate ends
_ADVICE_OF_CERTIFICATE: Final = "Renew the certificate of the proxy, with its chain."


def keys() -> Said:
    """Whether every key is there and is the one of this database."""
    if keyring.is_sealed():
        return problem(
            f"Keyturn is sealed: {health.SENTENCES[health.SEALED].removeprefix('it is sealed: ')}.",
            "Restore the key that the log names. Nothing is lost; no restart is needed.",
        )
    return ok("Every key is there and is the one of this database.")


def apart() -> Said:
    """Whether the root key is apart from the data: who copies the one must not have the other."""
    here = Path(settings.DATA_DIR).resolve()
    inside = [path for path in _key_files() if here in path.resolve().parents]
    if inside:
        return warning(
            f"{inside[0]} is in the data folder: a copy of the folder opens every value.",
            "Move the keys to a folder of their own, and set KEYTURN_ROOT_KEY_FILE and its like.",
        )
    return ok("The keys are apart from the data folder.")


def _key_files() -> list[Path]:
    root = [settings.ROOT_KEY_FILE] if settings.ROOT_KEY.startswith("file:") else []
    others = [
        settings.AUDIT_KEY_FILE,
        settings.SEAL_KEY_FILE,
        settings.CHECKPOINT_KEY_FILE,
        settings.SECRET_KEY_FILE,
    ]
    return [Path(path) for path in (*root, *others)]


def _private() -> Iterator[Path]:
    """Everything that no other user may read or change."""
    yield from _key_files()
    yield Path(settings.DATA_DIR)
    if settings.IS_SQLITE:
        name = settings.DATABASES["default"]["NAME"]
        yield from (Path(f"{name}{ending}") for ending in ("", "-wal", "-shm"))
    if (kept := journal.file()) is not None:
        yield kept
    yield Path(settings.BACKUP_FOLDER)
    yield Path(settings.AUDIT_EXPORT_FILE)
    for configured in (
        settings.MAIL and settings.MAIL.password_file,
        settings.METRICS and settings.METRICS.token_file,
        settings.JOURNAL_PASSWORD_FILE,
    ):
        if configured:
            yield Path(configured)


def files() -> Said:
    """Whether what is private is its owner's alone. What is not there is the matter of other checks."""
    wrong = []
    for path in _private():
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_uid not in {os.geteuid(), 0}:
            wrong.append(f"{path} belongs to another user")
        elif status.st_mode & 0o077:
            wrong.append(f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})")
    if wrong:
        return problem(f"{'; '.join(wrong)}.", "Run chmod go= on each, or chown to the user of Keyturn.")
    return ok("What is private is readable by its owner only.")


def disk() -> Said:
    """The free space where Keyturn writes."""
    places = {Path(settings.DATA_DIR), Path(settings.BACKUP_FOLDER), Path(settings.AUDIT_EXPORT_FILE).parent}
    if (kept := journal.file()) is not None:
        places.add(kept.parent)
    free = {path: shutil.disk_usage(path).free for path in sorted(places) if path.is_dir()}
    if not free:
        return unknown("The data folder is not there.", "Check KEYTURN_DATA, and mount its disk.")
    path, least = min(free.items(), key=lambda item: item[1])
    return of_space(path, least)


def of_space(path: Path, free: int) -> Said:
    """Judge how many bytes are free in a folder."""
    sentence = f"{free / 10**9:,.1f} GB are free in {path}."
    advice = "Free space there, or move old backups."
    if free < TOO_LITTLE_BYTES:
        return problem(f"{free / 10**6:,.0f} MB are free in {path}: a full disk stops every change.", advice)
    return warning(sentence, advice) if free < LITTLE_BYTES else ok(sentence)


def first_sign_in() -> Said:
    if first_password.file().exists():
        return warning(
            "The first administrator's password stands in a file of the data folder.",
            "Sign in with it and choose another one: the file is removed then.",
        )
    return ok("No first password stands in a file.")


# ---------------------------------------------------------------- the address of the console


def address() -> Said:
    """Whether browsers reach the console over TLS, with a certificate that lasts."""
    parts = urlsplit(settings.PUBLIC_URL)
    host = parts.hostname or ""
    if parts.scheme == "http":
        if host in LOOPBACK:
            return ok("Over HTTP, on this machine alone.")
        return problem(
            "KEYTURN_PUBLIC_URL is http: values travel unencrypted, and browsers keep no session.",
            "Put a proxy that ends TLS before Keyturn, and set KEYTURN_PUBLIC_URL to its https address.",
        )
    return _tls(host, parts.port or 443)


def _tls(host: str, port: int) -> Said:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout=ASK_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            ends = str((wrapped.getpeercert() or {}).get("notAfter", ""))
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        return problem(f"The certificate of {host} is not accepted: {why}.", _ADVICE_OF_CERTIFICATE)
    except (OSError, ValueError):
        return unknown(
            f"No TLS connection to {host}, port {port}, was possible from here.",
            "If browsers reach it, this machine has no way to it. Otherwise start the proxy.",
        )
    return of_certificate(host, datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC))


def of_certificate(host: str, ends_at: datetime) -> Said:
    """Judge until when an accepted certificate is valid."""
    left = ends_at - datetime.now(UTC)
    sentence = f"The certificate of {host} is valid for {durations.duration(left)}."
    return warning(sentence, _ADVICE_OF_CERTIFICATE) if left < RENEW else ok(sentence)


def proxy(headers: Mapping[str, str], *, is_secure: bool) -> Said:
    """Judge how a request arrived: whether the proxy and Keyturn agree about what its headers say."""
    forwarded = [name for name in ("X-Forwarded-Proto", "X-Forwarded-For") if headers.get(name)]
    header: tuple[str, str] | None = settings.SECURE_PROXY_SSL_HEADER  # none where no proxy is configured
    if header:
        if lacking := [name for name in ("X-Forwarded-Proto", "X-Forwarded-For") if name not in forwarded]:
            return problem(
                f"KEYTURN_BEHIND_PROXY is true, and this request came without {' and '.join(lacking)}.",
                "Have the proxy set both; if there is none, set KEYTURN_BEHIND_PROXY to false: anyone who "
                "reaches this port can send these headers.",
            )
        if settings.IS_HTTPS and not is_secure:
            return problem(
                "The proxy says that this request came over HTTP.",
                "Have it set X-Forwarded-Proto to what the browser used, and redirect HTTP to HTTPS.",
            )
        return ok("The proxy says where a request came from, and how.")
    if forwarded:
        return warning(
            f"This request came with {' and '.join(forwarded)}, which Keyturn ignores.",
            "If a proxy stands before Keyturn, set KEYTURN_BEHIND_PROXY to true: otherwise limits and the "
            "audit trail have the proxy's address for every user.",
        )
    return ok("No proxy stands before Keyturn.")
