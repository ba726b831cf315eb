"""The ledger: budgets hold whoever asks at once, and every request is one spend event, however things end."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from msgspec.structs import replace

from accounts import tokens
from cacheservice.errors import Unavailable
from gateway import ledger as ledger_module
from gateway import retention
from gateway.budgets import Budget, matching
from gateway.ledger import BudgetExceeded, Call, Ledger, PriceUnknown, Reservation, new_id
from gateway.models import CacheStatus, SpendState
from tests.ledger_cast import (
    KEY,
    OTHER_KEY,
    budget,
    call,
    event,
    events,
    outcome_of,
    run_with_ledger,
    spent,
    usd,
    used,
)
from tests.store_cast import database_dsn, outcomes, query, scaled

STEPS = scaled(60, 1000)


def test_calls_that_may_be_under_way_are_not_abandoned() -> None:
    tenant_id = new_id()

    async def scenario(ledger: Ledger) -> None:
        await ledger.reserve(call(tenant_id), [budget(tenant_id, "1")], usd("1"))

    run_with_ledger(scenario)
    retention.abandon(datetime.now(UTC) + timedelta(minutes=61))
    assert events(tenant_id) == [(SpendState.RESERVED, Decimal(1))]


def test_all_matching_budgets_must_have_room() -> None:
    tenant_id = new_id()
    budgets = [
        budget(tenant_id, "3"),
        budget(tenant_id, "1", model="gpt-4o"),
        budget(tenant_id, "2", api_key_id=KEY),
        budget(tenant_id, "0.5", model="other"),
    ]

    async def scenario(ledger: Ledger) -> None:
        await ledger.reserve(call(tenant_id), budgets, usd("1"))
        with pytest.raises(BudgetExceeded) as by_model:
            await ledger.reserve(call(tenant_id), budgets, usd("0.000000001"))
        assert by_model.value.budget_id == budgets[1].id
        await ledger.reserve(call(tenant_id, "gpt-4o-mini"), budgets, usd("1"))
        with pytest.raises(BudgetExceeded) as by_key:
            await ledger.reserve(call(tenant_id, "gpt-4o-mini"), budgets, usd("1"))
        assert by_key.value.budget_id == budgets[2].id
        await ledger.reserve(call(tenant_id, "gpt-4o-mini", OTHER_KEY), budgets, usd("1"))
        with pytest.raises(BudgetExceeded) as by_tenant:
            await ledger.reserve(call(tenant_id, "gpt-4o-mini", OTHER_KEY), budgets, usd("1"))
        assert by_tenant.value.budget_id == budgets[0].id

    run_with_ledger(scenario)
    assert used(tenant_id) == {budgets[0].id: 3, budgets[1].id: 1, budgets[2].id: 2}


def test_refusal_says_which_budget_and_until_when() -> None:
    tenant_id = new_id()
    small = budget(tenant_id, "0.50", model="gpt-4o", api_key_id=KEY)

    async def scenario(ledger: Ledger) -> BudgetExceeded:
        await ledger.reserve(call(tenant_id), [small], usd("0.25"))
        with pytest.raises(BudgetExceeded) as refused:
            await ledger.reserve(call(tenant_id), [small], usd("0.250000001"))
        return refused.value

    error = run_with_ledger(scenario)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert (error.status, error.code) == (402, "budget_exceeded")
    assert error.message == (
        f"Budget {tokens.encode_id(small.id)} of this API key for the model gpt-4o: $0.25 of $0.50 is used or reserved "
        f"for this UTC day, and this call may cost up to $0.250000001. It resets at {tomorrow}T00:00:00Z: ask for "
        "fewer tokens, or have the budget raised."
    )
    assert 0 < int(dict(error.headers)[b"retry-after"]) <= 86_400


@pytest.mark.parametrize(
    ("model", "path"),
    [("m", "m"), ("org/m:1", "org/m:1"), ("a b?c#d%\u00e4", "a%20b%3Fc%23d%25%C3%A4"), ("", "-")],
)
def test_unknown_price_names_the_call_that_sets_it(model: str, path: str) -> None:
    error = PriceUnknown(Budget(1, 2, None, "", usd("1")), "openai", model)
    assert f"(PUT /api/v1/prices/openai/{path})" in error.message
    assert ("of calls that name no model" in error.message) is (not model)


def test_unknown_price_is_refused_where_a_budget_binds() -> None:
    tenant_id = new_id()
    only = budget(tenant_id, "1", model="house-model")

    async def scenario(ledger: Ledger) -> None:
        with pytest.raises(PriceUnknown, match="PUT /api/v1/prices/openai/house-model"):
            await ledger.reserve(call(tenant_id, "house-model"), [only], None)
        free = await ledger.reserve(call(tenant_id), [only], None)
        assert free.worst is None
        ledger.settle(free, outcome_of(free, None, call(tenant_id)))

    run_with_ledger(scenario)
    assert used(tenant_id) == {}
    assert events(tenant_id) == [(SpendState.SETTLED, None)]
    assert query("select requests, unpriced, cost from gateway_spend_day where tenant_id = %s", [tenant_id]) == [
        (1, 1, 0)
    ]


@pytest.mark.parametrize(
    ("cost", "state", "expected"),
    [
        ("0.3", SpendState.SETTLED, (SpendState.SETTLED, "0.3")),
        ("1.5", SpendState.SETTLED, (SpendState.SETTLED, "1.5")),  # more than the worst case: it is spent all the same
        ("0", SpendState.SETTLED, (SpendState.SETTLED, "0")),
        (None, SpendState.SETTLED, (SpendState.UNKNOWN, "1")),
        (None, SpendState.UNKNOWN, (SpendState.UNKNOWN, "1")),
        ("0.3", SpendState.UNKNOWN, (SpendState.UNKNOWN, "1")),
    ],
)
def test_settlement(cost: str | None, state: SpendState, expected: tuple[SpendState, str]) -> None:
    tenant_id = new_id()
    only = budget(tenant_id, "10")
    asked = call(tenant_id)

    async def scenario(ledger: Ledger) -> None:
        reservation = await ledger.reserve(asked, [only], usd("1"))
        amount = None if cost is None else usd(cost)
        settled = outcome_of(reservation, amount, asked, state=state, provider="fallback")
        ledger.settle(reservation, settled)
        ledger.settle(reservation, replace(settled, cost=usd("9")))  # does nothing

    run_with_ledger(scenario)
    amount = Decimal(expected[1])
    assert events(tenant_id) == [(expected[0], amount)]
    assert used(tenant_id) == {only.id: amount}
    assert spent(tenant_id) == (1, amount)
    assert query("select provider from gateway_spend_day where tenant_id = %s", [tenant_id]) == [("fallback",)]


def test_cancelled_callers_leave_nothing_reserved() -> None:
    tenant_id = new_id()
    only = budget(tenant_id, "1000")

    async def scenario(ledger: Ledger) -> None:
        rng = random.Random(1)
        for _ in range(scaled(40, 1000)):
            asking = [asyncio.create_task(ledger.reserve(call(tenant_id), [only], usd("1"))) for _ in range(5)]
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(rng.choice((0, 0, 0.001)))
            for task in asking:
                task.cancel()
            for outcome in await asyncio.gather(*asking, return_exceptions=True):
                if isinstance(outcome, Reservation):  # it came before it was cancelled
                    ledger.settle(outcome, outcome_of(outcome, usd("0"), call(tenant_id)))

    run_with_ledger(scenario)
    assert used(tenant_id)[only.id] == 0
    assert {state for state, _ in events(tenant_id)} <= {SpendState.SETTLED}


def test_recorded_events_are_summed_up_once() -> None:
    tenant_id = new_id()
    hits = [
        event(tenant_id, usd("0"), saved=usd("0.002"), cache=CacheStatus.HIT, input_tokens=10, output_tokens=5)
        for _ in range(700)
    ]
    unknown = event(tenant_id, usd("0"), saved=None, cache=CacheStatus.COALESCED)

    async def scenario(ledger: Ledger) -> None:
        for each in [*hits, unknown, *hits[:300]]:  # as if a commit's answer had been lost, and they were sent again
            ledger.record(each)

    run_with_ledger(scenario)
    statement = """select cache, requests, unpriced, input_tokens, output_tokens, cost, saved from gateway_spend_day
                   where tenant_id = %s order by cache"""
    assert query(statement, [tenant_id]) == [
        (CacheStatus.HIT, 700, 0, 7000, 3500, 0, usd("1.4")),
        (CacheStatus.COALESCED, 1, 1, 0, 0, 0, 0),
    ]
    assert len(events(tenant_id)) == 701


def test_one_bad_event_takes_no_other_with_it() -> None:
    tenant_id = new_id()

    async def scenario(ledger: Ledger) -> None:
        for number in range(20):
            ledger.record(event(tenant_id, usd("1")))
            if number == 10:
                ledger.record(event(tenant_id, usd("1"), user="x" * 9000))  # random enough to be compressed no further
                ledger.record(event(tenant_id, usd("1"), status=99_999))
        ledger.record(event(tenant_id, usd("1e20"), input_tokens=1 << 80, user="nul\0 and \ud800", prompt="\0"))

    run_with_ledger(scenario)
    statement = (
        'select "user", cost, input_tokens, prompt from gateway_spend_event where tenant_id = %s and prompt is not null'
    )
    assert query(statement, [tenant_id]) == [("nul and ?", usd("999999999.999999999"), 1 << 50, "")]
    requests, _ = spent(tenant_id)
    assert 21 <= requests <= 22


def test_buffer_is_bounded_and_tells_what_it_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_BUFFERED", 10)
    tenant_id = new_id()

    async def scenario(ledger: Ledger) -> None:
        for _ in range(25):
            ledger.record(event(tenant_id))

    run_with_ledger(scenario)
    assert spent(tenant_id)[0] == 10


def test_without_a_database_calls_are_refused_and_events_are_kept() -> None:
    """The reservations of a lost transaction are nowhere; what was recorded meanwhile is written when it is back."""
    tenant_id = new_id()
    only = budget(tenant_id, "1000")

    async def scenario(ledger: Ledger) -> None:
        held = await ledger.reserve(call(tenant_id), [only], usd("1"))
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cacheservice ledger'"
        with psycopg.connect(database_dsn(), autocommit=True) as blocker, blocker.transaction():
            blocker.execute("select 1 from gateway_budget_day where tenant_id = %s for update", [tenant_id])
            asking = [asyncio.create_task(ledger.reserve(call(tenant_id), [only], usd("1"))) for _ in "abc"]
            ledger.settle(held, outcome_of(held, usd("0.5"), call(tenant_id)))
            ledger.record(event(tenant_id, usd("2")))
            await asyncio.sleep(0.6)  # both wait for the lock
            blocker.execute(kill)
            refused = await outcomes(asking)
        assert [type(each) for each in refused] == [Unavailable] * 3
        await ledger.reserve(call(tenant_id), [only], usd("4"))

    run_with_ledger(scenario)
    assert used(tenant_id)[only.id] == usd("4.5")
    assert spent(tenant_id) == (2, usd("2.5"))


def test_budget_set_in_the_middle_of_a_day_knows_what_was_spent() -> None:
    tenant_id = new_id()
    by_model, by_key = budget(tenant_id, "1", model="gpt-4o"), budget(tenant_id, "1", api_key_id=OTHER_KEY)

    async def spend(ledger: Ledger) -> None:
        ledger.record(event(tenant_id, usd("0.75")))
        ledger.record(event(tenant_id, usd("0.5"), model="gpt-4o-mini", api_key_id=OTHER_KEY))

    async def ask(ledger: Ledger) -> None:
        with pytest.raises(BudgetExceeded):
            await ledger.reserve(call(tenant_id), [by_model], usd("0.3"))
        await ledger.reserve(call(tenant_id), [by_model], usd("0.25"))
        await ledger.reserve(call(tenant_id, "gpt-4o-mini", OTHER_KEY), [by_key], usd("0.5"))

    run_with_ledger(spend)
    run_with_ledger(ask)
    assert used(tenant_id) == {by_model.id: 1, by_key.id: 1}


class Oracle:
    """What budgets allow, worked out one call after the other."""

    def __init__(self, budgets: list[Budget]) -> None:
        self.budgets = budgets
        self.used = {each.id: Decimal(0) for each in budgets}
        self.costs: list[Decimal] = []

    def grants(self, asked: Call, worst: Decimal) -> bool:
        bound = matching(self.budgets, asked.api_key_id, asked.model)
        if any(self.used[each.id] + worst > each.usd_per_day for each in bound):
            return False
        self.change(asked, worst)
        return True

    def change(self, asked: Call, by: Decimal) -> None:
        for each in matching(self.budgets, asked.api_key_id, asked.model):
            self.used[each.id] += by


@pytest.mark.parametrize("seed", range(scaled(3, 40)))
def test_budgets_hold_what_an_oracle_says(seed: int) -> None:
    """Calls that are asked for at once are granted in their order; each settles as it likes, also at once."""
    rng = random.Random(seed)
    tenant_id = new_id()
    budgets = [
        budget(tenant_id, str(rng.randrange(1, 20)), model=model, api_key_id=key)
        for model in ("", "a", "b")
        for key in (None, KEY, OTHER_KEY)
        if rng.random() < 0.7
    ]
    oracle = Oracle(budgets)

    async def scenario(ledger: Ledger) -> None:
        open_calls: list[tuple[Reservation, Call]] = []
        for _ in range(STEPS // 10):
            batch = [
                (
                    call(tenant_id, rng.choice("abc"), rng.choice((KEY, OTHER_KEY))),
                    Decimal(rng.randrange(3 * 10**9)) / 10**9,
                )
                for _ in range(rng.randrange(1, 15))
            ]
            expected = [oracle.grants(asked, worst) for asked, worst in batch]
            got = await outcomes([ledger.reserve(asked, budgets, worst) for asked, worst in batch])
            assert [isinstance(each, Reservation) for each in got] == expected
            assert all(isinstance(each, Reservation | BudgetExceeded) for each in got)
            open_calls += [
                (each, asked) for each, (asked, _) in zip(got, batch, strict=True) if isinstance(each, Reservation)
            ]
            rng.shuffle(open_calls)
            for _ in range(rng.randrange(len(open_calls) + 1)):
                reservation, asked = open_calls.pop()
                worst = reservation.worst or Decimal(0)
                cost = rng.choice((Decimal(0), worst, None, (worst * rng.randrange(12) / 10).quantize(Decimal("1e-9"))))
                if reservation.worst is not None and cost is not None:
                    oracle.change(asked, cost - worst)
                ledger.settle(reservation, outcome_of(reservation, cost, asked))
            while ledger._settlements:
                await asyncio.sleep(0.01)
            assert_reconciled(tenant_id, budgets, oracle)

    run_with_ledger(scenario)
    assert_reconciled(tenant_id, budgets, oracle)


def random_call(rng: random.Random, tenant_id: int) -> tuple[Call, Decimal]:
    """And its worst case."""
    asked = call(tenant_id, rng.choice("abc"), rng.choice((KEY, OTHER_KEY)))
    return asked, Decimal(rng.randrange(3 * 10**9)) / 10**9


def assert_reconciled(tenant_id: int, budgets: list[Budget], oracle: Oracle) -> None:
    """What a day used is the sum of its events' costs, and what the oracle says."""
    rows = query("select api_key_id, model, cost from gateway_spend_event where tenant_id = %s", [tenant_id])
    found = used(tenant_id)
    for each in budgets:
        sums = sum(cost or 0 for key, model, cost in rows if matching([each], key, model))
        assert found.get(each.id, 0) == sums == oracle.used[each.id]
