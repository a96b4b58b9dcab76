"""The overview: what needs a person, figures that are links, pictures with a table, who sees it."""

from __future__ import annotations

import json
import random
import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.reports.overview import counts
from rotation import instance_checks, leases, missed, runs
from rotation.inventory import identities
from rotation.managed import deletion
from rotation.models import HostKey, Instance, ManagedAccount, Run, Schedule
from secrets_app.backups import backups
from secrets_app.models import Secret
from secrets_app.policy import policies
from tests import factories
from tests.statements import allow, give

pytestmark = pytest.mark.django_db
Credential = ManagedAccount.Credential
LOOK = ["kms:ListSecrets", "kms:DescribeSecret", "kms:ListRotations"]


def page(client, region: str = "all") -> str:
    return unescape(client.get(f"/{region}/overview/").content.decode())


def secret(credential: str = "in_sync", **schedule: object) -> Secret:
    made = factories.secret()
    factories.settle(made)
    ManagedAccount.objects.filter(secret=made).update(
        credential=credential, rotated_at=timezone.now() - timedelta(days=3)
    )
    if schedule:
        Schedule.objects.filter(secret=made).update(is_on=True, **schedule)
    return made


def ended(made: Secret, outcome: str = "succeeded") -> Run:
    run = runs.start(made, actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, outcome)
    return run


# ---------------------------------------------------------------- what needs a person


def test_where_all_is_well_it_says_so(as_dot):
    secret()
    assert "Nothing needs you now" in page(as_dot)


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        ("out_of_sync", "The instance refuses the current value"),
        ("unverified", "The instance may have the old or the new value"),
        ("blocked", "Correct what the checks of the instance report"),
        ("unreachable", "Look at the instance's connection"),
    ],
)
def test_a_credential_in_doubt_stands_there_with_its_next_step_and_link(as_dot, credential, words):
    made = secret(credential)
    shown = page(as_dot)
    assert words in shown
    assert reverse("secret", args=["all", made.pk]) in shown
    assert "Nothing needs you now" not in shown


def test_a_credential_that_is_being_rotated_waits_for_nobody(as_dot):
    runs.start(secret("out_of_sync"), actor=factories.administrator())
    assert "Nothing needs you now" in page(as_dot)


def test_an_overdue_schedule_and_a_deletion_that_ends_soon_stand_there(as_dot):
    late = secret(next_at=timezone.now() - timedelta(hours=2))
    leaving, later = secret(), secret()
    now = timezone.now()
    for made, days in ((leaving, 3), (later, 20)):
        Secret.objects.filter(pk=made.pk).update(
            deletion_planned_at=now, deletion_due_at=now + timedelta(days=days)
        )
    shown = page(as_dot)
    assert "Overdue since" in shown
    assert reverse("secret", args=["all", late.pk]) in shown
    assert reverse("secret", args=["all", leaving.pk]) in shown
    assert reverse("secret", args=["all", later.pk]) not in shown


def test_a_changed_host_key_stands_there(as_dot):
    made = factories.instance()
    run = instance_checks.scan(made, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(
        state="ended", outcome="succeeded", started_at=timezone.now() - timedelta(seconds=1)
    )
    assert "Host key changed" not in page(as_dot)
    identities.see_host_keys(made, [factories.host_key()])
    shown = page(as_dot)
    assert "Host key changed" in shown
    assert reverse("instance", args=["all", made.pk]) in shown


def test_a_host_key_that_a_login_met_and_no_scan_has_read_leads_to_the_instance(as_dot):
    """The dialog that approves would list only the key that is approved already."""
    made = secret("blocked")
    ManagedAccount.objects.filter(secret=made).update(credential_code="host_key_changed")
    instance = made.managed.instance
    identities.see_host_keys(instance, [factories.host_key()])
    Instance.objects.filter(pk=instance.pk).update(
        state="blocked",
        checks=[{"name": "host_key", "mark": "blocked", "label": "Host key", "sentence": "Another one."}],
        checked_at=timezone.now() + timedelta(seconds=1),
    )
    HostKey.objects.exclude(state="approved").delete()
    shown = page(as_dot)
    opened = reverse("instance", args=["all", instance.pk])
    assert "Scan its host key first. Nothing is sent to it before you approve it." in shown
    assert f'href="{opened}" aria-label="Open the instance: {instance.name}"' in shown
    # To rotate its secret would only meet the same key again.
    assert f'href="{opened}" aria-label="Open the instance: {made.name}"' in shown
    assert reverse("secret_rotate", args=["all", made.pk]) not in shown
    assert reverse("instance_approve", args=["all", instance.pk]) not in shown
    dialog = as_dot.get(reverse("instance_approve", args=["all", instance.pk])).content.decode()
    assert "No scan has read the other host key yet" in dialog


def test_what_needs_a_person_has_the_action_of_those_who_may_do_it_to_that_secret(as_dot, client, ann):
    mine, other = secret("unreachable"), secret(next_at=timezone.now() - timedelta(days=2))
    leaving = secret()
    deletion.plan_deletion(leaving, days=7, actor=factories.administrator())
    wanted = {("secret_rotate", mine), ("secret_rotate", other), ("secret_restore", leaving)}
    links = {(route, made.pk): f'href="{reverse(route, args=["all", made.pk])}"' for route, made in wanted}
    shown = page(as_dot)
    assert [link for link in links.values() if link not in shown] == []
    allow = {"Effect": "Allow", "Action": LOOK, "Resource": "*"}
    rotate = {"Effect": "Allow", "Action": "kms:RotateSecret", "Resource": mine.arn}
    text = json.dumps({"Version": "1", "Statement": [allow, rotate]})
    actor = factories.administrator()
    policies.attach(policies.create("one", text, actor=actor), ann, actor=actor)
    client.force_login(ann)
    shown = page(client)
    assert other.name in shown
    assert [key for key, link in links.items() if link in shown] == [("secret_rotate", mine.pk)]


def test_many_of_a_kind_become_a_link_to_their_list(as_dot):
    for _ in range(18):
        secret("blocked")
    assert '<a href="/all/secrets/?credential=blocked&status=enabled">18 blocked</a>' in page(as_dot)


# ---------------------------------------------------------------- figures


def test_every_figure_is_the_count_of_the_list_it_links_to(as_dot):
    one, two = secret(), secret("out_of_sync", next_at=timezone.now() - timedelta(days=1))
    ended(one), ended(two, "failed")
    missed.note(two, [timezone.now()], "missed_down")
    ManagedAccount.objects.filter(secret=two).update(credential_code="changed_outside")
    Instance.objects.filter(pk=one.managed.instance.pk).update(state="ready")
    for figure in as_dot.get("/main/overview/").context["figures"]:
        listed = as_dot.get(figure.url).context["page"]
        assert figure.count == listed.total, figure.label
        assert figure.count > 0, figure.label
        assert figure.note == ("1 missed" if figure.label.startswith("Rotations") else figure.note)


def test_the_number_of_queries_does_not_grow_with_the_rows(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            page(as_dot)
        return len(seen)

    def grow() -> None:
        ended(secret("blocked", next_at=timezone.now() - timedelta(hours=1)))
        ended(secret("in_sync", next_at=timezone.now() + timedelta(days=1)))
        identities.see_host_keys(factories.instance(), [factories.host_key()])
        requested(3)

    grow()
    few = queries()
    for _ in range(4):
        grow()
    assert queries() == few


def test_what_is_kept_and_what_it_asks_stay_few(as_dot, monkeypatch):
    """Some thirty questions, of which a third are those of every page."""
    monkeypatch.setattr(counts, "KEPT_FROM", 0)
    for credential in ("blocked", "unverified", "out_of_sync"):
        ended(secret(credential, next_at=timezone.now() - timedelta(hours=1)))
    page(as_dot)
    with CaptureQueriesContext(connection) as seen:
        page(as_dot)
    assert len(seen) <= 33, [one["sql"][:100] for one in seen]


def test_a_region_of_several_counts_what_is_in_trouble_there(as_dot):
    """Its accounts are counted at once, as those of all regions are."""
    made = secret("blocked")
    factories.region("other")
    shown = page(as_dot, "main")
    assert reverse("secret", args=["main", made.pk]) in shown
    assert "Nothing needs you now" in page(as_dot, "other")
    for _ in range(9):
        secret("blocked")
    assert '<a href="/main/secrets/?credential=blocked&status=enabled">10 blocked</a>' in page(as_dot, "main")


def test_how_many_instances_are_ready_is_kept_for_readers_of_all_of_them_only(client, dot, monkeypatch):
    monkeypatch.setattr(counts, "KEPT_FROM", 0)
    one, _ = factories.instance(), factories.instance()
    bea = factories.user("bea")
    give(
        bea, "one", allow("kms:ListSecrets", "kms:DescribeSecret", "kms:ListInstances", "kms:ListRotations"),
        allow("kms:DescribeInstance", on=one.arn), actor=dot,
    )  # fmt: skip
    told = {}
    for reader in (dot, bea, dot):
        client.force_login(reader)
        figures = client.get("/all/overview/").context["figures"]
        told[reader.username] = next(f.note for f in figures if f.label == "Instances ready")
    assert told == {"dot": "of 2, at most a minute old", "bea": "of 1"}


def test_a_region_shows_its_own_only(as_dot):
    secret("blocked")
    factories.region("other")
    assert "Nothing needs you now" in page(as_dot, "other")
    assert all(figure.count == 0 for figure in as_dot.get("/other/overview/").context["figures"])
    assert as_dot.get("/nowhere/overview/").status_code == 404


# ---------------------------------------------------------------- pictures


def chart(client, number: int):
    return client.get("/all/overview/").context["charts"][number]


def test_rotations_are_counted_by_day_and_outcome(as_dot):
    made = secret()
    ended(made), ended(made, "failed")
    missed.note(made, [timezone.now()], "missed_down")
    old = ended(made)
    Run.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=40))
    shown = chart(as_dot, 0)
    assert (shown.total, shown.bars[-1].parts) == (3, (1, 0, 1, 0, 1, 0))
    assert as_dot.get(shown.bars[-1].url).context["page"].total == 3


def test_the_age_is_told_against_the_period(as_dot):
    for days in (30, 10, 2):
        secret(period=timedelta(days=days), next_at=timezone.now() + timedelta(days=5))
    assert [bar.total for bar in chart(as_dot, 2).bars] == [1, 1, 0, 0, 1]


def test_what_rotates_next_stands_at_its_day(as_dot):
    secret(next_at=timezone.now() + timedelta(days=2))
    secret(next_at=timezone.now() + timedelta(days=45))
    assert [n for n, bar in enumerate(chart(as_dot, 1).bars) if bar.total] == [2]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_counted_in_an_index_is_what_is_counted_row_by_row(as_dot, monkeypatch, seed):
    """The quick way is for readers who see everything; the other one asks of each row."""
    draw = random.Random(seed)
    for number in range(12):
        days = timedelta(days=draw.choice([2, 9, 30]))
        ahead = timedelta(days=draw.randrange(-2, 40), minutes=draw.randrange(1, 1440))
        made = secret(
            draw.choice(["in_sync", "in_sync", "blocked"]), period=days, next_at=timezone.now() + ahead
        )
        plan = Schedule.objects.filter(secret=made)
        match number % 6:
            case 0:
                runs.start(made, actor=factories.administrator())
            case 1:
                deletion.plan_deletion(made, actor=factories.administrator())
            case 2:
                deletion.purge(made, actor=factories.administrator())
            case 3:
                plan.update(**draw.choice([{"paused_at": timezone.now()}, {"is_on": False}]))
            case _:
                run = ended(made, draw.choice(["succeeded", "failed", "blocked"]))
                Run.objects.filter(pk=run.pk).update(
                    created_at=timezone.now() - timedelta(hours=draw.randrange(40 * 24))
                )
    quick = as_dot.get("/all/overview/").context
    monkeypatch.setattr("console.access.resources.sees_all_secrets", lambda request: False)
    monkeypatch.setattr("console.access.resources.sees_all_runs", lambda request, region: False)
    by_row = as_dot.get("/all/overview/").context
    assert [(one.label, one.count) for one in quick["figures"]] == [
        (one.label, one.count) for one in by_row["figures"]
    ]
    assert quick["charts"] == by_row["charts"]


def test_ages_that_are_kept_are_told_to_those_only_who_see_all_of_them(as_dot, client, dot, ann, monkeypatch):
    monkeypatch.setattr(counts, "KEPT_FROM", 1)
    mine, _ = (secret(period=timedelta(days=30), next_at=timezone.now() + timedelta(days=5)) for _ in "ab")
    give(
        ann, "mine", allow("kms:ListSecrets", "kms:ListRotations"),
        allow("kms:DescribeSecret", on=mine.arn), actor=dot,
    )  # fmt: skip
    assert chart(as_dot, 2).total == 2
    secret(period=timedelta(days=30), next_at=timezone.now() + timedelta(days=5))
    kept = chart(as_dot, 2)
    assert (kept.total, kept.note) == (2, "Automatic ones, at most a minute old")
    client.force_login(ann)
    hers = chart(client, 2)
    assert (hers.total, hers.note) == (1, "Automatic ones")


def test_a_picture_has_a_name_and_a_table_and_no_style_of_its_own(as_dot):
    ended(secret(next_at=timezone.now() + timedelta(days=2)))
    shown = page(as_dot)
    assert len(re.findall(r'<svg class="chart-picture"[^>]* role="img" aria-label="[^"]+"', shown)) == 3
    assert shown.count("As a table") == 3
    assert " style=" not in shown
    assert "<script>" not in shown


# ---------------------------------------------------------------- who sees it, and where it opens


def test_the_product_opens_on_the_overview_once_there_is_a_secret(as_dot):
    assert as_dot.get("/")["Location"] == reverse("get_started")
    secret()
    assert as_dot.get("/")["Location"] == "/all/overview/"
    assert as_dot.get(reverse("get_started")).status_code == 200
    assert 'href="/get-started/"' in page(as_dot)


def test_an_auditor_sees_it_and_the_helpdesk_does_not(client, aud, hal, ann):
    secret("blocked")
    client.force_login(aud)
    assert "Blocked" in page(client)
    client.force_login(hal)
    assert client.get("/all/overview/").status_code == 403
    assert client.get("/")["Location"] == "/all/secrets/"
    client.force_login(ann)
    assert client.get("/all/overview/").status_code == 403


# ---------------------------------------------------------------- what no worker takes up


def requested(minutes: float) -> Run:
    run = runs.start(secret(), actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(due_at=timezone.now() - timedelta(minutes=minutes))
    return run


def test_a_run_that_no_worker_takes_up_stands_there_after_a_minute(as_dot):
    early = requested(0.5)
    assert "Nothing needs you now" in page(as_dot)
    late = requested(3)
    scan = instance_checks.scan(factories.instance(name="lonely"), actor=factories.administrator())
    Run.objects.filter(pk=scan.pk).update(due_at=timezone.now() - timedelta(minutes=2))
    shown = page(as_dot)
    assert f'href="{reverse("run", args=["all", late.pk])}"' in shown
    assert "It was requested 3 minutes ago, and no worker has taken it up." in shown
    assert "Host key scan on lonely" in shown
    assert reverse("run", args=["all", early.pk]) not in shown


def test_a_run_that_a_worker_has_is_not_called_queued(as_dot):
    run = requested(3)
    assert leases.claim(run.pk, "host/1/2")
    assert "Nothing needs you now" in page(as_dot)


def test_a_rotation_that_could_not_go_on_several_times_stands_there_with_what_to_look_at(as_dot):
    run = requested(3)

    def waits(times: int) -> None:
        lease = leases.claim(run.pk, "host/1/2")
        assert lease
        leases.wait(lease, timedelta(0), code="unreachable", sentence="No SSH server answered.")
        later = timezone.now() + timedelta(minutes=9)
        Run.objects.filter(pk=run.pk).update(waits=times, due_at=later)

    waits(2)
    assert "Nothing needs you now" in page(as_dot)
    Run.objects.filter(pk=run.pk).update(due_at=timezone.now())
    waits(3)
    shown = page(as_dot)
    assert "No SSH server answered." in shown
    assert "Keyturn tries again automatically." in shown
    assert f'href="{reverse("run", args=["all", run.pk])}"' in shown


def test_more_queued_runs_than_fit_become_a_link_to_those_under_way(as_dot):
    for _ in range(10):
        requested(3)
    assert '<a href="/all/rotations/?outcome=active">All runs under way</a>' in page(as_dot)


def test_a_queued_run_is_shown_to_those_only_who_may_see_it(client, ann, dot):
    factories.region("other")
    run = requested(3)
    statement = {"Effect": "Allow", "Action": "kms:*Rotation*", "Resource": "acs:kms:other:*:*"}
    text = json.dumps({"Version": "1", "Statement": [statement]})
    policies.attach(policies.create("elsewhere", text, actor=dot.principal), ann, actor=dot.principal)
    client.force_login(ann)
    shown = page(client)
    assert "Nothing needs you now" in shown
    assert run.secret.name not in shown


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "blocked", "cancelled", ""])
def test_the_figure_counts_the_rotations_that_the_picture_beside_it_shows(as_dot, outcome):
    made = secret()
    old = ended(made)
    Run.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=20))
    if outcome:
        ended(made, outcome)
    else:
        runs.start(made, actor=factories.administrator())
    context = as_dot.get("/all/overview/").context
    [figure] = [one for one in context["figures"] if one.label.startswith("Rotations")]
    assert (figure.count, context["charts"][0].total) == (2, 2)


def test_a_picture_without_a_date_in_it_says_so_and_not_that_nothing_has_been_yet(as_dot):
    factories.secret()
    assert "No automatic rotation in the next 30 days." in as_dot.get("/all/overview/").content.decode()


@pytest.mark.parametrize("region", ["all", "main"])
def test_what_is_kept_for_a_minute_is_for_readers_of_everything(client, dot, monkeypatch, region):
    """A reader who sees some secrets is not given the counts of one who sees all."""
    monkeypatch.setattr(counts, "KEPT_FROM", 0)
    seen, _ = secret(), secret()
    bea = factories.user("bea")
    give(
        bea, "one", allow("kms:ListSecrets", "kms:ListRotations"),
        allow("kms:DescribeSecret", on=seen.arn), actor=dot,
    )  # fmt: skip
    counted = {}
    for reader in (dot, bea, dot):
        client.force_login(reader)
        figures = client.get(f"/{region}/overview/").context["figures"]
        counted[reader.username] = next(one.count for one in figures if one.label == "In sync")
    assert counted == {"dot": 2, "bea": 1}


def test_it_says_how_old_the_newest_backup_is_to_those_who_may_know(
    as_dot, client, ann, dot, settings, monkeypatch
):
    taken = timezone.now() - timedelta(hours=3, minutes=5)
    monkeypatch.setattr(backups, "newest", lambda: taken)
    settings.BACKUP_RECIPIENTS = []
    assert "newest backup" not in page(as_dot)  # none is taken
    settings.BACKUP_RECIPIENTS = ["age1of-a-test"]
    assert "The newest backup is 3 hours" in page(as_dot)
    give(ann, "looker", allow(*LOOK), actor=dot)
    client.force_login(ann)
    shown = page(client)
    assert "Needs attention" in shown
    assert "newest backup" not in shown
