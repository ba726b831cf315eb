"""Many at once for what is only there for some: credits, and room for values."""

import random
from collections import Counter

from billing.limits import set_tenant_limits
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit, Stored
from cacheservice.errors import InsufficientCredits, StorageQuotaExceeded
from tests.faults.outcome import Outcome, progress
from tests.meters import balance, discrepancies, grant, prepaid_tenant, stored, used
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller, new_tenant, query

AFFORDED, GETS = 100, 256
PUTS, QUOTA = 64, 100_000  # the quota in bytes


def credits(rounds: int, seed: int) -> Outcome:
    """Credits for 100 hits and 256 GETs at once by two API keys over two server processes' stores, again and again."""
    tenant = prepaid_tenant(0)
    callers = [new_caller(tenant), new_caller(tenant)]
    outcome = Outcome(rounds)
    chance = random.Random(seed)
    with RunningStores(2) as stores:
        stores.at_once([stores[0].put(callers[0], f"key {name}", entry(b"1")) for name in range(10)])
        for done in range(1, rounds + 1):
            grant(tenant, AFFORDED)
            told = stores.at_once(
                [chance.choice(stores).get(chance.choice(callers), f"key {chance.randrange(10)}") for _ in range(GETS)]
            )
            kinds = Counter(map(type, told))
            outcome.add("hits paid", kinds[Hit])
            outcome.add("refused", kinds[InsufficientCredits])
            outcome.expect(kinds == {Hit: AFFORDED, InsufficientCredits: GETS - AFFORDED}, f"round {done}: {kinds}")
            outcome.expect(balance(tenant.id) == 0, f"round {done}: the balance is {balance(tenant.id)} units")
            progress(done, rounds, outcome)
    outcome.expect(used(tenant.id).hits == rounds * AFFORDED, f"receipts of {used(tenant.id).hits} hits")
    outcome.deviations += discrepancies(tenant.id)
    return outcome


def quota(rounds: int, seed: int) -> Outcome:
    """64 PUTs of all sizes at once, of which some fit, by two API keys over two server processes' stores."""
    outcome = Outcome(rounds)
    chance = random.Random(seed)
    with RunningStores(2) as stores:
        for done in range(1, rounds + 1):
            tenant = new_tenant()
            set_tenant_limits(tenant, storage_quota=QUOTA, actor="tests")
            _fill(outcome, stores, [new_caller(tenant), new_caller(tenant)], chance)
            outcome.deviations += discrepancies(tenant.id)
            progress(done, rounds, outcome)
    return outcome


def _fill(outcome: Outcome, stores: RunningStores, callers: list[Caller], chance: random.Random) -> None:
    """Some of the keys are written by several; and half of the room is taken by what has expired."""
    tenant_id = callers[0].tenant_id
    stores.run(stores[0].put(callers[0], "expired", entry(bytes(QUOTA // 2))))
    query(
        "update entry set created_at = created_at - interval '1 day', expires_at = expires_at - interval '1 day' "
        "where tenant_id = %s",
        [tenant_id],
    )
    asked = [
        (f"key {chance.randrange(PUTS)}", chance.choice((10, 1_000, 5_000, 20_000)) + chance.randrange(1_000))
        for _ in range(PUTS)
    ]
    told = stores.at_once(
        [chance.choice(stores).put(chance.choice(callers), name, entry(bytes(size))) for name, size in asked]
    )
    kinds = Counter(map(type, told))
    outcome.add("written", kinds[Stored])
    outcome.add("refused", kinds[StorageQuotaExceeded])
    outcome.expect(set(kinds) <= {Stored, StorageQuotaExceeded}, f"tenant {tenant_id}: {kinds}")
    outcome.expect(stored(tenant_id) <= QUOTA, f"tenant {tenant_id}: {stored(tenant_id)} bytes are stored")
    refused = [ask for ask, each in zip(asked, told, strict=True) if isinstance(each, StorageQuotaExceeded)]
    for name, size in refused:
        _ask_again(outcome, stores, callers[0], name, size)


def _ask_again(outcome: Outcome, stores: RunningStores, caller: Caller, name: str, size: int) -> None:
    """What fits is not refused for good."""
    total = stored(caller.tenant_id)
    rows = query("select size from entry where tenant_id = %s and key = %s", [caller.tenant_id, name])
    delta = size - (rows[0][0] if rows else 0)
    [told] = stores.at_once([stores[0].put(caller, name, entry(bytes(size)))])
    right = Stored if delta <= 0 or total + delta <= QUOTA else StorageQuotaExceeded
    outcome.expect(type(told) is right, f"{size} bytes for '{name}', {delta} more, at {total} bytes: {told!r}")
