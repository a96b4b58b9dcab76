"""Send one request to a webhook, and know what came of it; signed, to the address that was judged.

No redirect is followed and no proxy asked. Of the answer only its status counts; of its text only the number
of an error in which DingTalk says that it did not take a message.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from console.notices import addresses
from rotation.connectors import dialling
from rotation.connectors.base import Peer, Unreachable
from secrets_app.crypto.plaintext import Plaintext

SECONDS: Final = 10.0  # for everything: an answer of a byte at a time holds the process for no longer
ANSWER_BYTES: Final = 4_096
SIGNATURE, DELIVERY, EVENT = "Keyturn-Signature", "Keyturn-Delivery", "Keyturn-Event"


@dataclass(frozen=True)
class Answer:
    """What came of a request: accepted, or why not."""

    status: int  # 0 where there was no answer
    problem: str = ""
    #: The receiver as a whole does not work: what else is sent there would fare alike.
    is_of_receiver: bool = False

    @property
    def is_accepted(self) -> bool:
        return not self.problem


def signature(key: Plaintext, at: int, body: bytes) -> str:
    """`t=TIME,v1=HMAC`: HMAC-SHA256 over the Unix time, a full stop and the body, in hexadecimal."""
    mac = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def signed_by_robot(target: Plaintext, secret: Plaintext, at: int) -> Plaintext:
    """Return the path and query with what a signed robot of DingTalk checks; `at` is Unix time in ms.

    Source: DingTalk, "Custom robot security settings": the base64 of HMAC-SHA256 under the secret, over the
    time, a line feed and the secret. A robot takes a time that is less than an hour off.
    """
    mac = hmac.new(secret.encode(), f"{at}\n".encode() + secret.encode(), hashlib.sha256).digest()
    text = target.reveal()
    query = urlencode({"timestamp": at, "sign": base64.b64encode(mac).decode()})
    return Plaintext(f"{text}{'&' if '?' in text else '?'}{query}")


def post(
    url: Plaintext,
    key: Plaintext,
    body: bytes,
    *,
    delivery: UUID,
    kind: str,
    robot: Plaintext | None = None,
) -> Answer:
    """Send `body`, which is JSON; return what came of it within `SECONDS`.

    `robot` is the secret of a signed robot of DingTalk, if the receiver is one.
    """
    try:
        place = addresses.place(url)
    except addresses.BadAddress as error:
        return Answer(0, str(error), is_of_receiver=True)
    at = int(time.time())
    if robot:
        place = replace(place, target=signed_by_robot(place.target, robot, at * 1000))
    headers = {
        "Host": place.host_header,
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "User-Agent": "Keyturn",
        "Connection": "close",
        DELIVERY: str(delivery),
        EVENT: kind,
    }
    if key:
        headers[SIGNATURE] = signature(key, at, body)
    try:
        status, text = _exchange(place, headers, body)
    except Unreachable as error:
        if error.code == "forbidden_address":
            sentence = "The address leads to a network that webhooks may not use (KEYTURN_WEBHOOK_NETWORKS)."
            return Answer(0, sentence, is_of_receiver=True)
        return Answer(0, str(error), is_of_receiver=True)
    except ssl.SSLCertVerificationError:
        return Answer(0, "The certificate is not trusted, or belongs to another name.", is_of_receiver=True)
    except ssl.SSLError:
        return Answer(0, "The encrypted connection failed.", is_of_receiver=True)
    except TimeoutError:
        return Answer(0, f"No complete answer within {SECONDS:.0f} seconds.", is_of_receiver=True)
    except (OSError, http.client.HTTPException):
        return Answer(0, "The connection ended without an answer.", is_of_receiver=True)
    return _judged(status, text)


def _judged(status: int, text: bytes) -> Answer:
    if 200 <= status < 300:
        number = _error_number(text)
        return Answer(status, f"The receiver reports error {number}." if number else "")
    if 300 <= status < 400:
        return Answer(status, "The receiver answers with a redirect, which is not followed.")
    is_of_receiver = status >= 500 or status in {408, 429}
    return Answer(status, f"The receiver answers with status {status}.", is_of_receiver=is_of_receiver)


def _error_number(text: bytes) -> int:
    """What DingTalk writes into an answer of status 200: {"errcode": 310000, ...}."""
    try:
        content = json.loads(text)
        number = content.get("errcode", 0) if isinstance(content, dict) else 0
        return number if isinstance(number, int) else 0
    except ValueError:
        return 0


def _exchange(place: addresses.Place, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    deadline = dialling.Deadline(SECONDS)
    networks = addresses.networks(is_encrypted=place.is_encrypted)
    peer = Peer(place.host, place.port, networks=networks)
    plain = dialling.dial(peer, deadline, silent="The receiver does not accept a connection.")
    with _ended_at(plain, deadline) as end:
        try:
            if place.is_encrypted:
                # The handshake comes after: its socket takes the place of the plain one, which is then empty.
                end.sock = ssl.create_default_context().wrap_socket(
                    plain, server_hostname=place.host, do_handshake_on_connect=False
                )
                end.sock.do_handshake()
            answer = _asked(end.sock, place, headers, body)
        except (OSError, http.client.HTTPException):
            if end.is_over:
                raise TimeoutError from None
            raise
        # A head that ends early is a whole one to this library.
        if end.is_over:
            raise TimeoutError
        return answer


def _asked(
    sock: socket.socket, place: addresses.Place, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.sock = sock
    connection.putrequest("POST", place.target.reveal(), skip_host=True, skip_accept_encoding=True)
    for name, text in headers.items():
        connection.putheader(name, text)
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.read(ANSWER_BYTES)


class _End:
    """The end of a conversation, whatever it is doing then."""

    def __init__(self, plain: socket.socket) -> None:
        self.sock, self.is_over = plain, False

    def come(self) -> None:
        self.is_over = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _ended_at(plain: socket.socket, deadline: dialling.Deadline) -> Iterator[_End]:
    """Each read of the socket has its own time limit, and an answer has many: only this ends it."""
    end = _End(plain)
    timer = threading.Timer(deadline.left(), end.come)
    timer.daemon = True
    timer.start()
    try:
        yield end
    finally:
        timer.cancel()
        end.sock.close()
