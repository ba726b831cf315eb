"""Credits: what is not there is not spent, whoever asks at once; and the value that cannot be paid is not given out."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings

from accounts.keys import rotate_api_key
from accounts.models import APIKey, Tenant
from billing.limits import set_api_key_limits
from billing.models import Plan, Price
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit
from cacheservice.errors import InsufficientCredits
from tests.cast import ACTOR, Key, new_key
from tests.client import Client
from tests.fake_clock import FakeClock
from tests.meters import balance, change_plan, discrepancies, grant, new_plan, prepaid_tenant, used
from tests.processes import RunningServer
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, query, scaled

ROUNDS = scaled(3, 100)
YEAR = 365 * 86_400
SECRET = b'"what was paid for"'
LAST_SECOND = datetime(2031, 8, 31, 23, 59, 59, tzinfo=UTC)


def ask(stores: RunningStores, count: int, *callers: Caller, key: str = "a") -> Counter[type]:
    """So many hits at once, by the callers in turn, over all stores: how many came, and how many were refused."""
    work = [stores[number % len(stores)].get(callers[number % len(callers)], key) for number in range(count)]
    told = stores.at_once(work)
    assert all(hit.value == SECRET for hit in told if isinstance(hit, Hit))
    return Counter(map(type, told))


def paid(hits: int, refused: int) -> Counter[type]:
    return Counter({Hit: hits, InsufficientCredits: refused})


def limit_credits(caller: Caller, units: int) -> None:
    api_key = APIKey.objects.get(tenant_id=caller.tenant_id, id=caller.api_key_id)
    set_api_key_limits(api_key, credit_limit=units, actor=ACTOR)


def counted_by_limit(caller: Caller) -> int:
    """What the API key's credit window says."""
    rows = query(
        "select units from credit_window where tenant_id = %s and api_key_id = %s",
        [caller.tenant_id, caller.api_key_id],
    )
    [(units,)] = rows
    return int(units)


@pytest.fixture(scope="module")
def stores(django_db_setup: None) -> Iterator[RunningStores]:
    """Of two server processes."""
    with RunningStores(2) as stores:
        yield stores


def prepaid_callers(stores: RunningStores, units: int, count: int = 1) -> tuple[Tenant, list[Caller]]:
    """A tenant that can spend so much, and its API keys; under "a" is something to be had."""
    tenant = prepaid_tenant(units)
    callers = [new_caller(tenant) for _ in range(count)]
    stores.run(stores[0].put(callers[0], "a", entry(SECRET, ttl=YEAR)))
    return tenant, callers


# The prepaid balance.


@pytest.mark.parametrize("units", (0, 1, 63, 64, 65, 100))
def test_prepaid_balance_pays_for_what_it_can(stores: RunningStores, units: int) -> None:
    tenant, callers = prepaid_callers(stores, units)
    assert ask(stores, 128, *callers) == paid(units, 128 - units)
    assert balance(tenant.id) == 0
    assert used(tenant.id).units == used(tenant.id).hits == units
    assert discrepancies(tenant.id) == []


def test_a_single_credit_has_one_buyer(stores: RunningStores) -> None:
    tenant, callers = prepaid_callers(stores, 0, count=2)
    for _ in range(ROUNDS):
        grant(tenant, 1)
        assert ask(stores, 64, *callers) == paid(1, 63)
        assert balance(tenant.id) == 0


def test_tenants_of_one_batch_pay_each_for_itself(stores: RunningStores) -> None:
    (poor, [first]), (rich, [second]) = prepaid_callers(stores, 5), prepaid_callers(stores, 500)
    assert ask(stores, 100, first, second) == paid(55, 45)
    assert (balance(poor.id), balance(rich.id)) == (0, 450)


def test_misses_are_answered_without_credits(stores: RunningStores) -> None:
    _, [caller] = prepaid_callers(stores, 0)
    assert stores.at_once([stores[0].get(caller, "absent") for _ in range(3)]) == [None] * 3
    assert stores.run(stores[0].get(caller, "a", wanted=False)) is not None
    assert used(caller.tenant_id).misses == 3


def test_new_credits_pay_at_once(stores: RunningStores) -> None:
    tenant, callers = prepaid_callers(stores, 1)
    assert ask(stores, 2, *callers) == paid(1, 1)
    grant(tenant, 2)
    assert ask(stores, 3, *callers) == paid(2, 1)


def test_refusal_says_what_is_left_and_what_to_do(server: RunningServer) -> None:
    key = new_key(prepaid_tenant(0))
    with Client(server.url, key.token) as client:
        client.put("a", "the secret", tags=["tag"])
        etag = client.head("a").header("etag") or "none"
        for query_string in ("", "?raw=true"):
            answer = client.get("a", query_string)
            assert (answer.status, answer.error_code()) == (402, "insufficient_credits")
            assert answer.error_message() == (
                "The prepaid balance of 0.00 credits cannot pay for this hit, which costs 0.01: "
                f"add credits at {settings.PUBLIC_URL}/console/billing."
            )
            assert b"secret" not in answer.body
            assert answer.header("etag") is answer.header("x-credits-charged") is None
        # Nor does a refusal tell whether the client's copy is still good.
        assert client.get("a", headers={"if-none-match": etag}).status == 402
        assert client.put("a", "free to write").status == 200
    assert used(key.row.tenant_id).hits == 0


# The credit limit of an API key.


@pytest.mark.parametrize("plan", ("prepaid", "postpaid"))
def test_credit_limit_of_an_api_key_is_not_passed(stores: RunningStores, plan: str) -> None:
    tenant, (limited, other) = prepaid_callers(stores, 1000, count=2)
    if plan == "postpaid":
        change_plan(tenant, new_plan())
    limit_credits(limited, 10)
    assert ask(stores, 100, limited) == paid(10, 90)
    assert ask(stores, 10, limited, other) == paid(5, 5)
    assert (used(tenant.id, limited.api_key_id).units, used(tenant.id, other.api_key_id).units) == (10, 5)
    assert balance(tenant.id) == 985
    assert counted_by_limit(limited) == 10


def test_limit_counts_what_the_month_has_seen_already(stores: RunningStores) -> None:
    _, [caller] = prepaid_callers(stores, 100)
    assert ask(stores, 4, caller) == paid(4, 0)
    limit_credits(caller, 6)
    assert ask(stores, 4, caller) == paid(2, 2)
    limit_credits(caller, 7)
    assert ask(stores, 4, caller) == paid(1, 3)


def test_balance_and_limit_hold_together(stores: RunningStores) -> None:
    tenant, callers = prepaid_callers(stores, 0, count=3)
    limits = 5, 20
    for caller, units in zip(callers, limits, strict=False):
        limit_credits(caller, units)
    grant(tenant, 12)
    told = ask(stores, 120, *callers)
    assert told == paid(12, 108)
    assert balance(tenant.id) == 0
    spent = [used(tenant.id, caller.api_key_id).units for caller in callers]
    assert sum(spent) == 12
    assert spent[0] <= limits[0]
    assert [counted_by_limit(caller) for caller in callers[:2]] == spent[:2]
    # What the limits leave over is the third one's alone.
    grant(tenant, 100)
    assert ask(stores, 100, callers[0], callers[1]) == paid(25 - sum(spent[:2]), 100 - 25 + sum(spent[:2]))
    assert ask(stores, 10, callers[2]) == paid(10, 0)
    assert discrepancies(tenant.id) == []


def test_what_a_limit_refuses_takes_no_credits_from_others(stores: RunningStores) -> None:
    """In one batch: the balance has to pay only for what the limits let through."""
    tenant, (limited, other) = prepaid_callers(stores, 40, count=2)
    limit_credits(limited, 1)
    told = stores.at_once([stores[0].get(caller, "a") for caller in [limited] * 54 + [other] * 10])
    assert Counter(map(type, told[:54])) == paid(1, 53)
    assert Counter(map(type, told[54:])) == paid(10, 0)
    assert balance(tenant.id) == 29


def test_refusal_by_the_limit_says_so(server: RunningServer) -> None:
    key = new_key(new_tenant())
    set_api_key_limits(key.row, credit_limit=2, actor=ACTOR)
    with Client(server.url, key.token) as client:
        client.put("a", "the secret")
        assert [client.get("a").status for _ in range(3)] == [200, 200, 402]
        answer = client.get("a")
        assert answer.error_code() == "insufficient_credits"
        assert answer.error_message() == (
            "This API key has used 0.02 credits of its limit of 0.02 for this UTC month: "
            f"have the limit raised at {settings.PUBLIC_URL}/console/billing, or use another key."
        )
        assert b"secret" not in answer.body


def test_both_secrets_of_a_key_share_its_limit(server: RunningServer) -> None:
    key = new_key(new_tenant())
    set_api_key_limits(key.row, credit_limit=3, actor=ACTOR)
    second = Key(key.row, rotate_api_key(key.row, overlap=timedelta(hours=1), actor=ACTOR))
    with Client(server.url, key.token) as old, Client(server.url, second.token) as new:
        old.put("a", 1)
        assert [client.get("a").status for client in (old, new, old, new, old)] == [200, 200, 200, 402, 402]


# Postpaid.


def test_postpaid_accrues_below_zero(stores: RunningStores) -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)
    stores.run(stores[0].put(caller, "a", entry(SECRET, ttl=YEAR)))
    assert ask(stores, 200, caller) == paid(200, 0)
    assert balance(tenant.id) == -200
    assert discrepancies(tenant.id) == []


# By the calendar, on a clock of the test's own.


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock(LAST_SECOND) as clock:
        yield clock


@pytest.fixture
def reference_rows() -> Iterator[list[Any]]:
    """Rows of prices and plans that the test adds here go with it."""
    rows: list[Any] = []
    yield rows
    for row in rows:
        row.delete()


def test_credit_limit_starts_anew_with_the_utc_month(clock: FakeClock) -> None:
    with RunningStores(2, clock.dsn) as stores:
        _, [caller] = prepaid_callers(stores, 100)
        with clock.for_django():
            limit_credits(caller, 3)
        assert ask(stores, 5, caller) == paid(3, 2)
        clock.set(LAST_SECOND + timedelta(microseconds=999_999))
        assert ask(stores, 5, caller) == paid(0, 5)
        clock.set(LAST_SECOND + timedelta(seconds=1))
        assert ask(stores, 5, caller) == paid(3, 2)
        assert counted_by_limit(caller) == 3
        clock.advance(timedelta(days=29))
        assert ask(stores, 5, caller) == paid(0, 5)
        clock.advance(timedelta(days=150))
        assert ask(stores, 5, caller) == paid(3, 2)


def test_price_of_tomorrow_does_not_touch_today(clock: FakeClock, reference_rows: list[Any]) -> None:
    tomorrow = date(2031, 9, 1)
    reference_rows.append(Price.objects.create(code=Price.CACHE_HIT, valid_from=tomorrow, amount=Decimal(3)))
    with RunningStores(2, clock.dsn) as stores:
        tenant, [caller] = prepaid_callers(stores, 102)
        clock.set(LAST_SECOND + timedelta(microseconds=999_999))
        hit = stores.run(stores[0].get(caller, "a"))
        assert hit is not None
        assert hit.charge.units == 1
        assert balance(tenant.id) == 101
        clock.set(LAST_SECOND + timedelta(seconds=1))
        hit = stores.run(stores[0].get(caller, "a"))
        assert hit is not None
        assert hit.charge.units == 3
        # 98 units: 32 hits, and 2 units that pay for no more.
        assert ask(stores, 100, caller) == paid(32, 68)
        assert balance(tenant.id) == 2
    assert used(tenant.id).units == 100
    assert discrepancies(tenant.id) == []


def test_limit_counts_units_and_not_hits(clock: FakeClock, reference_rows: list[Any]) -> None:
    reference_rows.append(Price.objects.create(code=Price.CACHE_HIT, valid_from=date(2031, 8, 1), amount=Decimal(3)))
    with RunningStores(2, clock.dsn) as stores:
        _, [caller] = prepaid_callers(stores, 100)
        with clock.for_django():
            limit_credits(caller, 10)
        assert ask(stores, 64, caller) == paid(3, 61)
        assert counted_by_limit(caller) == 9


def test_plan_of_tomorrow_does_not_touch_today(clock: FakeClock, reference_rows: list[Any]) -> None:
    code = new_plan(prepaid=True)
    today = Plan.objects.get(code=code)
    postpaid = Plan(code=code, valid_from=date(2031, 9, 1), prepaid=False, monthly_grant=0, free_storage=0)
    postpaid.save(force_insert=True)
    reference_rows.append(postpaid)
    with RunningStores(2, clock.dsn) as stores:
        tenant, [caller] = prepaid_callers(stores, 1)
        change_plan(tenant, today.code)
        assert ask(stores, 3, caller) == paid(1, 2)
        clock.advance(timedelta(seconds=1))
        assert ask(stores, 3, caller) == paid(3, 0)
    assert balance(tenant.id) == -3
