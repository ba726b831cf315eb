"""Leases: of many that miss an entry one fills it, and the others wait for it."""

import asyncio
import socket
import time
from collections.abc import Awaitable

import pytest

from accounts.models import SCOPES
from cacheservice.entries import leases
from cacheservice.entries.collection import Selection
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import Forbidden, LeaseLost
from tests.cast import new_caller as new_key
from tests.client import Client, item
from tests.processes import RunningServer
from tests.store_cast import backend_pids, database_dsn, entry, new_caller, query, run_with_store

KEY = "wanted"
NOISE_SECONDS = 1.0  # of a machine that does something else too


async def take(store: Store, caller: Caller, key: str = KEY, *, seconds: int = 30, wait: float = 0) -> Hit | int | None:
    return await store.get_or_lease(caller, key, seconds=seconds, wait=wait)


async def token_of(work: Awaitable[Hit | int | None]) -> int:
    token = await work
    assert isinstance(token, int)
    return token


# Over HTTP


def test_miss_gives_one_lease_and_the_fill_ends_it(server: RunningServer) -> None:
    with Client(server.url, new_key().token) as client:
        first = client.get(KEY, "?lease=30")
        assert (first.status, first.header("x-cache")) == (200, "MISS")
        lease = first.json()["lease"]
        assert first.json() == {"key": KEY, "hit": False, "lease": lease}
        assert first.header("x-cache-lease") == lease
        assert client.get(KEY, "?lease=30").json() == {"key": KEY, "hit": False, "lease": None}
        assert client.get(KEY, "?lease=30&wait=0").header("x-cache-lease") is None
        assert client.get(KEY, "?lease=30&raw=true").status == 404
        assert client.get(KEY).json() == {"key": KEY, "hit": False}
        assert client.put(KEY, "made", headers={"x-cache-lease": lease}).status == 201
        hit = client.get(KEY, "?lease=30").json()
        assert (hit["value"], hit["hit"], "lease" in hit) == ("made", True, False)
        late = client.put(KEY, "late", headers={"x-cache-lease": lease})
        assert (late.status, late.error_code()) == (409, "lease_lost")
        assert client.get(KEY).json()["value"] == "made"


def test_raw_miss_gives_the_lease_in_a_header(server: RunningServer) -> None:
    with Client(server.url, new_key().token) as client:
        miss = client.get(KEY, "?raw=true&lease=5")
        lease = miss.header("x-cache-lease")
        assert (miss.status, miss.error_code()) == (404, "not_found")
        assert lease
        filled = client.send("PUT", item(KEY), b"\x89PNG", {"content-type": "image/png", "x-cache-lease": lease})
        assert filled.status == 201


def test_lease_is_given_back_and_had_anew(server: RunningServer) -> None:
    with Client(server.url, new_key().token) as client:
        lease = client.get(KEY, "?lease=30").json()["lease"]
        given_back = client.delete(KEY, headers={"x-cache-lease": lease})
        assert given_back.json() == {"key": KEY, "deleted": False}
        second = client.get(KEY, "?lease=30").json()["lease"]
        assert second not in (None, lease)
        client.delete(KEY, headers={"x-cache-lease": lease})  # no longer its own
        assert client.get(KEY, "?lease=30").json()["lease"] is None
        assert client.put(KEY, 1, headers={"x-cache-lease": second}).status == 201


@pytest.mark.parametrize("voided_by", ["delete", "prefix", "all", "put"])
def test_lease_that_was_voided_fills_nothing(server: RunningServer, voided_by: str) -> None:
    with Client(server.url, new_key().token) as client:
        lease = client.get(KEY, "?lease=30").json()["lease"]
        if voided_by == "delete":
            client.delete(KEY)
        elif voided_by == "put":
            client.put(KEY, "plain")
        else:
            client.delete_many("?all=true" if voided_by == "all" else "?prefix=another")
        assert client.put(KEY, "stale", headers={"x-cache-lease": lease}).error_code() == "lease_lost"
        assert client.get(KEY).json().get("value") == ("plain" if voided_by == "put" else None)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?lease=0", "lease: send whole seconds from 1 to 300, not '0'."),
        ("?lease=301", "lease: send whole seconds from 1 to 300, not '301'."),
        ("?lease=1.5", "lease: send whole seconds from 1 to 300, not '1.5'."),
        ("?lease=5&wait=61", "wait: send whole seconds from 0 to 60, not '61'."),
        ("?wait=5", "wait: it is for requests with 'lease'; add 'lease', or leave 'wait' out."),
    ],
)
def test_bad_parameters_are_named(server: RunningServer, query: str, message: str) -> None:
    with Client(server.url, new_key().token) as client:
        answer = client.get(KEY, query)
        assert (answer.status, answer.error_message()) == (400, message)


@pytest.mark.parametrize("lease", ["", "x", "f" * 16, "0" * 16, "0" * 17])
def test_bad_tokens_are_named(server: RunningServer, lease: str) -> None:
    with Client(server.url, new_key().token) as client:
        for answer in (
            client.put(KEY, 1, headers={"x-cache-lease": lease}),
            client.delete(KEY, headers={"x-cache-lease": lease}),
        ):
            assert (answer.status, answer.error_code()) == (400, "invalid_request")
            assert answer.error_message().startswith("X-Cache-Lease: ")


# Waiting


def test_who_waits_gets_the_fill_at_once() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, caller))
        waiting = [asyncio.create_task(take(store, caller, wait=20)) for _ in range(100)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
        await store.put(caller, KEY, entry(b'"made"'), lease=token)
        began = time.monotonic()
        hits = await asyncio.gather(*waiting)
        assert time.monotonic() - began < leases.LOOK_SECONDS  # told, and not found by looking
        assert {hit.value for hit in hits if isinstance(hit, Hit)} == {b'"made"'}
        assert len(hits) == 100
        assert store._waiting._spots == {}

    run_with_store(scenario)


def test_waiters_of_other_processes_are_told() -> None:
    """Of stores of their own, as each server process has one."""
    caller = new_caller()

    async def scenario(store: Store) -> None:
        other = Store(database_dsn())
        await other.start()
        try:
            token = await token_of(take(store, caller))
            waiting = [asyncio.create_task(take(other, caller, wait=20)) for _ in range(20)]
            await asyncio.sleep(0.3)
            began = time.monotonic()
            await store.put(caller, KEY, entry(b"1"), lease=token)
            assert all(isinstance(hit, Hit) for hit in await asyncio.gather(*waiting))
            assert time.monotonic() - began < leases.LOOK_SECONDS
        finally:
            await other.close()

    run_with_store(scenario)


def test_wait_ends_without_a_fill() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await token_of(take(store, caller))
        began = time.monotonic()
        assert await take(store, caller, wait=0.4) is None
        assert time.monotonic() - began >= 0.4

    run_with_store(scenario)


def test_dead_holders_lease_goes_to_one_who_waits() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        dead = await token_of(take(store, caller, seconds=1))
        waiting = [asyncio.create_task(take(store, caller, wait=20)) for _ in range(10)]
        done, pending = await asyncio.wait(
            waiting, timeout=1 + leases.LOOK_SECONDS + NOISE_SECONDS, return_when="FIRST_COMPLETED"
        )
        [holder] = done
        token = await token_of(holder)
        with pytest.raises(LeaseLost):
            await store.put(caller, KEY, entry(b'"late"'), lease=dead)
        await store.put(caller, KEY, entry(b'"made"'), lease=token)
        assert {hit.value for hit in await asyncio.gather(*pending) if isinstance(hit, Hit)} == {b'"made"'}

    run_with_store(scenario)


def test_lease_of_a_dead_holder_passes_over_those_who_left(server: RunningServer) -> None:
    """A connection that was closed while its request waited gets no lease, or all others would wait for its end."""
    token = new_key().token
    with Client(server.url, token) as client:
        assert client.get(KEY, "?lease=2").json()["lease"]  # and the holder is never heard of again
        began = time.monotonic()
        for _ in range(3):
            abandon(server, token, f"{item(KEY)}?lease=60&wait=60")
        answer = client.get(KEY, "?lease=5&wait=20").json()
        assert answer["lease"]
        assert time.monotonic() - began < 2 + leases.LOOK_SECONDS + NOISE_SECONDS
        assert client.put(KEY, 1, headers={"x-cache-lease": answer["lease"]}).status == 201


def abandon(server: RunningServer, token: str, path: str) -> None:
    """Ask, and hang up while it waits."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        connection.sendall(head.encode())
        time.sleep(0.2)


@pytest.mark.parametrize("moment", ["asking", "waiting", "woken"])
def test_lease_of_a_cancelled_request_goes_to_the_next(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it was cancelled: a lease that nobody knows of would hold up all others for its seconds."""
    caller = new_caller()
    monkeypatch.setattr(leases, "LOOK_SECONDS", 600)  # told, and not found by looking

    async def scenario(store: Store) -> None:
        if moment == "asking":
            cancelled = asyncio.create_task(take(store, caller, seconds=60))
            while not store._gatherer._locking["tenant"]:  # until its statement is under way
                assert not cancelled.done()
                await asyncio.sleep(0)
        else:
            token = await token_of(take(store, caller, seconds=60))
            cancelled = asyncio.create_task(take(store, caller, seconds=60, wait=60))
            await asyncio.sleep(0.3)
        next_one = asyncio.create_task(take(store, caller, seconds=60, wait=60))
        if moment == "woken":
            await asyncio.sleep(0.3)
            query("delete from lease where tenant_id = %s", [caller.tenant_id])
            [spot] = store._waiting._spots.values()
            spot.free()  # as a notification does: the first of the two, which does not get a turn any more
        cancelled.cancel()
        if moment == "waiting":
            await store.delete(caller, KEY, lease=token)
        async with asyncio.timeout(20):
            assert isinstance(await next_one, int)
        assert cancelled.cancelled()

    run_with_store(scenario)


def test_expired_lease_that_nobody_took_fills_nothing() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, caller, seconds=1))
        await asyncio.sleep(1.1)
        with pytest.raises(LeaseLost):
            await store.put(caller, KEY, entry(b"1"), lease=token)
        assert await store.get(caller, KEY) is None

    run_with_store(scenario)


def test_lease_given_back_or_voided_wakes_one_who_waits() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, caller))
        waiting = {asyncio.create_task(take(store, caller, wait=20)) for _ in range(4)}
        await asyncio.sleep(0.3)
        for how in ("given back", "deleted", "all deleted"):
            began = time.monotonic()
            if how == "all deleted":
                await store.delete_selected(caller, Selection())
            else:
                await store.delete(caller, KEY, lease=token if how == "given back" else 0)
            done, waiting = await asyncio.wait(waiting, timeout=20, return_when="FIRST_COMPLETED")
            assert time.monotonic() - began < leases.LOOK_SECONDS
            [next_holder] = done
            token = await token_of(next_holder)
        await store.put(caller, KEY, entry(b"1"), lease=token)
        assert all(isinstance(hit, Hit) for hit in await asyncio.gather(*waiting))

    run_with_store(scenario)


def test_lost_notifications_cost_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller()
    monkeypatch.setattr(leases.Waiting, "_notified", lambda self, payload: None)

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, caller))
        waiting = asyncio.create_task(take(store, caller, wait=20))
        await asyncio.sleep(0.3)
        await store.put(caller, KEY, entry(b"1"), lease=token)
        began = time.monotonic()
        assert isinstance(await waiting, Hit)
        assert time.monotonic() - began < leases.LOOK_SECONDS + NOISE_SECONDS

    run_with_store(scenario)


def test_listens_again_after_the_connection_was_cut() -> None:
    caller = new_caller()
    listening = (
        "select pid from pg_stat_activity "
        "where application_name = 'cacheservice leases' and datname = current_database()"
    )

    async def scenario(store: Store) -> None:
        for _ in range(2):
            while not (pids := query(listening)):
                await asyncio.sleep(0.05)
            key = f"key {pids}"
            token = await token_of(take(store, caller, key))
            waiting = asyncio.create_task(take(store, caller, key, wait=20))
            await asyncio.sleep(0.3)
            for (pid,) in pids:
                query("select pg_terminate_backend(%s)", [pid])
            await store.put(caller, key, entry(b"1"), lease=token)
            assert isinstance(await waiting, Hit)
        assert len(backend_pids(store)) == 2

    run_with_store(scenario)


def test_nobody_is_told_where_nobody_waits() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, caller))
        assert await take(store, caller) is None  # asks, and does not wait
        assert query("select waited from lease where tenant_id = %s", [caller.tenant_id]) == [(False,)]
        waiting = asyncio.create_task(take(store, caller, wait=20))
        await asyncio.sleep(0.3)
        assert query("select waited from lease where tenant_id = %s", [caller.tenant_id]) == [(True,)]
        await store.put(caller, KEY, entry(b"1"), lease=token)
        await waiting
        assert query("select count(*) from lease where tenant_id = %s", [caller.tenant_id]) == [(0,)]

    run_with_store(scenario)


# Who may


def test_leases_need_both_scopes() -> None:
    callers = [new_caller(scopes=[scope for scope in SCOPES if scope != lacking]) for lacking in ("read", "write")]

    async def scenario(store: Store) -> None:
        for caller in callers:
            with pytest.raises(Forbidden):
                await take(store, caller)
            assert query("select count(*) from lease where tenant_id = %s", [caller.tenant_id]) == [(0,)]

    run_with_store(scenario)


def test_who_may_write_may_give_a_lease_back() -> None:
    writer, reader = new_caller(scopes=["read", "write"]), new_caller(scopes=["read", "delete"])

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, writer))
        assert not await store.delete(writer, KEY, lease=token)
        assert await token_of(take(store, writer)) != token
        with pytest.raises(Forbidden, match="'delete'"):
            await store.delete(writer, KEY)
        with pytest.raises(Forbidden, match="'write'"):
            await store.delete(reader, KEY, lease=token)

    run_with_store(scenario)


def test_leases_of_tenants_are_apart() -> None:
    first, second = new_caller(), new_caller()

    async def scenario(store: Store) -> None:
        token = await token_of(take(store, first))
        assert await token_of(take(store, second)) != token
        with pytest.raises(LeaseLost):
            await store.put(second, KEY, entry(b"1"), lease=token)
        await store.put(first, KEY, entry(b"1"), lease=token)

    run_with_store(scenario)
