"""A user with some rights, who wants a value of somebody else's secret and owns a machine to receive it.

Everything goes by the pages, so that what each asks for is asked for. After every deed the workers carry what
is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from rotation import tasks
from rotation.managed import rebinding
from rotation.models import Instance, ManagedAccount, ManagementCredential, Run, Schedule
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests.domain.machines import Machine, Network

AWAY = "127.66.6.6"
HTMX = {"HTTP_HX_REQUEST": "true"}


@dataclass
class Outsider:
    """What they work with, and every answer that they were given."""

    client: Client
    network: Network
    secret: Secret  # of somebody else, as is `login`
    login: Secret
    credential: ManagementCredential  # their own
    mine: Machine
    server: Machine  # that has proven the values
    answers: list[str] = field(default_factory=list)

    def stolen(self) -> set[str]:
        """The values of somebody else's secrets that the machine or the user has come to know."""
        rows = [v for secret in (self.secret, self.login) for v in secret.versions.filter(destroyed_at=None)]
        values = {versions.value(version).credential.reveal() for version in rows}
        told = "\n".join(self.answers)
        return {value for value in values if value in self.mine.heard or value in told}

    # ---------------------------------------------------------------- asking

    @property
    def instance(self) -> Instance:
        return Instance.objects.get(managed_accounts__secret=self.secret)

    def _post(self, route: str, row: Any = None, /, **given: Any) -> None:
        url = reverse(route, args=["main", row.pk] if row is not None else ["main"])
        self.answers.append(self.client.post(url, given, **HTMX).content.decode(errors="replace"))
        self._work()

    def _work(self) -> None:
        for run in Run.objects.active().order_by("created_at"):
            self.network.drive(run)

    # ---------------------------------------------------------------- another machine in its place

    def move_away(self) -> None:
        self._move(AWAY, 22)

    def move_to_another_port(self) -> None:
        self._move(self.instance.address, 2222)

    def _move(self, address: str, port: int) -> None:
        now = self.instance
        self.network.at[address, port] = self.mine
        given = {"name": now.name, "address": address, "port": port, "revision": now.revision}
        self._post("instance_edit", now, **given)

    def stand_in_its_place(self) -> None:
        self.network.at[self.instance.address, self.instance.port] = self.mine

    def copy_its_image(self) -> None:
        self.mine.key = self.server.key

    # ---------------------------------------------------------------- trusted, and let in

    def approve_what_it_shows(self) -> None:
        self._post("instance_scan", self.instance)
        self._post("instance_approve", self.instance, fingerprints=[self.mine.key.fingerprint])

    def approve_it_beside(self) -> None:
        self._post("instance_scan", self.instance)
        known = self.instance.host_keys.exclude(state="retired").values_list("fingerprint", flat=True)
        self._post("instance_approve", self.instance, fingerprints=list(known))

    def attach_a_credential(self) -> None:
        self._post("instance_attach", self.instance, credential=self.credential.pk)

    def log_in_with_it(self) -> None:
        self._post("instance_own_login", self.instance, secret=self.login.pk, sudo="passwordless")

    def rebind(self) -> None:
        stamp = rebinding.proposal(self.secret).new.stamp
        self._post("secret_rebind", self.secret, stamp=stamp, reason="moved")

    # ---------------------------------------------------------------- something is sent

    def check(self) -> None:
        self._post("instance_check", self.instance)

    def look_for_drift(self) -> None:
        self._post("secret_drift", self.secret)

    def rotate(self) -> None:
        self._post("secret_rotate", self.secret, reason="routine")

    def reconcile(self) -> None:
        self._post("secret_reconcile", self.secret)

    def retry(self) -> None:
        if run := self.secret.runs.filter(state=Run.State.ENDED).first():
            self._post("run_retry", run)

    def delete_and_restore(self) -> None:
        self._post("secret_delete", self.secret, how="plan", days=30, reason="gone")
        self._post("secret_restore", self.secret)

    def set_aside(self) -> None:
        self._post("secret_resolve", self.secret, decision="set_aside", reason="never arrived")

    def look_at_it(self) -> None:
        self._post("secret_reveal", self.secret, reason="on call")

    def rotate_back(self) -> None:
        if version := self.secret.labelled("previous"):
            url = reverse("secret_rotate_back", args=["main", self.secret.pk, version.pk])
            self.answers.append(self.client.post(url, {"token": "t"}, **HTMX).content.decode())
            self._work()

    def create_one_there(self) -> None:
        given = {
            "type": "ecs", "name": "mine", "instance": self.instance.name, "username": "app",
            "kind": "password", "value": "a-value-of-mine-1", "length": "32", "excluded": "",
            "sets": ["lower", "upper", "digits"], "description": "", "tags": "", "rotation": "on",
            "period": "7", "unit": "days",
        }  # fmt: skip
        self._post("secret_create", **given)

    def wait_a_day(self) -> None:
        """What Keyturn does by itself: a look for drift at each account, and the dates of schedules."""
        ManagedAccount.objects.update(drift_checked_at=None)
        Schedule.objects.update(next_at=Now())
        for _ in range(2):
            tasks.start_drift_checks()
            self._work()
        tasks.start_due()
        self._work()


Deed = Callable[[Outsider], None]
#: In the order in which they build on each other; a sequence that keeps it reaches further.
PHASES: tuple[tuple[Deed, ...], ...] = (
    (
        Outsider.move_away,
        Outsider.move_to_another_port,
        Outsider.stand_in_its_place,
        Outsider.copy_its_image,
    ),
    (Outsider.approve_what_it_shows, Outsider.approve_it_beside),
    (Outsider.attach_a_credential, Outsider.log_in_with_it, Outsider.rebind),
    (
        Outsider.check,
        Outsider.look_for_drift,
        Outsider.rotate,
        Outsider.reconcile,
        Outsider.retry,
        Outsider.delete_and_restore,
        Outsider.set_aside,
        Outsider.look_at_it,
        Outsider.rotate_back,
        Outsider.create_one_there,
        Outsider.wait_a_day,
    ),
)
