"""Make pages of the Markdown files that Keyturn comes with.

HTML in a source is shown as text. A link leads to another chapter, to a place on the same page, or to an
https address; of any other link only the text remains. A missing file is None, and no error.

Knows files and no routes: `resolve` says where a link leads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

#: From a link of a source to the address and title of its target; None if the console has no such page.
Resolve = Callable[[str], tuple[str, str] | None]
#: A link text that is only the name of a file, which means nothing to a reader of the console.
FILE_NAME = re.compile(r"[\w./-]+\.md")


@dataclass(frozen=True)
class Section:
    """A heading and the text below it, up to the next heading."""

    anchor: str  # empty for the text above the first heading
    title: str
    level: int
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """One file, ready to be shown and searched."""

    title: str
    html: SafeString
    sections: tuple[Section, ...]

    @property
    def anchors(self) -> frozenset[str]:
        return frozenset(section.anchor for section in self.sections if section.anchor)

    @property
    def contents(self) -> tuple[Section, ...]:
        """The sections for a table of contents."""
        return tuple(section for section in self.sections if section.anchor and section.level == 2)


@cache
def read(path: Path, resolve: Resolve) -> Document | None:
    """Return the document in this file; None if it cannot be read. The same file is rendered once."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    return parse(text, resolve)


def parse(text: str, resolve: Resolve) -> Document:
    """Return the document of a Markdown text."""
    markdown = _markdown()
    title, tokens = _without_title(markdown.parse(text))
    sections = tuple(_sections(tokens))
    _link(tokens, resolve)
    _name_tables(tokens, title)
    # The renderer escapes the text of the source and passes on none of its HTML.
    html = mark_safe(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S308
    return Document(title, html, sections)


# ---------------------------------------------------------------- how it is shown


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    for kind, rule in (
        ("table_open", _table_open), ("table_close", _table_close), ("image", _image),
        ("fence", _code), ("code_block", _code),
    ):  # fmt: skip
        markdown.add_render_rule(kind, rule)
    return markdown


def _table_open(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    """A wide table scrolls in a box of its own, which the keyboard reaches."""
    name = escape(tokens[at].meta["name"])
    return f'<div class="table-scroll" role="region" tabindex="0" aria-label="{name}"><table class="table">'


def _table_close(*_: Any) -> str:
    return "</table></div>"


def _code(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    return f'<div class="code"><pre><code>{escape(tokens[at].content)}</code></pre></div>'


def _image(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    """The words of a picture: the console serves none from the documentation."""
    return escape(tokens[at].content)


def _name_tables(tokens: Sequence[Token], title: str) -> None:
    heading, number = title, 0
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = _plain(tokens[at + 1])
        elif token.type == "table_open":
            number += 1
            token.meta["name"] = f"Table {number}: {heading}"


# ---------------------------------------------------------------- what is in it


def _plain(inline: Token) -> str:
    """The words of a line, without marks and links."""
    breaks = {"softbreak", "hardbreak"}
    return "".join(" " if one.type in breaks else one.content for one in inline.children or ()).strip()


def _without_title(tokens: list[Token]) -> tuple[str, list[Token]]:
    """The first heading, which the page shows as its own, and the rest."""
    if len(tokens) > 2 and tokens[0].tag == "h1":
        return _plain(tokens[1]), tokens[3:]
    return "", tokens


def _sections(tokens: Sequence[Token]) -> Iterator[Section]:
    """The sections; each heading gets the anchor that code forges give it as well."""
    starts = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    taken: dict[str, int] = {}
    if above := tuple(_paragraphs(tokens[: starts[0] if starts else None])):
        yield Section("", "", 1, above)
    for at, end in pairwise([*starts, len(tokens)]):
        title = _plain(tokens[at + 1])
        anchor = _anchor(title, taken)
        tokens[at].attrSet("id", anchor)
        yield Section(anchor, title, int(tokens[at].tag[1:]), tuple(_paragraphs(tokens[at + 3 : end])))


def _anchor(title: str, taken: dict[str, int]) -> str:
    made = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") or "section"
    number = taken[made] = taken.get(made, -1) + 1
    return f"{made}-{number}" if number else made


def _paragraphs(tokens: Sequence[Token]) -> Iterator[str]:
    """The text of each paragraph, item, block of code and row of a table."""
    row: list[str] | None = None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            yield " · ".join(cell for cell in row if cell)
            row = None
        elif token.type == "inline" and row is not None:
            row.append(_plain(token))
        elif token.type == "inline":
            yield _plain(token)
        elif token.type in {"fence", "code_block"}:
            yield token.content.strip()


# ---------------------------------------------------------------- where its links lead


def _link(tokens: Sequence[Token], resolve: Resolve) -> None:
    for token in tokens:
        if token.children:
            token.children = list(_linked(token.children, resolve))


def _linked(children: Sequence[Token], resolve: Resolve) -> Iterator[Token]:
    """A line whose links lead to what this console shows; the others are left out and their text is kept."""
    target: tuple[str, str] | None = None
    for child in children:
        if child.type == "link_open":
            written = str(child.attrGet("href") or "")
            target = (written, "") if written.startswith(("https://", "#")) else resolve(written)
            if target:
                child.attrSet("href", target[0])
                yield child
        elif child.type == "link_close":
            if target:
                yield child
            target = None
        else:
            if target and target[1] and FILE_NAME.fullmatch(child.content):
                child.content = target[1]
            yield child
