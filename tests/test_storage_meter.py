"""Bytes and byte-seconds, to the microsecond, on a clock of the tests' own."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accounts.keys import rotate_data_key
from billing.sql import STORAGE_USED
from cacheservice.entries.collection import Selection
from cacheservice.entries.models import Space
from cacheservice.entries.purge import book_expired, purge
from cacheservice.entries.requests import Condition
from cacheservice.entries.store import Stored
from cacheservice.errors import PreconditionFailed
from tests.cast import ACTOR
from tests.fake_clock import FakeClock
from tests.meters import discrepancies, integral, stored
from tests.running_stores import RunningStores
from tests.storage_writer import (  # noqa: F401  fixtures
    SECOND,
    Writer,
    clock_fixture,
    seconds,
    stores_fixture,
    writer_fixture,
)
from tests.store_cast import Sent, entry, new_caller, new_tenant, query, scaled

ROUNDS = scaled(3, 100)
EXISTS, MATCHES_NOTHING = Condition(1), Condition(2, 42)


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
    tenant = writer.tenant
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
