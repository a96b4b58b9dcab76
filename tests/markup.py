"""Python's reader of HTML, for walks of many pages: a start tag that was read before is not read again.

Pages repeat their tags: of 120,000 in one walk, a few thousand differ.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

Attributes = list[tuple[str, str | None]]
#: Where such a tag ends does not depend on what follows it: each value stands in double quotes.
_PLAIN = re.compile(r"""<[a-zA-Z][a-zA-Z0-9-]*(?:\s+[^\s"'<>=/]+(?:="[^"<>]*")?)*\s*/?>""")
#: What each said, and whether it ended itself.
_known: dict[str, tuple[str, Attributes, bool]] = {}


class Reader(HTMLParser):
    """Calls `begins`, `handle_endtag` and `handle_data` as `HTMLParser` its own. It counts no lines."""

    _read: tuple[str, Attributes, bool] | None = None

    def begins(self, tag: str, attrs: Attributes) -> None:
        """Hear of a start tag, in place of `handle_starttag`."""

    def parse_starttag(self, i: int) -> int:
        end = self.rawdata.find(">", i) + 1
        text = self.rawdata[i:end]
        if found := _known.get(text):
            self.lasttag, attributes, is_whole = found
            self.begins(self.lasttag, list(attributes))
            if is_whole:
                self.handle_endtag(self.lasttag)
            return end
        self._read = None
        reached = super().parse_starttag(i)
        # After some tags the reader goes on in another way, which is not kept.
        if reached == end and self._read and self.cdata_elem is None and _PLAIN.fullmatch(text):
            _known[text] = self._read
        return reached

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self._read = (tag, list(attrs), False)
        self.begins(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)
        self._read = (tag, list(attrs), True)

    def updatepos(self, i: int, j: int) -> int:
        return j
