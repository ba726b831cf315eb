"""PostgreSQL cut off, killed, stopped, silent, or at odds with itself: bounded answers, and nothing acknowledged lost.

The embedded server here does not flush to disk: it is processes that die, not the machine.
"""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pytest_django.fixtures import Settings

from cacheservice.embedded import Server
from cacheservice.entries.operations import INLINE_BYTES
from cacheservice.entries.store import Hit, Store, Stored
from cacheservice.errors import Unavailable
from tests.failing_database import DOWN, LOST, UP, Load, Proxy, Service, bounded_resources, own_service
from tests.processes import descendants, wait_for
from tests.store_cast import (
    Sent,
    assert_at_rest,
    backend_pids,
    database_dsn,
    entry,
    new_caller,
    outcomes,
    query,
    run_with_store,
    scaled,
)

CUTS, TERMINATIONS = scaled(60, 1000), scaled(15, 300)
DATABASE_KILLS, SERVER_KILLS = scaled(2, 50), scaled(1, 200)
GONE_SECONDS = scaled(3, 60)
SERVES_AGAIN_SECONDS = 10
ENDS_WITHIN_SECONDS = 15  # with the timeouts of a second or two that are set here
STATEMENT_TIMEOUT_SECONDS = 2
CRASH_LOOP_SECONDS = 6.0  # a process that dies sooner after it was respawned makes granian give up

committed = pytest.mark.usefixtures("committed_db")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# The store alone, on the worker's test database.


@committed
def test_connections_cut_at_any_byte_lose_nothing_acknowledged() -> None:
    caller = new_caller()
    chance = random.Random(3)

    async def scenario() -> None:
        async with Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                told = [await one_cut(store, proxy, number) for number in range(CUTS)]
                for number, values in enumerate(told):
                    assert await value_when_up(store, f"key {number}") in values
                assert {len(values) for values in told} == {1, 2}  # some acknowledged, some in doubt
                assert proxy.cuts > CUTS / 2
                async with asyncio.timeout(SERVES_AGAIN_SECONDS):
                    while len(store._gatherer._free) < 2:
                        await asyncio.sleep(0.05)
                assert_at_rest(store)
            finally:
                await store.close()

    async def one_cut(store: Store, proxy: Proxy, number: int) -> list[bytes]:
        """What the key may hold then."""
        key, before, after = f"key {number}", b'"before %d"' % number, b'"after %d"' % number
        async with asyncio.timeout(SERVES_AGAIN_SECONDS):
            while not isinstance((await outcomes([store.put(caller, key, entry(before))]))[0], Stored):
                await asyncio.sleep(0.01)
        proxy.cut_after(*chance.choice(((UP, chance.randrange(1, 1500)), (DOWN, chance.randrange(1, 600)))))
        work = [store.put(caller, key, entry(after)), *(store.get(caller, f"key {n}") for n in range(number))]
        written, *read = await asyncio.wait_for(outcomes(work), ENDS_WITHIN_SECONDS)
        assert {type(outcome) for outcome in read} <= {Hit, Unavailable}
        assert type(written) in (Stored, Unavailable)
        return [after] if isinstance(written, Stored) else [before, after]

    async def value_when_up(store: Store, key: str) -> bytes | None:
        async with asyncio.timeout(SERVES_AGAIN_SECONDS):
            while True:
                try:
                    hit = await store.get(caller, key)
                    return hit and hit.value
                except Unavailable:
                    await asyncio.sleep(0.05)

    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    asyncio.run(scenario())
    if files:
        assert len(os.listdir("/proc/self/fd")) <= files + 10


@committed
def test_terminated_backends_under_load_lose_nothing_acknowledged() -> None:
    caller = new_caller()
    done = False

    async def client(store: Store, number: int) -> dict[str, bytes]:
        acknowledged: dict[str, bytes] = {}
        for i in range(1_000_000):
            if done:
                break
            key, value = f"{number} {i}", b'"%d %d"' % (number, i)
            try:
                await store.put(caller, key, entry(value))
                acknowledged[key] = value
                hit = await store.get(caller, key)
                assert hit is not None, f"{key} is acknowledged and missing"
                assert hit.value == value
            except Unavailable:
                await asyncio.sleep(0.01)
        return acknowledged

    async def scenario(store: Store) -> int:
        nonlocal done
        clients = [asyncio.create_task(client(store, number)) for number in range(16)]
        for _ in range(TERMINATIONS):
            await asyncio.sleep(0.1)
            query("select pg_terminate_backend(pid) from unnest(%s::int[]) as p (pid)", [list(backend_pids(store))])
        done = True
        acknowledged: dict[str, bytes] = {}
        for each in await asyncio.wait_for(asyncio.gather(*clients), ENDS_WITHIN_SECONDS):
            acknowledged |= each
        async with asyncio.timeout(SERVES_AGAIN_SECONDS):
            while len(backend_pids(store)) < 2:
                await asyncio.sleep(0.05)
        for key, value in acknowledged.items():
            hit = await store.get(caller, key)
            assert hit is not None, f"{key} is acknowledged and missing"
            assert hit.value == value
        assert_at_rest(store)
        return len(acknowledged)

    assert run_with_store(scenario) > TERMINATIONS


@committed
def test_deadlock_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted((new_caller(), new_caller()), key=lambda caller: caller.tenant_id)
    sent = Sent(monkeypatch)
    lock = "select from tenant where id = %s for no key update"

    async def scenario(store: Store) -> None:
        for caller in (first, second):
            await store.put(caller, "warm", entry(b"1"))
        sent.batches.clear()
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("set deadlock_timeout = '60s'")  # so that it is the store's statement that is given up
            holder.execute(lock, [second.tenant_id])
            work = [store.put(caller, "key", entry(b"2")) for caller in (first, second)]
            writes = asyncio.create_task(outcomes(work))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(holder.execute, lock, [first.tenant_id])  # waits for the store, which waits for us
            holder.rollback()
        got = await asyncio.wait_for(writes, ENDS_WITHIN_SECONDS)
        assert [type(outcome) for outcome in got] == [Stored, Stored]
        assert_at_rest(store)

    run_with_store(scenario)
    # Once more, where the second try takes the first lock before the holder wakes up.
    assert sent.sizes(b"write") in ([2, 2], [2, 2, 2], [2, 2, 2, 2])


@committed
@pytest.mark.parametrize(("failures", "outcome"), ((1, Stored), (3, Stored), (20, Unavailable)))
def test_serialization_failures_are_tried_again_for_a_while(failures: int, outcome: type) -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        with serialization_failures(caller.tenant_id, failures):
            got = await asyncio.wait_for(outcomes([store.put(caller, "key", entry(b"2"))]), ENDS_WITHIN_SECONDS)
            assert [type(each) for each in got] == [outcome]
        # The connections are of use again, in both kinds of round trip.
        for _ in range(4):
            assert await store.get(caller, "warm") is not None
            assert isinstance(await store.put(caller, "key", entry(b"3")), Stored)
        assert_at_rest(store)

    run_with_store(scenario)


@contextmanager
def serialization_failures(tenant_id: int, count: int) -> Iterator[None]:
    """The tenant's next `count` inserts fail as two serializable transactions at odds would."""
    query("create sequence inserts")
    query(
        """
        create function fail_at_first() returns trigger language plpgsql as $body$
        begin
          if nextval('inserts') <= %s then
            raise exception 'could not serialize access' using errcode = '40001';
          end if;
          return new;
        end $body$""".replace("%s", str(count))
    )
    query(
        "create trigger fail_at_first before insert on entry for each row "
        f"when (new.tenant_id = {tenant_id}) execute function fail_at_first()"
    )
    try:
        yield
    finally:
        query("drop function fail_at_first cascade")
        query("drop sequence inserts")


@committed
@pytest.mark.parametrize("kind", ("get", "put", "delete"))
def test_statement_that_timed_out_spoils_nothing_after_it(kind: str, settings: Settings) -> None:
    settings.STATEMENT_TIMEOUT_SECONDS = 1
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await store.put(caller, "key", entry(b"1"))
        with psycopg.connect(database_dsn()) as holder:
            holder.execute("lock table entry in access exclusive mode")
            operations: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
                "get": lambda: store.get(caller, "key"),
                "put": lambda: store.put(caller, "key", entry(b"2")),
                "delete": lambda: store.delete(caller, "key"),
            }
            got = await asyncio.wait_for(outcomes([operations[kind]()]), ENDS_WITHIN_SECONDS)
            assert [type(each) for each in got] == [Unavailable]
            holder.rollback()
        for _ in range(4):
            hit = await store.get(caller, "key")
            assert hit is not None
            assert hit.value == b"1"
        assert (await store.put(caller, "key", entry(b"3"))).replaced
        assert_at_rest(store)

    run_with_store(scenario)


@committed
def test_silent_database_ends_every_request_in_time(settings: Settings) -> None:
    """The link stays up and carries nothing: no error ever comes, and no end of file."""
    settings.STATEMENT_TIMEOUT_SECONDS = settings.QUEUE_TIMEOUT_SECONDS = 1
    caller, fresh = new_caller(), new_caller()
    large = entry(random.Random(4).randbytes(2 * INLINE_BYTES), content_type="image/png")

    async def scenario() -> None:
        async with Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                await store.put(caller, "small", entry(b"1"))
                await store.put(caller, "large", large)
                assert await store.get(caller, "large") is not None  # a side connection stands
                # Reads know where the large value is; then silence, before it is fetched.
                proxy.silent = True
                work = [store.get(caller, "small") for _ in range(100)]
                work += [store._fetch_value(caller.tenant_id, 0, "large", 1) for _ in range(5)]  # type: ignore[misc]
                puts = [store.put(caller, f"key {i % 3}", entry(b"2")) for i in range(50)]
                puts += [store.put(fresh, "needs its data key", entry(b"2"))]
                got = await asyncio.wait_for(outcomes([*work, *puts]), ENDS_WITHIN_SECONDS + 10)
                assert {type(outcome) for outcome in got} == {Unavailable}
                assert_at_rest(store)
                proxy.silent = False
                async with asyncio.timeout(ENDS_WITHIN_SECONDS):
                    while True:
                        try:
                            hit = await store.get(caller, "large")
                            await store.put(fresh, "needs its data key", entry(b"2"))
                            break
                        except Unavailable:
                            await asyncio.sleep(0.1)
                assert hit is not None
                assert hit.value == large.value
            finally:
                await asyncio.wait_for(store.close(), ENDS_WITHIN_SECONDS + 20)

    asyncio.run(scenario())


@committed
def test_database_silent_right_after_connecting_is_given_up() -> None:
    """As a server that freezes between its greeting and the first statement."""
    caller = new_caller()

    async def scenario() -> None:
        async with Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                await store.put(caller, "key", entry(b"1"))
                proxy.silent_once_ready = True
                proxy.cut()
                await asyncio.sleep(0.5)
                assert [type(outcome) for outcome in await outcomes([store.get(caller, "key")])] == [Unavailable]
                proxy.silent_once_ready = False  # from now on; the links that stand stay silent
                async with asyncio.timeout(ENDS_WITHIN_SECONDS):
                    while len(store._gatherer._connections) < 2:
                        await asyncio.sleep(0.1)
                assert await store.get(caller, "key") is not None
            finally:
                await asyncio.wait_for(store.close(), ENDS_WITHIN_SECONDS + 20)

    asyncio.run(scenario())


# Real servers, on a database of their own that is killed and stopped.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    timeout = {"CACHE_STATEMENT_TIMEOUT_SECONDS": str(STATEMENT_TIMEOUT_SECONDS)}
    with own_service(tmp_path_factory.mktemp("failures"), timeout) as service:
        yield service


def assert_true_to_its_word(service: Service, load: Load, *, lost: bool = False) -> None:
    """Every answer was right or a 503 that says when to come again; what was acknowledged is there."""
    kept = load.verify()
    assert load.wrong == []
    assert kept > 10
    statuses = {answer.status for answer in load.answers}
    assert statuses <= ({200, 201, 503, LOST} if lost else {200, 201, 503})
    assert {answer.retry_after for answer in load.answers if answer.status == 503} <= {"1"}
    slow = [answer for answer in load.answers if answer.seconds > ENDS_WITHIN_SECONDS]
    assert slow == []
    assert 500 not in statuses
    assert "Traceback" not in service.server.log_path.read_text()


@linux
@pytest.mark.parametrize("kill", range(DATABASE_KILLS))
def test_killed_database_loses_nothing_acknowledged(service: Service, kill: int) -> None:
    with bounded_resources(service.server), service.load(100 + kill) as load:
        load.wait_for(200, 200, 201)
        service.database.kill()
        load.wait_for(20, 503)
        service.database.start()
        wait_for(service.serves, SERVES_AGAIN_SECONDS, "serving again")
        load.wait_for(200, 200, 201)
    assert_true_to_its_word(service, load)


@linux
def test_database_gone_for_a_while_is_told_fast(service: Service) -> None:
    with bounded_resources(service.server), service.load(1) as load:
        load.wait_for(200, 200, 201)
        service.database.stop()
        gone_since = time.monotonic() + 0.5  # by then the connections are known to be lost
        time.sleep(GONE_SECONDS)
        gone_until = time.monotonic()
        service.database.start()
        wait_for(service.serves, SERVES_AGAIN_SECONDS, "serving again")
        load.wait_for(200, 200, 201)
    refused = sorted(answer.seconds for answer in load.answers if gone_since < answer.began < gone_until)
    assert len(refused) > 100
    assert refused[int(len(refused) * 0.99)] < 1
    assert {answer.status for answer in load.answers if gone_since < answer.began < gone_until - 1} == {503}
    assert_true_to_its_word(service, load)


@linux
def test_restart_under_idle_connections_is_not_noticed_by_the_next_request(service: Service) -> None:
    large = random.Random(5).randbytes(INLINE_BYTES).hex()
    with service.client() as client:
        assert client.put("small", 1) in (200, 201)
        assert client.put("large", large) in (200, 201)
        for _ in range(4):  # so that the connections for large values stand
            assert client.get("large") == (200, large)
        service.database.stop()
        service.database.start()
        wait_for(lambda: client.request("GET", "/readyz")[0] == 200, SERVES_AGAIN_SECONDS, "ready again")
        for _ in range(4):
            assert client.get("large") == (200, large)
            assert client.get("small") == (200, 1)
            assert client.request("GET", "/api/v1/cache?limit=1")[0] == 200
            assert client.put("small", 1) == 200


@linux
def test_stopped_processes_of_the_database_end_every_request_in_time(service: Service) -> None:
    """SIGSTOP: connections are taken and statements accepted, and nothing answers."""
    large = random.Random(6).randbytes(INLINE_BYTES).hex()
    operations = [{"op": "get", "key": "small"}, {"op": "put", "key": "batch", "value": 1}]
    requests = {
        "small": ("GET", "/api/v1/cache/small", None),
        "large": ("GET", "/api/v1/cache/large", None),
        "put": ("PUT", "/api/v1/cache/put", {"value": 1}),
        "delete": ("DELETE", "/api/v1/cache/put", None),
        "list": ("GET", "/api/v1/cache", None),
        "delete many": ("DELETE", "/api/v1/cache?prefix=none", None),
    }
    with service.client() as client:
        assert client.put("small", 1) in (200, 201)
        assert client.put("large", large) in (200, 201)
        assert client.get("large") == (200, large)
        with stopped(service.database), bounded_resources(service.server):
            for _ in range(2):  # first the connections stand, then they have been given up
                answers = at_once(service, list(requests.values()) * 3)
                assert {status for status, _ in answers} == {503}
                ((status, body),) = at_once(service, [("POST", "/api/v1/batch", {"operations": operations})])
                assert status == 503 or body.count(b'"status":503') == 2
        wait_for(service.serves, SERVES_AGAIN_SECONDS, "serving again")
        wait_for(lambda: client.get("large") == (200, large), SERVES_AGAIN_SECONDS, "large values again")
        assert {status for status, _ in at_once(service, list(requests.values()) * 3)} <= {200, 201}


@contextmanager
def stopped(database: Server) -> Iterator[None]:
    assert database.pid is not None
    pids = {database.pid, *descendants(database.pid)}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def at_once(service: Service, requests: Sequence[tuple[str, str, object]]) -> list[tuple[int, bytes]]:
    """Each over a connection of its own; LOST when there was no answer in time."""
    answers: list[tuple[int, bytes]] = []

    def run(method: str, path: str, body: object) -> None:
        with service.client() as client:
            answers.append(client.request(method, path, body))

    threads = [threading.Thread(target=run, args=request) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@linux
@pytest.mark.parametrize("kill", range(SERVER_KILLS))
def test_killed_server_process_loses_nothing_acknowledged(service: Service, kill: int) -> None:
    with service.load(200 + kill) as load:
        time.sleep(CRASH_LOOP_SECONDS)
        load.wait_for(200, 200, 201)
        [worker] = [pid for pid in descendants(service.server.process.pid) if is_worker(pid)]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: load.count(LOST) > 0, 10, "connections lost")
        wait_for(service.serves, 30, "serving again")
        load.wait_for(200, 200, 201)
        assert service.server.process.poll() is None
        assert worker not in descendants(service.server.process.pid)
    assert_true_to_its_word(service, load, lost=True)


def is_worker(pid: int) -> bool:
    """Whether it is a process that serves: it holds connections to the database, as granian's own helpers do not."""
    return "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()
