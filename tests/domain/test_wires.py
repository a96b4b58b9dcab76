"""A wire is a row: what is said in the table decides how an instance is reached, and nothing else does."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest

from rotation import accounts, binding, instance_checks, runs, wires
from rotation.connectors import base
from rotation.connectors.log_ons import LogOn
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost, MemoryScanner
from rotation.engine import engine
from rotation.engine.methods import table as methods
from rotation.inventory import identities, management
from rotation.managed import creation
from rotation.models import HostKey, Instance, ManagedAccount, Run
from secrets_app import seals
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Label, Secret
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

KEY = base.HostKey("ssh-ed25519", "AAAAC3Nz" + "A" * 60, "SHA256:toy")


@pytest.fixture
def host():
    made = MemoryHost()
    made.add_account("svc.toy", "old-password")
    return made


@pytest.fixture
def toy(host, monkeypatch):
    """A second wire, as another row: its accounts have a dot in their names, and no key pairs."""
    wire = dataclasses.replace(
        wires.SSH,
        name="toy",
        logs_in_as="toy",
        label="Toy",
        speak=lambda: wires.Speech(
            lambda endpoint: MemoryConnector(host), MemoryScanner({"192.0.2.77": (KEY,)})
        ),
        kinds=frozenset({base.Kind.PASSWORD}),
        ports=(5986,),
        is_username=lambda name: "." in name,
        username_rule="A toy's account has a dot.",
        account_problem=lambda name: "" if name.startswith("toy\\") else "A toy's name begins with toy.",
        identity=base.Identity.CERTIFICATE,
    )
    monkeypatch.setattr(wires, "TABLE", MappingProxyType({**wires.TABLE, "toy": wire}))
    return wire


def registered() -> Instance:
    login = management.create_credential(
        "toys",
        "toy\\svc",
        wire="toy",
        sudo="none",
        actor=factories.administrator(),
        password=Plaintext("a-login-password"),
    )
    return factories.instance(address="192.0.2.77", port=5986, wire="toy", keys=[], credential=login)


@pytest.fixture
def instance(toy):
    return registered()


def carry(run: Run) -> Run:
    engine.advance(run.pk, worker="w", connect=wires.connect, scanner=wires.Scanner())
    run.refresh_from_db()
    return run


def test_a_scan_and_a_check_go_by_the_row_of_the_instance(instance, host):
    dot = factories.administrator()
    assert carry(instance_checks.scan(instance, actor=dot)).outcome == Run.Outcome.SUCCEEDED
    seen = HostKey.objects.get(instance=instance, fingerprint=KEY.fingerprint)
    assert seen.kind == HostKey.Kind.CERTIFICATE
    identities.approve_host_keys(instance, [KEY.fingerprint], actor=dot)
    assert carry(instance_checks.check(instance, actor=dot)).outcome == Run.Outcome.SUCCEEDED
    assert host.connections


def test_what_another_wire_has_shown_is_not_trusted(instance):
    identities.see_host_keys(instance, [KEY])
    identities.approve_host_keys(instance, [KEY.fingerprint], actor=factories.administrator())
    assert management.endpoint(instance).wire == "toy"
    Instance.objects.filter(pk=instance.pk).update(wire="ssh")
    instance.refresh_from_db()
    with pytest.raises(management.NotAttached) as refused:
        management.endpoint(instance)
    assert refused.value.code == "no_host_key"


def test_a_value_that_was_proven_over_one_wire_is_sent_over_no_other(toy):
    account = factories.secret(initial="entered by a person").managed
    machine = binding.now_at(account.instance)
    assert binding.why_not(account, machine) == ""
    assert "another way" in binding.why_not(account, dataclasses.replace(machine, wire="toy"))


def test_the_names_and_the_kinds_of_accounts_are_the_wires(instance):
    dot = factories.administrator()
    password, pair = Secret.Kind.PASSWORD, Secret.Kind.KEY_PAIR
    creation.check_account(instance.region, instance, "svc.toy", password, actor=dot)
    assert accounts.Named(instance, "svc.toy").arn.endswith("/user/svc.toy")
    assert accounts.Named(instance, "svc").arn == ""
    with pytest.raises(creation.BadUsername, match=r"A toy's account has a dot\."):
        creation.check_account(instance.region, instance, "svc", password, actor=dot)
    with pytest.raises(runs.NotRotatable, match=r"A toy's account has a dot\."):
        instance_checks.check_account(instance, "svc", password, actor=dot)
    with pytest.raises(creation.KindUnsupported):
        creation.check_account(instance.region, instance, "svc.toy", pair, actor=dot)


def test_the_name_of_a_management_account_is_the_wires(toy):
    dot = factories.administrator()
    made = {"sudo": "none", "actor": dot, "password": Plaintext("a-login-password")}
    assert management.create_credential("one", "toy\\svc", wire="toy", **made).username == "toy\\svc"
    with pytest.raises(management.BadAccount):
        management.create_credential("two", "toy\\svc", **made)
    with pytest.raises(management.BadAccount, match="begins with toy"):
        management.create_credential("three", "svc", wire="toy", **made)


def test_an_instance_is_named_without_the_port_that_is_usual_there(instance):
    assert instance.where == "192.0.2.77"
    assert factories.instance(address="192.0.2.78", port=5986).where == "192.0.2.78:5986"


def test_a_wire_that_is_not_in_the_table_reaches_nothing():
    instance = factories.instance()
    Instance.objects.filter(pk=instance.pk).update(wire="gone")
    instance.refresh_from_db()
    with pytest.raises(management.NotAttached):
        management.endpoint(instance)
    assert accounts.Named(instance, "root").arn == ""
    assert instance.where.endswith(":22")


def test_how_a_user_logs_on_is_the_wires_for_each_system(toy, monkeypatch):
    ways = {"log_on": lambda *_: LogOn("toy"), "log_on_to": {"windows": lambda *_: LogOn("w")}}
    row = dataclasses.replace(toy, **ways)
    monkeypatch.setattr(wires, "TABLE", MappingProxyType({"toy": row}))
    where = ("svc.toy", "192.0.2.77", 5986, "")
    assert wires.log_on("toy", "linux", *where).command == "toy"
    assert wires.log_on("toy", "windows", *where).command == "w"
    assert wires.log_on("gone", "windows", *where).command == ""


def test_every_row_is_complete():
    for name, wire in wires.TABLE.items():
        assert (wire.name, bool(wire.label)) == (name, True)
        assert wire.kinds
        assert wire.ports
        assert set(wire.reasons)
        made = wire.connect(base.Endpoint("192.0.2.1", wire.ports[0], wire=wire.name))
        assert isinstance(made, base.Passwords) == (base.Kind.PASSWORD in wire.kinds)
        assert isinstance(made, base.Keys) == (base.Kind.KEY in wire.kinds)
        assert {part for part in dir(base.Target) if not part.startswith("_")} <= set(dir(made))
        assert wire.compare.command
        assert wire.username_rule.endswith(".")


def test_each_kind_of_secret_has_a_method_and_a_name_on_a_wire():
    assert set(methods.TABLE) == set(wires.KINDS) == set(Secret.Kind.values)
    for kind, method in methods.TABLE.items():
        assert wires.KINDS[kind] == method.KIND


# ---------------------------------------------------------------- a wire that can do passwords only


class PasswordsOnly:
    """A connector with the least that every wire has, and passwords: `base.Target` and `base.Passwords`."""

    def __init__(self, host: MemoryHost) -> None:
        whole = MemoryConnector(host)
        self.preflight, self.trace, self.prove_login = whole.preflight, whole.trace, whole.prove_login
        self.set_password, self.probe_password = whole.set_password, whole.probe_password


@pytest.fixture
def narrow(toy, host, monkeypatch):
    narrow = wires.Speech(lambda endpoint: PasswordsOnly(host), toy.scanner)
    wire = dataclasses.replace(toy, speak=lambda: narrow)
    monkeypatch.setattr(wires, "TABLE", MappingProxyType({**wires.TABLE, "toy": wire}))
    instance = registered()
    identities.see_host_keys(instance, [KEY])
    dot = factories.administrator()
    identities.approve_host_keys(instance, [KEY.fingerprint], actor=dot)
    return instance


def managed_there(instance, host, **kind):
    made = factories.secret(initial="old-password", instance=instance, username="svc.toy", **kind)
    factories.settle(made)
    return made


def test_a_wire_without_key_pairs_rotates_passwords(narrow, host):
    secret = managed_there(narrow, host)
    run = carry(runs.start(secret, actor=factories.administrator()))
    assert run.outcome == Run.Outcome.SUCCEEDED, run.sentence
    current = versions.value(secret.labelled(Label.Role.CURRENT))
    assert host.shadow_accepts("svc.toy", current.credential.reveal())


def test_a_key_pair_over_a_wire_without_them_is_refused_before_a_value_is_made(narrow, host):
    secret = managed_there(narrow, host)
    Secret.objects.filter(pk=secret.pk).update(kind=Secret.Kind.KEY_PAIR, key_algorithm="ed25519")
    seals.accept(Secret.objects.get(pk=secret.pk))
    asked, kept = host.connections, secret.versions.count()
    run = carry(runs.start(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert (run.outcome, run.code) == (Run.Outcome.BLOCKED, "unsupported")
    assert run.sentence == "Over Toy, Keyturn cannot change key pairs."
    assert (host.connections, secret.versions.count()) == (asked, kept)


def test_what_a_wire_cannot_do_after_a_rotation_is_said_and_loses_nothing(narrow, host):
    secret = managed_there(narrow, host)
    ManagedAccount.objects.filter(secret=secret).update(ends_sessions=True)
    run = carry(runs.start(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert run.outcome == Run.Outcome.SUCCEEDED
    assert "Over Toy, Keyturn cannot end sessions." in run.sentence


def test_each_way_to_the_same_hosts_has_the_same_parts():
    """What a wire can do is read from its class: a function in the place of one would hide all of it."""
    for wire in wires.TABLE.values():
        assert isinstance(wire.connect, type), wire.name
        usual = wires.of(wire.logs_in_as).name
        for asks in (wires.has_dependants, wires.ends_sessions):
            assert asks(wire.name) == asks(usual), wire.name
    assert wires.has_dependants(wires.WINRM_HTTP.name)
    assert wires.ends_sessions(wires.SSH.name)
