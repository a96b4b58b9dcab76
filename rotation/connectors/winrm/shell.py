"""Run one constant script on a host and talk with it: what it asks for, what it is given, what it answers.

The script learns a nonce first. Only lines that begin with that nonce count as its answers.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final

from winrm.exceptions import WinRMOperationTimeoutError

from rotation.connectors.base import ConnectorError, Refused, Unreachable
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import reasons, scripts
from rotation.connectors.winrm.connections import Session
from secrets_app.crypto.plaintext import Plaintext

# Started without cmd.exe, which takes 8,191 characters and gives some a meaning; so with its full path.
_POWERSHELL: Final = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
_OPTIONS: Final = ("-NoProfile", "-NonInteractive", "-EncodedCommand")
#: After this the host ends a shell that was left behind. It is the shortest time that WinRM takes.
_IDLE: Final = "PT60S"
_GRACE_SECONDS = 3.0  # to close a shell once the deadline has passed
_MOST_CHARACTERS = 256 * 1024
_CONSTRAINED: Final = "KEYTURN CONSTRAINED"

Said = dict[str, Any]


class Silence(Exception):
    """No answer came from the script before the deadline, or it ended without one."""


class Script:
    """A script that runs. Its answers are objects of JSON, each with a word under `say`."""

    def __init__(self, session: Session, shell: str, command: str) -> None:
        self._session = session
        self._shell = shell
        self._command = command
        self._nonce = secrets.token_hex(16)
        self._text = ""
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        """Whether it is over, and has said all that it will."""
        return self._has_ended

    def tell(self, arguments: Sequence[str], *, is_last: bool) -> None:
        """Give it the nonce and what it is about."""
        self._send((self._nonce, *arguments), b"", is_last=is_last)

    def commit(self, value: Plaintext) -> None:
        """Give it the value, and the line without which it does nothing with the value."""
        self._send((value.reveal(),), f"{self._nonce} COMMIT\n".encode(), is_last=True)

    def next(self) -> Said:
        """Return its next answer. Raises `Silence`, or as `Session.ask`."""
        while True:
            while "\n" in self._text:
                line, _, self._text = self._text.partition("\n")
                # With code page 65001 the output may begin with a byte order mark.
                if (said := self._read(line.strip("\ufeff \r"))) is not None:
                    return said
            if self._has_ended or len(self._text) > _MOST_CHARACTERS or not self._session.left():
                raise Silence
            with contextlib.suppress(WinRMOperationTimeoutError):
                out, _, _, self._has_ended = self._session.ask(
                    self._session.protocol.get_command_output_raw, self._shell, self._command
                )
                self._text += out.decode("utf-8", errors="replace")
                if self._has_ended:
                    self._text += "\n"

    def _read(self, line: str) -> Said | None:
        if line == _CONSTRAINED:
            raise Refused(reasons.sentence("constrained"), code="constrained")
        nonce, _, rest = line.partition(" ")
        if nonce != self._nonce:
            return None
        try:
            said = json.loads(rest)
        except (ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) and isinstance(said.get("say"), str) else None

    def _send(self, texts: Sequence[str], more: bytes, *, is_last: bool) -> None:
        given = b"".join(base64.b64encode(text.encode()) + b"\n" for text in texts) + more
        self._session.ask(
            self._session.protocol.send_command_input, self._shell, self._command, given, end=is_last
        )


@contextlib.contextmanager
def running(session: Session, name: str, arguments: Sequence[str], *, is_last: bool) -> Iterator[Script]:
    """Start a script with its arguments. Its shell is closed at the end, in time of its own if need be."""
    protocol = session.protocol
    shell = session.ask(protocol.open_shell, codepage=65001, noprofile=True, idle_timeout=_IDLE)
    command = ""
    try:
        command = session.ask(
            protocol.run_command,
            shell,
            _POWERSHELL,
            [*_OPTIONS, scripts.encoded(name)],
            console_mode_stdin=False,
            skip_cmd_shell=True,
        )
        script = Script(session, shell, command)
        script.tell(arguments, is_last=is_last)
        yield script
    finally:
        _close(session, shell, command)


def _close(session: Session, shell: str, command: str) -> None:
    """End the command and the shell. One that stays is ended by the host after a minute."""
    if session.is_broken:
        return
    if session.left() < _GRACE_SECONDS:
        session.allow(Deadline(_GRACE_SECONDS))
    protocol = session.protocol
    with contextlib.suppress(ConnectorError, WinRMOperationTimeoutError):
        if command:
            session.ask(protocol.cleanup_command, shell, command)
    if not session.is_broken:
        with contextlib.suppress(ConnectorError, WinRMOperationTimeoutError):
            session.ask(protocol.close_shell, shell, close_session=False)


def look(session: Session, name: str, arguments: Sequence[str]) -> Said:
    """Run a script that only looks, and return what it says. Raises as `Session.ask`, or `Refused`."""
    with running(session, name, arguments, is_last=True) as script:
        try:
            return script.next()
        except Silence:
            raise silent(script) from None


def silent(script: Script) -> Refused | Unreachable:
    """What to raise for a script that has not answered, and to which no value was given."""
    if script.has_ended:
        return Refused(reasons.sentence("odd_answer"), code="odd_answer")
    return Unreachable(reasons.sentence("no_answer"))
