"""The purge: what has expired goes, what lives stays, whoever renews it meanwhile."""

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection as django_connection
from django.db import connections

from cacheservice.entries import tasks
from cacheservice.entries.operations import Caller
from cacheservice.entries.purge import FIRST_BATCH, MOST, purge
from cacheservice.entries.store import Store
from tests.processes import ROOT
from tests.store_cast import database_dsn, entry, new_caller, query, run_with_store, scaled

pytestmark = pytest.mark.usefixtures("committed_db")

RENEWALS = scaled(3_000, 100_000)  # of each of three kinds
MANY = scaled(12_000, 500_000)


@pytest.fixture(autouse=True)
def nothing_expired(committed_db: None) -> None:
    """Nor will within the test but what it makes itself: it counts."""
    query("delete from entry where expires_at <= now() + interval '1 hour'")


def insert(caller: Caller, prefix: str, count: int, expires: str) -> None:
    """Rows as they are stored; `expires` is SQL for their expiry. `i` counts them."""
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, %s || i, '\\x00', 1, 1, '{}', i, %s, now() - interval '1 day', "
        f"{expires} from generate_series(1, %s) as i",
        [caller.tenant_id, prefix, caller.api_key_id, count],
    )


def keys_of(caller: Caller) -> set[str]:
    return {key for (key,) in query("select key from entry where tenant_id = %s", [caller.tenant_id])}


def in_threads(*work: Callable[[], Any]) -> list[Any]:
    """All at once, each with Django connections of its own; their outcomes, or the first exception."""
    results: list[Any] = [None] * len(work)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = work[number]()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_expired_entries_go_and_live_ones_stay() -> None:
    caller = new_caller()
    insert(caller, "expired ", 700, "now() - i * interval '1 second'")
    insert(caller, "just expired ", 10, "now()")
    insert(caller, "live ", 700, "now() + interval '1 minute' + i * interval '1 second'")
    assert purge() == 710
    assert keys_of(caller) == {f"live {i}" for i in range(1, 701)}
    assert purge() == 0


def test_entries_of_equal_expiry_beyond_a_batch_all_go() -> None:
    caller = new_caller()
    insert(caller, "expired ", FIRST_BATCH * 3 + 1, "date_trunc('day', now()) - interval '1 day'")
    assert purge() == FIRST_BATCH * 3 + 1
    assert keys_of(caller) == set()


def test_purge_beside_renewals_removes_nothing_live() -> None:
    """Entries expire while they are renewed in three ways; whoever was told that it is renewed finds it afterwards."""
    caller = new_caller()
    seconds = max(2.0, RENEWALS / 1500)
    for kind in ("patched", "updated", "written"):
        insert(caller, f"{kind} ", RENEWALS, f"clock_timestamp() + random() * {seconds} * interval '1 second'")
    renewed: set[str] = set()
    ended = threading.Event()

    def order(kind: str) -> list[str]:
        numbers = list(range(1, RENEWALS + 1))
        random.Random(kind).shuffle(numbers)
        return [f"{kind} {number}" for number in numbers]

    def renew_with_the_store() -> None:
        async def scenario(store: Store) -> None:
            async def client(keys: list[str]) -> None:
                for key in keys:
                    if await store.patch(caller, key, 3600, None) is not None:
                        renewed.add(key)

            keys = order("patched")
            await asyncio.gather(*(client(keys[number::8]) for number in range(8)))

        run_with_store(scenario)

    def renew_with_sql() -> None:
        """Whether it has expired or not: what is there when the lock is free is renewed."""
        with psycopg.connect(database_dsn(), autocommit=True) as connection:
            for key in order("updated"):
                done = connection.execute(
                    "update entry set expires_at = clock_timestamp() + interval '1 hour' "
                    "where tenant_id = %s and key = %s",
                    [caller.tenant_id, key],
                )
                if done.rowcount:
                    renewed.add(key)

    def write_with_the_store() -> None:
        async def scenario(store: Store) -> None:
            async def client(keys: list[str]) -> None:
                for key in keys:
                    await store.put(caller, key, entry(b"1"))
                    renewed.add(key)

            keys = order("written")
            await asyncio.gather(*(client(keys[number::8]) for number in range(8)))

        run_with_store(scenario)

    def renew() -> None:
        try:
            in_threads(renew_with_the_store, renew_with_sql, write_with_the_store)
        finally:
            ended.set()

    def purge_on() -> int:
        removed = 0
        while not ended.is_set():
            removed += purge(seconds=5)
            time.sleep(0.005)
        return removed

    _, *removed = in_threads(renew, purge_on, purge_on)
    query(
        "select pg_sleep_for(max(expires_at) - now()) from entry where tenant_id = %s "
        "and expires_at between now() and now() + interval '1 minute'",
        [caller.tenant_id],
    )
    left = purge()
    assert keys_of(caller) == renewed
    # The race took place: of each kind that may come too late some did, and some did not.
    for kind in ("patched", "updated"):
        of_kind = sum(key.startswith(kind) for key in renewed)
        assert 0 < of_kind < RENEWALS
    assert sum(key.startswith("written") for key in renewed) == RENEWALS
    assert sum(removed) > 0
    assert sum(removed) + left >= 2 * RENEWALS - sum(not key.startswith("written") for key in renewed)


def test_two_purges_at_once_remove_each_entry_once() -> None:
    caller = new_caller()
    insert(caller, "expired ", MANY, "now() - i * interval '1 millisecond'")
    insert(caller, "live ", 100, "now() + interval '1 hour'")
    removed = in_threads(purge, purge)
    removed.append(purge())  # what either of them skipped because the other held it
    assert sum(removed) == MANY
    assert keys_of(caller) == {f"live {i}" for i in range(1, 101)}


def test_purge_killed_midway_is_taken_up_by_the_next() -> None:
    caller = new_caller()
    insert(caller, "expired ", 3 * FIRST_BATCH, "now() - i * interval '1 second'")
    insert(caller, "live ", 100, "now() + interval '1 hour'")
    program = (
        "import os, sys, django; django.setup(); from django.db import connection;"
        "connection.settings_dict['NAME'] = sys.argv[1];"
        "from cacheservice.entries.purge import purge;"
        "purge(progress=lambda removed: os.kill(os.getpid(), 9))"
    )
    command = [sys.executable, "-c", program, str(django_connection.settings_dict["NAME"])]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -9
    assert len(keys_of(caller)) == 2 * FIRST_BATCH + 100
    assert purge() == 2 * FIRST_BATCH
    assert keys_of(caller) == {f"live {i}" for i in range(1, 101)}


def test_batches_are_short_and_the_time_is_bounded() -> None:
    caller = new_caller()
    insert(caller, "expired ", MANY, "now() - i * interval '1 millisecond'")
    assert purge(seconds=0) == 0
    progress: list[int] = []
    removed = purge(seconds=0.001, progress=progress.append)
    assert removed == FIRST_BATCH
    purge(seconds=3600, progress=progress.append)
    assert progress[1] == FIRST_BATCH
    sizes = [after - before for before, after in pairwise(progress[1:])]
    assert max(sizes) <= MOST
    assert progress[-1] == MANY - FIRST_BATCH


def test_locked_rows_are_skipped_and_others_go() -> None:
    caller = new_caller()
    insert(caller, "expired ", 20, "now() - i * interval '1 second'")
    with psycopg.connect(database_dsn()) as holder:
        holder.execute("select from entry where tenant_id = %s and key = 'expired 7' for update", [caller.tenant_id])
        [removed] = in_threads(purge)
        assert removed == 19
        holder.rollback()
    assert keys_of(caller) == {"expired 7"}
    assert purge() == 1


def test_row_renewed_while_the_purge_looks_at_it_stays() -> None:
    """The renewal commits between the purge's snapshot and its lock: one that is waited for must be looked at anew."""
    caller = new_caller()
    rounds = scaled(40, 5000)
    for _ in range(rounds):
        insert(caller, "key ", 1, "now() - interval '1 second'")

        def renew() -> bool:
            return bool(
                query(
                    "update entry set expires_at = now() + interval '1 hour' where tenant_id = %s returning 1",
                    [caller.tenant_id],
                )
            )

        renewed, _ = in_threads(renew, purge)
        assert (keys_of(caller) == {"key 1"}) == renewed
        query("delete from entry where tenant_id = %s", [caller.tenant_id])


def test_task_purges() -> None:
    caller = new_caller()
    insert(caller, "expired ", 5, "now() - interval '1 second'")
    tasks.purge()
    assert keys_of(caller) == set()
    tasks.purge()  # delivered twice


def test_command_purges_and_says_how_many() -> None:
    caller = new_caller()
    insert(caller, "expired ", 5, "now() - interval '1 second'")
    insert(caller, "live ", 5, "now() + interval '1 hour'")
    output = StringIO()
    call_command("purge", stdout=output)
    assert output.getvalue() == "5 expired entries removed.\n"
    assert keys_of(caller) == {f"live {i}" for i in range(1, 6)}
