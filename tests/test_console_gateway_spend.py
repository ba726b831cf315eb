"""The gateway's page: spend as the API reports it, what is unknown shown so, budgets of today, and the top prompts."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from accounts import tokens
from accounts.models import random_id
from accounts.policy import Role
from billing.rows import django_rows
from console import gateway_spend_reports
from console.gateway_spend_reports import Sums, money
from gateway import providers, spend
from gateway.models import Budget, BudgetDay, CacheStatus, Kind, SpendDay, SpendEvent, SpendState
from gateway.providers import ProviderSettings
from tests.cast import ACTOR, new_key
from tests.client import Client
from tests.console_cast import Person, new_person, visitor
from tests.console_pages import get, queries
from tests.processes import RunningServer

FEBRUARY = "range=custom&start=2024-02-01&end=2024-02-29"
TODAY = datetime.now(UTC).date()
MISS, HIT = CacheStatus.MISS, CacheStatus.HIT


def add_day(person: Person, day: date, model: str, cache: CacheStatus, **fields: object) -> None:
    values: dict[str, object] = {
        "provider": "openai", "user": "", "api_key_id": 1, "requests": 1, "unpriced": 0, "input_tokens": 0,
        "cached_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cost": Decimal(0), "saved": Decimal(0),
    }  # fmt: skip
    SpendDay.objects.create(tenant_id=person.tenant.id, day=day, model=model, cache=cache, **(values | fields))


def add_event(person: Person, fingerprint: bytes, at: datetime | None = None, **fields: object) -> None:
    values: dict[str, object] = {
        "provider": "openai", "model": "gpt-4o", "user": "", "api_key_id": 1, "cache": MISS, "status": 200,
        "state": SpendState.SETTLED, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0,
        "request_id": "test",
    }  # fmt: skip
    SpendEvent.objects.create(
        tenant_id=person.tenant.id,
        id=random_id(),
        at=at or datetime.now(UTC),
        fingerprint=fingerprint,
        **(values | fields),
    )


def add_budget(person: Person, limit: str, used: str | None = None, **fields: object) -> Budget:
    budget: Budget = Budget.objects.create(tenant_id=person.tenant.id, usd_per_day=Decimal(limit), **fields)
    if used is not None:
        BudgetDay.objects.create(tenant_id=person.tenant.id, budget_id=budget.id, day=TODAY, used=Decimal(used))
    return budget


@pytest.fixture
def person() -> Person:
    """The owner of a tenant whose API key called three models in February 2024; one of them has no price."""
    person = new_person()
    key = new_key(person.tenant)
    key.row.name = "web <b>"
    key.row.save(update_fields=["name"])
    known = {"user": "ann", "api_key_id": key.row.id}
    add_day(person, date(2024, 2, 2), "gpt-4o", MISS, requests=3, input_tokens=30, cost=Decimal("0.5"), **known)
    add_day(person, date(2024, 2, 2), "gpt-4o", HIT, requests=5, output_tokens=7, saved=Decimal("0.8"), **known)
    add_day(person, date(2024, 2, 2), "tiny", MISS, cost=Decimal("0.000002"), provider="house")
    add_day(person, date(2024, 2, 9), "<i>free", MISS, requests=4, unpriced=4)
    add_day(person, date(2024, 2, 9), "<i>free", CacheStatus.COALESCED, requests=2, unpriced=2)
    add_day(person, date(2024, 2, 29), "gpt-4o", CacheStatus.BYPASS, cost=Decimal("0.1"))
    add_day(person, date(2024, 3, 1), "gpt-4o", MISS, cost=Decimal(9))
    add_day(new_person(), date(2024, 2, 2), "gpt-4o", MISS, requests=1000, cost=Decimal(9))
    return person


def test_tiles_say_what_the_report_says(person: Person) -> None:
    page = get(person, f"gateway?{FEBRUARY}")
    total = page.context["figures"].total
    assert total == Sums(16, 7, 4, 2, 30, 7, Decimal("0.600002"), Decimal("0.8"))
    assert total.hit_ratio == Fraction(7, 16)
    text = page.content.decode()
    for shown in (
        "2024-02-01 to 2024-02-29 UTC", "$0.60", "without 4 requests whose price is unknown", "$0.80",
        "without 2 hits whose price is unknown", "43.8 %", "30 tokens in, 7 out",
    ):  # fmt: skip
        assert shown in text, shown
    theirs = spend.total(spend.read(django_rows, person.tenant.id, date(2024, 2, 1), date(2024, 3, 1)))
    assert total.cost == theirs.cost
    assert (total.requests, total.hits, total.unpriced) == (theirs.requests, theirs.hits, theirs.unpriced)


def test_chart_has_its_table_and_gaps_where_nothing_is_known(person: Person) -> None:
    chart = get(person, f"gateway?{FEBRUARY}").context["figures"].chart
    assert len(chart.rows) == 29
    shown = dict(chart.rows)
    assert shown["2024-02-01"] == ["$0.00", "$0.00"]
    assert shown["2024-02-02"] == ["$0.50", "$0.80"]
    assert shown["2024-02-09"] == ["–", "–"]
    spent, saved = (one["values"] for one in chart.data["series"])
    assert (spent[0], spent[8], saved[1]) == (0.0, None, 0.8)


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        (
            "",
            [("gpt-4o", 9, "$0.60", "$0.80"), ("tiny", 1, "< $0.0001", "$0.00"), ("<i>free", 6, "unknown", "unknown")],
        ),
        ("user", [("ann", 8, "$0.50", "$0.80"), ("", 8, "$0.10", "unknown")]),
        ("key", [("web <b>", 8, "$0.50", "$0.80"), ("00000000001 (removed)", 8, "$0.10", "unknown")]),
        ("provider", [("openai", 15, "$0.60", "$0.80"), ("house", 1, "< $0.0001", "$0.00")]),
    ],
)
def test_breakdown_has_what_cost_most_first(by: str, parts: list[tuple[str, int, str, str]], person: Person) -> None:
    page = get(person, f"gateway?{FEBRUARY}&by={by}")
    found = page.context["figures"].parts
    assert [(part.name, part.sums.requests, part.sums.shown_cost, part.sums.shown_saved) for part in found] == parts
    text = page.content.decode()
    assert "<b>" not in text
    assert "<i>" not in text


def test_sums_of_the_parts_are_the_total(person: Person) -> None:
    for by in ("model", "user", "key", "provider"):
        figures = get(person, f"gateway?{FEBRUARY}&by={by}").context["figures"]
        assert Sums._make(map(sum, zip(*(part.sums for part in figures.parts), strict=True))) == figures.total


def test_other_parts_are_counted(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_spend_reports, "MOST_PARTS", 2)
    page = get(person, f"gateway?{FEBRUARY}")
    figures = page.context["figures"]
    assert ([part.name for part in figures.parts], figures.more_parts) == (["gpt-4o", "tiny"], 1)
    assert figures.total.requests == 16
    assert "1 more in the CSV" in page.content.decode()


def test_amounts_are_never_shown_as_zero_unless_they_are() -> None:
    shown = [
        money(None if amount is None else Decimal(amount)) for amount in (None, "0", "0.000001", "0.0001", "1234.5")
    ]
    assert shown == ["unknown", "$0.00", "< $0.0001", "$0.0001", "$1,234.50"]


@pytest.mark.parametrize(
    ("query", "days", "by"),
    [("", 30, "model"), ("range=7d", 7, "model"), ("range=90d&by=user", 90, "user"), ("range=custom", 7, "model")],
)
def test_what_is_shown_by_default(query: str, days: int, by: str, person: Person) -> None:
    question = get(person, f"gateway?{query}").context["figures"].question
    assert question == (TODAY - timedelta(days=days - 1), TODAY + timedelta(days=1), by)


def test_every_link_of_the_page_is_possible(person: Person) -> None:
    seen, waiting = set(), {""}
    while waiting:
        seen.add(query := waiting.pop())
        page = get(person, f"gateway?{query}")
        assert page.status_code == 200, query
        form = page.context["form"]
        waiting |= {choice.query for choice in (*form.ranges(), *(choice for _, choice in form.splits()))} - seen
    assert len(seen) > 12


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("range=24h", ["range: choose 7d, 30d, 90d or custom"]),
        ("by=colour", ["by: choose model, user, key, provider"]),
        ("range=custom&start=yesterday", ["From: give a UTC day such as"]),
        ("range=custom&end=2026-02-30", ["To: give a UTC day such as"]),
        ("range=custom&start=1999-12-31", ["From: give a year from 2000 to 2999"]),
        ("range=custom&start=2024-02-02&end=2024-02-01", ["must not be after To", "2024-02-01"]),
        ("range=custom&start=2998-01-01&end=2998-01-02", ["From lies ahead", str(TODAY)]),
        ("range=custom&start=2024-01-01&end=2025-01-01", ["These are 367 days", "at most 366 days"]),
        ("range=custom&start=%00&end=x", ["From: give a UTC day", "To: give a UTC day"]),
    ],
)
@pytest.mark.parametrize("path", ["gateway", "gateway/csv", "gateway/prompts"])
def test_impossible_question_is_told_what_is_allowed(
    path: str, query: str, words: Sequence[str], person: Person
) -> None:
    page = get(person, f"{path}?{query}")
    assert page.status_code == 400
    for word in words:
        assert word in page.content.decode(), word
    assert "figures" not in page.context


def test_csv_is_the_apis(person: Person, server: RunningServer) -> None:
    for by in ("model", "key"):
        ours = visitor(server, person).get(person.path(f"gateway/csv?{FEBRUARY}&by={by}"))
        with Client(server.url, new_key(person.tenant).token) as client:
            path = f"/api/v1/spend?from=2024-02-01&to=2024-03-01&by=day,{by}"
            theirs = client.send("GET", path, headers={"accept": "text/csv"})
        assert (ours.status_code, theirs.status) == (200, 200)
        assert ours.content == theirs.body
        assert ours.headers["content-disposition"] == theirs.header("content-disposition")
        rows = list(csv.DictReader(io.StringIO(ours.text)))
        assert sum(int(row["requests"]) for row in rows) == 16


def test_csv_of_too_many_rows_is_refused(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend, "MOST_ROWS", 2)
    page = get(person, f"gateway/csv?{FEBRUARY}")
    assert page.status_code == 400
    assert "choose a shorter time" in page.content.decode()


def test_budgets_of_today(person: Person) -> None:
    key = new_key(person.tenant).row
    first = add_budget(person, "100", "42.5")
    add_budget(person, "20", "16", model="gpt-4o")
    add_budget(person, "5", "5", api_key_id=key.id)
    add_budget(person, "5", api_key_id=1, model="tiny")  # nobody asked it yet
    add_budget(new_person(), "7", "7")
    add_day(person, TODAY, "tiny", MISS, cost=Decimal(1))
    add_day(person, TODAY, "gpt-4o", MISS, cost=Decimal(1))
    page = get(person, "gateway")
    found = page.context["budgets"]
    assert [(budget.percent, budget.level) for budget in found] == [(42, ""), (80, "warn"), (100, "bad"), (20, "")]
    assert [(budget.model, budget.api_key) for budget in found] == [
        ("", None), ("gpt-4o", None), ("", key.name), ("tiny", "00000000001 (removed)"),
    ]  # fmt: skip
    assert found[0].code == tokens.encode_id(first.id)
    text = page.content.decode()
    for shown in ("$42.50 of $100.00", "over 80 %", "calls are refused", f"{TODAY + timedelta(days=1)} 00:00 UTC"):
        assert shown in text, shown


def test_top_prompts_and_how_many_repeat_one(person: Person) -> None:
    one, two, three = (bytes([number]) * 32 for number in (1, 2, 3))
    add_event(person, one, cost=Decimal("0.5"), prompt="Say <b>one</b>")
    add_event(person, one, cache=HIT, cost=Decimal(0), saved=Decimal("0.5"))
    add_event(person, two, cost=Decimal("0.7"))
    add_event(person, three, cost=None)
    add_event(new_person(), two, cost=Decimal(9))
    page = get(person, "gateway/prompts")
    found = page.context["prompts"]
    assert [(each.short, each.requests, each.hits, each.cost, each.saved) for each in found.top] == [
        ("0202020202", 1, 0, "$0.70", "$0.00"),
        ("0101010101", 2, 1, "$0.50", "$0.50"),
        ("0303030303", 1, 0, "unknown", "$0.00"),
    ]
    assert (found.requests, found.complete, found.cut, found.duplicate_rate) == (4, True, False, Fraction(1, 4))
    text = page.content.decode()
    assert "Say &lt;b&gt;one&lt;/b&gt;" in text
    assert '<dd id="duplicate-rate" hx-swap-oob="true">25.0 %</dd>' in text
    assert "1 of 4 had been asked before" in text


def test_texts_of_prompts_are_for_those_who_may_open_values(person: Person) -> None:
    add_event(person, b"x" * 32, cost=Decimal(1), prompt="My secret")
    for role, sees in ((Role.DEVELOPER, True), (Role.VIEWER, False), (Role.BILLING, False)):
        text = get(new_person(role, person.tenant), "gateway/prompts").content.decode()
        assert ("My secret" in text) == sees
        assert "7878787878" in text


def test_prompts_that_are_kept_no_longer_are_named(person: Person) -> None:
    page = get(person, f"gateway/prompts?{FEBRUARY}")
    assert page.context["prompts"].cut
    assert "each keeps one for 90 days" in page.content.decode()
    assert page.context["prompts"].duplicate_rate is None


def test_page_makes_few_queries(person: Person) -> None:
    """Session, user, membership and tenant; the session's activity (2 at most); figures; budgets."""
    add_budget(person, "100", "42.5")
    get(person, "gateway")
    made = queries(person, f"gateway?{FEBRUARY}")
    assert 5 <= len(made) <= 8, made
    made = queries(person, f"gateway/prompts?{FEBRUARY}")
    assert 4 <= len(made) <= 7, made


def test_tenant_without_a_call_is_told_what_to_do() -> None:
    person = new_person()
    text = get(person, "gateway").content.decode()
    assert "No AI calls yet" in text
    assert "http://localhost:8000/gateway/openai/v1" in text
    assert "base_url" in text
    assert "data-chart" not in text
    providers.put_provider(person.tenant.id, "claude", ProviderSettings(kind=Kind.ANTHROPIC, credential=b"x"), ACTOR)
    text = get(person, "gateway").content.decode()
    assert "claude is set." in text
    assert "http://localhost:8000/gateway/claude" in text


def test_time_without_a_call_offers_a_longer_one(person: Person) -> None:
    text = get(person, "gateway").content.decode()
    assert "No AI calls in this time" in text
    assert "data-chart" not in text
    assert "data-chart" in get(person, f"gateway?{FEBRUARY}").content.decode()
