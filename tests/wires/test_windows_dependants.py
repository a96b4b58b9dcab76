"""Rotations of a Windows account that services, scheduled tasks and application pools run as."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint
from rotation import runs
from rotation.engine import failpoints
from rotation.managed import dependants
from rotation.models import Dependant, ManagedAccount, Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import factories, windows_instances
from tests.windows_instances import advance

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "The-old-Password-1"
BACKUP, NIGHTLY, SHOP = ("service", "Backup"), ("task", "\\Jobs\\Nightly"), ("pool", "Shop")
ALL = (BACKUP, NIGHTLY, SHOP)


class Died(BaseException):
    """What stands for a worker that ended here."""


@pytest.fixture
def at() -> Iterator[Endpoint]:
    with windows_instances.running("127.0.47.1") as made:
        made.host.add_account("svc", OLD)
        for kind, name in ALL:
            made.host.add_dependant(kind, name, ".\\svc", is_running=kind != "task")
        yield made
        failpoints.disarm()


@pytest.fixture
def host(at: Endpoint) -> WindowsHost:
    return at.host


@pytest.fixture
def secret(at: Endpoint) -> Secret:
    made = factories.secret(instance=windows_instances.register(at), initial=OLD)
    factories.settle(made)
    return made


def actor() -> object:
    return factories.administrator()


def choose(secret: Secret, *chosen: tuple[str, str], restarts: bool = True) -> None:
    dependants.choose(read(secret), chosen or ALL, actor=actor(), restarts=restarts)


def read(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


def rotate(secret: Secret) -> Run:
    return runs.start(read(secret), actor=actor())


def retry(secret: Secret) -> Run:
    return dependants.retry(read(secret), actor=actor())


def until_it_ends(run: Run) -> Run:
    for _ in range(12):
        run = advance(run)
        if run.state == Run.State.ENDED:
            return run
    raise AssertionError(f"{run.code}: {run.sentence}")


def current(secret: Secret) -> str:
    return versions.value(read(secret).labelled("current")).password.reveal()


def states(secret: Secret) -> dict[str, str]:
    return dict(Dependant.objects.filter(account__secret=secret).values_list("name", "state"))


def passwords(host: WindowsHost) -> dict[str, str]:
    return {one.name: one.password for one in host.dependants}


def test_the_chosen_ones_have_the_new_value_after_a_rotation_and_those_that_ran_run_again(secret, host):
    choose(secret)
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("succeeded", ""), f"{run.code}: {run.sentence}"
    assert passwords(host) == dict.fromkeys(("Backup", "\\Jobs\\Nightly", "Shop"), current(secret))
    assert [(one.is_running, one.stops, one.starts) for one in host.dependants] == [
        (True, 1, 1), (False, 0, 0), (True, 1, 1),
    ]  # fmt: skip
    assert set(states(secret).values()) == {"done"}
    told = run.steps.filter(name="dependant").values_list("sentence", flat=True)
    assert [*told] == [
        "IIS application pool Shop: It has the current value and was restarted.",
        "Service Backup: It has the current value and was restarted.",
        "Scheduled task \\Jobs\\Nightly: It has the current value.",
    ]
    assert host.record.places(current(secret)) == {"stdin"}
    assert host.failed_logons("svc") == 0


def test_what_was_not_chosen_is_left_alone_and_listed(secret, host):
    run = advance(rotate(secret))
    assert run.outcome == "succeeded"
    assert set(passwords(host).values()) == {OLD}
    assert states(secret) == dict.fromkeys(("Backup", "\\Jobs\\Nightly", "Shop"), "untold")
    choose(secret, BACKUP, restarts=False)
    late = host.add_dependant("service", "Late", ".\\svc")
    host.dependants = [one for one in host.dependants if one.name != "Shop"]
    run = advance(rotate(secret))
    assert run.outcome == "succeeded"
    said = [line["sentence"] for line in run.steps.get(name="preflight").evidence]
    assert any(sentence.startswith("New, and not updated by this run: Service Late.") for sentence in said)
    assert (passwords(host)["Backup"], late.password != current(secret)) == (current(secret), True)
    assert [one.stops for one in host.dependants] == [0, 0, 0]
    rows = Dependant.objects.filter(account__secret=secret)
    assert rows.get(name="Late").decided_at is None
    assert [row.name for row in rows.filter(is_missing=True)] == ["Shop"]


def test_no_dependant_is_told_before_the_new_value_is_proven(secret, host):
    choose(secret)
    host.lies = True
    run = advance(rotate(secret))
    assert run.state == Run.State.WAITING
    assert set(passwords(host).values()) == {OLD}
    assert [one.stops for one in host.dependants] == [0, 0, 0]
    assert not run.steps.filter(name="dependant").exists()


def test_one_that_fails_is_named_undoes_nothing_and_is_retried_with_the_current_value(secret, host):
    choose(secret)
    service, task, pool = host.dependants
    service.is_denied = task.is_denied = True
    run = advance(rotate(secret))
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "dependants")
    assert "2 of 3 dependants failed: Service Backup, Scheduled task \\Jobs\\Nightly." in run.sentence
    assert states(secret) == {"Backup": "failed", "\\Jobs\\Nightly": "failed", "Shop": "done"}
    said = run.steps.filter(name="dependant").values_list("sentence", flat=True)
    assert {sentence.partition(": ")[0] for sentence in said} == {
        "Service Backup",
        "Scheduled task \\Jobs\\Nightly",
        "IIS application pool Shop",
    }
    assert Dependant.objects.get(name="Backup").code == "dependant_denied"
    assert ManagedAccount.objects.get(secret=secret).credential == "in_sync"
    value, resets = current(secret), list(host.resets)
    service.is_denied = False
    again = advance(retry(secret))
    assert (again.kind, again.outcome, again.code) == ("dependants", "failed", "dependants")
    assert "1 of 3 dependants failed" in again.sentence
    assert (service.password, service.starts, pool.starts) == (value, 1, 1)
    task.is_denied = False
    assert advance(retry(secret)).outcome == "succeeded"
    assert (current(secret), host.resets) == (value, resets)
    assert set(passwords(host).values()) == {value}
    asked = AuditEvent.objects.filter(action="kms:RotateSecret", details__kind="dependants")
    assert asked.count() == 2
    assert AuditEvent.objects.filter(action="kms:DependantsUpdateEnded").count() == 2
    with pytest.raises(dependants.NothingFailed):
        retry(secret)
    assert not Run.objects.active().exists()


def test_one_that_is_not_there_any_more_is_said_and_is_no_failure(secret, host):
    choose(secret)
    host.dependants = host.dependants[1:]
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("succeeded", "")
    assert states(secret)["Backup"] == "gone"
    assert run.steps.filter(sentence__contains="is not there any more").exists()


@pytest.mark.parametrize("place", ["after_labels", "before_dependant", "after_dependant"])
def test_a_worker_that_dies_between_two_leaves_the_rest_to_the_next_one(secret, host, place):
    choose(secret)
    died = []

    def die() -> None:
        if len(died) < 2:
            died.append(place)
            raise Died

    failpoints.arm(place, die)
    run = rotate(secret)
    for _ in range(2):
        with pytest.raises(Died):
            advance(run)
        if place == "after_labels":
            failpoints.disarm()
            break
    run = advance(run)
    assert (run.outcome, run.code) == ("succeeded", ""), f"{run.code}: {run.sentence}"
    assert set(passwords(host).values()) == {current(secret)}
    assert [one.is_running for one in host.dependants] == [True, False, True]
    assert len(host.resets) == 1


def test_one_that_was_stopped_as_the_worker_died_is_started_by_the_next_one(secret, host):
    choose(secret)
    service = host.dependants[0]
    begun = []

    def die() -> None:
        if not begun:
            begun.append(1)
            raise Died

    failpoints.arm("before_dependant", die)
    run = rotate(secret)
    with pytest.raises(Died):
        advance(run)
    service.is_running = False  # stopped by the change, and its worker is gone
    assert advance(run).outcome == "succeeded"
    assert service.is_running


def test_a_host_that_is_away_is_waited_for_and_then_given_up(secret, at, host):
    choose(secret, BACKUP)
    run = rotate(secret)
    failpoints.arm("before_dependant", lambda: at.arm("Create", "before", "drop"))
    run = advance(run)
    assert run.state == "waiting", f"{run.code}: {run.sentence}"
    assert "Service Backup is not updated yet" in run.sentence
    failpoints.disarm()
    assert until_it_ends(run).code == ""
    assert states(secret)["Backup"] == "done"
    failpoints.arm("before_dependant", lambda: at.arm("Create", "before", "drop"))
    run = until_it_ends(rotate(secret))
    assert (run.outcome, run.code) == ("succeeded", "dependants")
    assert run.steps.filter(name="dependant").count() == 3


def test_a_late_worker_gives_no_dependant_an_older_value(secret, host):
    choose(secret, BACKUP)
    late = []

    def overtake() -> None:
        if late:
            return
        late.append(True)
        host.set_key(f"SOFTWARE\\Keyturn\\{secret.account_id}", **{"svc.password": 99})

    failpoints.arm("before_dependant", overtake)
    run = advance(rotate(secret))
    assert (run.state, run.code) == ("waiting", "stale")
    assert passwords(host)["Backup"] == OLD


def test_a_value_that_is_set_again_reaches_the_dependants_too(secret, host):
    choose(secret)
    assert advance(rotate(secret)).outcome == "succeeded"
    host.reset("svc", "Set-by-0thers")
    for one in host.dependants:
        one.password = "Set-by-0thers"
    assert advance(runs.reconcile(read(secret), actor=actor())).outcome == "succeeded"
    (following,) = Run.objects.active()
    assert (following.kind, following.trigger) == ("dependants", "drift")
    assert advance(following).outcome == "succeeded"
    assert set(passwords(host).values()) == {current(secret)}


def test_a_rotation_back_gives_them_the_earlier_value(secret, host):
    choose(secret, BACKUP)
    assert advance(rotate(secret)).outcome == "succeeded"
    before = read(secret).labelled("previous")
    run = advance(runs.start(read(secret), actor=actor(), from_version=before))
    assert run.outcome == "succeeded", run.sentence
    assert passwords(host)["Backup"] == OLD == current(secret)


def test_a_retry_gives_nothing_to_any_if_the_host_refuses_the_current_value(secret, host):
    choose(secret, BACKUP)
    host.dependants[0].is_denied = True
    assert advance(rotate(secret)).code == "dependants"
    host.dependants[0].is_denied = False
    host.reset("svc", "Set-by-0thers")
    run = advance(retry(secret))
    assert (run.outcome, run.code) == ("failed", "refused_value")
    assert passwords(host)["Backup"] == OLD
    assert ManagedAccount.objects.get(secret=secret).credential == "out_of_sync"


def test_what_is_chosen_is_a_name_and_no_more_than_a_hundred_and_is_recorded(secret):
    for chosen in ([("job", "x")], [("service", "a\0b")], [("service", "")], [("pool", "x" * 301)],
                   [("service", str(n)) for n in range(101)]):  # fmt: skip
        with pytest.raises(dependants.BadDependant):
            dependants.choose(secret, chosen, actor=actor(), restarts=True)
    assert not Dependant.objects.exists()
    other = factories.secret(instance=factories.instance(address="192.0.2.9"))
    with pytest.raises(dependants.BadDependant, match="Over SSH"):
        dependants.choose(other, [BACKUP], actor=actor(), restarts=True)
    choose(secret, BACKUP, restarts=False)
    event = AuditEvent.objects.get(action="kms:UpdateSecretRotationPolicy")
    assert event.details == {"dependants": ["service Backup"], "restarts_dependants": False}
