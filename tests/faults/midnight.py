"""Requests while a UTC day ends: each belongs to exactly one day, one that it has touched."""

import asyncio
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from billing import usage
from billing.rows import django_rows
from cacheservice.entries.operations import Caller
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Hit, Store, Stored
from tests.fake_clock import FakeClock
from tests.faults.outcome import Outcome, progress
from tests.meters import discrepancies
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, query

REQUESTS = 64
FIRST_MIDNIGHT = datetime(2035, 12, 30, tzinfo=UTC)  # the second one ends a month, and a year
BETWEEN = timedelta(days=2)
STEPS, STEP = 20, timedelta(microseconds=10)  # of the clock; in the middle it is midnight

# The UTC days of what a version was hit, and of the writes.
HIT_DAYS = """
select version, (at at time zone 'UTC')::date from receipt cross join lateral unnest(versions) as version
where tenant_id = %s
"""
WRITE_DAYS = """
select (at at time zone 'UTC')::date, sum(writes)::int from receipt where tenant_id = %s and writes > 0 group by 1
"""


class Asked(NamedTuple):
    """A request's answer, and the days on which it was sent and answered."""

    answer: object
    first: date
    last: date


def midnights(count: int, seed: int) -> Outcome:
    """So many midnights pass while 64 requests are under way over two server processes' stores."""
    outcome = Outcome(count)
    chance = random.Random(seed)
    tenant = new_tenant()
    caller = new_caller(tenant)
    before: Counter[date] = Counter()  # writes that made the entries
    asked: list[Asked] = []
    with FakeClock(FIRST_MIDNIGHT - BETWEEN) as clock, RunningStores(2, clock.dsn) as stores:
        for number in range(count):
            midnight = FIRST_MIDNIGHT + number * BETWEEN
            clock.set(midnight - timedelta(hours=1))
            stores.at_once([stores[0].put(caller, f"key {each}", entry(b"1", ttl=7200)) for each in range(REQUESTS)])
            before[clock.now.date()] += REQUESTS
            clock.set(midnight - STEPS // 2 * STEP)
            told = stores.run(_one(stores, clock, caller, chance))
            _check_hits(outcome, tenant.id, told)
            asked += told
            if chance.random() < 0.1:
                rollup()
            progress(number + 1, count, outcome)
        _check_writes(outcome, tenant.id, asked, before)
        rollup()
        _check_report(outcome, tenant.id, clock, count)
    outcome.deviations += discrepancies(tenant.id)
    return outcome


async def _one(stores: list[Store], clock: FakeClock, caller: Caller, chance: random.Random) -> list[Asked]:
    """Most requests are sent a step or two from midnight, and the clock goes on while they are under way."""

    async def ask(number: int) -> Asked:
        first, store = clock.now.date(), stores[number % 2]
        if number % 4:
            answer: object = await store.get(caller, f"key {number}")
        else:
            answer = await store.put(caller, f"new {number}", entry(b"1", ttl=1))
        return Asked(answer, first, clock.now.date())

    due = [min(STEPS - 1, max(0, round(chance.gauss(STEPS / 2, 2)))) for _ in range(REQUESTS)]
    sent: list[asyncio.Task[Asked]] = []
    for step in range(STEPS):
        sent += [asyncio.create_task(ask(number)) for number, when in enumerate(due) if when == step]
        await asyncio.sleep(chance.random() * 0.002)
        clock.advance(STEP)
    return await asyncio.gather(*sent)


def _check_hits(outcome: Outcome, tenant_id: int, told: list[Asked]) -> None:
    """Each hit has a version of its own, which tells its day."""
    days: dict[int, list[date]] = {}
    for version, day in query(HIT_DAYS, [tenant_id]):
        days.setdefault(version, []).append(day)
    for each in told:
        if isinstance(each.answer, Hit):
            counted = days.get(each.answer.version, [])
            right = len(counted) == 1 and each.first <= counted[0] <= each.last
            outcome.expect(right, f"a hit of {each.first} to {each.last} counts on {counted}")
            outcome.add("hits before midnight", counted == [told[0].first])
            outcome.add("hits after", counted != [told[0].first])
            outcome.add("hits under way at midnight", each.first != each.last)


def _check_writes(outcome: Outcome, tenant_id: int, asked: list[Asked], before: Counter[date]) -> None:
    """Each day has those that it had for certain, and of those that touched two days no more than there are."""
    counted = Counter({day: writes - before[day] for day, writes in query(WRITE_DAYS, [tenant_id])})
    writes = [each for each in asked if isinstance(each.answer, Stored)]
    certain = Counter(each.first for each in writes if each.first == each.last)
    for each in writes:
        for day in {each.first, each.last}:
            undecided = sum(day in (one.first, one.last) and one.first != one.last for one in writes)
            right = certain[day] <= counted[day] <= certain[day] + undecided
            outcome.expect(right, f"{counted[day]} writes on {day}: {certain[day]} of it, {undecided} undecided")
    outcome.expect(counted.total() == len(writes), f"{counted.total()} writes of {len(writes)}")
    outcome.add("writes", len(writes))


def _check_report(outcome: Outcome, tenant_id: int, clock: FakeClock, midnights_passed: int) -> None:
    """The report by day has the same hits on the same days."""
    counted = Counter(day for _, day in query(HIT_DAYS, [tenant_id]))
    start = usage.start_of(FIRST_MIDNIGHT - BETWEEN, "day")
    asked = usage.Range(start, start + (midnights_passed + 2) * BETWEEN, "day")
    with clock.for_django():
        report = usage.read(django_rows, tenant_id, asked)
    told = Counter({row.start.date(): row.counts.hits for row in report.rows if row.counts.hits})
    outcome.expect(told == counted, "the report's days are not the receipts'")
    outcome.add("hits reported", told.total())
