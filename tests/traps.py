"""Pickles that tests plant where a store is read: opening one makes a file."""

from __future__ import annotations

import pickle
from pathlib import Path

#: How a message says that its body is a pickle. As kombu's word: here it has no serializer of that name.
PICKLED = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.path),)

    def pickled(self) -> bytes:
        """As text where text is asked for: protocol 0 is ASCII."""
        return pickle.dumps(self, protocol=0)
