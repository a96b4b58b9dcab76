"""The shell scripts that run as root on a host, and the block in which one is sent.

A script is a constant of this package: nothing is ever formatted into it. Its few arguments (a nonce, an
account, a number) stand before it as quoted assignments. Secret values are not arguments; a script reads
them from its standard input after it has said READY.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from importlib import resources

#: The most seconds that a script may run on the host, even if the connection breaks.
HOST_SECONDS = 8

#: Scripts that know about public keys, which share more than the others do.
_OF_KEYS = frozenset(("edit_key.sh", "probe_key.sh", "preflight.sh", "trace.sh"))

# `exec` leaves no shell behind that would read on, and timeout(1) ends the whole process group, so
# nothing of an abandoned change is left running. A host without timeout(1) gets no such promise.
_BLOCK = """{{
script={script}
if timeout -s KILL 5 true 2>/dev/null
then exec timeout -s KILL {seconds} sh -c "$script" limited
else exec sh -c "$script"
fi
}}
"""


@functools.cache
def load(name: str) -> str:
    """The text of one script of this package, e.g. `set_password.sh`."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def block(name: str, arguments: Mapping[str, str], *, seconds: int = HOST_SECONDS) -> bytes:
    """One script with its arguments, as a compound command that a shell reads whole before it runs any of it.

    dash and busybox read ahead: with the script and a value on one stream, unseparated, a shell would
    take the value for a command. So the value follows only after the block has answered.
    """
    given = {**arguments, "limit": str(seconds)}
    assignments = "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items())
    keys = load("keys.sh") if name in _OF_KEYS else ""
    script = assignments + load("common.sh") + keys + load(name)
    return _BLOCK.format(script=shlex.quote(script), seconds=seconds).encode()
