"""A rig for each root key provider: one key in it, another one, and all that can happen to its place.

SoftHSM 2 of Debian is a token in software, in a process of ours: it has a hardware token's interface and
errors, and none of its protection. The three services are models (`kms_servers`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from secrets_app import root_keys
from secrets_app.crypto.key_files import KeyFile
from secrets_app.root_keys import RootKey, alibaba, aws, deadlines, held, token, transit
from tests import kms_servers

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "5678"


class Rig:
    """One provider. `address` is that of its key, `other` of another key of the same provider."""

    makes = True  # the provider makes its own key
    is_remote = True

    address: str
    other: str

    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        raise NotImplementedError

    def make_keys(self) -> None:
        """Have both keys."""
        for address in (self.address, self.other):
            assert self.provider(address).make()

    def provider(self, address: str = "") -> RootKey:
        """As `root_keys.at`, and a new one each time."""
        return root_keys.at.__wrapped__(address or self.address)

    def go_away(self) -> None:
        raise NotImplementedError

    def come_back(self) -> None:
        raise NotImplementedError

    def lose_key(self) -> None:
        raise NotImplementedError

    def slow(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def tear_down(self) -> None: ...


class FileRig(Rig):
    is_remote = False

    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        self.folder = folder / "keys"
        self.address, self.other = f"file:{self.folder}/root.key", f"file:{self.folder}/other.key"

    def go_away(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def come_back(self) -> None:
        self.folder.with_name("away").rename(self.folder)

    def lose_key(self) -> None:
        (self.folder / "root.key").unlink()


class SystemdRig(FileRig):
    makes = False

    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        super().set_up(folder, monkeypatch)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(self.folder))
        self.address, self.other = "systemd-credential:root.key", "systemd-credential:other.key"

    def make_keys(self) -> None:
        for name in ("root.key", "other.key"):
            KeyFile(self.folder / name, held.MAGIC).create()


class TokenRig(Rig):
    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        assert Path(MODULE).exists(), "SoftHSM is missing: apt-get install softhsm2"
        self.folder = folder / "softhsm"
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        configuration = self.folder / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
        self.add_token()
        self.pin = self.folder / "pin"
        self.pin.write_text(f"{PIN}\n")
        self.pin.chmod(0o400)
        self.address, self.other = self.named("root"), self.named("other")
        self.restart()

    def named(self, label: str, more: str = "") -> str:
        return f"pkcs11:token=keyturn;object={label}{more}?module-path={MODULE}&pin-source=file:{self.pin}"

    def add_token(self, label: str = "keyturn") -> None:
        # The PINs of a token that is thrown away: this tool takes them in no other way.
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "1234", "--pin", PIN],
            check=True,
            capture_output=True,
        )

    def restart(self) -> None:
        """The library of this process may remember the tokens of the test before."""
        library = self.library()
        with library.lock:
            library.restart()

    def library(self) -> Any:
        return token._library(MODULE, os.getpid())

    def session(self, pin: str = PIN) -> Any:
        library = self.library()
        library.restart()
        return library.module.get_token(token_label="keyturn").open(rw=True, user_pin=pin)

    def go_away(self) -> None:
        self.tokens.rename(self.folder / "away")
        self.tokens.mkdir()

    def come_back(self) -> None:
        shutil.rmtree(self.tokens)
        (self.folder / "away").rename(self.tokens)

    def lose_key(self) -> None:
        from pkcs11 import Attribute

        for key in self.session().get_objects({Attribute.LABEL: "root"}):
            key.destroy()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """A call of another thread hangs in the module: nobody else gets in."""
        library, held, over = self.library(), threading.Event(), threading.Event()

        def hang() -> None:
            with library.lock:
                held.set()
                over.wait(60)

        thread = threading.Thread(target=hang)
        thread.start()
        held.wait(60)
        try:
            yield
        finally:
            over.set()
            thread.join()


class ServiceRig(Rig):
    service: kms_servers.Service

    def go_away(self) -> None:
        self.service.go_away()

    def come_back(self) -> None:
        self.service.come_back()

    def lose_key(self) -> None:
        del self.service.keys["root"]

    def slow(self) -> AbstractContextManager[None]:
        return self.service.slow()

    def tear_down(self) -> None:
        self.service.go_on.set()
        self.service.go_away()


class VaultRig(ServiceRig):
    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        self.service = kms_servers.Vault(folder)
        self.token = folder / "token"
        self.token.write_text(f"{kms_servers.TOKEN}\n")
        self.token.chmod(0o600)
        self.address, self.other = self.named("root"), self.named("other")

    def named(self, name: str) -> str:
        place = f"vault+https://127.0.0.1:{self.service.port}/transit/keys/{name}"
        return f"{place}?token-file={self.token}&ca-file={self.service.ca}"


class AwsRig(ServiceRig):
    makes = False

    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        self.service = kms_servers.Aws(folder)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of-the-model",
            "AWS_CA_BUNDLE": str(self.service.ca),
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        place = f"awskms:{kms_servers.Aws.ARN}{{}}?endpoint=https://127.0.0.1:{self.service.port}"
        self.address, self.other = place.format("root"), place.format("other")

    def make_keys(self) -> None:
        for name in ("root", "other"):
            self.service.make(name)


class AlibabaRig(AwsRig):
    def set_up(self, folder: Path, monkeypatch: Any) -> None:
        self.service = kms_servers.Alibaba(folder)
        from alibabacloud_credentials.utils import auth_util

        monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "an-id")
        monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "of-the-model")
        # Read when the SDK is loaded, which a test before this one may have done.
        monkeypatch.setattr(auth_util, "environment_access_key_id", "an-id")
        monkeypatch.setattr(auth_util, "environment_access_key_secret", "of-the-model")
        place = "alibabakms:{}?region=cn-hangzhou"
        place += f"&endpoint=127.0.0.1:{self.service.port}&ca-file={self.service.ca}"
        self.address, self.other = place.format("root"), place.format("other")


RIGS: dict[str, type[Rig]] = {
    "file": FileRig,
    "systemd": SystemdRig,
    "pkcs11": TokenRig,
    "vault": VaultRig,
    "aws": AwsRig,
    "alibaba": AlibabaRig,
}


@contextmanager
def rigged(name: str, folder: Path, monkeypatch: Any) -> Iterator[Rig]:
    """A rig whose two keys are made. What it is asked has a minute: a test is about no machine's speed."""
    monkeypatch.setitem(deadlines.Bounded.__init__.__kwdefaults__, "seconds", 60.0)
    monkeypatch.setattr(transit, "TIMEOUT", (60.0, 60.0))
    monkeypatch.setattr(aws, "TIMEOUT", (60.0, 60.0))
    monkeypatch.setattr(alibaba, "TIMEOUT_MS", (60_000, 60_000))
    rig = RIGS[name]()
    rig.set_up(folder, monkeypatch)
    try:
        rig.make_keys()
        yield rig
    finally:
        rig.tear_down()


def hurried(rig: Rig) -> deadlines.Bounded:
    """The rig's provider, which waits for half a second only."""
    provider = rig.provider()
    assert isinstance(provider, deadlines.Bounded)
    provider._seconds = 0.5
    return provider
