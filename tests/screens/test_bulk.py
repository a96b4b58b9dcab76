"""Many rows at once: they are selected, the question names them, a page shows them, the bell leads there."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation import leases, runs, tasks
from rotation.bulk import bulk_actions
from rotation.models import BulkAction, BulkItem, Run
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import grants
from secrets_app.policy.decisions import Action
from tests import factories
from tests.screens.test_fresh import grow_old, is_asked
from tests.statements import allow, deny, give

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog"}
SECRETS, RUNS = "/main/secrets/bulk/", "/main/rotations/bulk/"


def made(count: int, **given: Any) -> list[Secret]:
    found = [factories.secret(initial="the-first-value", **given) for _ in range(count)]
    for one in found:
        factories.settle(one)
    return found


def text(response) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def ask(client, action: str, secrets: list[Secret], **more: str):
    given = {"action": action, "secret": [str(one.pk) for one in secrets], **more}
    return client.post(SECRETS, given, headers=HTMX)


def fields(response) -> dict[str, str]:
    """What the form of the question sends, as it was shown."""
    html = response.content.decode()
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html)
    return dict(found)


def confirm(client, asked, url: str = SECRETS, **chosen: str):
    return client.post(url, fields(asked) | chosen, headers=HTMX)


def start(client, action: str, secrets: list[Secret], **chosen: str) -> BulkAction:
    answer = confirm(client, ask(client, action, secrets), **chosen)
    assert answer.status_code == 200, text(answer)
    (bulk,) = (row for row in BulkAction.objects.all() if answer["HX-Redirect"] == page_of(row))
    return bulk


def page_of(bulk: BulkAction) -> str:
    return reverse("bulk_action", args=[bulk.pk])


def work(bulk: BulkAction) -> None:
    while bulk_actions.carry(bulk.pk, wake=lambda run: None):
        pass


def end(run: Run, outcome: str, **said: str) -> None:
    lease = leases.claim(run.pk, "w")
    assert lease
    leases.end(lease, outcome, **said)


# ---------------------------------------------------------------- select


def test_every_row_can_be_selected_and_the_bar_has_what_one_may_do(as_dot):
    (secret,) = made(1)
    html = as_dot.get("/main/secrets/").content.decode()
    assert f'name="secret" value="{secret.pk}" form="bulk"' in html
    for name in ("rotate", "verify", "drift", "tag", "delete", "restore"):
        assert f'name="action" value="{name}"' in html
    assert "that match" not in html  # the page has all of them
    assert 'form="bulk"' not in as_dot.get("/main/secrets/?status=deleted").content.decode()


def test_all_that_match_are_offered_once_there_are_more_pages(as_dot):
    instance = factories.instance()
    for number in range(26):
        factories.secret(instance=instance, username=f"user{number}")
    assert "All 26 items that match" in text(as_dot.get("/main/secrets/"))


def test_who_may_do_nothing_selects_nothing(client, aud):
    made(1)
    client.force_login(aud)
    assert 'form="bulk"' not in client.get("/main/secrets/").content.decode()
    assert 'form="bulk"' not in client.get("/main/rotations/").content.decode()


def test_only_what_one_has_a_right_to_is_offered(client, hal):
    made(1)
    client.force_login(hal)
    html = client.get("/main/secrets/").content.decode()
    assert re.findall(r'name="action" value="(\w+)"', html) == ["restore"]


# ---------------------------------------------------------------- the question


def test_the_question_says_how_many_and_names_the_first(as_dot):
    secrets = made(7)
    shown = text(ask(as_dot, "rotate", secrets))
    assert "7 secrets" in shown
    assert "and 2 more" in shown
    names = sorted(secret.name for secret in secrets)
    assert all(name in shown for name in names[:5])
    assert not any(name in shown for name in names[5:])
    assert not BulkAction.objects.exists()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("rotate", "Leaked: another person may know the value"),
        ("verify", "accepts the current value"),
        ("drift", "changed outside Keyturn"),
        ("delete", "Delete In (7-30 days)"),
        ("restore", "Nothing is rotated"),
        ("tag", "Tags to add or change"),
    ],
)
def test_the_question_asks_what_the_single_action_asks(as_dot, action, words):
    assert words in text(ask(as_dot, action, made(1)))


def test_without_script_the_question_is_a_page_of_its_own(as_dot):
    secrets = made(2)
    page = as_dot.post(SECRETS, {"action": "verify", "secret": [one.pk for one in secrets]})
    assert "<title>Verify" in page.content.decode()
    answer = as_dot.post(SECRETS, fields(page))
    bulk = BulkAction.objects.get()
    assert answer["Location"] == reverse("bulk_action", args=[bulk.pk])
    assert "0 of 2 done" in text(as_dot.get(answer["Location"]))


def test_what_matches_is_frozen_as_it_was_shown(as_dot):
    kept = made(2, username="apple")
    asked = as_dot.post(SECRETS, {"action": "rotate", "all": "on", "filter": "q=apple&page=1"}, headers=HTMX)
    assert "2 secrets" in text(asked)
    made(1, username="apple")
    confirm(as_dot, asked, reason="routine")
    assert {item.secret for item in BulkAction.objects.get().items.all()} == set(kept)


def test_a_filter_of_deleted_secrets_selects_no_others(as_dot):
    made(1)
    answer = as_dot.post(SECRETS, {"action": "rotate", "all": "on", "filter": "status=deleted"}, headers=HTMX)
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"action": "rotate"}, "Select at least one secret."),
        ({"action": "rotate", "secret": "no-id"}, "Select at least one secret."),
        ({"action": "explode"}, "Choose an action."),
        ({"action": "retry"}, "Choose an action."),
        ({}, "Choose an action."),
    ],
)
def test_nothing_selected_and_no_action_are_said(as_dot, given, words):
    made(1)
    answer = as_dot.post(SECRETS, given, headers=HTMX)
    assert answer.status_code == 409
    assert words in text(answer)


def test_more_than_500_are_refused_with_what_to_do(as_dot, monkeypatch):
    monkeypatch.setattr(bulk_actions, "MOST", 2)
    made(3)
    answer = as_dot.post(SECRETS, {"action": "rotate", "all": "on", "filter": ""}, headers=HTMX)
    assert answer.status_code == 409
    assert "At most 500 rows at once. Narrow the filter" in text(answer)


@pytest.mark.parametrize(
    ("action", "chosen", "words"),
    [
        ("delete", {"days": "3"}, "Enter 7 to 30 days."),
        ("tag", {"tags": "", "removed": ""}, "Enter a tag to add"),
        ("tag", {"tags": "=x"}, "Write each tag as key=value."),
        ("tag", {"tags": "a=1", "removed": "a"}, "cannot be both added and removed"),
        ("rotate", {"reason": "because"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_and_the_selection_stays(as_dot, action, chosen, words):
    (secret,) = made(1)
    answer = confirm(as_dot, ask(as_dot, action, [secret]), **chosen)
    assert answer.status_code == 422
    assert words in text(answer)
    assert fields(answer)["ids"] == str(secret.pk)
    assert not BulkAction.objects.exists()


def test_pressing_twice_starts_one(as_dot):
    asked = ask(as_dot, "rotate", made(2))
    for _ in range(2):
        assert confirm(as_dot, asked, reason="routine").status_code == 200
    assert BulkAction.objects.count() == 1


# ---------------------------------------------------------------- rights


def test_what_one_may_not_see_is_neither_counted_nor_named(client, dot):
    mine, hidden = made(2)
    user = factories.user("eve")
    give(user, "lists", allow("kms:ListSecrets"), actor=dot)
    grants.grant(mine, user, [Action.DESCRIBE_SECRET, Action.ROTATE_SECRET], actor=dot.principal)
    client.force_login(user)
    shown = ask(client, "rotate", [mine, hidden])
    assert "1 secret :" in text(shown)
    assert hidden.name not in text(shown)
    assert ask(client, "rotate", [hidden]).status_code == 409
    forged = fields(shown) | {"ids": f"{mine.pk} {hidden.pk}", "reason": "routine"}
    client.post(SECRETS, forged, headers=HTMX)
    assert [item.secret for item in BulkAction.objects.get().items.all()] == [mine]


def test_who_may_do_it_nowhere_is_refused_before_the_question(client, aud):
    secrets = made(1)
    client.force_login(aud)
    assert ask(client, "verify", secrets).status_code == 403
    assert AuditEvent.objects.filter(action="kms:RotateSecret", outcome="denied").count() == 1


@pytest.mark.parametrize(("action", "is_asked_again"), [("delete", True), ("tag", True), ("rotate", False)])
def test_what_needs_a_fresh_sign_in_on_one_secret_needs_it_on_many(client, dot, action, is_asked_again):
    secrets = made(1)
    client.post(reverse("account_login"), {"login": "dot", "password": factories.PASSWORD})
    given = fields(ask(client, action, secrets)) | {"days": "30", "tags": "a=b", "reason": "routine"}
    grow_old(client)
    assert is_asked(ask(client, action, secrets)) == is_asked_again
    assert is_asked(client.post(SECRETS, given, headers=HTMX)) == is_asked_again
    assert BulkAction.objects.exists() != is_asked_again


# ---------------------------------------------------------------- the page


def test_the_page_shows_each_row_with_its_result_and_its_run(as_dot, dot):
    gone, fine, refuses = made(3)
    bulk = start(as_dot, "rotate", [gone, fine, refuses], reason="leaked")
    Secret.objects.filter(pk=gone.pk).update(deletion_planned_at=gone.created_at)
    work(bulk)
    run = fine.runs.get()
    assert run.is_leak
    end(run, "succeeded")
    end(refuses.runs.get(), "failed", truth="old", code="policy", sentence="The instance said no.")
    page = as_dot.get(reverse("bulk_action", args=[bulk.pk]))
    shown = text(page)
    for words in (
        "3 of 3 done", "Succeeded 1", "Failed 1", "Not possible 1", "The instance said no.",
        "This secret is pending deletion", "Failed: the old value works",
    ):  # fmt: skip
        assert words in shown, words
    assert reverse("run", args=["all", run.pk]) in page.content.decode()


def test_the_page_asks_again_only_while_something_runs(as_dot):
    bulk = start(as_dot, "verify", made(1))
    url, part = (reverse(name, args=[bulk.pk]) for name in ("bulk_action", "bulk_progress"))
    assert f'hx-get="{part}' in as_dot.get(url).content.decode()
    work(bulk)
    assert f'hx-get="{part}' in as_dot.get(part, headers=HTMX).content.decode()
    end(Run.objects.get(), "succeeded")
    tasks.sweep()
    shown = as_dot.get(part, headers=HTMX).content.decode()
    assert "hx-trigger" not in shown
    assert "1 of 1 done" in shown


def test_rows_are_filtered_by_their_result(as_dot):
    gone, fine = made(2)
    bulk = start(as_dot, "delete", [gone, fine], days="7", reason="")
    Secret.objects.filter(pk=gone.pk).update(deletion_planned_at=gone.created_at)
    work(bulk)
    url = reverse("bulk_action", args=[bulk.pk])
    for result, rows in (
        ("impossible", [gone]),
        ("succeeded", [fine]),
        ("waiting", []),
        ("no-word", [gone, fine]),
    ):
        page = as_dot.get(url, {"result": result}).context["page"]
        assert {item.secret for item in page.rows} == set(rows), result


def test_failed_rows_are_retried_with_the_same_choices_and_no_others(as_dot):
    first, second, third = made(3)
    bulk = start(as_dot, "rotate", [first, second, third], reason="leaked")
    work(bulk)
    for secret, outcome in ((first, "failed"), (second, "succeeded"), (third, "blocked")):
        end(secret.runs.get(), outcome)
    tasks.sweep()
    page = as_dot.get(reverse("bulk_action", args=[bulk.pk])).content.decode()
    assert "Retry failed items" in page
    asked = as_dot.post("/all/secrets/bulk/", {"again": bulk.pk, "action": "rotate"}, headers=HTMX)
    assert "2 secrets" in text(asked)
    assert re.search(r'value="leaked"[^>]*checked', asked.content.decode())
    confirm(as_dot, asked, "/all/secrets/bulk/", reason="leaked")
    again = BulkAction.objects.exclude(pk=bulk.pk).get()
    assert {item.secret for item in again.items.all()} == {first, third}
    assert again.choices == {"is_leak": True}


def test_a_background_action_is_its_user_s_own(as_dot, client, ann):
    bulk = start(as_dot, "verify", made(1))
    client.force_login(ann)
    for name in ("bulk_action", "bulk_progress"):
        assert client.get(reverse(name, args=[bulk.pk])).status_code == 404
    client.force_login(factories.user("other", "administrators"))
    assert client.get(reverse("bulk_action", args=[bulk.pk])).status_code == 404
    answer = client.post(SECRETS, {"again": bulk.pk, "action": "verify"}, headers=HTMX)
    assert answer.status_code == 404
    assert "0 of" not in text(client.get(reverse("bulk_actions")))


def test_what_its_user_may_no_longer_see_is_gone_from_page_list_and_bell(client, dot):
    kept, hidden = made(2)
    cal = factories.user("cal")
    looks = ("kms:ListSecrets", "kms:DescribeSecret", "kms:RotateSecret")
    give(cal, "rotates", allow(*looks), actor=dot)
    client.force_login(cal)
    bulk = start(client, "verify", [kept, hidden])
    give(cal, "hides", deny("kms:DescribeSecret", on=hidden.arn), actor=dot)
    page = client.get(reverse("bulk_action", args=[bulk.pk]))
    assert "0 of 1 done" in text(page)
    assert hidden.name not in text(page)
    assert "0 of 1" in text(client.get(reverse("bulk_actions")))
    BulkItem.objects.filter(secret=kept).update(state=BulkItem.State.DONE)
    assert "Running: 100 %" in bell(client)


def test_a_run_is_linked_and_quoted_only_for_those_who_may_see_it(client, dot):
    (secret,) = made(1)
    cal = factories.user("cal")
    give(cal, "rotates", allow("kms:ListSecrets", "kms:DescribeSecret", "kms:RotateSecret"), actor=dot)
    client.force_login(cal)
    bulk = start(client, "verify", [secret])
    work(bulk)
    run = secret.runs.get()
    end(run, "failed", truth="old", code="policy", sentence="What the instance said.")
    answer = client.get(reverse("bulk_action", args=[bulk.pk]))
    assert str(run.pk) not in answer.content.decode()
    assert "What the instance said" not in text(answer)
    assert "Failed 1" in text(answer)
    give(cal, "reads-runs", allow("kms:DescribeRotation"), actor=dot)
    assert "What the instance said" in text(client.get(reverse("bulk_action", args=[bulk.pk])))


def test_a_run_leads_back_to_the_action_that_started_it_for_the_user_of_that(as_dot, client):
    bulk = start(as_dot, "verify", made(1))
    work(bulk)
    run, back = reverse("run", args=["main", Run.objects.get().pk]), reverse("bulk_action", args=[bulk.pk])
    assert f'<dd><a href="{back}">Verify</a>' in as_dot.get(run).content.decode()
    client.force_login(factories.user("other", "administrators"))
    assert back not in client.get(run).content.decode()


# ---------------------------------------------------------------- the bell


def bell(client) -> str:
    html = client.get(reverse("bulk_bell")).content.decode()
    return re.sub(r"\s+", " ", html)


def test_the_bell_says_what_runs_and_what_has_ended_until_it_was_seen(as_dot):
    assert "No background actions yet" in bell(as_dot)
    bulk = start(as_dot, "tag", made(2), tags="a=b")
    assert "Background actions, 1 running" in bell(as_dot)
    assert "hx-trigger" in bell(as_dot)
    assert "Running: 0 %" in bell(as_dot)
    work(bulk)
    shown = bell(as_dot)
    assert "Background actions, 1 ended" in shown
    assert "hx-trigger" not in shown
    as_dot.head(reverse("bulk_action", args=[bulk.pk]))
    assert "1 ended" in bell(as_dot)
    as_dot.get(reverse("bulk_action", args=[bulk.pk]))
    shown = bell(as_dot)
    assert "1 ended" not in shown
    assert reverse("bulk_action", args=[bulk.pk]) in shown


def test_the_bell_is_on_every_page_and_shows_only_one_s_own(as_dot, client):
    bulk = start(as_dot, "verify", made(1))
    url = reverse("bulk_action", args=[bulk.pk])
    assert url in as_dot.get("/main/instances/").content.decode()
    client.force_login(factories.user("other", "administrators"))
    assert url not in client.get("/main/instances/").content.decode()


def test_the_list_has_all_of_them_with_as_many_queries_for_more(as_dot):
    secrets = made(2)

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            shown = as_dot.get(reverse("bulk_actions"))
        assert "Background actions" in text(shown)
        return len(seen)

    assert "No background actions yet" in text(as_dot.get(reverse("bulk_actions")))
    work(start(as_dot, "verify", secrets))
    few = queries()
    for _ in range(6):
        work(start(as_dot, "verify", secrets))
    assert queries() == few


def test_a_page_of_many_rows_costs_as_many_queries_as_one_of_two(as_dot, dot):
    def queries(count: int) -> int:
        bulk = start(as_dot, "drift", made(count))
        work(bulk)
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(reverse("bulk_action", args=[bulk.pk]))
        return len(seen)

    assert queries(8) == queries(2)


# ---------------------------------------------------------------- rotations


def failed_run(secret: Secret) -> Run:
    run = runs.start(secret, actor=factories.administrator())
    end(run, "failed", truth="old", code="policy")
    return run


def test_failed_runs_are_selected_in_the_list_of_rotations_and_retried(as_dot):
    first, second = (failed_run(secret) for secret in made(2))
    html = as_dot.get("/main/rotations/").content.decode()
    assert f'name="run" value="{first.pk}" form="bulk"' in html
    fine = runs.start(made(1)[0], actor=factories.administrator())
    end(fine, "succeeded")
    missed = runs.add("rotate", first.instance, factories.administrator(), secret=first.secret, state="ended")
    Run.objects.filter(pk=missed.pk).update(outcome=Run.Outcome.MISSED)
    given = {"action": "retry", "run": [first.pk, second.pk, fine.pk, missed.pk]}
    asked = as_dot.post(RUNS, given, headers=HTMX)
    assert "2 runs" in text(asked)
    assert f"Rotation of {first.secret.name}" in text(asked)
    confirm(as_dot, asked, RUNS)
    bulk = BulkAction.objects.get()
    work(bulk)
    assert Run.objects.filter(trigger="retry", campaign=bulk.pk).count() == 2
    assert f'name="run" value="{fine.pk}"' not in as_dot.get("/main/rotations/").content.decode()


@pytest.mark.parametrize(
    "query", ["key=team/pay", "tag=team%3Dweb", "user=root", "instance=web-x", "kind=key_pair"]
)
def test_all_that_match_are_those_of_every_filter_of_the_list(as_dot, query):
    key = key_states.create("team/pay", actor=factories.administrator())
    made(1, username="svc", tags={"team": "db"})
    wanted = factories.secret(
        instance=factories.instance(name="web-x"),
        username="root",
        kind="key_pair",
        key=key,
        tags={"team": "web"},
    )
    factories.settle(wanted)
    listed = as_dot.get(f"/main/secrets/?{query}").context["page"].rows
    assert [one.pk for one in listed] == [wanted.pk]
    asked = as_dot.post(SECRETS, {"action": "rotate", "all": "on", "filter": query}, headers=HTMX)
    confirm(as_dot, asked, reason="routine")
    assert [item.secret_id for item in BulkItem.objects.all()] == [wanted.pk]


def test_all_failed_runs_that_match_are_retried(as_dot):
    wanted = failed_run(made(1, name="apple/one")[0])
    failed_run(made(1, name="pear/one")[0])
    asked = as_dot.post(RUNS, {"action": "retry", "all": "on", "filter": "q=apple"}, headers=HTMX)
    confirm(as_dot, asked, RUNS)
    assert [item.retried for item in BulkAction.objects.get().items.all()] == [wanted]


def test_a_retry_that_failed_is_retried_by_its_newest_run(as_dot):
    first = failed_run(made(1)[0])
    asked = as_dot.post(RUNS, {"action": "retry", "run": first.pk}, headers=HTMX)
    confirm(as_dot, asked, RUNS)
    bulk = BulkAction.objects.get()
    work(bulk)
    second = Run.objects.get(trigger="retry")
    end(second, "failed", truth="old", code="policy")
    tasks.sweep()
    asked = as_dot.post("/all/rotations/bulk/", {"again": bulk.pk, "action": "retry"}, headers=HTMX)
    assert fields(asked)["ids"] == str(second.pk)


def test_no_failed_run_selected_is_said(as_dot):
    answer = as_dot.post(RUNS, {"run": str(uuid.uuid4())}, headers=HTMX)
    assert answer.status_code == 409
    assert "Select at least one run that ended without success." in text(answer)


def test_who_may_retry_nothing_is_refused(client, aud):
    run = failed_run(made(1)[0])
    client.force_login(aud)
    assert client.post(RUNS, {"run": run.pk}, headers=HTMX).status_code == 403


# ---------------------------------------------------------------- paused and cancelled


def test_an_action_is_paused_resumed_and_cancelled_from_its_page(as_dot):
    bulk = start(as_dot, "verify", made(2))
    url = reverse("bulk_action", args=[bulk.pk])
    assert "Pause" in text(as_dot.get(url))
    as_dot.post(reverse("bulk_pause", args=[bulk.pk]))
    page = as_dot.get(url)
    shown = text(page)
    assert "Paused" in shown
    assert "No further row is begun until you choose Resume" in shown
    assert "hx-trigger" not in page.content.decode().partition('id="bulk-progress"')[2][:300]
    assert "Paused: 0 %" in text(as_dot.get("/all/overview/"))
    as_dot.post(reverse("bulk_resume", args=[bulk.pk]))
    assert "Running" in text(as_dot.get(url))
    as_dot.post(reverse("bulk_cancel", args=[bulk.pk]))
    shown = text(as_dot.get(url))
    assert "Cancelled 2" in shown
    assert "Rows that had not begun were not done" in shown
    assert "Nothing was changed." in shown
    assert "Pause" not in shown


def test_the_question_before_a_cancellation_says_what_is_done_and_what_is_not(as_dot):
    done, active, _ = secrets = made(3)
    bulk = start(as_dot, "verify", secrets)
    for item in bulk.items.filter(secret__in=[done, active]):
        bulk_actions._carry(bulk, item.pk, lambda run: None)
    end(done.runs.get(), "succeeded")
    asked = text(as_dot.get(reverse("bulk_cancel", args=[bulk.pk]), headers=HTMX))
    for words in ("1 secret is done", "1 secret has not begun", "1 secret is under way"):
        assert words in asked, words


def test_what_has_ended_is_neither_paused_nor_cancelled(as_dot):
    bulk = start(as_dot, "tag", made(1), tags="team=db", removed="")
    work(bulk)
    for name in ("bulk_pause", "bulk_resume", "bulk_cancel"):
        answer = as_dot.post(reverse(name, args=[bulk.pk]))
        assert answer.status_code == 409
        assert "has ended or was cancelled" in text(answer)
