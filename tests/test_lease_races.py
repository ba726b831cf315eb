"""Leases between processes: one fill, whoever asks; a dead or late holder; a DELETE during a fill."""

import asyncio
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from cacheservice.entries.leases import LOOK_SECONDS
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import LeaseLost
from tests.lease_worker import SLEEP_SECONDS
from tests.processes import Worker
from tests.running_stores import RunningStores
from tests.store_cast import database_dsn, entry, new_caller, query, run_with_store, scaled

NOISE_SECONDS = 1.0  # of a machine that does something else too
PROCESSES = 4
REQUESTS = scaled(50, 125)  # of each process
DELETIONS = scaled(200, 10_000)
WAITERS = 1000
MOST_WAITERS_BYTES = 20_000_000


class LeaseWorker(Worker):
    """A process that asks for an entry."""

    def __init__(self, caller: Caller, key: str, *, requests: int, lease: int = 20, stops: bool = False) -> None:
        order = {
            "dsn": database_dsn(),
            "tenant_id": caller.tenant_id,
            "api_key_id": caller.api_key_id,
            "digest": caller.digest.hex(),
            "key": key,
            "requests": requests,
            "lease": lease,
            "stops": stops,
        }
        super().__init__("tests.lease_worker", order)


def test_many_misses_in_several_processes_are_filled_once() -> None:
    caller = new_caller()
    with ExitStack() as stack:
        workers = [stack.enter_context(LeaseWorker(caller, "cold", requests=REQUESTS)) for _ in range(PROCESSES)]
        for worker in workers:
            assert worker.says() == {"ready": True}
        for worker in workers:
            worker.go()
        outcomes = [worker.says() for worker in workers]
    made = [moment for outcome in outcomes for moment in outcome["made"]]
    had = [moment for outcome in outcomes for moment in outcome["had"]]
    assert len(made) == 1
    assert len(had) == PROCESSES * REQUESTS
    assert None not in had
    assert sum(outcome["lost"] for outcome in outcomes) == 0
    assert query("select count(*) from lease where tenant_id = %s", [caller.tenant_id]) == [(0,)]


@pytest.mark.parametrize("fate", ["killed", "late"])
def test_holder_that_is_gone_or_late_is_replaced(fate: str) -> None:
    """The others go on within its lease and a second; what it comes with afterwards is not written."""
    caller, lease = new_caller(), 2
    with (
        LeaseWorker(caller, "cold", requests=1, lease=lease, stops=True) as holder,
        LeaseWorker(caller, "cold", requests=20, lease=20) as others,
    ):
        for worker in (holder, others):
            assert worker.says() == {"ready": True}
        holder.go()
        assert holder.says() == {"holds": True}
        held_until = time.monotonic() + lease - SLEEP_SECONDS  # at the latest: it said so after making the value
        others.go()
        if fate == "killed":
            holder.process.kill()
        outcome = others.says()
        [made] = outcome["made"]
        assert made < held_until + LOOK_SECONDS + SLEEP_SECONDS + NOISE_SECONDS
        assert None not in outcome["had"]
        if fate == "late":
            late = holder.says()
            assert (late["made"], late["lost"]) == ([], 1)
    values = query("select count(*) from entry where tenant_id = %s and key = 'cold'", [caller.tenant_id])
    assert values == [(1,)]


def test_deletion_during_a_fill_leaves_nothing() -> None:
    """Whichever comes first: a fill behind the deletion is refused, one before it is deleted. They come over different
    connections, as those of two server processes do, so that only the database orders them."""
    caller = new_caller()
    seen = {"filled first": 0, "deleted first": 0}
    with RunningStores(2) as stores:
        filler, deleter = stores

        async def fill(key: str, token: int) -> bool:
            try:
                await filler.put(caller, key, entry(b'"stale"'), lease=token)
            except LeaseLost:
                return False
            return True

        async def race(number: int) -> None:
            key = f"key {number % 8}"
            token = await filler.get_or_lease(caller, key, seconds=30, wait=0)
            assert isinstance(token, int)
            work = [fill(key, token), deleter.delete(caller, key)]
            if number % 2:
                filled, deleted = await asyncio.gather(*work)
            else:
                deleted, filled = await asyncio.gather(*reversed(work))
            assert filled == deleted
            seen["filled first" if filled else "deleted first"] += 1
            for store in (deleter, filler):
                assert await store.get(caller, key) is None

        for number in range(DELETIONS):
            stores.run(race(number))
    assert min(seen.values()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_a_thousand_waiters_take_little_memory() -> None:
    caller = new_caller()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    async def scenario(store: Store) -> None:
        token = await store.get_or_lease(caller, "cold", seconds=60, wait=0)
        assert isinstance(token, int)
        before = resident()
        waiting = [asyncio.create_task(store.get_or_lease(caller, "cold", seconds=60, wait=30)) for _ in range(WAITERS)]
        deadline = time.monotonic() + 20
        while sum(len(spot.waiters) for spot in store._waiting._spots.values()) < WAITERS:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert resident() - before < MOST_WAITERS_BYTES
        await store.put(caller, "cold", entry(b"1"), lease=token)
        assert sum(isinstance(each, Hit) for each in await asyncio.gather(*waiting)) == WAITERS

    run_with_store(scenario)
