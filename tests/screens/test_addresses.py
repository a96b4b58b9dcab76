"""The address of a row is the one that Django would resolve."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import NoReverseMatch, reverse

from console.lists import addresses


def test_the_address_of_a_row_is_that_of_its_page() -> None:
    for name in ("secret", "secret_rotate", "instance", "run"):
        for key, region in ((uuid4(), "main"), (uuid4(), "all"), (uuid4(), "main")):
            assert addresses.of(name, key, region) == reverse(name, args=[region, key])
    for number in (1, 1_000_001):
        assert addresses.of("audit_event", number) == reverse("audit_event", args=[number])


def test_a_row_of_a_route_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NoReverseMatch):
        addresses.of("secret", uuid4())
