"""What an API key is told of its account: effective limits, balance, storage and today's prices."""

import secrets
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from accounts.models import Tenant
from billing import account, credits, plans, usage_answers, usage_schema
from billing.models import Account, CreditWindow, LedgerEntry, Plan, Price
from billing.rows import django_rows
from billing.tenants import create_tenant
from cacheservice.entries import rollup
from tests.cast import ACTOR, Key, new_caller, new_key
from tests.client import Client
from tests.processes import RunningServer, wait_for
from tests.usage_cast import Event, write_receipts, write_rollups

MB = 10**6
UNLIMITED = {"requests_per_minute": None, "storage": {"used_bytes": 0, "quota_bytes": None}, "credits": None}


def new_key_of(plan: str) -> Key:
    return new_key(create_tenant(f"account {secrets.token_hex(8)}", ACTOR, plan))


def read(key: Key) -> account.Account:
    return account.read(django_rows, key.row.tenant_id, key.row.id)


def limits(key: Key) -> tuple[int | None, int | None, int | None]:
    """Requests a minute, the tenant's storage quota, the API key's."""
    found = read(key)
    return found.requests_per_minute, found.storage_quota, found.api_key_storage_quota


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("free", (60, 100 * MB, 100 * MB)),
        ("pro", (120, None, None)),
        ("self-hosted", (None, None, None)),
    ],
)
def test_limits_are_the_plans(plan: str, expected: tuple[int | None, ...]) -> None:
    assert limits(new_key_of(plan)) == expected


def test_tenants_limits_go_before_the_plans_and_the_keys_before_both() -> None:
    key = new_key_of("free")
    Account.objects.filter(tenant=key.row.tenant).update(
        requests_per_minute=7, storage_quota=70, api_key_storage_quota=17
    )
    assert limits(key) == (7, 70, 17)
    key.row.requests_per_minute, key.row.storage_quota = 5, 50
    key.row.save()
    assert limits(key) == (5, 70, 50)
    assert limits(new_key(key.row.tenant)) == (7, 70, 17)


def test_plan_is_todays() -> None:
    code = secrets.token_hex(8)
    today = plans.today()
    for day, requests in ((date(2020, 1, 1), 1), (today, 2), (today + timedelta(days=1), 3)):
        Plan.objects.create(
            code=code,
            valid_from=day,
            prepaid=True,
            monthly_grant=requests,
            requests_per_minute=requests,
            free_storage=0,
        )
    found = read(new_key_of(code))
    assert (found.plan, found.prepaid, found.requests_per_minute, found.monthly_grant) == (code, True, 2, 2)


def test_prices_are_todays() -> None:
    assert account.read_prices(django_rows) == (1, Decimal("0.001"), Decimal("0.1"))
    tomorrow = Price.objects.create(code=Price.STORAGE, valid_from=plans.today() + timedelta(days=1), amount="9")
    assert account.read_prices(django_rows).storage == Decimal("0.1")
    tomorrow.delete()


def test_charged_is_this_months_folded_or_not() -> None:
    key, other = new_key_of("pro"), new_key_of("pro")
    now = timezone.now()
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    just_before = month - timedelta(microseconds=1)
    write_rollups(
        key.row.tenant_id, [Event(just_before, 1, units=1000), Event(month, 1, units=20), Event(now, 2, units=3)]
    )
    write_receipts(key.row.tenant_id, [Event(just_before, 1, units=4000), Event(month, 3, units=500)])
    write_receipts(other.row.tenant_id, [Event(now, 1, units=60_000)])
    assert (read(key).charged, read(other).charged) == (523, 60_000)


@pytest.mark.parametrize(("months_ago", "used"), [(0, 7), (1, 0)])
def test_credit_limit_counts_the_running_month(months_ago: int, used: int) -> None:
    key = new_key_of("pro")
    key.row.credit_limit = 500
    key.row.save()
    today = plans.today()
    month = (today.year - 1970) * 12 + today.month - 1 - months_ago
    CreditWindow.objects.update_or_create(
        tenant_id=key.row.tenant_id, api_key_id=key.row.id, defaults={"month": month, "units": 7}
    )
    found = read(key)
    assert (found.credit_limit, found.credit_limit_used) == (500, used)
    answer = usage_answers.account(found, account.read_prices(django_rows), used_bytes=0, api_key_used_bytes=0)
    shown = msgspec.json.decode(answer.body, type=usage_schema.Account)
    assert shown.limits.credits == usage_schema.CreditLimit(f"0.0{used}", "5.00")


@pytest.fixture
def owner(committed_db: None) -> Key:
    return new_caller()


@pytest.fixture
def client(server: RunningServer, owner: Key) -> Iterator[Client]:
    with Client(server.url, owner.token) as client:
        yield client


def get_account(client: Client) -> Any:
    content = client.send("GET", "/api/v1/account").json()
    msgspec.convert(content, usage_schema.Account)
    return content


def test_account_of_a_new_tenant(client: Client, owner: Key) -> None:
    tenant: Tenant = owner.row.tenant
    content = get_account(client)
    assert content.pop("tenant")["name"] == tenant.name
    assert content == {
        "api_key": {"id": owner.id, "name": "test"},
        "plan": {"code": "self-hosted", "prepaid": False, "monthly_grant_credits": "0.00"},
        "credits": {"balance": "0.00", "charged_this_month": "0.00"},
        "storage": {"used_bytes": 0, "free_bytes": 100 * MB, "quota_bytes": None},
        "limits": UNLIMITED,
        "ttl": {"default_seconds": 604_800, "max_seconds": 31_536_000},
        "prices": {"cache_hit_credits": "0.01", "credit_usd": "0.001", "storage_usd_per_gb_month": "0.10"},
    }


def test_hits_show_at_once_in_what_is_charged_and_left(client: Client, owner: Key) -> None:
    credits.grant(owner.row.tenant_id, LedgerEntry.Kind.PURCHASE, 1234, idempotency_key="one", actor=ACTOR)
    client.put("a", 1)
    for _ in range(4):
        assert client.get("a").json()["hit"] is True
    expected = {"balance": "12.30", "charged_this_month": "0.04"}
    assert get_account(client)["credits"] == expected
    rollup.rollup()
    assert get_account(client)["credits"] == expected


def test_storage_is_live_storage_of_the_tenant_and_of_the_key(client: Client, owner: Key) -> None:
    with Client(client.url, new_key(owner.row.tenant).token) as second:
        assert client.put("mine", "x" * 98).status == 201
        assert second.put("theirs", "x" * 998).status == 201
        assert second.put("gone soon", "x" * 9998, ttl=1).status == 201

        def used() -> tuple[int, int, int, int]:
            mine, theirs = get_account(client), get_account(second)
            return (
                mine["storage"]["used_bytes"],
                theirs["storage"]["used_bytes"],
                mine["limits"]["storage"]["used_bytes"],
                theirs["limits"]["storage"]["used_bytes"],
            )

        wait_for(lambda: used() == (1100, 1100, 100, 1000), 10, "the end of an entry with a ttl of 1")
        assert client.list().json()["storage_used_bytes"] == 1100
        assert client.put("theirs", "x" * 498).status == 200  # another key's bytes become its own
        assert used() == (600, 600, 600, 0)


def test_account_takes_no_parameters(client: Client) -> None:
    answer = client.send("GET", "/api/v1/account?month=2026-01")
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
