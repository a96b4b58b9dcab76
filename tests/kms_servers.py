"""Models of three services that keep a root key: real HTTPS servers on loopback, with the wire of each.

Vault (as OpenBao): `transit/keys/NAME` read and made (made twice is once), `transit/encrypt` and `decrypt`,
one token (403 without it), a sealed server (503), a key that is not there (404; 400 when it is to decrypt).
Not modelled: other engines, versions of a key, policies, namespaces, leases.

AWS KMS: DescribeKey, Encrypt and Decrypt of the JSON 1.1 protocol, the key that a decryption names, the
encryption context, disabled and missing keys by AWS's error names. Not modelled: signatures, grants, key
policies, other regions.

Alibaba Cloud KMS: DescribeKey, GenerateDataKey and Decrypt of its RPC protocol, with its quirk that Decrypt
names no key and answers which one it was; error codes of missing, disabled and of what does not open. Not
modelled: signatures, aliases, the older Encrypt.

What each makes is AES-256-GCM by `cryptography`. A server can go away and come back at its port, and be slow.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

TOKEN = "a-token-of-the-model"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "certificate.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


class Refusal(Exception):
    """What the service answers in place of sense."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class Service:
    """One service: its keys, and how it is. Subclasses speak its wire."""

    def __init__(self, folder: Path) -> None:
        self.ca, self._key = certificate(folder)
        self.keys: dict[str, bytes] = {}
        self.made_at: dict[str, str] = {}
        self.disabled: set[str] = set()
        self.urls: list[str] = []  # of all requests
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()
        self._lock = threading.Lock()
        self.port = 0
        self.come_back()

    def come_back(self) -> None:
        handler = _handler(self)
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.allow_reuse_address = True
        self._server.server_bind()
        self._server.server_activate()
        self.port = self._server.server_port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, self._key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def go_away(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Take requests and answer none of them until the block ends."""
        self.asked.clear()
        self.go_on.clear()
        try:
            yield
        finally:
            self.go_on.set()

    def make(self, name: str) -> None:
        self.keys[name] = AESGCM.generate_key(256)
        self.made_at[name] = datetime.now(UTC).isoformat()

    def sealed(self, name: str, text: bytes, bound: bytes = b"") -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(self.keys[name]).encrypt(nonce, text, bound)

    def opened(self, name: str, sealed: bytes, bound: bytes = b"") -> bytes | None:
        try:
            return AESGCM(self.keys[name]).decrypt(sealed[:12], sealed[12:], bound)
        except (InvalidTag, ValueError):
            return None

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> dict[str, Any]:
        raise NotImplementedError


class Vault(Service):
    token = TOKEN

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> dict[str, Any]:
        if headers["X-Vault-Token"] != self.token:
            raise Refusal(403, {"errors": ["permission denied"]})
        _, version, mount, what, name = urlsplit(url).path.split("/")
        assert (version, mount) == ("v1", "transit")
        given = json.loads(body) if body else {}
        if what == "keys" and method == "POST":
            assert given == {"type": "aes256-gcm96", "exportable": False}
            with self._lock:
                if name not in self.keys:
                    self.make(name)
        if name not in self.keys:
            raise Refusal(404 if what == "keys" else 400, {"errors": ["encryption key not found"]})
        if what == "keys":
            return {"data": {"name": name, "exportable": False, "keys": {"1": self.made_at[name]}}}
        if what == "encrypt":
            sealed = self.sealed(name, base64.b64decode(given["plaintext"]))
            return {"data": {"ciphertext": "vault:v1:" + base64.b64encode(sealed).decode()}}
        assert what == "decrypt"
        mark, _, text = given["ciphertext"].rpartition(":")
        try:
            opened = self.opened(name, base64.b64decode(text, validate=True)) if mark == "vault:v1" else None
        except ValueError:
            opened = None
        if opened is None:
            raise Refusal(400, {"errors": ["cipher: message authentication failed"]})
        return {"data": {"plaintext": base64.b64encode(opened).decode()}}


class Aws(Service):
    ARN = "arn:aws:kms:eu-west-1:111122223333:key/"

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> dict[str, Any]:
        action = headers["X-Amz-Target"].removeprefix("TrentService.")
        given = json.loads(body)
        name = given["KeyId"].removeprefix(self.ARN)
        if name not in self.keys:
            raise Refusal(400, {"__type": "NotFoundException", "message": "no such key"})
        state = "Disabled" if name in self.disabled else "Enabled"
        if action == "DescribeKey":
            return {"KeyMetadata": {"KeyId": name, "Arn": self.ARN + name, "KeyState": state}}
        if state != "Enabled":
            raise Refusal(400, {"__type": "DisabledException", "message": "it is disabled"})
        bound = json.dumps(given.get("EncryptionContext", {}), sort_keys=True).encode()
        if action == "Encrypt":
            sealed = name.encode() + b"|" + self.sealed(name, base64.b64decode(given["Plaintext"]), bound)
            return {"KeyId": self.ARN + name, "CiphertextBlob": base64.b64encode(sealed).decode()}
        assert action == "Decrypt"
        whose, _, sealed = base64.b64decode(given["CiphertextBlob"]).partition(b"|")
        if whose != name.encode() and whose.decode("latin-1") in self.keys:
            raise Refusal(400, {"__type": "IncorrectKeyException", "message": "another key"})
        opened = self.opened(name, sealed, bound)
        if whose != name.encode() or opened is None:
            raise Refusal(400, {"__type": "InvalidCiphertextException"})
        return {"KeyId": self.ARN + name, "Plaintext": base64.b64encode(opened).decode()}


class Alibaba(Service):
    def answer(self, method: str, url: str, headers: Any, body: bytes) -> dict[str, Any]:
        given = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        action = headers["x-acs-action"]
        bound = given.get("EncryptionContext", "").encode()
        if action == "Decrypt":
            return self._decrypt(given["CiphertextBlob"], bound)
        name = given["KeyId"]
        if name not in self.keys:
            raise Refusal(404, {"Code": "Forbidden.KeyNotFound", "Message": "no such key"})
        state = "Disabled" if name in self.disabled else "Enabled"
        if action == "DescribeKey":
            return {"KeyMetadata": {"KeyId": name, "KeyState": state}}
        assert (action, given["KeySpec"]) == ("GenerateDataKey", "AES_256")
        self._require_enabled(name)
        text = os.urandom(32)
        sealed = name.encode() + b"|" + self.sealed(name, text, bound)
        return {
            "KeyId": name,
            "Plaintext": base64.b64encode(text).decode(),
            "CiphertextBlob": base64.b64encode(sealed).decode(),
        }

    def _decrypt(self, blob: str, bound: bytes) -> dict[str, Any]:
        malformed = Refusal(400, {"Code": "InvalidParameter", "Message": "The CiphertextBlob is not valid."})
        try:
            whose, _, sealed = base64.b64decode(blob, validate=True).partition(b"|")
        except ValueError:
            raise malformed from None
        name = whose.decode("latin-1")
        if name not in self.keys:
            raise malformed
        self._require_enabled(name)
        opened = self.opened(name, sealed, bound)
        if opened is None:
            raise malformed
        return {"KeyId": name, "Plaintext": base64.b64encode(opened).decode()}

    def _require_enabled(self, name: str) -> None:
        if name in self.disabled:
            raise Refusal(409, {"Code": "Rejected.Disabled", "Message": "it is disabled"})


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service.urls.append(self.path)
            service.asked.set()
            service.go_on.wait(60)
            try:
                status, told = 200, service.answer(self.command, self.path, self.headers, body)
            except Refusal as refusal:
                status, told = refusal.status, refusal.body
            text = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)
            self.close_connection = True

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler
