"""The machine that an account is bound to: no other one is offered a value, whoever changed what."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from rotation import binding, instance_checks, retrying, runs, tasks
from rotation.connectors import base
from rotation.engine import failpoints
from rotation.inventory import management
from rotation.managed import deletion, rebinding, resolution
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.machines import Machine, Network, approve, attach, move
from tests.domain.rig import OLD, account, password

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
AWAY = "127.66.6.6"


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def server(network) -> Machine:
    """Return the machine that proved the value."""
    made = Machine()
    made.host.machine_id = "the-server"
    made.host.add_account("svc", OLD)
    return made


@pytest.fixture
def other(network) -> Machine:
    """Return a machine of somebody who may change instances; it answers at a second address."""
    made = Machine()
    made.host.machine_id = "another-one"
    made.host.add_account("svc", "whatever-is-there-1")
    network.at[AWAY, 22] = made
    return made


@pytest.fixture
def secret(network, server) -> Secret:
    """Return a secret whose value its machine has accepted."""
    made = factories.secret(instance=network.register(server), initial=OLD)
    assert network.drive(made.runs.get()).outcome == "succeeded"
    return made


def instance_of(secret: Secret) -> Instance:
    return Instance.objects.get(managed_accounts__secret=secret)


def anew(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


def dot() -> Principal:
    return factories.administrator()


def rebind(secret: Secret, **given: object) -> None:
    answer = {"actor": dot(), "reason": "moved to rack 7", "stamp": rebinding.proposal(secret).new.stamp}
    rebinding.rebind([secret], **(answer | given))  # type: ignore[arg-type]


# ---------------------------------------------------------------- what makes it another machine


def to_another_address(network: Network, instance: Instance, other: Machine) -> None:
    """Move it to a machine of one's own, and approve that one's key."""
    move(instance, address=AWAY)
    approve(instance, other.key)
    attach(instance)


def to_another_port(network: Network, instance: Instance, other: Machine) -> None:
    network.at[instance.address, 2222] = other
    move(instance, port=2222)
    approve(instance, other.key)
    attach(instance)


def to_another_key(network: Network, instance: Instance, other: Machine) -> None:
    """Stand in the place of the server, and approve one's own key."""
    network.at[instance.address, instance.port] = other
    approve(instance, other.key)
    attach(instance)


def to_a_key_beside(network: Network, instance: Instance, other: Machine) -> None:
    """Approve one's own key beside the server's, and stand in its place."""
    server = network.at[instance.address, instance.port]
    approve(instance, server.key, other.key)
    network.at[instance.address, instance.port] = other


def to_a_clone(network: Network, instance: Instance, other: Machine) -> None:
    """Move it to a machine that was made of the same image, host key included."""
    other.key = network.at[instance.address, instance.port].key
    move(instance, address=AWAY)
    attach(instance)


def to_another_machine_id(network: Network, instance: Instance, other: Machine) -> None:
    """Put a clone in the server's own place; a look at the instance has noted what it calls itself."""
    other.key = network.at[instance.address, instance.port].key
    network.at[instance.address, instance.port] = other
    assert network.drive(instance_checks.check(instance, actor=dot())).outcome == "succeeded"


WAYS = [
    to_another_address,
    to_another_port,
    to_another_key,
    to_a_key_beside,
    to_a_clone,
    to_another_machine_id,
]


def verify(secret: Secret) -> Run:
    return runs.verify(secret, actor=dot())


def drift(secret: Secret) -> Run:
    return runs.drift(secret, actor=dot())


def daily_drift(secret: Secret) -> Run:
    ManagedAccount.objects.filter(secret=secret).update(drift_checked_at=None)
    tasks.start_drift_checks()
    return secret.runs.active().get()


def reconcile(secret: Secret) -> Run:
    return runs.reconcile(secret, actor=dot())


def rotate(secret: Secret) -> Run:
    return runs.start(secret, actor=dot())


def rotate_after_a_leak(secret: Secret) -> Run:
    return runs.start(secret, actor=dot(), is_leak=True)


def rotate_to_a_chosen_value(secret: Secret) -> Run:
    return runs.start(secret, actor=dot(), value=Plaintext("A-chosen-Value-1-0123456789-abcdef"))


def rotate_back(secret: Secret) -> Run:
    return runs.start(secret, actor=dot(), from_version=secret.labelled("previous"))


def restore(secret: Secret) -> Run:
    deletion.plan_deletion(secret, actor=dot())
    run = deletion.restore(anew(secret), actor=dot()).run
    assert run
    return run


ASKED = [
    verify,
    drift,
    daily_drift,
    reconcile,
    rotate,
    rotate_after_a_leak,
    rotate_to_a_chosen_value,
    rotate_back,
    restore,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asked", ASKED)
def test_a_machine_that_did_not_prove_the_value_is_offered_none(network, secret, other, way, asked):
    assert network.drive(rotate(secret)).outcome == "succeeded"  # there is a previous value too
    way(network, instance_of(secret), other)
    run = network.drive(asked(anew(secret)), turns=3)
    assert other.heard == set()
    assert run.outcome != "succeeded"
    if way is not to_a_key_beside:
        assert (run.outcome, run.code) == ("blocked", "other_machine")
        assert (account(secret).credential, account(secret).credential_code) == ("blocked", "other_machine")


@pytest.mark.parametrize("way", WAYS)
def test_a_machine_that_did_not_prove_a_key_pair_is_offered_none(network, other, way):
    pair = key_pairs.generate("ed25519")
    server = Machine()
    server.host.machine_id = "the-server"
    server.host.add_account("svc", OLD).keys.append(pair.public_key)
    made = factories.secret(
        instance=network.register(server), kind="key_pair", initial=pair.private_key.reveal()
    )
    assert network.drive(made.runs.get()).outcome == "succeeded"
    way(network, instance_of(made), other)
    assert network.drive(rotate(anew(made)), turns=3).outcome != "succeeded"
    assert other.heard == set()
    assert other.host.accounts["svc"].keys == []


@pytest.mark.parametrize("way", [to_another_address, to_another_port, to_another_key, to_a_clone])
def test_an_instance_that_is_moved_yields_no_value_by_its_own_login(network, secret, other, way):
    way(network, instance_of(secret), other)
    with pytest.raises(management.NoOwnLogin, match="rebind"):
        management.use_own_login(instance_of(secret), secret, sudo="none", actor=dot())
    # Whatever the row says: the value itself does not leave.
    ManagedAccount.objects.filter(secret=secret).update(credential="in_sync")
    management.log_in_with(instance_of(secret), secret, sudo="none", actor=dot())
    run = network.drive(instance_checks.check(instance_of(secret), actor=dot()))
    assert (run.outcome, run.code) == ("blocked", "other_machine")
    assert other.heard == set()


def test_an_own_login_that_is_moved_while_it_changes_yields_neither_value(network, server, other):
    server.host.add_account("admin", OLD)
    made = factories.secret(instance=network.register(server), username="admin", initial=OLD)
    network.drive(made.runs.get())
    management.use_own_login(instance_of(made), made, sudo="none", actor=dot())
    server.host.drops_after_set = server.host.refuses_new_passwords = True
    run = network.drive(rotate(anew(made)))
    pending = versions.value(made.labelled("pending")).credential.reveal()
    assert pending in server.heard
    to_another_address(network, instance_of(made), other)
    management.log_in_with(instance_of(made), made, sudo="none", actor=dot())
    for work in (run, instance_checks.check(instance_of(made), actor=dot())):
        assert network.drive(work, turns=2).code == "other_machine"
    assert other.heard == set()


def test_a_pending_value_that_the_server_may_have_is_not_offered_to_another(network, secret, server, other):
    server.host.drops_after_set = True
    failpoints.arm("before_test", lambda: setattr(server.host, "unreachable", True))
    run = network.drive(rotate(secret))
    failpoints.disarm()
    assert run.state == "waiting"
    assert secret.labelled("pending").offered_at
    to_another_address(network, instance_of(secret), other)
    run = network.drive(run, turns=2)
    assert (run.outcome, run.code) == ("blocked", "other_machine")
    assert network.drive(retrying.retry(run, actor=dot())).code == "other_machine"
    resolution.resolve(anew(secret), actor=dot(), decision="set_aside", reason="it never arrived")
    assert account(secret).credential_code == "other_machine"
    assert network.drive(secret.runs.active().get()).code == "other_machine"
    assert other.heard == set()


@pytest.mark.parametrize("place", ["after_claim", "after_create", "after_preflight", "before_test"])
def test_a_change_in_the_middle_of_a_run_offers_nothing_to_another(network, secret, other, place):
    instance = instance_of(secret)
    failpoints.arm(place, lambda: to_another_address(network, instance, other))
    network.drive(rotate(secret))
    failpoints.disarm()
    assert account(secret).credential == "blocked"
    assert account(secret).credential_code == "other_machine"
    network.drive(secret.runs.first(), turns=3)
    assert other.heard == set()


def test_a_clone_in_the_servers_place_is_found_before_it_is_asked_anything(network, secret, server, other):
    """Nobody has looked at it before: the rotation itself does, before any value is opened."""
    other.key = server.key
    ManagedAccount.objects.filter(secret=secret).update(verified_level="command")
    network.at[instance_of(secret).address, 22] = other
    assert network.drive(rotate(secret), turns=2).code == "other_machine"
    assert other.heard == set()
    assert not secret.labelled("pending").offered_at


def test_a_host_key_beside_the_bound_one_costs_no_confirmation(network, secret, server):
    approve(instance_of(secret), server.key, factories.host_key())
    assert account(secret).credential == "in_sync"
    assert network.drive(verify(secret)).outcome == "succeeded"


def test_a_connection_trusts_no_host_key_that_the_account_is_not_bound_to(network, secret, server, other):
    approve(instance_of(secret), server.key, other.key)
    reached = management.endpoint(instance_of(secret))
    assert set(reached.host_keys) == {server.key.line, other.key.line}
    narrow = binding.narrowed(reached, instance_of(secret), [secret])
    assert narrow.host_keys == (server.key.line,)
    current = secret.labelled("current")
    assert binding.value(current, over=narrow).password.reveal() == OLD
    for wide in (
        reached,
        base.Endpoint(reached.address, reached.port, wire=reached.wire),
        inventory_of(other),
    ):
        with pytest.raises(binding.OtherMachine):
            binding.value(current, over=wide)


def inventory_of(machine: Machine) -> base.Endpoint:
    return base.Endpoint(AWAY, 22, (machine.key.line,), wire="ssh")


# ---------------------------------------------------------------- first contact


def test_a_value_that_was_entered_goes_only_to_the_machine_that_was_approved_then(network, server, other):
    made = factories.secret(instance=network.register(server), initial=OLD)
    to_another_address(network, instance_of(made), other)
    assert network.drive(made.runs.get()).code == "other_machine"
    assert other.heard == set()


def test_a_value_that_was_entered_before_any_key_was_approved_waits_for_a_user(network, other):
    instance = network.register(other, approved=False)
    made = factories.secret(instance=instance, initial=OLD)
    assert account(made).credential == "not_verified"
    approve(instance, other.key)
    run = network.drive(made.runs.get())
    assert (run.outcome, run.code) == ("blocked", "other_machine")
    assert "before a host key" in account(made).credential_sentence
    assert network.drive(rotate(anew(made))).code == "other_machine"
    assert other.heard == set()
    rebind(made)
    assert network.drive(verify(anew(made))).outcome == "failed"
    assert other.heard >= {OLD}


def test_a_chosen_value_goes_only_to_the_machine_that_was_approved_then(network, server, other):
    made = factories.secret(instance=network.register(server, approved=False))
    approve(instance_of(made), server.key)
    run = rotate_to_a_chosen_value(anew(made))
    to_another_address(network, instance_of(made), other)
    assert network.drive(run).code == "other_machine"
    assert other.heard == set()


def test_an_account_that_never_had_a_value_is_bound_by_its_first_one(network, server, other):
    made = factories.secret(instance=network.register(server, approved=False))
    approve(instance_of(made), server.key)
    assert account(made).bound_at is None
    assert network.drive(rotate(made)).outcome == "succeeded"
    assert list(account(made).bound_keys) == [server.key.fingerprint]
    assert account(made).bound_machine_id == "the-server"
    to_another_address(network, instance_of(made), other)
    assert network.drive(rotate(anew(made))).code == "other_machine"
    assert other.heard == set()


def test_a_first_value_is_not_made_on_another_machine_than_the_one_chosen(network, server, other):
    """Else its owner knew the value that the server is given once the address is put right again."""
    made = factories.secret(instance=network.register(server))
    to_another_address(network, instance_of(made), other)
    assert network.drive(rotate(made)).code == "other_machine"
    assert other.heard == set()


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize("way", [w for w in WAYS if w is not to_a_key_beside])
def test_a_credential_is_not_in_sync_on_a_machine_that_did_not_prove_it(network, secret, other, way):
    assert account(secret).credential == "in_sync"
    way(network, instance_of(secret), other)
    found = account(secret)
    assert (found.credential, found.credential_code) == ("blocked", "other_machine")
    assert "is not the machine on which the value for svc was proven" in found.credential_sentence


def test_a_change_that_is_undone_asks_for_a_verification_only(network, secret, server):
    before = instance_of(secret).address
    move(instance_of(secret), address=AWAY)
    assert account(secret).credential_code == "other_machine"
    move(instance_of(secret), address=before)
    attach(instance_of(secret))
    assert account(secret).credential == "not_verified"
    assert network.drive(verify(anew(secret))).outcome == "succeeded"
    assert account(secret).credential == "in_sync"


def test_a_server_that_is_gone_stays_gone_wherever_its_row_points(network, secret):
    resolution.resolve(secret, actor=dot(), decision="gone", reason="scrapped")
    move(instance_of(secret), address=AWAY)
    assert account(secret).credential == "gone"


# ---------------------------------------------------------------- a user decides


def test_a_value_goes_to_another_machine_once_a_user_with_the_right_says_so(network, secret, other):
    to_another_address(network, instance_of(secret), other)
    rebind(secret)
    assert account(secret).credential == "not_verified"
    assert not secret.runs.active().exists()
    assert other.heard == set()  # nothing is sent by the confirmation itself
    run = network.drive(rotate(anew(secret)))
    assert run.outcome == "succeeded", run.sentence
    assert account(secret).credential == "in_sync"
    assert other.host.accounts["svc"].password == password(secret)
    event = AuditEvent.objects.get(action="kms:RebindManagedAccount")
    assert event.reason == "moved to rack 7"
    assert event.details["new_address"] == AWAY
    assert event.details["new_keys"] == other.key.fingerprint
    assert event.details["old_machine_id"] == "the-server"


def test_the_machine_that_it_left_is_offered_nothing_more(network, secret, server, other):
    before = instance_of(secret).address
    to_another_address(network, instance_of(secret), other)
    rebind(secret)
    move(instance_of(secret), address=before)
    approve(instance_of(secret), server.key)
    attach(instance_of(secret))
    server.heard.clear()
    assert network.drive(verify(anew(secret))).code == "other_machine"
    assert server.heard == set()


def test_nobody_rebinds_without_the_right_a_reason_or_a_look(network, secret, other, ann):
    to_another_address(network, instance_of(secret), other)
    with pytest.raises(decisions.NotAllowed):
        rebind(secret, actor=ann.principal)
    with pytest.raises(runs.NoReason):
        rebind(secret, reason="  ")
    seen = rebinding.proposal(secret).new.stamp
    approve(instance_of(secret), other.key, factories.host_key())
    with pytest.raises(rebinding.Changed):
        rebind(secret, stamp=seen)
    assert account(secret).credential_code == "other_machine"
    assert not AuditEvent.objects.filter(action="kms:RebindManagedAccount", outcome="succeeded").exists()


def test_nothing_is_rebound_where_one_of_them_may_not_be(network, secret, server, other, ann):
    server.host.add_account("app", OLD)
    second = factories.secret(instance=instance_of(secret), username="app", initial=OLD)
    to_another_address(network, instance_of(secret), other)
    assert rebinding.needed_on(instance_of(secret)) == sorted([secret, second], key=lambda one: one.name)
    stamp = rebinding.proposal(secret).new.stamp
    factories.deny("kms:RebindManagedAccount")
    with pytest.raises(decisions.NotAllowed):
        rebinding.rebind([secret, second], actor=dot(), reason="moved", stamp=stamp)
    assert {account(one).credential_code for one in (secret, second)} == {"other_machine"}


def test_nothing_is_rebound_while_a_worker_talks_to_the_host(network, secret, other):
    def at_work() -> None:
        with pytest.raises(runs.InProgress):
            rebind(secret)

    failpoints.arm("after_preflight", at_work)
    assert network.drive(rotate(secret)).outcome == "succeeded"


def test_a_proof_of_the_machine_before_does_not_count_for_the_one_after(network, secret, other):
    """A worker whose lease has run out still writes what it was shown."""

    def moved() -> None:
        Run.objects.filter(secret=secret).update(leased_until=Now())
        to_another_address(network, instance_of(secret), other)
        rebind(secret)

    failpoints.arm("before_finish", moved)
    network.drive(rotate(secret))
    assert account(secret).credential == "not_verified"
    assert other.heard == set()


def test_an_own_login_takes_a_right_on_the_secret(secret):
    factories.deny("kms:RebindManagedAccount")
    with pytest.raises(decisions.NotAllowed):
        management.use_own_login(instance_of(secret), secret, sudo="none", actor=dot())
    assert instance_of(secret).own_login is None


def test_a_value_that_is_open_goes_to_no_machine_that_its_account_is_no_longer_bound_to(
    secret, network, server, other
):
    def rebind() -> None:
        mine = account(secret)
        binding.move(mine, binding.Machine(AWAY, 22, {"other": "ssh-ed25519 other"}, "another-one", "ssh"))

    run = runs.start(secret, actor=factories.administrator())
    failpoints.arm("before_test", rebind)
    run = network.drive(run)
    failpoints.disarm()
    assert run.code == "other_machine"
    assert server.host.sets == 1
    assert secret.labelled("pending").offered_at
