"""A simulated Windows host on the network: WS-Man over HTTP with sealed messages, and over HTTPS.

What is modelled: Create, Command, Send, Receive, Signal and Delete (MS-WSMV) with the faults that pywinrm's
source and recordings name; NTLM by a real acceptor, once for each connection; Kerberos by MIT's acceptor, for
accounts of a domain; no Basic; 500 without a body for a message that is not sealed; a quota of shells; the
limits of a command line. What is not: CredSSP, PSRP, WMI over WS-Man. All of it was written from documents;
no real Windows has confirmed it.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import tempfile
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from xml.sax.saxutils import escape

from lab.windows import kerberos, ntlm
from lab.windows.certificates import Certificate
from lab.windows.dotnet import Windows
from lab.windows.hosts import WindowsHost
from lab.windows.powershell import Exited, Interpreter
from lab.windows.values import Failure, Killed, Unsupported

_SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
_ADDRESSING: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_SHELL: Final = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
_WSMAN: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
_BOUNDARY: Final = b"--Encrypted Boundary"
_SEALED: Final = "application/HTTP-SPNEGO-session-encrypted"
_POWERSHELL: Final = "c:\\windows\\system32\\windowspowershell\\v1.0\\powershell.exe"
#: Faults by their numbers: no such shell or command, nothing to receive yet, not allowed, no such program.
GONE, NOTHING_YET, NOT_ALLOWED, NO_PROGRAM = 2150858843, 2150858793, 5, 2147942402
QUOTA: Final = 2150859173
OPERATIONS: Final = ("Create", "Command", "Send", "Receive", "Signal", "Delete")


class _Fault(Exception):
    def __init__(self, code: int, *, is_quota: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.is_quota = is_quota


class Process:
    """One command of a shell, run in a thread."""

    def __init__(self, host: WindowsHost, user: str, line: str) -> None:
        self._host = host
        self._around = Windows(host, user, self)
        self._line = line
        self._changed = threading.Condition()
        self._given = b""
        self._has_ended_input = False
        self._said: deque[tuple[str, bytes]] = deque()
        self.exit_code: int | None = None
        self.is_killed = False
        host.record.add("command line", line)
        host.record.add("event 4688", line)
        host.record.add("event 400", line)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        code = 1
        try:
            code = self._run_script()
        except Failure as failure:
            self._say("stderr", f'#< CLIXML\r\n<Objs><S S="Error">{escape(failure.id)}</S></Objs>')
        except Killed:
            code = -1
        except Unsupported as unsupported:
            self._host.record.add("unsupported", str(unsupported))
            self._say("stderr", f"UNSUPPORTED: {unsupported}")
            code = 99
        finally:
            self._around.end()
            with self._changed:
                self.exit_code = code
                self._changed.notify_all()

    def _run_script(self) -> int:
        program, _, rest = self._line.partition(" ")
        options = rest.split()
        if program.lower() not in (_POWERSHELL, "powershell", "powershell.exe") or not options:
            raise Unsupported(program)
        *switches, option, coded = options
        known = {"-noprofile", "-noninteractive"}
        if option.lower() != "-encodedcommand" or {s.lower() for s in switches} - known:
            raise Unsupported(rest[:80])
        script = base64.b64decode(coded).decode("utf-16-le")
        self._host.record.add("event 4104", script)
        time.sleep(self._host.start_seconds)
        try:
            return Interpreter(self._around).run(script)
        except Exited as ended:
            return ended.code

    def read_line(self) -> str | None:
        """As `Streams.read_line`."""
        with self._changed:
            while b"\n" not in self._given and not self._has_ended_input and not self.is_killed:
                self._changed.wait()
            if self.is_killed:
                raise Killed
            line, newline, rest = self._given.partition(b"\n")
            self._given = rest
            return line.rstrip(b"\r").decode(errors="replace") if line or newline else None

    def write(self, line: str) -> None:
        """As `Streams.write`."""
        self._say("stdout", line + "\r\n")

    def _say(self, stream: str, words: str) -> None:
        self._host.record.add(stream, words)
        with self._changed:
            self._said.append((stream, words.encode()))
            self._changed.notify_all()

    def give(self, more: bytes, *, is_last: bool) -> None:
        """Take more of its input."""
        self._host.record.add("stdin", more)
        with self._changed:
            self._given += more
            self._has_ended_input |= is_last
            self._changed.notify_all()

    def take(self, seconds: float) -> tuple[list[tuple[str, bytes]], int | None] | None:
        """What it said since the last time, and its exit code once it has ended; None for nothing yet."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._said and self.exit_code is None:
                if not self._changed.wait(deadline - time.monotonic()):
                    return None
            said = list(self._said)
            self._said.clear()
            return said, self.exit_code

    def kill(self) -> None:
        """End it."""
        with self._changed:
            self.is_killed = True
            self._changed.notify_all()


@dataclass
class _Shell:
    user: str
    processes: dict[str, Process] = field(default_factory=dict)


class Endpoint:
    """A simulated host that listens. Leave it to stop it."""

    def __init__(
        self,
        host: WindowsHost,
        address: str,
        *,
        port: int = 0,
        certificate: Certificate | None = None,
        most_seconds: float = 60.0,
    ) -> None:
        self.host = host
        self.most_seconds = most_seconds
        self.connections = 0
        self.attempts = 0  # logons that were tried
        self.requests: list[str] = []  # the operations that arrived, in order
        self.shells: dict[str, _Shell] = {}
        self.opened = 0  # shells, in all
        self.is_away = False  # every connection is ended at once, before a logon
        self._faults: dict[tuple[str, str, int], str] = {}
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.certificate = certificate
        self._server = _Server((address, port), _Handler, self)
        self.address = address
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no more, and end what is open."""
        self._server.shutdown()
        self._server.server_close()
        self.drop()
        for shell in list(self.shells.values()):
            for process in shell.processes.values():
                process.kill()

    def drop(self) -> None:
        """End every connection; shells and what runs in them stay."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def arm(self, operation: str, when: str, what: str, *, nth: int = 1) -> None:
        """Have the `nth` operation of this name from now on fail, `before` it is done or `after`.

        `what` is `drop` (the connection ends without an answer), or a status of HTTP such as `503`.
        """
        assert operation in OPERATIONS
        assert when in ("before", "after")
        self._faults[(operation, when, self._counts.get(operation, 0) + nth)] = what

    def fault(self, operation: str, when: str) -> str:
        """What is armed for the operation that is under way."""
        return self._faults.pop((operation, when, self._counts.get(operation, 0)), "")

    # -- operations -------------------------------------------------------------------------------

    def answer(self, user: str, message: bytes) -> tuple[str, bytes]:
        """Carry out one message; return what is to happen to the answer, and the answer."""
        root = ET.fromstring(message)  # noqa: S314 - a test's own client
        operation = _find(root, _ADDRESSING, "Action").rpartition("/")[2]
        with self._lock:
            self.requests.append(operation)
            self._counts[operation] = self._counts.get(operation, 0) + 1
        if what := self.fault(operation, "before"):
            return what, b""
        selector = root.find(f".//{{{_WSMAN}}}Selector")
        shell_id = selector.text or "" if selector is not None else ""
        seconds = float(_find(root, _WSMAN, "OperationTimeout").strip("PTS"))
        done = getattr(self, "_" + operation.lower())(user, shell_id, root, seconds)
        relates = _find(root, _ADDRESSING, "MessageID")
        return self.fault(operation, "after"), _envelope(operation + "Response", relates, done)

    def _create(self, user: str, _shell_id: str, _root: Any, _seconds: float) -> str:
        if not self.host.is_administrator(user):
            raise _Fault(NOT_ALLOWED)
        with self._lock:
            if sum(shell.user == user.lower() for shell in self.shells.values()) >= self.host.shell_quota:
                raise _Fault(QUOTA, is_quota=True)
            made = str(uuid.uuid4()).upper()
            self.shells[made] = _Shell(user.lower())
            self.opened += 1
        return (
            '<x:ResourceCreated xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer">'
            f'<a:ReferenceParameters><w:SelectorSet xmlns:w="{_WSMAN}"><w:Selector Name="ShellId">{made}'
            "</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>"
        )

    def _command(self, user: str, shell_id: str, root: Any, _seconds: float) -> str:
        shell = self._shell(shell_id)
        command = _find(root, _SHELL, "Command")
        line = " ".join([command, *(a.text or "" for a in root.iter(f"{{{_SHELL}}}Arguments"))])
        options = {option.get("Name"): option.text for option in root.iter(f"{{{_WSMAN}}}Option")}
        is_direct = options.get("WINRS_SKIP_CMD_SHELL") == "TRUE"
        if is_direct and command.lower() != _POWERSHELL:
            raise _Fault(NO_PROGRAM)
        if len(line) > (32_767 if is_direct else 8_191):
            raise _Fault(2147942606)
        made = str(uuid.uuid4()).upper()
        shell.processes[made] = Process(self.host, user, line)
        command_id = f"<rsp:CommandId>{made}</rsp:CommandId>"
        return f'<rsp:CommandResponse xmlns:rsp="{_SHELL}">{command_id}</rsp:CommandResponse>'

    def _send(self, _user: str, shell_id: str, root: Any, _seconds: float) -> str:
        stream = next(root.iter(f"{{{_SHELL}}}Stream"))
        process = self._process(shell_id, stream.get("CommandId"))
        process.give(base64.b64decode(stream.text or ""), is_last=stream.get("End") == "true")
        return f'<rsp:SendResponse xmlns:rsp="{_SHELL}"/>'

    def _receive(self, _user: str, shell_id: str, root: Any, seconds: float) -> str:
        wanted = next(root.iter(f"{{{_SHELL}}}DesiredStream")).get("CommandId")
        taken = self._process(shell_id, wanted).take(min(seconds, self.most_seconds))
        if taken is None:
            raise _Fault(NOTHING_YET)
        said, code = taken
        streams = "".join(
            f'<rsp:Stream Name="{name}" CommandId="{wanted}">{base64.b64encode(words).decode()}</rsp:Stream>'
            for name, words in said
        )
        state = "Running" if code is None else "Done"
        ended = "" if code is None else f"<rsp:ExitCode>{code & 0xFFFF_FFFF}</rsp:ExitCode>"
        return (
            f'<rsp:ReceiveResponse xmlns:rsp="{_SHELL}">{streams}<rsp:CommandState CommandId="{wanted}" '
            f'State="{_SHELL}/CommandState/{state}">{ended}</rsp:CommandState></rsp:ReceiveResponse>'
        )

    def _signal(self, _user: str, shell_id: str, root: Any, _seconds: float) -> str:
        wanted = next(root.iter(f"{{{_SHELL}}}Signal")).get("CommandId")
        self._process(shell_id, wanted).kill()
        self._shell(shell_id).processes.pop(wanted, None)
        return f'<rsp:SignalResponse xmlns:rsp="{_SHELL}"/>'

    def _delete(self, _user: str, shell_id: str, _root: Any, _seconds: float) -> str:
        self._shell(shell_id)
        with self._lock:
            shell = self.shells.pop(shell_id)
        for process in shell.processes.values():
            process.kill()
        return ""

    def _shell(self, shell_id: str) -> _Shell:
        with self._lock:
            if shell_id not in self.shells:
                raise _Fault(GONE)
            return self.shells[shell_id]

    def _process(self, shell_id: str, command_id: str | None) -> Process:
        found = self._shell(shell_id).processes.get(command_id or "")
        if found is None:
            raise _Fault(GONE)
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler], owner: Endpoint
    ) -> None:
        self.owner = owner
        super().__init__(place, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.owner.is_away:
            request.close()
            return
        with self.owner._lock:
            self.owner.connections += 1
            self.owner._sockets.add(request)
        certificate = self.owner.certificate
        try:
            if certificate is not None:
                request = _tls(certificate).wrap_socket(request, server_side=True)
                with self.owner._lock:
                    self.owner._sockets.add(request)
            super().finish_request(request, client_address)
        except OSError:
            return
        finally:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
            request.close()
            with self.owner._lock:
                self.owner._sockets = {one for one in self.owner._sockets if one.fileno() >= 0}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to say."""


class _Handler(BaseHTTPRequestHandler):
    """One connection: a logon, then messages of the one who logged on."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._acceptor: ntlm.Acceptor | kerberos.Acceptor | None = None
        self._user = ""
        self._shown: dict[str, str] = {}  # what goes with the next answer

    @property
    def _owner(self) -> Endpoint:
        return self.server.owner

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if token and kind in ("NTLM", "Negotiate"):
            given = base64.b64decode(token)
            # A token of the GSS-API begins so (RFC 2743 3.1); one of NTLM's with its name.
            takes = self._take_ticket if given[:1] == b"\x60" else self._authenticate
            if not takes(kind, given):
                return
        if not self._user or self._owner.host.forgets_logons:
            self._refuse()
            return
        is_sealed = "multipart/encrypted" in self.headers.get("Content-Type", "")
        if self.path != "/wsman":
            self._reply(404)
        elif not body:
            self._reply(200, b"", **self._shown)
            self._shown = {}
        elif self._owner.certificate is None and not is_sealed:
            self._reply(500)
        else:
            assert self._acceptor is not None
            self._carry_out(self._acceptor, body, is_sealed=is_sealed)

    def _authenticate(self, kind: str, token: bytes) -> bool:
        """Go on with a logon; whether the message may be looked at now."""
        certificate = self._owner.certificate
        if not self._owner.host.has_ntlm:
            self._refuse()
            return False
        if token[8:12] == b"\1\0\0\0":
            self._acceptor = ntlm.Acceptor(certificate.der if certificate else None)
            challenge = base64.b64encode(
                self._acceptor.challenge(token, self._owner.host.name, self._owner.host.clock_seconds)
            ).decode()
            self._reply(401, WWW_Authenticate=f"{kind} {challenge}")
            return False
        if not isinstance(self._acceptor, ntlm.Acceptor):
            self._refuse()
            return False
        with self._owner._lock:
            self._owner.attempts += 1
        domain, name = ntlm.names(token)
        username = f"{domain}\\{name}" if domain else name
        host = self._owner.host
        account = host.account_of(username)
        try:
            self._acceptor.verify(token, account.nt_hash if account else None)
            is_right = True
        except ntlm.Refused:
            is_right = False
        if host.log_on(username, is_right) != 0:
            self._acceptor = None
            self._refuse()
            return False
        assert account is not None
        self._user = account.name
        return True

    def _take_ticket(self, kind: str, token: bytes) -> bool:
        """Judge a ticket of Kerberos; whether the message may be looked at now."""
        host, certificate = self._owner.host, self._owner.certificate
        if not host.keytab:
            self._refuse()
            return False
        with self._owner._lock:
            self._owner.attempts += 1
        named = host.named_certificate or certificate.der if certificate else None
        acceptor = kerberos.Acceptor(host.keytab, named)
        try:
            user, answer = acceptor.accept(token)
        except kerberos.Refused as refused:
            told = base64.b64encode(refused.answer).decode()
            self._reply(401, WWW_Authenticate=f"{kind} {told}".strip())
            return False
        host.record.add("event 4624", user)
        self._acceptor, self._user = acceptor, user
        if not host.hides_itself:
            self._shown = {"WWW_Authenticate": f"{kind} {base64.b64encode(answer).decode()}"}
        return True

    def _carry_out(
        self, acceptor: ntlm.Acceptor | kerberos.Acceptor, body: bytes, *, is_sealed: bool
    ) -> None:
        message = acceptor.unseal(_payload(body)) if is_sealed else body
        status = 200
        try:
            what, answer = self._owner.answer(self._user, message)
        except _Fault as fault:
            what, answer, status = "", _fault(fault), 500
        if what == "drop":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        if what:
            self._reply(int(what))
            return
        if not is_sealed:
            self._reply(status, answer, Content_Type="application/soap+xml;charset=UTF-8")
            return
        kind = f'multipart/encrypted;protocol="{_SEALED}";boundary="Encrypted Boundary"'
        self._reply(status, _sealed(acceptor, answer), Content_Type=kind)

    def _refuse(self) -> None:
        self._user = ""
        self._reply(401, WWW_Authenticate="Negotiate")

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on standard error."""


def _payload(body: bytes) -> bytes:
    _, _, part = body.partition(b"Content-Type: application/octet-stream\r\n")
    return part.removesuffix(_BOUNDARY + b"--\r\n")


def _sealed(acceptor: ntlm.Acceptor | kerberos.Acceptor, message: bytes) -> bytes:
    head = (
        _BOUNDARY + b"\r\n\tContent-Type: " + _SEALED.encode() + b"\r\n"
        b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % len(message)
    )
    body = _BOUNDARY + b"\r\n\tContent-Type: application/octet-stream\r\n" + acceptor.seal(message)
    return head + body + _BOUNDARY + b"--\r\n"


def _find(root: Any, namespace: str, name: str) -> str:
    return next((node.text or "" for node in root.iter(f"{{{namespace}}}{name}")), "")


def _envelope(action: str, relates: str, body: str) -> bytes:
    return (
        f'<s:Envelope xmlns:s="{_SOAP}" xmlns:a="{_ADDRESSING}"><s:Header><a:Action>{action}</a:Action>'
        f"<a:RelatesTo>{escape(relates)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _fault(fault: _Fault) -> bytes:
    if fault.is_quota:
        detail = (
            '<p:MSFT_WmiError xmlns:p="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError">'
            f"<p:error_Code>{fault.code}</p:error_Code></p:MSFT_WmiError>"
        )
    else:
        name = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
        detail = f'<f:WSManFault xmlns:f="{name}" Code="{fault.code}" Machine="lab"/>'
    return (
        f'<s:Envelope xmlns:s="{_SOAP}"><s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code>'
        '<s:Reason><s:Text xml:lang="en-US">simulated</s:Text></s:Reason>'
        f"<s:Detail>{detail}</s:Detail></s:Fault></s:Body></s:Envelope>"
    ).encode()


def _tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.key + certificate.pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context
