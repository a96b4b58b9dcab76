"""A conversation with a root shell on a host, in which every answer is marked with a nonce.

Exit statuses, banners and the output of start-up files are no evidence. A line counts only if it holds this
connection's nonce. The texts that we send never hold a marker in the form of an answer, so an echo of them
does not count. The order is the promise: the sudo password goes only to its own prompt, and a secret value
only to a script that has answered READY.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets
import time
from collections.abc import Mapping
from typing import NamedTuple

import paramiko

from rotation.connectors.base import LoginRefused, Manager, Refused, Sudo, Unreachable
from rotation.connectors.dialling import Deadline
from rotation.connectors.ssh import reasons
from rotation.connectors.ssh import scripts as ssh_scripts

_KEPT_BYTES = 64 * 1024
_FREED_SECONDS = 2.0  # in which a host gives back the place of a session that has ended

# What follows a nonce.
_MARKED = re.compile(rb" (?:(PROMPT)|([A-Z]{2,12})(?: ([^\n]{0,1000}))?\r?\n)")

# What OpenSSH and sudo say in English when they refuse; used for a better sentence, and never shown.
_MUST_CHANGE = re.compile(rb"password has expired|password change required", re.IGNORECASE)
_NEEDS_TERMINAL = re.compile(rb"must have a tty", re.IGNORECASE)
# A prompt that is not ours, and is still waited at.
_ASKS_FOR_MORE = re.compile(
    rb"(code|token|passcode|otp|one-time|factor|duo|pin)[^\n]{0,80}[:?>] ?$", re.IGNORECASE
)
_NO_EXEC = re.compile(rb"sh: .{0,40}(Permission denied|Operation not permitted)", re.IGNORECASE)
# sshd ends a command so, before it runs, where PAM opened no session (session.c, do_child).
_NO_SESSION_STATUS = 254
_LOOK_SECONDS = 3.0  # after which a silent sudo is looked at
_NOT_ALLOWED = re.compile(rb"not allowed to|not in the sudoers|may not run sudo", re.IGNORECASE)
_WANTS_PASSWORD = re.compile(rb"a password is required|a terminal is required", re.IGNORECASE)
_NO_ACCOUNT = re.compile(rb"account validation failure|account management error", re.IGNORECASE)
_WRONG_PASSWORD = re.compile(rb"incorrect (password|authentication) attempt|sorry, try again", re.IGNORECASE)

_TO_ROOT = {
    Sudo.NONE: 'exec sh -c "echo $n UP; exec sh"',
    # -k: a ticket that is still valid must not decide whether sudo asks. -n: and it may not wait.
    Sudo.PASSWORDLESS: 'exec sudo -n -k sh -c "echo $n UP; exec sh"',
    Sudo.PASSWORD: 'exec sudo -S -k -p "$n PROMPT" sh -c "echo $n UP; exec sh"',
}


class Silence(Exception):
    """No marked answer came."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended  # the host ended the channel and said so, and the connection is still up


class Answer(NamedTuple):
    """One marked line of the host: a word in capitals, and what follows it."""

    word: str
    rest: str


class Conversation:
    """One command on the host, and what it answers under its nonce. Keeps at most 64 KiB of what it says."""

    def __init__(self, transport: paramiko.Transport, deadline: Deadline) -> None:
        self._transport = transport
        self._deadline = deadline
        self.nonce = secrets.token_hex(16)
        self._heard = b""
        self._channel: paramiko.Channel | None = None
        #: Whether the host has said, as the channel was given back, that the command was at its end.
        self.has_ended = False

    def start(self, command: str) -> None:
        """Run `sh -c '...'` with the nonce as $n. The login shell may be any: fish and csh read this alike.

        Raises `Silence` when the host does not take the command.
        """
        channel: paramiko.Channel | None = None
        try:
            channel = self._open_session()
            channel.set_combine_stderr(True)
            channel.settimeout(self._deadline.left())
            channel.exec_command(f"sh -c 'n={self.nonce}; {command}'")
        except (paramiko.SSHException, OSError, EOFError) as error:
            # The host said no: to the channel, or to the command, whose channel we then have closed in turn.
            said_no = isinstance(error, paramiko.ChannelException) or bool(channel and channel.eof_sent)
            raise Silence(ended=said_no and self._host_answers()) from None
        self._channel = channel

    def _open_session(self) -> paramiko.Channel:
        patience = Deadline(min(_FREED_SECONDS, self._deadline.left()))
        while True:
            try:
                return self._transport.open_session(timeout=self._deadline.left())
            except paramiko.ChannelException:
                # One that has just ended may still count among the few that the host allows (MaxSessions).
                if not patience.left():
                    raise
                time.sleep(0.1)

    def _host_answers(self) -> bool:
        """Whether the connection outlived the channel: known from an answer, since it may break later.

        A connection that breaks, and a host that shuts down, end their channels first.
        """
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            # Any answer will do, and every server has to give one (RFC 4254, section 4).
            self._transport.global_request("keepalive@openssh.com", wait=True)
            return self._transport.is_active()
        return False

    def hear(self, *, seconds: float) -> Answer:
        """The next marked answer. Raises `Silence` when that time is over, or the host ends."""
        limit = Deadline(min(seconds, self._deadline.left()))
        while not (match := self._find()):
            received = self._receive(limit)
            if not received:
                raise Silence(ended=self._host_ended(limit))
            self._heard = self._heard[-_KEPT_BYTES:] + received
        self._heard = self._heard[match.end() :]
        prompt, word, rest = match.groups()
        return Answer((prompt or word).decode(), (rest or b"").decode("utf-8", "replace"))

    def _find(self) -> re.Match[bytes] | None:
        """The first marked answer that is there; a pattern for each nonce would cost more to make."""
        mark, at = self.nonce.encode(), -1
        while (at := self._heard.find(mark, at + 1)) >= 0:
            if match := _MARKED.match(self._heard, at + len(mark)):
                return match
        return None

    def _receive(self, limit: Deadline) -> bytes:
        """What the host says next; nothing once the channel is at its end."""
        channel = self._channel
        if channel is None or not limit.left():
            raise Silence(ended=False)
        try:
            channel.settimeout(limit.left())
            return channel.recv(32768)
        except (paramiko.SSHException, OSError, EOFError):
            raise Silence(ended=False) from None

    def _host_ended(self, limit: Deadline) -> bool:
        """Whether the command has ended on its own, on a connection that is still up.

        A broken connection ends its channels too, but only the host reports the end of a channel; and a
        command that a signal killed has no exit status.
        """
        channel = self._channel
        if channel is None or not channel.eof_received:
            return False
        channel.status_event.wait(min(1.0, limit.left()))
        killed = channel.closed and channel.exit_status == -1
        return not killed and self._host_answers()

    def tell(self, content: bytes) -> None:
        """Send to the command's standard input. Raises `Silence` when it is known that it was not taken."""
        if self._channel is None:
            raise Silence(ended=False)
        try:
            self._channel.settimeout(self._deadline.left() or 0.001)
            self._channel.sendall(content)
        except (paramiko.SSHException, OSError, EOFError):
            raise Silence(ended=False) from None

    def first(self) -> Answer:
        """The first marked answer; where none comes, find out if the host runs something else."""
        try:
            # Less than all that is left, so that there is time to find out why nothing was said.
            return self.hear(seconds=max(0.1, self._deadline.left() - 2.5))
        except Silence as silence:
            raise Silence(ended=silence.ended or self._ends_when_told()) from None

    def _ends_when_told(self) -> bool:
        """Close the command's input; whether it ends then tells a forced `cat` from a dead line."""
        if self._channel is None:
            return False
        try:
            self._channel.shutdown_write()
            while True:
                self.hear(seconds=2)
        except Silence as silence:
            return silence.ended
        except (paramiko.SSHException, OSError, EOFError):
            return False

    def close(self) -> None:
        """End the command's input and give the channel back, where possible once the host has ended it.

        A host counts a session as open until then, and may allow few on one connection (MaxSessions).
        """
        if self._channel is None:
            return
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            self._channel.shutdown_write()
            limit = Deadline(1)
            with contextlib.suppress(Silence):
                while self._receive(limit):
                    continue
            # Its output ends a little before it does.
            # Asked before it is closed from here, after which it would be so in any case.
            self.has_ended = self._channel.status_event.wait(limit.left())
            self._channel.close()

    def give(self, deadline: Deadline) -> None:
        """Go on until `deadline`."""
        self._deadline = deadline

    @property
    def is_open(self) -> bool:
        """Whether the host may still say something."""
        channel = self._channel
        return channel is not None and not channel.closed and self._transport.is_active()

    def said(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether the unmarked text that is still kept matches."""
        return pattern.search(self._heard) is not None

    @property
    def has_no_session(self) -> bool:
        """Whether sshd ran no command because PAM opened no session, or a file admits root only."""
        return self._channel is not None and self._channel.exit_status == _NO_SESSION_STATUS

    @property
    def password_must_change(self) -> bool:
        """Whether sshd ran no command because the account's password has to be changed first."""
        return self.said(_MUST_CHANGE)


class RootShell:
    """A shell that became root in one step, and runs one script; before it, any that are told no value."""

    def __init__(self, transport: paramiko.Transport, manager: Manager, deadline: Deadline) -> None:
        self._talk = Conversation(transport, deadline)
        self._transport = transport
        self._manager = manager
        self._deadline = deadline
        #: Our own address, as the host sees it; empty where it does not say.
        self.client_address = ""
        #: The host's own address and port for this connection, with a blank between; empty likewise.
        self.host_place = ""
        #: Whether the last script has ended and the shell takes another one.
        self.stays = False
        #: What a script here has seen of whether this very session is recorded; empty where none was asked.
        self.sudo_log = ""

    @property
    def manager(self) -> Manager:
        """As which account the shell became root, and how."""
        return self._manager

    @property
    def nonce(self) -> str:
        """What marks the answers, and the line that commits a change."""
        return self._talk.nonce

    @property
    def transport(self) -> paramiko.Transport:
        """The connection that it runs on."""
        return self._transport

    def give(self, deadline: Deadline) -> None:
        """Extend the deadline of the open shell to `deadline`."""
        self._deadline = deadline
        self._talk.give(deadline)

    def open(self) -> None:
        """Become root; no secret but the sudo password has been sent, and that only to its prompt.

        Raises `Refused` (`forced_command` or `sudo`), `LoginRefused` when the management
        account's own password has to be changed first, and `Unreachable` when the connection breaks.
        """
        self._start()
        prompts = 0
        while True:
            try:
                answer = self._hear_sudo()
            except Silence as silence:
                raise self._sudo_failure(silence) from None
            if answer.word == "UP":
                return
            if answer.word == "NOSUDO":
                raise Refused(reasons.sentence("no_sudo"), code="sudo")
            if answer.word == "PROMPT":
                prompts += 1
                self._answer_prompt(prompts)

    def _hear_sudo(self) -> Answer:
        """The next answer on the way to root. Raises `Silence`, or `Refused` where sudo asks for more."""
        while True:
            try:
                return self._talk.hear(seconds=min(_LOOK_SECONDS, self._deadline.left()))
            except Silence as silence:
                if silence.ended or not self._deadline.left() or not self._talk.is_open:
                    raise
                if self._talk.said(_ASKS_FOR_MORE):
                    raise Refused(reasons.sentence("sudo_code"), code="sudo_code") from None

    def _answer_prompt(self, number: int) -> None:
        if not self._manager.sudo_password:
            raise Refused(reasons.sentence("sudo"), code="sudo")
        if number > 1:
            raise Refused(reasons.sentence("sudo_password"), code="sudo")
        self._send(self._manager.sudo_password.encode() + b"\n")

    def _start(self) -> None:
        become = _TO_ROOT[self._manager.sudo]
        if self._manager.sudo != Sudo.NONE:
            become = f"command -v sudo >/dev/null || {{ echo $n NOSUDO; exit; }}; {become}"
        try:
            self._talk.start(f"LC_ALL=C; export LC_ALL; echo $n SHELL $SSH_CONNECTION; {become}")
            answer = self._talk.first()
        except Silence as silence:
            if self._talk.password_must_change:
                raise LoginRefused(
                    reasons.sentence("manager_must_change"), code="manager_must_change"
                ) from None
            if self._talk.has_no_session:
                raise Refused(reasons.sentence("no_session"), code="no_session") from None
            if silence.ended:
                raise Refused(reasons.sentence("forced_command"), code="forced_command") from None
            raise Unreachable(reasons.sentence("no_answer")) from None
        self._note_addresses(answer.rest)

    def _note_addresses(self, connection: str) -> None:
        """From what the host has in SSH_CONNECTION: the client's address and port, and its own."""
        try:
            client, _, own, port = connection.split()
            self.client_address = str(ipaddress.ip_address(client))
            self.host_place = f"{ipaddress.ip_address(own)} {int(port):d}"
        except ValueError:
            self.client_address = self.host_place = ""

    def _sudo_failure(self, silence: Silence) -> Refused | Unreachable:
        if not silence.ended:
            return Unreachable(reasons.sentence("no_answer"))
        word = "sudo_failed"
        if self._manager.sudo == Sudo.NONE:
            word = "forced_command"
        elif self._talk.said(_NEEDS_TERMINAL):
            word = "sudo_terminal"
        elif self._talk.said(_NOT_ALLOWED):
            word = "sudo_not_allowed"
        elif self._talk.said(_NO_ACCOUNT):
            pass  # it then says that it wants a password, which would change nothing
        elif self._talk.said(_WANTS_PASSWORD):
            word = "sudo"
        elif self._talk.said(_WRONG_PASSWORD):
            word = "sudo_password"
        code = word if word in {"forced_command", "sudo_failed"} else "sudo"
        return Refused(reasons.sentence(word), code=code)

    def _send(self, content: bytes) -> None:
        try:
            self._talk.tell(content)
        except Silence:
            raise Unreachable(reasons.sentence("no_answer")) from None

    def close(self) -> None:
        """End the shell; a script that waits for a value is told that none will come."""
        self._talk.close()

    @property
    def has_ended(self) -> bool:
        """Whether the host has said that the shell is gone, and all that it ran."""
        return self._talk.has_ended

    def run(
        self, script: str, arguments: Mapping[str, str], *, seconds: int = ssh_scripts.HOST_SECONDS
    ) -> Answer:
        """Start a script and return its first answer. Raises `Unreachable` or `Refused` if there is none.

        `seconds` is what the host gives it, from its start to its end.
        """
        self.stays = False
        # A shell that has ended takes nothing any more: what it said last tells why.
        with contextlib.suppress(Unreachable):
            self._send(ssh_scripts.block(script, {"nonce": self.nonce, **arguments}, seconds=seconds))
        # A shell that traces its commands has said UP twice.
        while (answer := self._hear()).word in ("SHELL", "UP"):
            continue
        return self._of_script(answer)

    def next(self) -> Answer:
        """The next answer of a script that has been given no value yet."""
        return self._of_script(self._hear())

    def _of_script(self, answer: Answer) -> Answer:
        if answer.word == "GONE":  # the script has ended, and has not said so itself
            raise self._no_script()
        return answer

    def _hear(self) -> Answer:
        try:
            return self._talk.hear(seconds=self._deadline.left())
        except Silence as silence:
            if silence.ended:
                raise self._no_script() from None
            raise Unreachable(reasons.sentence("no_answer")) from None

    def _no_script(self) -> Refused:
        if self._manager.sudo != Sudo.NONE and self._talk.said(_NO_EXEC):
            return Refused(reasons.sentence("sudo_noexec"), code="sudo_noexec")
        return Refused(reasons.sentence("script"), code="script")

    def rest(self) -> None:
        """Wait until a script that stays has ended. Raises as `next`."""
        self.stays = self._hear().word == "GONE"

    def settle(self) -> None:
        """As `rest`, for a script whose answer is known: without GONE soon, the shell takes no other one."""
        with contextlib.suppress(Silence):
            self.stays = self._talk.hear(seconds=_FREED_SECONDS).word == "GONE"

    def is_up(self, deadline: Deadline) -> bool:
        """Whether a shell that stayed still answers, and goes on until `deadline`. Sends nothing else."""
        if not self.stays:
            return False
        self.give(deadline)
        try:
            self._talk.tell(ssh_scripts.STILL_UP)
            while (answer := self._talk.hear(seconds=deadline.left())).word == "GONE":
                continue  # as a shell says twice that traces its commands
        except Silence:
            return False
        return answer.word == "UP"

    def commit(self, *lines: bytes, seconds: float) -> Answer:
        """Give the waiting script its values and the line that makes it act; return what it says then.

        Raises `Silence` when nothing is known of what the script has done.
        """
        self._talk.tell(b"".join(line + b"\n" for line in lines) + f"{self.nonce} COMMIT\n".encode())
        return self._talk.hear(seconds=seconds)
