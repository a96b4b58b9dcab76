"""Search the chapters: the sections that contain every word, with these words marked.

The documents are small and stay in memory, so a search reads all of them. `MAX_LENGTH` and `MAX_HITS` bound
what one request can ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from console.help import chapters
from console.help.chapters import Chapter
from console.help.documents import Section

MAX_LENGTH = 100
MAX_HITS = 40
PARAGRAPHS = 2  # shown of one section
AROUND = 160  # characters shown before and after the first word of a long paragraph


@dataclass(frozen=True)
class Part:
    """A piece of text, and whether it is a word that was searched for."""

    text: str
    is_marked: bool


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Hit:
    """A section that contains every word."""

    chapter: Chapter
    url: str
    title: Parts
    paragraphs: tuple[Parts, ...]


@dataclass(frozen=True)
class Found:
    """The answer to one search."""

    query: str
    hits: tuple[Hit, ...] = ()
    has_more: bool = False
    is_too_long: bool = False


def find(query: str) -> Found | None:
    """Return the sections that contain every word of the query; None for an empty query."""
    words = query.split()
    if not words:
        return None
    if len(query) > MAX_LENGTH:
        return Found(query[:MAX_LENGTH], is_too_long=True)
    patterns = [re.compile(re.escape(word), re.IGNORECASE) for word in words]
    hits: list[tuple[bool, Hit]] = []
    for chapter, section in _sections():
        texts = (section.title or chapter.title, *section.paragraphs)
        if all(any(pattern.search(text) for text in texts) for pattern in patterns):
            # A section whose heading has the words is the one that explains them.
            hits.append(
                (not all(pattern.search(texts[0]) for pattern in patterns), _hit(chapter, section, patterns))
            )
    hits.sort(key=lambda hit: hit[0])
    return Found(query, tuple(hit for _, hit in hits[:MAX_HITS]), has_more=len(hits) > MAX_HITS)


def _sections() -> Iterator[tuple[Chapter, Section]]:
    for chapter in chapters.CHAPTERS:
        if chapter.document:
            for section in chapter.document.sections:
                yield chapter, section


def _hit(chapter: Chapter, section: Section, patterns: list[re.Pattern[str]]) -> Hit:
    either = re.compile("|".join(pattern.pattern for pattern in patterns), re.IGNORECASE)
    fitting = [text for text in section.paragraphs if either.search(text)] or section.paragraphs[:1]
    # The paragraphs with the most words first; equal ones in their order.
    fitting = sorted(fitting, key=lambda text: -sum(bool(pattern.search(text)) for pattern in patterns))
    shown = tuple(_marked(_around(text, either), either) for text in fitting[:PARAGRAPHS])
    url = chapter.url + (f"#{section.anchor}" if section.anchor else "")
    return Hit(chapter, url, _marked(section.title or chapter.title, either), shown)


def _around(text: str, either: re.Pattern[str]) -> str:
    """The part of a paragraph around the first word that was searched for."""
    match = either.search(text)
    at = match.start() if match else 0
    begin, end = max(0, at - AROUND), at + 2 * AROUND
    before, after = "… " if begin else "", " …" if end < len(text) else ""
    return before + text[begin:end].strip() + after


def _marked(text: str, either: re.Pattern[str]) -> Parts:
    parts, at = [], 0
    for match in either.finditer(text):
        parts += [Part(text[at : match.start()], is_marked=False), Part(match.group(), is_marked=True)]
        at = match.end()
    parts.append(Part(text[at:], is_marked=False))
    return tuple(part for part in parts if part.text)
