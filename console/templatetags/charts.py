"""Bars as SVG, drawn by the server: no script, no style attribute, and a table that says the same.

The picture holds shapes only, which may be stretched; words stand beside it as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from console.reports.charts import Chart

register = template.Library()

HEIGHT = 100.0
SLOT = 10.0  # of one bar, with the gap beside it
WIDTH = 7.0
LEAST = 2.0  # one of a thousand is still to be seen


@dataclass(frozen=True)
class Shape:
    """A rectangle of the picture, in its own units."""

    x: float
    y: float
    height: float
    tone: str
    title: str


@register.simple_tag
@lru_cache(maxsize=64)
def bars(chart: Chart) -> SafeString:
    """The chart as picture, legend and table. The same chart is drawn once: it holds counts and no reader."""
    context = {
        "chart": chart,
        "shapes": shapes(chart),
        "view_width": f"{SLOT * len(chart.bars):g}",
        "bar_width": f"{WIDTH:g}",
        "labels": [chart.bars[0].label, chart.bars[len(chart.bars) // 2].label, chart.bars[-1].label]
        if len(chart.bars) > 6
        else [bar.label for bar in chart.bars],
    }
    return render_to_string("charts/_bars.html", context)


def shapes(chart: Chart) -> list[Shape]:
    """Stack each bar's parts from below; the height is the chart's scale."""
    rectangles = []
    for number, bar in enumerate(chart.bars):
        top = HEIGHT
        for series, count in zip(chart.series, bar.parts, strict=True):
            if count:
                height = round(max(count / chart.scale * (HEIGHT - 2 * LEAST), LEAST), 2)
                top = round(max(top - height, 0.0), 2)
                title = f"{bar.label}: {series.name.lower()} {count:,}"
                rectangles.append(Shape(number * SLOT + (SLOT - WIDTH) / 2, top, height, series.tone, title))
    return rectangles
