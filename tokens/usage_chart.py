"""The chart of a token's use: one bar for each of the last 30 days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

DAYS = 30
# Units of the drawing.
WIDTH = 600
HEIGHT = 80
BAR = WIDTH // DAYS


@dataclass(frozen=True, slots=True)
class Bar:
    """The uses on one day, and the place of the bar in the drawing."""

    day: date
    count: int
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class UsageChart:
    """The bars of a chart, with the total and the highest count."""

    bars: tuple[Bar, ...]

    width = WIDTH
    height = HEIGHT
    bar_width = BAR - 2

    @property
    def total(self) -> int:
        return sum(bar.count for bar in self.bars)

    @property
    def highest(self) -> int:
        return max((bar.count for bar in self.bars), default=0)

    @property
    def used_days(self) -> list[Bar]:
        """The days with any use, the latest first; the rows of the table."""
        return [bar for bar in reversed(self.bars) if bar.count]


def usage_chart(counts: Mapping[date, int], today: date) -> UsageChart:
    """Return the chart of the 30 days up to `today`; missing days count as zero."""
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    highest = max((counts.get(day, 0) for day in days), default=0) or 1
    bars = []
    for number, day in enumerate(days):
        count = counts.get(day, 0)
        # A day with any use has a visible bar.
        height = max(2, round(HEIGHT * count / highest)) if count else 0
        bars.append(Bar(day, count, number * BAR + 1, HEIGHT - height, height))
    return UsageChart(tuple(bars))
