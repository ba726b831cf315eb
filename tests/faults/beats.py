"""Two beats, and a broker that delivers twice: every scheduled task runs twice at once, and again afterwards."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg.conninfo import make_conninfo

from accounts.models import Tenant
from cacheservice.celery import app
from tests.faults.outcome import Outcome, progress
from tests.meters import change_plan, discrepancies, used
from tests.receipts import at_once
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, query

TENANTS, KEYS, READS = 3, 120, 300

# What the tasks have brought about; `folded` receipts are in the rollups beside them.
STATE = """
select (select count(*) from entry), (select count(*) from credit_ledger), (select sum(units) from credit_ledger),
       (select count(*) from invoice), (select sum(balance) from account), (select count(*) from receipt),
       (select count(*) from receipt where not folded), (select sum(hits) from usage_rollup),
       (select sum(storage_moment) from usage_rollup), (select sum(hits) from entry_stats),
       (select sum(hits) from tag_usage), (select sum(bytes) from storage_meter),
       (select sum(moment) from storage_meter)
"""


def two_beats(rounds: int, seed: int) -> Outcome:
    """On a database of its own, for tasks work for all tenants."""
    outcome = Outcome(rounds)
    chance = random.Random(seed)
    with fresh_database():
        for done in range(1, rounds + 1):
            tenants = [_tenant_with_work(chance) for _ in range(TENANTS)]
            before = [used(tenant.id) for tenant in tenants]
            at_once(*_tasks(), *_tasks())
            _run_tasks()  # what one of two left to the other, for it was in hand
            for tenant, was in zip(tenants, before, strict=True):
                _check(outcome, tenant, used(tenant.id)._replace(stored=0) == was._replace(stored=0))
            outcome.deviations += discrepancies()
            state = query(STATE)
            _run_tasks()
            outcome.expect(query(STATE) == state, f"round {done}: {state}, and once more {query(STATE)}")
            outcome.add("runs of tasks", 4 * len(_tasks()))
            progress(done, rounds, outcome)
    return outcome


def _tasks() -> list[Callable[[], object]]:
    app.loader.import_default_modules()
    return [app.tasks[str(each["task"])] for each in settings.CELERY_BEAT_SCHEDULE.values()]


def _run_tasks() -> None:
    for task in _tasks():
        task()


def _tenant_with_work(chance: random.Random) -> Tenant:
    """Entries that have expired and some that live, hits of this month and the last, a grant that is due."""
    tenant = new_tenant()
    callers = [new_caller(tenant) for _ in range(2)]
    with RunningStores(2) as stores:
        stores.at_once(
            [
                stores[number % 2].put(callers[number % 2], f"key {number}", entry(bytes(number), tags=["a"]))
                for number in range(KEYS)
            ]
        )
        stores.at_once([stores[0].get(callers[0], f"key {chance.randrange(KEYS)}") for _ in range(READS)])
        query(
            "update receipt set at = date_trunc('month', at) - interval '1 day' where tenant_id = %s and hits > 0",
            [tenant.id],
        )
        stores.at_once([stores[1].get(callers[1], f"key {chance.randrange(2 * KEYS)}") for _ in range(READS)])
    query(
        "update entry set created_at = created_at - interval '2 hours', expires_at = expires_at - interval '2 hours' "
        "where tenant_id = %s and size %% 3 = 0",
        [tenant.id],
    )
    change_plan(tenant, "free")
    return tenant


def _check(outcome: Outcome, tenant: Tenant, same_use: bool) -> None:
    outcome.expect(same_use, f"tenant {tenant.id}: its use has changed")
    for what, statement, right in (
        ("grants", "select count(*) from credit_ledger where tenant_id = %s and kind = 'monthly'", 1),
        (
            "entries left",
            "select count(*) from entry where tenant_id = %s and (expires_at <= now() or size %% 3 = 0)",
            0,
        ),
        (
            "months closed twice",
            "select count(*) from (select from invoice where tenant_id = %s and kind = 'invoice' "
            "group by month having count(*) > 1) twice",
            0,
        ),
        ("receipts not folded", "select count(*) from receipt where tenant_id = %s and not folded and hits > 0", 0),
    ):
        [(count,)] = query(statement, [tenant.id])
        outcome.expect(count == right, f"tenant {tenant.id}: {count} {what}")


@contextmanager
def fresh_database() -> Iterator[None]:
    """Inside, Django's connections and `database_dsn` lead to a new one, in every thread."""
    former, name = connection.settings_dict["NAME"], f"{connection.settings_dict['NAME']}_beats"
    with psycopg.connect(make_conninfo(settings.DATABASE_DSN, dbname="postgres"), autocommit=True) as server:
        server.execute(f'create database "{name}"'.encode())
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            call_command("migrate", verbosity=0)
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = former
            server.execute(f'drop database "{name}" with (force)'.encode())
