"""Screens, messages, pages, docstrings and comments hold no phrase that a technical writer would replace."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each names the user, the place or the time in a way that a reader has to work out.
FORBIDDEN = re.compile(
    r"\b(whoever|somebody|nobody|anybody|everybody|a person who|people who|once more|all the same|"
    r"past keyturn|by itself|by a way that|anew|put back|gone for good|hands? out)\b",
    re.IGNORECASE,
)
# For docstrings and comments. The first line leaves open which user, worker or program acts, or where, and a
# reader of the code needs exactly that. The second line has idioms that a reader whose first language is not
# English looks up. "By itself" and "put back" are clear to a developer, so they are not here.
FORBIDDEN_IN_NOTES = re.compile(
    r"\b(whoever|somebody|someone|nobody|anybody|anyone|everybody|everyone|somewhere|a person who|people who|"
    r"once more|all the same|anew|by a way that|gone for good)\b",
    re.IGNORECASE,
)
# A user reads "instance". These are other things: what listens on a port, takes mail, or is of PostgreSQL.
SERVER = re.compile(
    r"\bservers?\b(?<!SSH server)(?<!demo servers)(?<!web server)(?<!mail server)(?<!mail servers)",
    re.IGNORECASE,
)
# The subject and the verb of an English sentence are at least this many words.
WORDS_AT_LEAST = 4
# docs/rules.md quotes the names of tests/breaks/table.py.
TEXTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(file for file in (ROOT / "docs").glob("*.md") if file.stem != "rules"),
)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
MODULES = [
    file
    for package in ("console", "rotation", "secrets_app")
    for file in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in file.parts
]
NOTED = [*MODULES, *sorted((ROOT / "lab").rglob("*.py"))]


def of_template(text: str) -> str:
    """The words of a template: without comments, code and markup, but with the texts given to its tags."""
    text = re.sub(r"{#.*?#}|{% comment.*?endcomment %}", "", text, flags=re.DOTALL)
    given = re.findall(r'\b(?:sentence|title)="([^"{]*)"', text)
    return "\n".join([re.sub(r"{%.*?%}|{{.*?}}|<[^>]*>", "", text, flags=re.DOTALL), *given])


def of_markdown(text: str) -> str:
    """The prose of a page: without blocks of code and names in code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def of_module(text: str) -> Iterator[str]:
    """The sentences of a module: its string literals, and the docstrings of its exceptions."""
    tree = ast.parse(text)
    unread = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_message = isinstance(node, ast.ClassDef) and any(
                "Error" in ast.unparse(base) or "Exception" in ast.unparse(base) for base in node.bases
            )
            if not is_message and node.body and isinstance(node.body[0], ast.Expr):
                unread.add(node.body[0].value)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(words)) if node not in unread:
                if len(re.findall(r"[A-Za-z]{2,}", words)) >= WORDS_AT_LEAST:
                    yield words


def of_notes(text: str) -> Iterator[str]:
    """The notes for developers in a module: its docstrings and its comments, on one line each."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield " ".join((ast.get_docstring(node) or "").split())
    # The lines of a comment are read together: a phrase may go over the end of one.
    comments = [
        t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT
    ]
    yield " ".join(comment.lstrip("#: ") for comment in comments)


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", TEMPLATES, ids=name_of)
def test_a_screen_names_users_and_instances_plainly(file: Path) -> None:
    words = of_template(file.read_text())
    assert not FORBIDDEN.findall(words)
    assert not SERVER.findall(words)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_message_names_users_and_instances_plainly(file: Path) -> None:
    sentences = list(of_module(file.read_text()))
    assert not [sentence for sentence in sentences if FORBIDDEN.search(sentence)]
    assert not [sentence for sentence in sentences if SERVER.search(sentence)]


@pytest.mark.parametrize("file", NOTED, ids=name_of)
def test_a_docstring_or_a_comment_names_who_acts_and_where(file: Path) -> None:
    notes = " ".join(of_notes(file.read_text()))
    assert [notes[max(0, m.start() - 40) : m.end() + 40] for m in FORBIDDEN_IN_NOTES.finditer(notes)] == []


@pytest.mark.parametrize("file", TEXTS, ids=name_of)
def test_the_documentation_names_users_and_instances_plainly(file: Path) -> None:
    words = of_markdown(file.read_text())
    assert not FORBIDDEN.findall(words)
    assert not SERVER.findall(words)


@pytest.mark.parametrize(
    "sentence",
    [
        "<p>Somebody changed it.</p>",
        '{% include "_empty.html" with title="No rows" sentence="Whoever may add one sees a button." %}',
    ],
)
def test_a_phrase_is_found_in_a_text_and_in_what_a_tag_is_given(sentence: str) -> None:
    assert FORBIDDEN.search(of_template(sentence))


def test_a_phrase_is_found_in_a_message_and_not_in_a_note_for_developers() -> None:
    module = '"""Nobody reads this but developers."""\nMESSAGE = "It was changed by somebody else."\n'
    assert [bool(FORBIDDEN.search(found)) for found in of_module(module)] == [True]


@pytest.mark.parametrize(
    "module",
    [
        '"""Whoever calls this waits."""',
        'class A:\n    """Done.\n\n    Nobody\n    waits.\n    """',
        "wait = 1  # somebody else is faster",
        "#: Set it once\n#: more.\nwait = 1",
    ],
)
def test_a_phrase_is_found_in_a_docstring_and_in_a_comment(module: str) -> None:
    assert FORBIDDEN_IN_NOTES.search(" ".join(of_notes(module)))


def test_a_name_and_a_text_are_no_notes() -> None:
    assert not FORBIDDEN_IN_NOTES.search(" ".join(of_notes('NOBODY = "nobody"\n')))
