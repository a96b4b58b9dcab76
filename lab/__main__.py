"""Bring hosts up, show them and take them down from the command line: `python -m lab up --count 100`."""

import argparse
import sys
import time
from pathlib import Path

from lab.fleet import Fleet, HostNotStarted
from lab.image import Spec
from lab.layer import LayerUnavailable

FOLDER = Path("/run/keyturn-lab")


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    asked = _parser().parse_args(words)
    fleet = Fleet(asked.folder, die_with_parent=False)
    if reason := Fleet.supported():
        sys.stderr.write(f"{reason}\n")
        return 1
    if asked.command == "up":
        return _up(fleet, asked.count, asked.key)
    if asked.command == "down":
        fleet.stop_all()
        return 0
    _show(fleet)
    return 0


def _up(fleet: Fleet, count: int, key: Path | None) -> int:
    began = time.monotonic()
    try:
        fleet.start_many(count, Spec(public_key=key.read_text() if key else ""))
    except (HostNotStarted, LayerUnavailable, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _show(fleet)
    sys.stderr.write(f"{count} up in {time.monotonic() - began:.1f} s\n")
    return 0


def _show(fleet: Fleet) -> None:
    for host in fleet.hosts():
        sys.stdout.write(f"{host.name}\t{host.address}\t{host.port}\t{host.host_keys()[0]}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Throwaway SSH hosts on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start hosts, which run until they are taken down")
    up.add_argument("--count", type=int, default=3)
    up.add_argument("--key", type=Path, help="public key file of the account keyturn on every host")
    down = commands.add_parser("down", help="stop every host of the folder")
    shown = commands.add_parser("list", help="show the hosts that run")
    for command in (up, down, shown):
        command.add_argument("--folder", type=Path, default=FOLDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())
