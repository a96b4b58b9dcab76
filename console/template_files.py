"""Read Keyturn's own templates, each line without its indentation.

A list repeats a row's lines for every row, and indentation is up to a tenth of a page. Line numbers stay as
they are in the file. No template may depend on spaces at the start of a line, as in a `<pre>` of several
lines.
"""

from __future__ import annotations

import re

from django.template import Origin
from django.template.loaders import filesystem

_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


class Loader(filesystem.Loader):
    """Templates of the folders in `DIRS`."""

    def get_contents(self, origin: Origin) -> str:
        contents = super().get_contents(origin)
        return _INDENTATION.sub("", contents) if origin.name.endswith(".html") else contents
