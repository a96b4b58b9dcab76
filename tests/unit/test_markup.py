"""The reader of the walks hears of a page what Python's own hears."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from tests import markup

PAGES = {
    "plain": '<p class="a">One &amp; two<br><img src="/x"/> <b hidden>three</b></p>',
    "escapes": '<a href="/x?a=1&amp;b=2" title="&lt;b&gt;">x</a><A HREF="/x?a=1&amp;b=2">y</A>',
    "an open quote": '<a b="x> <i c="y">z</i> <a b="x> w',
    "a quote in a word": '<a b=x" c="y> <i>z</i> "> <a b=x" c="y> <i>v</i>',
    "code": '<script src="/s">if (a < b) "<p>"</script><style>p > b {}</style><script src="/s"><p></script>',
    "a tag in a value": '<a title="<b>">x</a> <a title=\'"\'>y</a> <a title="\'">z</a>',
    "no tag": '<a b<c> < d > <e =f> <g/h> <i j="k"l="m">',
}


class Heard:
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def begins(self, *said: object) -> None:
        self.heard.append(("begins", *said))

    def handle_endtag(self, *said: object) -> None:
        self.heard.append(("ends", *said))

    def handle_data(self, *said: object) -> None:
        self.heard.append(("text", *said))


class Pythons(Heard, HTMLParser):
    handle_starttag = Heard.begins


class Ours(Heard, markup.Reader):
    pass


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_walk_hears_of_a_page_what_pythons_reader_hears(page):
    everything = "".join(PAGES.values())
    for text in (page, page, page + everything, everything + page, everything):
        heard = []
        for reader in (Pythons(), Ours()):
            reader.feed(text)
            reader.close()
            heard.append(reader.heard)
        assert heard[0] == heard[1]
