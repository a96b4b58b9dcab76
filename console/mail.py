"""Send mail, and say in one sentence why a message was not sent.

What a mail server answers never reaches a page: of its words only the number of the reply is repeated.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from concurrent.futures import Future
from typing import Final

from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from console import mail_settings
from secrets_app.crypto.plaintext import Plaintext

#: For the whole conversation: a server that answers a byte at a time holds no page for longer.
SECONDS: Final = 10.0


class NotSent(Exception):
    """The message was not sent; `code` and the sentence say why."""

    def __init__(self, code: str, sentence: str, reply: int = 0) -> None:
        super().__init__(sentence)
        self.code = code
        self.reply = reply  # the number of the mail server's reply; 0 where it gave none


#: What is raised, the more special first; its code; its sentence. {where} is the server, {reply} its number.
_WHY: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (
        smtplib.SMTPAuthenticationError,
        "sign_in",
        "The mail server {where} refuses the user or the password{reply}. Check KEYTURN_EMAIL_USER and the "
        "file that KEYTURN_EMAIL_PASSWORD_FILE names.",
    ),
    (
        smtplib.SMTPRecipientsRefused,
        "recipient",
        "The mail server {where} refuses the recipient{reply}. Check the address, and whether it "
        "delivers to it.",
    ),
    (
        smtplib.SMTPSenderRefused,
        "sender",
        "The mail server {where} refuses the sender{reply}. Check KEYTURN_EMAIL_FROM.",
    ),
    (
        smtplib.SMTPNotSupportedError,
        "unsupported",
        "The mail server {where} does not offer STARTTLS, or no way to sign in. Check KEYTURN_EMAIL_SECURITY "
        "and KEYTURN_EMAIL_PORT.",
    ),
    (
        smtplib.SMTPException,
        "protocol",
        "The mail server {where} does not accept the message{reply}, or ended the connection. Check its log.",
    ),
    (
        ssl.SSLCertVerificationError,
        "certificate",
        "The certificate of the mail server {where} is not trusted, or belongs to another name. Check "
        "KEYTURN_EMAIL_HOST, and the certificates that this machine trusts.",
    ),
    (
        ssl.SSLError,
        "tls",
        "The encrypted connection to the mail server {where} failed. Check KEYTURN_EMAIL_SECURITY and "
        "KEYTURN_EMAIL_PORT.",
    ),
    (
        socket.gaierror,
        "name",
        "The name of the mail server {where} cannot be resolved. Check KEYTURN_EMAIL_HOST.",
    ),
    (
        TimeoutError,
        "timeout",
        "The mail server {where} did not finish within 10 seconds. The message may still arrive. Check "
        "KEYTURN_EMAIL_HOST, KEYTURN_EMAIL_PORT and the firewall between.",
    ),
    (
        ConnectionRefusedError,
        "refused",
        "The mail server {where} refuses the connection. Check KEYTURN_EMAIL_HOST and "
        "KEYTURN_EMAIL_PORT, and whether it runs.",
    ),
    (
        OSError,
        "unreachable",
        "The mail server {where} cannot be reached. Check KEYTURN_EMAIL_HOST and the network between.",
    ),
)


def send(server: mail_settings.Server, to: str, subject: str, body: str, *, message_id: str = "") -> None:
    """Send one message of plain text. Raises `NotSent`, at the latest after `SECONDS`.

    A message that is sent again has the same `message_id` (RFC 5322, 3.6.4), with its angle brackets.
    """
    headers = {"Message-ID": message_id} if message_id else None
    message = EmailMessage(subject, body, server.sender, [to], headers=headers)
    password = _password(server)
    done: Future[None] = Future()
    # Each read of the socket has its own time limit, and a conversation has many: only this ends it.
    threading.Thread(target=_carry, args=(done, server, message, password), daemon=True).start()
    try:
        done.result(SECONDS)
    except OSError as error:  # smtplib's are too
        raise _why(error, server) from None


def _carry(
    done: Future[None], server: mail_settings.Server, message: EmailMessage, password: Plaintext
) -> None:
    try:
        _deliver(server, message, password)
    except BaseException as error:  # noqa: BLE001  # it is raised where the result is waited for
        done.set_exception(error)
    else:
        done.set_result(None)


def _deliver(server: mail_settings.Server, message: EmailMessage, password: Plaintext) -> None:
    backend = EmailBackend(
        host=server.host,
        port=server.port,
        username=server.user,
        password=password.reveal(),
        use_tls=server.security == "starttls",
        use_ssl=server.security == "tls",
        # The caller has given up by then: smtplib takes a read that is too late for an ended connection.
        timeout=2 * SECONDS,
    )
    backend.send_messages([message])


def _password(server: mail_settings.Server) -> Plaintext:
    """Read the password from its file; empty where none is configured. Raises `NotSent`."""
    if server.password_file is None:
        return Plaintext("")
    try:
        return Plaintext(server.password_file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        raise NotSent(
            "password_file",
            f"The file {server.password_file} with the mail server's password cannot be read.",
        ) from None


def _why(error: OSError, server: mail_settings.Server) -> NotSent:
    code, sentence = next((code, sentence) for kind, code, sentence in _WHY if isinstance(error, kind))
    number = _reply(error)
    reply = f" (reply {number})" if number else ""
    return NotSent(code, sentence.format(where=server.where, reply=reply), number)


def _reply(error: OSError) -> int:
    """The number of the server's reply; 0 where it gave none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return int(next(iter(error.recipients.values()), (0, b""))[0])
    return int(getattr(error, "smtp_code", 0))
