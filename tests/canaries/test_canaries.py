"""No value is left in any place where it has no business: every flow is walked, and ten places searched.

In each place a value of its own is planted on purpose and must be found: else the search has proved nothing.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from unittest import mock
from urllib.parse import urlencode

import pytest
from django.core import mail
from django.test import override_settings

from lab import Host
from rotation import failpoints, inventory, runs, tasks
from rotation.connectors.memory import MemoryConnector, MemoryHost
from rotation.models import Instance, ManagementCredential, Run
from secrets_app import keypairs, users
from secrets_app.models import Secret
from secrets_app.plaintext import Plaintext
from tests import factories
from tests.canaries import hosts, places, screens
from tests.canaries.cast import Cast
from tests.canaries.needles import Searcher, make
from tests.lab_fixtures import NewHost
from tests.model.workers import PLACES
from tests.watcher import watching

pytestmark = pytest.mark.django_db(transaction=True)
#: The searched places; "URLs and access logs" and the browser's disk are in test_browser.py as well.
TEN = (
    "database", "journal", "broker", "logs", "error pages", "other pages", "mail", "processes", "URLs",
    "sessions", "exports",
)  # fmt: skip


class Search:
    """What was found in each place, and what each place holds on purpose."""

    def __init__(self, cast: Cast) -> None:
        self.planted = {place: make() for place in TEN}
        self._cast = cast

    def of(self, found: dict[str, list[bytes]]) -> tuple[dict[str, set[str]], set[str]]:
        """The values by place, and the places whose planted one was not found."""
        values, plants = Searcher(self._cast), Searcher(self.planted)
        leaks = {place: values.hits(texts) for place, texts in found.items()}
        missed = {
            place
            for place in TEN
            if place not in {hit.rpartition(" (")[0] for hit in plants.hits(found[place])}
        }
        return {place: hits for place, hits in leaks.items() if hits}, missed


@pytest.fixture
def cast(monkeypatch) -> Cast:
    made = Cast()
    made.catch(monkeypatch)
    return made


@pytest.fixture(autouse=True)
def _inert():
    yield
    failpoints.disarm()


@pytest.fixture(autouse=True)
def _letters(settings):
    settings.ADMINS = [("Ann", "ann@example.org")]


def test_no_value_is_left_in_any_place_and_a_planted_one_is_found_in_each(
    cast: Cast, new_host: NewHost, tmp_path
) -> None:
    journal, search = places.Journal(), Search(cast)
    groups = {"groups": ["administrators"], "must_change_password": False}
    users.create("dot", Plaintext(cast["sign-in"]), **groups)
    with places.everything_is_logged() as printed, watching("root") as seen:
        person = screens.sign_in(cast)
        _on_hosts(person, cast, new_host, tmp_path)
        _plant_processes(search.planted["processes"])
    with places.everything_is_logged() as printed_too:
        _at_every_failpoint(cast)
        screens.fail(person, cast, Secret.objects.get(name="acs/ecs/kept/svc"))
        _plant(search.planted, person)
    exports = person.takes_exports()
    found = {
        "database": places.database(),
        "journal": journal.read(),
        "broker": places.broker(),
        "logs": [t.getvalue().encode() for t in (printed, printed_too)] + places.files(tmp_path),
        "error pages": person.errors,
        "other pages": person.pages,
        "mail": places.mails(),
        "processes": list(seen.texts),
        "URLs": person.urls,
        "sessions": places.sessions(),
        "exports": exports,
    }
    leaks, missed = search.of(found)
    assert leaks == {}
    assert missed == set()
    assert {400, 403, 404, 405, 409, 422, 500, 503} <= person.statuses
    assert len(cast) > 60


def _on_hosts(person: screens.Person, cast: Cast, new_host: NewHost, folder) -> None:
    """A password on one host, a key pair and the own login on another; each once well and once badly."""
    log = folder / "worker.log"
    first = _password_host(person, cast, new_host)
    secret = screens.create(person, first.name, "svc", value=cast["first password"])
    assert hosts.work(secret.runs.get(kind="verify")).outcome == "succeeded"
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"
    screens.read(person, secret)
    assert (
        person.post("secret_rotate", screens.custom(cast["custom password"]), "main", secret.pk).status_code
        == 302
    )
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"
    with hosts.refusing(first):
        person.post("secret_rotate", screens.custom(cast["refused password"]), "main", secret.pk)
        assert hosts.work(hosts.start(secret)).code == "policy"
    for number in (2, 4, 6):
        with hosts.breaking(number):
            hosts.work(hosts.start(secret))
    hosts.die_in_a_worker(hosts.start(secret), "after_set", log)
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"

    second = _key_host(person, cast, new_host)
    pair = screens.create(
        person, second.name, "git", kind="key_pair", private_key=cast["first key"], key_algorithm="ed25519"
    )
    hosts.work(pair.runs.get(kind="verify"))
    assert hosts.work(hosts.start(pair)).outcome == "succeeded"
    screens.read(person, pair)
    person.post("secret_rotate", screens.custom(cast["custom key"]), "main", pair.pk)
    hosts.die_in_a_worker(hosts.start(pair), "after_set", log)
    for number in (3, 5):
        with hosts.breaking(number):
            hosts.work(hosts.start(pair))
    assert hosts.work(hosts.start(pair)).outcome == "succeeded"

    instance = Instance.objects.get(name=second.name)
    boss = screens.create(person, second.name, "boss", value=cast["own login"])
    hosts.work(boss.runs.get(kind="verify"))
    inventory.use_own_login(
        instance, Secret.objects.get(pk=boss.pk), sudo="password", actor=factories.administrator()
    )
    assert hosts.work(hosts.start(boss)).outcome == "succeeded"
    screens.look_up(person, cast["looked up"], cast["first password"], cast["custom password"])


def _password_host(person: screens.Person, cast: Cast, new_host: NewHost) -> Host:
    pair = keypairs.read(Plaintext(cast["management key"]))
    host = new_host(public_key=pair.public_key)
    host.add_account("svc", password=cast["first password"])
    words = {"name": "by-key", "username": "keyturn", "login": "key", "sudo": "passwordless"}
    person.post("credential_create", words | {"private_key": cast["management key"]})
    hosts.register(host, ManagementCredential.objects.get(name="by-key"))
    return host


def _key_host(person: screens.Person, cast: Cast, new_host: NewHost) -> Host:
    host = new_host()
    host.add_account("mgr", password=cast["management password"])
    host.add_account("boss", password=cast["own login"])
    host.add_account("git", authorized_keys=[keypairs.read(Plaintext(cast["first key"])).public_key])
    for name in ("mgr", "boss"):
        host.write(f"/etc/sudoers.d/{name}", f"{name} ALL=(root) ALL\n", 0o440)
    words = {"name": "by-password", "username": "mgr", "login": "password", "sudo": "password"}
    values = {"password": cast["management password"], "sudo_password": cast["management password"]}
    person.post("credential_create", words | values)
    hosts.register(host, ManagementCredential.objects.get(name="by-password"))
    return host


def _at_every_failpoint(cast: Cast) -> None:
    """A bug at each place of the engine, for both kinds: each is logged, mailed and followed by success."""
    simulated = {}
    for kind, initial in (("password", cast["first password"]), ("key_pair", cast["first key"])):
        host = MemoryHost()
        account = host.add_account("svc", cast["first password"] if kind == "password" else "")
        if kind == "key_pair":
            account.problem = "locked"
            account.keys.append(keypairs.read(Plaintext(initial)).public_key)
        made = factories.secret(kind=kind, initial=initial, key_algorithm="ed25519")
        factories.settle(made)
        simulated[made.pk] = made, host

    def bug() -> None:
        raise LookupError("a bug")

    reached = set()
    for made, host in simulated.values():
        with mock.patch.object(tasks, "SshConnector", lambda endpoint, host=host: MemoryConnector(host)):
            for place in PLACES:
                run, letters = hosts.start(made), len(mail.outbox)
                failpoints.arm(place, bug)
                hosts.work(run)
                failpoints.disarm()
                reached |= {place} if len(mail.outbox) > letters else set()
                assert hosts.work(run).outcome == "succeeded", (place, run.sentence)
    assert {"before_claim", "after_create", "after_set", "before_finish", "after_remove"} <= reached


def _plant_processes(value: str) -> None:
    """In the environment of a process, as a child that was given a value would show it."""
    planted = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"VALUE": value})
    time.sleep(1)  # many rounds of the watcher
    planted.communicate(b"\n", timeout=10)


def _plant(values: dict[str, str], person: screens.Person) -> None:
    """One leak for each place, made the way in which a bug would make it."""
    run = Run.objects.earliest("created_at")
    Run.objects.filter(pk=run.pk).update(sentence=values["database"])
    # Written over at once: only what the store wrote ahead still has it.
    other = Run.objects.latest("created_at")
    Run.objects.filter(pk=other.pk).update(sentence=values["journal"])
    Run.objects.filter(pk=other.pk).update(sentence=values["exports"])
    tasks.advance.delay(values["broker"])
    logging.getLogger("paramiko.transport").debug("sent %s", values["logs"])
    with override_settings(DEBUG=True), mock.patch.object(runs, "start", side_effect=LookupError("a bug")):
        _, secret = None, Secret.objects.get(name="acs/ecs/kept/svc")
        person.post("secret_rotate", {"reason": values["error pages"]}, "main", secret.pk)
    person.ask("get", "/all/secrets/", {"q": values["other pages"]})
    try:
        raise LookupError(f"the host said {values['mail']}")
    except LookupError:
        logging.getLogger("rotation").exception("failed")
    person.ask("get", f"/all/secrets/?{urlencode({'q': values['URLs']})}")
    session = person.client.session
    session["draft"] = {"value": values["sessions"]}
    session.save()
