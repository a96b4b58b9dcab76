"""The parts that screens are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django import forms
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from console import private_apis
from console.presentation import durations
from console.templatetags import console

NOON = datetime(2026, 11, 18, 12, 0, 13, tzinfo=UTC)


def rendered(source: str, url: str = "/", **context: object) -> str:
    request = RequestFactory().get(url)
    return Template(source).render(Context({"request": request, **context}))


class Sign(forms.Form):
    name = forms.CharField(label="Secret name", help_text="Letters and digits.")
    word = forms.CharField(label="Password", widget=forms.PasswordInput)
    kind = forms.ChoiceField(label="Kind", widget=forms.RadioSelect, choices=[("a", "Apple"), ("b", "Bean")])
    on = forms.BooleanField(label="Turn on", required=False)


# ---------------------------------------------------------------- badge


@pytest.mark.parametrize("tone", console.TONE_ICONS)
def test_a_badge_always_has_a_shape_and_a_word(tone):
    html = rendered("{% badge tone 'In sync' %}", tone=tone)
    assert "<svg" in html
    assert "In sync" in html


def test_no_two_tones_share_a_shape():
    assert len(set(console.TONE_ICONS.values())) == len(console.TONE_ICONS)


def test_a_badge_cannot_be_made_to_carry_markup():
    html = rendered("{% badge 'danger' label sentence %}", label="<img src=x>", sentence='"><script>')
    assert "<img" not in html
    assert "<script" not in html


# ---------------------------------------------------------------- when


@time_machine.travel(NOON, tick=False)
def test_a_moment_shows_the_exact_utc_on_hover_and_how_far_it_is():
    html = rendered("{% when moment %}", moment=NOON + timedelta(days=3))
    assert 'title="2026-11-21 12:00:13 UTC"' in html
    assert 'datetime="2026-11-21T12:00:13Z"' in html
    assert "in 3 days" in html


@time_machine.travel(NOON, tick=False)
def test_a_moment_is_written_in_the_readers_zone_with_its_name():
    with timezone.override("Asia/Kolkata"):
        html = rendered("{% when moment %}", moment=NOON)
    assert "2026-11-18 17:30 IST" in html
    assert 'title="2026-11-18 12:00:13 UTC"' in html


def test_no_moment_is_a_dash():
    assert "—" in rendered("{% when moment %}", moment=None)


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(seconds=0), "just now"),
        (timedelta(seconds=-59), "just now"),
        (timedelta(seconds=59), "in less than a minute"),
        (timedelta(seconds=-60), "1 minute ago"),
        (timedelta(minutes=59), "in 59 minutes"),
        (timedelta(hours=-2), "2 hours ago"),
        (timedelta(days=1), "in 1 day"),
        (timedelta(days=-400), "400 days ago"),
    ],
)
def test_a_distance_in_time_reads_as_people_say_it(distance, words):
    assert durations.relative(NOON + distance, NOON) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (None, "—"),
        (timedelta(milliseconds=820), "820 ms"),
        (timedelta(seconds=2.44), "2.4 s"),
        (timedelta(seconds=12), "12 s"),
        (timedelta(seconds=65), "1 min 5 s"),
        (timedelta(minutes=3), "3 min"),
        (timedelta(hours=6), "6 hours"),
        (timedelta(hours=1, minutes=30), "1 hour 30 min"),
        (timedelta(days=7), "7 days"),
        (timedelta(days=1, hours=1), "1 day 1 hour"),
    ],
)
def test_a_duration_has_the_units_that_matter(length, words):
    assert durations.duration(length) == words


# ---------------------------------------------------------------- field


def test_an_error_stands_beside_its_field_and_the_field_names_it():
    form = Sign({"name": ""})
    html = rendered("{% field form.name %}", form=form)
    assert 'aria-describedby="id_name_helptext id_name_error"' in html
    assert 'id="id_name_error"' in html
    assert 'aria-invalid="true"' in html
    assert "This field is required." in html


def test_typed_text_is_kept_but_never_a_password():
    form = Sign({"name": "prod web", "word": "kept-nowhere"})
    form.is_valid()
    html = rendered("{% field form.name %}{% field form.word %}", form=form)
    assert 'value="prod web"' in html
    assert "kept-nowhere" not in html


def test_a_fixed_prefix_stands_before_the_control():
    html = rendered("{% field form.name prefix='acs/ecs/' %}", form=Sign())
    assert html.index("acs/ecs/") < html.index("<input")


def test_choices_are_a_group_with_a_legend():
    html = rendered("{% field form.kind kind='cards' %}", form=Sign())
    assert "<fieldset" in html
    assert "<legend" in html
    assert html.count('choice-card"') == 2


def test_a_tick_has_its_label_around_it():
    assert 'class="switch" for="id_on"' in rendered("{% field form.on kind='switch' %}", form=Sign())


# ---------------------------------------------------------------- steps, lists, copy


def test_the_steps_say_which_is_done_and_which_is_now():
    html = rendered("{% steps names 2 %}", names=["Type", "Rotation", "Review"])
    assert html.count('aria-current="step"') == 1
    assert html.count("Done:") == 1
    assert 'aria-label="Step 2 of 3"' in html


def test_a_sorted_column_says_so_and_turns_round_when_pressed():
    html = rendered("{% sort_header 'name' 'Name' %}", url="/?sort=name&q=web&page=4")
    assert 'aria-sort="ascending"' in html
    assert 'href="?sort=-name&amp;q=web"' in html or 'href="?q=web&amp;sort=-name"' in html


def test_the_lists_own_order_counts_where_the_url_names_none():
    assert 'aria-sort="descending"' in rendered("{% sort_header 'created' 'Created' '-created' %}")
    assert "aria-sort" not in rendered("{% sort_header 'name' 'Name' '-created' %}")


def test_a_changed_query_keeps_the_other_filters():
    assert rendered("{% query page=3 %}", url="/?q=a%26b&page=2") == "?q=a%26b&amp;page=3"


def test_a_copy_button_cannot_be_made_to_carry_markup():
    html = rendered("{% copy name 'name' %}", name='"><script>alert(1)</script>')
    assert "<script" not in html
    assert "Copy name" in html


@pytest.mark.parametrize("name", ["key-round", "server", "chevron-right", "triangle-alert"])
def test_an_icon_has_the_shapes_that_lucide_itself_draws(name):
    its_own = Template(f"{{% load lucide %}}{{% lucide '{name}' size=24 %}}").render(Context())
    _, _, shapes = its_own.removesuffix("</svg>").partition(">")
    lines = [line.strip() for line in shapes.splitlines()]
    assert private_apis.drawn(name) == "".join(lines).replace(" />", "/>")


def test_an_icon_that_lucide_has_not_is_an_error():
    with pytest.raises(KeyError):
        private_apis.drawn("no-such-icon")
