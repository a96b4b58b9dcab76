"""A test that commits leaves the next one the database that Django itself would leave."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection
from django.test import TransactionTestCase

from secrets_app.models import AuditEvent, User
from tests import factories, tables

pytestmark = pytest.mark.django_db(transaction=True)


class Case(TransactionTestCase):
    """What `tables.empty` is told of a test."""

    databases = {"default"}


@pytest.fixture
def empty(db):
    """Return what Django leaves, after it has done so."""
    tables._left.clear()
    tables.empty(Case)
    return tables._rows("default", tables._full("default"))


def test_what_was_committed_is_gone_and_the_rest_is_as_django_leaves_it(empty):
    factories.user("ann", "administrators")
    assert set(tables._full("default")) > {*empty, User._meta.db_table, AuditEvent._meta.db_table}
    tables.empty(Case)
    assert tables._rows("default", tables._full("default")) == empty
    assert {ContentType._meta.db_table, Permission._meta.db_table} <= set(empty)


def test_a_row_of_django_s_own_that_a_test_has_changed_is_made_again(empty):
    names = set(Permission.objects.values_list("codename", flat=True))
    Permission.objects.filter(codename="add_secret").delete()
    Permission.objects.filter(codename="add_region").update(name="another")
    tables.empty(Case)
    assert set(Permission.objects.values_list("codename", flat=True)) == names
    assert not Permission.objects.filter(name="another").exists()


def test_the_audit_trail_refuses_a_change_again_afterwards(empty):
    factories.user("ann")
    tables.empty(Case)
    factories.user("bea")
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {AuditEvent._meta.db_table}")  # noqa: S608
