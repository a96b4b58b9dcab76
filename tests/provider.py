"""A model of an identity provider: a real HTTP server on loopback that speaks OpenID Connect.

Modelled: the discovery document, an authorization endpoint at which everybody is signed in as `subject` at
once, the code flow with PKCE (S256, refused without its verifier, each code once), client authentication by
HTTP Basic, keys as JWKS, tokens signed with RS256 that carry `nonce` and `auth_time`.
`forge` changes the claims of the next tokens, and `sign` how they are signed. Not modelled: a page on which
somebody types a password, consent, refresh tokens, userinfo, a second client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "keyturn-client", "a-secret-of-the-client"
Claims = dict[str, Any]


class ModelProvider:
    """One provider. What a test sets here is what the next answers say."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.key, self.other_key = _key(), _key()
        self.reset()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        """Honest again, and with a person."""
        self.subject, self.name = "subject-1", "dot@example.com"
        self.told: Claims = {}  # what else it says of the person
        self.asked_at: float | None = None  # when it last asked them; None: just now
        self.forge: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[Claims], str] = self.signed
        self.discovery: Claims = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.requests: list[dict[str, str]] = []  # what each journey asked for
        self.paths: list[str] = []
        self.sends_on = False  # the browser, first to another host name, as a company's provider may
        self.moved = ""  # a path that answers with a redirect to elsewhere
        self.broken: dict[str, tuple[int, bytes]] = {}  # path -> what it answers in place of sense

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ---- what it answers

    def document(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        } | self.discovery

    def keys(self) -> Claims:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "first", "use": "sig", "alg": "RS256"}]}

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes on to. It trusts what it is asked; a test looks at `requests`."""
        if self.sends_on and "from" not in asked:
            other = self.issuer.replace("127.0.0.1", "localhost")
            return f"{other}/authorize?{urlencode(asked | {'from': 'here'})}"
        self.requests.append(asked)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], authorization: str) -> Claims | None:
        """The tokens for a code; None where the client, the code or its proof is wrong."""
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(given.get("code", ""), None)
        proof = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = _encoded(proof).decode()
        if authorization != f"Basic {basic}" or asked is None or asked["code_challenge"] != challenge:
            return None
        return {
            "access_token": "an-access-token-that-nobody-keeps",
            "token_type": "Bearer",
            "id_token": self.sign(self.forge(self.claims(asked))),
        }

    def claims(self, asked: dict[str, str]) -> Claims:
        now = int(time.time())
        found = {
            "iss": self.issuer, "aud": CLIENT, "sub": self.subject, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "preferred_username": self.name, "email": self.name,
            "email_verified": True,
        }  # fmt: skip
        found["auth_time"] = int(self.asked_at if self.asked_at is not None else time.time())
        return found | self.told

    def signed(self, claims: Claims) -> str:
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "first"})

    def signed_by_another(self, claims: Claims) -> str:
        return jwt.encode(claims, self.other_key, algorithm="RS256", headers={"kid": "first"})

    def unsigned(self, claims: Claims) -> str:
        return jwt.encode(claims, None, algorithm="none", headers={"kid": "first"})

    def signed_with_the_public_key(self, claims: Claims) -> str:
        """The old trick: what everybody can read, taken as a shared secret."""
        pem = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "first"}, claims)]
        signed = b".".join(_encoded(part) for part in parts)
        return (signed + b"." + _encoded(hmac.digest(pem, signed, "sha256"))).decode()


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _handler(provider: ModelProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.paths.append(parts.path)
            if self._is_broken(parts.path):
                return
            if parts.path == "/authorize":
                self._go(provider.authorize(dict(parse_qsl(parts.query))))
            elif parts.path == "/.well-known/openid-configuration":
                self._say(200, provider.document())
            elif parts.path == "/keys":
                self._say(200, provider.keys())
            else:
                self._say(404, {})

        def do_POST(self) -> None:
            provider.paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self._is_broken(self.path):
                return
            given = {name: values[0] for name, values in parse_qs(body).items()}
            found = provider.token(given, self.headers.get("Authorization", ""))
            self._say(200 if found else 400, found or {"error": "invalid_grant"})

        def _is_broken(self, path: str) -> bool:
            if path == provider.moved:
                self._go(f"{provider.issuer}/elsewhere")
                return True
            if path in provider.broken:
                status, text = provider.broken[path]
                self._send(status, text)
                return True
            return False

        def _go(self, address: str) -> None:
            self.send_response(302)
            self.send_header("Location", address)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _say(self, status: int, what: Claims) -> None:
            self._send(status, json.dumps(what).encode())

        def _send(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at what was asked."""

    return Handler


@contextmanager
def running() -> Iterator[ModelProvider]:
    """A provider that answers until the block ends."""
    provider = ModelProvider()
    try:
        yield provider
    finally:
        provider.stop()
