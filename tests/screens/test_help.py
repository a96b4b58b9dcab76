"""The help: every screen leads to a section that exists, no link in it is dead, no HTML passes through."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import get_resolver, resolve, reverse

from console.help import chapters, documents, places, search
from secrets_app.models import AuditEvent
from tests import factories
from tests.screens.az_table import ROUTES

pytestmark = pytest.mark.django_db

#: Answers to GET that are no screen with a title: probes, files, parts of a page, and what only leads on.
NO_SCREENS = {
    "livez", "readyz", "healthz", "away", "session", "bulk_bell", "bulk_progress", "key_progress",
    "restore_progress", "run_steps", "instance_live", "secret_create_instance", "secret_create_dates",
    "secret_create_checked", "secret_menu", "secret_schedule_dates", "secrets_export",
    "instances_export", "rotations_export_csv", "rotations_export_json", "credentials_export",
    "groups_export", "keys_export", "applications_export", "access_keys_export",
    "policies_export", "users_export", "audit_export_csv", "audit_export_json",
    "audit_export_shape", "invitations_export", "access_review_export",
    "bulk_export", "regions_export", "deliveries_export",
    "openid_callback", "invitation_open", "mfa_authenticate",
}  # fmt: skip
#: For those who are not signed in, who cannot open the help.
FOR_STRANGERS = {"account_login", "account_inactive", "invitation"}
THE_HELP = {"help", "help_chapter"}
HREF = re.compile(r'<a [^>]*?href="([^"]*)"')


@pytest.fixture
def as_ann(client: Client, ann) -> Client:
    client.force_login(ann)
    return client


def text(answer) -> str:
    return answer.content.decode()


def article(page: str) -> str:
    return page.partition("<article")[2].partition("</article>")[0]


class Elements(HTMLParser):
    """Which elements and attributes are in a text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


# ---------------------------------------------------------------- each screen has its section


def screens() -> set[str]:
    answered = {
        name for name, route in ROUTES.items() if "GET" in f"{route.answers} {route.strangers}".split()
    }
    return answered - NO_SCREENS - FOR_STRANGERS - THE_HELP


def test_every_screen_has_a_section_and_every_section_has_a_screen():
    assert {"secrets", "instance", "audit", "secret_create", "settings_about"} <= screens()
    assert sorted(screens() - places.PLACES.keys()) == []
    routes = {pattern.name for pattern in get_resolver().url_patterns}
    assert sorted(places.PLACES.keys() - routes) == []
    assert (NO_SCREENS | FOR_STRANGERS).isdisjoint(places.PLACES)


@pytest.mark.parametrize("place", sorted(set(places.PLACES.values())))
def test_a_section_exists_where_a_screen_leads(place):
    name, _, anchor = place.partition("#")
    document = chapters.BY_NAME[name].document
    assert document
    assert not anchor or anchor in document.anchors


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/all/secrets/", "screens/#secrets"),
        ("/main/secrets/create/", "screens/#create-secret"),
        ("/all/rotations/", "screens/#rotations"),
        ("/access/policies/", "screens/#policies"),
        ("/audit/", "screens/#audit"),
        ("/settings/about/", "operation/#what-to-watch"),
        ("/sessions/", "screens/#your-account"),
    ],
)
def test_a_screen_has_one_link_named_help_that_leads_to_its_section(as_dot, open_keyring, path, place):
    factories.region("main")
    page = text(as_dot.get(path))
    links = re.findall(r'<a class="page-help" href="([^"]*)".*?<span[^>]*>Help</span></a>', page, re.DOTALL)
    assert links == [f"/help/{place}"]


def test_a_dialog_over_a_page_opens_the_help_beside_it(as_dot, open_keyring):
    factories.region("main")
    for path, place in (("/main/secrets/create/", "create-secret"), ("/keys/create/", "keys")):
        page = text(as_dot.get(path, headers={"HX-Request": "true", "HX-Target": "dialog"}))
        link = re.search(r'<a class="copy dialog-help" href="([^"]*)" target="_blank" rel="noopener"', page)
        assert link
        assert link[1] == f"/help/screens/#{place}"


def test_a_page_that_is_not_there_leads_to_the_list_of_chapters(as_ann):
    page = text(as_ann.get("/nowhere/at/all/"))
    assert 'class="page-help" href="/help/"' in page
    assert "page-help" not in text(as_ann.get("/help/"))


# ---------------------------------------------------------------- its pages


@pytest.mark.parametrize("chapter", chapters.CHAPTERS, ids=lambda one: one.name)
def test_a_chapter_is_shown_to_a_user_without_rights_and_none_of_its_links_is_dead(as_ann, chapter):
    before = AuditEvent.objects.count()
    answer = as_ann.get(chapter.url)
    page = text(answer)
    assert answer.status_code == 200
    assert AuditEvent.objects.count() == before
    assert len(article(page)) > 500
    for link in map(unescape, HREF.findall(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("/static/", "https://")):
            continue
        match = resolve(path or chapter.url)
        if match.url_name == "help_chapter":
            document = chapters.BY_NAME[match.kwargs["chapter"]].document
            assert document, link
            assert not anchor or anchor in document.anchors | {"content"}, link


def test_a_link_between_files_leads_to_a_chapter_and_one_to_another_file_is_its_text():
    html = documents.parse(
        "See [rotation.md](rotation.md#key-pairs), [seals](seals.md), [the code](../console/urls.py), "
        "[a page](http://other.example/), [a site](//other.example/), [another](javascript:alert(1)) and "
        "[the RFC](https://rfc.example/1).",
        chapters.target,
    ).html
    assert HREF.findall(html) == ["/help/rotation/#key-pairs", "/help/seals/", "https://rfc.example/1"]
    assert ">What a rotation does</a>" in html
    for kept in ("the code", "a page", "a site"):
        assert kept in html
    assert "urls.py" not in html


def test_html_in_a_source_is_shown_as_text():
    source = (
        '# A <b>title</b>\n\n<script>alert(1)</script>\n\n## <i onclick="x()">Head</i>\n\n'
        "One <img src=x onerror=alert(1)>, ![<u>picture](secrets.png) and `<s>`.\n\n"
        "| <b>a</b> | b |\n|---|---|\n| <i>c</i> | d |\n\n    <em>code</em>\n\n```<x>\n<h1>fence</h1>\n```\n"
    )
    html = documents.parse(source, chapters.target).html
    seen = Elements()
    seen.feed(html)
    assert seen.tags == {"p", "h2", "code", "div", "table", "thead", "tbody", "tr", "th", "td", "pre"}
    assert seen.attributes == {"id", "class", "role", "tabindex", "aria-label"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;h1&gt;fence" in html


def test_a_wide_table_scrolls_in_a_box_with_a_name_of_its_own():
    table = "| a | b |\n|---|---|\n| c | d |\n"
    html = documents.parse(f"# One\n\n{table}\n## Two\n\n{table}\n\nAnd:\n\n{table}", chapters.target).html
    boxes = re.findall(r'<div class="table-scroll" role="region" tabindex="0" aria-label="([^"]*)">', html)
    assert boxes == ["Table 1: One", "Table 2: Two", "Table 3: Two"]
    assert html.count("<table") == html.count("</table></div>") == 3


def test_two_headings_of_one_name_have_two_anchors():
    document = documents.parse("# T\n\n## Set up: `x`?\n\n## Set up: x\n", chapters.target)
    assert [section.anchor for section in document.sections] == ["set-up-x", "set-up-x-1"]


def test_a_chapter_that_did_not_come_along_says_so(as_ann, monkeypatch, tmp_path):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    for chapter in chapters.CHAPTERS:
        answer = as_ann.get(chapter.url)
        assert answer.status_code == 404
        assert "This chapter is missing" in text(answer)
    assert "No section found" in text(as_ann.get("/help/?q=rotation"))


def test_an_unknown_chapter_is_not_found_and_names_no_file(as_ann):
    for name in ("architecture", "rules", "README", "none"):
        assert as_ann.get(reverse("help_chapter", args=[name])).status_code == 404


def test_the_help_needs_a_sign_in(client):
    for path in ("/help/", "/help/rotation/", "/help/new/", "/help/?q=rotation"):
        assert client.get(path).status_code == 302


def test_what_is_new_is_the_changelog(as_ann):
    page = text(as_ann.get("/help/new/"))
    assert "<h1>What&#x27;s new</h1>" in page or "<h1>What's new</h1>" in page
    assert "runs web, worker and beat on one machine" in article(page)


# ---------------------------------------------------------------- its search


def marked(page: str) -> set[str]:
    return {word.lower() for word in re.findall(r"<mark>(.*?)</mark>", page)}


def test_a_search_finds_a_section_with_its_words_marked_and_leads_to_it(as_ann):
    page = text(as_ann.get("/help/?q=FENCED+interrupted"))
    assert "/help/rotation/#what-it-needs-there" in page
    assert marked(page) == {"fenced", "interrupted"}


def test_a_section_whose_heading_has_the_words_comes_first():
    found = search.find("background actions")
    assert found
    assert found.hits[0].url == "/help/screens/#background-actions"


def test_a_row_of_a_table_and_a_line_of_code_are_found():
    for query, url in (
        ("KEYTURN_READS_AT_MOST", "/help/configuration/"),
        ("requiretty", "/help/rotation/#what-it-needs-there"),
    ):
        found = search.find(query)
        assert found
        assert url in [hit.url for hit in found.hits]


def test_a_search_for_markup_finds_and_shows_it_as_text(as_ann):
    page = text(as_ann.get("/help/", {"q": "<script>alert(1)</script>"}))
    assert "<script>alert" not in page
    assert "No section found" in page
    page = text(as_ann.get("/help/", {"q": "(.*"}))
    assert "No section found" in page


def test_a_search_is_bounded(as_ann):
    assert "at most 100 characters" in text(as_ann.get("/help/", {"q": "rotation " * 20}))
    found = search.find("a")
    assert found
    assert (len(found.hits), found.has_more) == (search.MAX_HITS, True)
    for hit in found.hits:
        shown = ["".join(part.text for part in paragraph) for paragraph in hit.paragraphs]
        assert len(shown) <= search.PARAGRAPHS
        assert max(map(len, shown), default=0) <= 4 * search.AROUND


def test_an_empty_search_shows_the_chapters(as_ann):
    assert search.find("  ") is None
    assert "Choose a chapter" in text(as_ann.get("/help/?q=+"))
