"""Rotations: the history, a run's steps as they happen, what to do after a failure, and retry."""

from __future__ import annotations

from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.presentation import run_states
from rotation import instance_checks, leases, missed, reasons, runs
from rotation.models import ManagedAccount, Run
from secrets_app.models import Secret
from tests import factories, times

pytestmark = pytest.mark.django_db


@pytest.fixture
def secret() -> Secret:
    return factories.secret()


def url(name: str, run: Run | None = None, region: str = "main") -> str:
    return reverse(name, args=[region, run.pk] if run else [region])


def started(secret: Secret) -> tuple[Run, leases.Lease]:
    """A rotation that a worker has taken up."""
    run = runs.start(secret, actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    return run, lease


def ended(secret: Secret, outcome: str = Run.Outcome.FAILED, **fields: str) -> Run:
    run, lease = started(secret)
    leases.end(lease, outcome, **fields)
    return Run.objects.get(pk=run.pk)


# ---------------------------------------------------------------- the list


def test_the_list_shows_who_asked_for_what_and_how_it_ended(as_dot, secret):
    run = ended(secret, truth="old", code="policy", sentence="The host said no.")
    page = as_dot.get(url("rotations")).content.decode()
    for shown in (
        secret.name,
        run.instance.name,
        "Manual",
        "factory",
        "Failed: the old value works",
        "Rotation",
    ):
        assert shown in page


def test_an_empty_list_says_what_to_do_next(as_dot):
    assert "Nothing has run yet" in as_dot.get(url("rotations", region="all")).content.decode()


def test_the_list_narrows_by_outcome_kind_and_text_in_the_url(as_dot, secret):
    failed = ended(secret, truth="old", code="policy")
    queued = instance_checks.check(secret.managed.instance, actor=factories.administrator())

    def shown(**query: str) -> set[object]:
        return {run.pk for run in as_dot.get(url("rotations"), query).context["page"].rows}

    assert shown() == {failed.pk, queued.pk}
    assert shown(outcome="failed") == {failed.pk}
    assert shown(outcome="active") == {queued.pk}
    assert shown(kind="check") == {queued.pk}
    assert shown(q=secret.name) == {failed.pk}
    assert shown(q="nobody") == set()
    assert shown(outcome="nonsense", kind="nonsense") == {failed.pk, queued.pk}


def test_the_newest_run_comes_first(as_dot, secret):
    first, second = ended(secret), ended(secret)
    times.in_turn(first, second)
    assert [run.pk for run in as_dot.get(url("rotations")).context["page"].rows] == [second.pk, first.pk]


@pytest.mark.parametrize(
    "sort", ["started", "secret", "instance", "kind", "trigger", "by", "outcome", "attempts"]
)
def test_the_list_sorts_by_each_column_both_ways(as_dot, secret, sort):
    ended(secret)
    assert as_dot.get(url("rotations"), {"sort": sort}).status_code == 200
    assert as_dot.get(url("rotations"), {"sort": f"-{sort}"}).status_code == 200


def test_the_number_of_queries_does_not_grow_with_the_rows(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(url("rotations"))
        return len(seen)

    ended(factories.secret())
    few = queries()
    for _ in range(6):
        ended(factories.secret(), truth="old", code="policy")
    assert queries() == few


# ---------------------------------------------------------------- one run


def test_a_run_shows_the_steps_taken_and_those_not_reached(as_dot, secret):
    run, lease = started(secret)
    step = leases.begin(lease, "create")
    leases.finish(lease, step, "done", "A new value is stored.")
    leases.begin(lease, "preflight")
    page = as_dot.get(url("run", run)).content.decode()
    labels = [entry.label for entry in run_states.timeline(run)]
    assert labels == ["Create", "Check", "Set", "Test", "Finish"]
    for shown in ("A new value is stored.", "host/1/2", "Not yet", "every 1s"):
        assert shown in page


def test_a_step_that_will_be_repeated_stands_ahead_again(secret):
    run, lease = started(secret)
    leases.finish(lease, leases.begin(lease, "create"), "done")
    leases.finish(lease, leases.begin(lease, "preflight"), "failed", "No answer.")
    leases.wait(lease, timedelta(seconds=30), code="unreachable", sentence="No answer.")
    entries = [(e.label, e.word) for e in run_states.timeline(Run.objects.get(pk=run.pk))]
    assert entries[1:3] == [("Check", "Failed"), ("Check", "Not yet")]


def test_a_waiting_run_says_until_when_and_why(as_dot, secret):
    run, lease = started(secret)
    leases.wait(lease, timedelta(seconds=30), code="unreachable", sentence="The host did not answer.")
    page = as_dot.get(url("run", run)).content.decode()
    assert "Waiting until" in page
    assert "The host did not answer." in page


def test_what_a_step_found_is_escaped_and_folded(as_dot, secret):
    run, lease = started(secret)
    evidence = [{"name": "login", "mark": "warning", "sentence": "<script>alert(1)</script>"}]
    leases.finish(lease, leases.begin(lease, "preflight"), "done", "", evidence)
    page = as_dot.get(url("run", run)).content.decode()
    assert "<script>alert(1)" not in page
    assert "What was checked (1)" in page


def test_the_steps_are_asked_for_only_while_the_run_is_active(as_dot, secret):
    run, lease = started(secret)
    seen = run_states.mark(run := Run.objects.get(pk=run.pk))
    assert as_dot.get(url("run_steps", run), {"seen": seen}).status_code == 204
    leases.end(lease, Run.Outcome.SUCCEEDED)
    answer = as_dot.get(url("run_steps", run), {"seen": seen})
    assert "every 1s" not in answer.content.decode()
    assert "Rotation: Succeeded." in answer["HX-Trigger"]


def test_a_page_and_its_fragment_show_the_same_steps(as_dot, secret):
    run = ended(secret, truth="old", code="policy", sentence="Refused.")
    fragment = as_dot.get(url("run_steps", run)).content.decode()
    page = as_dot.get(url("run", run)).content.decode()
    # Only the form's token is made anew for each answer.
    lines = [line for line in fragment.splitlines() if "csrfmiddlewaretoken" not in line]
    assert all(line in page for line in lines)


@pytest.mark.parametrize(
    ("code", "step", "where"),
    [
        ("host_key_changed", "Compare the new key", "instance"),
        ("login_refused", "accepts this credential", "credential"),
        ("policy", "password policy", "secret"),
        ("no_credential", "Attach a management credential", "instance"),
        ("never heard of", "Check the result in the steps below", ""),
    ],
)
def test_a_run_that_did_not_succeed_says_what_to_do_next_and_where(as_dot, secret, code, step, where):
    run = ended(secret, Run.Outcome.BLOCKED, code=code, sentence="What was found.")
    page = as_dot.get(url("run", run)).content.decode()
    assert "What was found." in page
    assert step in page
    assert not where or f">Open the {'management ' if where == 'credential' else ''}{where}</a>" in page


# ---------------------------------------------------------------- retry


def test_retry_starts_a_new_rotation_and_leaves_the_old_one_as_it_ended(as_dot, secret):
    run = ended(secret, truth="old", code="policy")
    assert "Retry</button>" in as_dot.get(url("run", run)).content.decode()
    response = as_dot.post(url("run_retry", run))
    again = Run.objects.active().get(secret=secret)
    assert response["Location"] == url("run", again)
    assert Run.objects.get(pk=run.pk).outcome == Run.Outcome.FAILED


def test_retry_twice_is_one_rotation(as_dot, secret):
    run = ended(secret, truth="old", code="policy")
    as_dot.post(url("run_retry", run))
    as_dot.post(url("run_retry", run))
    assert Run.objects.active().filter(secret=secret).count() == 1


def test_a_rotation_that_goes_on_or_succeeded_is_not_retried(as_dot, secret):
    run, lease = started(secret)
    assert as_dot.post(url("run_retry", run)).status_code == 409
    leases.end(lease, Run.Outcome.SUCCEEDED)
    assert as_dot.post(url("run_retry", run)).status_code == 409
    assert Run.objects.filter(secret=secret).count() == 1


def test_an_auditor_sees_a_run_and_cannot_retry_it(client, aud, secret):
    run = ended(secret, truth="old", code="policy")
    client.force_login(aud)
    assert "Retry</button>" not in client.get(url("run", run)).content.decode()
    assert client.post(url("run_retry", run)).status_code == 403
    assert not Run.objects.active().filter(secret=secret).exists()


def test_the_helpdesk_sees_no_run(client, hal, secret):
    run = ended(secret)
    client.force_login(hal)
    assert client.get(url("rotations")).status_code == 403
    for name in ("run", "run_steps"):
        assert client.get(url(name, run)).status_code == 404
    assert client.post(url("run_retry", run)).status_code == 404


def test_retry_needs_a_post_of_our_own(dot, secret):
    run = ended(secret, truth="old", code="policy")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(dot)
    assert strict.get(url("run_retry", run)).status_code == 405
    assert strict.post(url("run_retry", run)).status_code == 403
    assert not Run.objects.active().filter(secret=secret).exists()


def test_who_is_not_signed_in_is_sent_to_the_sign_in(client, secret):
    run = ended(secret)
    for path in (url("rotations"), url("run", run), url("run_steps", run)):
        assert client.get(path)["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("path", ["/main/rotations/", "/audit/"])
def test_a_period_that_ends_before_it_begins_is_said_beside_its_field(as_dot, secret, path):
    page = as_dot.get(path, {"since": "2026-05-02", "until": "2026-05-01"}).content.decode()
    assert "To is earlier than From. Choose a later date." in page
    assert 'name="until" value="2026-05-01" aria-invalid="true" aria-describedby="until-error"' in page
    page = as_dot.get(path, {"since": "2026-05-02", "until": "2026-05-02"}).content.decode()
    assert "aria-invalid" not in page


# ---------------------------------------------------------------- the last change, and the checks below it


def shown_on(client, secret) -> tuple[str, str]:
    """What stands under the last change and under the last check on the secret's page."""
    page = unescape(client.get(reverse("secret", args=["main", secret.pk])).content.decode())
    change, _, check = (
        page.partition('id="last-change"')[2].partition('id="about"')[0].partition("last-check")
    )
    return change, check


@pytest.mark.parametrize("kind", ["drift", "verify"])
def test_a_check_that_ran_by_itself_does_not_take_the_place_of_the_rotation(as_dot, kind):
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    rotation = ended(secret)
    check = getattr(runs, kind)(secret, actor=factories.administrator(), trigger="schedule")
    for _ in range(2):
        change, below = shown_on(as_dot, secret)
        assert reverse("run_steps", args=["main", rotation.pk]) not in change  # it has ended
        assert f'id="run-{rotation.pk}"' in change
        assert check.get_kind_display() not in change
        assert check.get_kind_display() in below
        assert reverse("run", args=["main", check.pk]) in below
        lease = leases.claim(check.pk, "host/1/2")
        if lease:
            leases.end(lease, "failed", code="unclear", sentence="Could not check: it is away.")
    assert "Could not check: it is away." in shown_on(as_dot, secret)[1]


def test_a_reconciliation_is_a_change_too(as_dot):
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    times.in_turn(ended(secret))
    run = runs.reconcile(secret, actor=factories.administrator())
    assert f'id="run-{run.pk}"' in shown_on(as_dot, secret)[0]


def test_where_nothing_was_changed_yet_the_check_shows_its_steps(as_dot, secret):
    check = runs.verify(secret, actor=factories.administrator())
    change, below = shown_on(as_dot, secret)
    assert "No rotation of this secret so far" in change
    assert f'id="run-{check.pk}"' in below


# ---------------------------------------------------------------- what is said of it is what can be done


def refused_check(kind: str = "verify") -> Run:
    secret = factories.secret(initial="a-first-value-1")
    factories.settle(secret)
    run = getattr(runs, kind)(secret, actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, "failed", code="refused_value", sentence="The instance refuses the current value.")
    return Run.objects.get(pk=run.pk)


def test_what_the_advice_names_stands_beside_it(as_dot):
    run = refused_check()
    page = unescape(as_dot.get(url("run", run)).content.decode())
    assert reasons.advice("refused_value").text in page
    for name in ("secret_reconcile", "secret_rotate"):
        assert f'href="{reverse(name, args=["main", run.secret_id])}" data-dialog' in page
    assert url("run_retry", run) in page


def test_what_one_may_not_do_is_not_offered(client, aud):
    run = refused_check()
    client.force_login(aud)
    page = client.get(url("run", run)).content.decode()
    for name in ("secret_reconcile", "secret_rotate"):
        assert reverse(name, args=["main", run.secret_id]) not in page


def test_no_advice_on_the_page_of_a_secret_links_to_that_page(as_dot):
    run = refused_check()
    page = as_dot.get(reverse("secret", args=["main", run.secret_id])).content.decode()
    assert "Open the secret" not in page
    fragment = as_dot.get(url("run_steps", run), {"here": "secret"}).content.decode()
    assert "Open the secret" not in fragment
    assert "Open the secret" in as_dot.get(url("run_steps", run)).content.decode()


def test_a_scan_that_failed_can_be_repeated_as_its_advice_says(as_dot):
    scan = instance_checks.scan(factories.instance(), actor=factories.administrator())
    lease = leases.claim(scan.pk, "host/1/2")
    assert lease
    leases.end(lease, "blocked", code="no_ssh", sentence="No SSH server answered.")
    assert url("run_retry", scan) in as_dot.get(url("run", scan)).content.decode()
    assert as_dot.post(url("run_retry", scan)).status_code == 302


@pytest.mark.parametrize("fate", [{"deletion_planned_at": timezone.now()}, {"purged_at": timezone.now()}])
@pytest.mark.parametrize("code", ["refused_value", "unverified", "changed_outside", "no_value"])
def test_no_advice_of_a_run_names_what_its_secret_no_longer_takes(as_dot, code, fate):
    run = refused_check()
    Run.objects.filter(pk=run.pk).update(code=code)
    Secret.objects.filter(pk=run.secret_id).update(**fate)
    run = Run.objects.get(pk=run.pk)
    assert run_states.run_badge(run).next_step.text == ""
    assert run_states.remedies(run) == ()


# ---------------------------------------------------------------- missed


def noted(secret: Secret, count: int = 3) -> Run:
    first = timezone.now() - timedelta(days=count)
    missed.note(secret, [first + timedelta(days=day) for day in range(count)], "missed_down")
    return Run.objects.get(secret=secret, outcome="missed")


def test_missed_dates_are_found_by_their_outcome_and_stand_in_the_history_of_the_secret(as_dot, secret):
    done, row = ended(secret, "succeeded"), noted(secret)
    found = as_dot.get(url("rotations"), {"outcome": "missed"})
    assert [run.pk for run in found.context["page"].rows] == [row.pk]
    history = as_dot.get(f"/main/secrets/{secret.pk}/?tab=history")
    assert {run.pk for run in history.context["page"].rows} == {done.pk, row.pk}
    for page in (found.content.decode(), history.content.decode()):
        assert "Missed" in page
        assert "(3 dates)" in page
        assert f"{row.date_at:%Y-%m-%d %H:%M}" in page


def test_the_page_of_missed_dates_names_the_reason_and_offers_a_rotation_and_no_retry(as_dot, secret):
    row = noted(secret)
    page = unescape(as_dot.get(url("run", row)).content.decode())
    assert reasons.sentence("missed_down") in page
    assert "Dates missed" in page
    assert reverse("secret_rotate", args=["main", secret.pk]) in page
    assert url("run_retry", row) not in page
    assert "Not reached" not in page
    assert as_dot.post(url("run_retry", row)).status_code == 409


def test_who_may_not_rotate_is_offered_no_rotation_for_missed_dates(client, aud, secret):
    row = noted(secret)
    client.force_login(aud)
    page = client.get(url("run", row)).content.decode()
    assert "Missed" in page
    assert reverse("secret_rotate", args=["main", secret.pk]) not in page


def test_missed_dates_do_not_take_the_place_of_the_last_rotation(as_dot, secret):
    done = ended(secret, "succeeded")
    row = noted(secret)
    listed = as_dot.get("/main/secrets/").context["page"].rows[0]
    assert (listed.last_outcome, listed.last_ended_at) == ("succeeded", done.ended_at)
    shown = as_dot.get(f"/main/secrets/{secret.pk}/")
    assert shown.context["run"].pk == done.pk
    assert url("run", row) in shown.content.decode()


def test_dates_that_were_missed_before_the_last_rotation_are_history_and_no_state(as_dot, secret):
    row = noted(secret)
    ManagedAccount.objects.filter(secret=secret).update(rotated_at=timezone.now())
    assert url("run", row) not in as_dot.get(f"/main/secrets/{secret.pk}/").content.decode()
