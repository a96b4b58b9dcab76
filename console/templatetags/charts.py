"""Bars as SVG, drawn by the server: no script, no style attribute, and a table that says the same.

The picture holds shapes only, which may be stretched; words stand beside it as text.
"""

from __future__ import annotations

from dataclasses import dataclass

from django import template

register = template.Library()

HEIGHT = 100.0
SLOT = 10.0  # of one bar, with the gap beside it
WIDTH = 7.0
LEAST = 2.0  # one of a thousand is still to be seen


@dataclass(frozen=True)
class Series:
    """One kind of what is stacked; its tone is its colour, and its name stands in legend and table."""

    name: str
    tone: str


@dataclass(frozen=True)
class Bar:
    """One bar: a count for each series, from below, and the list that it counts where there is one."""

    label: str
    parts: tuple[int, ...]
    url: str = ""

    @property
    def total(self) -> int:
        return sum(self.parts)


@dataclass(frozen=True)
class Chart:
    """Bars with what they mean."""

    title: str
    axis: str  # what a bar stands for
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]
    note: str = ""

    @property
    def highest(self) -> int:
        return max((bar.total for bar in self.bars), default=0)

    @property
    def total(self) -> int:
        return sum(bar.total for bar in self.bars)

    @property
    def sentence(self) -> str:
        """What the picture says, for those who do not see it."""
        sums = [sum(bar.parts[number] for bar in self.bars) for number in range(len(self.series))]
        parts = ", ".join(
            f"{one.name.lower()} {count:,}" for one, count in zip(self.series, sums, strict=True)
        )
        return f"{self.title}. {self.note}: {self.total:,} in all; {parts}. At most {self.highest:,} a bar."


@dataclass(frozen=True)
class Shape:
    """A rectangle of the picture, in its own units."""

    x: float
    y: float
    height: float
    tone: str
    title: str


@register.inclusion_tag("charts/_bars.html")
def bars(chart: Chart) -> dict[str, object]:
    """The chart as picture, legend and table."""
    return {
        "chart": chart,
        "shapes": shapes(chart),
        "view_width": f"{SLOT * len(chart.bars):g}",
        "bar_width": f"{WIDTH:g}",
        "labels": [chart.bars[0].label, chart.bars[len(chart.bars) // 2].label, chart.bars[-1].label]
        if len(chart.bars) > 6
        else [bar.label for bar in chart.bars],
    }


def shapes(chart: Chart) -> list[Shape]:
    """Stack each bar's parts from below; the highest bar fills the height."""
    found = []
    for number, bar in enumerate(chart.bars):
        top = HEIGHT
        for one, count in zip(chart.series, bar.parts, strict=True):
            if count:
                height = round(max(count / chart.highest * (HEIGHT - 2 * LEAST), LEAST), 2)
                top = round(max(top - height, 0.0), 2)
                title = f"{bar.label}: {one.name.lower()} {count:,}"
                found.append(Shape(number * SLOT + (SLOT - WIDTH) / 2, top, height, one.tone, title))
    return found
