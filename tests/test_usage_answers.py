"""What may be asked of usage, and how it is answered."""

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import random_id
from billing import usage, usage_answers, usage_requests
from billing.rows import django_rows
from billing.usage import Range, Used
from billing.usage_requests import Question
from cacheservice.errors import InvalidRequest
from tests.usage_cast import Event, expected, utc, write_receipts

NOW = utc(2026, 11, 20, 19, 30, 5)


def asked(query: str, accept: str = "*/*") -> Question:
    return usage_requests.parse(query.encode(), accept, NOW)


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("", utc(2026, 10, 22), utc(2026, 11, 21)),
        ("group_by=hour", utc(2026, 11, 19, 20), utc(2026, 11, 20, 20)),
        ("group_by=month", utc(2025, 12, 1), utc(2026, 12, 1)),
        ("to=2026-03-01", utc(2026, 1, 30), utc(2026, 3, 1)),
        ("to=2024-03-01&group_by=month", utc(2023, 3, 1), utc(2024, 3, 1)),
        ("from=2026-11-20", utc(2026, 11, 20), utc(2026, 11, 21)),
        ("from=2026-11-20T10:00:00.000Z&group_by=hour", utc(2026, 11, 20, 10), utc(2026, 11, 20, 20)),
        ("from=2024-02-29&to=2025-03-01", utc(2024, 2, 29), utc(2025, 3, 1)),  # 366 days
        ("from=2024-01-01&to=2024-02-01&group_by=hour", utc(2024, 1, 1), utc(2024, 2, 1)),  # 31 days
        ("from=2024-02-01&to=2029-02-01&group_by=month", utc(2024, 2, 1), utc(2029, 2, 1)),  # 60 months
    ],
)  # fmt: skip
def test_range(query: str, start: datetime, end: datetime) -> None:
    assert asked(query).range[:2] == (start, end)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("group_by=week", ["group_by:", "'hour' or 'day' or 'month'", "'week'"]),
        ("by=key", ["by:", "'api_key' or 'tag'", "'key'"]),
        ("by=tag&group_by=hour", ["group_by:", "'day' or 'month'"]),
        ("since=2026-01-01", ["'since'", "from, to, group_by, by"]),
        ("from=2026-01-01&from=2026-01-02", ["'from'", "more than once"]),
        ("format=pdf", ["format:", "json, csv"]),
        ("from=yesterday", ["from:", "2026-11-20T10:00:00Z", "'yesterday'"]),
        ("from=", ["from:", "2026-11-20T10:00:00Z"]),
        ("from=2026-02-29", ["from:", "'2026-02-29'"]),
        ("from=2026-11-20T25:00:00Z", ["from:", "T25"]),
        ("from=2026-11-20T10:00:00", ["from:", "2026-11-20T10:00:00Z"]),
        ("from=2026-11-20T10:00:00%2B01:00", ["from:", "UTC"]),
        ("to=" + "9" * 500, ["to:", "…"]),
        ("from=1999-01-01", ["from:", "2000 to 2999", "1999"]),
        ("to=3000-01-01", ["to:", "2000 to 2999"]),
        ("from=0001-01-01&to=0001-01-02", ["2000 to 2999"]),
        ("from=2026-11-20T10:00:00Z", ["from:", "start of a UTC day", "2026-11-20T00:00:00Z or 2026-11-21T00:00:00Z"]),
        ("to=2026-12-31&group_by=month", ["start of a UTC month", "2026-12-01T00:00:00Z or 2027-01-01T00:00:00Z"]),
        ("from=2026-11-20T10:00:01Z&group_by=hour", ["start of a UTC hour", "2026-11-20T10:00:00Z or 2026-11-20T11"]),
        ("from=2026-11-20T10:00:00.000001Z&group_by=hour", ["start of a UTC hour"]),
        ("from=2026-11-20&to=2026-11-20", ["from:", "not before 'to'"]),
        ("from=2026-11-20&to=2026-11-19", ["from:", "not before 'to'"]),
        ("from=2026-11-21", ["from:", "not before 'to'", "2026-11-21"]),
        ("from=2024-01-01&to=2024-02-01T01:00:00Z&group_by=hour", ["31 days", "group_by"]),
        ("from=2025-01-01&to=2026-01-03", ["366 days", "group_by"]),
        ("from=2016-11-01&to=2026-11-01&group_by=month", ["60 months", "later 'from'"]),
        ("from=2020-01-01&group_by=hour", ["31 days"]),
    ],
)  # fmt: skip
def test_bad_question_is_told_what_is_allowed(query: str, words: list[str]) -> None:
    with pytest.raises(InvalidRequest) as error:
        asked(query)
    assert [word for word in words if word not in error.value.message] == []
    assert error.value.message.endswith(".")


QUESTION = asked("from=2024-02-01&to=2024-03-01&group_by=month")
REPORT_TIME = utc(2024, 4, 1)


def figures(event: Event) -> Any:
    """The total of a month of this, of an API key that is gone."""
    counts = expected([event], utc(2024, 2, 1), utc(2024, 3, 1))
    report = usage.Report(REPORT_TIME, [Used(utc(2024, 2, 1), None, counts)])
    content = json.loads(usage_answers.usage(QUESTION, report).body)
    [row] = content["usage"]
    assert row == {"start": "2024-02-01T00:00:00Z", **content["total"]}
    return content["total"]


@pytest.mark.parametrize(
    ("event", "figure"),
    [
        (Event(utc(2024, 1, 1), 1, 10**9), {"byte_seconds": "2505600000000000.000000", "gb_months": "1.000000000"}),
        (Event(utc(2024, 2, 15, 12), 1, 10**9), {"gb_months": "0.500000000"}),
        (Event(utc(2024, 2, 29, 23, 59, 59, 999_999), 1, 1), {"byte_seconds": "0.000001", "gb_months": "0.000000000"}),
        (Event(utc(2024, 1, 1), 1, 10**16), {"byte_seconds": "25056000000000000000000.000000"}),
        (Event(utc(2024, 2, 2), 1, hits=8123, misses=1877), {"hits": 8123, "misses": 1877, "hit_ratio": "0.8123"}),
        (Event(utc(2024, 2, 2), 1, hits=1), {"hit_ratio": "1.0000"}),
        (Event(utc(2024, 2, 2), 1, hits=1, misses=2), {"hit_ratio": "0.3333"}),
        (Event(utc(2024, 2, 2), 1, hits=1, misses=19_999), {"hit_ratio": "0.0000"}),  # 0.00005: half to even
        (Event(utc(2024, 2, 2), 1, hits=3, misses=19_997), {"hit_ratio": "0.0002"}),  # 0.00015: half to even
        (Event(utc(2024, 2, 2), 1), {"hit_ratio": None, "duplicate_rate": None}),
        (Event(utc(2024, 2, 2), 1, hits=-1, misses=3), {"hits": -1, "hit_ratio": None}),
        (Event(utc(2024, 2, 2), 1, writes=32, duplicates=1), {"duplicate_rate": "0.0312"}),  # 0.03125: half to even
        (Event(utc(2024, 2, 2), 1, units=123), {"credits": "1.23"}),
        (Event(utc(2024, 2, 2), 1, units=-5), {"credits": "-0.05"}),
        (Event(utc(2024, 2, 2), 1, saved=Decimal("0.040000000")), {"saved_usd": "0.04"}),
        (Event(utc(2024, 2, 2), 1, saved=Decimal("120")), {"saved_usd": "120.00"}),
        (Event(utc(2024, 2, 2), 1, saved=Decimal("0.000000001")), {"saved_usd": "0.000000001"}),
    ],
)
def test_figure(event: Event, figure: dict[str, Any]) -> None:
    shown = figures(event)
    assert {name: shown[name] for name in figure} == figure


def test_gb_months_go_by_each_months_real_length_and_are_rounded_once() -> None:
    """1 GB in every month of a year is 12 GB-months, however short the periods are; and so is a byte of it."""
    tenant_id = random_id()
    write_receipts(tenant_id, [Event(utc(2024, 1, 1), 11, 10**9)])
    days = usage.read(django_rows, tenant_id, Range(utc(2024, 1, 1), utc(2025, 1, 1), "day"))
    assert usage.gb_months(days.rows) == 12
    small = random_id()
    write_receipts(small, [Event(utc(2024, 1, 1), 11, 1)])
    for each in ("day", "month"):
        report = usage.read(django_rows, small, Range(utc(2024, 1, 1), utc(2025, 1, 1), each))
        content = json.loads(usage_answers.usage(QUESTION, report).body)
        assert content["total"]["gb_months"] == "0.000000012"


def test_refused_formulas_and_line_breaks_in_csv() -> None:
    names = ["=1+1", "+1", "-1", "@a", "\t=1", "plain", 'a,"b"\r\nc']
    used = [
        Used(utc(2024, 2, 1), usage.APIKeyName(number, name), usage.Counts(hits=1)) for number, name in enumerate(names)
    ]
    question = asked("from=2024-02-01&to=2024-03-01&group_by=month&by=api_key", "text/csv")
    answer = usage_answers.usage(question, usage.Report(REPORT_TIME, used))
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [row["api_key_name"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@a", "'\t=1", "plain", 'a,"b"\r\nc']
    tags = [usage.TagUsed(utc(2024, 2, 1), "=cmd()", 1, Decimal(-1))]
    lines = usage_answers.tag_usage(asked("by=tag", "text/csv"), tags).body.decode().splitlines()
    assert lines == ["start,tag,hits,saved_usd", "2024-02-01T00:00:00Z,'=cmd(),1,-1.00"]
