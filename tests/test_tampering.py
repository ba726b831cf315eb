"""Rows changed behind the service's back: the entry is an error with an alert, never a wrong value, and alone."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from accounts import keys
from cacheservice.entries.crypto import COMPRESS_FROM_BYTES
from cacheservice.entries.operations import INLINE_BYTES, Caller
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import InternalError
from tests.processes import RunningServer
from tests.store_cast import entry, new_caller, new_tenant, new_token, outcomes, query, run_with_store

pytestmark = pytest.mark.usefixtures("committed_db")

VALUE = b'{"secret": "canary"}'
NEIGHBOURS = 3


async def assert_only_this_fails(store: Store, caller: Caller, key: str = "key") -> None:
    """Its reader gets an error, those in the same batch their values, and the operator an alert for each failure."""
    with capture_logs() as logs:
        got = await outcomes(
            [store.get(caller, "near 0"), store.get(caller, key), *(store.get(caller, "near 1") for _ in range(2))]
        )
    first, tampered, *rest = got
    assert isinstance(tampered, InternalError), tampered
    assert [isinstance(hit, Hit) and hit.value for hit in (first, *rest)] == [b"0", b"1", b"1"]
    assert [line["log_level"] for line in logs] == ["critical"]
    assert_says_which(logs[0], caller)


def assert_says_which(line: MutableMapping[str, Any], caller: Caller) -> None:
    assert line["tenant_id"] == caller.tenant_id
    assert "canary" not in str(line)


async def with_neighbours(store: Store, caller: Caller, key: str = "key", value: bytes = VALUE) -> None:
    await store.put(caller, key, entry(value))
    for number in range(NEIGHBOURS):
        await store.put(caller, f"near {number}", entry(b"%d" % number))


@pytest.mark.parametrize("value", (VALUE, b"[" + b"1," * COMPRESS_FROM_BYTES + b"1]"), ids=("plain", "compressed"))
def test_every_changed_byte_of_a_stored_value(value: bytes) -> None:
    caller = new_caller()
    place = (caller.tenant_id, "key")

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller, value=value)
        ((sealed,),) = query("select value from entry where tenant_id = %s and key = %s", place)
        for position in range(len(sealed)):
            changed = bytearray(sealed)
            changed[position] ^= 1 << position % 8
            assert update("value = %s", bytes(changed), *place) == 1
            await assert_only_this_fails(store, caller)
        assert update("value = %s", sealed, *place) == 1
        hit = await store.get(caller, "key")
        assert hit is not None
        assert hit.value == value

    run_with_store(scenario)


def update(change: str, *parameters: Any) -> int:
    """Change one row of the tenant; returns how many it were. The last two parameters are tenant and key."""
    return len(query(f"update entry set {change} where tenant_id = %s and key = %s returning 1", parameters))


@pytest.mark.parametrize(
    ("change", "parameters"),
    (
        ("value = ''", ()),
        ("value = substr(value, 1, octet_length(value) - 1)", ()),
        ("value = value || '\\x00'", ()),
        ("value = substr(value, 2)", ()),
        ("size = size - 1", ()),
        ("size = size + 1", ()),
        ("size = 0", ()),
        ("version = version # 1", ()),
        ("version = -version - 1", ()),
        ("content_type = 'text/html'", ()),
        ("content_type = 'application/json'", ()),
        ("data_key_version = 2", ()),  # exists too
        ("data_key_version = 99", ()),  # does not
    ),
)
def test_changed_column(change: str, parameters: tuple[Any, ...]) -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)
    keys.rotate_data_key(tenant, "tests")
    query("update tenant set data_key_version = 1 where id = %s", [tenant.id])

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller)
        assert update(change, *parameters, caller.tenant_id, "key") == 1
        await assert_only_this_fails(store, caller)

    run_with_store(scenario)


WHOLE_ROW = "value, data_key_version, size, content_type, version"


@pytest.mark.parametrize("columns", ("value", "value, version", WHOLE_ROW))
def test_rows_swapped_between_keys(columns: str) -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller)
        await store.put(caller, "other", entry(VALUE[::-1]))
        assert swap(columns, (caller.tenant_id, "key"), (caller.tenant_id, "other")) == 2
        for key in ("key", "other"):
            await assert_only_this_fails(store, caller, key)
        assert swap(columns, (caller.tenant_id, "key"), (caller.tenant_id, "other")) == 2
        hits = await asyncio.gather(store.get(caller, "key"), store.get(caller, "other"))
        assert [hit and hit.value for hit in hits] == [VALUE, VALUE[::-1]]

    run_with_store(scenario)


@pytest.mark.parametrize("columns", ("value", "value, version", WHOLE_ROW))
def test_rows_swapped_between_tenants(columns: str) -> None:
    one, other = new_caller(), new_caller()

    async def scenario(store: Store) -> None:
        for caller in (one, other):
            await with_neighbours(store, caller, value=b'"of %d"' % caller.tenant_id)
        assert swap(columns, (one.tenant_id, "key"), (other.tenant_id, "key")) == 2
        for caller in (one, other):
            await assert_only_this_fails(store, caller)

    run_with_store(scenario)


def test_row_given_to_another_tenant() -> None:
    """The row itself, moved: under the key that it was written with, and its own version."""
    one, other = new_caller(), new_caller()

    async def scenario(store: Store) -> None:
        await with_neighbours(store, one)
        await with_neighbours(store, other)
        assert await store.delete(other, "key")
        assert update("tenant_id = %s", other.tenant_id, one.tenant_id, "key") == 1
        await assert_only_this_fails(store, other)
        assert await store.get(one, "key") is None

    run_with_store(scenario)


def test_row_moved_to_the_other_space() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller)
        await store.put(caller, "gateway's", entry(VALUE), space=1)
        assert update("space = 0", caller.tenant_id, "gateway's") == 1
        await assert_only_this_fails(store, caller, "gateway's")

    run_with_store(scenario)


@pytest.mark.parametrize("columns", ("value", "value, size, created_at, expires_at"))
def test_value_of_an_earlier_version(columns: str) -> None:
    caller = new_caller()
    place = (caller.tenant_id, "key")

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller)
        earlier = query(f"select {columns} from entry where tenant_id = %s and key = %s", place)[0]
        await store.put(caller, "key", entry(VALUE.replace(b"canary", b"eagles")))  # of the same size
        values = ", ".join("%s" for _ in earlier)
        assert update(f"({columns}) = row({values})", *earlier, *place) == 1
        await assert_only_this_fails(store, caller)

    run_with_store(scenario)


def test_large_value_changed() -> None:
    """Fetched apart from its batch, opened by a thread."""
    caller = new_caller()

    async def scenario(store: Store) -> None:
        await with_neighbours(store, caller)
        for key, size in (("apart", INLINE_BYTES + 1), ("in a thread", 8 * INLINE_BYTES)):
            await store.put(caller, key, entry(random_bytes(size), content_type="image/png"))
            last = "set_byte(value, octet_length(value) - 1, 255 - get_byte(value, octet_length(value) - 1))"
            assert update(f"value = {last}", caller.tenant_id, key) == 1
            await assert_only_this_fails(store, caller, key)

    run_with_store(scenario)


def random_bytes(size: int) -> bytes:
    import random

    return random.Random(size).randbytes(size)


def test_wrapped_data_key_of_another_tenant_or_changed() -> None:
    one, other = new_caller(), new_caller()
    read = "select wrapped from data_key where tenant_id = %s and version = 1"
    write = "update data_key set wrapped = %s where tenant_id = %s returning 1"
    ((own,),), ((foreign,),) = query(read, [one.tenant_id]), query(read, [other.tenant_id])
    changed = bytes((own[0] ^ 1,)) + own[1:]

    async def sealed(store: Store) -> None:
        await store.put(one, "key", entry(VALUE))

    async def refused(store: Store) -> None:
        with capture_logs() as logs:
            read, written = await outcomes([store.get(one, "key"), store.put(one, "new", entry(b"1"))])
        assert isinstance(read, InternalError)
        assert isinstance(written, InternalError)
        assert [line["log_level"] for line in logs] == ["critical"] * 2
        for line in logs:
            assert_says_which(line, one)

    run_with_store(sealed)
    for wrapped in (foreign, changed, b"", own[:-1]):
        assert query(write, [wrapped, one.tenant_id]) == [(1,)]
        run_with_store(refused)  # a new process, for one that has the data key needs no other
    query(write, [own, one.tenant_id])


def test_data_key_that_is_gone() -> None:
    """As after a tenant's end: nothing opens, and nobody is told anything else."""
    caller = new_caller()

    async def sealed(store: Store) -> None:
        await store.put(caller, "key", entry(VALUE))

    async def refused(store: Store) -> None:
        with capture_logs() as logs:
            [got] = await outcomes([store.get(caller, "key")])
        assert isinstance(got, InternalError)
        assert [line["log_level"] for line in logs] == ["critical"]

    run_with_store(sealed)
    query("delete from data_key where tenant_id = %s", [caller.tenant_id])
    run_with_store(refused)


def swap(columns: str, one: tuple[int, str], other: tuple[int, str]) -> int:
    """Exchange the columns of two rows; returns how many it were."""
    named = ", ".join(f"o.{column.strip()}" for column in columns.split(","))
    both = "(tenant_id, key) in ((%s, %s), (%s, %s))"
    return len(
        query(
            f"update entry e set ({columns}) = row({named}) from entry o "
            f"where e.{both} and o.{both} and (e.tenant_id, e.key) <> (o.tenant_id, o.key) returning 1".replace(
                "e.(tenant_id, key)", "(e.tenant_id, e.key)"
            ).replace("o.(tenant_id, key)", "(o.tenant_id, o.key)"),
            [*one, *other, *one, *other],
        )
    )


def test_over_http(server: RunningServer) -> None:
    tenant = new_tenant()
    headers = {"Authorization": f"Bearer {new_token(tenant)}"}
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers) as client:
        for key in ("tampered", "whole"):
            assert client.put(f"/cache/{key}", json={"value": "canary"}).status_code == 201
        assert update("value = set_byte(value, 20, 255 - get_byte(value, 20))", tenant.id, "tampered") == 1
        log_start = server.log_path.stat().st_size
        alone = client.get("/cache/tampered")
        raw = client.get("/cache/tampered?raw=true")
        operations = [{"op": "get", "key": key} for key in ("whole", "tampered", "whole")]
        batch = client.post("/batch", json={"operations": operations})
        for answer in (alone, raw):
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "internal_error"
            assert "ETag" not in answer.headers
            assert "X-Cache" not in answer.headers
        assert batch.status_code == 200
        results = batch.json()["results"]
        assert [result["status"] for result in results] == [200, 500, 200]
        assert [results[0]["body"]["value"], results[2]["body"]["value"]] == ["canary", "canary"]
        # It can be written again, as the error says, and reads then.
        assert client.put("/cache/tampered", json={"value": 2}).status_code == 200
        assert client.get("/cache/tampered").json()["value"] == 2
    log = server.log_path.read_bytes()[log_start:].decode()
    assert log.count('"level": "critical"') == 3
    assert "canary" not in log
