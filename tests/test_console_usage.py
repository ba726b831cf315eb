"""The usage page: the API's reports as tables and a chart, and the same document as CSV."""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal

import pytest

from accounts.models import random_id
from accounts.policy import Role
from billing import usage
from billing.usage import Range
from console import usage_reports
from tests.cast import new_key
from tests.client import Client
from tests.console_cast import Person, new_person, visitor
from tests.console_pages import get, queries
from tests.processes import RunningServer
from tests.usage_cast import Event, utc, write_receipts, write_rollups, write_tags

FEBRUARY = "range=custom&start=2024-02-01T00:00&end=2024-03-01T00:00"


@pytest.fixture
def person() -> Person:
    """The owner of a tenant with two API keys that were used in February 2024, and of tags."""
    person = new_person()
    first, second = new_key(person.tenant), new_key(person.tenant)
    for key, name in ((first, "web"), (second, "=batch <b>")):
        key.row.name = name
        key.row.save(update_fields=["name"])
    write_rollups(
        person.tenant.id,
        [
            Event(utc(2024, 2, 2, 5), first.row.id, 1000, hits=6, misses=2, writes=2, units=6, saved=Decimal("0.3")),
            Event(utc(2024, 2, 9), first.row.id, hits=1, units=1),
        ],
    )
    write_receipts(person.tenant.id, [Event(utc(2024, 2, 2, 6), second.row.id, hits=3, misses=9, units=3)])
    write_tags(person.tenant.id, ("2024-02-02", "red", 9, "0.3"), ("2024-02-09", "<i>blue", 1, "0"))
    write_receipts(random_id(), [Event(utc(2024, 2, 2), first.row.id, hits=1000)])
    return person


def test_table_in_total(person: Person) -> None:
    shown = get(person, f"usage?{FEBRUARY}").context["shown"]
    assert shown.question.range == Range(utc(2024, 2, 1), utc(2024, 3, 1), "day")
    assert [line.start.day for line in shown.page] == list(range(29, 0, -1))
    assert [(line.start.day, line.counts.hits) for line in shown.page if line.counts.hits] == [(9, 1), (2, 9)]
    total = shown.total.counts
    assert (total.hits, total.misses, total.units, total.saved) == (10, 11, 10, Decimal("0.3"))
    assert shown.total.mean_bytes == round(1000 * (27 - 5 / 24 + 1) / 29)  # from the 2nd at 5:00 to the 29th


def test_parts_by_api_key(person: Person) -> None:
    page = get(person, f"usage?{FEBRUARY}&by=api_key")
    shown = page.context["shown"]
    assert [(line.part.name, line.counts.hits, line.counts.misses) for line in shown.parts] == [
        ("web", 7, 2), ("=batch <b>", 3, 9),
    ]  # fmt: skip
    drawn = {one["label"]: sum(one["values"]) for one in shown.chart.data["series"]}
    assert drawn == {"web": 7, "=batch <b>": 3}
    assert "=batch &lt;b&gt;" in page.content.decode()
    assert "<b>" not in page.content.decode()
    assert shown.total.counts.hits == 10


def test_parts_by_tag(person: Person) -> None:
    page = get(person, f"usage?{FEBRUARY}&by=tag")
    shown = page.context["shown"]
    assert [(line.part.name, line.counts.hits, line.counts.saved) for line in shown.parts] == [
        ("red", 9, Decimal("0.3")), ("<i>blue", 1, 0),
    ]  # fmt: skip
    text = page.content.decode()
    assert "&lt;i&gt;blue" in text
    assert "Misses" not in text
    assert "Total" not in text


def test_removed_api_key_is_named_by_its_id() -> None:
    person = new_person()
    write_receipts(person.tenant.id, [Event(utc(2024, 2, 2), 1, hits=1)])
    [line] = get(person, f"usage?{FEBRUARY}&by=api_key").context["shown"].parts
    assert line.part.name == "00000000001 (removed)"


def test_other_parts_are_drawn_together(person: Person) -> None:
    write_receipts(person.tenant.id, [Event(utc(2024, 2, 3), key, hits=1) for key in (1, 2, 3)])
    shown = get(person, f"usage?{FEBRUARY}&by=api_key").context["shown"]
    assert [sum(one["values"]) for one in shown.chart.data["series"]] == [7, 3, 1, 2]
    assert shown.chart.columns[-1] == "All others"


def test_long_table_has_pages(person: Person) -> None:
    hours = "range=custom&start=2024-02-01T00:00&end=2024-02-04T00:00&group_by=hour"
    first = get(person, f"usage?{hours}")
    second = get(person, f"usage?{hours}&page=2").context["shown"].page
    assert len(first.context["shown"].page) == usage_reports.ROWS
    assert len(second) == 72 - usage_reports.ROWS
    assert "page=2#periods" in first.content.decode()
    for nonsense, number in (("0", 2), ("x", 1), ("99", 2)):  # the nearest
        assert get(person, f"usage?{hours}&page={nonsense}").context["shown"].page.number == number


@pytest.mark.parametrize(
    ("query", "range_name", "group_by", "periods"),
    [
        ("", "30d", "day", 30),
        ("group_by=hour", "24h", "hour", 24),
        ("group_by=month", "12m", "month", 12),
        ("range=7d", "7d", "hour", 168),
        ("range=7d&by=api_key", "7d", "day", 7),
        ("range=7d&by=tag", "7d", "day", 7),
        ("range=30d&group_by=hour", "30d", "hour", 720),
        ("range=12m", "12m", "month", 12),
        ("range=12m&group_by=day", "12m", "day", 365),
    ],
)
def test_what_is_shown_by_default(query: str, range_name: str, group_by: str, periods: int, person: Person) -> None:
    page = get(person, f"usage?{query}")
    assert page.status_code == 200
    asked = page.context["shown"].question.range
    assert (page.context["form"].name, asked.group_by) == (range_name, group_by)
    assert usage.shifted(asked.start, group_by, periods) == asked.end


def test_every_link_of_the_page_is_possible(person: Person) -> None:
    """From whatever is shown, to whatever else is offered."""
    seen, waiting = set(), {""}
    while waiting:
        seen.add(query := waiting.pop())
        page = get(person, f"usage?{query}")
        assert page.status_code == 200, query
        form = page.context["form"]
        waiting |= {choice.query for choice in (*form.ranges(), *form.periods(), *form.splits())} - seen
    assert len(seen) > 15


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("range=1y", ["range: choose 24h, 7d, 30d, 12m or custom"]),
        ("group_by=week", ["group_by: choose hour, day, month"]),
        ("by=colour", ["by: choose api_key or tag"]),
        ("range=24h&group_by=month", ["not shown by month here", "choose hour"]),
        ("range=24h&by=tag", ["Tags are counted by day", "7 days or longer"]),
        (f"{FEBRUARY}&by=tag&group_by=hour", ["Tags are counted by day", "day or month"]),
        (f"{FEBRUARY}&by=api_key&group_by=hour", ["by hour", "3 days", "later start, or longer periods"]),
        ("range=custom&start=2024-01-01T00:00&end=2024-03-01T00:00&group_by=hour", ["31 days", "longer periods"]),
        ("range=custom&start=2022-01-01T00:00&end=2024-03-01T00:00&group_by=day", ["366 days"]),
        ("range=custom&start=2010-01-01T00:00&end=2024-03-01T00:00", ["60 months", "later start."]),
        ("range=custom&start=2024-03-01T00:00&end=2024-02-01T00:00", ["before To"]),
        ("range=custom&start=%00&end=x", ["From: give a UTC time", "To: give a UTC time"]),
    ],
)
@pytest.mark.parametrize("path", ["usage", "usage/csv"])
def test_impossible_question_is_told_what_is_allowed(
    path: str, query: str, words: Sequence[str], person: Person
) -> None:
    page = get(person, f"{path}?{query}")
    assert page.status_code == 400
    for word in words:
        assert word in page.content.decode(), word


def test_report_of_too_many_rows_is_refused(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MAX_ROWS", 5)
    for path in ("usage", "usage/csv"):
        page = get(person, f"{path}?{FEBRUARY}")
        assert page.status_code == 400
        assert "choose a shorter time, or longer periods" in page.content.decode()


@pytest.mark.parametrize("split", ["", "&by=api_key", "&by=tag"])
def test_csv_is_the_apis(split: str, person: Person, server: RunningServer) -> None:
    """To the letter: of a past month, whose storage grows no more."""
    asked = f"{FEBRUARY}&group_by=month{split}"
    ours = visitor(server, person).get(person.path(f"usage/csv?{asked}"))
    query = f"from=2024-02-01&to=2024-03-01&group_by=month{split}"
    with Client(server.url, new_key(person.tenant).token) as client:
        theirs = client.send("GET", f"/api/v1/usage?{query}", headers={"accept": "text/csv"})
    assert (ours.status_code, theirs.status) == (200, 200)
    assert ours.content == theirs.body
    assert ours.headers["content-type"] == "text/csv; charset=utf-8"
    assert ours.headers["content-disposition"] == theirs.header("content-disposition")
    rows = list(csv.DictReader(io.StringIO(ours.text)))
    assert rows
    if split == "&by=api_key":
        assert {row["api_key_name"] for row in rows} == {"web", "'=batch <b>"}  # no formula


def test_page_makes_few_queries(person: Person) -> None:
    """Session, user, membership and tenant; the session's activity (2 at most); usage, and the API keys' names."""
    get(person, "usage")
    made = queries(person, f"usage?{FEBRUARY}&by=api_key")
    assert 4 <= len(made) <= 8, made


def test_empty_splits_say_what_to_do() -> None:
    person = new_person(Role.VIEWER)
    assert "Write entries with tags" in get(person, "usage?by=tag").content.decode()
    assert "Nothing was read, written or stored" in get(person, "usage?by=api_key").content.decode()


@pytest.mark.parametrize("query", ["", "?range=24h", "?group_by=month"])
def test_new_tenant_is_told_what_to_do(query: str) -> None:
    """As on the overview, and neither an empty chart nor rows of nothing."""
    person = new_person()
    text = get(person, f"usage{query}").content.decode()
    assert "No requests yet" in text
    assert "curl -X PUT" in text
    for page in ("start", "keys"):
        assert f'href="{person.path(page)}"' in text
    assert "data-chart" not in text
    assert "<table" not in text


def test_time_without_use_offers_a_longer_one(person: Person) -> None:
    text = get(person, "usage?range=custom&start=2023-01-01T00:00&end=2023-02-01T00:00").content.decode()
    assert "No requests in this time" in text
    assert "data-chart" not in text
    assert "<table" not in text


def test_time_in_which_something_was_only_stored_has_its_table(person: Person) -> None:
    text = get(person, "usage?range=custom&start=2024-04-01T00:00&end=2024-05-01T00:00").content.decode()
    assert "<table" in text
    assert "1.0 KB" in text
