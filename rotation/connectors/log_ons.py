"""How a user logs on to a target with an account: the command, and the name to enter if it asks for one.

Plain rules over text: nothing here opens a connection, and no result holds a password or a key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LogOn:
    """A command for a user's own terminal."""

    command: str
    name: str = ""  # what to enter when the program asks for the user; empty if the command holds it
    file: str = ""  # what the program may open instead, if it opens files; it holds no password


#: Takes the account, the address, the port that the wire uses, and the file of the private key or nothing.
Way = Callable[[str, str, int, str], LogOn]


def remote_desktop(username: str, address: str, _port: int, _key_file: str) -> LogOn:
    """Return how to log on by Remote Desktop.

    It listens on a port of its own, so the wire's port is not used. The address before the name makes Windows
    take a local account: without it, a machine in a domain looks for a domain account of the name.
    """
    name = f"{address}\\{username}"
    return LogOn(f"mstsc /v:{address}", name, _rdp(address, name))


def _rdp(address: str, name: str) -> str:
    """Return an .rdp file; nothing for a text that would begin another line, and so another setting."""
    if not (address + name).isprintable():
        return ""
    return f"full address:s:{address}\r\nusername:s:{name}\r\nprompt for credentials:i:1\r\n"
