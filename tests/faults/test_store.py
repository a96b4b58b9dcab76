"""The database restarts, is full, refuses a commit, or never says that it made one."""

import json
import random
import time
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection, connections

from console.process import durability
from rotation import tasks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine
from rotation.models import Run
from secrets_app.models import AuditEvent, Label
from secrets_app.people import access_keys
from secrets_app.secrets import versions
from tests import factories, services, sigv4
from tests.faults import rig as rigs
from tests.faults.rig import NewRig, Rig

pytestmark = pytest.mark.django_db(transaction=True)


def test_fi_d_01_a_database_that_restarts_at_any_moment_loses_nothing(
    kind: str, own_store: services.Postgres, new_rig: NewRig
) -> None:
    rig, draw = new_rig(kind), random.Random(1)
    with rigs.recoverable(rig):
        for number in range(1, 4):
            run = rig.rotate()
            pid = rig.worker(run)
            time.sleep(draw.uniform(0.1, 1.6))
            own_store.restart_immediately()
            assert rigs.ended(pid) in (0, 1)
            connections.close_all()
            run = rig.settle(run)
            assert run.outcome == "succeeded", run.sentence
            rigs.assert_known(rig, run)
            assert rig.secret.versions.count() == 1 + number
    rigs.assert_one(rig, rotations=3)
    rigs.assert_probes(rig)
    rigs.assert_undisturbed(rig)


def test_fi_d_01_a_run_that_lost_the_database_in_a_step_goes_on_before_its_lease_has_run_out(
    kind: str, own_store: services.Postgres, new_rig: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = new_rig(kind)
    sent: list[str] = []
    monkeypatch.setattr(tasks, "send", lambda task, *ids: sent.extend(ids))
    run = rig.rotate()
    with rigs.recoverable(rig):
        rigs.at("after_set", own_store.restart_immediately)
        with pytest.raises(OperationalError):
            engine.advance(
                run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner(),
                lease=timedelta(hours=1),
            )  # fmt: skip
        connections.close_all()
        assert not rig.advance(run)  # nobody else may
        tasks.take_back()
        assert sent == [str(run.pk)]
        tasks.take_back()
        assert sent == [str(run.pk)]  # once
        run = rig.settle(run)
    assert run.outcome == "succeeded", run.sentence
    rigs.assert_one(rig)


def test_a_run_that_an_error_of_ours_has_ended_waits_for_the_end_of_its_lease(
    new_rig: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = new_rig("password")
    sent: list[str] = []
    monkeypatch.setattr(tasks, "send", lambda task, *ids: sent.extend(ids))
    run = rig.rotate()

    def fail() -> None:
        raise DataError("the same each time")

    rigs.at("after_set", fail)
    with rigs.recoverable(rig):
        with pytest.raises(DataError):
            rig.advance(run)
        tasks.take_back()
        assert sent == []
        run = rig.settle(run)
    assert run.outcome == "succeeded", run.sentence


#: Sealed values go to the small disk, in rows so long that each one needs another page of it.
PUT_ON_SMALL_DISK = """
    ALTER TABLE secrets_app_sealedvalue ADD COLUMN padding text;
    ALTER TABLE secrets_app_sealedvalue ALTER COLUMN padding SET STORAGE PLAIN;
    ALTER TABLE secrets_app_sealedvalue ALTER COLUMN padding SET DEFAULT repeat('x', 5000);
    UPDATE secrets_app_sealedvalue SET padding = DEFAULT;
    VACUUM FULL secrets_app_sealedvalue;
    ALTER TABLE secrets_app_sealedvalue SET TABLESPACE small
"""


def test_fi_d_02_a_value_that_a_full_disk_does_not_take_is_told_to_nobody(
    kind: str, small_store: services.Postgres, new_rig: NewRig
) -> None:
    rig = new_rig(kind)
    with small_store.connect() as store:
        for statement in PUT_ON_SMALL_DISK.split(";"):
            store.execute(statement)  # type: ignore[arg-type]
    run, before = rig.rotate(), rig.relay.connections
    with rigs.recoverable(rig):
        small_store.fill_small_disk()
        with pytest.raises(OperationalError, match="No space left on device"):
            rig.advance(run)
        assert rig.relay.connections == before
        assert rig.secret.versions.count() == 1
        small_store.free_small_disk()
        run = rig.settle(run)
    rigs.assert_settled(rig, run)


@pytest.mark.parametrize("state", ["40001", "53100"])
def test_fi_d_02_a_commit_that_fails_at_the_value_is_followed_by_no_word_to_the_host(
    kind: str, own_store: services.Postgres, new_rig: NewRig, state: str
) -> None:
    rig = new_rig(kind)
    with own_store.connect() as store:
        # At COMMIT, as a serialization error comes: everything before it went well.
        store.execute(
            f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON secrets_app_secretversion
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""  # type: ignore[arg-type]
        )
        run, before = rig.rotate(), rig.relay.connections
        with rigs.recoverable(rig):
            with pytest.raises(OperationalError, match="refused"):
                rig.advance(run)
            assert rig.relay.connections == before
            assert rig.secret.versions.count() == 1
            store.execute("DROP TRIGGER refuse ON secrets_app_secretversion")
            run = rig.settle(run)
    rigs.assert_settled(rig, run)


def test_fi_d_03_while_the_labels_cannot_be_committed_clients_get_either_value_and_nothing_is_set_twice(
    kind: str, own_store: services.Postgres, new_rig: NewRig
) -> None:
    rig = new_rig(kind)
    key, secret_key = access_keys.create(
        factories.user("ada", "administrators").principal, actor=factories.administrator()
    )
    client = sigv4.Signer(key.key_id, secret_key)
    with own_store.connect() as store:
        store.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON secrets_app_label
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )
        run, old = rig.rotate(), rig.current()
        with rigs.recoverable(rig):
            for _ in range(3):
                with pytest.raises(OperationalError, match="refused"):
                    rig.advance(run)
                rigs.expire(run)
                # The host has the new value; the store has both, and a client may ask for either.
                pending = rig.labelled("pending")
                assert pending is not None
                assert rig.accepts(pending)
                assert Run.objects.get(pk=run.pk).is_active
                assert served(client, rig) == told(old) == told(rig.current())
                assert served(client, rig, VersionStage="AWSPENDING") == told(pending)
                assert not AuditEvent.objects.filter(action="kms:RotationEnded").exists()
            assert rig.account.credential != "in_sync"
            store.execute("DROP TRIGGER refuse ON secrets_app_label")
            run = rig.settle(run)
            assert served(client, rig) == told(pending)
    rigs.assert_settled(rig, run)
    assert (run.attempts, rig.marks()) == (1, [1])


def told(value: versions.Value) -> str:
    held = value.password or value.private_key
    assert held is not None
    return held.reveal()


def served(client: sigv4.Signer, rig: Rig, **more: str) -> str:
    """What a program reads by AWS's interface."""
    status, answer = client.call("GetSecretValue", SecretId=rig.secret.name, **more)
    assert status == 200, answer
    found = json.loads(answer["SecretString"])
    return str(found.get("Password") or found.get("PrivateKey"))


@pytest.mark.parametrize(
    ("place", "loss"),
    [
        ("create_commit", rigs.commit_and_die),
        ("intent_commit", rigs.commit_and_die),
        ("finish_commit", rigs.commit_and_die),
        ("finish_commit", rigs.commit_and_lose),
    ],
)
def test_fi_d_04_a_commit_whose_answer_is_lost_is_read_again_and_nothing_is_done_twice(
    rig: Rig, place: str, loss: object
) -> None:
    run = rig.rotate()
    with rigs.recoverable(rig):
        assert rigs.ended(rig.worker(run, place, loss)) != 0  # type: ignore[arg-type]
        connection.close()
        roles = set(Label.objects.filter(secret=rig.secret).values_list("role", flat=True))
        run.refresh_from_db()
        # It did commit, though the worker never heard so.
        if place == "finish_commit":
            assert roles == {"current", "previous"}
        else:
            assert roles == {"current", "pending"}
            assert run.attempts == (0 if place == "create_commit" else 1)
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert Run.objects.get(pk=run.pk).attempts == (2 if place == "intent_commit" else 1)


@pytest.mark.parametrize(("given", "kept"), [("0", "4s"), ("10min", "4s"), ("1s", "1s")])
def test_fi_w_12_a_transaction_that_nobody_goes_on_with_ends_with_its_lease(
    short_lease: None, given: str, kept: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", [given])
        durability.begin(connection)
        cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert cursor.fetchone()[0] == kept
    connection.close()
