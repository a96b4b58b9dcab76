"""What tests begin with is what the product wrote, whether it was just written or is put there again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from rotation import accounts
from rotation.models import Instance
from secrets_app import seals
from secrets_app.audit import verification
from secrets_app.models import AuditEvent, Region, Secret
from secrets_app.secrets import versions
from tests import factories, snapshots

pytestmark = pytest.mark.django_db
VALUE = "a-first-value-1"


def begin_often() -> list[dict[str, object]]:
    """What a store holds after each of four beginnings: the first are written, the last are put there."""
    found = []
    snapshots._known.add(snapshots._state())  # as if it had been met before: this test may be the first one
    for _ in range(4):
        point = transaction.savepoint()
        factories.begin()
        factories.secret(initial=VALUE)
        found.append({table.name: rows for table, rows in snapshots._rows().items()})
        transaction.savepoint_rollback(point)
    return found


def test_rows_that_are_put_there_are_those_that_were_written(open_keyring):
    found = begin_often()
    assert found[-1] == found[-2]
    assert {name: len(rows) for name, rows in found[-1].items()} == {
        name: len(rows) for name, rows in found[0].items()
    }


def test_a_secret_that_is_put_there_opens_and_its_seals_and_the_trail_hold(open_keyring):
    begin_often()
    factories.begin()
    put = factories.secret(initial=VALUE)
    assert versions.value(put.labelled("current")).password.reveal() == VALUE
    assert all(seals.holds(row) for row in (put.account, put.managed.instance, accounts.of(put)))
    assert verification.verify().verdict is verification.Verdict.WHOLE
    assert AuditEvent.objects.filter(action="kms:CreateSecret", resource_id=put.pk).count() == 1
    factories.secret(instance=put.managed.instance, username="other", initial=VALUE)
    assert Secret.objects.count() == 2


def test_no_new_row_gets_the_number_of_one_that_was_put_there(open_keyring):
    begin_often()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # as a restore does
            cursor.execute("SELECT setval(pg_get_serial_sequence('auth_group', 'id'), 1, false)")
    factories.begin()
    factories.secret(initial=VALUE)
    kept = set(Group.objects.values_list("pk", flat=True))
    assert kept
    for number in range(max(kept)):
        assert Group.objects.create(name=f"team-{number}").pk not in kept


def test_what_is_made_of_a_row_that_a_test_has_changed_is_made_anew(open_keyring):
    begin_often()
    factories.begin()
    instance = factories.instance()
    first, found = instance.address, []
    for address in (first, first, "127.0.0.77"):
        point = transaction.savepoint()
        Instance.objects.update(address=address)
        factories.once(lambda: Region.objects.update(name=Instance.objects.get().address), "note", instance)
        found.append(Region.objects.get().name)
        transaction.savepoint_rollback(point)
    assert found == [first, first, "127.0.0.77"]


def test_rows_are_not_put_over_what_a_test_has_changed(open_keyring):
    def mark() -> None:
        Region.objects.update(name=Concat(F("name"), Value("!")))

    snapshots._known.add(snapshots._state())
    factories.region("main")
    found = []
    for name in ("Main", "Main", "Elsewhere"):
        point = transaction.savepoint()
        Region.objects.update(name=name)
        snapshots.put_or_make("mark", mark)
        found.append(Region.objects.get().name)
        transaction.savepoint_rollback(point)
    assert found == ["Main!", "Main!", "Elsewhere!"]


def test_what_a_thread_of_a_test_writes_is_made_each_time(open_keyring):
    """Rows that are put lock nothing, and what locks there are is what such tests are about."""
    made: list[str] = []
    snapshots._known.add(snapshots._state())
    for _ in range(3):
        snapshots.put_or_make("nothing", lambda: made.append("here"))
    assert made == ["here"]
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            pool.submit(snapshots.put_or_make, "nothing", lambda: made.append("apart")).result(60)
    assert made == ["here", "apart", "apart"]


def test_a_sign_in_is_recorded_once_each_time_and_leaves_a_store_that_is_known(client, dot):
    found = []
    for _ in range(3):
        point = transaction.savepoint()
        client.force_login(dot)
        event = AuditEvent.objects.get(action="kms:SignIn")
        assert (event.actor, event.resource_id) == (dot.principal, dot.pk)
        assert client.get("/settings/", follow=True).status_code == 200
        assert verification.verify().verdict is verification.Verdict.WHOLE
        found.append(event.mac)
        transaction.savepoint_rollback(point)
    assert found[1:] == [found[0]] * 2


def test_what_is_written_under_a_setting_of_the_test_s_own_is_made_each_time(
    open_keyring, settings, tmp_path
):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    assert snapshots._is_ordinary()  # no row depends on that one
    settings.REQUIRE_MFA = not settings.REQUIRE_MFA
    settings.AUDIT_EXPORT_FILE = tmp_path / "others.jsonl"
    assert not snapshots._is_ordinary()
