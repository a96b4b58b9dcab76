"""With the root key in a token: rotate, read and restart, and search memory and database for the key.

SoftHSM is software and runs in Keyturn's own processes: there the key is in memory while it encrypts, so the
search is made between two uses. Its controls are a key that the same processes hold, and a web server whose
root key is in a file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.e2e import ready
from tests.e2e.served import Served
from tests.e2e.site import CHECKOUT, Site
from tests.root_key_rigs import MODULE, PIN
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("failures")
#: Puts a key that the test knows into the token, as one that cannot be taken out again.
PUT = f"""
import pkcs11, sys
from pkcs11 import Attribute, KeyType, ObjectClass
token = pkcs11.lib({MODULE!r}).get_token(token_label="keyturn")
with token.open(rw=True, user_pin={PIN!r}) as session:
    session.create_object({{
        Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES,
        Attribute.VALUE: bytes.fromhex(sys.stdin.read()), Attribute.LABEL: "root", Attribute.TOKEN: True,
        Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False,
        Attribute.ENCRYPT: True, Attribute.DECRYPT: True,
    }})
"""
#: A secret of the demo host, once; printed: an access key, the secret's name and its region.
SECRET = """
import json
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.models import Principal, Secret
from secrets_app.people import access_keys
actor = Principal.objects.get(name="admin")
secret = Secret.objects.first()
if secret is None:
    instance = Instance.objects.get(name="web-01")
    place = {"region": instance.region, "instance": instance, "kind": "password", "key_algorithm": ""}
    creation.create("web-01/app", username="app", actor=actor, **place)
    secret = Secret.objects.get()
key, own = access_keys.create(actor, actor=actor)
print(json.dumps([key.key_id, own.reveal(), secret.name, secret.region.code]))
"""
#: Asks for a rotation unless enough have succeeded or a run of any kind is under way, as a check is at times
#: where a start takes minutes; printed: the outcome of each rotation.
ROTATED = """
import json
from rotation import runs, tasks
from secrets_app.models import Principal, Secret
secret = Secret.objects.get()
rotations = secret.runs.filter(kind="rotate")
if rotations.filter(outcome="succeeded").count() < {number} and not secret.runs.active().exists():
    tasks.wake(runs.start(secret, actor=Principal.objects.get(name="admin")))
print(json.dumps(list(rotations.values_list("outcome", flat=True))))
"""


class Kept(Site):
    """A site whose root key is in a token."""

    def __init__(self, folder: Path, key: bytes) -> None:
        super().__init__(folder)
        assert Path(MODULE).exists(), "SoftHSM is missing: apt-get install softhsm2"
        tokens, pin = folder / "softhsm", folder / "pin"
        tokens.mkdir()
        configuration = folder / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
        pin.write_text(f"{PIN}\n")
        pin.chmod(0o400)
        told = os.environ | {"SOFTHSM2_CONF": str(configuration)}
        # The PINs of a token that is thrown away: this tool takes them in no other way.
        made = ["softhsm2-util", "--init-token", "--free", "--label", "keyturn", "--so-pin", "1234"]
        subprocess.run([*made, "--pin", PIN], env=told, check=True, capture_output=True)
        put = [sys.executable, "-c", PUT]
        subprocess.run(put, input=key.hex(), text=True, env=told, cwd=CHECKOUT, check=True)
        address = f"pkcs11:token=keyturn;object=root?module-path={MODULE}&pin-source=file:{pin}"
        self.given = {"KEYTURN_ROOT_KEY": address, "SOFTHSM2_CONF": str(configuration)}

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.given}


def rotate_and_read(site: Kept, number: int) -> str:
    """Start it, rotate for the time of this number, and return what a program reads from the web server."""
    site.up("--demo-hosts=1")
    site.wait_until_healthy()
    wait_for(lambda: "web-01 at" in site.printed(), "the demo host")
    key_id, own, name, region = site.inside(SECRET)
    asked = ROTATED.format(number=number)
    wait_for(lambda: site.inside(asked).count("succeeded") >= number, f"rotation {number}")
    session = boto3.session.Session(key_id, own, region_name=region)
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=60)
    address = f"http://localhost:{site.port}/aws/"
    client = session.client("secretsmanager", endpoint_url=address, config=once)
    return str(json.loads(client.get_secret_value(SecretId=name)["SecretString"])["Password"])


def forms(key: bytes) -> tuple[bytes, ...]:
    return key, key.hex().encode(), base64.b64encode(key)


def holders(site: Site, key: bytes) -> list[str]:
    """Those of its processes that have the key in memory that they may write to."""
    running = site.running()
    return [
        line for pid, line in running.items() if any(f in piece for piece in memory(pid) for f in forms(key))
    ]


def files_with(site: Site, key: bytes) -> list[Path]:
    """The files of its data folder, the database among them, that have the key in them."""
    files = [path for path in (site.folder / "kept").rglob("*") if path.is_file()]
    assert any(path.name.startswith("keyturn.sqlite3") for path in files)
    return [path for path in files if any(form in path.read_bytes() for form in forms(key))]


def memory(pid: int) -> Iterator[bytes]:
    """What a process may write to, piece by piece, as the kernel shows it; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        content = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        return
    try:
        for line in lines:
            place, rights, *_ = line.split()
            if rights.startswith("rw") and not line.endswith("[vvar]"):
                start, end = (int(one, 16) for one in place.split("-"))
                with contextlib.suppress(OSError, OverflowError):  # it has gone, or is the kernel's own
                    yield os.pread(content, end - start, start)
    finally:
        os.close(content)


def test_no_process_and_no_file_of_the_database_holds_a_root_key_that_is_in_a_token(tmp_path):
    key = os.urandom(32)
    site = Kept(tmp_path, key)
    try:
        first = rotate_and_read(site, 1)
        site.stop()
        assert rotate_and_read(site, 2) != first
        assert len(site.running()) >= 4
        # A process that is just now at an operation of the token has the key for as long as that takes.
        wait_for(lambda: not holders(site, key), "a moment in which no process has the root key")
        assert files_with(site, key) == []
        # The same search finds what the same processes do hold.
        held = bytes.fromhex((site.root_key.parent / "seal.key").read_text().strip().rpartition(":")[2])
        assert len(holders(site, held)) >= 2
    finally:
        site.end()


def test_the_same_search_finds_a_root_key_that_is_in_a_file(tmp_path):
    site = Served(tmp_path)
    ready.set_up(site)
    key = bytes.fromhex(site.root_key.read_text().strip().rpartition(":")[2])
    try:
        site.serve()
        wait_for(lambda: site.health()[0], "an answer of the web server")
        assert holders(site, key)
        assert files_with(site, key) == []
    finally:
        site.end()
