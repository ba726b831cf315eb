"""Byte-seconds against a replay: the same operations, integrated entry by entry and day by day in the simplest way.

The service runs on a clock of the test's own, and is asked for its numbers now and then. Whole bytes times whole
microseconds: they are equal, or wrong.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from billing import usage
from billing.rows import django_rows
from cacheservice.entries.collection import Selection
from cacheservice.entries.operations import Caller
from cacheservice.entries.purge import purge
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Stored
from tests.fake_clock import FakeClock, microseconds
from tests.faults.outcome import Outcome, progress
from tests.meters import discrepancies, integral
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, query

START = datetime(2033, 12, 30, 22, 0, 0, 123_456, tzinfo=UTC)
DAY = 86_400 * 10**6  # microseconds
TENANTS, API_KEYS = 2, 3  # API keys of each tenant
KEYS = [f"{prefix}{number}" for prefix in "abcd" for number in range(8)]
TAGS = ("red", "green")

# What an API key's storage did on each UTC day, rolled up or not.
EVENTS = """
select extract(epoch from day)::bigint / 86400, sum(delta), sum(moment) from (
  select date_trunc('day', start, 'UTC') as day, storage_delta as delta, storage_moment as moment
  from usage_rollup where api_key_id = %s and period = 0
  union all
  select date_trunc('day', at, 'UTC'), storage_delta, storage_moment from receipt where api_key_id = %s and not folded
) as everything group by day order by day
"""


class Operation(NamedTuple):
    """`what` is put, patch or delete of a key by an API key (of them all, by number); or for its tenant: bulk (delete,
    of what begins with `key` and has the tag, if they are not empty) or book."""

    what: str
    api_key: int = 0
    key: str = ""
    size: int = 0
    ttl: int = 1
    tag: str = ""


class Held(NamedTuple):
    """An entry, from when it was written. Times are microseconds since 1970."""

    api_key: int
    size: int
    tag: str
    start: int
    end: int  # when it expires, or sooner went


class Replay:
    """What the operations must have come to."""

    def __init__(self) -> None:
        self._there: dict[tuple[int, str], Held] = {}  # by tenant and key
        self._gone: list[Held] = []

    def apply(self, operation: Operation, now: int) -> object:
        """What the service must answer."""
        tenant, place = operation.api_key // API_KEYS, (operation.api_key // API_KEYS, operation.key)
        if operation.what == "put":
            live = self._end(place, now)
            end = now + operation.ttl * 10**6
            self._there[place] = Held(operation.api_key, operation.size, operation.tag, now, end)
            return live
        if operation.what == "patch":
            held = self._there.get(place)
            if held is None or held.end <= now:
                return False
            self._there[place] = held._replace(end=now + operation.ttl * 10**6)
            return True
        if operation.what == "delete":
            return self._end(place, now)
        if operation.what == "bulk":
            doomed = [
                (of, key)
                for (of, key), held in self._there.items()
                if of == tenant and key.startswith(operation.key) and operation.tag in ("", held.tag)
            ]
            return sum(self._end(each, now) for each in doomed)
        return None  # book: nothing that a reader could see

    def expiries(self) -> list[int]:
        return [held.end for held in self._there.values()]

    def byte_microseconds(self, api_key: int, now: int) -> dict[int, int]:
        """By UTC day since 1970, until now; days of nothing are left out."""
        days: dict[int, int] = defaultdict(int)
        for held in (*self._gone, *self._there.values()):
            if held.api_key == api_key:
                for day, length in _split_at_midnights(held.start, min(held.end, now)):
                    days[day] += held.size * length
        return {day: total for day, total in days.items() if total}

    def _end(self, place: tuple[int, str], now: int) -> bool:
        """The entry goes; whether it was live."""
        held = self._there.pop(place, None)
        if held is None:
            return False
        self._gone.append(held._replace(end=min(held.end, now)))
        return held.end > now


def _split_at_midnights(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The UTC days since 1970 that the time lies in, and how many microseconds of it each has."""
    while start < end:
        midnight = (start // DAY + 1) * DAY
        yield start // DAY, min(end, midnight) - start
        start = midnight


class Trial:
    """The service and its replay, side by side."""

    def __init__(self, stores: RunningStores, clock: FakeClock, outcome: Outcome) -> None:
        self._stores, self._clock, self._outcome = stores, clock, outcome
        self._callers: list[Caller] = []
        for _ in range(TENANTS):
            tenant = new_tenant()
            self._callers += [new_caller(tenant) for _ in range(API_KEYS)]
        self.replay = Replay()

    def run(self, operations: Sequence[Operation]) -> None:
        """All at once; those of one tenant must name different keys, and nobody else's where one is of a tenant."""
        expected = [self.replay.apply(operation, self._clock.microseconds) for operation in operations]
        told = self._stores.at_once([self._do(operation) for operation in operations])
        for operation, right, each in zip(operations, expected, told, strict=True):
            answer = each.replaced if isinstance(each, Stored) else each
            self._outcome.expect(answer == right, f"{operation}: {answer!r} instead of {right!r}")

    def compare(self) -> None:
        """The report, and once all that has expired is booked the receipts and the meters."""
        for caller in self._callers[::API_KEYS]:
            self._compare_report(caller.tenant_id)
            self._stores.run(self._stores[0].book_expired(caller.tenant_id))
        totals: dict[int, int] = defaultdict(int)
        now = self._clock.microseconds
        for number, caller in enumerate(self._callers):
            right = self.replay.byte_microseconds(number, now)
            self._expect_equal("by receipts", number, _by_receipts(caller.api_key_id, now), right)
            metered = integral(caller.tenant_id, caller.api_key_id, now)
            self._outcome.expect(metered == sum(right.values()), f"meter of API key {number}: {metered}")
            totals[caller.tenant_id] += sum(right.values())
        for tenant_id, total in totals.items():
            metered = integral(tenant_id, 0, now)
            self._outcome.expect(metered == total, f"meter of a tenant: {metered} instead of {total}")
        self._outcome.deviations += discrepancies(*totals)
        self._outcome.add("comparisons", 1)

    async def _do(self, operation: Operation) -> object:
        store, caller = self._stores[0], self._callers[operation.api_key]
        if operation.what == "put":
            value = entry(bytes(operation.size), ttl=operation.ttl, tags=[operation.tag] if operation.tag else [])
            return await store.put(caller, operation.key, value)
        if operation.what == "patch":
            return await store.patch(caller, operation.key, operation.ttl, None) is not None
        if operation.what == "delete":
            return await store.delete(caller, operation.key)
        if operation.what == "bulk":
            tags = (operation.tag,) if operation.tag else ()
            return await store.delete_selected(caller, Selection(operation.key, tags))
        await store.book_expired(caller.tenant_id)
        return None

    def _compare_report(self, tenant_id: int) -> None:
        """As it stands, with what has expired not booked."""
        start = usage.start_of(START, "day")
        asked = usage.Range(start, usage.start_of(self._clock.now, "day") + timedelta(days=1), "day")
        with self._clock.for_django():
            report = usage.read(django_rows, tenant_id, asked, by_api_key=True)
        told: dict[int, dict[int, int]] = defaultdict(dict)
        for row in report.rows:
            if row.counts.byte_microseconds and row.api_key is not None:
                told[row.api_key.id][microseconds(row.start) // DAY] = row.counts.byte_microseconds
        for number, caller in enumerate(self._callers):
            if caller.tenant_id == tenant_id:
                right = self.replay.byte_microseconds(number, self._clock.microseconds)
                self._expect_equal("by the report", number, told[caller.api_key_id], right)

    def _expect_equal(self, how: str, number: int, told: dict[int, int], right: dict[int, int]) -> None:
        self._outcome.add("days compared", len(right))
        for day in sorted({*told, *right}):
            numbers = told.get(day, 0), right.get(day, 0)
            self._outcome.expect(numbers[0] == numbers[1], f"{how}, API key {number}, day {day}: %d, not %d" % numbers)


def _by_receipts(api_key_id: int, now: int) -> dict[int, int]:
    """Byte-microseconds by day: what stood at its start all day long, and of each event what was left of the day."""
    events = {int(day): (int(delta), int(moment)) for day, delta, moment in query(EVENTS, [api_key_id, api_key_id])}
    if not events:
        return {}
    days, standing = {}, 0
    for day in range(min(events), now // DAY + 1):
        delta, moment = events.get(day, (0, 0))
        end = min((day + 1) * DAY, now)
        days[day] = standing * (end - day * DAY) + delta * end - moment
        standing += delta
    return {day: total for day, total in days.items() if total}


def byte_seconds(operations: int, seed: int) -> Outcome:
    """So many operations by six API keys of two tenants, with rollups and late purges in between."""
    outcome = Outcome(operations)
    chance = random.Random(seed)
    with FakeClock(START) as clock, RunningStores(1, clock.dsn) as stores:
        trial = Trial(stores, clock, outcome)
        done = 0
        while done < operations:
            clock.advance(timedelta(microseconds=_pause(chance, trial.replay.expiries(), clock.microseconds)))
            group = _group(chance)
            trial.run(group)
            done += len(group)
            if chance.random() < 0.01:
                with clock.for_django():
                    chance.choice((purge, rollup))()
            if done * 10 // operations > (done - len(group)) * 10 // operations:
                trial.compare()
                progress(done * 10 // operations, 10, outcome)
        trial.compare()
    outcome.seen["operations"] = done
    return outcome


def _pause(chance: random.Random, expiries: list[int], now: int) -> int:
    """Microseconds: none, a few, an hour or more; up to just before, at or after a midnight or an expiry."""
    edge = chance.choice((-1, 0, 1))
    to_midnight = DAY - now % DAY
    kind = chance.random()
    if kind < 0.3:
        return chance.randrange(3)
    if kind < 0.9 or (kind < 0.97 and not expiries):
        return chance.randrange(2 * 10**8)
    if kind < 0.97:
        return max(0, min(chance.choice(expiries) - now, DAY) + edge)
    if kind < 0.98:
        return max(0, to_midnight + edge)
    return chance.randrange(2 * DAY) if kind > 0.998 else chance.randrange(3600 * 10**6)


def _group(chance: random.Random) -> list[Operation]:
    """What is asked at one moment: of whole tenants one thing, of keys one or several."""
    if chance.random() < 0.03:
        what = chance.choice(("bulk", "bulk", "book"))
        prefix, tag = chance.choice(("", "a", "b", "c1", "none")), chance.choice(("", *TAGS))
        if not prefix and not tag and chance.random() < 0.8:
            prefix = "d"  # all of it goes seldom
        return [Operation(what, chance.randrange(TENANTS * API_KEYS), prefix, tag=tag)]
    places = chance.sample([(tenant, key) for tenant in range(TENANTS) for key in KEYS], chance.choice((1, 1, 2, 6)))
    return [
        Operation(
            chance.choices(("put", "patch", "delete"), (6, 3, 2))[0],
            tenant * API_KEYS + chance.randrange(API_KEYS),
            key,
            chance.choice((0, 1, chance.randrange(100), chance.randrange(100_000))),
            chance.choice((1, chance.randrange(1, 300), chance.randrange(1, 90_000), chance.randrange(1, 400_000))),
            chance.choice(("", *TAGS)),
        )
        for tenant, key in places
    ]
