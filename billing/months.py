"""UTC months, named by their first day."""

import re
from datetime import UTC, date, datetime, time

_TEXT = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])", re.ASCII)


def parse(text: str) -> date:
    """Raises ValueError for anything but YYYY-MM of this century."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"month: '{text[:20]}' is no month; give one as YYYY-MM, such as 2026-11.")
    return date(int(match[1]), int(match[2]), 1)


def wire(month: date) -> str:
    return f"{month:%Y-%m}"


def of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def following(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def before(month: date) -> date:
    return date(month.year - (month.month == 1), (month.month - 2) % 12 + 1, 1)


def start(month: date) -> datetime:
    """Its first instant."""
    return midnight(month)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
