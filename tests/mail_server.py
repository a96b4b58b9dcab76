"""A mail server on this machine, by SMTP: it takes messages, refuses them, or does not answer.

What it does next is an attribute; what it was told stays in `heard` and `messages`.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "keyturn", "mail-pass-Xy7"


class MailServer:
    """One server; it forgets with `reset`."""

    port: int
    certificate: Path

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.messages: list[str] = []
        self.heard: list[str] = []
        self.was_encrypted = False
        self.refuses = ""  # MAIL, RCPT or DATA
        self.is_silent = False
        self.drips = False  # answers a little at a time, and never a whole line
        self.offers_starttls = True

    # ---- the conversation

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        was_stuck = self.is_silent or self.drips
        while self.is_silent or self.drips:
            if self.drips:
                writer.write(b"2" * 100)
                await writer.drain()
            await asyncio.sleep(0.05)
        if was_stuck:
            return  # who waited has been told; a message that comes yet would be of another test
        await self._say(writer, "220 <script>alert(1)</script> ready")
        while line := (await reader.readline()).decode():
            self.heard.append(line.strip())
            verb = line[:4].strip().upper()
            if verb == "QUIT":
                await self._say(writer, "221 bye")
                return
            await self._answer(verb, line, reader, writer)

    async def _answer(
        self, verb: str, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if verb == "EHLO":
            is_encrypted = writer.get_extra_info("sslcontext") is not None
            self.was_encrypted = self.was_encrypted or is_encrypted
            more = "250-STARTTLS\r\n" if self.offers_starttls and not is_encrypted else ""
            await self._say(writer, f"250-here\r\n{more}250 AUTH PLAIN")
        elif verb == "STAR":
            await self._say(writer, "220 go on")
            await writer.start_tls(self.context)
        elif verb == "AUTH":
            given = base64.b64decode(line.split()[2]).decode().split("\0")[1:]
            await self._say(writer, "235 in" if given == [USER, PASSWORD] else "535 <b>no such user</b>")
        elif verb == self.refuses:
            await self._say(writer, "550 <b>not here</b>")
        elif verb == "DATA":
            await self._say(writer, "354 go on")
            self.messages.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            await self._say(writer, "250 taken")
        else:
            await self._say(writer, "250 fine")

    async def _say(self, writer: asyncio.StreamWriter, text: str) -> None:
        writer.write(f"{text}\r\n".encode())
        await writer.drain()

    # ---- its life

    def certify(self, folder: Path) -> None:
        """Make a certificate for this machine, which trusts nobody's but its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        self.certificate, secret = folder / "certificate.pem", folder / "key.pem"
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, secret)


@contextmanager
def running(folder: Path) -> Iterator[MailServer]:
    """A server on a port of its own, until the block ends."""
    server, loop = MailServer(), asyncio.new_event_loop()
    server.certify(folder)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(server.talk, "127.0.0.1", 0), loop
    ).result(60)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
