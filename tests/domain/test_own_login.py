"""An instance that Keyturn logs in to with a secret of its own: it rotates, and nobody is shut out."""

from __future__ import annotations

import pytest

from rotation import runs
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from rotation.inventory import identities, instances, management
from rotation.managed import creation, deletion
from rotation.models import Instance, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.policy import decisions
from tests import factories
from tests.domain.rig import OLD, account, current, drive, drive_killed_at, evidence, password, steps

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
OLD_KEY = key_pairs.generate("ed25519")
PLACES = [
    "after_create", "after_preflight", "after_intent", "after_set", "before_test", "after_test",
    "before_finish", "after_finish",
]  # fmt: skip


@pytest.fixture
def host() -> MemoryHost:
    made = MemoryHost()
    made.add_account("admin", OLD).keys.append(OLD_KEY.public_key)
    made.add_account("svc", OLD)
    return made


def own(instance: Instance, secret: Secret, sudo: str = "passwordless") -> None:
    management.use_own_login(instance, secret, sudo=sudo, actor=factories.administrator())


def login(host: MemoryHost, kind: str = "password", sudo: str = "passwordless") -> Secret:
    """Make a secret of the account admin whose value was verified, and the instance's own login."""
    value = OLD if kind == "password" else OLD_KEY.private_key.reveal()
    made = factories.secret(username="admin", kind=kind, initial=value)
    assert drive(made.runs.get(), host).outcome == "succeeded"
    own(made.managed.instance, made, sudo)
    return made


@pytest.fixture
def secret(host: MemoryHost) -> Secret:
    return login(host)


def rotate(secret: Secret, **given: object) -> Run:
    return runs.start(Secret.objects.get(pk=secret.pk), actor=factories.administrator(), **given)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the normal path


def test_an_own_login_rotates_and_the_instance_follows(secret, host):
    run = drive(rotate(secret), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["admin"].password == password(secret) != OLD
    assert host.failed_logins == 0
    assert drive(rotate(secret), host).outcome == "succeeded"
    other = factories.secret(instance=secret.managed.instance, username="svc")
    assert drive(rotate(other), host).outcome == "succeeded"
    assert host.failed_logins == 0


def test_fi_k_01_an_own_login_by_key_is_never_without_a_key_that_works(host):
    made = login(host, "key_pair")
    seen = []
    failpoints.arm("before_clean", lambda: seen.append(list(host.accounts["admin"].keys)))
    run = drive(rotate(made), host)
    assert run.outcome == "succeeded", run.sentence
    assert seen == [[OLD_KEY.public_key, current(made).public_key]]
    assert host.accounts["admin"].keys == [current(made).public_key]


def test_an_own_login_whose_sudo_asks_for_its_password_rotates(host):
    host.sudo_asks_own = True
    made = _with_sudo(host)
    for _ in range(2):
        run = drive(rotate(made), host)
        assert run.outcome == "succeeded", run.sentence
    assert host.accounts["admin"].password == password(made)
    assert host.failed_logins == 0


def _with_sudo(host: MemoryHost) -> Secret:
    made, _ = creation.create(
        "admin-login",
        region=factories.region(),
        instance=(on := shared(sudo="password")),
        username="keyturn",
        actor=factories.administrator(),
        initial=Plaintext(OLD),
        as_own_login=True,
    )
    host.accounts["keyturn"] = host.accounts["admin"]
    factories.settle(made)
    on.refresh_from_db()
    assert on.own_login_sudo == "password"
    return made


# ---------------------------------------------------------------- broken off


@pytest.mark.both_stores
@pytest.mark.parametrize("kind", ["password", "key_pair"])
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_killed_anywhere_is_followed_by_one_that_gets_in(host, place, kind):
    made = login(host, kind)
    run = drive_killed_at(place, rotate(made), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.failed_logins <= 1
    assert (host.sets, made.versions.count()) == (1, 2)
    assert drive(rotate(made), host).outcome == "succeeded"
    if kind == "password":
        assert host.accounts["admin"].password == password(made)
    else:
        assert host.accounts["admin"].keys == [current(made).public_key]


@pytest.mark.parametrize("place", ["after_intent", "after_set"])
def test_a_worker_that_follows_tries_the_likelier_value_first(secret, host, place):
    run = drive_killed_at(place, rotate(secret), host)
    assert (run.outcome, host.failed_logins) == ("succeeded", 0)


def test_another_secret_of_the_instance_gets_in_while_the_own_login_is_unsettled(secret, host):
    failpoints.arm("after_set", lambda: setattr(host, "unreachable", True))
    run = drive(rotate(secret), host)
    failpoints.disarm()
    host.unreachable = False
    assert run.state == "waiting"
    other = factories.secret(instance=Instance.objects.get(), username="svc")
    assert drive(rotate(other), host).outcome == "succeeded"
    assert host.failed_logins == 0
    assert drive(run, host).outcome == "succeeded"


def test_a_reply_that_is_lost_after_the_change_ends_in_success(secret, host):
    host.drops_after_set = True
    run = drive(rotate(secret), host)
    assert (run.outcome, host.sets, host.failed_logins) == ("succeeded", 1, 0)
    assert host.accounts["admin"].password == password(secret)


# ---------------------------------------------------------------- the lifeline


@pytest.mark.parametrize("sudo_asks", [True, False])
def test_a_new_value_that_does_not_log_in_is_taken_back_by_the_open_session(host, sudo_asks):
    made = _with_sudo(host) if sudo_asks else login(host)
    host.sudo_asks_own = sudo_asks
    host.refuses_new_passwords = True
    run = drive(rotate(made), host)
    assert (run.state, run.outcome, run.truth, run.code) == ("ended", "failed", "old", "login_failed")
    assert "set again over the session" in evidence(run)
    assert host.accounts["admin"].password == password(made) == OLD
    assert made.labelled("pending") is None
    assert account(made).credential == "in_sync"
    host.refuses_new_passwords = False
    assert drive(rotate(made), host).outcome == "succeeded"


@pytest.mark.both_stores
def test_no_login_but_the_open_session_could_have_put_it_right(secret, host):
    """Without the lifeline the old value could not be set again: nobody else has a way in."""
    host.refuses_new_passwords = True
    seen = []
    failpoints.arm("before_test", lambda: seen.append(host.connections))
    drive(rotate(secret), host)
    # Since the change: the login with the new value, and the one that proves the old one again.
    assert host.connections - seen[0] == 2
    assert host.failed_logins == 1


def test_a_lifeline_that_breaks_leaves_the_value_pending_and_is_settled_later(secret, host):
    host.refuses_new_passwords = True
    failpoints.arm("after_set", lambda: setattr(host, "cuts_lifelines", True))
    run = drive(rotate(secret), host)
    assert run.state == "waiting"
    assert secret.labelled("pending")
    failpoints.disarm()
    host.refuses_new_passwords = False
    assert drive(run, host).outcome == "succeeded"
    assert host.accounts["admin"].password == password(secret)


def test_a_lifeline_that_breaks_is_not_missed_where_the_new_value_logs_in(secret, host):
    failpoints.arm("after_set", lambda: setattr(host, "cuts_lifelines", True))
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert host.accounts["admin"].password == password(secret) != OLD


def test_a_host_that_lies_about_its_own_login_keeps_the_old_one(secret, host):
    host.lies = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth) == ("failed", "old")
    assert (host.accounts["admin"].password, password(secret)) == (OLD, OLD)
    assert host.failed_logins == 1  # its own check lied too, and is believed once


def test_a_host_that_refuses_both_values_is_blocked_with_what_to_do(secret, host):
    failpoints.arm("after_set", lambda: setattr(host, "unreachable", True))
    run = drive(rotate(secret), host)
    failpoints.disarm()
    host.unreachable = False
    host.accounts["admin"].password = "somebody else's"
    run = drive(run, host)
    assert (run.outcome, run.code) == ("blocked", "login_refused")
    assert secret.name in run.sentence
    assert host.failed_logins == 2
    drive(run, host)
    assert host.failed_logins == 2
    assert secret.labelled("pending")


# ---------------------------------------------------------------- how one gets there, and back


def shared(**fields: object) -> Instance:
    return factories.instance(credential=factories.credential(**fields))  # type: ignore[arg-type]


def make(instance: Instance, username: str = "keyturn", **given: object) -> Secret:
    made, _ = creation.create(
        "keyturn-login",
        region=instance.region,
        instance=instance,
        username=username,
        actor=factories.administrator(),
        **given,  # type: ignore[arg-type]
    )
    return made


def test_a_secret_of_a_shared_credentials_account_is_refused():
    instance = shared()
    with pytest.raises(creation.SharedAccount, match="secret of its own, or choose another account"):
        make(instance, initial=Plaintext(OLD))
    assert not Secret.objects.exists()


@pytest.mark.both_stores
def test_it_is_made_as_the_instances_own_login_in_one_transaction(host):
    instance = shared()
    made = make(instance, initial=Plaintext(OLD), as_own_login=True)
    instance.refresh_from_db()
    assert (instance.own_login, instance.credential) == (made, None)
    host.add_account("keyturn", OLD)
    assert drive(made.runs.get(), host).outcome == "succeeded"
    assert drive(rotate(made), host).outcome == "succeeded"
    assert host.accounts["keyturn"].password == password(made) != OLD


def test_an_own_login_needs_a_value_to_begin_with():
    with pytest.raises(management.NoOwnLogin, match="present value"):
        make(shared(), as_own_login=True)
    assert not Secret.objects.exists()


def test_a_run_refuses_too_where_the_shared_credential_was_attached_later(secret, host):
    instance = Instance.objects.get()
    credential = factories.credential()
    type(credential).objects.filter(pk=credential.pk).update(username="admin")
    credential.refresh_from_db()
    management.attach(instance, credential, actor=factories.administrator())
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, host.sets) == ("blocked", "shared_account", 0)


def test_an_own_login_is_a_verified_secret_of_an_account_on_that_instance(host):
    elsewhere = factories.secret(initial=OLD)
    instance = shared()
    with pytest.raises(management.NoOwnLogin, match="manages no account"):
        own(instance, elsewhere)
    here = factories.secret(instance=instance, username="admin", initial="wrong")
    with pytest.raises(management.NoOwnLogin, match="Rotate the secret first"):
        own(instance, here)
    drive(here.runs.get(), host)
    with pytest.raises(management.NoOwnLogin, match="Rotate the secret first"):
        own(instance, here)
    drive(rotate(here), host)
    own(instance, here)
    assert Instance.objects.get(pk=instance.pk).own_login == here


def test_a_key_pair_holds_no_password_for_sudo(host):
    made = login(host, "key_pair")
    with pytest.raises(management.NoOwnLogin, match="no password for sudo"):
        own(made.managed.instance, made, "password")


@pytest.mark.both_stores
def test_an_instances_login_is_not_deleted(secret):
    for delete in (deletion.plan_deletion, deletion.purge):
        with pytest.raises(deletion.IsLogin, match="Attach a management credential"):
            delete(secret, actor=factories.administrator())
    assert Secret.objects.get().is_enabled
    management.attach(Instance.objects.get(), factories.credential(), actor=factories.administrator())
    assert Instance.objects.get().own_login is None
    deletion.plan_deletion(secret, actor=factories.administrator())


@pytest.mark.both_stores
@pytest.mark.parametrize("address", ["", "127.9.9.9"])
def test_an_instance_that_moves_or_changes_its_host_key_is_handed_no_own_login(secret, address):
    instance, actor = Instance.objects.get(), factories.administrator()
    if address:
        given = {"revision": instance.revision, "name": "moved", "address": address, "port": 22}
        instances.change(instance, **given, actor=actor)
    else:
        new = factories.host_key()
        identities.see_host_keys(instance, [new])
        identities.approve_host_keys(instance, [new.fingerprint], actor=actor)
    instance = Instance.objects.get()
    with pytest.raises(management.NotAttached):
        management.manager(instance, over=management.endpoint(instance))
    with pytest.raises(management.NoOwnLogin, match="not the machine"):
        own(instance, secret)


def test_an_own_login_is_set_by_who_may_change_the_instance(secret, ann):
    with pytest.raises(decisions.NotAllowed):
        management.use_own_login(Instance.objects.get(), secret, sudo="none", actor=ann.principal)


def test_root_is_rotated_where_sshd_lets_no_password_of_root_in(host):
    host.add_account("root", "the old one of root").runs_commands = False
    made = factories.secret(username="root", initial="the old one of root")
    factories.settle(made)
    run = drive(rotate(made), host)
    assert (run.outcome, account(made).verified_level) == ("succeeded", "hash")
    assert host.accounts["root"].password == password(made)
    assert steps(run)[-1] == "finish"


@pytest.mark.both_stores
def test_the_sessions_of_the_own_login_are_not_ended(secret, host):
    host.accounts["admin"].sessions = 1
    run = drive(rotate(secret, is_leak=True), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["admin"].sessions == 1
    assert "its sessions are not ended" in evidence(run)
