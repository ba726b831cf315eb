"""Charts over time, as `console.js` draws them, each with the table of its values behind it.

What is drawn are floats, for the eye; the table says what the reports say.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing.usage import Counted, Report, end_of, mean_bytes
from console.templatetags.console import credits, number, percent, size, usd

# How a period is named in full and on the axis.
_FULL = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
_SHORT = {"hour": "%H:%M", "day": "%d %b", "month": "%b %Y"}
_WITH_DAY = "%d %b %H:%M"  # for hours of more than a day


class Series(NamedTuple):
    """`values` has one for each period; `shown` is a value as the table has it, `drawn` as a number of `unit`."""

    label: str
    values: Sequence[Any]
    shown: Callable[[Any], str] = number
    drawn: Callable[[Any], float] = float
    unit: str = ""  # $, % or B, else a word
    colour: int = 1  # of --chart-1 to --chart-4
    kind: str = "bar"
    axis: str = "y"


class Chart(NamedTuple):
    id: str
    title: str
    periods: str  # what the first column of the table is
    data: dict[str, Any]  # for console.js
    columns: list[str]
    rows: list[tuple[str, list[str]]]

    @property
    def script(self) -> str:
        """The id of the element with `data`."""
        return f"chart-{self.id}"

    @property
    def body(self) -> SafeString:
        """The table's rows: made here, for a template takes twice as long over the cells of a week's hours."""
        cells = '<td class="number">{}</td>' * len(self.columns)
        row = f'<tr><th scope="row">{{}}</th>{cells}</tr>'
        return format_html_join("\n", row, ((name, *shown) for name, shown in self.rows))


def over_time(id: str, title: str, starts: Sequence[datetime], group_by: str, *series: Series) -> Chart:
    """Bars of one axis stand on each other."""
    full = [f"{start:{_FULL[group_by]}}" for start in starts]
    short = _WITH_DAY if group_by == "hour" and len(starts) > 24 else _SHORT[group_by]
    data = {
        "labels": full,
        "ticks": [f"{start:{short}}" for start in starts],
        "stacked": sum(one.kind == "bar" for one in series) > 1,
        "series": [
            {
                "label": one.label,
                "values": [None if value is None else one.drawn(value) for value in one.values],
                "unit": one.unit,
                "colour": one.colour,
                "kind": one.kind,
                "axis": one.axis,
            }
            for one in series
        ],
    }
    columns = [one.label for one in series]
    lines = zip(full, *(one.values for one in series), strict=True)
    rows = [(name, list(map(_cell, series, values))) for name, *values in lines]
    return Chart(id, title, f"{group_by.capitalize()} (UTC)", data, columns, rows)


def hits(rows: Sequence[Counted], group_by: str) -> Chart:
    counts = [row.counts for row in rows]
    return over_time(
        "hits",
        "Hits and misses",
        [row.start for row in rows],
        group_by,
        Series("Hits", [each.hits for each in counts]),
        Series("Misses", [each.misses for each in counts], colour=4),
        Series("Hit ratio", [each.hit_ratio for each in counts], percent, _of_100, "%", 2, "line", "y2"),
    )


def parts(
    title: str, starts: Sequence[datetime], group_by: str, values: Iterable[tuple[str, Sequence[int]]], kind: str
) -> Chart:
    """Of each part its name and counts; at most four. Bars for parts that make up a whole, else lines."""
    series = [Series(name, counts, colour=colour, kind=kind) for colour, (name, counts) in enumerate(values, start=1)]
    return over_time("parts", title, starts, group_by, *series)


def credits_spent(report: Report, group_by: str) -> Chart:
    units = Series("Credits", [used.counts.units for used in report.rows], credits, lambda units: units / 100)
    return over_time("credits", "Credits spent", [used.start for used in report.rows], group_by, units)


def saved(report: Report, group_by: str) -> Chart:
    amounts = Series("Saved", [used.counts.saved for used in report.rows], usd, unit="$", colour=2)
    return over_time("saved", "Saved", [used.start for used in report.rows], group_by, amounts)


def stored(report: Report, group_by: str) -> Chart:
    ends = [end_of(used.start, group_by, report.as_of) for used in report.rows]
    means = [round(mean_bytes(used.counts, used.start, end)) for used, end in zip(report.rows, ends, strict=True)]
    line = Series("Stored on average", means, size, unit="B", colour=3, kind="line")
    return over_time("stored", "Storage", [used.start for used in report.rows], group_by, line)


def _of_100(share: Any) -> float:
    return round(float(share) * 100, 1)


def _cell(series: Series, value: Any) -> str:
    return "–" if value is None else series.shown(value)
