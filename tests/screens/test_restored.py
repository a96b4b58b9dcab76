"""A restored database on the screen: the banner, what a credential's state says, Verify all, Acknowledge."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from rotation import reasons, runs, tasks
from rotation.connectors.memory.connector import MemoryHost
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Run
from secrets_app.audit import audit_keys
from secrets_app.integrity import restores
from secrets_app.models import AuditEvent, DatabaseRestore, Secret
from tests import factories, times
from tests.domain.rig import drive, simulated_host

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
BANNER = "The database was restored from an older copy"
STATE = "Not verified since the database was restored"
VALUE = "a-first-value-1"
ROUTINE = {"reason": "routine"}


@pytest.fixture(autouse=True)
def _files(settings, tmp_path):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()


@pytest.fixture
def host() -> MemoryHost:
    return simulated_host(VALUE)


@pytest.fixture
def secret(host) -> Secret:
    made = factories.secret(initial=VALUE, name="db/svc")
    drive(made.runs.active().get(), host)
    return made


@pytest.fixture
def restore(secret) -> DatabaseRestore:
    """An older database was restored a moment ago, and nobody has acknowledged it."""
    made = DatabaseRestore.objects.create(exported_to=10**6, exported_at=timezone.now(), found_to=7)
    ManagedAccount.objects.update(verified_at=timezone.now() - timedelta(days=1))
    credential_state.doubt_all()
    return made


def text(answer) -> str:
    return answer.content.decode()


def of(name: str, secret: Secret) -> str:
    return reverse(name, args=["main", secret.pk])


def test_without_a_restore_no_page_has_the_banner(as_dot, secret):
    assert BANNER not in text(as_dot.get("/all/overview/"))
    assert "No older database was restored" in text(as_dot.get("/audit/restore/"))
    assert "may be old" not in text(as_dot.get(of("secret_reveal", secret)))


def test_every_page_says_that_the_database_was_restored_and_none_says_in_sync(as_dot, secret, restore):
    pages = [
        "/all/overview/",
        "/main/secrets/",
        of("secret", secret),
        "/main/instances/",
        "/audit/",
        "/keys/",
    ]
    for page in pages:
        shown = text(as_dot.get(page))
        assert BANNER in shown, page
        assert "Nothing is rotated until" in shown, page
    assert STATE in text(as_dot.get("/main/secrets/"))
    assert STATE in text(as_dot.get(of("secret", secret)))
    assert "In sync</" not in text(as_dot.get("/main/secrets/")).split("<table")[-1]


def test_somebody_without_a_right_is_told_too(client, ann, restore):
    client.force_login(ann)
    assert BANNER in text(client.get("/get-started/", follow=True))
    assert client.get("/audit/restore/").status_code == 403


def test_a_reveal_says_that_the_value_may_be_old_before_and_after(as_dot, secret, restore, host):
    asked = of("secret_reveal", secret)
    assert "This value may be old" in text(as_dot.get(asked))
    assert "This value may be old" in text(as_dot.post(asked, {"reason": "on call"}))
    host.add_account("svc", VALUE)
    drive(runs.verify(secret, actor=factories.administrator()), host)
    assert "may be old" not in text(as_dot.get(asked))


def test_rotate_and_reconcile_are_refused_and_say_why(as_dot, secret, restore):
    for name in ("secret_rotate", "secret_reconcile"):
        answer = as_dot.post(of(name, secret), ROUTINE, headers=HTMX)
        assert answer.status_code == 409, name
        assert "An older database was restored" in text(answer)
    assert not secret.runs.active().exists()


def test_acknowledging_needs_a_reason_and_lets_rotations_go_on(as_dot, secret, restore):
    where = reverse("restore_acknowledge")
    assert "The audit trail continues" in text(as_dot.get(where))
    answer = as_dot.post(where, {"reason": ""}, headers=HTMX)
    assert answer.status_code == 422
    assert "say in a few words" in text(answer)
    assert as_dot.post(where, {"reason": "the disk failed"}).status_code == 302
    event = AuditEvent.objects.get(action="kms:AcknowledgeRestore")
    assert (event.actor_name, event.reason) == ("dot", "the disk failed")
    shown = text(as_dot.get("/audit/restore/"))
    assert "the disk failed" in shown
    assert "Nothing is rotated until" not in shown
    assert as_dot.post(where, {"reason": "again"}).status_code == 409
    assert as_dot.post(of("secret_rotate", secret), ROUTINE, headers=HTMX).status_code == 202


def test_acknowledging_asks_who_it_is(as_dot, restore, settings):
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    for name in ("restore_acknowledge", "restore_verify"):
        assert as_dot.post(reverse(name), {"reason": "x"}, headers=HTMX).status_code == 401
    assert restores.under_way() is not None
    assert restores.under_way().verify_asked_at is None


def test_an_export_file_that_cannot_be_read_is_named(as_dot, restore, settings, tmp_path):
    settings.AUDIT_EXPORT_FILE = tmp_path  # a folder
    answer = as_dot.post(reverse("restore_acknowledge"), {"reason": "the disk failed"}, headers=HTMX)
    assert answer.status_code == 409
    assert f"{tmp_path} cannot be read" in text(answer)
    assert restores.under_way() is not None


def test_verify_all_shows_its_progress_until_every_account_was_asked(as_dot, secret, restore, host):
    assert "1 account can be verified" in text(as_dot.get("/audit/restore/"))
    host.accounts["svc"].password = "a newer one"
    assert as_dot.post(reverse("restore_verify")).status_code == 302
    times.tick()
    shown = text(as_dot.get("/audit/restore/progress/"))
    assert "0 of 1 account verified" in shown
    assert "hx-trigger" in shown
    tasks.look_for_restore()
    drive(Run.objects.active().get(kind="verify"), host)
    tasks.look_for_restore()
    shown = text(as_dot.get("/audit/restore/progress/"))
    assert "1 of 1 account verified" in shown
    assert "hx-trigger" not in shown
    page = text(as_dot.get(of("secret", secret)))
    assert "The database is older than the instance" in page
    assert reasons.sentence("changed_outside") not in page
    assert "Reconcile" in page


def test_the_banner_stays_until_every_account_was_verified(as_dot, secret, restore, host):
    as_dot.post(reverse("restore_acknowledge"), {"reason": "the disk failed"})
    assert BANNER in text(as_dot.get("/all/overview/"))
    as_dot.post(reverse("restore_verify"))
    times.tick()
    tasks.look_for_restore()
    drive(Run.objects.active().get(kind="verify"), host)
    tasks.look_for_restore()
    assert BANNER not in text(as_dot.get("/all/overview/"))
