"""How long the backup of many secrets with three versions each takes, and its restore by another process."""

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

from secrets_app import keyring
from secrets_app.backups import backups
from secrets_app.crypto import envelope
from secrets_app.models import Label, SealedValue, Secret, SecretVersion
from secrets_app.people import users
from tests import factories
from tests.bench import rows

VERSIONS = 3
OPENED = """
import django
django.setup()
from secrets_app.models import SecretVersion
from secrets_app.secrets import versions
found = SecretVersion.objects.filter(sealed__isnull=False)
opened = sum(bool(versions.value(version).credential) for version in found.order_by("pk")[:300])
print(found.count(), opened)
"""


def measure(count: int) -> None:
    factories.administrator()
    rows.fill(count)
    _add_versions()
    identity = pyrage.x25519.Identity.generate()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path, key = folder / "a.backup", folder / "identity"
        began = time.perf_counter()
        report = backups.take(path, program="bench", to=[str(identity.to_public())])
        taken = time.perf_counter() - began
        key.write_text(f"{identity}\n")
        key.chmod(0o600)
        environment = _elsewhere(folder)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "manage.py", "restore", str(path), "--identity-file", str(key)],
            cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        restored = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(done.stderr)
        opened = subprocess.run(
            [sys.executable, "-c", OPENED], cwd=settings.BASE_DIR, env=environment, capture_output=True,
            text=True, check=True,
        ).stdout.split()  # fmt: skip
        size = path.stat().st_size / 1e6
        if opened[1] != "300":
            raise SystemExit(f"{opened[1]} of 300 values opened")
    print(f"{'backup':<20}{Secret.objects.count():,} secrets, {opened[0]} values, {report.rows:,} rows")
    print(f"{'':<20}{size:.1f} MB; taken and read back in {taken:.1f} s, restored in {restored:.1f} s")


def _add_versions() -> None:
    key, system = keyring.default_key(), users.system()
    primary = keyring.primary(key)
    for secret in Secret.objects.filter(versions__isnull=True).iterator(chunk_size=1000):
        made = []
        for _ in range(VERSIONS):
            pk, data_key = uuid.uuid4(), envelope.new_key()
            bound = keyring._bound(key.account_id, secret.pk, pk, "value")
            text = b'{"UserName": "svc", "Password": "%s"}' % uuid.uuid4().hex.encode()
            sealed = SealedValue(
                account_id=key.account_id, owner_id=secret.pk, subject_id=pk, field="value",
                key_version=primary,
                wrapped_key=keyring._wrap(primary, data_key, bound),
                ciphertext=envelope.seal(data_key, text, bound),
            )  # fmt: skip
            made.append(
                SecretVersion(
                    id=pk,
                    secret=secret,
                    version_id=str(pk),
                    origin="generated",
                    created_by=system,
                    sealed=sealed,
                )
            )
        SealedValue.objects.bulk_create([version.sealed for version in made])
        SecretVersion.objects.bulk_create(made)
        Label.objects.create(secret=secret, version=made[-1], role=Label.Role.CURRENT)


def _elsewhere(folder: Path) -> dict[str, str]:
    ours = ("KEYTURN_", "DJANGO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "KEYTURN_DATA": str(folder / "data"),
        "KEYTURN_ROOT_KEY_FILE": str(settings.ROOT_KEY_FILE),
        "KEYTURN_AUDIT_KEY_FILE": str(settings.AUDIT_KEY_FILE),
        "KEYTURN_SEAL_KEY_FILE": str(settings.SEAL_KEY_FILE),
        "KEYTURN_CHECKPOINT_KEY_FILE": str(settings.CHECKPOINT_KEY_FILE),
    }
