"""Connections cut while a round trip is under way: nobody knows then whether it was committed."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from django.conf import settings

from cacheservice.entries import refunds
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit, Store, Stored
from cacheservice.errors import InternalError, Unavailable
from tests.failing_database import DOWN, UP, Proxy
from tests.faults.outcome import Outcome, progress
from tests.meters import discrepancies, hits, prepaid_tenant, tamper, used
from tests.store_cast import database_dsn, entry, new_caller, outcomes

HANGS_AFTER_SECONDS = 20
CREDITS = 10**9  # units: more than are spent
KEYS = [f"key {number}" for number in range(8)]
TAMPERED = "tampered"


class Told:
    """What the service has acknowledged, and how much of the rest may have happened or not."""

    def __init__(self) -> None:
        self.hits: Counter[int] = Counter()  # by version
        self.misses = self.writes = self.deletes = 0
        self.unknown_writes = self.unknown_deletes = 0

    def note(self, what: str, outcome: object) -> None:
        if isinstance(outcome, Hit):
            self.hits[outcome.version] += 1
        elif what == "get":
            self.misses += outcome is None
        elif what == "put":
            self.writes += isinstance(outcome, Stored)
            self.unknown_writes += isinstance(outcome, Unavailable)
        else:
            self.deletes += outcome is True
            self.unknown_deletes += isinstance(outcome, Unavailable)


def cuts(count: int, seed: int) -> Outcome:
    """Cut so often, at any byte of what goes to PostgreSQL or comes from it; now and then while refunding too."""
    outcome = Outcome(count)
    chance = random.Random(seed)
    caller = new_caller(prepaid_tenant(CREDITS))
    told = Told()

    async def scenario() -> None:
        async with Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                await _prepare(store, caller)
                told.writes += len(KEYS) + 1
                for done in range(1, count + 1):
                    await _one_cut(store, proxy, caller, told, outcome, chance)
                    if done % 20 == 0 or done == count:
                        await settled(store)
                        _compare(outcome, caller, told)
                    progress(done, count, outcome)
                outcome.add("cuts", proxy.cuts)
            finally:
                await store.close()

    before, refunds.PAUSE_SECONDS = refunds.PAUSE_SECONDS, 0.02
    try:
        asyncio.run(scenario())
    finally:
        refunds.PAUSE_SECONDS = before
    return outcome


async def _prepare(store: Store, caller: Caller) -> None:
    for key in (*KEYS, TAMPERED):
        await store.put(caller, key, entry(b'"%d"' % len(key)))
    tamper(caller.tenant_id, TAMPERED)


async def _one_cut(
    store: Store, proxy: Proxy, caller: Caller, told: Told, outcome: Outcome, chance: random.Random
) -> None:
    await connected(store)
    if chance.random() < 0.5:
        proxy.cut_after(DOWN, chance.choice((0, 0, chance.randrange(600))))  # what has begun to come is committed
    else:
        proxy.cut_after(UP, chance.randrange(1500))
    work: list[tuple[str, Coroutine[Any, Any, Any]]] = []
    for key in chance.sample(KEYS, chance.randrange(1, len(KEYS))):
        what = chance.choices(("get", "put", "delete"), (6, 2, 1))[0]
        if what == "get":
            work += [("get", store.get(caller, key)), ("get", store.get(caller, "absent"))]
        elif what == "put":
            work.append(("put", store.put(caller, key, entry(chance.randbytes(50), content_type="image/png"))))
        else:
            work.append(("delete", store.delete(caller, key)))
    work.append(("get", store.get(caller, TAMPERED)))
    answers = await asyncio.wait_for(outcomes([each for _, each in work]), HANGS_AFTER_SECONDS)
    for (what, _), answer in zip(work, answers, strict=True):
        told.note(what, answer)
        right = isinstance(answer, Hit | Stored | bool | Unavailable | InternalError) or answer is None
        outcome.expect(right, f"{what}: {answer!r}")
    outcome.add("answers", len(answers))
    outcome.add("of them unavailable", sum(isinstance(answer, Unavailable) for answer in answers))
    if chance.random() < 0.3:
        proxy.cut_after(chance.choice((UP, DOWN)), chance.randrange(200))  # what goes over the link then is the refund
        await asyncio.sleep(0.01)


async def connected(store: Store) -> None:
    """Until every connection stands, so that what comes over the link next belongs to a request."""
    async with asyncio.timeout(HANGS_AFTER_SECONDS):
        while len(store._gatherer._free) < settings.DATABASE_CONNECTIONS:
            await asyncio.sleep(0.002)


async def settled(store: Store) -> None:
    """Until every refund that was to be booked is."""
    async with asyncio.timeout(HANGS_AFTER_SECONDS):
        while store._refunds._open:
            await asyncio.sleep(0.01)


def _compare(outcome: Outcome, caller: Caller, told: Told) -> None:
    """Whatever was answered 503 is refunded, and nothing else."""
    counted = used(caller.tenant_id)
    acknowledged = sum(told.hits.values())
    outcome.expect(+hits(caller.tenant_id) == told.hits, "hits by version differ from those acknowledged")
    outcome.expect(counted.hits == counted.units == acknowledged, f"{counted} for {acknowledged} acknowledged hits")
    outcome.expect(counted.misses == told.misses, f"{counted} for {told.misses} acknowledged misses")
    for name, number, least, more in (
        ("writes", counted.writes, told.writes, told.unknown_writes),
        ("deletes", counted.deletes, told.deletes, told.unknown_deletes),
    ):
        outcome.expect(least <= number <= least + more, f"{number} {name}: {least} acknowledged, {more} unknown")
    outcome.deviations += discrepancies(caller.tenant_id)
