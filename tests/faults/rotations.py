"""Keys that are rotated by processes which are killed, and keys that are gone: what is stored opens, or never does."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from accounts import keyring
from accounts.models import DataKey, Tenant
from cacheservice.entries.operations import Caller
from cacheservice.entries.reseal import reseal_all
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import InternalError, InvalidAPIKey
from cacheservice.tenant_deletion import delete_tenant
from tests.faults.beats import fresh_database
from tests.faults.outcome import Outcome, progress
from tests.processes import ROOT
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, outcomes, query, run_with_store
from tests.test_rotation import Users

TENANTS, KEYS = 6, 12
STATEMENTS = 60  # of which one is the last: more than a rotation has, so that some come to their end
LOOKED_AT_EVERY = 5

# Rotates a key in the database that it is told, and dies before or after a statement.
KILLED = """
import os, sys, django
django.setup()
from django.core.management import call_command
from django.db import connection
from accounts.keys import rotate_data_key
from accounts.models import Tenant
from cacheservice.entries.reseal import reseal
connection.settings_dict["NAME"], tenant_id, left = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
after = sys.argv[4] == "after"
def execute(execute, sql, parameters, many, context):
    global left
    left -= 1
    if not left and not after:
        os.kill(os.getpid(), 9)
    result = execute(sql, parameters, many, context)
    if not left:
        os.kill(os.getpid(), 9)
    return result
with connection.execute_wrapper(execute):
    if tenant_id:
        tenant = Tenant.objects.get(pk=tenant_id)
        rotate_data_key(tenant, "tests")
        reseal(tenant)
    else:
        call_command("rotate_master_key")
"""


def rotation_kills(kills: int, seed: int, directory: Path) -> Outcome:
    """Under clients that write and read all the time; what stood before is read by new processes too."""
    outcome = Outcome(kills)
    chance = random.Random(seed)
    path = directory / "master.key"
    path.write_text(f"{settings.MASTER_KEY}\n")
    path.chmod(0o600)
    with fresh_database(), override_settings(MASTER_KEY_FILE=path):
        tenants = [new_tenant() for _ in range(TENANTS)]
        callers = [new_caller(tenant) for tenant in tenants]
        run_with_store(lambda store: _write(store, callers))

        def work() -> None:
            for done in range(1, kills + 1):
                _kill(outcome, chance, tenants, path)
                if done % LOOKED_AT_EVERY == 0 or done == kills:
                    run_with_store(lambda store: _read(store, callers, outcome))
                progress(done, kills, outcome)

        async def scenario(store: Store) -> None:
            users = Users(store, callers)
            await users.during(work)  # where a read fails, that is raised here
            outcome.add("reads by others meanwhile", users.reads)
            outcome.add("writes", users.writes)

        run_with_store(scenario)
        _complete(outcome)
        run_with_store(lambda store: _read(store, callers, outcome))
    return outcome


def _kill(outcome: Outcome, chance: random.Random, tenants: Sequence[Tenant], path: Path) -> None:
    tenant_id = chance.choice((0, chance.choice(tenants).id))
    environment = {name: value for name, value in os.environ.items() if name != "CACHE_MASTER_KEY"}
    point = str(chance.randrange(1, STATEMENTS)), chance.choice(("before", "after"))
    command = [sys.executable, "-c", KILLED, str(connection.settings_dict["NAME"]), str(tenant_id), *point]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, "CACHE_MASTER_KEY_FILE": str(path)},
        timeout=120,
        capture_output=True,
        text=True,
    )
    outcome.expect(done.returncode in (0, -9), f"a rotation ended with {done.returncode}: {done.stderr[-300:]}")
    outcome.add("rotations killed" if done.returncode else "rotations that came to their end", 1)


def _complete(outcome: Outcome) -> None:
    """What a next run of each leaves: no row under a former key."""
    call_command("rotate_master_key", stdout=StringIO())
    reseal_all()
    current = keyring.load().current
    former = DataKey.objects.exclude(master_key_id=current).count()
    outcome.expect(former == 0, f"{former} data keys are wrapped with a former master key")
    [(stale,)] = query(
        "select count(*) from entry e join tenant t on t.id = e.tenant_id "
        "where e.data_key_version <> t.data_key_version"
    )
    outcome.expect(stale == 0, f"{stale} entries are sealed with a former data key")


async def _write(store: Store, callers: Sequence[Caller]) -> None:
    for caller in callers:
        for number in range(KEYS):
            await store.put(caller, f"stands {number}", entry(b'"%d"' % number * 100, content_type="text/plain"))


async def _read(store: Store, callers: Sequence[Caller], outcome: Outcome) -> None:
    for caller in callers:
        for number in range(KEYS):
            [got] = await outcomes([store.get(caller, f"stands {number}")])
            right = isinstance(got, Hit) and got.value == b'"%d"' % number * 100
            outcome.expect(right, f"tenant {caller.tenant_id}, entry {number}: {got!r}")
            outcome.add("reads by new processes", 1)


def deleted_tenants(count: int, seed: int) -> Outcome:
    """Their rows are put back from a copy that was made before the deletion, but for the data keys."""
    outcome = Outcome(count)
    chance = random.Random(seed)
    for done in range(1, count + 1):
        tenant = new_tenant()
        caller = new_caller(tenant)
        names = [f"key {number}" for number in range(chance.randrange(1, 30))]
        with RunningStores() as stores:  # it has the data key in memory all the time
            stores.at_once([stores[0].put(caller, name, entry(chance.randbytes(200))) for name in names])
            query("create table copied as select * from entry where tenant_id = %s".replace("%s", str(tenant.id)))
            delete_tenant(tenant, "tests")
            _refused(outcome, stores, caller, names, InvalidAPIKey)
        query("insert into entry select * from copied")
        query("drop table copied")
        query("update api_key set revoked_at = null where tenant_id = %s", [tenant.id])
        with RunningStores() as stores:
            _refused(outcome, stores, caller, names, InternalError)
        query("delete from entry where tenant_id = %s", [tenant.id])
        query("delete from unopenable_entry where tenant_id = %s", [tenant.id])
        progress(done, count, outcome)
    return outcome


def _refused(
    outcome: Outcome, stores: RunningStores, caller: Caller, names: Sequence[str], error: type[Exception]
) -> None:
    for name, told in zip(names, stores.at_once([stores[0].get(caller, name) for name in names]), strict=True):
        outcome.expect(isinstance(told, error), f"tenant {caller.tenant_id}, '{name}': {told!r}")
        outcome.add(f"reads refused: {error.__name__}", 1)
