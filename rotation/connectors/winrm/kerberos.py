"""Log on to a host by Kerberos, with the password of a domain's account, and seal what follows.

The password goes to the library of this process alone. The domain's key distribution center learns that the
account asks, and the host is given a ticket that only the service `HTTP/address` can read; it must show the
same in return. Nothing falls back to NTLM.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import threading
from collections.abc import Callable
from typing import Final

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from requests.auth import AuthBase

from rotation.connectors.base import ConnectorError, Login, LoginRefused, Unreachable
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import gssapi, reasons

#: Numbers of MIT Kerberos' krb5_err.h, by what is then known.
_KNOWN: Final = {
    "kdc_away": (-1765328228,),  # KRB5_KDC_UNREACH
    # REALM_UNKNOWN, REALM_CANT_RESOLVE, CONFIG_NODEFREALM, CONFIG_CANTOPEN, CONFIG_BADFORMAT
    "kerberos_realm": (-1765328230, -1765328164, -1765328160, -1765328249, -1765328248),
    # AP_ERR_SKEW, AP_ERR_TKT_NYV, KDCREP_SKEW, KDC_ERR_NEVER_VALID
    "kerberos_clock": (-1765328347, -1765328351, -1765328236, -1765328373),
    "kerberos_unknown": (-1765328378,),  # KDC_ERR_C_PRINCIPAL_UNKNOWN
    "kerberos_password": (-1765328360, -1765328353),  # KDC_ERR_PREAUTH_FAILED, AP_ERR_BAD_INTEGRITY
    # KDC_ERR_CLIENT_REVOKED, KEY_EXP, NAME_EXP, CLIENT_NOTYET, POLICY
    "kerberos_account": (-1765328366, -1765328361, -1765328383, -1765328363, -1765328372),
    # KDC_ERR_S_PRINCIPAL_UNKNOWN, SERVICE_REVOKED; of the host: AP_ERR_MODIFIED, NOT_US, BADKEYVER, NOKEY
    "kerberos_service": (-1765328377, -1765328365, -1765328343, -1765328349, -1765328340, -1765328339),
    "kerberos_expired": (-1765328352,),  # AP_ERR_TKT_EXPIRED
}  # fmt: skip
_BY_NUMBER: Final = {number: code for code, numbers in _KNOWN.items() for number in numbers}
#: RFC 2744: GSS_S_CREDENTIALS_EXPIRED and GSS_S_CONTEXT_EXPIRED.
_EXPIRED: Final = (11, 12)


class Logon(AuthBase):
    """One logon on one connection. What seals the messages is its own, as `winrm.encryption` asks for it."""

    def __init__(self, login: Login, host: str, certificate: bytes | None, deadline: Deadline) -> None:
        """Ask the domain for a ticket. Raises `LoginRefused` or `Unreachable`; the host heard nothing."""
        self._deadline = deadline
        if _is_address(host):
            raise refused("kerberos_address")
        assert login.password is not None
        account, _, realm = login.username.rpartition("@")
        principal, password = f"{account}@{realm.upper()}", login.password
        bindings = _bindings(certificate) if certificate is not None else b""

        def asked() -> tuple[gssapi.Initiator, bytes]:
            made = gssapi.Initiator(principal, password.reveal(), f"HTTP@{host}", bindings)
            return made, made.step()

        self._context, token = self._within(asked)
        self.header = f"Negotiate {base64.b64encode(token).decode()}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add nothing: the logon is the connection's."""
        return request

    def finish(self, answer: requests.Response) -> None:
        """Judge what the host answered to the ticket. Raises `LoginRefused`."""
        shown = answer.headers.get("WWW-Authenticate", "")
        found = re.search(r"(?:Negotiate|Kerberos) ([A-Za-z0-9+/=]{16,65536})", shown)
        if found and not self._context.is_established:
            try:
                token = base64.b64decode(found[1])
                self._within(lambda: self._context.step(token))
            except ValueError:
                raise refused("kerberos_off") from None
            except LoginRefused as error:
                # What the domain calls a wrong password, a host says of a ticket that it cannot read.
                raise refused("kerberos_service") if error.code == "kerberos_password" else error from None
        if answer.status_code == requests.codes.unauthorized:
            raise refused("login_refused" if "Negotiate" in shown or "Kerberos" in shown else "kerberos_off")
        if answer.ok and not self._context.is_established:
            raise refused("kerberos_unproven")

    def wrap_winrm(self, _host: str, message: bytes) -> tuple[bytes, bytes]:
        """As `winrm.encryption` asks for it. Raises `Unreachable` or `LoginRefused`."""
        return _judged(lambda: self._context.seal(message))

    def unwrap_winrm(self, _host: str, message: bytes, signature: bytes) -> bytes:
        """As `winrm.encryption` asks for it. Raises `Unreachable` or `LoginRefused`."""
        return _judged(lambda: self._context.unseal(signature + message))

    def _within(self, ask: Callable[[], gssapi.Answer]) -> gssapi.Answer:
        """Ask in a thread: how long the library waits for a silent domain is not ours to say."""
        answers: list[gssapi.Answer] = []
        errors: list[ConnectorError] = []

        def run() -> None:
            try:
                answers.append(_judged(ask))
            except ConnectorError as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(min(self._deadline.left(), threading.TIMEOUT_MAX))
        if errors:
            raise errors[0]
        if not answers:
            raise Unreachable(reasons.sentence("kdc_away"), code="kdc_away")
        return answers[0]


def refused(code: str) -> LoginRefused:
    """What to raise for a reason of Kerberos', or of the login's."""
    return LoginRefused(reasons.sentence(code), code=code)


def _judged(ask: Callable[[], gssapi.Answer]) -> gssapi.Answer:
    try:
        return ask()
    except gssapi.Missing:
        raise refused("kerberos_missing") from None
    except gssapi.Failed as failed:
        code = _BY_NUMBER.get(failed.minor, "")
        if failed.major >> 16 & 0xFF in _EXPIRED:
            code = "kerberos_expired"
        if code in ("kdc_away", "kerberos_expired"):
            raise Unreachable(reasons.sentence(code), code=code) from None
        raise refused(code or "kerberos_failed") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _bindings(certificate: bytes) -> bytes:
    """RFC 5929, tls-server-end-point: the certificate's hash, by which a host in between is refused."""
    used = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    is_weak = used is None or isinstance(used, hashes.MD5 | hashes.SHA1)
    name = "sha256" if used is None or is_weak else used.name
    return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()
