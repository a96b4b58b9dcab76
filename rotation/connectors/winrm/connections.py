"""One connection to a host that speaks WinRM: where it may go, who answers there, how long it may take.

The connection is made and its certificate is judged before a library for HTTP hears of it, and no second one
is ever made in its place: NTLM's keys belong to the connection, and another logon would be another attempt.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import hashlib
import http
import select
import socket
import ssl
import struct
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import requests
from requests.adapters import HTTPAdapter
from spnego.exceptions import SpnegoError
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError
from winrm.encryption import Encryption
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from rotation.connectors import dialling
from rotation.connectors.base import (
    ConnectorError,
    Endpoint,
    HostKey,
    HostKeyChanged,
    Identity,
    Login,
    LoginRefused,
    Refused,
    Unreachable,
)
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import authorities, introductions, kerberos, reasons

Answer = TypeVar("Answer")

#: What is pinned: a certificate itself, or an authority that signs the certificates of hosts.
CERTIFICATE: Final = "x509"
AUTHORITY: Final = authorities.AUTHORITY

_MOST_BYTES = 8 * 1024 * 1024
_OPERATION_SECONDS = 20
#: Numbers of faults, from pywinrm's source and recordings (MS-WSMV names no numbers).
_NOT_ALLOWED, _NO_PROGRAM = 5, 2147942402
_QUOTAS = (2150859173, 2150859174)
#: X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NOT_YET, _EXPIRED, _NAMES = 9, 10, (62, 64)
#: What pywinrm and what it stands on raise for a host that answers with something else than WS-Man.
_PASSING = (400, 408, 413, 429)  # of statuses, those that WinRM gives to what it takes the next time
_ODD = (
    requests.RequestException, HTTPError, OSError, KeyError, AssertionError, StopIteration, ET.ParseError,
    ValueError, IndexError, AttributeError, TypeError, struct.error, SpnegoError, WinRMError,
    WinRMTransportError,
)  # fmt: skip


class Transport(enum.Enum):
    """How messages are kept from others."""

    HTTPS = "https"  # by TLS, to a certificate that is pinned
    HTTP = "http"  # each message is sealed with the keys of the NTLM logon; never in clear

    @property
    def identity(self) -> Identity:
        """What is pinned."""
        return Identity.NAME if self is Transport.HTTP else Identity.CERTIFICATE

    def changed(self) -> HostKeyChanged:
        """What to raise where a host shows another one."""
        code = self.identity.changed
        return HostKeyChanged(reasons.sentence(code), code=code)


class _Limits:
    """Until when a socket may be used, and how much it may receive."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.received_bytes = 0

    def seconds(self) -> float:
        left = self.deadline.left()
        if not left or self.received_bytes > _MOST_BYTES:
            raise TimeoutError
        return min(left, 3600.0)


class _Bounded:
    """Ends a socket at a deadline or after a number of bytes, even if the host keeps sending.

    A timeout of a library starts again with every byte, so a host that sends one byte a second would hold a
    worker for hours.
    """

    limits: _Limits

    def recv_into(self, *given: Any) -> int:
        self.settimeout(self.limits.seconds())  # type: ignore[attr-defined]
        received: int = super().recv_into(*given)  # type: ignore[misc]
        self.limits.received_bytes += received
        return received

    def sendall(self, *given: Any) -> None:
        self.settimeout(self.limits.seconds())  # type: ignore[attr-defined]
        super().sendall(*given)  # type: ignore[misc]


class _Plain(_Bounded, socket.socket):
    """A connection without TLS."""


class _Secure(_Bounded, ssl.SSLSocket):
    """A connection with TLS."""


class _Connection(HTTPConnection):
    """A connection of urllib3's over a socket that is there already; there is no other one."""

    def __init__(self, *given: Any, sockets: list[socket.socket], **options: Any) -> None:
        super().__init__(*given, **options)
        self._sockets = sockets

    def _new_conn(self) -> socket.socket:
        if not self._sockets:
            raise NewConnectionError(self, "the connection has ended")
        return self._sockets.pop()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _Heard:
    """What the answers over one connection have said of the host, beside what they are about."""

    def __init__(self) -> None:
        self.answers = 0
        self.status = 0  # of the last answer; 0 where there was none
        self.kind = ""  # ... and its Content-Type
        self.has_ntlm = False  # it went on with a logon
        self.ahead_seconds: float | None = None  # its clock, before ours

    def note(self, answer: requests.Response) -> None:
        """Keep what this one says."""
        self.answers += 1
        self.status, self.kind = answer.status_code, answer.headers.get("Content-Type", "").lower()
        header = answer.headers.get("WWW-Authenticate", "")
        self.has_ntlm |= introductions.is_challenge(header)
        if (told := introductions.time_in(header)) is not None:
            self.ahead_seconds = told - time.time()

    def is_without_ntlm(self) -> bool:
        """Whether it wants a logon, and has not gone on with NTLM's."""
        return self.status == http.HTTPStatus.UNAUTHORIZED and not self.has_ntlm

    def unlike_winrm(self, limits: _Limits) -> str:
        """Return the code for an answer that WinRM does not give; nothing for one that it may give."""
        if not self.answers and limits.received_bytes and limits.deadline.left():
            return "not_winrm"  # it speaks something else than HTTP
        if 300 <= self.status < 400 or (self.status and "html" in self.kind):
            return "web_page"
        # An error of the server's, or none at all, may be gone the next time.
        return "not_winrm" if 0 < self.status < 500 and self.status not in _PASSING else ""


class _Adapter(HTTPAdapter):
    """Sends every request over the one connection."""

    def __init__(self, endpoint: Endpoint, sockets: list[socket.socket]) -> None:
        super().__init__(max_retries=0)
        self.heard = _Heard()
        self._only = _Pool(endpoint.address, endpoint.port, maxsize=1, sockets=sockets)

    def send(self, *given: Any, **options: Any) -> requests.Response:
        """Send it, and keep what the answer says of the host."""
        self.heard.status = 0
        answer = super().send(*given, **options)
        self.heard.note(answer)
        return answer

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._only

    def cert_verify(self, *_: Any) -> None:
        """Do nothing: the certificate was judged when the connection was made."""

    def close(self) -> None:
        self._only.close()
        super().close()


class Session:
    """A connection on which one account is logged on, or will be with the first message."""

    def __init__(self, endpoint: Endpoint, login: Login, transport: Transport, deadline: Deadline) -> None:
        """Connect and judge the certificate. Raises `Unreachable`, `HostKeyChanged` or `LoginRefused`."""
        if not login.password:
            raise LoginRefused(reasons.sentence("no_credential"), code="no_credential")
        self.login = login
        self._limits = _Limits(deadline)
        made = _dialled(endpoint, transport, self._limits)
        self._socket = made
        self.is_broken = False
        self.is_logged_on = False  # shown by the first answer of WS-Man, a fault as well
        self.protocol = _protocol(endpoint, login, transport)
        session = self.protocol.transport.build_session()
        session.trust_env = False
        session.max_redirects = 0
        adapter = _Adapter(endpoint, [made])
        self._heard = adapter.heard
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        try:
            if login.by_kerberos:
                self._log_on_by_kerberos(endpoint, session, transport)
            elif transport is Transport.HTTP:
                self.protocol.transport.message_encryption = "always"
                _require_name(_introduced(endpoint, adapter, self._limits), endpoint)
                self.ask(self.protocol.transport.setup_encryption, session)
        except BaseException:
            self.close()
            raise

    def _log_on_by_kerberos(
        self, endpoint: Endpoint, session: requests.Session, transport: Transport
    ) -> None:
        """Log on before the first message; what the host answers shows which service it is."""
        certificate = self._socket.getpeercert(True) if isinstance(self._socket, _Secure) else None
        logon = kerberos.Logon(self.login, endpoint.address, certificate, self._limits.deadline)
        session.auth = logon

        def greet() -> requests.Response:
            answer = session.post(
                self.protocol.transport.endpoint,
                headers={"Authorization": logon.header},
                timeout=_OPERATION_SECONDS,
                allow_redirects=False,
            )
            logon.finish(answer)
            answer.raise_for_status()
            return answer

        self.ask(greet)
        if transport is Transport.HTTP:
            self.protocol.transport.encryption = Encryption(session, "kerberos")

    def allow(self, deadline: Deadline) -> None:
        """Set a new deadline, and allow the full number of bytes again."""
        self._limits.deadline = deadline
        self._limits.received_bytes = 0

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._limits.deadline.left()

    @property
    def ahead_seconds(self) -> float | None:
        """By how much the host's clock is before ours, as its logon said; None where it did not."""
        return self._heard.ahead_seconds

    def is_open(self) -> bool:
        """Whether the connection seems to be there: nothing has broken it, and the host has not ended it."""
        if self.is_broken:
            return False
        if self._socket.fileno() < 0:
            return False
        readable, _, _ = select.select([self._socket], [], [], 0)
        return not readable

    def ask(self, call: Callable[..., Answer], *given: Any, **options: Any) -> Answer:
        """Make one call of pywinrm's, and raise what is then known.

        Raises `LoginRefused`, `Refused` for an account without rights, `Unreachable` for all that says
        nothing about the call, and `WinRMOperationTimeoutError` where there is no output yet.
        """
        self.protocol.operation_timeout_sec = max(1, min(_OPERATION_SECONDS, int(self.left()) - 1))
        try:
            answer = call(*given, **options)
        except WinRMOperationTimeoutError:
            raise
        except ConnectorError:
            self.is_broken = True
            raise
        except InvalidCredentialsError:
            self.is_broken = True
            if self.login.by_kerberos:
                # The ticket had let it in on this connection before.
                code = "kerberos_expired"
                raise Unreachable(reasons.sentence(code), code=code) from None
            if self._is_without_ntlm():
                raise _ntlm_off() from None
            raise LoginRefused from None
        except WSManFaultError as fault:
            self.is_logged_on = True
            raise _of_fault(fault) from None
        except _ODD:
            self.is_broken = True
            if self._is_without_ntlm():
                raise _ntlm_off() from None
            raise _no_answer(self._heard, self._limits) from None
        self.is_logged_on = True
        return answer

    def _is_without_ntlm(self) -> bool:
        return not self.login.by_kerberos and self._heard.is_without_ntlm()

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self.protocol.transport.close_session()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def scan_name(endpoint: Endpoint, deadline: Deadline) -> tuple[HostKey, ...]:
    """Return the name by which the host calls itself over HTTP; no login. Raises `Unreachable`."""
    limits = _Limits(deadline)
    made = _dialled(endpoint, Transport.HTTP, limits, is_login=False)
    try:
        return (introductions.pin(_introduced(endpoint, _Adapter(endpoint, [made]), limits)),)
    except LoginRefused as refused:
        raise Unreachable(str(refused), code=refused.code) from None
    finally:
        made.close()


def _introduced(endpoint: Endpoint, adapter: _Adapter, limits: _Limits) -> str:
    """Return the name that the host gives over this connection.

    Raises `Unreachable` where it gives none, or `LoginRefused` where it has no NTLM.
    """
    with requests.Session() as session:
        session.trust_env = False
        session.max_redirects = 0
        session.mount("http://", adapter)
        try:
            answer = session.post(
                f"http://{_host(endpoint)}:{endpoint.port}/wsman",
                headers={"Authorization": f"Negotiate {introductions.GREETING}"},
                auth=lambda request: request,
                timeout=_OPERATION_SECONDS,
                allow_redirects=False,
            )
        except _ODD:
            raise _no_answer(adapter.heard, limits) from None
        finally:
            session.adapters.clear()  # or its end would be that of the connection
    name = introductions.name_in(answer.headers.get("WWW-Authenticate", ""))
    if name:
        return name
    if adapter.heard.is_without_ntlm():
        raise _ntlm_off()
    if code := adapter.heard.unlike_winrm(limits):
        raise Unreachable(reasons.sentence(code), code=code)
    raise Unreachable(reasons.sentence("no_winrm"), code="no_winrm")


def _ntlm_off() -> LoginRefused:
    return LoginRefused(reasons.sentence("ntlm_off"), code="ntlm_off")


def _no_answer(heard: _Heard, limits: _Limits) -> Unreachable:
    """What to raise where no answer of WS-Man came."""
    code = heard.unlike_winrm(limits)
    return Unreachable(reasons.sentence(code or "no_answer"), code=code)


def _require_name(name: str, endpoint: Endpoint) -> None:
    pins = [line.split() for line in endpoint.host_keys]
    if introductions.pin(name).line.split() not in [pin for pin in pins if pin[0] == introductions.NAME]:
        raise Transport.HTTP.changed()


def scan(endpoint: Endpoint, deadline: Deadline) -> tuple[HostKey, ...]:
    """Return the certificate that the host shows, whatever it is; no login. Raises `Unreachable`."""
    plain = _connected(endpoint, deadline)
    try:
        der = _handshake(plain, _open_context(), endpoint, _Limits(deadline)).getpeercert(binary_form=True)
    finally:
        plain.close()
    assert der
    blob = base64.b64encode(der).decode()
    return (HostKey(CERTIFICATE, blob, hashlib.sha256(der).hexdigest().upper()),)


def _of_fault(fault: WSManFaultError) -> Refused | Unreachable:
    if fault.wsman_fault_code == _NOT_ALLOWED:
        return Refused(reasons.sentence("not_administrator"), code="not_administrator")
    if fault.wsman_fault_code == _NO_PROGRAM:
        return Refused(reasons.sentence("no_powershell"), code="no_powershell")
    if fault.wmierror_code in _QUOTAS or fault.wsman_fault_code in _QUOTAS:
        return Unreachable(reasons.sentence("shells_full"), code="shells_full")
    return Unreachable(reasons.sentence("no_answer"))


def _host(endpoint: Endpoint) -> str:
    return f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address


def _protocol(endpoint: Endpoint, login: Login, transport: Transport) -> Protocol:
    assert login.password is not None
    return Protocol(
        f"{transport.value}://{_host(endpoint)}:{endpoint.port}/wsman",
        transport="ntlm",
        username=login.username,
        password="" if login.by_kerberos else login.password.reveal(),
        ca_trust_path=None,  # type: ignore[arg-type]  # by its documentation: none
        server_cert_validation="validate",
        # Set up by hand over HTTP, once the only connection is in its place.
        message_encryption="never",
        operation_timeout_sec=_OPERATION_SECONDS,
        read_timeout_sec=_OPERATION_SECONDS + 10,
        proxy=None,
    )


def _dialled(
    endpoint: Endpoint, transport: Transport, limits: _Limits, *, is_login: bool = True
) -> socket.socket:
    """Return a connection to the host that is pinned; over HTTP, what seals the messages shows the host."""
    if transport is Transport.HTTP:
        if not any(line.startswith(f"{introductions.NAME} ") for line in endpoint.host_keys) and is_login:
            raise Transport.HTTP.changed()
        plain = _connected(endpoint, limits.deadline)
        bounded = _Plain(plain.family, plain.type, plain.proto, fileno=plain.detach())
        bounded.limits = limits
        return bounded
    pins = [tuple(line.split()[:2]) for line in endpoint.host_keys]
    exact = {pin[1] for pin in pins if pin[0] == CERTIFICATE}
    signers = [pin[1] for pin in pins if pin[0] == AUTHORITY]
    if not exact and not signers:
        raise Transport.HTTPS.changed()
    plain = _connected(endpoint, limits.deadline)
    try:
        secure = _handshake(plain, _open_context() if exact else _strict(signers), endpoint, limits)
    except BaseException:
        plain.close()
        raise
    shown = base64.b64encode(secure.getpeercert(binary_form=True) or b"").decode()
    if exact and shown not in exact:
        secure.close()
        raise Transport.HTTPS.changed()
    return secure


def _handshake(
    plain: socket.socket, context: ssl.SSLContext, endpoint: Endpoint, limits: _Limits
) -> ssl.SSLSocket:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Secure
    try:
        plain.settimeout(limits.seconds())
        secure = context.wrap_socket(plain, server_hostname=endpoint.address)
    except ssl.SSLCertVerificationError as error:
        code = _why_not_trusted(error.verify_code)
        raise HostKeyChanged(reasons.sentence(code), code=code) from None
    except OSError:
        raise Unreachable(reasons.sentence("no_winrm"), code="no_winrm") from None
    assert isinstance(secure, _Secure)
    secure.limits = limits
    return secure


def _why_not_trusted(number: int) -> str:
    if number == _NOT_YET:
        return "certificate_early"
    if number == _EXPIRED:
        return "certificate_expired"
    return "certificate_name" if number in _NAMES else "certificate_untrusted"


def _open_context() -> ssl.SSLContext:
    """For a certificate that is compared byte for byte: who signed it for which name says nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _strict(pinned: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Or an authority that another one has signed would be trusted only with that one beside it.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    for blob in pinned:
        context.load_verify_locations(cadata=base64.b64decode(blob))
    return context


def _connected(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    plain = dialling.dial(endpoint, deadline, silent=reasons.sentence("no_winrm"))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain
