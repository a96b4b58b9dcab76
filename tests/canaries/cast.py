"""The values that go through the product, by name; those that it generates itself are caught as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from secrets_app.crypto import key_pairs, passwords
from tests.canaries.needles import make

TYPED = (
    "first password", "custom password", "refused password", "sign-in", "new sign-in",
    "wrong sign-in", "sign-in as name", "weak sign-in", "invited", "management password", "sudo password",
    "own login", "looked up", "without token", "without right", "of a missing secret", "by another method",
    "too many fields", "of a strange host", "with a line break", "off the policy", "in a broken key",
    "not recorded", "sealed", "in a broken view", "under a disabled key", "in the browser",
    "custom in the browser",
)  # fmt: skip
KEYS = ("first key", "custom key", "management key")


class Cast(dict[str, str]):
    """Every value by its name."""

    def __init__(self) -> None:
        super().__init__({name: make() for name in TYPED})
        for name in KEYS:
            self[name] = key_pairs.generate("ed25519").private_key.reveal()
        lines = key_pairs.generate("ed25519").private_key.reveal().splitlines()
        self["in a broken key"] = "\n".join([*lines[:4], *lines[5:]])

    def catch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on what is generated belongs to the cast."""
        pairs, words = key_pairs.generate, passwords.Policy.generate
        monkeypatch.setattr(key_pairs, "generate", self._keep("key", pairs, lambda pair: pair.private_key))
        monkeypatch.setattr(passwords.Policy, "generate", self._keep("password", words, lambda value: value))

    def _keep(self, what: str, make_one: Callable[..., Any], secret_of: Callable[[Any], Any]) -> Any:
        def kept(*args: Any) -> Any:
            made = make_one(*args)
            self[f"generated {what} {len(self)}"] = secret_of(made).reveal()
            return made

        return kept
