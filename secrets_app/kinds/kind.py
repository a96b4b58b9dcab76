"""What is stored and entered for a kind of credential: one module for each kind keeps this protocol.

Knows nothing of hosts. `rotation.engine.methods` has a module for each kind with what a rotation does there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypedDict

from secrets_app.crypto.plaintext import Plaintext


class Halves(TypedDict, total=False):
    """The fields of a `versions.Value` that a kind fills."""

    password: Plaintext
    public_key: str
    private_key: Plaintext


class Kind(Protocol):
    """How one kind of credential is entered, and which properties a secret of this kind has."""

    @property
    def ENTERED(self) -> str:
        """What a user enters as a value, in the words of a sentence."""
        ...

    @property
    def ALGORITHMS(self) -> Mapping[str, str]:
        """The algorithms that a secret can choose for new values, and their labels; empty if it has none."""
        ...

    @property
    def HAS_POLICY(self) -> bool:
        """Whether the password policy of the secret decides about new values."""
        ...

    @property
    def HAS_PUBLIC_HALF(self) -> bool:
        """Whether a value has a public half, which is no secret and is shown."""
        ...

    @property
    def ANSWERS_SUDO(self) -> bool:
        """Whether sudo accepts the value when it asks for the account's password."""
        ...

    def read(self, text: Plaintext) -> Halves:
        """Return the value in a text that a user entered.

        Raises a `DomainError` that says what is wrong and never repeats the text.
        """
        ...
