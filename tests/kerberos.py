"""A Kerberos realm of the tests' own: MIT's key distribution center on loopback, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import free_port
from tests.waiting import wait_for

REALM, ACCOUNT, PASSWORD = "LAB.TEST", "keyturn@LAB.TEST", 'The-domain\'s "1" wörd'
SERVICE = "HTTP/localhost"
#: Debian keeps them where root's PATH looks, and others' may not.
_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin"


class Realm:
    """A realm with one account and one host in it."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.port = free_port()
        self.keytab = str(folder / "host.keytab")
        self._server: subprocess.Popen[bytes] | None = None
        monkeypatch.setenv("KRB5_CONFIG", str(folder / "krb5.conf"))
        # A cache of the machine's own is no part of this.
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{folder}/cache")
        # In which an acceptor keeps what it has taken.
        (folder / "accepted").mkdir()
        monkeypatch.setenv("KRB5RCACHEDIR", f"{folder}/accepted")
        self.configure()
        (folder / "kdc.conf").write_text(
            f"[realms]\n{REALM} = {{\n database_name = {folder}/principal\n key_stash_file = {folder}/stash\n"
            f" acl_file = {folder}/acl\n kdc_listen = 127.0.0.1:{self.port}\n"
            f" kdc_tcp_listen = 127.0.0.1:{self.port}\n default_principal_flags = +preauth\n}}\n"
        )
        self._run("kdb5_util", "create", "-s", "-r", REALM, given="a master key\n" * 2)
        self.administer(f"add_principal -randkey {SERVICE}", f"ktadd -k {self.keytab} {SERVICE}")
        self.administer(f"add_principal {ACCOUNT}", given=PASSWORD)

    def configure(self, *, port: int = 0, skew: int = 300, realm: str = REALM) -> None:
        """Write what this machine knows of the realm."""
        (self.folder / "krb5.conf").write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            f" dns_canonicalize_hostname = false\n rdns = false\n clockskew = {skew}\n"
            f"[realms]\n {realm} = {{\n  kdc = 127.0.0.1:{port or self.port}\n }}\n"
        )

    def administer(self, *lines: str, given: str = "") -> None:
        """Give kadmin.local these lines; a password on its standard input."""
        text = "".join(f"{line}\n" for line in lines) + f"{given}\n" * (2 if given else 0)
        self._run("kadmin.local", "-r", REALM, given=text)

    def start(self) -> None:
        """Start the key distribution center."""
        self._server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", _program("krb5kdc"), "-n", "-P", str(self.folder / "pid")],
            env=self._around(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._listens, "the key distribution center")

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._server = None

    def _listens(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def _around(self) -> dict[str, str]:
        return {**os.environ, "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}

    def _run(self, program: str, *words: str, given: str) -> None:
        done = subprocess.run(
            [_program(program), *words],
            input=given.encode(),
            env=self._around(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


def _program(name: str) -> str:
    found = shutil.which(name, path=_PLACES)
    assert found, f"{name} is missing: apt-get install krb5-kdc krb5-admin-server"
    return found


@contextmanager
def realm(folder: Path, monkeypatch) -> Iterator[Realm]:
    """A realm whose key distribution center runs."""
    made = Realm(folder, monkeypatch)
    try:
        made.start()
        yield made
    finally:
        made.stop()
