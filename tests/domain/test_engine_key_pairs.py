"""One rotation of a key pair: the host is never without a key that works, and the old one goes last."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from rotation import runs
from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints, work
from rotation.models import ManagedAccount, ManagementCredential, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import replicas, versions
from tests import factories
from tests.domain.rig import Crash, drive, drive_overtaken_at

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
OLD = key_pairs.generate("ed25519")
MINE = key_pairs.generate("ecdsa-p256")
PLACES = [
    "before_claim", "after_claim", "before_create", "after_create", "after_preflight", "after_intent",
    "after_set", "before_test", "after_test", "before_finish", "after_labels", "before_clean", "after_remove",
    "before_end", "after_finish",
]  # fmt: skip


@pytest.fixture
def host() -> MemoryHost:
    made = MemoryHost()
    account = made.add_account("svc", "")
    account.problem = "locked"  # as accounts are that are entered by key only
    account.keys.append(OLD.public_key)
    return made


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(kind="key_pair", initial=OLD.private_key.reveal(), key_algorithm="ed25519")
    factories.settle(made)
    return made


def rotate(secret: Secret, value: Plaintext | None = None) -> Run:
    return runs.start(secret, actor=factories.administrator(), value=value)


def current(secret: Secret) -> versions.Value:
    return versions.value(secret.labelled("current"))


def credential(secret: Secret) -> str:
    return ManagedAccount.objects.get(secret=secret).credential


def keys(host: MemoryHost) -> list[str]:
    return host.accounts["svc"].keys


def test_a_rotation_ends_with_the_new_key_current_and_the_old_one_refused(secret, host):
    run = drive(rotate(secret), host)
    assert (run.state, run.outcome, run.truth) == ("ended", "succeeded", "new"), run.sentence
    assert keys(host) == [current(secret).public_key] != [OLD.public_key]
    assert key_pairs.read(current(secret).private_key).public_key == current(secret).public_key
    assert secret.labelled("previous").public_key == OLD.public_key
    assert secret.labelled("previous").removed_at
    assert credential(secret) == "in_sync"
    assert [s.name for s in run.steps.all()] == ["create", "preflight", "set", "test", "finish", "clean"]
    assert host.failed_logins == 0


def waits(monkeypatch, secret: Secret, host: MemoryHost) -> list[tuple[float, bool, bool]]:
    """Of each wait: its seconds, whether the new key is served then, and the old one accepted."""
    seen: list[tuple[float, bool, bool]] = []

    def note(seconds: float) -> None:
        is_new = current(secret).public_key != OLD.public_key
        seen.append((seconds, is_new, OLD.public_key in keys(host)))

    monkeypatch.setattr(work.time, "sleep", note)
    return seen


def read_before(read: Secret, ago: timedelta) -> None:
    Secret.objects.filter(pk=read.pk).update(last_read_at=Now() - ago)


@pytest.mark.both_stores
@pytest.mark.parametrize("of_replica", [False, True], ids=["secret", "replica"])
# Of one reader a read is noted once a minute: what was noted two minutes ago may have been read one ago.
@pytest.mark.parametrize("ago", [timedelta(), timedelta(minutes=2)], ids=["now", "noted before"])
def test_who_has_just_fetched_the_old_key_may_log_on_with_it(
    secret, host, settings, monkeypatch, of_replica, ago
):
    settings.KEY_OVERLAP = timedelta(seconds=90)
    read = secret
    if of_replica:
        read = replicas.add(secret, factories.region("other"), actor=factories.administrator()).secret
    read_before(read, ago)
    seen = waits(monkeypatch, secret, host)
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert [(is_new, is_accepted) for _, is_new, is_accepted in seen] == [(True, True)]
    assert 0 < seen[0][0] <= 90
    assert keys(host) == [current(secret).public_key]


@pytest.mark.both_stores
@pytest.mark.parametrize("ago", [None, timedelta(minutes=3)], ids=["never", "longer ago"])
def test_an_old_key_that_nobody_has_just_fetched_is_removed_without_a_wait(
    secret, host, settings, monkeypatch, ago
):
    settings.KEY_OVERLAP = timedelta(seconds=90)
    if ago:
        read_before(secret, ago)
    another = factories.secret(name="another")  # what is read of another secret says nothing
    read_before(another, timedelta())
    seen = waits(monkeypatch, secret, host)
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert seen == []
    assert keys(host) == [current(secret).public_key]


def test_a_leaked_key_is_removed_without_a_wait(secret, host, settings, monkeypatch):
    settings.KEY_OVERLAP = timedelta(hours=1)
    read_before(secret, timedelta())
    seen = waits(monkeypatch, secret, host)
    run = runs.start(secret, actor=factories.administrator(), is_leak=True)
    assert drive(run, host).outcome == "succeeded"
    assert seen == []
    assert keys(host) == [current(secret).public_key]


def test_fi_k_05_both_halves_are_stored_before_the_host_hears_of_either(secret, host):
    seen = []
    failpoints.arm("after_intent", lambda: seen.append((keys(host)[:], secret.labelled("pending"))))
    drive(rotate(secret), host)
    told, pending = seen[0]
    assert told == [OLD.public_key]
    assert pending.offered_at
    held = versions.value(pending)
    assert key_pairs.read(held.private_key).public_key == held.public_key == pending.public_key


def test_fi_k_01_the_old_key_goes_only_after_the_new_one_is_current(secret, host):
    seen = []
    failpoints.arm("before_clean", lambda: seen.append((keys(host)[:], current(secret).public_key)))
    drive(rotate(secret), host)
    assert seen == [([OLD.public_key, current(secret).public_key], current(secret).public_key)]


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_killed_anywhere_leaves_a_key_that_works_and_is_followed_to_success(secret, host, place):
    def die() -> None:
        failpoints.disarm()
        raise Crash

    run = rotate(secret)
    failpoints.arm(place, die)
    with pytest.raises(Crash):
        drive(run, host)
    stored = {version.public_key for version in secret.versions.all()}
    assert set(keys(host)) & stored
    assert set(keys(host)) & {current(secret).public_key}
    run = drive(run, host)
    assert run.outcome == "succeeded", run.sentence
    assert keys(host) == [current(secret).public_key]
    assert (host.sets, host.removals, secret.versions.count()) == (1, 1, 2)
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_fi_k_02_a_host_that_goes_away_between_addition_and_removal_is_cleaned_later(secret, host):
    def go_away() -> None:
        host.unreachable = True

    failpoints.arm("before_clean", go_away)
    run = drive(rotate(secret), host)
    assert (run.state, run.code) == ("waiting", "unreachable")
    assert credential(secret) == "in_sync"
    assert keys(host) == [OLD.public_key, current(secret).public_key]
    failpoints.disarm()
    host.unreachable = False
    assert drive(run, host).outcome == "succeeded"
    assert keys(host) == [current(secret).public_key]


def test_a_clean_up_that_never_comes_through_is_done_by_the_next_rotation(secret, host):
    def go_away() -> None:
        host.unreachable = True

    failpoints.arm("before_clean", go_away)
    run = drive(rotate(secret), host, turns=8)
    assert (run.outcome, run.truth) == ("failed", "new")
    assert "new key is current" in run.sentence
    failpoints.disarm()
    host.unreachable = False
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert keys(host) == [current(secret).public_key]


@pytest.mark.parametrize("answer", ["rotate", "reconcile and rotate", "look, reconcile and rotate"])
def test_an_old_key_that_a_restored_snapshot_brings_back_goes_with_the_next_rotation(secret, host, answer):
    first = current(secret).public_key
    drive(rotate(secret), host)
    then = copy.deepcopy(host.accounts["svc"])  # the second key is in it
    second = current(secret).public_key
    drive(rotate(secret), host)
    assert not {first, second} & set(keys(host))
    host.accounts["svc"] = then
    if "look" in answer:
        drive(runs.drift(secret, actor=factories.administrator()), host)
    if "reconcile" in answer:
        assert drive(runs.reconcile(secret, actor=factories.administrator()), host).outcome == "succeeded"
    run = drive(rotate(secret), host)
    assert run.outcome == "succeeded", run.sentence
    assert current(secret).public_key in keys(host)
    assert second not in keys(host)
    assert not versions.not_removed(secret).exists()


def test_a_reply_that_is_lost_after_the_change_ends_in_success(secret, host):
    host.drops_after_set = True
    run = drive(rotate(secret), host)
    assert run.state == "waiting"  # the removal's answer is lost as well
    host.drops_after_set = False
    assert drive(run, host).outcome == "succeeded"
    assert (host.sets, keys(host)) == (1, [current(secret).public_key])


def test_an_old_key_that_still_logs_in_is_no_success(secret, host):
    host.keeps_keys = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth, run.code) == ("failed", "new", "old_key_works")
    assert secret.labelled("previous").removed_at is None
    assert (credential(secret), keys(host)) == ("in_sync", [current(secret).public_key])


def test_fi_k_06_a_key_that_sshd_does_not_take_is_taken_out_again(secret, host):
    versions.mark_verified(secret.labelled("current"))
    host.ignores_new_keys = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "key_refused")
    assert keys(host) == [OLD.public_key] == [current(secret).public_key]
    assert secret.labelled("pending") is None
    assert credential(secret) == "in_sync"
    host.ignores_new_keys = False
    assert drive(rotate(secret), host).outcome == "succeeded"


def test_a_key_that_stands_in_its_file_and_was_never_seen_to_open_is_not_said_to_work(secret, host):
    host.ignored_keys.append(OLD.public_key)
    host.ignores_new_keys = True
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth, run.code) == ("failed", "unknown", "key_refused")
    assert credential(secret) != "in_sync"
    assert keys(host) == [OLD.public_key] == [current(secret).public_key]


def test_a_key_that_was_set_again_and_refused_is_not_said_to_work_for_standing_in_its_file(secret, host):
    assert drive(rotate(secret), host).outcome == "succeeded"
    assert secret.labelled("current").is_proven
    keys(host).clear()
    host.ignores_new_keys = True
    again = drive(runs.reconcile(secret, actor=factories.administrator()), host, turns=8)
    assert (again.outcome, again.truth) == ("failed", "unknown"), again.sentence
    run = drive(rotate(secret), host)
    assert (run.outcome, run.truth) == ("failed", "unknown"), run.sentence


def test_a_version_that_is_held_knows_at_once_that_it_was_refused(secret):
    held = secret.labelled("current")
    versions.mark_verified(held)
    held.refresh_from_db()
    versions.mark_refused(held)
    assert (held.is_proven, held.is_doubted) == (False, True)


@pytest.mark.parametrize("look", [runs.verify, runs.drift])
def test_a_key_that_was_refused_last_is_accepted_only_once_a_login_with_it_is(secret, host, look):
    assert drive(rotate(secret), host).outcome == "succeeded"
    mine = current(secret).public_key
    drive(runs.drift(secret, actor=factories.administrator()), host)
    host.ignored_keys.append(mine)
    drive(runs.reconcile(secret, actor=factories.administrator()), host, turns=8)
    assert keys(host) == [mine]
    run = drive(look(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code, credential(secret)) == ("failed", "key_refused", "out_of_sync"), (
        run.sentence
    )
    assert not secret.labelled("current").is_proven
    host.ignored_keys.clear()
    run = drive(look(secret, actor=factories.administrator()), host)
    assert (run.outcome, credential(secret)) == ("succeeded", "in_sync"), run.sentence
    assert secret.labelled("current").is_proven


def test_a_host_that_lies_is_never_a_success_and_the_old_key_stays(secret, host):
    versions.mark_verified(secret.labelled("current"))
    host.lies = True
    run = drive(rotate(secret), host, turns=8)
    assert (run.outcome, run.truth) == ("failed", "old")
    assert keys(host) == [OLD.public_key] == [current(secret).public_key]


def test_a_key_file_that_cannot_be_edited_blocks(secret, host):
    host.refuses = "path"
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code, keys(host)) == ("blocked", "path", [OLD.public_key])


def test_a_custom_key_becomes_current_and_the_old_one_goes(secret, host):
    run = drive(rotate(secret, MINE.private_key), host)
    assert run.outcome == "succeeded", run.sentence
    assert keys(host) == [MINE.public_key] == [current(secret).public_key]


def test_the_current_key_given_once_more_is_not_removed(secret, host):
    run = drive(rotate(secret, OLD.private_key), host)
    assert run.outcome == "succeeded", run.sentence
    assert keys(host) == [OLD.public_key]


def test_a_custom_text_that_is_no_key_starts_nothing(secret):
    with pytest.raises(key_pairs.Unreadable):
        rotate(secret, Plaintext("not a key"))
    assert not secret.runs.exists()


def test_the_key_of_the_account_that_keyturn_works_as_with_a_shared_credential_is_left_alone(secret, host):
    ManagementCredential.objects.update(username="svc")
    run = drive(rotate(secret), host)
    assert (run.outcome, run.code) == ("blocked", "shared_account")
    assert keys(host) == [OLD.public_key] == [current(secret).public_key]


def test_a_secret_without_a_value_gets_a_pair_of_its_algorithm(host):
    made = factories.secret(kind="key_pair", key_algorithm="ecdsa-p256")
    assert drive(rotate(made), host).outcome == "succeeded"
    assert current(made).public_key.startswith("ecdsa-sha2-nistp256 ")
    # Nobody told Keyturn of the key that was there before: it is somebody else's.
    assert keys(host) == [OLD.public_key, current(made).public_key]


def test_rsa_2048_is_what_a_secret_gets_that_says_nothing(settings):
    assert settings.KEY_ALGORITHM == "rsa-2048"
    assert factories.secret(kind="key_pair").key_algorithm == "rsa-2048"
    assert factories.secret(username="other").key_algorithm == ""


@pytest.mark.parametrize(
    ("pair", "outcome", "state"), [(OLD, "succeeded", "in_sync"), (MINE, "failed", "out_of_sync")]
)
def test_a_key_that_is_given_at_creation_is_looked_for_on_the_host(host, pair, outcome, state):
    made = factories.secret(kind="key_pair", initial=pair.private_key.reveal())
    run = drive(made.runs.get(), host)
    assert (run.kind, run.outcome, credential(made)) == ("verify", outcome, state)
    assert current(made).public_key == pair.public_key
    assert keys(host) == [OLD.public_key]


def test_a_zombie_that_wakes_before_it_removes_does_not_end_the_run_twice(secret, host):
    run = rotate(secret)
    drive_overtaken_at("before_clean", run, host)
    assert Run.objects.get(pk=run.pk).outcome == "succeeded"
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1
    assert keys(host) == [current(secret).public_key]
