"""Limits set on tenants and API keys, plans changed: what holds afterwards, what is refused, what is recorded."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from accounts import tokens
from accounts.models import APIKey, AuditEvent, Tenant
from billing.limits import UNCHANGED, set_api_key_limits, set_tenant_limits
from billing.models import Account, CreditWindow, Receipt, UsageRollup
from billing.plans import plan_of
from cacheservice.entries.operations import Caller
from cacheservice.entries.requests import NewEntry
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Store
from cacheservice.errors import APIError
from tests.processes import wait_for
from tests.receipts import at_once, receipt
from tests.store_cast import database_dsn, new_caller, new_tenant, outcomes, query, run_with_store, scaled

MB = 10**6


@pytest.fixture
def tenant() -> Tenant:
    return new_tenant()


@pytest.fixture
def api_key(tenant: Tenant) -> APIKey:
    return APIKey.objects.get(id=new_caller(tenant).api_key_id)


def account(tenant: Tenant) -> Account:
    return Account.objects.get(tenant=tenant)


def tenant_limits(tenant: Tenant) -> tuple[int | None, ...]:
    row = account(tenant)
    return row.requests_per_minute, row.storage_quota, row.api_key_storage_quota


def api_key_limits(api_key: APIKey) -> tuple[int | None, ...]:
    row = APIKey.objects.get(id=api_key.id)
    return row.requests_per_minute, row.storage_quota, row.credit_limit


def window(api_key: APIKey) -> tuple[int, int] | None:
    """The month, since 1970, and the units that count against the credit limit."""
    found = CreditWindow.objects.filter(tenant_id=api_key.tenant_id, api_key_id=api_key.id).first()
    return None if found is None else (found.month, found.units)


def month_now() -> int:
    now = datetime.now(UTC)
    return (now.year - 1970) * 12 + now.month - 1


def events(tenant: Tenant, action: str) -> list[tuple[str, str, dict[str, Any]]]:
    found = AuditEvent.objects.filter(tenant_id=tenant.id, action=action).order_by("at")
    return [(event.actor, event.target, event.details) for event in found]


# Tenants


def test_limits_of_a_tenant(tenant: Tenant) -> None:
    set_tenant_limits(tenant, requests_per_minute=10, storage_quota=5 * MB, api_key_storage_quota=MB, actor="ada")
    assert tenant_limits(tenant) == (10, 5 * MB, MB)
    set_tenant_limits(tenant, requests_per_minute=UNCHANGED, storage_quota=None, actor="ada")
    assert tenant_limits(tenant) == (10, None, MB)
    assert events(tenant, "tenant.set_limits") == [
        (
            "ada",
            tenant.name,
            {"requests_per_minute": 10, "storage_quota": 5 * MB, "api_key_storage_quota": MB},
        ),
        ("ada", tenant.name, {"storage_quota": None}),
    ]


def test_limits_of_a_tenant_leave_the_balance_that_is_being_charged(tenant: Tenant) -> None:
    def charge() -> None:
        for _ in range(rounds):
            query("update account set balance = balance - 1 where tenant_id = %s", [tenant.id])

    def limit() -> None:
        for number in range(rounds):
            set_tenant_limits(tenant, storage_quota=number + 1, actor="ada")

    rounds = scaled(50, 2000)
    at_once(charge, limit)
    assert account(tenant).balance == -rounds


# API keys


def test_limits_of_an_api_key(tenant: Tenant, api_key: APIKey) -> None:
    set_api_key_limits(api_key, requests_per_minute=7, storage_quota=MB, credit_limit=1000, actor="ada")
    assert api_key_limits(api_key) == (7, MB, 1000)
    set_api_key_limits(api_key, requests_per_minute=None, actor="ada")
    assert api_key_limits(api_key) == (None, MB, 1000)
    key_id = tokens.encode_id(api_key.id)
    assert events(tenant, "api_key.set_limits") == [
        ("ada", key_id, {"requests_per_minute": 7, "storage_quota": MB, "credit_limit": 1000}),
        ("ada", key_id, {"requests_per_minute": None}),
    ]


def test_a_tenant_gives_a_key_at_most_its_own_rate_limit() -> None:
    tenant = new_tenant("pro")
    api_key = APIKey.objects.get(id=new_caller(tenant).api_key_id)

    def ask(limit: int | None) -> None:
        set_api_key_limits(api_key, requests_per_minute=limit, actor="ada", by_tenant=True)

    def assert_most(most: int) -> None:
        ask(None)
        with pytest.raises(ValueError) as raised:
            ask(most + 1)
        assert str(raised.value) == (
            f"requests_per_minute: an API key of this tenant may make at most {most} requests a minute, "
            f"not {most + 1}; ask the operator for more."
        )
        assert api_key_limits(api_key)[0] is None
        ask(most)
        assert api_key_limits(api_key)[0] == most

    plans = plan_of(account(tenant)).requests_per_minute
    assert plans is not None
    assert_most(plans)
    for of_tenant in (plans + 100, plans - 50):
        set_tenant_limits(tenant, requests_per_minute=of_tenant, actor="the operator")
        assert_most(of_tenant)


def test_what_the_operator_gave_a_key_it_keeps_until_the_tenant_wants_less() -> None:
    tenant = new_tenant("pro")
    api_key = APIKey.objects.get(id=new_caller(tenant).api_key_id)
    set_api_key_limits(api_key, requests_per_minute=5000, actor="the operator")
    for fine in (5000, 4000):
        set_api_key_limits(api_key, requests_per_minute=fine, storage_quota=MB, actor="ada", by_tenant=True)
        assert api_key_limits(api_key) == (fine, MB, None)
    with pytest.raises(ValueError, match="ask the operator"):
        set_api_key_limits(api_key, requests_per_minute=4001, storage_quota=5 * MB, actor="ada", by_tenant=True)
    set_api_key_limits(api_key, storage_quota=None, actor="ada", by_tenant=True)
    assert api_key_limits(api_key) == (4000, None, None)


def test_a_tenant_without_a_rate_limit_gives_its_keys_any(api_key: APIKey) -> None:
    set_api_key_limits(api_key, requests_per_minute=10**6, actor="ada", by_tenant=True)
    assert api_key_limits(api_key)[0] == 10**6


def test_other_limits_leave_the_credit_window_alone(api_key: APIKey) -> None:
    set_api_key_limits(api_key, storage_quota=MB, actor="ada")
    assert window(api_key) is None
    set_api_key_limits(api_key, credit_limit=1000, actor="ada")
    CreditWindow.objects.filter(api_key_id=api_key.id).update(units=5)
    set_api_key_limits(api_key, storage_quota=None, actor="ada")
    assert window(api_key) == (month_now(), 5)


def test_credit_limit_counts_what_the_month_was_charged_so_far(tenant: Tenant, api_key: APIKey) -> None:
    """Rolled up or not, refunds too; neither of another month, nor of another key or tenant."""
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    other = new_caller(tenant).api_key_id
    foreign = new_caller().tenant_id
    Receipt.objects.bulk_create(
        [
            receipt(tenant_id, at, hits=units, api_key_id=api_key_id, folded=False)
            for tenant_id, api_key_id, at, units in (
                (tenant.id, api_key.id, month - timedelta(microseconds=1), 10**6),
                (tenant.id, api_key.id, month, 1),
                (tenant.id, other, now, 10**7),
                (foreign, api_key.id, now, 10**8),
            )
        ]
    )
    rollup()
    Receipt.objects.bulk_create(
        [
            receipt(tenant.id, month - timedelta(microseconds=1), hits=10**6, api_key_id=api_key.id),
            receipt(tenant.id, month, hits=10, api_key_id=api_key.id),
            receipt(tenant.id, now, hits=100, api_key_id=api_key.id),
            receipt(tenant.id, now, hits=-3, api_key_id=api_key.id),
            receipt(tenant.id, now, hits=10**7, api_key_id=other),
            receipt(foreign, now, hits=10**8, api_key_id=api_key.id),
        ]
    )
    set_api_key_limits(api_key, credit_limit=5000, actor="ada")
    assert window(api_key) == (month_now(), 108)
    rollup()
    set_api_key_limits(api_key, credit_limit=6000, actor="ada")
    assert window(api_key) == (month_now(), 108)


def test_credit_limit_is_fresh_after_months_without_one(api_key: APIKey) -> None:
    set_api_key_limits(api_key, credit_limit=5000, actor="ada")
    CreditWindow.objects.filter(api_key_id=api_key.id).update(month=600, units=77)
    set_api_key_limits(api_key, credit_limit=5000, actor="ada")
    assert window(api_key) == (month_now(), 0)
    set_api_key_limits(api_key, credit_limit=None, actor="ada")
    assert window(api_key) == (month_now(), 0)  # it stays, for reads under way
    assert api_key_limits(api_key) == (None, None, None)


def test_credit_limit_waits_for_a_charge_under_way_and_counts_it(tenant: Tenant, api_key: APIKey) -> None:
    with psycopg.connect(database_dsn()) as charging:
        charging.execute("update account set balance = balance - 40 where tenant_id = %s", [tenant.id])
        charging.execute(
            "insert into receipt (tenant_id, id, api_key_id, at, hits, units) values (%s, 1, %s, now(), 40, 40)",
            [tenant.id, api_key.id],
        )

        def commit_once_it_is_waited_for() -> None:
            waiting = "select 1 from pg_locks where not granted and %s = any(pg_blocking_pids(pid))"
            wait_for(lambda: bool(query(waiting, [charging.info.backend_pid])), 30, "the limit waits for the charge")
            charging.commit()

        at_once(lambda: set_api_key_limits(api_key, credit_limit=5000, actor="ada"), commit_once_it_is_waited_for)
    assert window(api_key) == (month_now(), 40)


def test_credit_limit_set_beside_rollups_counts_each_receipt_once(tenant: Tenant, api_key: APIKey) -> None:
    rounds = scaled(20, 1000)
    for number in range(1, rounds + 1):
        Receipt.objects.bulk_create(
            [receipt(tenant.id, datetime.now(UTC), hits=1, api_key_id=api_key.id) for _ in range(5)]
        )
        at_once(rollup, lambda: set_api_key_limits(api_key, credit_limit=5000, actor="ada"))
        found = window(api_key)
        assert found is not None
        assert found[1] == 5 * number


def test_credit_limit_set_in_mid_month_stops_the_key_there() -> None:
    """Through the store: 30 hits before the limit of 50, then exactly 20 more, whether rolled up or not."""
    caller, other = callers = [new_caller(tenant := new_tenant()), new_caller(tenant)]
    api_key = APIKey.objects.get(id=caller.api_key_id)

    async def hits(store: Store, who: Caller, count: int) -> int:
        found = await outcomes([store.get(who, "key") for _ in range(count)])
        refused = [one for one in found if isinstance(one, APIError)]
        assert {one.code for one in refused} <= {"insufficient_credits"}
        assert not any(isinstance(one, Exception) and one not in refused for one in found)
        return count - len(refused)

    async def before(store: Store) -> None:
        await store.put(caller, "key", NewEntry(b"1", None, 3600, [], None))
        assert await hits(store, caller, 20) == 20

    async def after(store: Store) -> None:
        assert await asyncio.gather(*(hits(store, who, 60) for who in callers)) == [20, 60]

    run_with_store(before)
    rollup()

    async def ten_more(store: Store) -> None:
        assert await hits(store, caller, 10) == 10

    run_with_store(ten_more)
    set_api_key_limits(api_key, credit_limit=50, actor="ada")
    assert window(api_key) == (month_now(), 30)
    run_with_store(after)
    assert window(api_key) == (month_now(), 50)
    assert UsageRollup.objects.filter(api_key_id=other.api_key_id).count() == 0
    set_api_key_limits(api_key, credit_limit=None, actor="ada")

    async def free(store: Store) -> None:
        assert await hits(store, caller, 60) == 60

    run_with_store(free)


# What is refused


@pytest.mark.parametrize(
    ("name", "most", "counted"),
    [
        ("requests_per_minute", 10**6, "requests"),
        ("storage_quota", 10**15, "bytes"),
        ("api_key_storage_quota", 10**15, "bytes"),
        ("credit_limit", 10**14, "units of 0.01 credit"),
    ],
)
def test_limits_out_of_range_are_refused(tenant: Tenant, api_key: APIKey, name: str, most: int, counted: str) -> None:
    def set_it(value: Any) -> None:
        if name == "api_key_storage_quota":
            set_tenant_limits(tenant, **{name: value}, actor="ada")
        else:
            set_api_key_limits(api_key, **{name: value}, actor="ada")

    for value in (0, -1, most + 1, True, 1.5, "5"):
        with pytest.raises(ValueError) as raised:
            set_it(value)
        assert str(raised.value) == f"{name}: {value} is not allowed; give 1 to {most} {counted}, or none."
    assert (tenant_limits(tenant), api_key_limits(api_key)) == ((None, None, None), (None, None, None))
    assert events(tenant, "tenant.set_limits") == events(tenant, "api_key.set_limits") == []
    for value in (1, most):
        set_it(value)
        assert value in (*tenant_limits(tenant), *api_key_limits(api_key))


def test_one_limit_out_of_range_leaves_the_others(tenant: Tenant, api_key: APIKey) -> None:
    with pytest.raises(ValueError, match="credit_limit"):
        set_api_key_limits(api_key, storage_quota=MB, credit_limit=0, actor="ada")
    assert api_key_limits(api_key) == (None, None, None)
    assert window(api_key) is None


def test_nothing_to_set_is_refused(tenant: Tenant, api_key: APIKey) -> None:
    with pytest.raises(ValueError, match="no limit is given; choose from requests_per_minute, storage_quota, api_key"):
        set_tenant_limits(tenant, actor="ada")
    with pytest.raises(ValueError, match="no limit is given; choose from requests_per_minute, storage_quota, credit"):
        set_api_key_limits(api_key, actor="ada")


# The commands


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output, no_color=True)
    return output.getvalue()


def refusal(command: str, *arguments: str) -> str:
    with pytest.raises(CommandError) as raised:
        run(command, *arguments)
    return str(raised.value)


def test_set_limits_of_a_tenant(tenant: Tenant) -> None:
    output = run("set_limits", "--tenant", tenant.name, "--requests-per-minute", "10", "--storage-quota-bytes", "5")
    assert output == (
        "requests a minute of each API key: 10\nbytes of storage: 5\nbytes of storage of each API key: the plan's\n"
    )
    assert tenant_limits(tenant) == (10, 5, None)
    options = ["--storage-quota-bytes", "none", "--api-key-storage-quota-bytes", "7"]
    assert run("set_limits", "--tenant", tenant.name, *options).splitlines()[1:] == [
        "bytes of storage: the plan's",
        "bytes of storage of each API key: 7",
    ]
    assert tenant_limits(tenant) == (10, None, 7)
    assert all(actor.startswith("operator") for actor, _, _ in events(tenant, "tenant.set_limits"))


def test_set_limits_of_an_api_key(api_key: APIKey) -> None:
    key_id = tokens.encode_id(api_key.id)
    options = ["--requests-per-minute", "10", "--storage-quota-bytes", "5", "--credit-limit", "2.5"]
    output = run("set_limits", "--api-key", key_id, *options)
    assert output == "requests a minute: 10\nbytes of storage: 5\ncredits a month: 2.50\n"
    assert api_key_limits(api_key) == (10, 5, 250)
    assert window(api_key) == (month_now(), 0)
    output = run("set_limits", "--api-key", key_id, "--credit-limit", "none", "--requests-per-minute", "none")
    assert output == "requests a minute: the plan's\nbytes of storage: 5\ncredits a month: none\n"
    assert api_key_limits(api_key) == (None, 5, None)
    assert window(api_key) == (month_now(), 0)  # it stays, for reads under way


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--requests-per-minute", "0"], "requests_per_minute: 0 is not allowed; give 1 to 1000000 requests, or none."),
        (["--storage-quota-bytes", "0"], f"storage_quota: 0 is not allowed; give 1 to {10**15} bytes, or none."),
        (["--credit-limit", "0"], f"credit_limit: 0 is not allowed; give 1 to {10**14} units of 0.01 credit, or none."),
        (["--credit-limit", "-1"], "credit_limit: -100 is not allowed; give 1 to "),
        (["--requests-per-minute", "many"], "Error: argument --requests-per-minute: 'many' is neither a whole number "),
        (["--storage-quota-bytes", "1.5"], "Error: argument --storage-quota-bytes: '1.5' is neither a whole number "),
        (
            ["--storage-quota-bytes", "9" * 19],
            "Error: argument --storage-quota-bytes: '9999999999999999999' is neither",
        ),
        (["--credit-limit", "0.001"], "Error: argument --credit-limit: '0.001' is not a number of credits such as "),
        (["--api-key-storage-quota-bytes", "5"], "--api-key-storage-quota-bytes: it is a tenant's; an API key has "),
        ([], "no limit is given; choose from requests_per_minute, storage_quota, credit_limit."),
    ],
)
def test_set_limits_of_an_api_key_refuses(api_key: APIKey, options: list[str], message: str) -> None:
    assert refusal("set_limits", "--api-key", tokens.encode_id(api_key.id), *options).startswith(message)
    assert api_key_limits(api_key) == (None, None, None)


def test_set_limits_of_a_tenant_refuses_a_credit_limit(tenant: Tenant) -> None:
    message = refusal("set_limits", "--tenant", tenant.name, "--credit-limit", "5", "--storage-quota-bytes", "5")
    assert message == "--credit-limit: only an API key has one; give --api-key instead of --tenant."
    assert tenant_limits(tenant) == (None, None, None)


def test_set_limits_wants_one_whose_limits(tenant: Tenant, api_key: APIKey) -> None:
    message = "Error: one of the arguments --tenant --api-key is required"
    assert refusal("set_limits", "--storage-quota-bytes", "5") == message
    both = ["--tenant", tenant.name, "--api-key", tokens.encode_id(api_key.id)]
    message = "Error: argument --api-key: not allowed with argument --tenant"
    assert refusal("set_limits", *both, "--storage-quota-bytes", "5") == message
    assert refusal("set_limits", "--tenant", "nobody", "--storage-quota-bytes", "5").startswith("tenant: there is no")
    assert refusal("set_limits", "--api-key", "nobody", "--storage-quota-bytes", "5").startswith("id: no API key has")


def test_change_plan() -> None:
    tenant = new_tenant("pro")
    assert run("change_plan", tenant.name, "free") == f"Tenant '{tenant.name}' has the plan free now.\n"
    assert (account(tenant).plan, account(tenant).balance) == ("free", 10_000)
    [(actor, target, details)] = events(tenant, "tenant.change_plan")
    assert actor.startswith("operator")
    assert (target, details) == ("free", {"former": "pro"})


def test_change_plan_refuses(tenant: Tenant) -> None:
    message = refusal("change_plan", tenant.name, "gold")
    assert message.startswith("plan: there is no 'gold'; choose from ")
    assert all(plan in message for plan in ("free", "pro", "self-hosted"))
    assert account(tenant).plan == "self-hosted"
    assert refusal("change_plan", "nobody", "free").startswith("tenant: there is no 'nobody'")


def test_create_tenant_opens_an_account_with_a_plan() -> None:
    for options, plan, granted in (([], "free", 10_000), (["--plan", "self-hosted"], "self-hosted", 0)):
        name = f"made {plan} {random.randrange(10**12)}"
        run("create_tenant", name, *options)
        found = account(Tenant.objects.get(name=name))
        assert (found.plan, found.balance) == (plan, granted)


def test_create_tenant_refuses_an_unknown_plan() -> None:
    message = refusal("create_tenant", "never made", "--plan", "gold")
    assert message.startswith("plan: there is no 'gold'; choose from ")
    assert not Tenant.objects.filter(name="never made").exists()
