"""The audit screens: who reads them, what they show, and that every deed leaves its one event."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation import runs
from secrets_app import origin
from secrets_app.audit import append_only, trail
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, AuditHead, Refusals, Secret
from secrets_app.secrets import versions
from tests import factories
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

VALUE = "canary-71b3:<b>&amp;"
HTMX = {"HX-Request": "true", "HX-Target": "dialog"}
EVENTS = AuditEvent._meta.db_table


@pytest.fixture(autouse=True)
def _file(settings, tmp_path):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def as_dot(dot) -> Client:
    return signed_in(dot)


@pytest.fixture
def as_aud(aud) -> Client:
    return signed_in(aud)


def text(answer) -> str:
    return answer.content.decode()


def streamed(answer) -> str:
    return b"".join(answer.streaming_content).decode()


def sequences(answer) -> list[int]:
    return [event.sequence for event in answer.context["page"].rows]


# ---------------------------------------------------------------- who reads it

PAGES = ("audit", "audit_export_csv", "audit_export_json")


@pytest.mark.parametrize("who", ["ann", "hal"])
def test_who_may_not_read_the_trail_gets_no_part_of_it(request, who):
    client = signed_in(request.getfixturevalue(who))
    for name in PAGES:
        assert client.get(reverse(name)).status_code == 403
    assert client.get(reverse("audit_event", args=[1])).status_code == 403
    assert client.post(reverse("audit_verify")).status_code == 403
    assert client.post(reverse("audit_look_up"), {"text": "x"}).status_code == 403
    assert reverse("audit") not in text(client.get("/get-started/"))


def test_a_stranger_is_sent_to_sign_in():
    for name in (*PAGES, "audit_look_up"):
        assert Client().get(reverse(name))["Location"].startswith(reverse("account_login"))


def test_aud_12_an_auditor_reads_everything_verifies_and_looks_nothing_up(as_aud):
    secret = factories.secret(initial=VALUE)
    page = as_aud.get(reverse("audit"))
    assert "Verify" in text(page)
    assert "Look up a value" not in text(page)
    assert f'href="{reverse("audit")}"' in text(page)
    for event in AuditEvent.objects.all():
        answer = as_aud.get(reverse("audit_event", args=[event.sequence]))
        assert answer.status_code == 200
        assert VALUE not in text(answer)
    assert as_aud.post(reverse("audit_look_up"), {"text": VALUE}).status_code == 403
    before = Secret.objects.values().get(pk=secret.pk)
    assert as_aud.post(reverse("secret_delete", args=["main", secret.pk]), {"how": "now"}).status_code == 403
    assert Secret.objects.values().get(pk=secret.pk) == before


# ---------------------------------------------------------------- the list


def test_the_list_is_newest_first_and_pages_by_sequence(as_dot, dot):
    for number in range(60):
        trail.record("kms:Test", f"acs:kms:main:1:thing/{number}", actor=dot.principal)
    top = AuditEvent.objects.first().sequence
    first = as_dot.get(reverse("audit"))
    assert sequences(first) == list(range(top, top - 25, -1))
    older = as_dot.get(f"{reverse('audit')}?before={first.context['page'].older}")
    assert sequences(older) == list(range(top - 25, top - 50, -1))
    newer = as_dot.get(f"{reverse('audit')}?after={older.context['page'].newer}")
    assert sequences(newer) == sequences(first)
    assert newer.context["page"].newer is None
    assert "60 events" in text(as_dot.get(f"{reverse('audit')}?action=kms:Test"))


def test_the_last_page_ends(as_dot):
    page = as_dot.get(f"{reverse('audit')}?before=3").context["page"]
    assert [event.sequence for event in page.rows] == [2, 1]
    assert page.older is None


def test_a_page_of_any_depth_is_read_with_as_many_queries_and_without_an_offset(as_dot, dot):
    for _ in range(80):
        trail.record("kms:Test", "x", actor=dot.principal)
    counts = []
    for query in ("", "?before=60"):
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(reverse("audit") + query)
        counts.append(len(seen))
        assert not any("OFFSET" in one["sql"] for one in seen)
    assert counts[0] == counts[1]


def test_filters_stand_in_the_url(as_dot, dot, ann):
    with origin.bind(address="10.9.8.7"):
        trail.record("kms:Test", "acs:kms:main:1:thing/a", actor=ann.principal, outcome="denied")
    mine = AuditEvent.objects.first()
    earlier, later = "2020-01-01T00:00", "2099-01-01T00:00"
    for query in (
        "actor=ann", "action=test", "resource=thing/a", "outcome=denied", "address=10.9.8.7",
        f"actor=ann&since={earlier}&until={later}",
    ):  # fmt: skip
        found = sequences(as_dot.get(f"{reverse('audit')}?{query}"))
        assert mine.sequence in found
        assert set(found) < set(AuditEvent.objects.values_list("sequence", flat=True))
    for query in ("actor=nobody", f"since={later}", f"until={earlier}", "address=10.9.8.8"):
        assert "No matching events" in text(as_dot.get(f"{reverse('audit')}?{query}"))
    assert sequences(as_dot.get(f"{reverse('audit')}?since=never&address=nowhere"))[0] >= mine.sequence


def test_an_event_shows_every_field_and_leads_to_its_run(as_dot, dot):
    secret = factories.secret()
    factories.settle(secret)
    with origin.bind(request_id="req-1", address="10.9.8.7", session="ses-1"):
        run = runs.start(secret, actor=dot.principal)
    event = AuditEvent.objects.get(request_id="req-1")
    page = text(as_dot.get(reverse("audit_event", args=[event.sequence])))
    for shown in ("req-1", "10.9.8.7", "ses-1", event.mac, event.decision, event.resource, str(secret.pk)):
        assert shown in page
    assert reverse("run", args=["main", run.pk]) in page
    assert as_dot.get(reverse("audit_event", args=[10**6])).status_code == 404


def test_a_secret_has_its_own_events_for_who_may_read_the_trail(as_dot, hal):
    one, other = factories.secret(), factories.secret()
    where = reverse("secret", args=["main", one.pk]) + "?tab=audit"
    answer = as_dot.get(where)
    assert {event.resource_id for event in answer.context["page"].rows} == {one.pk}
    assert other.name not in text(answer)
    assert signed_in(hal).get(where).status_code == 404
    assert "tab=audit" not in text(signed_in(hal).get(reverse("secret", args=["main", one.pk])))


# ---------------------------------------------------------------- verify


def test_verify_says_whole_or_names_the_first_bad_row_and_is_recorded(as_aud):
    factories.secret()
    page = text(as_aud.post(reverse("audit_verify")))
    assert "Whole." in page
    assert "Nothing vouches for these events yet" in page
    append_only.lift()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {EVENTS} SET reason = 'x' WHERE sequence = 3")  # noqa: S608
    append_only.install()
    page = text(as_aud.post(reverse("audit_verify")))
    assert "Broken." in page
    assert "Event 3 is not as it was written" in page
    outcomes = AuditEvent.objects.filter(action="kms:VerifyAuditTrail").order_by("sequence")
    assert list(outcomes.values_list("outcome", flat=True)) == ["succeeded", "failed"]
    assert as_aud.get(reverse("audit_verify")).status_code == 405


# ---------------------------------------------------------------- export


def test_the_export_is_what_the_filter_shows_and_no_formula_runs(as_dot, dot):
    for sign in ("=1+1", "+1", "-1", "@x", "\tx"):
        trail.record("kms:Test", "x", actor=dot.principal, reason=sign, details={"n": [1]})
    lines = list(
        csv.DictReader(io.StringIO(streamed(as_dot.get(reverse("audit_export_csv") + "?action=Test"))))
    )
    assert [line["reason"] for line in lines] == ["'\tx", "'@x", "'-1", "'+1", "'=1+1"]
    assert lines[0]["details"] == '{"n": [1]}'
    parsed = [
        json.loads(line)
        for line in streamed(as_dot.get(reverse("audit_export_json") + "?action=Test")).splitlines()
    ]
    assert [line["reason"] for line in parsed] == ["\tx", "@x", "-1", "+1", "=1+1"]
    assert parsed[0]["details"] == {"n": [1]}
    event = AuditEvent.objects.filter(action="kms:ExportAuditEvents").first()
    assert event.details == {"format": "jsonl", "filters": {"action": "Test"}}


# ---------------------------------------------------------------- look up a value


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial=VALUE)
    factories.settle(made)
    return made


@pytest.mark.django_db(transaction=True)
class TestLookUp:
    def find(self, client: Client, given: str) -> str:
        answer = client.post(reverse("audit_look_up"), {"text": given}, headers=HTMX)
        assert answer.status_code == 200
        assert "no-store" in answer["Cache-Control"]
        return text(answer)

    def test_a_leaked_value_is_recognised_with_its_secret_version_and_readers(self, as_dot, dot, secret):
        version = secret.labelled("current")
        versions.reveal(version, actor=dot.principal, reason="on call")
        new = versions.Value("svc", password=Plaintext("another-value-22"))
        versions.promote(versions.stage(secret, new, origin="generated", actor=dot.principal))
        page = self.find(as_dot, VALUE)
        assert secret.name in page
        assert version.version_id in page
        assert "No user" not in page
        assert re.search(r"from\s.*\sto\s", page, re.DOTALL)
        assert "until now" in self.find(as_dot, "another-value-22")
        assert "No user" in self.find(as_dot, "another-value-22\n")

    def test_a_key_is_recognised_however_it_is_written(self, as_dot):
        pair = key_pairs.generate("ed25519")
        key = factories.secret(
            kind="key_pair", key_algorithm="ed25519", initial=pair.private_key.reveal(), username="git"
        )
        assert key.name in self.find(as_dot, "\n" + pair.private_key.reveal() + "\n\n")

    def test_a_text_that_never_was_a_value_is_not_found(self, as_dot, secret):
        for other in (VALUE + "x", VALUE[:-1], VALUE.upper(), secret.labelled("current").value_mark):
            assert "Not found." in self.find(as_dot, other)

    def test_the_look_up_is_recorded_and_the_text_is_nowhere(self, as_dot, secret, caplog):
        with CaptureQueriesContext(connection) as seen:
            page = self.find(as_dot, VALUE)
        event = AuditEvent.objects.get(action="kms:LookUpValue")
        assert event.details == {"found": [secret.labelled("current").version_id]}
        everywhere = [page, caplog.text, str(vars(event)), json.dumps(dict(as_dot.session))]
        everywhere += [one["sql"] for one in seen]
        assert not any("canary-71b3" in place for place in everywhere)

    def test_a_form_that_is_refused_does_not_repeat_the_text(self, as_dot):
        answer = as_dot.post(reverse("audit_look_up"), {"text": "canary-71b3" * 10_000}, headers=HTMX)
        assert answer.status_code == 422
        assert "canary-71b3" not in text(answer)
        assert as_dot.post(reverse("audit_look_up"), {"text": ""}, headers=HTMX).status_code == 422

    def test_where_it_cannot_be_recorded_there_is_no_answer(self, as_dot, secret):
        with connection.execute_wrapper(refusing):
            answer = as_dot.post(reverse("audit_look_up"), {"text": VALUE}, headers=HTMX)
        assert answer.status_code == 503
        assert secret.name not in text(answer)


# ---------------------------------------------------------------- it cannot be written


def refusing(execute, sql, params, many, context):
    if f'INSERT INTO "{EVENTS}"' in sql:
        raise DatabaseError("the disk is full")
    return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
class TestNothingIsRecorded:
    @pytest.fixture(autouse=True)
    def _full(self, secret, as_dot):
        with connection.execute_wrapper(refusing):
            yield

    def test_aud_03_no_value_leaves(self, as_dot, secret):
        for headers in (HTMX, None):
            answer = as_dot.post(
                reverse("secret_reveal", args=["main", secret.pk]), {"reason": "x"}, headers=headers
            )
            assert answer.status_code == 503
            assert "canary-71b3" not in text(answer)
            assert "This cannot be recorded" in text(answer)

    def test_aud_03_nothing_changes(self, as_dot, secret):
        for name, given in (
            ("secret_rotate", {"reason": "routine"}),
            ("secret_delete", {"how": "plan", "days": "30"}),
        ):
            assert as_dot.post(reverse(name, args=["main", secret.pk]), given).status_code == 503
        secret.refresh_from_db()
        assert secret.is_enabled
        assert not secret.runs.active().exists()

    def test_aud_03_nobody_is_signed_in(self, dot):
        client = Client()
        answer = client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
        assert answer.status_code == 503
        assert "_auth_user_id" not in client.session
        assert client.get(reverse("audit")).status_code == 302

    def test_aud_03_who_wants_to_leave_may(self, as_dot):
        as_dot.post(reverse("account_logout"))
        assert "_auth_user_id" not in as_dot.session


# ---------------------------------------------------------------- people


def of_people() -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.filter(action__in=["kms:SignIn", "kms:SignOut", "kms:EndSession"])
    return list(rows.order_by("sequence").values_list("action", "outcome", "actor_name"))


def test_coming_and_going_is_recorded(client, dot):
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD}, REMOTE_ADDR="10.1.1.1")
    client.post(reverse("account_logout"))
    assert of_people() == [("kms:SignIn", "succeeded", "dot"), ("kms:SignOut", "succeeded", "dot")]
    event = AuditEvent.objects.get(action="kms:SignIn")
    assert (event.address, event.resource_id) == ("10.1.1.1", dot.pk)


def test_a_failed_sign_in_is_recorded_without_what_was_typed(client, dot):
    for login in ("dot", "dot", "a-password-in-the-wrong-field"):
        client.post(reverse("account_login"), {"login": login, "password": "wrong wrong wrong"})
    events = AuditEvent.objects.filter(action="kms:SignIn").order_by("sequence")
    assert [(event.outcome, event.resource_id) for event in events] == [("denied", dot.pk), ("denied", None)]
    assert sum(row.count for row in Refusals.objects.all()) == 1
    everything = [str(vars(row)) for row in [*events, *Refusals.objects.all()]]
    assert not any("wrong" in one.replace("was wrong", "") for one in everything)


def test_a_disabled_person_s_attempt_is_recorded(client, dot):
    type(dot).objects.filter(pk=dot.pk).update(is_active=False)
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    (event,) = AuditEvent.objects.filter(action="kms:SignIn")
    assert (event.outcome, event.decision) == ("denied", "This user is disabled.")


def test_a_session_that_is_over_is_recorded_once(dot):
    client = signed_in(dot)
    session = client.session
    session["seen_at"], session["began_at"] = 0, 0
    session.save()
    client.get(reverse("audit"))
    client.get(reverse("audit"))
    assert [one[0] for one in of_people()] == ["kms:SignIn", "kms:EndSession"]


# ---------------------------------------------------------------- AUD-01


def test_the_console_can_follow_the_head(as_dot):
    assert AuditHead.objects.get().sequence == AuditEvent.objects.count()
    assert django_settings.AUDIT_KEY_FILE.exists()


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ({"verdict": "whole", "first_bad": None}, {"Verdict": "whole"}),
        ({"is_leak": True, "kept": False}, {"Is leak": "Yes", "Kept": "No"}),
        ({"filters": {}, "groups": [], "note": ""}, {}),
        ({"fingerprints": ["SHA256:a", "SHA256:b"]}, {"Fingerprints": "SHA256:a, SHA256:b"}),
        ({"filters": {"actor": "dot"}, "rows": 0}, {"Filters": "actor: dot", "Rows": "0"}),
    ],
)
def test_the_details_of_an_event_are_told_in_words_and_nothing_unknown_is(as_aud, details, shown):
    trail.record("kms:VerifyAuditTrail", "x", actor=factories.administrator(), details=details)
    event = AuditEvent.objects.filter(action="kms:VerifyAuditTrail").latest("sequence")
    answer = as_aud.get(reverse("audit_event", args=[event.sequence]))
    assert dict(answer.context["details"]) == shown
    for name, content in shown.items():
        assert f"<dt>{name}</dt><dd>{content}</dd>" in answer.content.decode()


@pytest.mark.parametrize(
    "query", ["after=999999999", "before=1", "before=0", "after=999999999&outcome=succeeded"]
)
def test_beyond_the_first_or_the_last_event_the_nearest_page_is_shown(as_dot, secret, query):
    every = list(AuditEvent.objects.filter(outcome="succeeded").values_list("sequence", flat=True))
    page = as_dot.get(f"/audit/?{query}").context["page"]
    assert [event.sequence for event in page.rows] == every
    assert (page.older, page.newer) == (None, None)


def test_before_the_first_event_the_oldest_page_is_shown_and_leads_to_newer_ones(as_dot, secret):
    as_dot.post("/lists/shown/", {"list": "audit", "rows": "25"})
    for number in range(60):
        trail.record("kms:Test", str(number), actor=secret.created_by)
    every = list(AuditEvent.objects.values_list("sequence", flat=True))
    page = as_dot.get("/audit/?before=1").context["page"]
    assert [event.sequence for event in page.rows] == every[-25:]
    assert (page.older, page.newer) == (None, every[-25])
    newer = as_dot.get(f"/audit/?after={page.newer}").context["page"]
    assert [event.sequence for event in newer.rows] == every[-50:-25]
    assert newer.older == every[-50 + 24]
