"""NUL in every field: what one store keeps and the other refuses is an error of the form on both."""

from __future__ import annotations

import pytest

from tests.screens import nasty, nasty_walk
from tests.screens.routes import CHANGES, READS, SIGN_IN
from tests.screens.test_aud_01 import _no_checkpoints_of_other_tests, cast  # noqa: F401  # fixtures

pytestmark = pytest.mark.django_db


def test_nul_in_any_field_is_no_error_on_this_store(cast):  # noqa: F811
    walk = nasty_walk.Walk(cast, lambda fields: dict.fromkeys(fields, f"a{nasty.NUL}b"))
    walk.over({**CHANGES, **SIGN_IN, **READS})
    assert walk.wrong == []
    assert {name for _, name, _ in walk.walked} >= {"policy_create", "secret_edit", "invite", "audit"}
