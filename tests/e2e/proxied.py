"""The proxy of docker-compose.yml, with its own nginx.conf and start, before a web server of a test."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests import services
from tests.e2e.served import PASSWORD, Answer, exchange
from tests.e2e.site import CHECKOUT
from tests.waiting import wait_for

HOST = "keys.example.com"
PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/sbin"


class Proxy:
    """One nginx: plain HTTP on `port`, and TLS on `tls_port` if it has a certificate."""

    def __init__(self, folder: Path, web: int | Sequence[int], *, trusted: str, ends_tls: bool) -> None:
        """`web` is the port of one web process, or the ports of several, as the name `web` has in compose."""
        self.folder, self.given = folder, folder / "etc"
        self.given.mkdir()
        self.port, self.tls_port = services.free_port(), services.free_port()
        self.trust: ssl.SSLContext | None = None
        if ends_tls:
            self._make_certificate()
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0; " for port in _several(web))
        for name in ("proxy", "nginx.conf"):
            text = (CHECKOUT / ".docker" / name).read_text()
            for there, here in (
                ("/tmp/", f"{folder}/"),
                ("/etc/keyturn", str(self.given)),
                ("http://web:8000", "http://web"),
                (
                    "    server {\n        listen",
                    f"    upstream web {{ {servers}}}\n    server {{\n        listen",
                ),
                ("listen 8080", f"listen 127.0.0.1:{self.port}"),
                ("listen 8443", f"listen 127.0.0.1:{self.tls_port}"),
                ("access_log /dev/stdout", f"access_log {folder}/access.log"),
            ):
                text = text.replace(there, here)
            (self.given / name).write_text(text)
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        self.log = (folder / "log").open("wb")
        leash = ["setpriv", "--pdeathsig", "TERM"]
        if os.geteuid() == 0:
            leash += ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        self.process = subprocess.Popen(
            [*leash, "sh", str(self.given / "proxy")],
            env={"PATH": PROGRAMS, "KEYTURN_TRUSTED_PROXIES": trusted}, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        wait_for(lambda: self._answers() or self.process.poll() is not None, "nginx")
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False

    def _make_certificate(self) -> None:
        made = self.given / "tls"
        made.mkdir()
        certificate, key = made / "certificate.pem", made / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
             "-out", str(certificate), "-keyout", str(key)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        self.trust = ssl.create_default_context(cafile=str(certificate))


class _Tls(http.client.HTTPConnection):
    """TLS to this machine, under the name that the certificate has."""

    trust: ssl.SSLContext

    def connect(self) -> None:
        super().connect()
        self.sock = self.trust.wrap_socket(self.sock, server_hostname=HOST)


class Visitor:
    """Keeps cookies; comes from an address of this machine's loopback network, with headers of its own."""

    def __init__(self, proxy: Proxy, peer: str, *, tls: bool = False, **headers: str) -> None:
        self.proxy, self.peer, self.tls = proxy, peer, tls
        self.headers: Mapping[str, str] = {name.replace("_", "-"): text for name, text in headers.items()}
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str | None = None) -> Answer:
        port = self.proxy.tls_port if self.tls else self.proxy.port
        kind = _Tls if self.tls else http.client.HTTPConnection
        connection = kind("127.0.0.1", port, timeout=120, source_address=(self.peer, 0))
        if isinstance(connection, _Tls):
            assert self.proxy.trust is not None
            connection.trust = self.proxy.trust
        cookies = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        headers = {"Host": HOST, "Cookie": cookies, "Origin": f"https://{HOST}", **self.headers}
        if body is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"https://{HOST}/"}
        return exchange(connection, method, path, body, headers, self.cookies)

    def sign_in(self, name: str = "dot", password: str = PASSWORD) -> Answer:
        self.ask("GET", "/sign-in/")
        given = {"csrfmiddlewaretoken": self.cookies.get("keyturn_csrf", ""), "login": name}
        return self.ask("POST", "/sign-in/", urllib.parse.urlencode(given | {"password": password}))


@contextlib.contextmanager
def proxy(web: int | Sequence[int], *, trusted: str = "", ends_tls: bool = False) -> Iterator[Proxy]:
    """A running proxy before the web server on port `web`, for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-proxy-"))
    folder.chmod(0o711)
    try:
        made = Proxy(folder, web, trusted=trusted, ends_tls=ends_tls)
        try:
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _several(web: int | Sequence[int]) -> Sequence[int]:
    return (web,) if isinstance(web, int) else web
