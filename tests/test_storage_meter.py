"""Bytes and byte-seconds, to the microsecond, on a clock of the tests' own; and the quotas that bound the bytes."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.keys import rotate_data_key
from accounts.models import APIKey
from billing.limits import set_api_key_limits, set_tenant_limits
from billing.sql import STORAGE_USED
from cacheservice.entries.collection import Selection
from cacheservice.entries.models import Space
from cacheservice.entries.operations import Caller
from cacheservice.entries.purge import book_expired, purge
from cacheservice.entries.requests import Condition
from cacheservice.entries.store import Stored
from cacheservice.errors import PreconditionFailed, StorageQuotaExceeded
from tests.cast import ACTOR, Key, new_key
from tests.client import Client
from tests.fake_clock import FakeClock
from tests.meters import discrepancies, integral, new_plan, stored
from tests.processes import RunningServer
from tests.running_stores import RunningStores
from tests.store_cast import Sent, entry, new_caller, new_tenant, query, scaled

START = datetime(2032, 2, 28, 23, 59, 30, tzinfo=UTC)
SECOND = 1_000_000  # microseconds
ROUNDS = scaled(3, 100)
EXISTS, MATCHES_NOTHING = Condition(1), Condition(2, 42)


@pytest.fixture(scope="module")
def clock(django_db_setup: None) -> Iterator[FakeClock]:
    with FakeClock(START) as clock:
        yield clock


@pytest.fixture(scope="module")
def stores(clock: FakeClock) -> Iterator[RunningStores]:
    """One that lives by the clock."""
    with RunningStores(1, clock.dsn) as stores:
        yield stores


class Writer:
    """An API key that writes by the clock."""

    def __init__(self, stores: RunningStores, clock: FakeClock, caller: Caller | None = None) -> None:
        self.caller = caller or new_caller()
        self._stores, self._clock = stores, clock

    def another(self) -> "Writer":
        """Another API key of the same tenant."""
        tenant = APIKey.objects.get(tenant_id=self.caller.tenant_id, id=self.caller.api_key_id).tenant
        return Writer(self._stores, self._clock, new_caller(tenant))

    def put(self, key: str, size: int, ttl: int = 1000, **options: Any) -> Stored:
        tags = options.pop("tags", ())
        return self._stores.run(
            self._stores[0].put(self.caller, key, entry(bytes(size), ttl=ttl, tags=tags), **options)
        )

    def patch(self, key: str, ttl: int) -> bool:
        return self._stores.run(self._stores[0].patch(self.caller, key, ttl, None)) is not None

    def delete(self, key: str) -> bool:
        return self._stores.run(self._stores[0].delete(self.caller, key))

    def delete_selected(self, selection: Selection) -> int:
        return self._stores.run(self._stores[0].delete_selected(self.caller, selection))

    def limit(self, size: int) -> None:
        api_key = APIKey.objects.get(tenant_id=self.caller.tenant_id, id=self.caller.api_key_id)
        set_api_key_limits(api_key, storage_quota=size, actor=ACTOR)

    def holds(self) -> int:
        return stored(self.caller.tenant_id, self.caller.api_key_id)

    def byte_seconds(self) -> float:
        """Until now. Microseconds are what the meter counts; the tests' times are whole seconds."""
        return integral(self.caller.tenant_id, self.caller.api_key_id, self._clock.microseconds) / SECOND

    def tenant_holds(self) -> int:
        return stored(self.caller.tenant_id)

    def tenant_byte_seconds(self) -> float:
        return integral(self.caller.tenant_id, 0, self._clock.microseconds) / SECOND


@pytest.fixture
def writer(stores: RunningStores, clock: FakeClock) -> Writer:
    return Writer(stores, clock)


def seconds(count: int) -> timedelta:
    return timedelta(seconds=count)


def test_bytes_count_from_the_write_on(writer: Writer, clock: FakeClock) -> None:
    writer.put("a", 100)
    assert (writer.holds(), writer.byte_seconds()) == (100, 0)
    clock.advance(seconds(10))
    assert (writer.holds(), writer.byte_seconds()) == (100, 1000)
    writer.put("b", 50)
    clock.advance(seconds(10))
    assert (writer.holds(), writer.byte_seconds()) == (150, 1000 + 1500)
    assert (writer.tenant_holds(), writer.tenant_byte_seconds()) == (150, 2500)


def test_microseconds_count(writer: Writer, clock: FakeClock) -> None:
    clock.advance(timedelta(microseconds=1))
    writer.put("a", 3)
    clock.advance(timedelta(microseconds=1))
    ids = writer.caller.tenant_id, writer.caller.api_key_id
    assert integral(*ids, clock.microseconds) == 3
    assert clock.microseconds % SECOND == 2


def test_empty_value_holds_nothing(writer: Writer, clock: FakeClock) -> None:
    writer.put("a", 0)
    clock.advance(seconds(10))
    assert (writer.holds(), writer.byte_seconds()) == (0, 0)


def test_replacing_ones_own_entry_counts_the_new_size(writer: Writer, clock: FakeClock) -> None:
    for size, held in ((100, 0), (30, 1000), (200, 1300), (200, 3300)):
        writer.put("a", size)
        assert (writer.holds(), writer.byte_seconds()) == (size, held)
        clock.advance(seconds(10))
    assert writer.tenant_byte_seconds() == writer.byte_seconds() == 5300


def test_replacing_anothers_entry_moves_both_meters(writer: Writer, clock: FakeClock) -> None:
    other = writer.another()
    writer.put("a", 100)
    clock.advance(seconds(10))
    other.put("a", 30)
    clock.advance(seconds(10))
    assert (writer.holds(), writer.byte_seconds()) == (0, 1000)
    assert (other.holds(), other.byte_seconds()) == (30, 300)
    assert (writer.tenant_holds(), writer.tenant_byte_seconds()) == (30, 1300)


@pytest.mark.parametrize("owner", ("own", "another's"))
def test_replaced_expired_entry_counts_until_it_expired(writer: Writer, clock: FakeClock, owner: str) -> None:
    by = writer if owner == "own" else writer.another()
    writer.put("a", 100, ttl=60)
    clock.advance(seconds(3600 + 10))
    assert writer.holds() == 100  # nobody has booked its end
    assert not by.put("a", 7).replaced
    clock.advance(seconds(10))
    assert writer.tenant_holds() == by.holds() == 7
    assert writer.tenant_byte_seconds() == 100 * 60 + 70
    assert by.byte_seconds() == (100 * 60 + 70 if by is writer else 70)
    assert writer.byte_seconds() == (100 * 60 + 70 if by is writer else 100 * 60)


@pytest.mark.parametrize("ttl", (5, 60, 5000))
def test_patch_of_the_ttl_counts_until_the_new_expiry(
    writer: Writer, clock: FakeClock, stores: RunningStores, ttl: int
) -> None:
    writer.put("a", 100, ttl=1000)
    clock.advance(seconds(10))
    assert writer.patch("a", ttl)
    clock.advance(seconds(ttl - 1))
    stores.run(stores[0].book_expired(writer.caller.tenant_id))
    assert (writer.holds(), writer.byte_seconds()) == (100, 100 * (10 + ttl - 1))
    clock.advance(seconds(100_000))
    assert not writer.patch("a", ttl)
    stores.run(stores[0].book_expired(writer.caller.tenant_id))
    assert (writer.holds(), writer.byte_seconds()) == (0, 100 * (10 + ttl))


def test_delete_ends_the_count(writer: Writer, clock: FakeClock) -> None:
    other = writer.another()
    writer.put("a", 100)
    clock.advance(seconds(10))
    assert other.delete("a")
    clock.advance(seconds(10))
    assert not other.delete("a")
    assert (writer.holds(), writer.byte_seconds()) == (0, 1000)
    assert (other.holds(), other.byte_seconds()) == (0, 0)
    assert (writer.tenant_holds(), writer.tenant_byte_seconds()) == (0, 1000)


def test_delete_of_an_expired_entry_counts_until_it_expired(writer: Writer, clock: FakeClock) -> None:
    writer.put("a", 100, ttl=60)
    clock.advance(timedelta(days=40))
    assert not writer.delete("a")
    assert (writer.holds(), writer.byte_seconds()) == (0, 6000)


@pytest.mark.parametrize(
    ("selection", "deleted", "left"),
    (
        (Selection(tags=("red",)), 2, ["b2", "b3"]),
        (Selection(prefix="b"), 2, ["a1"]),
        (Selection(prefix="a", tags=("red",)), 1, ["b1", "b2", "b3"]),
        (Selection(), 3, []),
    ),
    ids=("tag", "prefix", "both", "all"),
)
def test_bulk_delete_ends_the_count(
    writer: Writer, clock: FakeClock, selection: Selection, deleted: int, left: list[str]
) -> None:
    """Of each entry for the API key that wrote it, and of an expired one when it expired."""
    other = writer.another()
    sizes = {"a1": 1, "b1": 10, "b2": 100, "b3": 1000}
    for key, size in sizes.items():
        by = other if key == "b2" else writer
        by.put(key, size, ttl=20 if key == "b3" else 1000, tags=["red"] if key in ("a1", "b1") else [])
    clock.advance(seconds(50))
    assert other.delete_selected(selection) == deleted
    clock.advance(seconds(50))
    other.delete_selected(Selection())
    lived = {key: 100 if key in left else 50 for key in sizes}
    lived["b3"] = 20
    held = {key: size * lived[key] for key, size in sizes.items()}
    assert other.byte_seconds() == held["b2"]
    assert writer.byte_seconds() == held["a1"] + held["b1"] + held["b3"]
    assert writer.tenant_byte_seconds() == sum(held.values())
    assert writer.tenant_holds() == 0


@pytest.mark.parametrize("how", ("purge", "book_expired of a task", "book_expired of a server"))
@pytest.mark.parametrize("late", (0, 1, 7200, 40 * 86_400))
def test_late_purge_counts_until_the_expiry(
    writer: Writer, clock: FakeClock, stores: RunningStores, how: str, late: int
) -> None:
    other = writer.another()
    for number in range(3):
        writer.put(f"a{number}", 100, ttl=60 + number)
        other.put(f"b{number}", 7, ttl=60)
    clock.advance(seconds(62 + late))
    ways: dict[str, Callable[[], object]] = {
        "purge": purge,
        "book_expired of a task": lambda: book_expired(writer.caller.tenant_id),
        "book_expired of a server": lambda: stores.run(stores[0].book_expired(writer.caller.tenant_id)),
    }
    with clock.for_django():
        ways[how]()
    assert query("select 1 from entry where tenant_id = %s", [writer.caller.tenant_id]) == []
    assert (writer.holds(), writer.byte_seconds()) == (0, 100 * (60 + 61 + 62))
    assert (other.holds(), other.byte_seconds()) == (0, 7 * 60 * 3)
    assert writer.tenant_byte_seconds() == 100 * (60 + 61 + 62) + 7 * 60 * 3
    assert discrepancies(writer.caller.tenant_id) == []


def test_live_storage_leaves_out_what_has_expired(writer: Writer, clock: FakeClock) -> None:
    """Whether its end is booked or not."""
    other = writer.another()
    writer.put("a", 100, ttl=60)
    writer.put("b", 10)
    other.put("c", 1)
    statement, parameters = STORAGE_USED.replace("%(tenant_id)s", "%s").replace("%(api_key_id)s", "%s"), []
    for api_key_id in (0, writer.caller.api_key_id, other.caller.api_key_id):
        parameters.append([writer.caller.tenant_id, api_key_id, writer.caller.tenant_id, api_key_id])

    def live() -> list[int]:
        return [int(clock.query(statement, each)[0][0]) for each in parameters]

    assert live() == [111, 110, 1]
    clock.advance(seconds(60))
    assert live() == [11, 10, 1]
    with clock.for_django():
        book_expired(writer.caller.tenant_id)
    assert live() == [11, 10, 1]
    assert stored(writer.caller.tenant_id) == 11


def test_gathered_writes_of_several_tenants_count_for_each(
    stores: RunningStores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = [Writer(stores, clock) for _ in range(3)]
    writers += [writers[0].another(), writers[1].another()]
    for each in writers:
        each.put("shared", 5)  # the other of a tenant's two replaces it
    sent = Sent(monkeypatch)
    clock.advance(seconds(10))
    work: list[Any] = [
        stores[0].put(each.caller, f"{number} {size}", entry(bytes(size)))
        for number, each in enumerate(writers)
        for size in (10, 20, 30 + number)
    ]
    work += [stores[0].delete(each.caller, "shared") for each in writers[:3]]
    told = stores.at_once(work)
    assert [type(each) for each in told] == [Stored] * 15 + [bool] * 3
    assert (sent.sizes(b"write"), sent.sizes(b"delete")) == ([15], [3])
    clock.advance(seconds(10))
    assert [each.holds() for each in writers] == [60 + number for number in range(5)]
    held = [600 + 10 * number for number in range(5)]
    # The first two replaced theirs at once, the third and the others held 5 bytes for 10 seconds.
    assert [each.byte_seconds() for each in writers] == [held[0], held[1], held[2] + 50, held[3] + 50, held[4] + 50]
    assert [each.tenant_holds() for each in writers[:3]] == [60 + 63, 61 + 64, 62]
    assert discrepancies(*(each.caller.tenant_id for each in writers)) == []


def test_the_gateways_entries_count(writer: Writer, clock: FakeClock) -> None:
    writer.put("a", 100)
    writer.put("a", 10, space=Space.GATEWAY)
    clock.advance(seconds(10))
    assert (writer.holds(), writer.byte_seconds()) == (110, 1100)


def test_what_is_not_written_does_not_count(writer: Writer, clock: FakeClock, stores: RunningStores) -> None:
    writer.put("a", 100)
    before = query("select bytes, moment from storage_meter where tenant_id = %s", [writer.caller.tenant_id])
    for condition in (EXISTS, MATCHES_NOTHING):
        with pytest.raises(PreconditionFailed):
            writer.put("a", 50, condition=condition)
    with pytest.raises(PreconditionFailed):
        stores.run(stores[0].delete(writer.caller, "a", MATCHES_NOTHING))
    after = query("select bytes, moment from storage_meter where tenant_id = %s", [writer.caller.tenant_id])
    assert after == before


def test_a_write_that_is_sealed_anew_counts_once(writer: Writer, stores: RunningStores) -> None:
    """The data key was replaced between sealing and writing."""
    writer.put("a", 100)
    tenant = APIKey.objects.get(tenant_id=writer.caller.tenant_id, id=writer.caller.api_key_id).tenant
    rotate_data_key(tenant, ACTOR)
    writer.put("a", 40)
    assert writer.holds() == 40
    assert discrepancies(tenant.id) == []


def test_concurrent_writes_of_one_key_do_not_drift(clock: FakeClock) -> None:
    """By several API keys, over two server processes: a meter that reads before it has the lock would lose some."""
    tenant = new_tenant()
    callers = [new_caller(tenant) for _ in range(3)]
    with RunningStores(2, clock.dsn) as stores:
        for number in range(ROUNDS):
            work: list[Any] = [
                stores[each % 2].put(callers[each % 3], "hot", entry(bytes(1 + each * 7 % 50))) for each in range(60)
            ]
            work += [store.delete(callers[0], "hot") for store in stores]
            work += [store.patch(callers[1], "hot", 50, None) for store in stores]
            stores.at_once(work)
            assert discrepancies(tenant.id) == [], number
            clock.advance(seconds(7))


# Quotas.

QUOTA = 1000


@pytest.fixture(params=["tenant", "API key", "tenant's plan", "API key's plan", "tenant's for API keys"])
def bounded(request: pytest.FixtureRequest, stores: RunningStores, clock: FakeClock) -> Writer:
    """Holds at most QUOTA, for one reason or another."""
    plans = {"tenant's plan": {"storage_quota": QUOTA}, "API key's plan": {"api_key_storage_quota": QUOTA}}
    tenant = new_tenant(new_plan(**plans.get(request.param, {})))
    writer = Writer(stores, clock, new_caller(tenant))
    if request.param == "tenant":
        set_tenant_limits(tenant, storage_quota=QUOTA, actor=ACTOR)
    elif request.param == "API key":
        writer.limit(QUOTA)
    elif request.param == "tenant's for API keys":
        set_tenant_limits(tenant, api_key_storage_quota=QUOTA, actor=ACTOR)
    return writer


def test_quota_is_met_to_the_byte(bounded: Writer) -> None:
    bounded.put("a", QUOTA - 1)
    bounded.put("b", 1)
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("c", 1)
    bounded.put("empty", 0)
    assert bounded.holds() == QUOTA


def test_writes_that_shrink_pass_above_the_quota(bounded: Writer) -> None:
    bounded.put("a", QUOTA)
    # As if the quota had come after the bytes.
    query("update storage_meter set bytes = bytes + %s where tenant_id = %s", [QUOTA, bounded.caller.tenant_id])
    bounded.put("empty", 0)
    for size, fits in ((QUOTA, True), (QUOTA + 1, False), (QUOTA - 1, True), (QUOTA, False), (10, True)):
        if fits:
            assert bounded.put("a", size).replaced
        else:
            with pytest.raises(StorageQuotaExceeded):
                bounded.put("a", size)
    assert bounded.patch("a", 10)
    assert bounded.delete("a")


def test_expired_entries_make_room_at_once(bounded: Writer, clock: FakeClock) -> None:
    bounded.put("a", QUOTA // 2, ttl=10)
    bounded.put("b", QUOTA // 2, ttl=20)
    clock.advance(seconds(9))
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("c", 1)
    clock.advance(seconds(1))
    bounded.put("c", QUOTA // 2, ttl=100)
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("d", 1)
    clock.advance(seconds(10))
    bounded.put("d", QUOTA // 2, ttl=100)
    assert bounded.byte_seconds() == QUOTA // 2 * (10 + 20 + 10)
    assert discrepancies(bounded.caller.tenant_id) == []


def test_an_expired_entry_is_replaced_at_the_quota(bounded: Writer, clock: FakeClock) -> None:
    bounded.put("a", QUOTA, ttl=10)
    clock.advance(seconds(10))
    assert not bounded.put("a", QUOTA, ttl=10).replaced
    clock.advance(seconds(10))
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("b", QUOTA + 1)
    assert bounded.holds() == 0  # booked before the refusal
    assert bounded.byte_seconds() == QUOTA * 20


def test_several_writes_of_a_batch_share_what_is_left(bounded: Writer, stores: RunningStores) -> None:
    """Each is decided with those before it; one that looks too large only for that is tried again alone."""
    sizes = [600, 600, 300, 100, 50, 400]
    told = stores.at_once(
        [stores[0].put(bounded.caller, f"key {number}", entry(bytes(size))) for number, size in enumerate(sizes)]
    )
    assert set(Counter(map(type, told))) == {Stored, StorageQuotaExceeded}
    written = sum(each.size for each in told if isinstance(each, Stored))
    assert bounded.holds() == written <= QUOTA
    refused = [size for size, each in zip(sizes, told, strict=True) if isinstance(each, StorageQuotaExceeded)]
    assert all(written + size > QUOTA for size in refused)


def test_replacements_within_a_batch_leave_room_for_each_other(bounded: Writer, stores: RunningStores) -> None:
    """One shrinks and one grows: together they fit, whichever comes first."""
    for _ in range(ROUNDS):
        bounded.put("a", 10)
        bounded.put("b", 900)
        told = stores.at_once(
            [
                stores[0].put(bounded.caller, "a", entry(bytes(900))),
                stores[0].put(bounded.caller, "b", entry(bytes(10))),
            ]
        )
        assert isinstance(told[1], Stored)
        if not isinstance(told[0], Stored):  # it was decided before the other, and had no room then
            bounded.put("a", 900)
        assert bounded.holds() == 910


def test_the_tenants_quota_counts_all_its_api_keys(writer: Writer) -> None:
    tenant = APIKey.objects.get(tenant_id=writer.caller.tenant_id, id=writer.caller.api_key_id).tenant
    set_tenant_limits(tenant, storage_quota=QUOTA, actor=ACTOR)
    other = writer.another()
    writer.put("a", 600)
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 600 of the 1000 bytes"):
        other.put("b", 401)
    other.put("a", 1000)
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 1000 of the 1000 bytes"):
        writer.put("c", 1)


def test_an_api_keys_quota_counts_its_own_entries(writer: Writer) -> None:
    writer.limit(QUOTA)
    other = writer.another()
    other.put("b", 5000)
    writer.put("a", 600)
    # What replaces another's entry counts in full, and is no longer the other's.
    with pytest.raises(StorageQuotaExceeded, match="the API key uses 600 of the 1000 bytes"):
        writer.put("b", 401)
    writer.put("b", 400)
    assert (writer.holds(), other.holds()) == (1000, 0)
    other.put("a", 1)
    writer.put("c", 600)


@pytest.mark.parametrize("named", ("API key", "tenant"))
def test_own_quota_wins_over_the_plans(stores: RunningStores, clock: FakeClock, named: str) -> None:
    for quota in (QUOTA // 10, QUOTA * 10):
        tenant = new_tenant(new_plan(storage_quota=QUOTA if named == "tenant" else None, api_key_storage_quota=QUOTA))
        writer = Writer(stores, clock, new_caller(tenant))
        if named == "API key":
            writer.limit(quota)
        else:
            set_tenant_limits(tenant, storage_quota=quota, api_key_storage_quota=10**9, actor=ACTOR)
        writer.put("a", quota)
        with pytest.raises(StorageQuotaExceeded, match=f"of the {quota} bytes"):
            writer.put("b", 1)


def test_free_plan_ends_at_100_mb_however_many_api_keys(stores: RunningStores, clock: FakeClock) -> None:
    tenant = new_tenant("free")
    writer = Writer(stores, clock, new_caller(tenant))
    writer.put("a", 1)
    query("update storage_meter set bytes = 100000000 - 10 where tenant_id = %s", [tenant.id])  # as if it held that
    other = writer.another()
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 99999990 of the 100000000 bytes"):
        other.put("b", 11)
    other.put("b", 10)


def test_self_hosted_has_no_bound(writer: Writer) -> None:
    writer.put("a", 1)
    query("update storage_meter set bytes = 10^15 where tenant_id = %s", [writer.caller.tenant_id])
    assert writer.put("b", 5_000_000).size == 5_000_000


def test_concurrent_writers_never_pass_the_quota_nor_stay_out(bounded: Writer, clock: FakeClock) -> None:
    """While entries expire and are replaced too. `tests/faults/races.py` does the same by the thousand."""
    tenant_id = bounded.caller.tenant_id
    with RunningStores(2, clock.dsn) as stores:
        for _ in range(ROUNDS):
            work = [
                stores[each % 2].put(bounded.caller, f"key {each % 23}", entry(bytes(each * 13 % 90), ttl=10))
                for each in range(64)
            ]
            assert set(map(type, stores.at_once(work))) <= {Stored, StorageQuotaExceeded}
            assert bounded.holds() <= QUOTA
            assert discrepancies(tenant_id) == []
            clock.advance(seconds(10))
            stores.run(stores[0].put(bounded.caller, "all of it", entry(bytes(QUOTA), ttl=10)))
            clock.advance(seconds(10))


def test_full_tenant_is_told_so_while_others_expire_all_the_time() -> None:
    """Booking those makes room for nothing here, and there are always new ones: that must not end in a 503."""
    tenant = new_tenant()
    caller = new_caller(tenant)
    set_tenant_limits(tenant, storage_quota=QUOTA, actor=ACTOR)
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, 'key ' || i, '', 1, 0, '{}', i, %s, now() - interval '1 day', "
        "now() + i * interval '0.1 ms' from generate_series(1, 10000) as i",
        [tenant.id, caller.api_key_id],
    )
    with RunningStores() as stores:
        told = [stores.at_once([stores[0].put(caller, "a", entry(bytes(QUOTA + 1)))]) for _ in range(10)]
    assert [type(each) for [each] in told] == [StorageQuotaExceeded] * 10


def test_refusal_names_the_bytes_and_leaves_the_old_value(server: RunningServer) -> None:
    key: Key = new_key(new_tenant())
    set_api_key_limits(key.row, storage_quota=100, actor=ACTOR)
    with Client(server.url, key.token) as client:
        etag = client.put("a", "x" * 58).header("etag")
        answer = client.put("a", "y" * 99)
        assert (answer.status, answer.error_code()) == (402, "storage_quota_exceeded")
        assert answer.error_message() == (
            "value: it has 101 bytes, and the API key uses 60 of the 100 bytes that it is allowed: "
            "delete entries, shorten their ttl, or have the quota raised at /console/billing."
        )
        after = client.get("a")
        assert (after.json()["value"], after.header("etag")) == ("x" * 58, etag)
        results = client.batch(
            [{"op": "put", "key": "b", "value": "z" * 39}, {"op": "put", "key": "c", "value": "z" * 38}]
        ).json()["results"]
        assert [result["status"] for result in results] == [402, 201]
        assert results[0]["body"]["error"]["code"] == "storage_quota_exceeded"
