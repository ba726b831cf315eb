"""The rollup: usage, hits of entries and use of tags are those of the receipts, whoever is killed or runs beside it."""

import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import random_id
from billing import receipt_days
from billing.models import Counts, Receipt, TagUsage, UsageRollup
from cacheservice.entries import rollup as module
from cacheservice.entries import tasks
from cacheservice.entries.models import Entry, EntryStats, Tombstone
from cacheservice.entries.rollup import drop_old, drop_orphaned_stats, drop_tombstones, rollup
from tests.processes import ROOT, wait_for
from tests.receipts import at_once, entry, receipt, replace, tombstone
from tests.store_cast import database_dsn, query, scaled

Period = UsageRollup.Period
COUNTS = [field.name for field in Counts._meta.get_fields()]
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
Totals = dict[tuple[Any, ...], tuple[Any, ...]]
Tags = Mapping[int, tuple[list[str], str]]  # of a version, with its cost


@pytest.fixture(autouse=True)
def nothing_to_fold(committed_db: None) -> None:
    """But what the test itself makes: it counts."""
    rollup()


@pytest.fixture
def tenant_id() -> int:
    return random_id()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("FIRST_CHUNK", "LEAST", "MOST"):
        monkeypatch.setattr(module, bound, 7)


# What the receipts say


def start_of(period: int, at: datetime) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if period == Period.HOUR else hour.replace(hour=0, day=at.day if period == Period.DAY else 1)


def expected_usage(receipts: list[Receipt]) -> Totals:
    totals: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0] * len(COUNTS))
    for one in receipts:
        for period in Period.values:
            total = totals[one.tenant_id, period, one.api_key_id, start_of(period, one.at)]
            for place, name in enumerate(COUNTS):
                count = getattr(one, name)
                total[place] += int(count) if name == "storage_moment" else count  # decimals are rounded to 28 digits
    return {key: tuple(total) for key, total in totals.items()}


def expected_stats(receipts: list[Receipt], live: set[int]) -> dict[int, tuple[int, datetime]]:
    hits: Counter[int] = Counter()
    last: dict[int, datetime] = {}
    for one in receipts:
        for version in live.intersection(one.versions or ()):
            occurrences = (one.versions or []).count(version)
            hits[version] += occurrences if one.hits > 0 else -occurrences
            if one.hits > 0:
                last[version] = max(one.at, last.get(version, one.at))
    return {version: (hits[version], last[version]) for version in last}


def expected_tags(receipts: list[Receipt], tags: Tags) -> dict[tuple[date, str], tuple[int, Decimal]]:
    totals: dict[tuple[date, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for one in receipts:
        sign = 1 if one.hits > 0 else -1
        for version in one.versions or ():
            names, cost = tags.get(version, ([], "0"))
            for name in names:
                hits, saved = totals[one.at.date(), name]
                totals[one.at.date(), name] = hits + sign, saved + sign * Decimal(cost)
    return dict(totals)


# What is there


def usage(*tenant_ids: int) -> Totals:
    return {
        (row.tenant_id, row.period, row.api_key_id, row.start): tuple(getattr(row, name) for name in COUNTS)
        for row in UsageRollup.objects.filter(tenant_id__in=tenant_ids)
    }


def stats(tenant_id: int) -> dict[int, tuple[int, datetime]]:
    return {row.version: (row.hits, row.last_hit_at) for row in EntryStats.objects.filter(tenant_id=tenant_id)}


def tag_usage(tenant_id: int) -> dict[tuple[date, str], tuple[int, Decimal]]:
    return {(row.day, row.tag): (row.hits, row.saved) for row in TagUsage.objects.filter(tenant_id=tenant_id)}


def unfolded(*tenant_ids: int) -> int:
    return Receipt.objects.filter(tenant_id__in=tenant_ids, folded=False).count()


def random_receipts(chance: random.Random, tenant_ids: list[int], versions: list[int], count: int) -> list[Receipt]:
    """Over two months, with refunds of earlier ones and every count."""
    receipts: list[Receipt] = []
    for _ in range(count):
        charged = [one for one in receipts if one.hits > 0]
        if charged and chance.random() < 0.2:
            one = chance.choice(charged)
            version = chance.choice(one.versions or [])
            if sum(other.versions == [version] and other.hits < 0 for other in receipts) < 1:
                receipts.append(
                    receipt(one.tenant_id, one.at, [version], hits=-1, api_key_id=one.api_key_id, saved=-one.saved)
                )
            continue
        at = NOON + timedelta(microseconds=chance.randrange(-20 * 86400 * 10**6, 20 * 86400 * 10**6))
        receipts.append(
            receipt(
                chance.choice(tenant_ids),
                at,
                chance.choices(versions, k=chance.randrange(8)),
                api_key_id=chance.randrange(1, 4),
                misses=chance.randrange(5),
                writes=chance.randrange(5),
                duplicates=chance.randrange(2),
                deletes=chance.randrange(3),
                saved=Decimal(chance.randrange(10**12)).scaleb(-9),
                storage_delta=chance.randrange(-(10**15), 10**15),
            )
        )
    return receipts


# Folding


@pytest.mark.parametrize("seed", range(scaled(3, 100)))
def test_totals_are_those_of_the_receipts(small_chunks: None, seed: int) -> None:
    chance = random.Random(seed)
    tenant_ids = [random_id(), random_id()]
    live, dead, bare = range(0, 10), range(10, 15), range(15, 18)  # bare: gone, and never had a tag
    tags: Tags = {version: (chance.sample("abcd", chance.randrange(4)), f"0.{version}") for version in [*live, *dead]}
    for tenant_id in tenant_ids:
        for version in live:
            entry(tenant_id, version, tags=tags[version][0], cost=tags[version][1])
        for version in dead:
            tombstone(tenant_id, version, NOON, tags=tags[version][0], cost=tags[version][1])
    receipts = random_receipts(chance, tenant_ids, [*live, *dead, *bare], 300)
    for part in (receipts[:200], receipts[200:]):
        Receipt.objects.bulk_create(part)
        assert rollup() == len(part)
    assert unfolded(*tenant_ids) == 0
    assert usage(*tenant_ids) == expected_usage(receipts)
    for tenant_id in tenant_ids:
        own = [one for one in receipts if one.tenant_id == tenant_id]
        assert stats(tenant_id) == expected_stats(own, set(live))
        assert tag_usage(tenant_id) == expected_tags(own, tags)
    assert rollup() == 0
    assert usage(*tenant_ids) == expected_usage(receipts)


@given(
    times=st.lists(
        st.datetimes(min_value=datetime(1999, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
            lambda time: time.replace(tzinfo=UTC)
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=scaled(25, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_receipt_counts_to_one_hour_one_day_and_one_month(times: list[datetime]) -> None:
    tenant_id = random_id()
    receipts = [receipt(tenant_id, at, hits=1, storage_delta=10**12) for at in times]
    Receipt.objects.bulk_create(receipts)
    assert rollup() == len(times)
    assert usage(tenant_id) == expected_usage(receipts)


def test_midnight_belongs_to_the_day_and_month_that_begin(tenant_id: int) -> None:
    midnight = datetime(2026, 4, 1, tzinfo=UTC)
    version = 5
    entry(tenant_id, version, tags=["a"])
    last = midnight - timedelta(microseconds=1)
    Receipt.objects.bulk_create([receipt(tenant_id, last, [version]), receipt(tenant_id, midnight, [version, version])])
    rollup()
    days = UsageRollup.objects.filter(tenant_id=tenant_id, period=Period.DAY).values_list("start", "hits")
    assert set(days) == {(midnight - timedelta(days=1), 1), (midnight, 2)}
    months = UsageRollup.objects.filter(tenant_id=tenant_id, period=Period.MONTH).values_list("start", "hits")
    assert set(months) == {(datetime(2026, 3, 1, tzinfo=UTC), 1), (midnight, 2)}
    assert {day: hits for (day, _), (hits, _) in tag_usage(tenant_id).items()} == {last.date(): 1, midnight.date(): 2}


@pytest.mark.usefixtures("small_chunks")
def test_two_rollups_at_once_fold_each_receipt_once() -> None:
    for seed in range(scaled(2, 50)):
        chance = random.Random(seed)
        tenant_ids = [random_id() for _ in range(3)]
        versions = list(range(20))
        for tenant_id in tenant_ids:
            for version in versions:
                entry(tenant_id, version, tags=chance.sample("abcdef", 3), cost="0.01")
        receipts = random_receipts(chance, tenant_ids, versions, 600)
        Receipt.objects.bulk_create(receipts)
        folded = at_once(rollup, rollup, rollup)
        assert sum(folded) == len(receipts)
        assert sum(count > 0 for count in folded) > 1  # they did work beside each other
        assert unfolded(*tenant_ids) == 0
        assert usage(*tenant_ids) == expected_usage(receipts)
        for tenant_id in tenant_ids:
            own = [one for one in receipts if one.tenant_id == tenant_id]
            assert stats(tenant_id) == expected_stats(own, set(versions))


KILLED = """
import os, sys, django
django.setup()
from django.db import connection
from cacheservice.entries import rollup
connection.settings_dict["NAME"], after, before = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rollup.FIRST_CHUNK = rollup.LEAST = rollup.MOST = 7
left = {"after": after, "before": before}
def kill(when):
    left[when] -= 1
    if left[when] == 0:
        os.kill(os.getpid(), 9)
def execute(execute, sql, parameters, many, context):
    kill("before")
    result = execute(sql, parameters, many, context)
    kill("after")
    return result
with connection.execute_wrapper(execute):
    rollup.rollup()
"""


@pytest.mark.usefixtures("small_chunks")
def test_rollup_killed_midway_loses_nothing_and_counts_nothing_twice(tenant_id: int) -> None:
    """Killed before or after any of its statements, so also between two that one transaction holds."""
    chance = random.Random(7)
    versions = list(range(20))
    for version in versions:
        entry(tenant_id, version, tags=["a"], cost="1")
    receipts: list[Receipt] = []
    for _ in range(scaled(3, 200)):
        fresh = random_receipts(chance, [tenant_id], versions, 40)
        Receipt.objects.bulk_create(fresh)
        receipts += fresh
        when = chance.randrange(1, 26)  # of five statements a chunk
        after, before = chance.choice([(when, 0), (0, when)])
        command = [sys.executable, "-c", KILLED, str(connection.settings_dict["NAME"]), str(after), str(before)]
        assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -9
        assert unfolded(tenant_id) > 0

        def all_folded() -> bool:
            """Once the server has noticed that the killed run is gone, and has undone its last chunk."""
            rollup()
            return unfolded(tenant_id) == 0

        wait_for(all_folded, 30, "the killed run's receipts are free")
        assert usage(tenant_id) == expected_usage(receipts)
        assert stats(tenant_id) == expected_stats(receipts, set(versions))
        assert tag_usage(tenant_id) == expected_tags(receipts, dict.fromkeys(versions, (["a"], "1")))


def test_receipt_of_an_open_transaction_is_folded_when_it_has_committed(tenant_id: int) -> None:
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, hits=1)])
    with psycopg.connect(database_dsn()) as writer:
        writer.execute(
            "insert into receipt (tenant_id, id, api_key_id, at, hits) values (%s, 1, 1, %s, 10)",
            [tenant_id, NOON - timedelta(hours=3)],
        )
        Receipt.objects.bulk_create([receipt(tenant_id, NOON, hits=100)])
        assert rollup() == 2
        month = UsageRollup.objects.filter(tenant_id=tenant_id, period=Period.MONTH)
        assert month.get().hits == 101
        writer.commit()
    assert rollup() == 1
    assert month.get().hits == 111


def test_receipts_that_another_run_has_in_hand_are_left_to_it(tenant_id: int) -> None:
    receipts = [receipt(tenant_id, NOON, hits=hits) for hits in (1, 10, 100)]
    Receipt.objects.bulk_create(receipts)
    with psycopg.connect(database_dsn()) as other:
        other.execute("update receipt set folded = true where tenant_id = %s and id = %s", [tenant_id, receipts[1].id])
        assert rollup() == 2
        other.rollback()  # it died
    assert rollup() == 1
    assert UsageRollup.objects.get(tenant_id=tenant_id, period=Period.MONTH).hits == 111


@pytest.mark.usefixtures("small_chunks")
def test_chunks_are_bounded_and_the_time_too(tenant_id: int) -> None:
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, hits=1) for _ in range(17)])
    assert rollup(seconds=0) == 0
    progress: list[int] = []
    assert rollup(progress=progress.append) == 17
    assert progress == [7, 14, 17]


# Hits of entries


def test_hits_of_a_version_without_entry_make_no_statistics(tenant_id: int) -> None:
    old = entry(tenant_id, 1)
    entry(tenant_id, 2, key="other")
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, [1, 2, 3])])
    replace(old)
    rollup()
    assert stats(tenant_id) == {2: (1, NOON)}


def test_hits_are_the_own_tenants(tenant_id: int) -> None:
    other = random_id()
    for owner in (tenant_id, other):
        entry(owner, 1, tags=["a"])
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, [1])])
    rollup()
    assert (stats(tenant_id), stats(other)) == ({1: (1, NOON)}, {})
    assert (len(tag_usage(tenant_id)), len(tag_usage(other))) == (1, 0)


@pytest.mark.parametrize("refund_first", [False, True])
def test_refund_takes_a_hit_back_in_whatever_order_they_are_folded(tenant_id: int, refund_first: bool) -> None:
    entry(tenant_id, 1, tags=["a"], cost="0.5")
    charge = receipt(tenant_id, NOON, [1, 1])
    refund = receipt(tenant_id, NOON + timedelta(minutes=1), [1], hits=-1)
    for one in (refund, charge) if refund_first else (charge, refund):
        one.save(force_insert=True)
        assert rollup() == 1
    assert stats(tenant_id) == {1: (1, NOON)}
    assert tag_usage(tenant_id) == {(NOON.date(), "a"): (1, Decimal("0.5"))}
    assert UsageRollup.objects.get(tenant_id=tenant_id, period=Period.HOUR).units == 1


def test_last_hit_is_the_latest_whenever_it_is_folded(tenant_id: int) -> None:
    entry(tenant_id, 1)
    for minutes in (5, 9, 7):
        Receipt.objects.bulk_create([receipt(tenant_id, NOON + timedelta(minutes=minutes), [1])])
        rollup()
    assert stats(tenant_id) == {1: (3, NOON + timedelta(minutes=9))}


def test_statistics_of_entries_that_are_gone_are_dropped(tenant_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATS", 3)
    drop_orphaned_stats()
    versions = [*range(-10, 10), 2**63 - 1, -(2**63)]
    entries = [entry(tenant_id, version) for version in versions]
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, versions)])
    rollup()
    assert set(stats(tenant_id)) == set(versions)
    assert drop_orphaned_stats() == 0
    for one in entries[::2]:
        replace(one)
    assert drop_orphaned_stats() == len(entries[::2])
    assert set(stats(tenant_id)) == set(versions[1::2])


# Tags


def test_hits_of_a_replaced_entry_count_to_the_tags_it_had(tenant_id: int) -> None:
    old = entry(tenant_id, 1, tags=["old", "both"], cost="0.25")
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, [1, 1, 1])])
    replace(old)
    entry(tenant_id, 2, key=old.key, tags=["new", "both"])
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, [2])])
    rollup()
    day = NOON.date()
    assert tag_usage(tenant_id) == {
        (day, "old"): (3, Decimal("0.75")),
        (day, "both"): (4, Decimal("0.75")),
        (day, "new"): (1, Decimal(0)),
    }


def test_hits_count_to_the_tags_that_a_live_entry_has_now(tenant_id: int) -> None:
    entry(tenant_id, 1, tags=["before"])
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, [1])])
    Entry.objects.filter(tenant_id=tenant_id).update(tags=["after"])
    rollup()
    assert tag_usage(tenant_id) == {(NOON.date(), "after"): (1, Decimal(0))}


def test_tombstones_stay_while_a_receipt_may_come_that_needs_them(tenant_id: int) -> None:
    now = datetime.now(UTC)
    minutes = (0, 30, 60, 62, 120)
    for version, ago in enumerate(minutes):
        tombstone(tenant_id, version, now - timedelta(minutes=ago), tags=["a"])

    def left() -> set[int]:
        drop_tombstones()
        versions = Tombstone.objects.filter(tenant_id=tenant_id).values_list("version", flat=True)
        return {minutes[version] for version in versions}

    Receipt.objects.bulk_create([receipt(tenant_id, now - timedelta(minutes=119, seconds=30), [4])])
    assert left() == {0, 30, 60, 62, 120}
    rollup()
    assert tag_usage(tenant_id)[(now - timedelta(minutes=119, seconds=30)).date(), "a"] == (1, Decimal(0))
    assert left() == {0, 30, 60}


def test_tombstones_stay_while_another_run_has_their_receipts_in_hand(tenant_id: int) -> None:
    now = datetime.now(UTC)
    tombstone(tenant_id, 1, now - timedelta(hours=3), tags=["a"])
    one = receipt(tenant_id, now - timedelta(hours=3), [1])
    one.save(force_insert=True)
    with psycopg.connect(database_dsn()) as other:
        other.execute("update receipt set folded = true where tenant_id = %s and id = %s", [tenant_id, one.id])
        drop_tombstones()
        assert Tombstone.objects.filter(tenant_id=tenant_id).count() == 1
        other.commit()
    drop_tombstones()
    assert Tombstone.objects.filter(tenant_id=tenant_id).count() == 0


# Retention


def test_receipts_are_dropped_after_the_retention_and_usage_stays(
    tenant_id: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_days, "PAGES", 1)
    settings.RECEIPT_RETENTION_DAYS = 10
    receipt_days.drop_old()
    now = datetime.now(UTC)
    old, young = now - timedelta(days=10, minutes=1), now - timedelta(days=9, hours=23)
    # Over several pages of the table, and not in the order of time.
    receipts = [receipt(tenant_id, old if number % 3 else young, range(50)) for number in range(300)]
    Receipt.objects.bulk_create(receipts)
    assert receipt_days.drop_old().receipts == 0  # not folded
    assert rollup() == 300
    late = receipt(tenant_id, old, hits=1)
    late.save(force_insert=True)
    totals = usage(tenant_id)
    assert receipt_days.drop_old().receipts == 200
    left = Receipt.objects.filter(tenant_id=tenant_id)
    assert {one.at for one in left} == {old, young}
    assert left.count() == 101
    assert usage(tenant_id) == totals
    assert receipt_days.drop_old().receipts == 0
    assert rollup() == 1
    assert receipt_days.drop_old().receipts == 1


# The command and the tasks


def make_work(tenant_id: int) -> None:
    """A receipt to fold, one to drop, statistics and a tombstone to drop."""
    long_ago = datetime.now(UTC) - timedelta(days=1000)
    entry(tenant_id, 1, tags=["a"])
    Receipt.objects.bulk_create(
        [receipt(tenant_id, datetime.now(UTC), [1]), receipt(tenant_id, long_ago, hits=1, folded=True)]
    )
    EntryStats.objects.create(tenant_id=tenant_id, version=2, hits=1, last_hit_at=long_ago)
    tombstone(tenant_id, 2, long_ago, tags=["a"])


def left(tenant_id: int) -> tuple[int, ...]:
    """Receipts not folded, receipts, statistics, tombstones."""
    models = (Receipt, EntryStats, Tombstone)
    return unfolded(tenant_id), *(model.objects.filter(tenant_id=tenant_id).count() for model in models)


def test_command(tenant_id: int) -> None:
    drop_old()
    make_work(tenant_id)
    assert left(tenant_id) == (1, 2, 1, 1)
    output = StringIO()
    call_command("rollup", stdout=output)
    assert output.getvalue() == (
        "1 receipts folded.\n"
        "0 days of receipts, 1 receipts of no day, and the hit counts of 1 versions that are gone dropped.\n"
    )
    assert left(tenant_id) == (0, 1, 1, 0)
    assert set(stats(tenant_id)) == {1}


def test_command_stops_after_its_time(tenant_id: int) -> None:
    make_work(tenant_id)
    output = StringIO()
    call_command("rollup", "--seconds", "0", stdout=output)
    assert output.getvalue().startswith("0 receipts folded.\n")
    assert unfolded(tenant_id) == 1


def test_tasks(tenant_id: int) -> None:
    make_work(tenant_id)
    for _ in range(2):  # delivered twice
        tasks.rollup()
        assert left(tenant_id) == (0, 2, 2, 0)
    for _ in range(2):
        tasks.drop_old()
        assert left(tenant_id) == (0, 1, 1, 0)


def test_plans_find_rows_by_index() -> None:
    """However the tables grow: no statement of a chunk reads an index or table from end to end for them."""
    tenant_id = random_id()
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, 'key ' || i, '\\x00', 1, 1, '{a}', i, 1, now(), now() "
        "+ interval '1 day' from generate_series(1, 3000) as i",
        [tenant_id],
    )
    versions = random.Random(0).sample(range(1, 3001), 500)
    Receipt.objects.bulk_create([receipt(tenant_id, NOON, versions[n::100]) for n in range(100)])
    query("analyze entry")
    [(tenant_ids, day, ids)] = query(
        "select array_agg(tenant_id), max(id_day), array_agg(id) from receipt where tenant_id = %s", [tenant_id]
    )
    for statement in (module.FOLD_STATS, module.FOLD_TAGS):
        with connection.cursor() as cursor:
            cursor.execute("explain " + statement, {"tenant_ids": tenant_ids, "day": day, "ids": ids})
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "using entry_version on entry" in plan
        assert "Seq Scan on entry e" not in plan
    Entry.objects.filter(tenant_id=tenant_id).delete()
    rollup()
