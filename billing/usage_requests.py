"""What clients may ask of usage. Raises InvalidRequest naming the parameter and what is allowed in its place."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from billing import formats
from billing.usage import PERIODS, Range, shifted, start_of
from cacheservice.entries.collection import wire
from cacheservice.entries.requests import parse_choice, parse_query, shown
from cacheservice.errors import InvalidRequest

TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z)?"
YEARS = range(2000, 3000)
BY = ("api_key", "tag")
FORMATS = ("json", "csv")


class Span(NamedTuple):
    """How many periods a report has: by default, and at most, in numbers and words."""

    default: int
    most: int
    longest: str


SPANS = {"hour": Span(24, 31 * 24, "31 days"), "day": Span(30, 366, "366 days"), "month": Span(12, 60, "60 months")}


class Question(NamedTuple):
    range: Range
    by: str | None  # one of BY
    as_csv: bool


def parse(query: bytes, accept: str, now: datetime) -> Question:
    """Without `to` the report goes to the end of the running period."""
    parameters = parse_query(query, ("from", "to", "group_by", "by", "format"))
    group_by = parse_choice(parameters, "group_by", tuple(PERIODS)) or "day"
    by = parse_choice(parameters, "by", BY)
    if by == "tag" and group_by == "hour":
        raise InvalidRequest("group_by: the use of tags is counted by day; send 'day' or 'month' with by=tag.")
    as_csv = formats.wanted(parameters, accept, FORMATS) == "csv"
    return Question(_range(parameters, group_by, now), by, as_csv)


def _range(parameters: Mapping[str, list[str]], group_by: str, now: datetime) -> Range:
    span = SPANS[group_by]
    end = _start(parameters, "to", group_by) or shifted(start_of(now, group_by), group_by, 1)
    start = _start(parameters, "from", group_by) or shifted(end, group_by, -span.default)
    if start >= end:
        raise InvalidRequest(f"from: {wire(start)} is not before 'to', which is {wire(end)}; send an earlier one.")
    if end > shifted(start, group_by, span.most):
        longer = "" if group_by == "month" else ", or a longer group_by"
        raise InvalidRequest(
            f"from: {wire(start)} to {wire(end)} is too long; with group_by={group_by} at most {span.longest} are "
            f"reported. Send a later 'from'{longer}."
        )
    return Range(start, end, group_by)


def _start(parameters: Mapping[str, list[str]], name: str, group_by: str) -> datetime | None:
    """The start of a period; None when the parameter is not given."""
    if name not in parameters:
        return None
    [text] = parameters[name]
    moment = _time(text)
    if moment is None:
        example = "2026-11-20T10:00:00Z, or a UTC day such as 2026-11-20"
        raise InvalidRequest(f"{name}: send a UTC time such as {example}, not '{shown(text)}'.")
    if moment.year not in YEARS:
        raise InvalidRequest(f"{name}: send a year from {YEARS[0]} to {YEARS[-1]}, not '{text}'.")
    start = start_of(moment, group_by)
    if start != moment:
        nearest = f"{wire(start)} or {wire(shifted(start, group_by, 1))}"
        raise InvalidRequest(
            f"{name}: with group_by={group_by} it must be the start of a UTC {group_by}; send {nearest}, not '{text}'."
        )
    return start


def _time(text: str) -> datetime | None:
    if not re.fullmatch(TIME, text):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:  # there is no such day or time
        return None
