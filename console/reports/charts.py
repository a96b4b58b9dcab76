"""What a picture of bars shows: counts by kind, and what the picture says in words."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SCALE = 5


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
    empty: str = "Nothing to show yet."  # said in place of bars of nothing

    @property
    def highest(self) -> int:
        return max((bar.total for bar in self.bars), default=0)

    @property
    def scale(self) -> int:
        """What the height of the picture stands for: one or two of something make low bars."""
        return max(self.highest, LEAST_SCALE)

    @property
    def total(self) -> int:
        return sum(bar.total for bar in self.bars)

    @property
    def sentence(self) -> str:
        """What the picture says, for those who do not see it."""
        sums = [sum(bar.parts[number] for bar in self.bars) for number in range(len(self.series))]
        parts = ", ".join(
            f"{series.name.lower()} {count:,}" for series, count in zip(self.series, sums, strict=True)
        )
        return f"{self.title}. {self.note}: {self.total:,} in all; {parts}. At most {self.highest:,} a bar."
