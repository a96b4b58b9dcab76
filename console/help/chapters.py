"""The chapters of the help: which files of the documentation users and operators read, in their order.

The documents for developers are not among them.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from django.urls import reverse

from console.help import documents
from console.help.documents import Document

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Chapter:
    """One file of the documentation."""

    name: str  # in its address
    title: str  # in lists of chapters
    file: str

    @property
    def url(self) -> str:
        return reverse("help_chapter", args=[self.name])

    @property
    def document(self) -> Document | None:
        """Its content; None if the file did not come with this installation."""
        return documents.read(ROOT / self.file, target)


CHAPTERS = (
    Chapter("screens", "The screens", "docs/screens.md"),
    Chapter("rotation", "What a rotation does", "docs/rotation.md"),
    Chapter("windows", "Windows over WinRM", "docs/windows.md"),
    Chapter("actions", "Actions and policies", "docs/actions.md"),
    Chapter("applications", "Applications", "docs/applications.md"),
    Chapter("sign-in", "Identity providers", "docs/sign-in.md"),
    Chapter("fresh", "Re-authentication", "docs/fresh.md"),
    Chapter("audit", "The audit trail", "docs/audit.md"),
    Chapter("seals", "Sealed records", "docs/seals.md"),
    Chapter("threats", "Threats", "docs/threats.md"),
    Chapter("operation", "Operation", "docs/operations.md"),
    Chapter("notifications", "Notifications", "docs/notifications.md"),
    Chapter("commands", "Commands for scripts", "docs/commands.md"),
    Chapter("configuration", "Configuration", "docs/configuration.md"),
    Chapter("new", "What's new", "CHANGELOG.md"),
)
BY_NAME = {chapter.name: chapter for chapter in CHAPTERS}
BY_FILE = {chapter.file: chapter for chapter in CHAPTERS}


def target(link: str) -> tuple[str, str] | None:
    """Return the address and title of a link in a document; None if it leads to no chapter."""
    file, _, anchor = link.partition("#")
    # Every chapter but the last is in docs/, and links from there to its neighbours.
    for folder in ("docs", ""):
        chapter = BY_FILE.get(posixpath.normpath(posixpath.join(folder, file)))
        if chapter:
            return chapter.url + (f"#{anchor}" if anchor else ""), chapter.title
    return None
