"""Metrics: what they count, what they never name; the rules and the dashboard ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from console.process import health
from console.watching import followed
from console.watching.metrics import Metrics
from rotation import missed
from rotation.models import Run, Schedule
from secrets_app import keyring
from secrets_app.audit import checkpoints, trail
from secrets_app.models import AuditEvent
from secrets_app.people import users
from tests import factories
from tests.domain.rig import die_at, drive, rotate, simulated_host
from tests.domain.test_leases import plan_of

pytestmark = pytest.mark.django_db
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES, BOARD = DEPLOY / "prometheus" / "keyturn-alerts.yml", DEPLOY / "grafana" / "keyturn.json"
#: All that a label may say.
WORDS = re.compile(r"[a-z_]{1,20}|[0-9]+\.[0-9]+\.[0-9]+|\+Inf|[0-9.]+")


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics that are made anew for each reader, and that have begun to count."""
    made = Metrics(kept_seconds=0)
    made.text()
    return made


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name.removeprefix("keyturn_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@contextmanager
def away() -> Iterator[None]:
    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError("the connection is closed")

    with connection.execute_wrapper(refuse):
        yield


def test_while_the_database_is_away_they_say_so_and_nothing_that_only_it_knows(metrics):
    with away():
        told = read(metrics)
    assert told["up",] == 0
    unknown = {"runs_due", "rotations_overdue", "sealed", "process_up", "broker_up"}
    assert not unknown & {key[0] for key in told}
    assert told["data_free_bytes",] > 0  # the disk is known without it
    assert told["build_info", "0.1.0"] == 1
    told = read(metrics)
    assert (told["up",], told["runs_due",]) == (1, 0)


def test_while_keyturn_is_sealed_they_say_so(metrics, settings, tmp_path):
    assert read(metrics)["sealed",] == 0
    settings.ROOT_KEY_FILE = tmp_path / "gone"
    keyring.forget()
    try:
        told = read(metrics)
    finally:
        keyring.forget()
    assert (told["up",], told["sealed",]) == (1, 1)


def test_each_run_that_ends_is_counted_once_by_its_kind_and_outcome(metrics, secret, host):
    before = read(metrics)
    assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED
    for _ in range(2):
        told = read(metrics)
        assert told["runs_ended_total", "rotate", "succeeded"] == 1
        assert told["runs_ended_total", "rotate", "failed"] == 0
        assert told["steps_ended_total", "done", "set"] == 1
        assert told["step_duration_seconds_count", "set"] == 1
        assert told["step_duration_seconds_sum", "set"] >= 0
    assert told["audit_events_total", "succeeded"] > before["audit_events_total", "succeeded"]
    assert told["leases_lost_total",] == 0


def test_what_is_rolled_back_is_not_counted(metrics):
    class Undone(Exception):
        pass

    def undo() -> None:
        trail.record("kms:RotationEnded", "acs:kms:::audit/", actor=users.system(), details={})
        raise Undone

    with pytest.raises(Undone), transaction.atomic():
        undo()
    assert read(metrics)["audit_events_total", "succeeded"] == 0


def test_a_lease_whose_worker_did_not_come_back_is_counted_as_lost(metrics, secret, host):
    run = rotate(secret)
    die_at("before_test", run, host)
    Run.objects.filter(pk=run.pk).update(leased_until=Now() - timedelta(seconds=1))
    assert read(metrics)["leases_expired",] == 1
    drive(run, host)
    told = read(metrics)
    assert (told["leases_lost_total",], told["leases_expired",]) == (1, 0)


def test_every_date_that_was_missed_is_counted(metrics):
    made = factories.secret(is_on=True)
    dates = [timezone.now() - timedelta(days=days) for days in (3, 2, 1)]
    missed.note(made, dates, "missed_down")
    assert read(metrics)["rotations_missed_total",] == 3


def test_what_is_due_late_and_away_has_its_number_and_its_age(metrics, secret):
    told = read(metrics)
    assert (told["runs_due",], told["oldest_due_age_seconds",]) == (0, 0)
    assert (told["process_up", "worker"], told["rotations_overdue",]) == (0, 0)
    run = rotate(secret)
    Run.objects.filter(pk=run.pk).update(due_at=Now() - timedelta(minutes=7))
    late = factories.secret(name="late", username="late", initial="the-old-password-1", is_on=True)
    factories.settle(late)
    Schedule.objects.filter(secret=late).update(next_at=Now() - timedelta(hours=3))
    health.beat("worker")
    told = read(metrics)
    assert told["runs_active", "rotate", "queued"] == told["runs_due",] == 1
    assert 420 <= told["oldest_due_age_seconds",] < 480
    assert told["rotations_overdue",] == 1
    assert 10_800 <= told["oldest_overdue_age_seconds",] < 10_860
    assert (told["process_up", "worker"], told["process_up", "beat"]) == (1, 0)
    assert told["heartbeat_age_seconds", "worker"] < 60
    assert told["credentials", "not_verified"] == 2


def test_the_trail_says_how_old_its_head_and_its_last_checkpoint_are(metrics, settings, tmp_path, secret):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    told = read(metrics)
    head = AuditEvent.objects.order_by("-sequence").first()
    assert head
    assert told["audit_head_sequence",] == told["audit_unsigned_events",] == head.sequence
    assert 0 <= told["audit_head_age_seconds",] < 3600
    assert ("audit_checkpoint_age_seconds",) not in told
    assert checkpoints.take()
    told = read(metrics)
    assert told["audit_unsigned_events",] == 0
    assert 0 <= told["audit_checkpoint_age_seconds",] < 60


def test_a_backup_and_the_journal_have_an_age_and_what_is_not_there_has_none(metrics, settings, tmp_path):
    settings.BACKUP_FOLDER, settings.BACKUP_RECIPIENTS, settings.JOURNAL = tmp_path, [], ""
    told = read(metrics)
    assert (told["backup_configured",], told["journal_configured",]) == (0, 0)
    assert not {"backup_age_seconds", "journal_age_seconds", "journal_up"} & {key[0] for key in told}
    settings.BACKUP_RECIPIENTS = ["age1example"]
    at = timezone.now() - timedelta(hours=30)
    (tmp_path / f"keyturn-{at:%Y%m%dT%H%M%SZ}.backup").touch()
    settings.JOURNAL = f"file:{tmp_path}/journal"
    told = read(metrics)
    assert told["backup_age_seconds",] == pytest.approx(30 * 3600, abs=60)
    assert (told["journal_configured",], told["journal_up",]) == (1, 0)
    (tmp_path / "journal").touch()
    told = read(metrics)
    assert told["journal_up",] == 1
    assert told["journal_age_seconds",] < 60


def test_a_broker_that_does_not_answer_is_not_a_database_that_does_not(metrics, settings):
    assert read(metrics)["broker_up",] == 1
    settings.BROKER_URL = "redis://someone:broker-pass-9@127.0.0.1:1/0"
    text = metrics.text().decode()
    assert "keyturn_broker_up 0.0" in text
    assert "keyturn_up 1.0" in text
    assert "keyturn_queue_depth" not in text
    assert "broker-pass-9" not in text


def test_no_label_holds_a_name_that_a_user_gave(metrics, host):
    made = factories.secret(name="acs/ecs/payroll-of-zoe", username="zoe-svc", initial="the-old-password-1")
    factories.user("quentin")
    drive(rotate(made), simulated_host())
    trail.record(
        "kms:RotationEnded", made, actor=users.system(), details={"run": "zoe", "outcome": "zoe-outcome"}
    )
    text = metrics.text().decode()
    assert '"other"' in text  # an outcome that is none of ours
    for name in ("payroll", "zoe", "quentin", made.managed.instance.name, made.managed.instance.address):
        assert name not in text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert all(WORDS.fullmatch(value) for value in sample.labels.values()), sample


def test_more_events_than_one_look_reads_are_counted_by_the_next_ones(metrics, monkeypatch):
    monkeypatch.setattr(followed, "MOST", 3)
    for _ in range(7):
        trail.record("kms:DescribeSecret", "acs:kms:::audit/", actor=users.system(), details={})
    assert [read(metrics)["audit_events_total", "succeeded"] for _ in range(4)] == [3, 6, 7, 7]


def test_a_look_that_fails_half_way_counts_nothing_twice(metrics, secret, host, monkeypatch):
    drive(rotate(secret), host)

    def fail(runs: object) -> Any:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as patched:
        patched.setattr(followed, "_steps", fail)
        assert read(metrics)["up",] == 0
    told = read(metrics)
    assert told["runs_ended_total", "rotate", "succeeded"] == told["steps_ended_total", "done", "set"] == 1


def test_an_older_database_is_followed_from_where_it_ends(metrics):
    metrics._followed.sequence = 10**9
    told = read(metrics)
    assert told["up",] == 1
    assert metrics._followed.sequence == told["audit_head_sequence",]


def test_the_questions_do_not_grow_with_what_is_there(metrics, secret, host):
    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            metrics.text()
        return len(seen)

    drive(rotate(secret), host)
    few = asked()
    for number in range(6):
        factories.secret(name=f"more-{number}", username=f"more{number}")  # with a run that is queued
    drive(rotate(secret), host)
    assert asked() == few


def test_among_many_runs_that_ended_only_the_active_ones_are_read(metrics, secret):
    ended = {"kind": "rotate", "secret": secret, "instance": secret.managed.instance, "state": "ended"}
    by = factories.administrator()
    Run.objects.bulk_create([Run(**ended, requested_by=by) for _ in range(1_000)])
    if connection.vendor != "sqlite":  # which knows nothing of the amounts in an installation either
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as seen:
        metrics.text()
    asked = [query["sql"] for query in seen if 'FROM "rotation_run"' in query["sql"]]
    assert len(asked) == 3
    for sql in asked:
        plan = plan_of(sql)
        assert "run_active" in plan
        assert "Seq Scan on rotation_run" not in plan


def test_they_are_made_once_for_readers_that_come_together(secret):
    kept = Metrics(kept_seconds=3600)
    first = kept.text()
    with CaptureQueriesContext(connection) as seen:
        assert kept.text() == first
    assert len(seen) == 0


# ---------------------------------------------------------------- rules and dashboard


def _names(text: str) -> set[str]:
    return set(re.findall(r"\bkeyturn_[a-z_]+", text))


def test_every_metric_of_the_rules_and_the_dashboard_is_there(metrics, settings, tmp_path):
    # Each part of the installation that has a metric of its own.
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    settings.BACKUP_FOLDER, settings.BACKUP_RECIPIENTS = tmp_path, ["age1example"]
    (tmp_path / f"keyturn-{timezone.now():%Y%m%dT%H%M%SZ}.backup").touch()
    settings.JOURNAL = f"file:{tmp_path}/journal"
    (tmp_path / "journal").touch()
    trail.record("kms:DescribeSecret", "acs:kms:::audit/", actor=users.system(), details={})
    assert checkpoints.take()
    health.beat("worker")
    there = {f"keyturn_{key[0]}" for key in read(metrics)}
    expressions = re.findall(r"^\s+expr: (.*)$", RULES.read_text(), re.M)
    board = json.loads(BOARD.read_text())["panels"]
    panels = [target["expr"] for panel in board for target in panel["targets"]]
    assert len(expressions) >= 20
    assert len(panels) >= 20
    named = _names("\n".join(expressions + panels))
    assert named - there == set()
    assert len(named) > 20


def test_promtool_accepts_the_rules_what_they_should_find_and_the_metrics(metrics):
    program = shutil.which("promtool")
    assert program, "The tests need promtool: apt-get install prometheus (./keyturn test does it as root)."

    def said(*words: str, given: bytes = b"") -> str:
        done = subprocess.run([program, *words], input=given, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    assert re.search(r"SUCCESS: \d\d rules found", said("check", "rules", str(RULES)))
    said("check", "config", "--syntax-only", str(RULES.with_name("scrape.yml")))
    said("test", "rules", str(RULES.with_name("keyturn-alerts-test.yml")))
    said("check", "metrics", given=metrics.text())


def test_each_alert_has_its_row_in_the_operator_s_documents():
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    told = (DEPLOY.parent / "docs" / "operations.md").read_text()
    assert [alert for alert in alerts if f"| `{alert}` |" not in told] == []
    assert sorted(alerts) == sorted(re.findall(r"^\| `(Keyturn\w+)` \|", told, re.M))
