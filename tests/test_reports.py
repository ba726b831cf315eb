"""The operators' report: a month's usage by API key or by tenant, with the invoice or what it would be."""

import csv
import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import tokens
from accounts.models import Tenant
from billing import months
from billing.invoices import issue_credit_note
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, book_ledger, new_api_key, new_tenant
from tests.cast import ACTOR
from tests.receipts import receipt

GB = 10**9


def report(*arguments: str) -> str:
    output = io.StringIO()
    call_command("report", *arguments, stdout=output)
    return output.getvalue()


def table(*arguments: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report(*arguments, "--csv"), newline="")))


@pytest.fixture
def tenant() -> Tenant:
    """With two API keys that used something in June 2025."""
    tenant = new_tenant("pro")
    chat, batch = new_api_key(tenant, "chat"), new_api_key(tenant, "@batch")
    counts: list[tuple[Any, dict[str, Any]]] = [
        (chat, {"hits": 30_000, "misses": 10_000, "saved": Decimal("12.345")}),
        (chat, {"hits": 0, "writes": 7, "storage_delta": GB}),
        (batch, {"hits": 0, "misses": 4}),
    ]
    for api_key, fields in counts:
        book(receipt(tenant.id, at(2025, 6, 16), api_key_id=api_key.id, **fields))
    book(receipt(tenant.id, at(2025, 7, 1), api_key_id=chat.id, hits=0, storage_delta=-GB))
    book_ledger(tenant, 10_000, at(2025, 6, 1))
    return tenant


def test_report_of_a_tenant(tenant: Tenant) -> None:
    lines = report("--tenant", tenant.name, "--month", "2025-06").splitlines()
    ids = {name: tokens.encode_id(key) for name, key in tenant.api_keys.values_list("name", "id")}
    assert lines[-1] == "Plan pro. Not invoiced yet; up to 2025-07-01T00:00:00Z it comes to 0.24 USD."
    assert [line.split() for line in lines[:-1]] == [
        ["API", "key", "id", "hits", "misses", "hit", "ratio", "writes", "credits", "GB-months", "saved", "USD"],
        ["@batch", ids["@batch"], "0", "4", "0.0000", "0", "0.00", "0.000000000", "0.00"],
        ["chat", ids["chat"], "30000", "10000", "0.7500", "7", "300.00", "0.500000000", "12.345"],
        ["total", "30000", "10004", "0.7499", "7", "300.00", "0.500000000", "12.345"],
        [],
    ]


def test_report_tells_of_the_invoice(tenant: Tenant) -> None:
    assert close_months(months.parse("2025-06"), tenant_id=tenant.id) == 1
    issue_credit_note(tenant, 1, Decimal("0.10"), "an outage", ACTOR)
    text = report("--tenant", tenant.name, "--month", "2025-06")
    assert text.endswith("\nPlan pro. Invoice INV-0001: 0.24 USD, of which 0.10 USD credited.\n")


def test_report_as_csv_is_safe_in_a_spreadsheet(tenant: Tenant) -> None:
    assert [row["API key"] for row in table("--tenant", tenant.name, "--month", "2025-06")] == [
        "'@batch",
        "chat",
        "total",
    ]


def test_report_over_all_tenants(tenant: Tenant) -> None:
    other, idle = new_tenant("free"), new_tenant("pro")
    book(receipt(other.id, at(2025, 6, 3), hits=500))
    assert close_months(months.parse("2025-06"), tenant_id=tenant.id) == 1
    issue_credit_note(tenant, 1, Decimal("0.04"), "an outage", ACTOR)
    found = {row["tenant"]: list(row.values())[1:] for row in table("--month", "2025-06")}
    assert found[tenant.name] == [
        "pro", "INV-0001", "30000", "10004", "0.7499", "7", "300.00", "0.500000000", "12.345", "0.24", "0.04",
    ]  # fmt: skip
    assert found[other.name] == [
        "free",
        "preview",
        "500",
        "0",
        "1.0000",
        "0",
        "5.00",
        "0.000000000",
        "0.00",
        "0.01",
        "0.00",
    ]
    assert idle.name not in found
    shown = report("--month", "2025-06").splitlines()
    assert shown[0].split()[:3] == ["tenant", "plan", "invoice"]
    assert sum(line.startswith(tenant.name) for line in shown) == 1


def test_report_of_the_running_month_counts_to_now(tenant: Tenant) -> None:
    book(receipt(tenant.id, timezone.now(), hits=7))
    [_, total] = table("--tenant", tenant.name)
    assert (total["API key"], total["hits"]) == ("total", "7")
    assert "Not invoiced yet; up to " in report("--tenant", tenant.name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--month", "2099-01"], r"month: 2099-01 has not begun; give \d{4}-\d\d or earlier"),
        (["--month", "June"], "month: 'June' is no month; give one as YYYY-MM, such as 2026-11"),
        (["--month", "2025-6"], "month: '2025-6' is no month"),
        (["--tenant", "nobody at all"], "tenant: there is no 'nobody at all'"),
    ],
)
def test_report_refuses(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        report(*arguments)
