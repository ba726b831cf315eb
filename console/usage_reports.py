"""The usage page's chart and tables, of the reports that the API gives."""

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from django.core.paginator import Page, Paginator
from django.utils import timezone

from accounts import tokens
from billing import usage, usage_answers
from billing.usage import APIKeyName, Counts, end_of, mean_bytes
from billing.usage_requests import Question
from cacheservice.http import Answer
from console import charts, reports
from console.charts import Chart

ROWS = 50  # a page
MOST_PARTS = 50  # in their table
DRAWN = 3  # parts in the chart, where the others are the fourth colour


class Part(NamedTuple):
    """What a report is split into: an API key or a tag."""

    name: str
    key: str = ""  # the API key's id in URLs


class Line(NamedTuple):
    """A row of a table: of a period, or of the whole range."""

    start: datetime
    end: datetime  # of what is counted
    part: Part | None  # None: all of the tenant
    counts: Counts  # of a tag, hits and savings only

    @property
    def mean_bytes(self) -> int:
        return round(mean_bytes(self.counts, self.start, self.end))


class Shown(NamedTuple):
    question: Question
    as_of: datetime
    chart: Chart
    total: Line  # senseless by tag: a hit counts for each tag of its entry
    parts: list[Line]  # those of most hits; none where the report is not split
    more_parts: int  # how many there are beside them
    page: "Page[Line]"  # the latest period first

    @property
    def used(self) -> bool:
        """Whether anything was counted or stored in the range."""
        return any(self.total.counts)


def read(tenant_id: int, question: Question, page: str | None) -> Shown:
    """`page` is a number; for what is none the nearest page is shown. Raises InvalidRequest for too many rows."""
    as_of, lines = _lines(tenant_id, question)
    starts = list(question.range.starts(as_of))
    total = _whole(question, as_of, None, lines)
    of_part: dict[Part | None, list[Line]] = defaultdict(list)
    for line in lines:
        of_part[line.part].append(line)
    parts = [_whole(question, as_of, part, rows) for part, rows in of_part.items() if part is not None]
    parts.sort(key=lambda line: (-line.counts.hits, line.part))
    if question.by is None:
        chart = charts.hits(lines, question.range.group_by)
    else:
        chart = _chart(question, starts, [line.part for line in parts], lines)
    latest_first = sorted(lines, key=lambda line: line.start, reverse=True)
    shown = Paginator(latest_first, ROWS).get_page(page)
    return Shown(question, as_of, chart, total, parts[:MOST_PARTS], max(0, len(parts) - MOST_PARTS), shown)


def csv(tenant_id: int, question: Question) -> Answer:
    """The API's document. Raises InvalidRequest for too many rows."""
    if question.by == "tag":
        return usage_answers.tag_usage(question, usage.read_tags(reports.statistics, tenant_id, question.range))
    report = usage.read(reports.statistics, tenant_id, question.range, by_api_key=question.by is not None)
    return usage_answers.usage(question, report)


def _lines(tenant_id: int, question: Question) -> tuple[datetime, list[Line]]:
    """Until when, and a row for each period and part."""
    asked = question.range
    if question.by == "tag":
        tags = usage.read_tags(reports.statistics, tenant_id, asked)
        return timezone.now(), [
            Line(row.start, asked.end, Part(row.tag), Counts(hits=row.hits, saved=row.saved)) for row in tags
        ]
    report = usage.read(reports.statistics, tenant_id, asked, by_api_key=question.by is not None)
    parts = {api_key: _part(api_key) for api_key in {used.api_key for used in report.rows}}
    return report.as_of, [
        Line(used.start, end_of(used.start, asked.group_by, report.as_of), parts[used.api_key], used.counts)
        for used in report.rows
    ]


def _part(api_key: APIKeyName | None) -> Part | None:
    if api_key is None:
        return None
    code = tokens.encode_id(api_key.id)
    return Part(f"{code} (removed)", "") if api_key.name is None else Part(api_key.name, code)


def _whole(question: Question, as_of: datetime, part: Part | None, lines: list[Line]) -> Line:
    """The part's lines over the whole range."""
    start, end, _ = question.range
    return Line(start, min(end, as_of), part, usage.total(lines))


def _chart(question: Question, starts: list[datetime], parts: list[Part | None], lines: list[Line]) -> Chart:
    """The hits of the parts that have most of them, and of all other API keys together. Those of tags overlap."""
    drawn = parts[:DRAWN]
    rest = question.by == "api_key" and len(parts) > DRAWN
    hits: dict[tuple[Part | None, datetime], int] = defaultdict(int)
    for line in lines:
        hits[line.part if line.part in drawn else None, line.start] += line.counts.hits
    names = {part: part.name for part in drawn if part} | ({None: "All others"} if rest else {})
    values = [(name, [hits[part, start] for start in starts]) for part, name in names.items()]
    kind = "bar" if question.by == "api_key" else "line"
    return charts.parts("Hits", starts, question.range.group_by, values, kind)
