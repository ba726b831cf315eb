"""The reconciliation: no difference in sound books, whatever goes on meanwhile, and every kind of difference found."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError, transaction
from structlog.testing import capture_logs

from accounts import tokens
from accounts.models import Tenant, random_id
from billing import credits
from billing.models import Account, LedgerEntry, Receipt, StorageMeter
from billing.reconciliation import Difference, snapshot
from cacheservice.entries import tasks
from cacheservice.entries.reconciliation import reconcile
from cacheservice.entries.requests import NewEntry
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Store
from tests.receipts import at_once, entry, moment, receipt
from tests.store_cast import new_caller, new_tenant, query, run_with_store, scaled

LAST_MONTH = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
THIS_MONTH = datetime(2026, 4, 1, 0, 0, tzinfo=UTC)
FIRST, SECOND = 1, 2  # API keys


def book(one: Receipt) -> None:
    """As a round trip does: the receipt, the charge, the storage meters, in one transaction."""
    with transaction.atomic():
        account = Account.objects.select_for_update().get(tenant_id=one.tenant_id)
        account.balance -= one.units
        account.save(update_fields=["balance"])
        for api_key_id in (0, one.api_key_id):
            meter, _ = StorageMeter.objects.select_for_update().get_or_create(
                tenant_id=one.tenant_id, api_key_id=api_key_id, defaults={"bytes": 0, "moment": 0}
            )
            meter.bytes += one.storage_delta
            meter.moment = Decimal(int(meter.moment) + int(one.storage_moment))  # integers: decimals are rounded
            meter.save(update_fields=["bytes", "moment"])
        one.save(force_insert=True)


@pytest.fixture
def tenant() -> Tenant:
    """Two API keys, entries of 30 and 500 bytes, folded receipts of two months, and one that is not folded."""
    tenant = new_tenant("free")
    credits.grant(tenant.id, LedgerEntry.Kind.PURCHASE, 5000, idempotency_key="payment", actor="tests")
    entry(tenant.id, 1, size=30, api_key_id=FIRST, expires_at=datetime(2026, 4, 2, tzinfo=UTC))  # expired, not booked
    entry(tenant.id, 2, size=500, api_key_id=SECOND)
    book(receipt(tenant.id, LAST_MONTH, [1, 1], api_key_id=FIRST, storage_delta=130, saved=Decimal("0.1"), writes=2))
    book(receipt(tenant.id, THIS_MONTH, [1], api_key_id=FIRST, storage_delta=-100, deletes=1))
    rollup()
    book(receipt(tenant.id, THIS_MONTH, [2], api_key_id=SECOND, storage_delta=500, duplicates=1, misses=3))
    return tenant


def differences(tenant: Tenant) -> list[Difference]:
    return reconcile(tenant.id).differences


def tamper(tenant: Tenant, statement: str) -> None:
    query(statement.replace("TENANT", str(tenant.id)))


def test_sound_books_have_no_difference(tenant: Tenant) -> None:
    assert reconcile(tenant.id) == ((1, 1, 0), [])
    rollup()
    assert differences(tenant) == []


def test_new_tenant_has_no_difference() -> None:
    new_caller(tenant := new_tenant())
    assert reconcile(tenant.id) == ((1, 1, 1), [])


def of_meter(statement: str, api_key_id: int) -> str:
    return f"update storage_meter set {statement} where tenant_id = TENANT and api_key_id = {api_key_id}"


def of_rollup(statement: str, period: int, start: str) -> str:
    return (
        f"update usage_rollup set {statement} "
        f"where tenant_id = TENANT and api_key_id = {FIRST} and period = {period} and start = '{start}Z'"
    )


FIRST_MOMENT = 130 * moment(LAST_MONTH) - 100 * moment(THIS_MONTH)
MOMENT = FIRST_MOMENT + 500 * moment(THIS_MONTH)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("update account set balance = balance + 1 where tenant_id = TENANT", [(None, "balance", 14996, 14997)]),
        ("delete from account where tenant_id = TENANT", [(None, "balance", 14996, 0)]),
        (
            "insert into credit_ledger (tenant_id, id, kind, units, idempotency_key, at, actor, note) "
            "values (TENANT, 1, 'purchase', 7, 'x', now(), 'tests', '')",
            [(None, "balance", 15003, 14996)],
        ),
        (
            "update receipt set units = 3 where tenant_id = TENANT and not folded",
            [(None, "balance", 14994, 14996)],
        ),
        (
            "delete from receipt where tenant_id = TENANT and not folded",
            [
                (None, "balance", 14997, 14996),
                (SECOND, "metered bytes", 0, 500),
                (SECOND, "metered moment", 0, 500 * moment(THIS_MONTH)),
            ],
        ),
        (
            "update receipt set folded = true where tenant_id = TENANT and api_key_id = 2",
            [
                (None, "balance", 14997, 14996),
                (SECOND, "metered bytes", 0, 500),
                (SECOND, "metered moment", 0, 500 * moment(THIS_MONTH)),
            ],
        ),
        (
            of_meter("bytes = bytes + 1", SECOND),
            [
                (SECOND, "metered bytes", 500, 501),
                (None, "metered bytes", 531, 530),
                (SECOND, "stored bytes", 500, 501),
            ],
        ),
        (
            of_meter("moment = moment - 1", FIRST),
            [
                (FIRST, "metered moment", FIRST_MOMENT, FIRST_MOMENT - 1),
                (None, "metered moment", MOMENT - 1, MOMENT),
            ],
        ),
        (of_meter("bytes = bytes - 5", 0), [(None, "metered bytes", 530, 525)]),
        (of_meter("moment = moment + 1", 0), [(None, "metered moment", MOMENT, MOMENT + 1)]),
        (
            "delete from storage_meter where tenant_id = TENANT",
            [
                (FIRST, "metered bytes", 30, 0),
                (FIRST, "metered moment", FIRST_MOMENT, 0),
                (SECOND, "metered bytes", 500, 0),
                (SECOND, "metered moment", 500 * moment(THIS_MONTH), 0),
                (FIRST, "stored bytes", 30, 0),
                (SECOND, "stored bytes", 500, 0),
            ],
        ),
        ("delete from entry where tenant_id = TENANT and version = 1", [(FIRST, "stored bytes", 0, 30)]),
        (
            "update entry set api_key_id = 1 where tenant_id = TENANT",
            [(FIRST, "stored bytes", 530, 30), (SECOND, "stored bytes", 0, 500)],
        ),
        (of_rollup("hits = hits + 1", 1, "2026-04-01"), [(FIRST, "hits of day 2026-04-01", 1, 2)]),
        (of_rollup("misses = 9", 1, "2026-04-01"), [(FIRST, "misses of day 2026-04-01", 0, 9)]),
        (of_rollup("writes = 0", 1, "2026-03-31"), [(FIRST, "writes of day 2026-03-31", 2, 0)]),
        (of_rollup("duplicates = 1", 1, "2026-03-31"), [(FIRST, "duplicates of day 2026-03-31", 0, 1)]),
        (of_rollup("saved = 0.2", 2, "2026-03-01"), [(FIRST, "saved of month 2026-03", "0.100000000", "0.200000000")]),
        (
            of_rollup("deletes = 0", 0, "2026-04-01"),
            [(FIRST, "deletes of day 2026-04-01", 0, 1), (FIRST, "deletes of month 2026-04", 0, 1)],
        ),
        (
            of_rollup("units = 0", 2, "2026-03-01"),
            [(None, "balance", 14998, 14996), (FIRST, "units of month 2026-03", 2, 0)],
        ),
        (of_rollup("storage_delta = 0", 1, "2026-04-01"), [(FIRST, "storage delta of day 2026-04-01", -100, 0)]),
        (
            of_rollup("storage_moment = 1", 1, "2026-04-01"),
            [(FIRST, "storage moment of day 2026-04-01", -100 * moment(THIS_MONTH), 1)],
        ),
        (
            f"delete from usage_rollup where tenant_id = TENANT and period = 1 and start = '{THIS_MONTH}'",
            [
                (FIRST, "hits of day 2026-04-01", 1, 0),
                (FIRST, "deletes of day 2026-04-01", 1, 0),
                (FIRST, "units of day 2026-04-01", 1, 0),
                (FIRST, "storage delta of day 2026-04-01", -100, 0),
                (FIRST, "storage moment of day 2026-04-01", -100 * moment(THIS_MONTH), 0),
            ],
        ),
    ],
)
def test_every_kind_of_difference_is_found(tenant: Tenant, statement: str, expected: list[tuple[Any, ...]]) -> None:
    tamper(tenant, statement)
    with capture_logs() as logs:
        found = differences(tenant)
    assert [(tenant_id, *rest) for tenant_id, *rest in found] == [
        (tenant.id, api_key_id, what, Decimal(should), Decimal(actual)) for api_key_id, what, should, actual in expected
    ]
    assert logs == [
        {
            "event": "reconciliation_difference",
            "log_level": "critical",
            "tenant_id": tenant.id,
            "api_key_id": api_key_id,
            "what": what,
            "expected": f"{Decimal(should):f}",
            "actual": f"{Decimal(actual):f}",
        }
        for api_key_id, what, should, actual in expected
    ]


def test_all_tenants_are_looked_at_unless_one_is_named(tenant: Tenant) -> None:
    other = new_tenant()
    for one in (tenant, other):
        tamper(one, "update account set balance = balance + 1 where tenant_id = TENANT")
    everything = reconcile()
    ours = {tenant.id, other.id}
    assert {(found.tenant_id, found.what) for found in everything.differences if found.tenant_id in ours} == {
        (tenant.id, "balance"),
        (other.id, "balance"),
    }
    assert everything.checked.tenants == Tenant.objects.count()
    assert {found.tenant_id for found in differences(tenant)} == {tenant.id}


def test_charges_and_rollups_meanwhile_make_no_difference(tenant: Tenant) -> None:
    """It looks at one instant: whatever is committed between its statements is not seen."""
    chance = random.Random(5)

    def charge() -> int:
        for number in range(rounds):
            at = THIS_MONTH + timedelta(minutes=chance.randrange(10**5))
            book(receipt(tenant.id, at, [2], api_key_id=chance.choice((FIRST, SECOND))))
            if number % 5 == 0:
                credits.grant(tenant.id, "promotional", 1, idempotency_key=f"{number}", actor="tests")
        return rounds

    def fold() -> int:
        return sum(rollup() for _ in range(rounds))

    def check() -> int:
        return sum(len(differences(tenant)) for _ in range(rounds))

    rounds = scaled(30, 1000)
    charged, folded, _, found = at_once(charge, fold, fold, check)
    assert (charged, found) == (rounds, 0)
    assert folded > 0
    rollup()
    assert differences(tenant) == []


def test_what_the_store_books_adds_up() -> None:
    """Two API keys write over each other's entries, read, delete, and let expire; folded once in the middle."""
    tenant = new_tenant()
    callers = [new_caller(tenant), new_caller(tenant)]
    chance = random.Random(3)

    async def scenario(store: Store) -> None:
        async def work(number: int) -> None:
            caller, key = chance.choice(callers), f"key {chance.randrange(12)}"
            match chance.randrange(5):
                case 0 | 1:
                    value = b"x" * chance.randrange(1, 300)
                    await store.put(caller, key, NewEntry(value, "text/plain", chance.choice((1, 60)), ["a"], None))
                case 2 | 3:
                    await store.get(caller, key)
                case _:
                    await store.delete(caller, key)

        for _ in range(scaled(10, 200)):
            await asyncio.gather(*(work(number) for number in range(40)))

    for _ in range(2):
        run_with_store(scenario)
        assert differences(tenant) == []
        rollup()
        assert differences(tenant) == []
    counted = Receipt.objects.filter(tenant_id=tenant.id)
    assert sum(one.hits for one in counted) > 0
    assert sum(one.deletes for one in counted) > 0
    assert Account.objects.get(tenant=tenant).balance == -sum(one.units for one in counted)


def test_snapshot_is_of_one_instant(tenant: Tenant) -> None:
    with snapshot():
        account = Account.objects.get(tenant=tenant)
        tamper(tenant, "update account set balance = balance + 1 where tenant_id = TENANT")
        assert Account.objects.get(tenant=tenant).balance == account.balance
    assert Account.objects.get(tenant=tenant).balance == account.balance + 1


def test_snapshot_cannot_write(tenant: Tenant) -> None:
    with pytest.raises(InternalError, match="read-only transaction"), snapshot():
        Account.objects.filter(tenant=tenant).update(balance=0)
    assert Account.objects.get(tenant=tenant).balance == 14996


# The command and the task


def run(*arguments: str) -> tuple[str, str]:
    """What the command prints, and the error it ends with."""
    output = StringIO()
    try:
        call_command("reconcile", *arguments, stdout=output, no_color=True)
    except CommandError as error:
        return output.getvalue(), str(error)
    return output.getvalue(), ""


def test_command_tells_how_much_was_checked(tenant: Tenant) -> None:
    new_caller(tenant)
    assert run(tenant.name) == ("1 tenants, 1 accounts and 1 API keys checked: everything adds up.\n", "")


def test_command_shows_differences_and_ends_with_an_error(tenant: Tenant) -> None:
    caller = new_caller(tenant)
    tamper(tenant, "update account set balance = 0 where tenant_id = TENANT")
    tamper(tenant, f"insert into storage_meter values (TENANT, {caller.api_key_id}, 5, 0)")
    output, error = run(tenant.name)
    assert error == "4 differences, in 1 of 1 tenants."
    head, *lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]
    assert head == ["tenant", "API key", "what", "expected", "actual"]
    api_key = tokens.encode_id(caller.api_key_id)
    assert [line[1:] for line in lines] == [
        ["-", "balance", "14996", "0"],
        [api_key, "metered bytes", "0", "5"],
        ["-", "metered bytes", "535", "530"],
        [api_key, "stored bytes", "0", "5"],
    ]
    assert {line[0] for line in lines} == {tenant.name}


def test_command_names_a_tenant_that_is_gone_by_its_id() -> None:
    tenant_id = random_id()
    Receipt.objects.bulk_create([receipt(tenant_id, THIS_MONTH, hits=1)])
    output, error = run()
    [line] = [line for line in output.splitlines() if str(tenant_id) in line]
    assert line.split()[1:] == ["-", "balance", "-1", "0"]
    assert error.endswith(f" of {Tenant.objects.count()} tenants.")
    Receipt.objects.filter(tenant_id=tenant_id).delete()


def test_command_refuses_an_unknown_tenant() -> None:
    assert run("nobody")[1].startswith("tenant: there is no 'nobody'. Tenants: ")


def test_task_alerts(tenant: Tenant) -> None:
    tamper(tenant, "update account set balance = 0 where tenant_id = TENANT")
    with capture_logs() as logs:
        tasks.reconcile()
    [alert] = [line for line in logs if line.get("tenant_id") == tenant.id]
    assert (alert["event"], alert["log_level"], alert["what"]) == ("reconciliation_difference", "critical", "balance")
