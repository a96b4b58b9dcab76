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
from rotation import runs, tasks, wires
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.engine import failpoints
from rotation.inventory import management
from rotation.models import Instance, ManagementCredential, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.people import users
from tests import factories
from tests.canaries import hosts, places, screens
from tests.canaries.cast import Cast
from tests.canaries.needles import Searcher, make
from tests.lab_fixtures import NewHost
from tests.model.workers import PLACES
from tests.waiting import PATIENCE
from tests.watcher import watching

pytestmark = pytest.mark.django_db(transaction=True)
#: The searched places; "URLs and access logs" and the browser's disk are in test_browser.py as well.
TEN = (
    "database", "journal", "broker", "logs", "error pages", "other pages", "mail", "processes", "URLs",
    "sessions", "exports",
)  # fmt: skip
#: A password in the wrong field is a name: shown to who typed it, and in the SQL that looks for that name,
#: which the product's own settings never log. Nothing keeps it.
TAKEN_FOR_A_NAME = {("logs", "sign-in as name"), ("other pages", "sign-in as name")}


class Search:
    """What was found in each place, and what each place holds on purpose."""

    def __init__(self, cast: Cast) -> None:
        self.planted = {place: make() for place in TEN}
        self._cast = cast

    def of(self, found: dict[str, list[bytes]]) -> tuple[set[tuple[str, str]], set[str]]:
        """Each place with each value in it, and the places whose planted value was not found."""
        values, plants = Searcher(self._cast), Searcher(self.planted)
        leaks = {(place, name_of(hit)) for place, texts in found.items() for hit in values.hits(texts)}
        missed = {place for place in TEN if place not in map(name_of, plants.hits(found[place]))}
        return leaks - TAKEN_FOR_A_NAME, missed


def name_of(hit: str) -> str:
    return hit.rpartition(" (")[0]


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
    with places.everything_is_logged() as printed:
        person = screens.sign_in(cast)
        seen = _on_hosts(person, cast, new_host, tmp_path, search.planted["processes"])
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
        "processes": list(seen),
        "URLs": person.urls,
        "sessions": places.sessions(),
        "exports": exports,
    }
    leaks, missed = search.of(found)
    assert leaks == set()
    assert missed == set()
    assert {400, 403, 404, 405, 409, 422, 500, 503} <= person.statuses
    assert len(cast) > 60


def _on_hosts(person: screens.Person, cast: Cast, new_host: NewHost, folder, planted: str) -> set[bytes]:
    """A password on one host, a key pair and the own login on another; what root saw in /proc meanwhile."""
    log = folder / "worker.log"
    with_passwords = _password_host(person, cast, new_host)
    with watching("root") as first:
        secret = _passwords(person, cast, with_passwords)
        hosts.die_in_a_worker(hosts.start(secret), "after_set", log)
        _plant_processes(planted)
    _passwords_go_wrong(person, cast, secret, with_passwords)
    with_keys = _key_host(person, cast, new_host)
    with watching("root") as second:
        pair = _keys(person, cast, with_keys)
    person.post("secret_rotate", screens.custom(cast["custom key"]), "main", pair.pk)
    for number in (3, 5):
        with hosts.breaking(number):
            hosts.work(hosts.start(pair))
    assert hosts.work(hosts.start(pair)).outcome == "succeeded"
    screens.look_up(person, cast["looked up"], cast["first password"], cast["custom password"])
    return first.texts | second.texts


def _passwords(person: screens.Person, cast: Cast, host: Host) -> Secret:
    secret = screens.create(person, host.name, "svc", value=cast["first password"])
    assert hosts.work(secret.runs.get(kind="verify")).outcome == "succeeded"
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"
    screens.read(person, secret)
    person.post("secret_rotate", screens.custom(cast["custom password"]), "main", secret.pk)
    assert hosts.work(secret.runs.active().get()).outcome == "succeeded"
    return secret


def _passwords_go_wrong(person: screens.Person, cast: Cast, secret: Secret, host: Host) -> None:
    """After a worker that died: PAM refuses a value, and bugs come up while one is sent."""
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"
    with hosts.refusing(host):
        person.post("secret_rotate", screens.custom(cast["refused password"]), "main", secret.pk)
        assert hosts.work(secret.runs.active().get()).code == "not_set"  # pam_deny gives no reason
    for number in (2, 4, 6):
        with hosts.breaking(number):
            hosts.work(hosts.start(secret))
    assert hosts.work(hosts.start(secret)).outcome == "succeeded"


def _keys(person: screens.Person, cast: Cast, host: Host) -> Secret:
    """A key pair, and the account that Keyturn itself logs in as, by a password that sudo asks for too."""
    given = {"kind": "key_pair", "private_key": cast["first key"]}
    pair = screens.create(person, host.name, "git", **given)
    assert hosts.work(pair.runs.get(kind="verify")).outcome == "succeeded"
    assert hosts.work(hosts.start(pair)).outcome == "succeeded"
    screens.read(person, pair)
    boss = screens.create(person, host.name, "boss", value=cast["own login"])
    assert hosts.work(boss.runs.get(kind="verify")).outcome == "succeeded"
    instance = Instance.objects.get(name=host.name)
    boss = Secret.objects.get(pk=boss.pk)
    management.use_own_login(instance, boss, sudo="password", actor=factories.administrator())
    assert hosts.work(hosts.start(boss)).outcome == "succeeded"
    return pair


def _password_host(person: screens.Person, cast: Cast, new_host: NewHost) -> Host:
    pair = key_pairs.read(Plaintext(cast["management key"]))
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
    host.add_account("git", authorized_keys=[key_pairs.read(Plaintext(cast["first key"])).public_key])
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
            account.keys.append(key_pairs.read(Plaintext(initial)).public_key)
        made = factories.secret(kind=kind, initial=initial, key_algorithm="ed25519")
        factories.settle(made)
        simulated[made.pk] = made, host

    def bug() -> None:
        raise LookupError("a bug")

    reached = set()
    for made, host in simulated.values():
        with mock.patch.object(wires, "connect", lambda endpoint, host=host: MemoryConnector(host)):
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
    planted.communicate(b"\n", timeout=PATIENCE)


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
