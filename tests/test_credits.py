"""The credit ledger: what is granted is booked once, the balance is its sum, and prepaid credits end at zero."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.models import AuditEvent, Tenant
from billing import tasks
from billing.credits import grant, grant_monthly
from billing.models import Account, LedgerEntry, Plan
from billing.tenants import change_plan, create_tenant
from cacheservice.entries.reconciliation import reconcile
from tests.receipts import at_once
from tests.store_cast import change_ledger, new_tenant, scaled

Kind = LedgerEntry.Kind
MONTH = f"monthly {datetime.now(UTC):%Y-%m}"


@pytest.fixture
def tenant() -> Tenant:
    """Postpaid, with nothing granted."""
    return new_tenant()


def balance(tenant: Tenant) -> int:
    return Account.objects.get(tenant=tenant).balance


def ledger(tenant: Tenant) -> list[tuple[str, int, str]]:
    """Kind, units and idempotency key of each entry, in the order of booking."""
    entries = LedgerEntry.objects.filter(tenant_id=tenant.id).order_by("at")
    return [(entry.kind, entry.units, entry.idempotency_key) for entry in entries]


def assert_adds_up(tenant: Tenant) -> None:
    assert balance(tenant) == sum(units for _, units, _ in ledger(tenant))
    assert reconcile(tenant.id).differences == []


def events(tenant: Tenant) -> list[tuple[str, str, dict[str, Any]]]:
    found = AuditEvent.objects.filter(tenant_id=tenant.id, action="credits.grant").order_by("at")
    return [(event.actor, event.target, event.details) for event in found]


# Grants


def test_grant_is_booked_with_its_audit_event(tenant: Tenant) -> None:
    assert grant(tenant.id, Kind.PURCHASE, 1050, idempotency_key="payment 1", actor="ada", note="card")
    assert grant(tenant.id, Kind.PROMOTIONAL, 1, idempotency_key="welcome", actor="ada")
    assert ledger(tenant) == [("purchase", 1050, "payment 1"), ("promotional", 1, "welcome")]
    assert balance(tenant) == 1051
    assert events(tenant) == [
        ("ada", "purchase", {"credits": "10.50", "note": "card"}),
        ("ada", "promotional", {"credits": "0.01", "note": ""}),
    ]
    assert_adds_up(tenant)


def test_repeated_grant_is_booked_once(tenant: Tenant) -> None:
    booked = [grant(tenant.id, Kind.PURCHASE, 500, idempotency_key="p", actor="ada") for _ in range(3)]
    assert booked == [True, False, False]
    assert (balance(tenant), len(ledger(tenant)), len(events(tenant))) == (500, 1, 1)


def test_idempotency_keys_are_each_tenants_own(tenant: Tenant) -> None:
    other = new_tenant()
    assert grant(tenant.id, Kind.PURCHASE, 500, idempotency_key="p", actor="ada")
    assert grant(other.id, Kind.PURCHASE, 700, idempotency_key="p", actor="ada")
    assert (balance(tenant), balance(other)) == (500, 700)


@pytest.mark.parametrize(("kind", "units"), [(Kind.PROMOTIONAL, 500), (Kind.PURCHASE, 501)])
def test_idempotency_key_of_another_booking_is_refused(tenant: Tenant, kind: str, units: int) -> None:
    grant(tenant.id, Kind.PURCHASE, 500, idempotency_key="p", actor="ada")
    with pytest.raises(ValueError, match=r"idempotency key 'p': it booked a purchase of 5\.00 credits"):
        grant(tenant.id, kind, units, idempotency_key="p", actor="ada")
    assert (balance(tenant), len(ledger(tenant))) == (500, 1)


def test_concurrent_grants_with_one_key_are_booked_once(tenant: Tenant) -> None:
    for number in range(scaled(5, 200)):
        before = balance(tenant)

        def book(key: str = f"payment {number}") -> bool:
            return grant(tenant.id, Kind.PURCHASE, 100, idempotency_key=key, actor="ada")

        assert sorted(at_once(*[book] * 8)) == [False] * 7 + [True]
        assert balance(tenant) == before + 100
    assert_adds_up(tenant)


def test_concurrent_grants_with_keys_of_their_own_are_all_booked(tenant: Tenant) -> None:
    def booking(number: int) -> Callable[[], bool]:
        return lambda: grant(tenant.id, Kind.PURCHASE, number, idempotency_key=f"payment {number}", actor="ada")

    assert all(at_once(*[booking(number) for number in range(1, 17)]))
    assert balance(tenant) == sum(range(1, 17))
    assert_adds_up(tenant)


# Corrections


def test_prepaid_correction_stops_at_zero() -> None:
    tenant = new_tenant("free")
    assert balance(tenant) == 10_000
    with pytest.raises(ValueError, match=r"units: the balance is 100\.00 credits; no more can be taken\."):
        grant(tenant.id, Kind.CORRECTION, -10_001, idempotency_key="c", actor="ada")
    assert (balance(tenant), len(ledger(tenant))) == (10_000, 1)
    assert grant(tenant.id, Kind.CORRECTION, -10_000, idempotency_key="c", actor="ada")
    assert balance(tenant) == 0
    assert_adds_up(tenant)


def test_concurrent_prepaid_corrections_stop_at_zero() -> None:
    tenant = new_tenant("free")

    def taking(number: int) -> Callable[[], bool]:
        def take() -> bool:
            try:
                return grant(tenant.id, Kind.CORRECTION, -3000, idempotency_key=f"c {number}", actor="ada")
            except ValueError:
                return False

        return take

    assert sum(at_once(*[taking(number) for number in range(8)])) == 3
    assert balance(tenant) == 1000
    assert_adds_up(tenant)


def test_postpaid_correction_may_go_below_zero(tenant: Tenant) -> None:
    assert grant(tenant.id, Kind.CORRECTION, -700, idempotency_key="c", actor="ada")
    assert balance(tenant) == -700
    assert_adds_up(tenant)


def test_ledger_is_append_only(tenant: Tenant) -> None:
    grant(tenant.id, Kind.PURCHASE, 500, idempotency_key="p", actor="ada")
    entry = LedgerEntry.objects.get(tenant_id=tenant.id)
    entry.units = 1
    for change in (entry.save, entry.delete, LedgerEntry.objects.filter(tenant_id=tenant.id).delete):
        with pytest.raises(TypeError, match="credit_ledger is append-only"):
            change()
    with pytest.raises(TypeError, match="credit_ledger is append-only"):
        LedgerEntry.objects.filter(tenant_id=tenant.id).update(units=1)
    assert ledger(tenant) == [("purchase", 500, "p")]


# What plans grant each month


def test_month_is_granted_once_whoever_asks() -> None:
    tenant = create_tenant(f"monthly {datetime.now(UTC)}", "tests", "free")
    at_once(grant_monthly, grant_monthly, grant_monthly)
    tasks.grant_monthly()
    tasks.grant_monthly()  # delivered twice
    assert ledger(tenant) == [("monthly", 10_000, MONTH)]
    assert balance(tenant) == 10_000
    assert_adds_up(tenant)


def test_next_month_is_granted_anew() -> None:
    tenant = new_tenant("free")
    change_ledger("update credit_ledger set idempotency_key = 'monthly 2020-01' where tenant_id = %s", [tenant.id])
    assert grant_monthly() >= 1
    assert ledger(tenant) == [("monthly", 10_000, "monthly 2020-01"), ("monthly", 10_000, MONTH)]
    assert_adds_up(tenant)


@pytest.mark.parametrize("plan", ["pro", "self-hosted"])
def test_plans_that_grant_nothing_book_nothing(plan: str) -> None:
    tenant = new_tenant(plan)
    grant_monthly()
    assert ledger(tenant) == []


def test_amount_is_that_of_the_plan_as_it_is_now() -> None:
    """A later row of the plan holds from its day on; one of tomorrow does not hold yet."""
    code = f"plan {datetime.now(UTC):%H%M%S%f}"
    terms = {"code": code, "prepaid": True, "free_storage": 0}
    Plan.objects.create(valid_from=date(2020, 1, 1), monthly_grant=100, **terms)
    Plan.objects.create(valid_from=date(2021, 1, 1), monthly_grant=200, **terms)
    Plan.objects.create(valid_from=date(2999, 1, 1), monthly_grant=300, **terms)
    assert ledger(new_tenant(code)) == [("monthly", 200, MONTH)]


def test_change_of_plan_brings_the_months_grant_once() -> None:
    tenant = new_tenant("pro")
    for plan in ("free", "pro", "free"):
        change_plan(tenant, plan, "tests")
    assert Account.objects.get(tenant=tenant).plan == "free"
    assert ledger(tenant) == [("monthly", 10_000, MONTH)]


def test_another_plan_grants_nothing_more_for_a_month_that_was_granted() -> None:
    code = f"plan {datetime.now(UTC):%H%M%S%f}"
    Plan.objects.create(code=code, valid_from=date(2020, 1, 1), prepaid=True, monthly_grant=50_000, free_storage=0)
    tenant = new_tenant("free")
    change_plan(tenant, code, "tests")
    assert ledger(tenant) == [("monthly", 10_000, MONTH)]


def test_account_of_a_plan_that_is_gone_keeps_no_grant_from_the_others() -> None:
    code = f"plan {datetime.now(UTC):%H%M%S%f}"
    Plan.objects.create(code=code, valid_from=date(2020, 1, 1), prepaid=True, monthly_grant=0, free_storage=0)
    lost, other = new_tenant(code), new_tenant(code)
    Account.objects.filter(tenant=other).update(plan="free")
    Plan.objects.filter(code=code).delete()
    try:
        grant_monthly()
        assert ledger(other) == [("monthly", 10_000, MONTH)]
    finally:
        Account.objects.filter(tenant=lost).update(plan="self-hosted")


# grant_credits


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("grant_credits", *arguments, stdout=output, no_color=True)
    return output.getvalue()


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    return str(raised.value)


def test_command_books_once(tenant: Tenant) -> None:
    arguments = (tenant.name, "12.5", "--kind", "purchase", "--idempotency-key", " payment 7 ", "--note", "card")
    end = f"The balance of '{tenant.name}' is 12.50 credits.\n"
    assert run(*arguments) == f"Booked 12.50 credits. {end}"
    assert run(*arguments) == f"It was booked before; nothing changed. {end}"
    assert ledger(tenant) == [("purchase", 1250, "payment 7")]
    [(actor, kind, details)] = events(tenant)
    assert actor.startswith("operator")
    assert (kind, details) == ("purchase", {"credits": "12.50", "note": "card"})


@pytest.mark.parametrize(
    ("text", "units"), [("1", 100), ("0.01", 1), ("007.10", 710), ("1000000000000", 10**14), ("-3.20", -320)]
)
def test_command_takes_credits_to_the_hundredth(tenant: Tenant, text: str, units: int) -> None:
    run(tenant.name, text, "--kind", "correction", "--idempotency-key", "c")
    assert ledger(tenant) == [("correction", units, "c")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "credits: 0.00 is not allowed; only a correction may be below 0, none is 0."),
        (["-0.01"], "credits: -0.01 is not allowed; only a correction may be below 0, none is 0."),
        (["1.001"], "Error: argument credits: '1.001' is not a number of credits such as 250 or 0.01"),
        (["1e3"], "Error: argument credits: '1e3' is not a number of credits such as 250 or 0.01"),
        (["NaN"], "Error: argument credits: 'NaN' is not a number of credits such as 250 or 0.01"),
        ([""], "Error: argument credits: '' is not a number of credits such as 250 or 0.01"),
        (["٣"], "Error: argument credits: '٣' is not a number of credits such as 250 or 0.01"),
        (
            ["1000000000000.01"],
            "Error: argument credits: 1000000000000.01 credits are too many; 1000000000000 is the most",
        ),
        (["1", "--idempotency-key", " "], "--idempotency-key: it has 0 characters; 1 to 100 are allowed."),
        (["1", "--idempotency-key", "x" * 101], "--idempotency-key: it has 101 characters; 1 to 100 are allowed."),
        (["1", "--note", "x" * 201], "--note: it has 201 characters; up to 200 are allowed."),
        (
            ["1", "--kind", "monthly"],
            "Error: argument --kind: invalid choice: 'monthly' (choose from 'purchase', 'promotional', 'correction')",
        ),
    ],
)
def test_command_refuses(tenant: Tenant, arguments: list[str], message: str) -> None:
    assert refusal(tenant.name, "--kind", "purchase", "--idempotency-key", "p", *arguments) == message
    assert (ledger(tenant), balance(tenant)) == ([], 0)


@pytest.mark.parametrize("key", ["monthly 2026-11", "invoice 2026-11"])
def test_command_refuses_the_keys_of_the_services_own_bookings(tenant: Tenant, key: str) -> None:
    arguments = (tenant.name, "1.00", "--kind", "purchase", "--idempotency-key", key)
    assert refusal(*arguments).startswith(f"idempotency key '{key}': that is how the service names its own bookings")
    assert ledger(tenant) == []


def test_command_passes_on_what_the_ledger_refuses() -> None:
    tenant = new_tenant("free")
    arguments = (tenant.name, "--kind", "correction", "--idempotency-key", "c")
    message = "units: the balance is 100.00 credits; no more can be taken."
    assert refusal(*arguments, "-100.01") == message
    run(*arguments, "-1")
    message = "idempotency key 'c': it booked a correction of -1.00 credits; choose another key."
    assert refusal(*arguments, "-2") == message
    assert balance(tenant) == 9900


@pytest.mark.parametrize("missing", ["--kind", "--idempotency-key"])
def test_command_wants_kind_and_key(tenant: Tenant, missing: str) -> None:
    arguments = {"--kind": "purchase", "--idempotency-key": "p"}
    del arguments[missing]
    message = refusal(tenant.name, "1", *(word for pair in arguments.items() for word in pair))
    assert message == f"Error: the following arguments are required: {missing}"


def test_command_refuses_an_unknown_tenant() -> None:
    message = refusal("nobody", "1", "--kind", "purchase", "--idempotency-key", "p")
    assert message.startswith("tenant: there is no 'nobody'. Tenants: ")


def test_schedule_grants_every_hour(settings: Settings) -> None:
    """So that a month's grant does not wait for a restart, nor is lost with one."""
    [entry] = [one for one in settings.CELERY_BEAT_SCHEDULE.values() if one["task"] == "billing.tasks.grant_monthly"]
    assert entry["schedule"].hour == set(range(24))
    assert entry["schedule"].minute == {0}
