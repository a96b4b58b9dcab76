"""Measure, as ratios in one run: `./keyturn bench`.

A rotation against what a plain script does on the same host (log in, chpasswd, log in again), the secrets
list at two sizes and under a long policy, lists, search and the overview over many rows, a client that
fetches the current value and logs on with it all the time, how soon a leaked value is refused, how many
values and events one process reads, how many programs read by each interface beside a bare program and a
public double, what finding whose turn it is costs beside a million runs that have ended, how long a backup,
its restore and an upgrade take, how many rotations the workers carry in a second beside the same script and
an installed Ansible, and how many on simulated Windows hosts beside a bare loop of pywinrm's that makes the
same calls. Seconds depend on the machine; the ratios, and the goals, are what to compare.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
if "--keep" in sys.argv[:-1] and "KEYTURN_TEST_DATA" not in os.environ:  # the settings read it
    os.environ["KEYTURN_TEST_DATA"] = str(Path(sys.argv[sys.argv.index("--keep") + 1], "sqlite").resolve())
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

from lab import Fleet, Spec  # noqa: E402
from rotation import runs, tasks  # noqa: E402
from rotation.connectors.ssh.connector import SshConnector, SshScanner  # noqa: E402
from rotation.engine import engine  # noqa: E402
from secrets_app import keyring  # noqa: E402
from secrets_app.models import Secret, User  # noqa: E402
from tests import clients, factories  # noqa: E402, F401
from tests.bench import (  # noqa: E402
    ansible,
    backup,
    due,
    interfaces,
    leaks,
    pages,
    policies,
    readers,
    reads,
    scripts,
    stores,
    throughput,
    upgrade,
    windows,
)
from tests.chaos.hosts import prepare  # noqa: E402
from tests.lab_fixtures import KeyPair  # noqa: E402

PARTS = (
    "rotation", "list", "pages", "policies", "reads", "readers", "leaks", "throughput", "due", "backup",
    "windows", "upgrade",
)  # fmt: skip


def timed(work: Callable[[], object], rounds: int) -> float:
    """Return the median of `rounds` times, in seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def rotation(secret: Secret) -> None:
    run = runs.start(secret, actor=factories.administrator())
    engine.advance(run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner())
    run.refresh_from_db()
    if run.outcome != "succeeded":
        raise SystemExit(f"a rotation ended as {run.outcome}: {run.sentence}")


def measure_rotation(rounds: int) -> None:
    key = KeyPair.generate()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        host = fleet.start("bench", Spec(public_key=key.public))
        secret = prepare(host, key)
        ours = timed(lambda: rotation(secret), rounds)
        plain = timed(scripts.Script(host, key).password, rounds)
    print(f"rotation            {ours:6.2f} s   {ours / plain:4.1f} times a plain script's {plain:.2f} s")


def fill(count: int) -> None:
    """Have `count` secrets, copies of one: what the list reads is the rows, not how they came about."""
    first = Secret.objects.order_by("created_at").first() or factories.secret()
    missing = count - Secret.objects.count()
    account = first.managed
    made = [
        Secret(
            account=first.account, region=first.region, name=f"acs/ecs/bench-{n:06d}-{secrets.token_hex(3)}",
            kind=first.kind, key=first.key, created_by=first.created_by,
        )
        for n in range(missing)
    ]  # fmt: skip
    Secret.objects.bulk_create(made, batch_size=500)
    type(account).objects.bulk_create(
        [
            type(account)(
                secret=secret, instance=account.instance, username=f"user{n}-{count}", kind=secret.kind
            )
            for n, secret in enumerate(made)
        ],
        batch_size=500,
    )
    type(first.schedule).objects.bulk_create(
        [type(first.schedule)(secret=secret) for secret in made], batch_size=500
    )


def measure_list(small: int, large: int, rounds: int) -> None:
    reader = User.objects.filter(username="reader").first() or factories.user("reader", "administrators")
    client = Client()
    client.force_login(reader)

    def page() -> None:
        answer = client.get("/all/secrets/", secure=False)
        if answer.status_code != 200:
            raise SystemExit(f"the list answered {answer.status_code}")

    seconds = {}
    for count in (small, large):
        fill(count)
        page()
        seconds[count] = timed(page, rounds)
    print(
        f"list, {large:,} rows  {seconds[large] * 1000:5.0f} ms   "
        f"{seconds[large] / seconds[small]:4.1f} times that of {small:,} rows"
    )


def measure_policies(rows: int, *, here: bool) -> None:
    policies.measure(rows, fill)
    if not here:
        policies.measure_on_postgres(rows)


def measure_reads(options: argparse.Namespace) -> None:
    reads.measure(options.reads)
    if connection.vendor == "postgresql":
        interfaces.measure(options.calls, options.minutes)
    if not options.here:
        words = ("--reads", options.reads, "--calls", options.calls, "--minutes", options.minutes)
        stores.on_postgres("reads", *map(str, words))


def measure_pages(options: argparse.Namespace) -> None:
    if options.store != "postgresql":
        pages.measure(options.rows, options.rounds, options.page)
    if options.store != "sqlite" and not options.here:
        pages.measure_on_postgres(options.rows, options.rounds, options.page, keep=options.keep)


def measure_due(options: argparse.Namespace) -> None:
    due.measure(options.ended, options.due)
    if not options.here:
        due.measure_on_postgres(options.ended, options.due)


def measure_throughput(options: argparse.Namespace) -> None:
    playbook = ansible.found(options.ansible)
    if not options.here:
        throughput.measure_on(options.on, sys.argv[1:], workers=1 if options.recorded else 0)
    elif options.recorded:
        throughput.measure_recorded(options.hosts, options.at_once[0], options.slices)
    else:
        throughput.measure(options.hosts, options.at_once, options.slices, playbook)


def measure_windows(options: argparse.Namespace) -> None:
    if options.here:
        windows.measure(options.windows, options.windows_at_once, *options.windows_slices)
    else:
        throughput.measure_on(options.on, sys.argv[1:], "windows")


def main() -> int:
    parser = argparse.ArgumentParser(prog="keyturn bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--read", type=int, default=300, help="rotations under a reader, of each kind")
    parser.add_argument("--leaked", type=int, default=20, help="rotations of a leaked value")
    parser.add_argument("--queued", type=int, default=500, help="rotations that wait before a leaked value's")
    parser.add_argument("--only", choices=PARTS, default="")
    parser.add_argument("--page", default="", help="of the pages, only those with this in their name")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], help="of the pages: on this one only")
    parser.add_argument("--keep", type=Path, help="of the pages: a folder in which the rows stay")
    parser.add_argument("--reads", type=int, default=800, help="reads of a value in each round")
    parser.add_argument("--calls", type=int, default=800, help="of each interface, in each round")
    parser.add_argument("--minutes", type=float, default=1, help="of calls, while the web's memory is read")
    parser.add_argument("--ended", type=int, default=1_000_000, help="runs beside which a turn is found")
    parser.add_argument("--due", type=int, default=1000, help="secrets that fall due in one second")
    parser.add_argument("--kept", type=int, default=10_000, help="secrets of the backup")
    parser.add_argument("--upgraded", type=int, default=100_000, help="secrets of the upgrade")
    parser.add_argument("--hosts", type=int, default=40, help="of the throughput")
    parser.add_argument(
        "--at-once", type=int, nargs="+", default=[4, 8, 16, 32], help="rotations under way together"
    )
    parser.add_argument("--slices", type=int, default=2, help="of the throughput: one rotation of each host")
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="of the throughput: one worker process, and hosts that answer from a recording",
    )
    parser.add_argument(
        "--ansible",
        default="",
        metavar="PATH",
        help="of the throughput: an installed ansible-playbook, if not the one on PATH",
    )
    parser.add_argument(
        "--on", choices=["sqlite", "postgresql"], default="sqlite", help="of the throughput and Windows"
    )
    parser.add_argument("--windows", type=int, default=50, help="simulated Windows hosts")
    parser.add_argument("--windows-at-once", type=int, default=16, help="rotations under way on them")
    parser.add_argument(
        "--windows-slices", type=int, nargs=2, default=[10, 6], help="of the connector, and of the workers"
    )
    parser.add_argument("--here", action="store_true", help="on this database only, and in this process")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    keyring.ensure_root_key()
    reason = Fleet.supported()
    parts: dict[str, Callable[[], None]] = {
        "rotation": lambda: measure_rotation(options.rounds),
        "readers": lambda: readers.measure(options.read),
        "leaks": lambda: leaks.measure(options.leaked, options.queued),
        "throughput": lambda: measure_throughput(options),
        "windows": lambda: measure_windows(options),
        "policies": lambda: measure_policies(options.rows, here=options.here),
        "reads": lambda: measure_reads(options),
        "pages": lambda: measure_pages(options),
        "due": lambda: measure_due(options),
        "backup": lambda: backup.measure(options.kept),
        "upgrade": lambda: upgrade.measure(options.upgraded),
        "list": lambda: measure_list(options.rows // 100, options.rows, options.rounds),
    }
    for name, measure in parts.items():
        if options.only not in {"", name}:
            continue
        if reason and name not in {
            "list",
            "pages",
            "policies",
            "reads",
            "due",
            "backup",
            "windows",
            "upgrade",
        }:
            print(f"{name:<20}not measured: {reason}")
        else:
            measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
