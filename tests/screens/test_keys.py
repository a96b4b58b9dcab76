"""Keys: the list, one key, and what is done to it, each with its right and its event."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rotation import tasks
from secrets_app import keyring
from secrets_app.keys import key_states, rewraps
from secrets_app.models import AuditEvent, Key, KeyVersion, Rewrap, SealedValue, Secret
from secrets_app.secrets import versions
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
CREATE = "/main/secrets/create/"


@pytest.fixture
def key(open_keyring) -> Key:
    return key_states.create("team/second", actor=factories.administrator())


@pytest.fixture
def filled(open_keyring) -> dict[str, object]:
    """A Create Secret form as a browser sends it, all three steps right."""
    factories.instance(name="web-main")
    return {
        "type": "ecs", "name": "web/svc", "instance": "web-main", "username": "svc", "kind": "password",
        "value": "the value that works now", "length": "32", "sets": ["lower", "upper", "digits"],
        "excluded": "", "description": "", "tags": "", "rotation": "off",
    }  # fmt: skip


def url(name: str, key: Key, query: str = "") -> str:
    return reverse(name, args=[key.pk]) + query


def text(response) -> str:
    return response.content.decode()


def states(key: Key) -> dict[int, str]:
    return dict(KeyVersion.objects.filter(key=key).values_list("number", "state"))


def actions_since(start: int) -> list[str]:
    return list(AuditEvent.objects.order_by("sequence").values_list("action", flat=True))[start:]


# ---------------------------------------------------------------- the list and one key


def test_the_list_shows_each_key_with_its_state_use_and_next_rotation(as_dot, key):
    factories.secret(key=key)
    key_states.disable(key, actor=factories.administrator())
    shown = text(as_dot.get(reverse("keys")))
    assert "keyturn/default" in shown
    assert "team/second" in shown
    assert "Disabled" in shown
    assert '<td class="cell-number" data-label="Used by secrets">1</td>' in shown
    assert shown.count("made <time") == 1  # a disabled key has no primary version
    assert 'href="/keys/" aria-current="page"' in shown


def test_who_may_not_list_keys_sees_neither_the_list_nor_the_way_there(client, ann, hal, key):
    for user in (ann, hal):
        client.force_login(user)
        assert client.get(reverse("keys")).status_code == 403
    assert 'href="/keys/"' not in text(client.get("/all/secrets/"))


def test_a_key_that_one_may_not_describe_does_not_exist(as_dot, key):
    factories.deny("kms:DescribeKey")
    for name in ("key", "key_disable", "key_rewrap", "key_progress", "key_destroy"):
        assert as_dot.get(url(name, key)).status_code == 404
    assert "team/second" not in text(as_dot.get(reverse("keys")))


def test_an_auditor_sees_keys_and_is_offered_nothing_to_do(client, aud, key):
    client.force_login(aud)
    shown = text(client.get(url("key", key)))
    assert "team/second" in shown
    for word in ("New version", "key_rewrap", "/disable/", "/destroy/", "/enable/"):
        assert word not in shown


POSTS = [
    ("key_new_version", "kms:UpdateKey", {}),
    ("key_rewrap", "kms:UpdateKey", {"target": "team/second"}),
    ("key_disable", "kms:DisableKey", {"alias": "team/second"}),
    ("key_enable", "kms:EnableKey", {}),
    ("key_destroy", "kms:ScheduleKeyDeletion", {"alias": "team/second", "days": "7"}),
    ("key_cancel", "kms:CancelKeyDeletion", {}),
]


@pytest.mark.parametrize(("name", "action", "sent"), POSTS)
def test_each_change_needs_its_own_right_and_the_refusal_is_recorded(as_dot, key, name, action, sent):
    if name == "key_enable":
        key_states.disable(key, actor=factories.administrator())
    factories.deny(action)
    before = states(key)
    assert as_dot.post(url(name, key), sent).status_code == 403
    assert states(key) == before
    assert not Rewrap.objects.exists()
    denied = AuditEvent.objects.get(outcome="denied")
    assert (denied.action, denied.resource) == (action, key.arn)


# ---------------------------------------------------------------- changes


def test_a_key_is_created_and_its_page_opens(as_dot):
    answer = as_dot.post(reverse("key_create"), {"alias": "team/new", "description": "for the team"})
    made = Key.objects.get(alias="team/new")
    assert answer["Location"] == url("key", made)
    assert "for the team" in text(as_dot.get(url("key", made)))


@pytest.mark.parametrize("alias", ["", "a b", "keyturn/default", "<b>"])
def test_an_alias_that_does_not_fit_is_refused_beside_its_field(as_dot, key, alias):
    before = Key.objects.count()
    answer = as_dot.post(reverse("key_create"), {"alias": alias}, headers=HTMX)
    assert answer.status_code == 422
    assert "field-error" in text(answer)
    assert Key.objects.count() == before


def test_a_new_version_takes_over_with_one_event(as_dot, key):
    start = AuditEvent.objects.count()
    as_dot.post(url("key_new_version", key))
    assert states(key) == {1: "enabled", 2: "primary"}
    assert actions_since(start) == ["kms:UpdateKey"]


def test_the_disable_dialog_counts_and_lists_what_becomes_unreadable(as_dot):
    names = [factories.secret(initial=f"the-password-{n}-1").name for n in range(2)]
    shown = text(as_dot.get(url("key_disable", keyring.default_key()), headers=HTMX))
    assert "2 secrets become unreadable" in shown
    assert all(name in shown for name in names)
    assert "2 management credentials" in shown


def test_a_secret_that_has_only_an_older_value_under_the_key_is_listed_too(as_dot, key):
    made = factories.secret(initial="the-password-1")
    Secret.objects.filter(pk=made.pk).update(key=key)
    for one in (key, keyring.default_key()):
        assert made.name in text(as_dot.get(url("key_disable", one), headers=HTMX))


def test_the_disable_dialog_names_no_secret_that_the_person_may_not_describe(as_dot, key):
    made = factories.secret(initial="the-password-1", key=key)
    factories.deny("kms:DescribeSecret")
    shown = text(as_dot.get(url("key_disable", key), headers=HTMX))
    assert "1 secret becomes unreadable" in shown
    assert made.name not in shown


def test_a_key_is_disabled_only_with_its_alias_typed(as_dot, key):
    for typed in ("", "team/secon", "TEAM/SECOND"):
        answer = as_dot.post(url("key_disable", key), {"alias": typed}, headers=HTMX)
        assert answer.status_code == 422
    assert states(key) == {1: "primary"}
    start = AuditEvent.objects.count()
    as_dot.post(url("key_disable", key), {"alias": "team/second"})
    assert states(key) == {1: "disabled"}
    as_dot.post(url("key_enable", key))
    assert states(key) == {1: "primary"}
    assert actions_since(start) == ["kms:DisableKey", "kms:EnableKey"]


def test_a_second_person_s_click_changes_nothing_and_says_so(as_dot, key):
    assert as_dot.post(url("key_enable", key)).status_code == 409
    assert as_dot.post(url("key_cancel", key)).status_code == 409
    key_states.disable(key, actor=factories.administrator())
    assert as_dot.post(url("key_new_version", key)).status_code == 409
    assert as_dot.post(url("key_disable", key), {"alias": key.alias}).status_code == 409


def test_a_key_in_use_is_not_destroyed_and_the_dialog_says_what_to_do(as_dot, key):
    factories.secret(initial="the-password-1", key=key)
    asked = as_dot.get(url("key_destroy", key), headers=HTMX)
    answer = as_dot.post(url("key_destroy", key), {"alias": key.alias, "days": "7"}, headers=HTMX)
    assert "Rewrap first" in text(asked)
    assert "Rewrap first" in text(answer)
    assert answer.status_code == 409
    assert states(key) == {1: "primary"}


@pytest.mark.parametrize(
    "sent", [{"days": "6"}, {"days": "31"}, {"days": ""}, {"alias": "other"}, {"alias": ""}]
)
def test_a_destruction_needs_seven_to_thirty_days_and_the_alias(as_dot, key, sent):
    form = {"alias": key.alias, "days": "7"} | sent
    assert as_dot.post(url("key_destroy", key), form, headers=HTMX).status_code == 422
    assert states(key) == {1: "primary"}


def test_a_destruction_is_planned_and_cancelled_with_one_event_each(as_dot, key):
    start = AuditEvent.objects.count()
    as_dot.post(url("key_destroy", key), {"alias": key.alias, "days": "7"})
    assert states(key) == {1: "scheduled"}
    assert "Scheduled for destruction" in text(as_dot.get(url("key", key)))
    as_dot.post(url("key_cancel", key))
    assert states(key) == {1: "disabled"}
    assert actions_since(start) == ["kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"]


def test_an_older_version_is_destroyed_on_its_own(as_dot, key):
    key_states.new_version(key, actor=factories.administrator())
    as_dot.post(url("key_destroy", key, "?version=1"), {"alias": key.alias, "days": "7"})
    assert states(key) == {1: "scheduled", 2: "primary"}
    as_dot.post(url("key_cancel", key, "?version=1"))
    assert states(key) == {1: "enabled", 2: "primary"}


@pytest.mark.parametrize("number", ["9", "x", "1.0", "-1"])
def test_a_version_that_is_not_there_is_not_taken_for_the_whole_key(as_dot, key, number):
    sent = {"alias": key.alias, "days": "7"}
    assert as_dot.post(url("key_destroy", key, f"?version={number}"), sent).status_code == 404
    assert as_dot.post(url("key_cancel", key, f"?version={number}")).status_code == 404
    assert states(key) == {1: "primary"}


# ---------------------------------------------------------------- rewrap


def test_a_rewrap_runs_without_the_page_which_shows_how_far_it_is(
    as_dot, monkeypatch, django_capture_on_commit_callbacks
):
    sent: list[str] = []
    monkeypatch.setattr(tasks.rewrap, "apply_async", lambda ids, **_: sent.extend(ids))
    monkeypatch.setattr(rewraps, "BATCH", 2)
    for number in range(2):
        factories.secret(initial=f"the-password-{number}-1")
    key = keyring.default_key()
    newest = key_states.new_version(key, actor=factories.administrator())
    with django_capture_on_commit_callbacks(execute=True):
        as_dot.post(url("key_rewrap", key), {"target": key.alias})
    work = Rewrap.objects.get()
    assert sent == [str(work.pk)]
    tasks.rewrap(sent.pop())
    shown = text(as_dot.get(url("key", key)))
    assert f"2 of {work.total} values" in shown
    assert 'hx-trigger="every 1s"' in shown
    sent.clear()
    for found in rewraps.due():  # whoever was to go on with it is gone
        tasks.rewrap(str(found.pk))
    while sent:
        tasks.rewrap(sent.pop())
    assert not SealedValue.objects.exclude(key_version=newest).exists()
    shown = text(as_dot.get(url("key_progress", key)))
    assert f"{work.total} values moved" in shown
    assert "hx-trigger" not in shown


def test_the_sweep_finds_a_rewrap_that_nobody_carries(key, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(tasks.rewrap, "apply_async", lambda ids, **_: sent.extend(ids))
    made = rewraps.start(key, key, actor=factories.administrator())
    tasks.sweep()
    assert sent == [str(made.pk)]


def test_a_second_rewrap_is_refused_while_one_runs(as_dot, key):
    rewraps.start(key, key, actor=factories.administrator())
    answer = as_dot.post(url("key_rewrap", key), {"target": key.alias}, headers=HTMX)
    assert answer.status_code == 422
    assert "running already" in text(answer)


def test_a_disabled_key_is_no_target(as_dot, key):
    key_states.disable(key, actor=factories.administrator())
    where = url("key_rewrap", keyring.default_key())
    assert key.alias not in text(as_dot.get(where, headers=HTMX))
    assert as_dot.post(where, {"target": key.alias}, headers=HTMX).status_code == 422


# ---------------------------------------------------------------- a secret and its key


@pytest.mark.django_db(transaction=True)
def test_cry_06_a_value_of_a_disabled_key_is_refused_and_recorded_and_enabling_shows_it(as_dot, open_keyring):
    key = key_states.create("team/second", actor=factories.administrator())
    made = factories.secret(initial="canary-77aa-password", key=key)
    key_states.disable(key, actor=factories.administrator())
    page = reverse("secret", args=["main", made.pk])
    shown = text(as_dot.get(page))
    assert "no value of this secret can be read or rotated" in shown
    assert url("key", key) in shown
    where = reverse("secret_reveal", args=["main", made.pk])
    answer = as_dot.post(where, {"reason": "incident 42"}, headers=HTMX)
    assert answer.status_code == 409
    assert "The encryption key is disabled" in text(answer)
    assert "canary-77aa" not in text(answer)
    event = AuditEvent.objects.get(action="kms:GetSecretValue")
    assert (event.outcome, event.reason, event.resource_id) == ("failed", "incident 42", made.pk)
    made.refresh_from_db()
    assert made.last_read_at is None
    key_states.enable(key, actor=factories.administrator())
    assert "canary-77aa" in text(as_dot.post(where, {"reason": "incident 42"}, headers=HTMX))
    assert "can be read or rotated" not in text(as_dot.get(page))


def test_what_needs_a_disabled_key_answers_so_and_changes_nothing(as_dot):
    key_states.disable(keyring.default_key(), actor=factories.administrator())
    form = {"name": "fleet", "username": "keyturn", "login": "own", "sudo": "passwordless"}
    answer = as_dot.post(reverse("credential_create"), form, headers=HTMX)
    assert answer.status_code == 409
    assert "The encryption key is disabled" in text(answer)
    assert not SealedValue.objects.exists()


def test_the_wizard_offers_the_default_key_first_and_no_disabled_one(as_dot, key, filled):
    shown = text(as_dot.get(CREATE, headers=HTMX))
    assert "Encryption key" in shown
    assert '<option value="keyturn/default" selected>' in shown
    assert '<option value="team/second"' in shown
    key_states.disable(key, actor=factories.administrator())
    assert '<option value="team/second"' not in text(as_dot.get(CREATE, headers=HTMX))


def test_the_chosen_key_seals_the_secret_and_is_shown_in_review_and_details(as_dot, key, filled):
    filled["key"] = "team/second"
    review = as_dot.post(CREATE, filled | {"step": "2"}, headers=HTMX)
    assert "team/second" in text(review)
    as_dot.post(CREATE, filled)
    made = Secret.objects.get()
    assert made.key == key
    assert made.labelled("current").sealed.key_version.key == key
    assert versions.value(made.labelled("current")).password.reveal() == "the value that works now"
    assert "team/second" in text(as_dot.get(reverse("secret", args=["main", made.pk])))


def test_without_a_choice_the_default_key_seals_the_secret(as_dot, key, filled):
    as_dot.post(CREATE, filled)
    assert Secret.objects.get().key == keyring.default_key()


@pytest.mark.parametrize("chosen", ["team/second", "no/such/key"])
def test_a_key_that_is_disabled_or_unknown_makes_no_secret(as_dot, key, filled, chosen):
    key_states.disable(key, actor=factories.administrator())
    answer = as_dot.post(CREATE, filled | {"key": chosen}, headers=HTMX)
    assert answer.status_code == 422
    assert "disabled or no longer exists" in text(answer)
    assert not Secret.objects.exists()


def test_a_key_that_one_may_not_describe_is_neither_offered_nor_taken(as_dot, key, filled):
    factories.deny("kms:DescribeKey")
    shown = text(as_dot.get(CREATE, headers=HTMX))
    assert "keyturn/default" in shown
    assert "team/second" not in shown
    as_dot.post(CREATE, filled | {"key": "team/second"})
    assert not Secret.objects.exists()
    as_dot.post(CREATE, filled)
    assert Secret.objects.get().key == keyring.default_key()


def test_a_disabled_default_key_is_said_beside_the_field(as_dot, filled):
    key_states.disable(keyring.default_key(), actor=factories.administrator())
    answer = as_dot.post(CREATE, filled, headers=HTMX)
    assert "The encryption key is disabled" in text(answer)
    assert not Secret.objects.exists()
