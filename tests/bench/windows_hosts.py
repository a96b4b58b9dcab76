"""Simulated Windows hosts in a process of their own: `windows_hosts COUNT`.

The first line that it prints is where they are, in JSON, with the authority that signs their certificates. On
standard input it takes `start SECONDS`, that PowerShell needs to start from then on, and `seen`, for which it
prints the operations, logons and changes of passwords so far. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

from lab.windows.certificates import Authority
from lab.windows.hosts import WindowsHost
from lab.windows.records import Nothing
from lab.windows.wsman import Endpoint

MANAGER, PASSWORD, FIRST = "keyturn", "The-manager-1-word", "the-first-password-1"
ROTATED, OURS, BARE = "svc", "wire", "plain"  # the accounts that are rotated there


def main(count: int) -> None:
    authority = Authority()
    with ExitStack() as stack:
        ends = [stack.enter_context(_running(authority, number)) for number in range(count)]
        _tell({"authority": authority.pem, "places": [(at.address, at.port) for at in ends]})
        for line in sys.stdin:
            word, _, seconds = line.strip().partition(" ")
            if word == "start":
                for at in ends:
                    at.host.start_seconds = float(seconds)
            _tell(
                {
                    "operations": sum(len(at.requests) for at in ends),
                    "logons": sum(at.attempts for at in ends),
                    "changes": sum(len(at.host.resets) for at in ends),
                    "failed": sum(
                        at.host.failed_logons(name) for at in ends for name in (ROTATED, OURS, BARE)
                    ),
                }
            )


def _running(authority: Authority, number: int) -> Endpoint:
    host = WindowsHost()
    host.record = Nothing()
    host.add_account(MANAGER, PASSWORD, is_admin=True)
    for name in (ROTATED, OURS, BARE):
        host.add_account(name, FIRST)
    address = f"127.0.{46 + number // 250}.{number % 250 + 1}"
    return Endpoint(host, address, certificate=authority.issue("good", address))


def _tell(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
