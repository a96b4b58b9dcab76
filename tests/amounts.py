"""How many random cases a test tries: in CI enough to find a planted fault, with `--long` all of them.

CI tries the same cases every time, so that no change fails by chance; `--long` draws new ones.
"""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

#: All that UTF-8 can write, which is what `st.text` draws from too; but it asks the codec about each of them
#: first, for a second in each process.
CHARACTERS = st.characters(exclude_categories=["Cs"])

hypothesis.settings.register_profile("ci", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("long", database=None, deadline=None, print_blob=True)
is_long = False


def begin(*, long: bool) -> None:
    """Choose for this process, before any test module is imported: a decorator reads it then."""
    global is_long
    is_long = long
    hypothesis.settings.load_profile("long" if long else "ci")


def cases(in_ci: int, *, long: int) -> int:
    """Return the one number or the other."""
    return long if is_long else in_ci
