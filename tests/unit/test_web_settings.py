"""What gunicorn does before its workers fork."""

from __future__ import annotations

import pytest
from django.db import connection

from console.process import web


@pytest.mark.django_db(transaction=True)
def test_no_worker_is_born_with_a_connection_that_another_one_has_too():
    assert web.preload_app
    connection.ensure_connection()
    web.when_ready(None)
    assert connection.connection is None
