"""The base class of domain errors: a code for programs and a sentence for users.

A screen shows the sentence, an interface answers with the code, and both find the class by one table. Imports
no other room.
"""

from __future__ import annotations

import inspect


class DomainError(Exception):
    """What was asked is not done."""

    #: The same for as long as the class means the same; no other class has it. An error that knows more
    #: may narrow it for itself.
    code: str = "domain_error"

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.default())

    @property
    def sentence(self) -> str:
        return str(self)

    @classmethod
    def default(cls) -> str:
        """The sentence of one who says nothing else: the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
