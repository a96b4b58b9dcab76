"""How long `upgrade` takes on what an earlier version has left, by processes of its own on SQLite.

No version has been released: the earlier one is this one without a column (`tests.earlier`). Most of the time
goes to the backup that is taken first and read back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pyrage
from django.conf import settings

BATCH = 500
OPENED = """
import django
django.setup()
from secrets_app.backups import rows
from secrets_app.models import SecretVersion
from secrets_app.secrets import versions
found = SecretVersion.objects.filter(sealed__isnull=False)
opened = sum(bool(versions.value(version).credential) for version in found.order_by("pk")[:300])
print(len(rows.pending()), found.count(), opened)
"""


def measure(count: int) -> None:
    """Print how long the upgrade of `count` secrets with a value each takes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("KEYTURN_", "DJANGO_"))
        }
        given = kept | {
            "DJANGO_SETTINGS_MODULE": "tests.earlier.settings",
            "KEYTURN_DATA": str(folder / "data"),
            "KEYTURN_ROOT_KEY_FILE": str(folder / "keys" / "root.key"),
            "KEYTURN_ALLOWED_NETWORKS": "127.0.0.0/8",  # where the factories' instance is
        }
        _must(given, "manage.py", "setup")
        _must(given, "-m", "tests.bench.upgrade", str(count))
        _must(given, "manage.py", "migrate", "console", "0001")
        path, to = folder / "before.backup", str(pyrage.x25519.Identity.generate().to_public())
        began = time.perf_counter()
        _must(given, "manage.py", "upgrade", "--recipient", to, "--to", str(path))
        seconds = time.perf_counter() - began
        pending, values, opened = _must(given, "-c", OPENED).split()
        if (pending, opened) != ("0", "300"):
            raise SystemExit(f"{pending} migrations are missing, {opened} of 300 values opened")
        size = path.stat().st_size / 1e6
    print(
        f"{'upgrade':<20}{values} secrets with a value each in {seconds:.0f} s; the backup has {size:.0f} MB"
    )


def _must(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def fill(count: int) -> None:
    """Have `count` secrets of one instance with a value each, sealed as the product seals it."""
    from secrets_app import keyring
    from secrets_app.crypto import envelope
    from secrets_app.models import Label, SealedValue, Secret, SecretVersion
    from tests import factories

    first = factories.secret(initial="a-first-value-1")
    factories.settle(first)
    account, schedule, key = first.managed, first.schedule, keyring.default_key()
    primary = keyring.primary(key)
    for begin in range(0, count - 1, BATCH):
        numbers = range(begin, min(begin + BATCH, count - 1))
        secrets = [
            Secret(
                account=first.account, region=first.region, name=f"acs/ecs/bench-{n:06d}", kind=first.kind,
                key=first.key, created_by=first.created_by,
            )
            for n in numbers
        ]  # fmt: skip
        made = []
        for secret in secrets:
            pk, data_key = uuid.uuid4(), envelope.new_key()
            bound = keyring._bound(key.account_id, secret.pk, pk, "value")
            text = b'{"UserName": "svc", "Password": "%s"}' % uuid.uuid4().hex.encode()
            sealed = SealedValue(
                account_id=key.account_id, owner_id=secret.pk, subject_id=pk, field="value",
                key_version=primary, wrapped_key=keyring._wrap(primary, data_key, bound),
                ciphertext=envelope.seal(data_key, text, bound),
            )  # fmt: skip
            made.append(
                SecretVersion(
                    id=pk,
                    secret=secret,
                    version_id=str(pk),
                    origin="generated",
                    created_by=first.created_by,
                    sealed=sealed,
                )
            )
        Secret.objects.bulk_create(secrets)
        type(account).objects.bulk_create(
            type(account)(secret=secret, instance=account.instance, username=f"user{n}", kind=secret.kind)
            for n, secret in zip(numbers, secrets, strict=True)
        )
        type(schedule).objects.bulk_create(type(schedule)(secret=secret) for secret in secrets)
        SealedValue.objects.bulk_create(version.sealed for version in made)
        SecretVersion.objects.bulk_create(made)
        Label.objects.bulk_create(
            Label(secret=version.secret, version=version, role=Label.Role.CURRENT) for version in made
        )


if __name__ == "__main__":
    import django

    django.setup()
    fill(int(sys.argv[1]))
