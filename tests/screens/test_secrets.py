"""The list of secrets, the page of one, and the first page of a new installation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.presentation import secret_states
from rotation import runs
from rotation.managed import credential_state
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app.models import AuditEvent, Secret
from tests import factories, times

pytestmark = pytest.mark.django_db

COLUMNS = [
    "Secret name", "Managed User", "instance", "Kind", "Credential", "Automatic rotation", "Next rotation",
    "last", "Status", "Actions",
]  # fmt: skip
VALUE = "a-value-that-nobody-may-read"


def url(name: str, secret: Secret | None = None, region: str = "main") -> str:
    return reverse(name, args=[region, secret.pk] if secret else [region])


def text(response) -> str:
    return response.content.decode()


def names(response) -> list[str]:
    return [secret.name for secret in response.context["page"].rows]


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize("name", ["secrets", "secret_create"])
def test_a_stranger_is_sent_to_sign_in(client, name):
    factories.region()
    answer = client.get(url(name))
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


def test_somebody_without_permissions_sees_neither_the_list_nor_that_a_secret_exists(client, ann):
    secret = factories.secret()
    client.force_login(ann)
    assert client.get(url("secrets")).status_code == 403
    assert client.get(url("secret", secret)).status_code == 404
    assert AuditEvent.objects.filter(actor=ann.principal, outcome="denied").exists()


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_readers_see_no_button_for_what_they_may_not_do(client, request, who):
    secret = factories.secret(initial=VALUE)
    client.force_login(request.getfixturevalue(who))
    for page in (url("secrets"), url("secret", secret), f"{url('secret', secret)}?tab=versions"):
        shown = text(client.get(page))
        assert secret.name in shown
        for name in ("secret_rotate", "secret_reveal"):
            assert url(name, secret) not in shown
        assert url("secret_create") not in shown


@pytest.mark.parametrize("who", ["hal", "aud", "ann"])
@pytest.mark.parametrize("name", ["secret_create", "secret_rotate", "secret_reveal"])
def test_what_one_may_not_do_cannot_be_done_by_its_address(client, request, who, name):
    secret = factories.secret(initial=VALUE)
    client.force_login(request.getfixturevalue(who))
    runs_before, secrets_before = Run.objects.count(), Secret.objects.count()
    where = url(name) if name == "secret_create" else url(name, secret)
    for answer in (client.get(where), client.post(where, {"reason": "routine"})):
        assert answer.status_code in {403, 404}
        assert VALUE not in text(answer)
    assert (Run.objects.count(), Secret.objects.count()) == (runs_before, secrets_before)


def test_only_posts_with_a_token_change_anything(dot):
    secret = factories.secret()
    factories.settle(secret)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(dot)
    for name in ("secret_rotate", "secret_reveal"):
        assert strict.post(url(name, secret), {"reason": "routine"}).status_code == 403
        assert strict.put(url(name, secret)).status_code in {403, 405}
    assert strict.post(url("secret_create"), {}).status_code == 403
    strict.get(url("secret_rotate", secret))
    assert not secret.runs.exists()


# ---------------------------------------------------------------- the list


def test_the_list_has_the_columns_that_a_kms_user_knows(as_dot):
    factories.secret()
    shown = text(as_dot.get(url("secrets"))).partition("<thead>")[2]
    places = [shown.index(f">{name}<") for name in COLUMNS]
    assert places == sorted(places)
    assert "Rotate Immediately: " in shown


def test_an_empty_list_points_to_create_secret_and_get_started(as_dot):
    factories.region()
    shown = text(as_dot.get(url("secrets")))
    assert "No secrets yet" in shown
    assert url("secret_create") in shown
    assert reverse("get_started") in shown


def test_a_search_that_finds_nothing_offers_the_way_back(as_dot):
    factories.secret()
    shown = text(as_dot.get(url("secrets"), {"q": "no such thing"}))
    assert "No matching secrets" in shown
    assert f'href="{url("secrets")}"' in shown


def test_a_region_shows_its_own_secrets_and_all_regions_show_every_one(as_dot):
    here = factories.secret()
    there = factories.secret(instance=factories.instance(region=factories.region("north")))
    assert names(as_dot.get(url("secrets"))) == [here.name]
    assert names(as_dot.get(url("secrets", region="north"))) == [there.name]
    assert set(names(as_dot.get(url("secrets", region="all")))) == {here.name, there.name}
    assert as_dot.get(url("secrets", region="nowhere")).status_code == 404
    assert as_dot.get(url("secret", there)).status_code == 404


def test_a_purged_secret_leaves_the_list(as_dot):
    secret = factories.secret()
    Secret.objects.filter(pk=secret.pk).update(purged_at=timezone.now())
    assert names(as_dot.get(url("secrets"))) == []


@pytest.mark.parametrize("by", ["name", "username", "instance", "address", "id"])
def test_search_finds_a_secret_by_what_one_knows_of_it(as_dot, by):
    factories.secret()
    wanted = factories.secret(
        name="billing", username="oracle", instance=factories.instance(name="db-77", address="127.77.7.7")
    )
    words = {
        "name": "BILL",
        "username": "oracle",
        "instance": "db-77",
        "address": "127.77",
        "id": wanted.managed.instance.instance_id,
    }
    assert names(as_dot.get(url("secrets"), {"q": words[by]})) == [wanted.name]


def test_filters_narrow_the_list_and_stay_in_the_url(as_dot):
    quiet, rotating, leaving = (factories.secret() for _ in range(3))
    ManagedAccount.objects.filter(secret__in=[quiet, rotating]).update(credential="in_sync")
    runs.start(rotating, actor=factories.administrator())
    Secret.objects.filter(pk=leaving.pk).update(deletion_planned_at=timezone.now())

    assert names(as_dot.get(url("secrets"), {"credential": "in_sync"})) == [quiet.name]
    assert names(as_dot.get(url("secrets"), {"credential": "rotating"})) == [rotating.name]
    shown = as_dot.get(url("secrets"), {"status": "pending_deletion"})
    assert names(shown) == [leaving.name]
    assert 'value="pending_deletion" selected' in text(shown)
    assert "status=pending_deletion&amp;sort=" in text(shown)


@pytest.mark.parametrize(
    "query", [{"credential": "x"}, {"status": "'"}, {"sort": "password"}, {"page": "-1"}]
)
def test_a_query_that_makes_no_sense_narrows_nothing(as_dot, query):
    secret = factories.secret()
    assert names(as_dot.get(url("secrets"), query)) == [secret.name]


@pytest.mark.parametrize(
    "sort", ["name", "instance", "user", "credential", "next", "last", "status", "created"]
)
def test_the_list_sorts_by_each_column_both_ways(as_dot, sort):
    instance = factories.instance()
    secrets = [factories.secret(instance=instance, username=user) for user in ("alpha", "beta", "gamma")]
    times.in_turn(*secrets)
    up = names(as_dot.get(url("secrets"), {"sort": sort}))
    down = names(as_dot.get(url("secrets"), {"sort": f"-{sort}"}))
    assert sorted(up) == sorted(down)
    if sort in {"name", "user", "created"}:
        assert up == down[::-1]


def test_the_number_of_queries_does_not_grow_with_the_rows(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            assert as_dot.get(url("secrets", region="all")).status_code == 200
        return len(caught)

    factories.secret(tags={"team": "web"})
    queries()  # what is remembered after the first time
    few = queries()
    for _ in range(6):
        runs.start(factories.secret(initial=VALUE, is_on=True), actor=factories.administrator())
    assert queries() == few


def test_a_page_holds_25_rows_and_says_how_many_there_are(as_dot):
    instance = factories.instance()
    for number in range(27):
        factories.secret(instance=instance, username=f"user{number}")
    first = as_dot.get(url("secrets"))
    assert len(first.context["page"].rows) == 25
    assert "27 items" in text(first)
    assert len(as_dot.get(url("secrets"), {"page": 2}).context["page"].rows) == 2


def test_text_that_others_wrote_is_escaped_everywhere(as_dot):
    evil = "<img src=x onerror=alert(1)>"
    instance = factories.instance(name="web-evil")
    secret = factories.secret(instance=instance, description=evil, tags={"note": evil})
    Instance.objects.filter(pk=instance.pk).update(
        name=evil, os_name=evil, accounts=[evil], checks=[{"name": evil, "mark": evil, "sentence": evil}]
    )
    ManagedAccount.objects.filter(secret=secret).update(credential="blocked", credential_sentence=evil)
    for page in (url("secrets"), url("secret", secret), url("secret_create"), url("secret_rotate", secret)):
        assert "<img src=x" not in text(as_dot.get(page))
    note = as_dot.get(reverse("secret_create_instance", args=["main"]), {"instance": evil})
    assert "<img src=x" not in text(note)
    assert "&lt;img" in text(note)


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("tab", ["overview", "versions", "history"])
def test_no_part_of_the_page_holds_a_value(as_dot, tab):
    secret = factories.secret(initial=VALUE)
    shown = text(as_dot.get(url("secret", secret), {"tab": tab}))
    assert secret.name in shown
    assert secret.arn in shown
    assert VALUE not in shown


def test_an_unknown_tab_does_not_exist(as_dot):
    assert as_dot.get(url("secret", factories.secret()), {"tab": "nonsense"}).status_code == 404


def test_the_overview_says_what_is_true_and_what_to_do_next(as_dot):
    secret = factories.secret(is_on=True, period=timedelta(days=7))
    ManagedAccount.objects.filter(secret=secret).update(credential="out_of_sync")
    shown = text(as_dot.get(url("secret", secret)))
    fact = secret_states.CREDENTIALS[ManagedAccount.Credential.OUT_OF_SYNC]
    for sentence in ("Enabled", fact.label, fact.sentence, fact.next_step, "On, every 7 days"):
        assert sentence in shown


def test_while_a_rotation_is_under_way_the_button_says_whose(as_dot, dot):
    secret = factories.secret()
    run = runs.start(secret, actor=dot.principal)
    shown = text(as_dot.get(url("secret", secret)))
    assert "Queued: requested by dot" in shown
    assert reverse("run", args=["main", run.pk]) in shown
    assert url("secret_rotate", secret) not in shown


def test_a_verification_does_not_take_the_button_away(as_dot):
    secret = factories.secret(initial=VALUE)
    assert secret.runs.get().kind == Run.Kind.VERIFY
    assert url("secret_rotate", secret) in text(as_dot.get(url("secret", secret)))


def test_versions_name_their_labels_and_origin(as_dot):
    secret = factories.secret(initial=VALUE)
    version = secret.labelled("current")
    shown = text(as_dot.get(url("secret", secret), {"tab": "versions"}))
    for word in (version.version_id, "ACSCurrent", "Entered at creation", "Get secret value"):
        assert word in shown


def test_the_history_lists_the_runs_of_this_secret_only(as_dot):
    secret, other = factories.secret(initial=VALUE), factories.secret(initial=VALUE)
    shown = text(as_dot.get(url("secret", secret), {"tab": "history"}))
    assert reverse("run", args=["main", secret.runs.get().pk]) in shown
    assert reverse("run", args=["main", other.runs.get().pk]) not in shown


def test_the_versions_and_history_ask_as_often_for_many_rows_as_for_one(as_dot):
    secret = factories.secret(initial=VALUE)

    def queries(tab: str) -> int:
        with CaptureQueriesContext(connection) as caught:
            as_dot.get(url("secret", secret), {"tab": tab})
        return len(caught)

    few = {tab: queries(tab) for tab in ("versions", "history")}
    for _ in range(4):
        Run.objects.filter(secret=secret).update(state="ended", outcome="cancelled")
        runs.start(
            secret,
            actor=factories.administrator(),
            value=factories.Plaintext("Another-Value-here-0123456789-abcd"),
        )
    for tab, count in few.items():
        # One more may be asked for the rows that hang on the first run.
        assert queries(tab) <= count + 1


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("state", list(ManagedAccount.Credential))
def test_every_credential_state_has_a_sentence_and_a_tone(state):
    fact = secret_states.CREDENTIALS[state]
    assert fact.label
    assert fact.sentence.endswith(".")
    assert fact.tone in {"ok", "info", "warning", "danger"}


def test_automatic_rotation_says_when_it_is_off_on_paused_or_overdue():
    secret = factories.secret(is_on=True, period=timedelta(hours=6))
    assert secret_states.automatic(secret).label == "On, every 6 hours"
    secret.schedule.next_at = timezone.now() - timedelta(hours=1)
    assert secret_states.automatic(secret).label.startswith("Overdue since")
    secret.schedule.paused_at = timezone.now()
    assert secret_states.automatic(secret).label == "Paused"
    secret.schedule.is_on = False
    assert secret_states.automatic(secret).label == "Off"
    assert secret_states.automatic(Secret()).label == "Not rotated"  # it has no account


def test_a_secret_that_rotates_is_neither_in_sync_nor_out_of_sync():
    account = factories.secret(initial=VALUE).managed
    assert secret_states.credential(account, is_rotating=True).label == "Rotating"


# ---------------------------------------------------------------- get started


def test_a_new_installation_opens_on_get_started_with_nothing_ticked(as_dot):
    assert as_dot.get("/")["Location"] == reverse("get_started")
    shown = text(as_dot.get(reverse("get_started")))
    assert "0 of 4 done" in shown
    for title in (
        "Grant permissions",
        "Create Secret",
        "Monitor its rotation",
        "Log on with the current secret",
    ):
        assert title in shown


def test_each_step_is_ticked_when_it_is_true_and_then_the_overview_opens(as_dot):
    def done() -> int:
        return as_dot.get(reverse("get_started")).context["progress"].done

    factories.instance(approved=False)
    assert done() == 0
    instance = factories.instance()
    assert done() == 1
    secret = factories.secret(instance=instance)
    assert done() == 2
    run = runs.start(secret, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(state="ended", outcome="succeeded")
    assert done() == 3
    Secret.objects.filter(pk=secret.pk).update(last_read_at=timezone.now())
    assert done() == 4
    assert as_dot.get("/")["Location"] == url("overview", region="all")


def test_who_cannot_take_the_first_steps_is_not_sent_to_them(client, hal):
    client.force_login(hal)
    assert client.get("/")["Location"] == url("secrets", region="all")


def test_a_secret_without_a_schedule_still_has_a_page(as_dot):
    secret = factories.secret()
    Schedule.objects.filter(secret=secret).delete()
    assert as_dot.get(url("secret", secret)).status_code == 200
    assert as_dot.get(url("secrets")).status_code == 200


def test_a_blocked_credential_names_its_reason(client, dot):
    secret = factories.secret()
    credential_state.note(secret.managed, "blocked", "Compare the key, then approve it.", "host_key_changed")
    client.force_login(dot)
    for page in (reverse("secrets", args=["main"]), reverse("secret", args=["main", secret.pk])):
        assert "Blocked: host key changed" in client.get(page).content.decode()


# ---------------------------------------------------------------- what is said is true of it


NOW = timezone.now()
FATES = {
    "kept": {},
    "pending": {"deletion_planned_at": NOW, "deletion_due_at": NOW},
    "purged": {"deletion_planned_at": NOW, "purged_at": NOW},
}


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("credential", ManagedAccount.Credential.values)
@pytest.mark.parametrize("fate", FATES)
def test_no_fact_says_that_it_rotates_where_it_does_not(fate, credential, is_on):
    secret = factories.secret(is_on=is_on, period=timedelta(days=7))
    Secret.objects.filter(pk=secret.pk).update(**FATES[fate])
    ManagedAccount.objects.filter(secret=secret).update(credential=credential)
    secret = Secret.objects.select_related("managed__instance", "schedule").get(pk=secret.pk)
    known = secret_states.facts(secret, is_rotating=False)
    assert "rotates" not in known.status.sentence
    if fate != "kept":
        told = [known.credential.next_step, known.automatic.next_step]
        assert not [text for text in told if "otate" in text]
        assert "rotates automatically" not in known.automatic.sentence
    assert ("rotates automatically" in known.automatic.sentence) == (is_on and fate == "kept")


@pytest.mark.parametrize(
    ("credential", "words"), [("out_of_sync", "Refused by the instance"), ("not_verified", "Not yet")]
)
def test_a_version_that_the_instance_refuses_does_not_wait_to_be_verified(as_dot, credential, words):
    secret = factories.secret(initial="a-first-value-1")
    ManagedAccount.objects.filter(secret=secret).update(credential=credential)
    shown = text(as_dot.get(url("secret", secret) + "?tab=versions"))
    assert [word for word in ("Refused by the instance", "Not yet") if word in shown] == [words]


@pytest.mark.parametrize("initial", [None, "a-first-value-1"])
def test_the_rotate_dialog_keeps_a_previous_value_only_where_there_is_one(as_dot, initial):
    secret = factories.secret(initial=initial)
    factories.settle(secret)
    shown = text(as_dot.get(url("secret_rotate", secret)))
    assert ("kept as previous" in shown) == bool(initial)
    assert ("is then proven to be refused" in shown) == bool(initial)
    assert ("Keyturn has no value of it yet" in shown) == (not initial)
