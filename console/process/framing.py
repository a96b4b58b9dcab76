"""Where a request ends: what must have arrived before it is read.

Knows lengths, and whether a program of an interface asks, and nothing else of HTTP; what a request says is
for the server's own parser, which gets exactly the bytes that are counted here. A request whose end is not
certain is refused, and not guessed.
Sources: RFC 9112, sections 2.2 and 6; RFC 9110, sections 10.1.1 and 15.5.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

HEAD_LIMIT_BYTES: Final = 64 * 1024
#: No form of the console, and no value that it keeps, comes near to this.
BODY_LIMIT_BYTES: Final = 1024 * 1024
REASONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}
#: What a request of a program of AWS or Alibaba Cloud has, wherever in its head: their clients read JSON, and
#: one of them takes anything else for a broken connection.
_OF_A_PROGRAM = re.compile(
    rb"[A-Z]{3,7} /(?:aws|alibaba)\b|[A-Z]{3,7} /\?(?:[^ \r\n]*&)?Action=|\r\n(?:x-acs-|x-amz-)[a-z]"
    rb"|\r\nauthorization: *(?:ACS[34]|AWS4)-",
    re.IGNORECASE,
)
_END = b"\r\n\r\n"
_NUMBER = re.compile(rb"[0-9]{1,12}")


class Refused(Exception):
    """This request is not read."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


@dataclass(frozen=True)
class Frame:
    """How long a request is, from its first byte to the end of its body."""

    length: int
    expects_continue: bool  # the client sends the body once it is told to go on


def frame(received: bytes | bytearray) -> Frame | None:
    """The frame of the request that `received` begins with; None while its head is not whole.

    Raises `Refused` for a head or a body that is too long (431, 413), a body whose length is said in
    no, more than one or a wrong number (400), or in chunks (411).
    """
    end = received.find(_END, 0, HEAD_LIMIT_BYTES)
    if end < 0:
        if len(received) >= HEAD_LIMIT_BYTES:
            raise Refused(431)
        return None
    fields = [line.partition(b":") for line in bytes(received[:end]).split(b"\r\n")[1:]]
    named = [(name.strip().lower(), text.strip()) for name, _, text in fields]
    # Chunks are how a second request hides behind a first one, and no client of ours sends them.
    if any(name == b"transfer-encoding" for name, _ in named):
        raise Refused(411)
    return Frame(
        end + len(_END) + _body([text for name, text in named if name == b"content-length"]),
        any(name == b"expect" and text.lower() == b"100-continue" for name, text in named),
    )


def _body(lengths: list[bytes]) -> int:
    if not lengths:
        return 0
    if len(lengths) > 1 or not _NUMBER.fullmatch(lengths[0]):
        raise Refused(400)
    if int(lengths[0]) > BODY_LIMIT_BYTES:
        raise Refused(413)
    return int(lengths[0])


def refusal(status: int, received: bytes | bytearray = b"") -> bytes:
    """The whole answer to the request that `received` begins with, and that is not read.

    JSON for a program, under the names of both interfaces; it repeats nothing of the request.
    """
    text, type_ = f"{REASONS[status]}\n", "text/plain; charset=utf-8"
    if _OF_A_PROGRAM.search(received[:HEAD_LIMIT_BYTES]):
        code, words = REASONS[status].title().replace(" ", ""), f"{REASONS[status]}."
        said = {"__type": code, "message": words, "Code": code, "Message": words}
        text, type_ = json.dumps(said), "application/json"
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Connection: close",
        f"Content-Type: {type_}",
        f"Content-Length: {len(text)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    return "\r\n".join([*lines, "", text]).encode()
