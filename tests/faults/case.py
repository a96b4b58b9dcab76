"""One account on a real host, one secret that manages it, and what must be true of both in every case.

A case is watched from its first moment to its last. What `ended` then asserts holds whatever was broken:
the host accepts a value that was stored before (A-REC), the console says which one (A-KNOW), no login
failed beyond the budget (A-PROBE), and no value stands anywhere but in the store and in the account
(A-NOLEAK).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from lab import Host
from lab.hosts import _crypt
from rotation import runs, tasks
from rotation.connectors.base import Connector, Endpoint
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine
from rotation.inventory import management
from rotation.managed import rebinding
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import versions
from tests import factories, lab_instances

OLD = "the-old-Password-1"
#: A line of somebody else in the same file, before and after the managed one.
OTHER = key_pairs.generate("ed25519").public_key + " somebody@else"
AGEING = ("--mindays", "2", "--maxdays", "90", "--warndays", "5", "--inactive", "30")
SEARCHED = ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var")
MOST_TURNS = 10


def advance(run: Run, connect: Callable[[Endpoint], Connector] = SshConnector) -> Run:
    """Take the run up in this process, whatever it waits for, and whoever held it."""
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE).update(due_at=past, leased_until=past)
    engine.advance(run.pk, worker=tasks.worker_name(), connect=connect, scanner=SshScanner())
    run.refresh_from_db()
    return run


@dataclass
class Case:
    """The account, its secret, and everything that the host accepted since the case began."""

    host: Host
    secret: Secret
    username: str
    file: str  # where its keys stand
    home: str
    shared: bool = True  # False: what the host accepts was changed by the host's owner, not by us
    failed_logins_allowed: int = 1
    _samples: list[tuple[float, str]] = field(default_factory=list, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _watcher: threading.Thread | None = field(default=None, repr=False)

    @property
    def is_key_pair(self) -> bool:
        return self.secret.kind == Secret.Kind.KEY_PAIR

    @property
    def account(self) -> ManagedAccount:
        return ManagedAccount.objects.get(secret=self.secret)

    @property
    def instance(self) -> Instance:
        return Instance.objects.get(pk=self.secret.managed.instance_id)

    @property
    def current(self) -> SecretVersion:
        version = self.secret.labelled(Label.Role.CURRENT)
        assert version is not None
        return version

    @property
    def pending(self) -> SecretVersion | None:
        return self.secret.labelled(Label.Role.PENDING)

    # -- act -------------------------------------------------------------------------------------

    def start(self, **asked: object) -> Run:
        return runs.start(self.secret, actor=factories.administrator(), **asked)  # type: ignore[arg-type]

    def rotate(self, **asked: object) -> Run:
        """Ask for a rotation and carry it as far as it goes at once."""
        return advance(self.start(**asked))

    def finish(self, run: Run) -> Run:
        """Take the run up again until it has ended."""
        for _ in range(MOST_TURNS):
            if not run.is_active:
                return run
            advance(run)
        raise AssertionError(f"still {run.state}: {run.code} {run.sentence}")

    def verify(self) -> Run:
        return advance(runs.verify(self.secret, actor=factories.administrator()))

    def sh(self, script: str, input: bytes = b"") -> str:
        """Run a script as the host's root would; its output."""
        return self.host.run(["sh", "-ec", script], input).stdout.decode()

    def replace_program(self, path: str, script: str) -> None:
        """Put a shell script in a program's place; the program itself is then at its path + `.real`."""
        self.host.run(["mv", path, f"{path}.real"])
        self.host.write(path, f"#!/bin/sh\n{script}\n", 0o755)

    def restore_program(self, path: str) -> None:
        self.host.run(["mv", f"{path}.real", path])

    def configure_sshd(self, *lines: str, user: str = "") -> None:
        """Put lines before sshd's configuration, where they win; or, for one account, behind it."""
        text = self.host.read("/etc/ssh/sshd_config")
        added = "".join(f"{line}\n" for line in lines)
        text = f"{text}Match User {user}\n{added}" if user else added + text
        self.host.write("/etc/ssh/sshd_config", text)
        self.host.restart_sshd()

    def trust_again(self) -> None:
        """Approve what the host shows now, and attach its credential again, which a new key detaches."""
        instance = self.instance
        credential = instance.credential
        assert credential is not None
        lab_instances.approve(instance)
        management.attach(instance, credential, actor=factories.administrator())

    def rebind(self) -> None:
        """Confirm that the account's values may go to the machine that the instance stands for now."""
        stamp = rebinding.proposal(self.secret).new.stamp
        actor = factories.administrator()
        rebinding.rebind([self.secret], actor=actor, reason="it was compared", stamp=stamp)

    # -- look ------------------------------------------------------------------------------------

    def accepts(self, version: SecretVersion) -> bool:
        """Whether the account's entry, or its key file, holds this version now."""
        return self._fits(self._entry(), version)

    def _entry(self) -> str:
        if not self.is_key_pair:
            return self.host.shadow(self.username)
        # Other people's lines need not be text.
        return self.host.run(["cat", "--", self.file], check=False).stdout.decode(errors="replace")

    def _fits(self, entry: str, version: SecretVersion) -> bool:
        if self.is_key_pair:
            lines = [line.split() for line in entry.splitlines() if not line.lstrip().startswith("#")]
            return any(version.public_key.split()[1] in words for words in lines)
        password = versions.value(version).credential.reveal()
        return entry[:1] not in {"", "!", "*"} and _crypt(password, entry) == entry

    def stored(self) -> list[SecretVersion]:
        return list(self.secret.versions.filter(destroyed_at=None))

    def values(self) -> list[str]:
        """What nobody else may see, in a form that grep finds: a password, or a line of a private key."""
        plain = [versions.value(version).credential.reveal() for version in self.stored()]
        return [text.splitlines()[3] for text in plain] if self.is_key_pair else plain

    def failed_logins(self) -> int:
        return self.host.sshd_log().count(f"Failed password for {self.username} ")

    def log_ins(self) -> list[str]:
        """The lines of sshd's log that tell of a login that was tried."""
        words = ("Accepted ", "Failed ", "Postponed ", "Invalid user ")
        return [line for line in self.host.sshd_log().splitlines() if any(word in line for word in words)]

    def steps(self, run: Run) -> list[str]:
        return [step.name for step in run.steps.all()]

    def side(self) -> dict[str, object]:
        """Everything that a rotation of this account may not touch (A-SIDE)."""
        shadow = [line.split(":") for line in self.host.read("/etc/shadow").splitlines()]
        mine = next(fields for fields in shadow if fields[0] == self.username)
        keys = {version.public_key.split()[1] for version in self.stored() if version.public_key}
        entry = self._entry() if self.is_key_pair else ""
        return {
            "others": [line for line in shadow if line[0] != self.username],
            "ageing": mine[3:],
            "password": "" if not self.is_key_pair else mine[1:3],
            "status": self.sh(f"passwd -S {self.username}").split()[1],
            "accounts": self.host.read("/etc/passwd") + self.host.read("/etc/group"),
            "sudo": self.sh("cat /etc/sudoers; ls -la --time-style=+ /etc/sudoers.d | tail -n +2"),
            "modes": self.sh(f"stat -c '%n %a %u %g' /etc/shadow {self._own_paths()}"),
            "lines": [line for line in entry.splitlines() if keys.isdisjoint(line.split())],
        }

    def _own_paths(self) -> str:
        if not self.is_key_pair:
            return self.home
        return f"{self.file} {os.path.dirname(self.file)} {self.home}"

    @contextlib.contextmanager
    def nothing_else_changes(self) -> Iterator[None]:
        before = self.side()
        yield
        assert self.side() == before

    # -- what must hold --------------------------------------------------------------------------

    def watch(self) -> None:
        self._samples.append((time.time(), self._entry()))
        self._watcher = threading.Thread(target=self._sample, daemon=True)
        self._watcher.start()

    def forget_what_was_seen(self) -> None:
        """Begin anew: what the host accepted until now was somebody else's doing."""
        self._samples.clear()
        deadline = time.monotonic() + 10
        while not self._samples and time.monotonic() < deadline:
            time.sleep(0.01)

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            path = f"/proc/{self.host.pid}/root{self.file}"
            with contextlib.suppress(Exception):
                entry = self.host.shadow(self.username) if not self.is_key_pair else _text(path)
                if not self._samples or self._samples[-1][1] != entry:
                    self._samples.append((time.time(), entry))

    def ended(self, log: str) -> None:
        """Assert what holds at the end of every case; `log` is all that this process logged."""
        self._over.set()
        assert self._watcher is not None
        self._watcher.join()
        if self.shared:
            self._assert_recoverable()
            self._assert_known()
        if self.host.is_running:
            assert self.failed_logins() <= self.failed_logins_allowed
        self._assert_no_leak(log)

    def _assert_recoverable(self) -> None:
        stored = self.stored()
        assert self._samples, "nothing was watched"
        for at, entry in self._samples:
            then = [version for version in stored if version.created_at.timestamp() <= at]
            assert any(self._fits(entry, version) for version in then), "I1: a value that is stored nowhere"
        assert any(self.accepts(version) for version in stored)

    def _assert_known(self) -> None:
        """What the console says agrees with the host; what it does not know it does not say."""
        credential, current = self.account.credential, self.secret.labelled(Label.Role.CURRENT)
        if credential == "in_sync":
            assert current is not None
            assert self.accepts(current)
        elif credential == "out_of_sync":
            assert not (current and self.accepts(current))
        elif credential in {"blocked", "unreachable", "unverified"}:
            assert self.account.credential_sentence
        for run in self.secret.runs.exclude(truth=""):
            self._assert_truth(
                run, newest=not self.secret.runs.filter(created_at__gt=run.created_at).exists()
            )

    def _assert_truth(self, run: Run, *, newest: bool) -> None:
        assert run.state == Run.State.ENDED
        if not newest:
            return
        new = run.version is not None and self.accepts(run.version)
        assert {
            "new": new,
            "old": bool(self.secret.labelled(Label.Role.CURRENT)) and self.accepts(self.current),
            "neither": not new and not self.accepts(self.current),
            "unknown": True,
        }[run.truth]

    def _assert_no_leak(self, log: str) -> None:
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f'SELECT string_agg(t::text, chr(10)) FROM "{table}" t')  # noqa: S608
                log += (cursor.fetchone() or [""])[0] or ""
        kept = [path.read_bytes() for path in Path(settings.DATA_DIR).rglob("*") if path.is_file()]
        for value in self.values():
            assert value not in log, "a value stands in the log or in a table"
            assert not any(value.encode() in content for content in kept), "a value stands in a file of ours"
        if self.host.is_running:
            places = ["grep", "-rlaF", "-D", "skip", "-f", "-", *SEARCHED]
            found = self.host.run(places, "\n".join(self.values()).encode(), check=False).stdout.decode()
            assert found == "", "a value stands on the host"


def _text(path: str) -> str:
    # Never by a link: it would lead out of the host.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as file:
        return file.read()


def make(
    host: Host,
    instance: Instance,
    kind: str,
    *,
    username: str = "svc",
    shell: str = "/bin/bash",
    verified: bool = True,
) -> Case:
    """An account that ages, whose value the console knows, and has verified; watched from now on."""
    home = "/root" if username == "root" else f"/home/{username}"
    if username != "root":
        host.add_account(username, shell=shell)
    host.run(["chage", *AGEING, username])
    if kind == Secret.Kind.KEY_PAIR:
        old = key_pairs.generate("ed25519")
        host.set_authorized_keys(username, f"{OTHER}\nno-pty {old.public_key} {username}\n{OTHER}\n")
        initial = old.private_key.reveal()
    else:
        initial = f"{OLD}-{username}"
        host.set_password(username, initial)
    secret = factories.secret(instance=instance, kind=kind, username=username, initial=initial)
    case = Case(host, secret, username, f"{home}/.ssh/authorized_keys", home)
    if verified:
        assert advance(secret.runs.get()).outcome == "succeeded"
    else:
        factories.settle(secret)
    case.watch()
    return case
