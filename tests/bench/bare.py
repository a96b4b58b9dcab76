"""The least program that answers GetSecretValue with a signature, a decision, an audit row and a decryption.

No framework: Python's own HTTP server, a thread for each connection, and psycopg on the database that Keyturn
has. It has two processes, as Keyturn's web has, and tables of its own, of the same shape where it counts: one
head of a chain that admits one transaction at a time, and a policy that is read for each call.

`python -m tests.bench.bare DATABASE-URL PORT`, the access key's id and secret on its standard input.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests import sigv4

PROCESSES = 2
SKEW = timedelta(minutes=5)
TABLES = """
CREATE TABLE bare_policy (key_id text PRIMARY KEY, document text NOT NULL);
CREATE TABLE bare_secret (name text PRIMARY KEY, wrapped bytea NOT NULL, sealed bytea NOT NULL);
CREATE TABLE bare_head (id int PRIMARY KEY, sequence bigint NOT NULL, mac text NOT NULL);
CREATE TABLE bare_audit (
    sequence bigint PRIMARY KEY, at timestamptz NOT NULL, key_id text NOT NULL, action text NOT NULL,
    resource text NOT NULL, address text NOT NULL, request_id text NOT NULL, mac text NOT NULL
);
INSERT INTO bare_head VALUES (1, 0, '');
"""
ROOT, CHAIN = b"r" * 32, b"c" * 32  # the values are made up, too


def prepare(url: str, key_id: str, names: list[str], value: str) -> None:
    """Make its tables, with these secrets and a policy that allows their reader to read them."""
    document = {"Statement": [{"Effect": "Allow", "Action": "kms:Get*", "Resource": "acs:kms:*:secret/*"}]}
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO bare_policy VALUES (%s, %s)", [key_id, json.dumps(document)])
        for name in names:
            key, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
            wrapped = nonce + AESGCM(ROOT).encrypt(nonce, key, b"")
            sealed = nonce + AESGCM(key).encrypt(nonce, value.encode(), name.encode())
            connection.execute("INSERT INTO bare_secret VALUES (%s, %s, %s)", [name, wrapped, sealed])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    url, key_id, secret = "", "", ""
    local = threading.local()

    def setup(self) -> None:
        super().setup()
        self.local.connection = psycopg.connect(self.url, autocommit=True)

    def finish(self) -> None:
        self.local.connection.close()
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.answered(body) if self.is_signed(body) else None
        self.send_response(200 if answer else 400)
        content = json.dumps(answer or {"__type": "AccessDeniedException"}).encode()
        self.send_header("Content-Type", sigv4.JSON)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def is_signed(self, body: bytes) -> bool:
        scheme, _, rest = self.headers["Authorization"].partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        key_id, _, region, service, _ = parts["Credential"].split("/")
        stamp = self.headers["X-Amz-Date"]
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        named = {name: self.headers[name] for name in parts["SignedHeaders"].split(";")}
        expected = sigv4.signature(
            self.secret, stamp, region, service, ("POST", self.path, ""), named, sigv4.sha256(body)
        )
        is_now = abs(datetime.now(UTC) - at) < SKEW
        is_known = scheme == "AWS4-HMAC-SHA256" and key_id == self.key_id and is_now
        return is_known and hmac.compare_digest(expected, parts["Signature"])

    def answered(self, body: bytes) -> dict[str, object] | None:
        name = json.loads(body)["SecretId"]
        resource, connection = f"acs:kms:main:1:secret/{name}", self.local.connection
        found = connection.execute("SELECT document FROM bare_policy WHERE key_id = %s", [self.key_id])
        statements = json.loads(found.fetchone()[0])["Statement"]
        if not any(
            fnmatchcase("kms:GetSecretValue", one["Action"]) and fnmatchcase(resource, one["Resource"])
            for one in statements
        ):
            return None
        query = "SELECT wrapped, sealed FROM bare_secret WHERE name = %s"
        wrapped, sealed = connection.execute(query, [name]).fetchone()
        self.record(resource)
        key = AESGCM(ROOT).decrypt(wrapped[:12], wrapped[12:], b"")
        text = AESGCM(key).decrypt(sealed[:12], sealed[12:], name.encode())
        return {"Name": name, "SecretString": text.decode()}

    def record(self, resource: str) -> None:
        """The row is committed before the value is opened."""
        now, request_id = datetime.now(UTC), secrets.token_hex(16)
        row = [now, self.key_id, "kms:GetSecretValue", resource, self.client_address[0], request_id]
        with self.local.connection.transaction():
            query = "SELECT sequence, mac FROM bare_head WHERE id = 1 FOR UPDATE"
            sequence, before = self.local.connection.execute(query).fetchone()
            text = json.dumps([sequence + 1, before, *map(str, row)]).encode()
            mac = hmac.new(CHAIN, text, hashlib.sha256).hexdigest()
            values = [sequence + 1, *row, mac]
            self.local.connection.execute(
                "INSERT INTO bare_audit VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", values
            )
            self.local.connection.execute("UPDATE bare_head SET sequence = %s, mac = %s", [sequence + 1, mac])

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


def main() -> None:
    Handler.url, port = sys.argv[1], int(sys.argv[2])
    Handler.key_id, Handler.secret = sys.stdin.readline().split()
    for _ in range(PROCESSES - 1):
        if os.fork() == 0:
            break
    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
