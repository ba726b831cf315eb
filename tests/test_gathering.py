"""Concurrent requests share statements, and nobody can tell: order, outcomes and failures are each request's own."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from pytest_django.fixtures import Settings

from cacheservice.entries import sql
from cacheservice.entries.crypto import OVERHEAD_BYTES
from cacheservice.entries.gather import MAX_BATCH, MAX_BATCH_BYTES
from cacheservice.entries.operations import INLINE_BYTES, Caller, Read
from cacheservice.entries.requests import NO_CONDITION, Condition
from cacheservice.entries.side import SidePool
from cacheservice.entries.store import Hit, Store, Stored
from cacheservice.errors import Forbidden, InternalError, InvalidAPIKey, PreconditionFailed, Unavailable
from tests.processes import wait_for
from tests.store_cast import (
    Sent,
    assert_at_rest,
    backend_pids,
    database_dsn,
    entry,
    new_caller,
    new_tenant,
    outcomes,
    query,
    run_with_store,
    scaled,
)

pytestmark = pytest.mark.usefixtures("committed_db")

ABSENT, PRESENT, SOME_VERSION = Condition(1), Condition(3), Condition(2, 42)
INTERLEAVINGS, OPERATIONS = scaled(12, 300), scaled(300, 1000)
CANCELLATIONS = scaled(10, 300)
HANGS_AFTER_SECONDS = 20


def test_requests_of_one_turn_go_out_in_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()
    sent = Sent(monkeypatch)
    batches = 10

    async def scenario(store: Store) -> None:
        await store.put(caller, "hot", entry(b'"warm"'))
        hits = await asyncio.gather(*(store.get(caller, "hot") for _ in range(batches * MAX_BATCH)))
        assert [hit is not None and hit.value for hit in hits] == [b'"warm"'] * (batches * MAX_BATCH)
        await asyncio.gather(*(store.put(caller, f"key {i}", entry(b"1")) for i in range(batches * MAX_BATCH)))

    run_with_store(scenario)
    assert sent.sizes(b"read") == [MAX_BATCH] * batches
    assert sent.sizes(b"write") == [1] + [MAX_BATCH] * batches


def test_what_arrives_while_statements_are_in_flight_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()
    sent = Sent(monkeypatch)

    async def client(store: Store, number: int) -> None:
        for i in range(20):
            await store.get(caller, f"key {number} {i}")

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(client(store, number) for number in range(40)))

    run_with_store(scenario)
    sizes = sent.sizes(b"read")
    assert sum(sizes) == 40 * 20
    assert len(sizes) <= 40 * 20 / 5  # 2 connections for 40 clients: about 20 in each


def test_idle_store_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()
    sent = Sent(monkeypatch)

    async def scenario(store: Store) -> None:
        for _ in range(5):
            assert await store.get(caller, "absent") is None

    run_with_store(scenario)
    assert sent.sizes(b"read") == [1] * 5


@dataclass
class Model:
    """One key as it must be: what the last write left, operation after operation."""

    value: bytes | None = None
    tags: tuple[str, ...] = ()

    def put(self, number: int, condition: Condition) -> object:
        if not self._met(condition):
            return PreconditionFailed
        replaced, self.value, self.tags = self.value is not None, b"%d" % number, (f"put {number}",)
        return "replaced" if replaced else "created"

    def patch(self, number: int, condition: Condition) -> object:
        if self.value is None:
            return PreconditionFailed if condition.needs_entry else None
        if not self._met(condition):
            return PreconditionFailed
        self.tags = (f"patch {number}",)
        return "patched"

    def delete(self, condition: Condition) -> object:
        live = self.value is not None
        if not self._met(condition):
            return PreconditionFailed
        self.value = None
        return live

    def _met(self, condition: Condition) -> bool:
        live = self.value is not None
        return {0: True, 1: not live, 2: False, 3: live}[condition.kind]


def _told(outcome: Any) -> object:
    """What a caller learns, in the model's words."""
    if isinstance(outcome, Stored):
        return "replaced" if outcome.replaced else "created"
    if isinstance(outcome, PreconditionFailed):
        return PreconditionFailed
    if isinstance(outcome, BaseException) or outcome is None or isinstance(outcome, bool):
        return outcome
    return "patched"


@pytest.mark.parametrize("seed", range(INTERLEAVINGS))
def test_writes_of_one_key_keep_their_order(seed: int) -> None:
    chance = random.Random(seed)
    tenants = [new_tenant() for _ in range(3)]
    callers = [new_caller(tenant) for tenant in tenants for _ in range(2)]
    names = [f"key {i}" for i in range(chance.choice((1, 3, 10)))]
    models: dict[tuple[int, str], Model] = defaultdict(Model)

    async def scenario(store: Store) -> None:
        for caller in callers:  # so that no data key has to be fetched on the way
            await store.put(caller, "warm", entry(b"1"))
        work: list[Coroutine[Any, Any, Any]] = []
        expected: list[object] = []
        for number in range(OPERATIONS):
            caller, key = chance.choice(callers), chance.choice(names)
            model = models[caller.tenant_id, key]
            kind = chance.choices(("put", "patch", "delete"), (5, 3, 2))[0]
            condition = chance.choices((NO_CONDITION, PRESENT, SOME_VERSION), (6, 2, 1))[0]
            if kind == "put":
                condition = chance.choice((condition, condition, ABSENT))
                work.append(store.put(caller, key, entry(b"%d" % number, tags=[f"put {number}"]), condition))
                expected.append(model.put(number, condition))
            elif kind == "patch":
                work.append(store.patch(caller, key, None, [f"patch {number}"], condition))
                expected.append(model.patch(number, condition))
            else:
                work.append(store.delete(caller, key, condition))
                expected.append(model.delete(condition))
        got = [_told(outcome) for outcome in await outcomes(work)]
        assert got == expected
        for (tenant_id, key), model in models.items():
            caller = next(caller for caller in callers if caller.tenant_id == tenant_id)
            hit = await store.get(caller, key)
            assert (hit.value if hit else None) == model.value
        assert_at_rest(store)

    run_with_store(scenario)
    rows = query(
        "select tenant_id, key, tags from entry where tenant_id = any(%s) and key <> 'warm'",
        [[tenant.id for tenant in tenants]],
    )
    left = {place: model.tags for place, model in models.items() if model.value is not None}
    assert {(tenant_id, key): tuple(tags) for tenant_id, key, tags in rows} == left


def test_reader_beside_writers_sees_whole_entries() -> None:
    caller = new_caller()
    rounds = scaled(300, 5000)

    async def scenario(store: Store) -> None:
        async def write() -> None:
            for i in range(rounds):
                await store.put(caller, "key", entry(b"%d" % i * 50, content_type=f"text/x-{i}"))

        async def read() -> int:
            seen = 0
            while not writer.done():
                hit = await store.get(caller, "key")
                if hit is not None:
                    assert hit.content_type == f"text/x-{hit.value[: len(hit.value) // 50].decode()}"
                    seen += 1
            return seen

        writer = asyncio.create_task(write())
        seen = await asyncio.gather(*(read() for _ in range(4)))
        await writer
        assert min(seen) > 0

    run_with_store(scenario)


def test_tenants_in_one_batch_get_only_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [new_caller() for _ in range(MAX_BATCH // 2)]
    sent = Sent(monkeypatch)

    async def scenario(store: Store) -> None:
        for caller in callers:
            await store.put(caller, "warm", entry(b"1"))
        sent.batches.clear()
        await asyncio.gather(*(store.put(each, "shared", entry(b"%d" % each.tenant_id)) for each in callers))
        await asyncio.gather(*(store.put(each, f"of {each.tenant_id}", entry(b"2")) for each in callers))
        assert sent.sizes(b"write") == [len(callers)] * 2
        hits = await asyncio.gather(*(store.get(caller, "shared") for caller in callers))
        assert [hit and hit.value for hit in hits] == [b"%d" % caller.tenant_id for caller in callers]
        neighbours = [*callers[1:], callers[0]]
        foreign = await asyncio.gather(
            *(store.get(caller, f"of {other.tenant_id}") for caller, other in zip(callers, neighbours, strict=True))
        )
        assert foreign == [None] * len(callers)
        deleted = await asyncio.gather(
            *(store.delete(caller, f"of {other.tenant_id}") for caller, other in zip(callers, neighbours, strict=True))
        )
        assert deleted == [False] * len(callers)
        own = await asyncio.gather(*(store.get(caller, f"of {caller.tenant_id}") for caller in callers))
        assert [hit and hit.value for hit in own] == [b"2"] * len(callers)
        assert sent.sizes(b"read") == [len(callers)] * 3

    run_with_store(scenario)


def test_callers_that_do_not_hold_are_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = new_tenant()
    good, revoked, reader = new_caller(tenant), new_caller(tenant), new_caller(tenant, ["read"])
    forged = Caller(tenant.id, good.api_key_id, b"\x00" * 32)
    stranger = new_caller()
    misplaced = Caller(tenant.id, stranger.api_key_id, stranger.digest)  # a real key, of another tenant
    query("update api_key set revoked_at = now() where id = %s", [revoked.api_key_id])
    sent = Sent(monkeypatch)

    async def scenario(store: Store) -> None:
        await store.put(good, "key", entry(b"1"))
        callers = [good, revoked, reader, forged, misplaced, good]
        read = await outcomes([store.get(caller, "key") for caller in callers])
        assert [type(outcome) for outcome in read] == [Hit, InvalidAPIKey, Hit, InvalidAPIKey, InvalidAPIKey, Hit]
        written = await outcomes([store.put(each, f"of {n}", entry(b"2")) for n, each in enumerate(callers)])
        refused = [InvalidAPIKey, Forbidden, InvalidAPIKey, InvalidAPIKey]
        assert [type(outcome) for outcome in written] == [Stored, *refused, Stored]
        assert sent.sizes(b"read") == [6]
        assert sent.sizes(b"write") == [1, 6]

    run_with_store(scenario)
    keys = query("select key from entry where tenant_id = %s order by key", [tenant.id])
    assert keys == [("key",), ("of 0",), ("of 5",)]


Operate = Callable[[Store, Caller, str], Coroutine[Any, Any, Any]]
OPERATE: dict[str, Operate] = {
    "get": lambda store, caller, key: store.get(caller, key),
    "put": lambda store, caller, key: store.put(caller, key, entry(b"2")),
    "patch": lambda store, caller, key: store.patch(caller, key, 60, None),
    "delete": lambda store, caller, key: store.delete(caller, key),
}


@pytest.mark.parametrize("kind", OPERATE)
@pytest.mark.parametrize("position", (0, 7, 15))
def test_poisoned_request_fails_alone(kind: str, position: int) -> None:
    """PostgreSQL takes no NUL in text: the whole statement fails, of which only one request may hear."""
    caller = new_caller()
    keys = [f"key {i}" for i in range(16)]
    poisoned = [*keys[:position], "with \x00", *keys[position:]]

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.put(caller, key, entry(b"1")) for key in keys))
        got = await asyncio.wait_for(
            outcomes([OPERATE[kind](store, caller, key) for key in poisoned]), HANGS_AFTER_SECONDS
        )
        failed = [number for number, outcome in enumerate(got) if isinstance(outcome, BaseException)]
        assert failed == [position]
        assert isinstance(got[position], InternalError)
        assert all(outcome for number, outcome in enumerate(got) if number != position)
        assert_at_rest(store)

    run_with_store(scenario)


def test_request_that_cannot_be_encoded_fails_alone() -> None:
    """A defect above the store (here a TTL beyond its integer) must not leave others waiting or lose a connection."""
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        for _ in range(3):  # there are two connections to lose
            work = [store.put(caller, f"key {i}", entry(b"1", ttl=1 << 40 if i == 5 else 60)) for i in range(10)]
            got = await asyncio.wait_for(outcomes(work), HANGS_AFTER_SECONDS)
            assert [type(outcome) for outcome in got] == [Stored] * 5 + [InternalError] + [Stored] * 4
        assert_at_rest(store)

    run_with_store(scenario)


def test_answer_that_cannot_be_decoded_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()

    def fail(batch: object, results: object) -> None:
        raise ZeroDivisionError

    async def scenario(store: Store) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Read, "decode", fail)
            work = [store.get(caller, f"key {i}") for i in range(200)]
            got = await asyncio.wait_for(outcomes(work), HANGS_AFTER_SECONDS)
            assert [type(outcome) for outcome in got] == [InternalError] * 200
        assert await store.get(caller, "key") is None
        assert_at_rest(store)

    run_with_store(scenario)


@pytest.mark.parametrize("seed", range(CANCELLATIONS))
def test_clients_that_go_away_leave_nothing(seed: int) -> None:
    chance = random.Random(seed)
    caller = new_caller()
    keys = [f"key {i}" for i in range(chance.choice((1, 5, 50)))]

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        tasks = [
            asyncio.create_task(chance.choice(list(OPERATE.values()))(store, caller, chance.choice(keys)))
            for _ in range(300)
        ]
        doomed = set(chance.sample(range(len(tasks)), 200))
        turns = chance.choice((1, 3, 10))
        for number in doomed:
            if chance.random() < turns / len(doomed):
                await asyncio.sleep(chance.choice((0, 0, 0.001)))
            tasks[number].cancel()
        got = await asyncio.wait_for(outcomes(tasks), HANGS_AFTER_SECONDS)
        errors = [each for each in got if isinstance(each, BaseException)]
        assert {type(error) for error in errors} <= {asyncio.CancelledError}
        assert not any(isinstance(each, BaseException) for number, each in enumerate(got) if number not in doomed)
        async with asyncio.timeout(HANGS_AFTER_SECONDS):
            while store._gatherer._pending:  # what was in flight ends by itself
                await asyncio.sleep(0.01)
        assert_at_rest(store)
        for key in keys:
            await store.put(caller, key, entry(b'"after"'))
            hit = await store.get(caller, key)
            assert hit is not None
            assert hit.value == b'"after"'

    run_with_store(scenario)


@pytest.mark.parametrize("keys", (1, 200))
def test_beyond_the_queue_limit_requests_are_refused_at_once(keys: int, settings: Settings) -> None:
    settings.QUEUE_LIMIT = 50
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        for _ in range(2):  # the second time shows that the count went down again
            work = [store.put(caller, f"key {i % keys}", entry(b"%d" % i)) for i in range(200)]
            got = await outcomes(work)
            assert [type(outcome) for outcome in got] == [Stored] * 50 + [Unavailable] * 150
            assert ("retry-after", "1") in [(name.decode(), value.decode()) for name, value in got[50].headers]
            assert_at_rest(store)

    run_with_store(scenario)
    assert query("select count(*) from entry where tenant_id = %s", [caller.tenant_id]) == [(min(keys, 50) + 1,)]


def test_batches_are_capped_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()
    sent = Sent(monkeypatch)
    chance = random.Random(1)
    values = {f"key {i}": chance.randbytes(100_000) for i in range(40)}
    values["more than a batch"] = chance.randbytes(3 * MAX_BATCH_BYTES)

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        sent.batches.clear()
        work = [store.put(caller, key, entry(value, content_type="image/png")) for key, value in values.items()]
        await asyncio.gather(*work)
        for key, value in values.items():
            hit = await store.get(caller, key)
            assert hit is not None
            assert hit.value == value

    run_with_store(scenario)
    sizes, weights = sent.sizes(b"write"), sent.bytes(b"write")
    assert sum(sizes) == len(values)
    assert max(sizes) == MAX_BATCH_BYTES // 100_000
    above = [size for size, weight in zip(sizes, weights, strict=True) if weight > MAX_BATCH_BYTES + 10_000]
    assert above == [1]


def test_large_values_are_fetched_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of 10 MiB on its way holds up no small hit; up to INLINE_BYTES no second statement is needed."""
    caller = new_caller()
    chance = random.Random(2)
    largest_inline = chance.randbytes(INLINE_BYTES - OVERHEAD_BYTES)
    apart = chance.randbytes(INLINE_BYTES - OVERHEAD_BYTES + 1)
    huge = chance.randbytes(10 << 20)
    fetched: list[str] = []
    rows = SidePool.rows

    async def scenario(store: Store) -> None:
        for key, value in {"inline": largest_inline, "apart": apart, "huge": huge, "small": b"1"}.items():
            await store.put(caller, key, entry(value, content_type="image/png"))
        gate = asyncio.Event()

        async def slow(side: SidePool, statement: str, parameters: Any, **options: Any) -> Any:
            if statement == sql.VALUE:
                fetched.append(parameters["key"])
                await gate.wait()
            return await rows(side, statement, parameters, **options)

        monkeypatch.setattr(SidePool, "rows", slow)
        large = [asyncio.create_task(store.get(caller, key)) for key in ("huge", "apart")]
        for _ in range(20):
            small = await asyncio.wait_for(asyncio.gather(*(store.get(caller, "small") for _ in range(50))), 20)
            assert [hit and hit.value for hit in small] == [b"1"] * 50
        inline = await asyncio.wait_for(store.get(caller, "inline"), 20)
        assert inline is not None
        assert inline.value == largest_inline
        assert not any(task.done() for task in large)
        gate.set()
        assert [hit and hit.value for hit in await asyncio.gather(*large)] == [huge, apart]
        head = await store.get(caller, "huge", wanted=False)
        assert head is not None
        assert (head.size, head.value) == (len(huge), b"")

    run_with_store(scenario)
    assert sorted(fetched) == ["apart", "huge"]


def test_writes_behind_a_held_lock_end_in_time_and_others_go_on(settings: Settings) -> None:
    settings.QUEUE_TIMEOUT_SECONDS = settings.STATEMENT_TIMEOUT_SECONDS = 1
    held, other = new_caller(), new_caller()

    async def scenario(store: Store) -> None:
        await store.put(held, "warm", entry(b"1"))
        await store.put(other, "warm", entry(b"1"))
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("select from tenant where id = %s for update", [held.tenant_id])
            began = time.monotonic()
            work = [store.put(held, f"key {i}", entry(b"1")) for i in range(10)]
            work += [store.put(held, "one key", entry(b"1")) for _ in range(10)]
            blocked = asyncio.create_task(outcomes(work))
            await asyncio.sleep(0.1)
            for _ in range(20):
                assert await asyncio.wait_for(store.get(other, "warm"), 20) is not None
            assert not blocked.done()
            got = await asyncio.wait_for(blocked, HANGS_AFTER_SECONDS)
            assert [type(outcome) for outcome in got] == [Unavailable] * 20
            assert time.monotonic() - began < 10
            holder.rollback()
        assert isinstance(await store.put(held, "one key", entry(b"2")), Stored)
        assert_at_rest(store)

    run_with_store(scenario)


def test_closed_store_keeps_no_connection_and_nobody_waiting() -> None:
    caller = new_caller()

    async def scenario() -> set[int]:
        store = Store(database_dsn())
        await store.start()
        await store.put(caller, "warm", entry(b"1"))
        pids = backend_pids(store)
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("select from tenant where id = %s for update", [caller.tenant_id])
            work: list[Coroutine[Any, Any, Any]] = [store.put(caller, f"key {i}", entry(b"1")) for i in range(100)]
            work += [store.get(caller, f"key {i}") for i in range(100)]
            waiting = asyncio.create_task(outcomes(work))
            await asyncio.sleep(0.1)
            await asyncio.wait_for(store.close(), HANGS_AFTER_SECONDS)
            got = await asyncio.wait_for(waiting, HANGS_AFTER_SECONDS)
        assert [type(outcome) for outcome in got[:100]] == [Unavailable] * 100
        return pids

    pids = asyncio.run(scenario())
    assert pids
    gone = "select count(*) from pg_stat_activity where pid = any(%s) and application_name = 'cacheservice store'"
    wait_for(lambda: query(gone, [list(pids)]) == [(0,)], 10, "the store's connections are gone")
