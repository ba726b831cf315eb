"""What clients may ask of spend. Raises InvalidRequest naming the parameter and what is allowed in its place."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from billing import formats
from cacheservice.entries.requests import parse_limit, parse_query, shown
from cacheservice.errors import InvalidRequest
from gateway.spend import BY

DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
DEFAULT_DAYS, MOST_DAYS = 30, 366
DEFAULT_TOP, MOST_TOP = 10, 100
YEARS = range(2000, 3000)
FORMATS = ("json", "csv")


class Question(NamedTuple):
    start: date
    end: date  # not included
    by: tuple[str, ...]  # one or two of BY
    as_csv: bool


def parse(query: bytes, accept: str, today: date) -> Question:
    """By default by day, the last 30 of them."""
    parameters = parse_query(query, ("from", "to", "by", "format"))
    start, end = _range(parameters, today)
    return Question(start, end, _by(parameters), formats.wanted(parameters, accept, FORMATS) == "csv")


def parse_prompts(query: bytes, today: date) -> tuple[date, date, int]:
    """From, to, and how many."""
    parameters = parse_query(query, ("from", "to", "limit"))
    return *_range(parameters, today), parse_limit(parameters, MOST_TOP, DEFAULT_TOP)


def today() -> date:
    """In UTC."""
    return datetime.now(UTC).date()


def _by(parameters: Mapping[str, list[str]]) -> tuple[str, ...]:
    [text] = parameters.get("by", ["day"])
    names = tuple(text.split(","))
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names) or not set(names) <= set(BY):
        raise InvalidRequest(f"by: send one or two of {', '.join(BY)}, with a comma between them, not '{shown(text)}'.")
    return names


def _range(parameters: Mapping[str, list[str]], today: date) -> tuple[date, date]:
    end = _day(parameters, "to") or today + timedelta(days=1)
    start = _day(parameters, "from") or end - timedelta(days=DEFAULT_DAYS)
    if start >= end:
        raise InvalidRequest(f"from: {start} is not before 'to', which is {end}; send an earlier one.")
    if (end - start).days > MOST_DAYS:
        raise InvalidRequest(f"from: {start} to {end} is too long; send at most {MOST_DAYS} days.")
    return start, end


def _day(parameters: Mapping[str, list[str]], name: str) -> date | None:
    if name not in parameters:
        return None
    [text] = parameters[name]
    try:
        day = date.fromisoformat(text) if re.fullmatch(DAY, text) else None
    except ValueError:  # there is no such day
        day = None
    if day is None or day.year not in YEARS:
        raise InvalidRequest(f"{name}: send a UTC day such as 2026-11-20, not '{shown(text)}'.")
    return day
