"""Rotation of master and data keys while the store is used: everything readable throughout, then nothing left over."""

import asyncio
import random
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings as project
from django.core.management import call_command
from django.db import connections
from pytest_django.fixtures import Settings
from structlog.testing import capture_logs

from accounts import keyring, keys
from accounts.models import DataKey, Tenant
from cacheservice.entries import reseal as resealing
from cacheservice.entries import tasks
from cacheservice.entries.crypto import MAX_USES
from cacheservice.entries.operations import INLINE_BYTES, Caller
from cacheservice.entries.reseal import reseal
from cacheservice.entries.store import Store, Stored
from cacheservice.errors import Unavailable
from tests.store_cast import (
    Sent,
    entry,
    new_caller,
    new_tenant,
    outcomes,
    query,
    run_with_store,
    scaled,
)

pytestmark = pytest.mark.usefixtures("committed_db")

MASTER_ROTATIONS, DATA_KEY_ROTATIONS = scaled(4, 100), scaled(4, 100)
KEYS, CLIENTS = 40, 8


@pytest.fixture
def master_key_file(settings: Settings, tmp_path: Path, committed_db: None) -> Iterator[Path]:
    """The master key as a file; afterwards every data key is wrapped with the first one again, for other tests."""
    path = tmp_path / "master.key"
    path.write_text(f"{project.MASTER_KEY}\n")
    path.chmod(0o600)
    settings.MASTER_KEY_FILE = path
    yield path
    path.write_text(f"{project.MASTER_KEY}\n{path.read_text()}")
    keys.rewrap_data_keys("tests")


async def in_thread(work: Callable[[], Any]) -> Any:
    """Django's own connections, away from the store's loop."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def value_of(chance: random.Random) -> bytes:
    """Small, compressible, and too large for a batch."""
    return chance.choice(
        (
            b'"%d"' % chance.getrandbits(64),
            b'"%d"' % chance.getrandbits(8) * 2000,
            chance.randbytes(2 * INLINE_BYTES),
        )
    )


class Users:
    """Clients that write keys of their own and read them, until they are told to stop; any failed read ends it all."""

    def __init__(self, store: Store, callers: list[Caller]) -> None:
        self.store, self.callers = store, callers
        self.reads = self.writes = 0
        self._stop = False

    async def during(self, work: Callable[[], Any]) -> Any:
        clients = [asyncio.create_task(self._use(number)) for number in range(CLIENTS)]
        try:
            return await in_thread(work)
        finally:
            self._stop = True
            await asyncio.gather(*clients)

    async def _use(self, number: int) -> None:
        chance = random.Random(number)
        mine: dict[tuple[int, str], bytes] = {}
        while not self._stop:
            caller, key = chance.choice(self.callers), f"{number} {chance.randrange(KEYS // CLIENTS)}"
            if chance.random() < 0.3:
                value = value_of(chance)
                try:
                    await self.store.put(caller, key, entry(value, content_type="text/plain"))
                except Unavailable as error:  # overtaken by three rotations: nothing was written
                    assert "rotated" in error.message
                    continue
                mine[caller.tenant_id, key] = value
                self.writes += 1
            else:
                hit = await self.store.get(caller, key)
                assert (hit and hit.value) == mine.get((caller.tenant_id, key))
                self.reads += 1


def test_master_key_is_rotated_under_load(master_key_file: Path) -> None:
    tenants = [new_tenant() for _ in range(4)]
    callers = [new_caller(tenant) for tenant in tenants]
    late = new_caller()  # whose data key the running store asks for only after the rotations

    def rotate() -> None:
        for _ in range(MASTER_ROTATIONS):
            call_command("rotate_master_key", stdout=StringIO())

    async def scenario(store: Store) -> None:
        users = Users(store, callers)
        await users.during(rotate)
        assert min(users.reads, users.writes) > 10
        await store.put(late, "key", entry(b"1"))
        hit = await store.get(late, "key")
        assert hit is not None
        assert hit.value == b"1"

    run_with_store(scenario)
    lines = master_key_file.read_text().split()
    assert len(set(lines)) == len(lines) == MASTER_ROTATIONS + 1
    assert master_key_file.stat().st_mode & 0o777 == 0o600
    current = keyring.load().current
    assert set(DataKey.objects.values_list("master_key_id", flat=True)) == {current}
    # The newest alone opens them, the first alone does not.
    newest, first = (keyring.MasterKeys(line, "test") for line in (lines[0], lines[-1]))
    for data_key in DataKey.objects.filter(tenant__in=tenants):
        wrapped = keyring.WrappedKey(bytes(data_key.wrapped), data_key.master_key_id)
        assert len(newest.unwrap(wrapped, data_key.tenant_id, data_key.version)) == 32
        with pytest.raises(keyring.CannotUnwrap):
            first.unwrap(wrapped, data_key.tenant_id, data_key.version)


def test_rewrapping_that_was_interrupted_is_repeated(master_key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [new_caller() for _ in range(6)]

    async def write(store: Store) -> None:
        for caller in callers:
            await store.put(caller, "key", entry(b"1"))

    async def read(store: Store) -> None:
        hits = await asyncio.gather(*(store.get(caller, "key") for caller in callers))
        assert [hit and hit.value for hit in hits] == [b"1"] * len(callers)

    run_with_store(write)
    keyring.prepend_master_key(master_key_file)
    rewrap, left = keys._rewrap, [3]

    def interrupted(data_key: DataKey, master_keys: keyring.MasterKeys) -> None:
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        rewrap(data_key, master_keys)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_rewrap", interrupted)
        with pytest.raises(InterruptedError):
            keys.rewrap_data_keys("tests")
    assert DataKey.objects.filter(master_key_id=keyring.load().current).count() == 3
    run_with_store(read)
    keys.rewrap_data_keys("tests")
    assert not DataKey.objects.exclude(master_key_id=keyring.load().current).exists()
    run_with_store(read)


def assert_rotated(tenant: Tenant, version: int) -> None:
    """Every entry is sealed with this data key, and the former ones are retired."""
    assert query("select distinct data_key_version from entry where tenant_id = %s", [tenant.id]) == [(version,)]
    states = dict(DataKey.objects.filter(tenant=tenant).values_list("version", "retired_at"))
    assert sorted(states) == list(range(1, version + 1))
    assert [number for number, retired_at in states.items() if retired_at is None] == [version]


def test_data_key_is_rotated_under_load() -> None:
    tenants = [new_tenant() for _ in range(2)]
    callers = [new_caller(tenant) for tenant in tenants]

    def rotate() -> None:
        for _ in range(DATA_KEY_ROTATIONS):
            for tenant in tenants:
                keys.rotate_data_key(tenant, "tests")
                reseal(tenant)

    async def scenario(store: Store) -> None:
        users = Users(store, callers)
        await users.during(rotate)
        assert min(users.reads, users.writes) > 10

    with capture_logs() as logs:
        run_with_store(scenario)
    assert [line for line in logs if line["log_level"] == "critical"] == []
    for tenant in tenants:
        reseal(tenant)
        assert_rotated(tenant, DATA_KEY_ROTATIONS + 1)


def test_large_value_resealed_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is read by two statements; between them it is sealed anew, under the same version."""
    tenant = new_tenant()
    caller = new_caller(tenant)
    value = random.Random(7).randbytes(2 * INLINE_BYTES)

    async def scenario(store: Store) -> None:
        await store.put(caller, "key", entry(value, content_type="image/png"))
        fetch = store._side.rows
        left = [1]

        async def late(statement: str, parameters: Any, **options: Any) -> Any:
            if "version" in parameters and "key" in parameters and left[0]:
                left[0] -= 1
                await in_thread(lambda: (keys.rotate_data_key(tenant, "tests"), reseal(tenant)))
            return await fetch(statement, parameters, **options)

        monkeypatch.setattr(store._side, "rows", late)
        hit = await store.get(caller, "key")
        assert left == [0]
        assert hit is not None
        assert hit.value == value

    run_with_store(scenario)
    assert_rotated(tenant, 2)


def with_entries(count: int) -> tuple[Tenant, Caller]:
    """A tenant with entries that wait to be sealed anew."""
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def write(store: Store) -> None:
        await asyncio.gather(*(store.put(caller, f"key {i}", entry(b"%d" % i)) for i in range(count)))

    run_with_store(write)
    keys.rotate_data_key(tenant, "tests")
    return tenant, caller


def assert_readable(caller: Caller, count: int) -> None:
    async def read(store: Store) -> None:
        hits = await asyncio.gather(*(store.get(caller, f"key {i}") for i in range(count)))
        assert [hit and hit.value for hit in hits] == [b"%d" % i for i in range(count)]

    run_with_store(read)


def test_resealing_that_was_interrupted_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "PAGE", 10)
    tenant, caller = with_entries(50)

    def interrupt(count: int) -> None:
        if count == 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        reseal(tenant, interrupt)
    counts = query(
        "select data_key_version, count(*) from entry where tenant_id = %s group by 1 order by 1", [tenant.id]
    )
    assert counts == [(1, 30), (2, 20)]
    assert not DataKey.objects.filter(tenant=tenant).exclude(retired_at=None).exists()
    assert_readable(caller, 50)
    assert reseal(tenant) == 30
    assert_rotated(tenant, 2)
    assert_readable(caller, 50)
    assert reseal(tenant) == 0


def test_resealing_twice_at_once_reseals_each_entry_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "PAGE", 20)
    tenant, caller = with_entries(200)

    async def both() -> list[Any]:
        return await asyncio.gather(*(in_thread(lambda: reseal(Tenant.objects.get(pk=tenant.pk))) for _ in range(2)))

    with capture_logs() as logs:
        counts = asyncio.run(both())
    assert sum(counts) == 200
    assert logs == []
    assert_rotated(tenant, 2)
    assert_readable(caller, 200)


def test_resealing_that_another_one_overtook_raises_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "PAGE", 10)
    tenant, caller = with_entries(10)
    rows = resealing._rows
    overtaken = False

    def overtake(statement: str, **parameters: Any) -> Any:
        nonlocal overtaken
        found = rows(statement, **parameters)
        if not overtaken and len(found) == 10:  # the page is read, its values are not
            overtaken = True
            reseal(Tenant.objects.get(pk=tenant.pk))
        return found

    monkeypatch.setattr(resealing, "_rows", overtake)
    with capture_logs() as logs:
        assert reseal(tenant) == 0
    assert overtaken
    assert logs == []
    assert_readable(caller, 10)


def test_rotations_while_resealing_are_left_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows under a data key that this run has not heard of."""
    monkeypatch.setattr(resealing, "PAGE", 10)
    tenant, caller = with_entries(30)
    pages = 0

    def rotate(count: int) -> None:
        nonlocal pages
        pages += 1
        if pages == 1:
            keys.rotate_data_key(tenant, "tests")
            reseal(Tenant.objects.get(pk=tenant.pk))
            keys.rotate_data_key(tenant, "tests")

    reseal(tenant, rotate)
    assert pages > 1
    assert_readable(caller, 30)
    reseal(tenant)
    assert_rotated(tenant, 4)
    assert_readable(caller, 30)


def test_entry_that_does_not_open_keeps_its_data_key() -> None:
    tenant, caller = with_entries(5)
    query("update entry set value = value || '\\x00' where tenant_id = %s and key = 'key 2'", [tenant.id])
    with capture_logs() as logs:
        assert reseal(tenant) == 4
    assert [line["log_level"] for line in logs] == ["critical"]
    left = query("select key from entry where tenant_id = %s and data_key_version = 1", [tenant.id])
    assert left == [("key 2",)]
    assert not DataKey.objects.filter(tenant=tenant).exclude(retired_at=None).exists()
    query("delete from entry where tenant_id = %s and key = 'key 2'", [tenant.id])
    assert reseal(tenant) == 0
    assert_rotated(tenant, 2)
    assert caller.tenant_id == tenant.id


def test_write_with_a_replaced_data_key_is_sealed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)
    sent = Sent(monkeypatch)

    async def scenario(store: Store) -> None:
        await store.put(caller, "warm", entry(b"1"))
        await in_thread(lambda: keys.rotate_data_key(tenant, "tests"))
        got = await outcomes([store.put(caller, f"key {i}", entry(b"%d" % i)) for i in range(20)])
        assert [type(outcome) for outcome in got] == [Stored] * 20
        hits = await asyncio.gather(*(store.get(caller, f"key {i}") for i in range(20)))
        assert [hit and hit.value for hit in hits] == [b"%d" % i for i in range(20)]

    run_with_store(scenario)
    assert sum(sent.sizes(b"write")) == 1 + 20 + 20
    versions = query("select distinct data_key_version from entry where tenant_id = %s and key <> 'warm'", [tenant.id])
    assert versions == [(2,)]


def test_version_that_a_failover_lost_and_another_key_got() -> None:
    """What this process remembers of the version is stored nowhere: nothing may be sealed with it."""
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def scenario(store: Store) -> None:
        async def write() -> None:
            await store.put(caller, "key 0", entry(b"0"))

        await write()
        await in_thread(lambda: keys.rotate_data_key(tenant, "tests"))
        await write()
        query("update tenant set data_key_version = 1 where id = %s", [tenant.id])
        query("delete from data_key where tenant_id = %s and version = 2", [tenant.id])
        await write()
        await in_thread(lambda: keys.rotate_data_key(tenant, "tests"))
        await write()
        assert await store.get(caller, "key 0")

    run_with_store(scenario)
    assert query("select data_key_version from entry where tenant_id = %s", [tenant.id]) == [(2,)]
    assert_readable(caller, 1)  # by another process


def test_uses_of_data_keys_are_counted() -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def scenario(store: Store) -> None:
        for i in range(25):
            await store.put(caller, f"key {i % 7}", entry(b"1"))
        await store._flush()
        assert query("select uses from data_key where tenant_id = %s", [tenant.id]) == [(25,)]
        for i in range(5):
            await store.put(caller, f"key {i}", entry(b"1"))

    run_with_store(scenario)  # which books the rest when it closes
    assert query("select uses from data_key where tenant_id = %s", [tenant.id]) == [(30,)]


def test_resealing_counts_as_use_of_the_new_data_key() -> None:
    tenant, _ = with_entries(12)
    assert reseal(tenant) == 12
    uses = query("select version, uses from data_key where tenant_id = %s order by version", [tenant.id])
    assert uses == [(1, 12), (2, 12)]


def test_worn_data_keys_are_rotated() -> None:
    worn, fresh = with_entries(3)[0], with_entries(3)[0]
    query("update data_key set uses = %s where tenant_id = %s and version = 2", [MAX_USES, worn.id])
    query("update data_key set uses = %s where tenant_id = %s and version = 2", [MAX_USES - 1, fresh.id])
    query("update data_key set uses = %s where tenant_id = %s and version = 1", [MAX_USES, fresh.id])
    tasks.reseal()
    assert_rotated(worn, 3)
    assert_rotated(fresh, 2)
    tasks.reseal()  # the new one is not worn
    assert_rotated(worn, 3)


def test_command_rotates_and_reseals() -> None:
    tenant, caller = with_entries(7)
    call_command("rotate_data_key", tenant.name, stdout=StringIO())
    assert_rotated(tenant, 3)
    assert_readable(caller, 7)


def test_data_keys_differ() -> None:
    tenant, _ = with_entries(1)
    master_keys = keyring.load()
    opened = {
        master_keys.unwrap(
            keyring.WrappedKey(bytes(data_key.wrapped), data_key.master_key_id), tenant.id, data_key.version
        )
        for data_key in DataKey.objects.filter(tenant=tenant)
    }
    assert len(opened) == 2
    assert all(AESGCM(data_key) for data_key in opened)
