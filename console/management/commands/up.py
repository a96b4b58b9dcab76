"""Run the whole of Keyturn on this machine: web, worker, beat and, where it may, the demo hosts."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from console.management.commands import demo as demo_servers
from console.management.commands.setup import StaysSealed, make_data_folder
from console.process import health
from console.process.supervisor import Program, Supervisor

DEMO_HOSTS = 4


class Command(BaseCommand):
    help = "Prepare Keyturn and run web, worker and beat until Ctrl-C or SIGTERM."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the port of the web console (8000)")
        parser.add_argument("--bind", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
        parser.add_argument("--no-demo", action="store_true", help="start no demo hosts")
        parser.add_argument("--demo-hosts", type=int, default=DEMO_HOSTS, help="how many demo hosts (4)")

    def handle(self, *args: Any, **options: Any) -> None:
        make_data_folder(settings.DATA_DIR)
        lock = _lock(settings.DATA_DIR)
        listener = _listener(options["bind"], options["port"])
        with lock, listener:
            try:
                call_command("setup", stdout=self.stdout)
            except StaysSealed as sealed:
                # The console starts and says the same: once the file is back it needs no restart.
                self.stdout.write(self.style.WARNING(str(sealed)))
            health.forget()
            connections.close_all()
            public_url = os.environ.get("KEYTURN_PUBLIC_URL") or f"http://localhost:{options['port']}"
            self.stdout.write(f"Console     {public_url}")
            if settings.METRICS:
                self.stdout.write(f"Metrics     http://{settings.METRICS.bind}/metrics")
            self.stdout.write("            Ctrl-C ends it; its data stays in " + str(settings.DATA_DIR))
            has_demo = demo_servers.IS_HERE and not options["no_demo"]
            demo = options["demo_hosts"] if has_demo else 0
            Supervisor(
                _programs(listener.fileno(), demo),
                folder=settings.BASE_DIR,
                environment=os.environ
                | {
                    "KEYTURN_PUBLIC_URL": public_url,
                    "KEYTURN_DEMO": "true" if demo else "false",
                    "PYTHONUNBUFFERED": "1",
                },
                say=self._say,
            ).run()
        self.stdout.write("Stopped.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _programs(listener: int, demo_hosts: int) -> list[Program]:
    celery = (sys.executable, "-m", "celery", "-A", "console.celery", "-q")
    programs = [
        Program(
            "web",
            (sys.executable, "-m", "gunicorn", "-c", "python:console.process.web", "-b", f"fd://{listener}"),
            pass_fds=(listener,),
        ),
        *(Program(name, (*celery, *_worker(name))) for name in _workers()),
        Program("beat", (*celery, "beat", "--pidfile=")),
    ]
    if settings.METRICS:
        metrics = (sys.executable, "-m", "gunicorn", "-c", "python:console.process.metrics")
        programs.append(Program("metrics", metrics))
    if demo_hosts:
        manage = str(settings.BASE_DIR / "manage.py")
        demo = (sys.executable, manage, "demo", f"--hosts={demo_hosts}")
        programs.append(Program("demo", demo, may_finish=True))
    return programs


def _workers() -> list[str]:
    """One name for each worker process."""
    if settings.WORKERS == 1:
        return ["worker"]
    return [f"worker-{number}" for number in range(1, settings.WORKERS + 1)]


def _worker(name: str) -> tuple[str, ...]:
    options = ("-P", "threads", "-c", str(settings.WORKER_THREADS), "--without-gossip", "--without-mingle")
    return ("worker", "-n", f"{name}@%h", *options)


def _lock(folder: Path) -> TextIO:
    """Hold the data folder until the file is closed, which the end of the process does too."""
    file = (folder / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise CommandError(
            f"Another ./keyturn up (process {file.read().strip()}) runs on the data folder {folder}. "
            "Stop it first, or choose another folder with KEYTURN_DATA."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _listener(address: str, port: int) -> socket.socket:
    """Take the port here, for gunicorn to inherit: no other program can come between two of its starts."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        other = 9000 if port != 9000 else 9001
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} is taken by another program. Choose another one: ./keyturn up --port {other}"
            ) from None
        raise CommandError(
            f"Cannot listen on {address} port {port} ({error}). For example: ./keyturn up --port {other}"
        ) from None
    return listener
