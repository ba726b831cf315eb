"""A connection lost while a round trip was under way: what nobody got is not paid, whether it was committed or not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from accounts.models import APIKey
from billing.limits import set_api_key_limits
from cacheservice.entries.operations import Caller, Read
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import InsufficientCredits, InternalError, Unavailable
from tests.failing_database import DOWN, UP, Proxy
from tests.faults.cuts import connected, settled
from tests.meters import Used, balance, discrepancies, prepaid_tenant, receipts, used
from tests.store_cast import database_dsn, entry, new_caller, outcomes, query

CREDITS = 10
BACKENDS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = %s"
WAITS = f"{BACKENDS} and wait_event_type = 'Lock'"
BUSY = f"{BACKENDS} and state <> 'idle'"


@pytest.fixture
def caller() -> Caller:
    return new_caller(prepaid_tenant(CREDITS))


def run(caller: Caller, scenario: Callable[[Store, Proxy], Awaitable[None]]) -> None:
    """With a store behind a proxy, and an entry "a"."""

    async def bounded() -> None:
        async with asyncio.timeout(60), Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                await connected(store)
                await store.put(caller, "a", entry(b"1"))
                await scenario(store, proxy)
            finally:
                await store.close()

    asyncio.run(bounded())


def booked(caller: Caller) -> list[Used]:
    """What the receipts of reads count, in order of time."""
    return [receipt.used for receipt in receipts(caller.api_key_id) if not receipt.used.writes]


def cancelled(caller: Caller) -> int:
    """How many receipts say only that a round trip never happened."""
    [(count,)] = query(
        "select count(*) from receipt where tenant_id = %s and api_key_id = 0 and folded", [caller.tenant_id]
    )
    return int(count)


def assert_as_before(caller: Caller) -> None:
    assert used(caller.tenant_id) == Used(writes=1, stored=1)
    assert balance(caller.tenant_id) == CREDITS
    assert discrepancies(caller.tenant_id) == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_answer_lost_after_the_commit_is_refunded(caller: Caller) -> None:
    async def scenario(store: Store, proxy: Proxy) -> None:
        proxy.cut_after(DOWN, 0)
        told = await outcomes([*(store.get(caller, "a") for _ in range(3)), store.get(caller, "absent")])
        assert [type(each) for each in told] == [Unavailable] * 4
        await settled(store)
        assert booked(caller) == [Used(hits=3, misses=1, units=3), Used(hits=-3, misses=-1, units=-3)]
        assert cancelled(caller) == 0
        assert_as_before(caller)

    run(caller, scenario)


def test_question_lost_before_it_arrived_is_cancelled(caller: Caller) -> None:
    async def scenario(store: Store, proxy: Proxy) -> None:
        proxy.cut_after(UP, 10)
        assert [type(each) for each in await outcomes([store.get(caller, "a")])] == [Unavailable]
        await settled(store)
        assert (booked(caller), cancelled(caller)) == ([], 1)
        assert_as_before(caller)

    run(caller, scenario)


def test_late_statement_cannot_commit_once_it_is_cancelled(caller: Caller) -> None:
    """The server has the statement, which waits for a lock, and does not notice that nobody waits for its answer."""

    async def scenario(store: Store, proxy: Proxy) -> None:
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("select from account where tenant_id = %s for no key update", [caller.tenant_id])
            asked = asyncio.create_task(outcomes([store.get(caller, "a")]))
            await until(lambda: query(WAITS, ["cacheservice store"]) == [(1,)])
            proxy.cut()
            assert [type(each) for each in await asked] == [Unavailable]
            await settled(store)
            assert cancelled(caller) == 1
            assert query(WAITS, ["cacheservice store"]) == [(1,)]  # it still waits, and now goes on
            holder.rollback()
        await until(lambda: query(WAITS, ["cacheservice store"]) == [(0,)])
        await until_nothing_is_under_way(store)
        assert booked(caller) == []
        assert_as_before(caller)

    run(caller, scenario)


async def until_nothing_is_under_way(store: Store) -> None:
    """Nor for connections that the store has lost."""
    await connected(store)
    await until(lambda: query(BUSY, ["cacheservice store"]) == [(0,)])


def test_cancelling_waits_for_a_statement_that_is_about_to_commit(caller: Caller) -> None:
    """Its receipt is inserted and not committed: then it must be known what becomes of it."""

    async def scenario(store: Store, proxy: Proxy) -> None:
        with held_before_commit(caller) as release:
            asked = asyncio.create_task(outcomes([store.get(caller, "a")]))
            await until(lambda: query(WAITS, ["cacheservice store"]) == [(1,)])
            proxy.cut()
            assert [type(each) for each in await asked] == [Unavailable]
            await until(lambda: query(WAITS, ["cacheservice side"]) == [(1,)])
            assert booked(caller) == []
            release()
            await settled(store)
        assert booked(caller) == [Used(hits=1, units=1), Used(hits=-1, units=-1)]
        assert cancelled(caller) == 0
        assert_as_before(caller)

    run(caller, scenario)


@contextmanager
def held_before_commit(caller: Caller) -> Iterator[Callable[[], None]]:
    """The tenant's receipts of hits wait, once they are inserted, until what this yields is called."""
    query(
        "create function wait_for_the_test() returns trigger language plpgsql as $body$ begin "
        "perform pg_advisory_xact_lock(42); return null; end $body$"
    )
    query(
        "create trigger wait_for_the_test after insert on receipt for each row "
        f"when (new.tenant_id = {caller.tenant_id} and new.hits > 0) execute function wait_for_the_test()"
    )
    try:
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("select pg_advisory_xact_lock(42)")
            yield holder.rollback
    finally:
        query("drop function wait_for_the_test cascade")


def test_refund_gives_the_last_credit_back(caller: Caller) -> None:
    async def scenario(store: Store, proxy: Proxy) -> None:
        for _ in range(CREDITS - 1):
            assert isinstance(await store.get(caller, "a"), Hit)
        proxy.cut_after(DOWN, 0)
        assert [type(each) for each in await outcomes([store.get(caller, "a")])] == [Unavailable]
        await settled(store)
        await connected(store)
        told = [type(each) for each in await outcomes([store.get(caller, "a") for _ in range(2)])]
        assert told == [Hit, InsufficientCredits]

    run(caller, scenario)
    assert balance(caller.tenant_id) == 0


def test_refund_goes_back_to_the_credit_limit(caller: Caller) -> None:
    api_key = APIKey.objects.get(tenant_id=caller.tenant_id, id=caller.api_key_id)
    set_api_key_limits(api_key, credit_limit=2, actor="tests")

    async def scenario(store: Store, proxy: Proxy) -> None:
        for _ in range(3):
            await connected(store)
            proxy.cut_after(DOWN, 0)
            assert [type(each) for each in await outcomes([store.get(caller, "a")])] == [Unavailable]
            await settled(store)
        await connected(store)
        told = [type(each) for each in await outcomes([store.get(caller, "a") for _ in range(3)])]
        assert told == [Hit, Hit, InsufficientCredits]

    run(caller, scenario)


def test_write_in_doubt_is_metered_as_it_is_stored(caller: Caller) -> None:
    async def scenario(store: Store, proxy: Proxy) -> None:
        for direction, size in ((DOWN, 100), (UP, 1000)):
            await connected(store)
            proxy.cut_after(direction, 0)
            told = await outcomes([store.put(caller, "a", entry(bytes(size))), store.delete(caller, "absent")])
            assert Unavailable in map(type, told)
            assert discrepancies(caller.tenant_id) == []
        await settled(store)
        await connected(store)
        hit = await store.get(caller, "a", wanted=False)
        assert hit is not None
        assert hit.size == 100
        assert used(caller.tenant_id) == Used(writes=2, duplicates=1, stored=100)

    run(caller, scenario)


def test_what_is_open_is_booked_when_the_store_closes(caller: Caller) -> None:
    async def scenario(store: Store, proxy: Proxy) -> None:
        proxy.cut_after(DOWN, 0)
        assert [type(each) for each in await outcomes([store.get(caller, "a")])] == [Unavailable]

    run(caller, scenario)
    assert_as_before(caller)


def test_refunds_wait_for_a_database_that_is_away(caller: Caller) -> None:
    """Whatever else is lost on the way: each is booked once."""

    async def scenario(store: Store, proxy: Proxy) -> None:
        proxy.cut_after(DOWN, 0)
        assert [type(each) for each in await outcomes([store.get(caller, "a")])] == [Unavailable]
        for _ in range(3):
            proxy.cut_after(DOWN, 0)  # the refund's own answer
            await until(lambda: proxy._armed is None)
        await settled(store)
        assert_as_before(caller)

    run(caller, scenario)


def test_hits_whose_answer_cannot_be_read_are_not_paid(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of ours, as a field that is not what it should be would be."""

    def fail(*_: object) -> None:
        raise ValueError("the field is too short")

    async def scenario(store: Store, proxy: Proxy) -> None:
        before = balance(caller.tenant_id)
        with monkeypatch.context() as patched:
            patched.setattr(Read, "read_row", fail)
            with pytest.raises(InternalError):
                await store.get(caller, "a")
        await settled(store)
        assert balance(caller.tenant_id) == before
        assert isinstance(await store.get(caller, "a"), Hit)

    run(caller, scenario)
