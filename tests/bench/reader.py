"""A client of the store: it fetches the current value and logs on with it, again and again.

`python -m tests.bench.reader SECRET FLEET HOST`, until its standard input ends. A line for each logon: `ok`,
`refused`, and after a refusal `again ok` or `again refused` for the value that it fetched once more.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import paramiko  # noqa: E402

from lab import Fleet, Host  # noqa: E402
from secrets_app.models import Secret  # noqa: E402
from secrets_app.secrets import versions  # noqa: E402

EVERY = 0.1  # seconds from the start of one logon to that of the next
AT_ONCE = 3
PATIENCE = 2.0  # seconds from one fetch to the next, after a refusal: as long as a window may be


def log_on(secret: Secret, host: Host) -> bool:
    held = versions.value(secret.labelled("current"))
    transport = paramiko.Transport((host.address, host.port))
    transport.banner_timeout = transport.auth_timeout = 30
    try:
        transport.start_client(timeout=30)
        if held.private_key:
            key = paramiko.Ed25519Key.from_private_key(io.StringIO(held.private_key.reveal()))
            transport.auth_publickey(held.username, key)
        else:
            transport.auth_password(held.username, held.password.reveal())
    except paramiko.AuthenticationException:
        return False
    finally:
        transport.close()
    return True


def read(secret: Secret, host: Host, ended: threading.Event) -> None:
    while not ended.is_set():
        began = time.monotonic()
        if log_on(secret, host):
            say("ok")
        else:
            say("refused")
            time.sleep(max(0, PATIENCE - (time.monotonic() - began)))
            say("again ok" if log_on(secret, host) else "again refused")
        time.sleep(max(0, EVERY * AT_ONCE - (time.monotonic() - began)))


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")  # at once, so that no other thread's word comes before the line's end
    sys.stdout.flush()


def main(secret_pk: str, folder: str, name: str) -> None:
    secret = Secret.objects.get(pk=secret_pk)
    host = next(host for host in Fleet(Path(folder)).hosts() if host.name == name)
    ended = threading.Event()
    threads = [threading.Thread(target=read, args=(secret, host, ended)) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
        time.sleep(EVERY)
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
