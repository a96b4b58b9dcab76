"""The shell scripts that run as root on a host, and the block in which one is sent.

A script is a constant of this package: nothing is ever formatted into it. Its few arguments (a nonce, an
account, a number, a public key) stand before it as quoted assignments. Secret values are not arguments; a
script reads them from its standard input after it has said READY.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from importlib import resources

#: The most seconds that a script may run on the host, even if the connection breaks.
HOST_SECONDS = 8

#: Scripts that ask sshd about an account or know about its public keys, which share more than the others do.
_OF_SSHD = frozenset(("edit_key.sh", "probe_key.sh", "preflight.sh", "trace.sh"))

# `exec` leaves no shell behind that would read on, and timeout(1) ends the whole process group, so
# nothing of an abandoned change is left running. A host without timeout(1) gets no such promise. It is tried
# first, since a script must not begin twice, unless a script before it in this shell has shown that it works.
_BLOCK = """{{
script={script}
case $limited in {nonce}) ;; *) timeout -s KILL 5 true 2>/dev/null ;; esac
if [ $? = 0 ]
then exec timeout -s KILL {seconds} sh -c "$script" limited
else exec sh -c "$script"
fi
}}
"""

# For a script that is told no value: the shell stays, and takes another block. One that is given a value
# never stays: a shell that outlived its script would read the value as a command. What only looks begins
# again without timeout(1) where it did not end as it should.
_STAYING_BLOCK = """{{
mark={nonce}
script={script}
timeout -s KILL {seconds} sh -c "$script" limited
case $? in 0 | 124 | 137) limited=$mark ;; *) sh -c "$script" ;; esac
echo "$mark GONE"
}}
"""

# The same for a change, which must not begin twice. It reads one line, which is no command: it may begin.
_STAYING_CHANGE = """{{
mark={nonce}
script={script}
case $limited in $mark) ;; *) if timeout -s KILL 5 true 2>/dev/null; then limited=$mark; fi ;; esac
case $limited in
    $mark) timeout -s KILL {seconds} sh -c "$script" limited ;;
    *) sh -c "$script" ;;
esac
echo "$mark GONE"
}}
"""

#: What has a shell that stayed say UP.
STILL_UP = b'echo "$mark UP"\n'
#: Scripts after which the shell stays: those that are told no value.
_STAYING = frozenset(("preflight.sh", "trace.sh", "edit_key.sh"))
#: Those of them that change something.
_CHANGING = frozenset(("edit_key.sh",))


# A blank line, a line that is a comment, and what a line begins with. No script has a text that needs them.
_FOR_READERS = re.compile(r"^[ \t]*(?:#(?: .*)?)?\n|^[ \t]+", re.MULTILINE)


@functools.cache
def load(name: str) -> str:
    """The text of one script of this package, e.g. `set_password.sh`, without what only its readers need.

    It is sent, and the shells of a host read it, at each rotation.
    """
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return _FOR_READERS.sub("", text)


def stays(name: str) -> bool:
    """Whether the shell that runs this script says GONE when it has ended, and takes another one."""
    return name in _STAYING


def block(name: str, arguments: Mapping[str, str], *, seconds: int = HOST_SECONDS) -> bytes:
    """One script with its arguments, as a compound command that a shell reads whole before it runs any of it.

    dash and busybox read ahead: with the script and a value on one stream, unseparated, a shell would
    take the value for a command. So the value follows only after the block has answered.
    """
    given = {**arguments, "limit": str(seconds)}
    assignments = "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items())
    shared = [load("common.sh")]
    if name in _OF_SSHD:
        shared.append(load("sshd.sh"))
        # A host reads every text twice, so that of key files is left out where the credential is a password.
        if arguments.get("kind") != "password":
            shared.append(load("keys.sh"))
    script = assignments + "".join(shared) + load(name)
    shape = (_STAYING_CHANGE if name in _CHANGING else _STAYING_BLOCK) if stays(name) else _BLOCK
    nonce = shlex.quote(arguments["nonce"])
    return shape.format(script=shlex.quote(script), seconds=seconds, nonce=nonce).encode()
