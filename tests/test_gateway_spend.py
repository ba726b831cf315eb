"""Reports on spend: the sums of events, whichever way they are grouped; top prompts; and how long it all is kept."""

import csv
import io
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest

from accounts.models import Tenant
from billing.rows import django_rows
from cacheservice.errors import InvalidRequest
from cacheservice.tenant_deletion import delete_tenant
from gateway import retention, spend
from gateway.ledger import Event, Ledger, new_id
from gateway.models import Budget, BudgetDay, CacheStatus, ModelPrice, SpendDay, SpendEvent, SpendState
from gateway.providers import ProviderSettings, put_provider
from tests.cast import Key, new_caller
from tests.client import Client
from tests.ledger_cast import budget, call, event, events, run_with_ledger, spent, usd
from tests.processes import RunningServer
from tests.store_cast import new_tenant

SPEND = "/api/v1/spend"
TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
KEYS = (7, 8)


def booked(found: list[Event]) -> None:
    async def scenario(ledger: Ledger) -> None:
        for each in found:
            ledger.record(each)

    run_with_ledger(scenario)


def some_events(tenant_id: int, count: int, seed: int = 1) -> list[Event]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        cache = rng.choice(list(CacheStatus))
        is_hit = cache in (CacheStatus.HIT, CacheStatus.COALESCED)
        amount = rng.choice((None, Decimal(rng.randrange(10**10)) / 10**9))
        made.append(
            event(
                tenant_id,
                usd("0") if is_hit else amount,
                saved=amount if is_hit else None,
                at=TODAY - timedelta(days=rng.randrange(5), hours=rng.randrange(12)),
                provider=rng.choice(("openai", "house")),
                model=rng.choice(("gpt-4o", "=cmd", "a,b")),
                user=rng.choice(("", "ann", "bob")),
                api_key_id=rng.choice(KEYS),
                cache=cache,
                input_tokens=rng.randrange(1000),
                output_tokens=rng.randrange(1000),
            )
        )
    return made


def group_of(each: Event, by: tuple[str, ...]) -> tuple[Any, ...]:
    values = {
        "day": each.at.date(),
        "provider": each.provider,
        "model": each.model,
        "user": each.user,
        "key": each.api_key_id,
        "cache": each.cache,
    }
    return tuple(values[name] if name in by else None for name in spend.BY)


def test_sums_are_those_of_the_events_however_they_are_grouped() -> None:
    tenant_id = new_id()
    all_events = some_events(tenant_id, 600)
    booked([*all_events, *some_events(new_id(), 50, 2)])
    start, end = TODAY.date() - timedelta(days=3), TODAY.date()
    inside = [each for each in all_events if start <= each.at.date() < end]
    for by in [(name,) for name in spend.BY] + list(permutations(spend.BY, 2)) + [()]:
        requests = Counter(group_of(each, by) for each in inside)
        costs: dict[Any, Decimal] = dict.fromkeys(requests, Decimal(0))
        for each in inside:
            costs[group_of(each, by)] += each.cost or 0
        report = spend.read(django_rows, tenant_id, start, end, by)
        found = {(row.day, row.provider, row.model, row.user, row.api_key_id, row.cache): row for row in report}
        assert len(found) == len(report)
        assert {group: row.requests for group, row in found.items()} == requests
        assert {group: row.cost for group, row in found.items()} == costs
        whole = spend.total(report)
        hits = [each for each in inside if each.cache in (CacheStatus.HIT, CacheStatus.COALESCED)]
        assert whole.requests == len(inside)
        assert whole.hits == len(hits)
        assert whole.hit_ratio == Fraction(len(hits), len(inside))
        assert whole.saved == sum(each.saved or 0 for each in hits)
        assert whole.unpriced == sum((each.saved if each in hits else each.cost) is None for each in inside)
        assert whole.input_tokens == sum(each.input_tokens for each in inside)
        days = [row.day for row in report if row.day is not None]
        assert days == sorted(days)


def test_reports_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = new_id()
    booked(some_events(tenant_id, 50))
    monkeypatch.setattr(spend, "MOST_ROWS", 2)
    first, last = date(2020, 1, 1), date(2100, 1, 1)
    assert len(spend.read(django_rows, tenant_id, first, last, ("provider",))) == 2
    with pytest.raises(InvalidRequest, match="more than 2 rows"):
        spend.read(django_rows, tenant_id, first, last, ("model",))


def test_top_prompts_and_how_many_repeat_one() -> None:
    tenant_id = new_id()
    one, two, three = (bytes([number]) * 32 for number in (1, 2, 3))
    hit = CacheStatus.HIT
    booked(
        [
            event(tenant_id, usd("0.5"), fingerprint=one, at=TODAY, prompt="Say one", model="older"),
            event(tenant_id, usd("0"), saved=usd("0.5"), fingerprint=one, at=TODAY + timedelta(hours=1), cache=hit),
            event(tenant_id, usd("0.4"), fingerprint=one, at=TODAY + timedelta(hours=2), model="newer"),
            event(tenant_id, usd("0.7"), fingerprint=two, at=TODAY),
            event(tenant_id, None, fingerprint=three, at=TODAY),
            event(tenant_id, usd("3"), at=TODAY),  # without a fingerprint
            event(tenant_id, usd("9"), fingerprint=two, at=TODAY - timedelta(days=1)),
        ]
    )
    found = spend.read_prompts(django_rows, tenant_id, TODAY.date(), TODAY.date() + timedelta(days=1), 10)
    assert [(each.fingerprint, each.requests, each.hits, each.cost) for each in found.top] == [
        (one, 3, 1, usd("0.9")),
        (two, 1, 0, usd("0.7")),
        (three, 1, 0, None),
    ]
    first = found.top[0]
    assert (first.model, first.text, first.saved, first.last_at) == (
        "newer", "Say one", usd("0.5"), TODAY + timedelta(hours=2)
    )  # fmt: skip
    assert (found.requests, found.complete, found.duplicates, found.with_fingerprint) == (6, True, 2, 5)
    assert found.duplicate_rate == Fraction(2, 5)
    assert len(spend.read_prompts(django_rows, tenant_id, date(2020, 1, 1), date(2100, 1, 1), 1).top) == 1


def test_prompts_of_nobody() -> None:
    found = spend.read_prompts(django_rows, new_id(), date(2020, 1, 1), date(2100, 1, 1), 10)
    assert (found.requests, found.duplicate_rate, found.top) == (0, None, [])


def test_prompts_of_many_events_are_those_of_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = new_id()
    late, early = b"l" * 32, b"e" * 32
    booked(
        [event(tenant_id, usd("1"), fingerprint=late, at=TODAY) for _ in range(5)]
        + [event(tenant_id, usd("9"), fingerprint=early, at=TODAY - timedelta(hours=1)) for _ in range(5)]
    )
    monkeypatch.setattr(spend, "MOST_EVENTS", 5)
    found = spend.read_prompts(django_rows, tenant_id, date(2020, 1, 1), date(2100, 1, 1), 10)
    assert [each.fingerprint for each in found.top] == [late]
    assert (found.requests, found.complete) == (5, False)


@pytest.fixture
def asking(server: RunningServer) -> Iterator[tuple[Client, Key]]:
    key = new_caller()
    with Client(server.url, key.token) as client:
        yield client, key


def test_report_as_json_and_csv(asking: tuple[Client, Key]) -> None:
    client, key = asking
    tenant_id = key.row.tenant_id
    booked(
        [
            event(tenant_id, usd("0.25"), api_key_id=key.row.id, model="=1+1", at=TODAY,
                  input_tokens=10, output_tokens=2),
            event(tenant_id, usd("0"), saved=usd("0.25"), api_key_id=key.row.id, model="=1+1", at=TODAY,
                  cache=CacheStatus.HIT, cached_tokens=1, reasoning_tokens=1),
            event(tenant_id, None, api_key_id=1, model="unknown", at=TODAY),
        ]
    )  # fmt: skip
    start, end = TODAY.date(), TODAY.date() + timedelta(days=1)
    answer = client.send("GET", f"{SPEND}?from={start}&to={end}&by=key,model")
    first = {
        "requests": 2, "hits": 1, "unpriced": 0, "input_tokens": 10, "cached_tokens": 1, "output_tokens": 2,
        "reasoning_tokens": 1, "hit_ratio": "0.5000", "cost_usd": "0.25", "saved_usd": "0.25",
    }  # fmt: skip
    second = dict.fromkeys(first, 0) | {
        "requests": 1, "unpriced": 1, "hit_ratio": "0.0000", "cost_usd": "0.00", "saved_usd": "0.00"
    }  # fmt: skip
    assert answer.json() == {
        "from": str(start),
        "to": str(end),
        "by": ["key", "model"],
        "spend": [
            {"api_key": {"id": key.id, "name": key.row.name}, "model": "=1+1", **first},
            {"api_key": {"id": "00000000001", "name": None}, "model": "unknown", **second},
        ],
        "total": first | {"requests": 3, "unpriced": 1, "hit_ratio": "0.3333"},
    }
    as_csv = client.send("GET", f"{SPEND}?from={start}&to={end}&by=key,model&format=csv")
    assert as_csv.header("content-type") == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(as_csv.body.decode())))
    assert rows == [
        ["api_key_id", "api_key_name", "model", *first],
        [key.id, key.row.name, "'=1+1", *map(str, first.values())],
        ["00000000001", "", "unknown", *map(str, second.values())],
    ]
    by_cache = client.send("GET", f"{SPEND}?by=cache").json()["spend"]
    assert [(row["cache"], row["requests"]) for row in by_cache] == [("MISS", 2), ("HIT", 1)]
    assert client.send("GET", SPEND).json()["spend"][0]["day"] == str(TODAY.date())


def test_prompts_as_json(asking: tuple[Client, Key]) -> None:
    client, key = asking
    booked([event(key.row.tenant_id, usd("0.1"), fingerprint=b"f" * 32, at=TODAY, prompt="Hi") for _ in range(2)])
    answer = client.send("GET", f"{SPEND}/prompts?limit=5").json()
    assert (answer["requests"], answer["duplicates"], answer["duplicate_rate"]) == (2, 1, "0.5000")
    [prompt] = answer["prompts"]
    assert prompt | {"last_at": ""} == {
        "fingerprint": (b"f" * 32).hex(), "provider": "openai", "model": "gpt-4o", "prompt": "Hi", "requests": 2,
        "hits": 0, "cost_usd": "0.20", "saved_usd": None, "last_at": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("by=nothing", "by"),
        ("by=day,model,user", "by"),
        ("by=day,day", "by"),
        ("by=", "by"),
        ("from=2026-02-30", "from"),
        ("from=today", "from"),
        ("from=2026-11-21T00:00:00Z", "from"),
        ("from=2026-11-21&to=2026-11-21", "from"),
        ("from=2025-01-01&to=2026-11-21", "366"),
        ("to=9999-12-31", "to"),
        ("format=xml", "format"),
        ("group_by=day", "group_by"),
    ],
)
def test_wrong_question_is_refused(query: str, says: str, asking: tuple[Client, Key]) -> None:
    answer = asking[0].send("GET", f"{SPEND}?{query}")
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert says in answer.json()["error"]["message"]


def test_old_events_are_dropped_and_their_sums_stay() -> None:
    tenant_id = new_id()
    old, new = TODAY - timedelta(days=91), TODAY - timedelta(days=89)
    booked([event(tenant_id, usd("1"), at=at) for at in (old, new) for _ in range(3)])
    for day in (old, new):
        BudgetDay.objects.create(tenant_id=tenant_id, budget_id=1, day=day.date(), used=1)
    retention.drop_old()
    assert events(tenant_id) == [(SpendState.SETTLED, Decimal(1))] * 3
    assert spent(tenant_id) == (6, Decimal(6))
    assert list(BudgetDay.objects.filter(tenant_id=tenant_id).values_list("day", flat=True)) == [new.date()]
    assert retention.drop_old() == 0


def test_deleted_tenant_leaves_nothing_here() -> None:
    tenant, other = new_tenant(), new_tenant()
    for each in (tenant, other):
        fill(each)
    delete_tenant(tenant, "tests")
    for model in (SpendEvent, SpendDay, Budget, BudgetDay, ModelPrice):
        assert not model._default_manager.filter(tenant_id=tenant.id).exists()
        assert model._default_manager.filter(tenant_id=other.id).exists()


def fill(tenant: Tenant) -> None:
    """Events under way and ended, a budget, a price."""
    put_provider(tenant.id, "openai", ProviderSettings(kind="openai"), "tests")
    ModelPrice.objects.create(tenant_id=tenant.id, provider="openai", model="m", per_call=1)
    Budget.objects.create(tenant_id=tenant.id, usd_per_day=1)

    async def scenario(ledger: Ledger) -> None:
        await ledger.reserve(call(tenant.id), [budget(tenant.id, "1")], usd("1"))
        ledger.record(event(tenant.id, usd("1")))

    run_with_ledger(scenario)
