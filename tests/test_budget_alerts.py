"""Alerts of budgets: told at their percentage and when calls no longer fit, once a UTC day each."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from accounts import tokens
from accounts.models import Tenant, random_id
from accounts.policy import Role
from console import alert_conditions, alert_evaluation
from console.alerts import open_alerts
from console.models import Alert, AlertSettings, Delivery
from gateway.budgets import Budget
from gateway.ledger import Ledger
from gateway.models import Budget as BudgetRow
from gateway.models import BudgetDay
from tests.cast import new_key
from tests.console_cast import new_person
from tests.ledger_cast import call, outcome_of, run_with_ledger, saved_budget, usd
from tests.store_cast import new_tenant, query

TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def nothing_else_due() -> Iterator[None]:
    """Messages of other tests are none of ours."""
    Delivery.objects.update(next_attempt_at=None)
    yield
    Delivery.objects.update(next_attempt_at=None)


@pytest.fixture
def tenant() -> Tenant:
    """With an owner, to be told."""
    return new_person(Role.OWNER, new_tenant()).tenant


def use(budget: Budget, amount: str, day: date = TODAY) -> None:
    BudgetDay.objects.update_or_create(
        tenant_id=budget.tenant_id, budget_id=budget.id, day=day, defaults={"used": usd(amount)}
    )


def told(tenant: Tenant) -> list[tuple[str, str, str]]:
    """What stands after an evaluation."""
    alert_evaluation.evaluate()
    return [(alert.kind, alert.level, alert.title) for alert in open_alerts(tenant.id)]


def test_percentage_opens_once_and_the_limit_tells_once_more(tenant: Tenant) -> None:
    budget = saved_budget(tenant.id, "10", alert_percent=70)
    assert told(tenant) == []  # nobody asked it yet
    use(budget, "6.99")
    assert told(tenant) == []
    use(budget, "7")
    assert told(tenant) == told(tenant) == [("budget", "warn", "70 % of today's budget is used")]
    [alert] = open_alerts(tenant.id)
    assert alert.url == f"/console/t/{tokens.encode_id(tenant.id)}/gateway"
    assert alert.text.startswith("$7.00 of $10.00 are spent. Without a rest, AI calls are refused until")
    assert f"{TODAY + timedelta(days=1)} 00:00 UTC" in alert.text
    use(budget, "10")
    assert told(tenant) == [("budget", "bad", "Today's budget is used up")]
    assert "refused with budget_exceeded" in open_alerts(tenant.id)[0].text
    assert Delivery.objects.filter(tenant=tenant, event="alert.opened", channel="email").count() == 2


def test_limit_counts_as_reached_where_a_call_fits_no_more(tenant: Tenant) -> None:
    """It is hard, so that what is spent stays below it."""
    saved = saved_budget(tenant.id, "1")

    async def calls(ledger: Ledger) -> None:
        for _ in range(3):
            reservation = await ledger.reserve(call(tenant.id), [saved], usd("0.30"))
            ledger.settle(reservation, outcome_of(reservation, usd("0.30"), call(tenant.id)))

    run_with_ledger(calls)
    assert told(tenant) == [("budget", "bad", "Today's budget is used up")]
    assert open_alerts(tenant.id)[0].text.startswith("$0.90 of $1.00 are spent.")


def test_calls_under_way_are_not_told(tenant: Tenant) -> None:
    """They give back most of what they reserve."""
    saved = saved_budget(tenant.id, "1")

    async def reserve(ledger: Ledger) -> None:
        await ledger.reserve(call(tenant.id), [saved], usd("0.95"))

    run_with_ledger(reserve)
    assert told(tenant) == []
    assert BudgetDay.objects.get(tenant_id=tenant.id).used == Decimal("0.95")


def test_next_day_closes_it(tenant: Tenant) -> None:
    AlertSettings.objects.create(tenant=tenant, webhook_url="https://example.com/hook")
    budget = saved_budget(tenant.id, "10")
    use(budget, "9")
    assert len(told(tenant)) == 1
    yesterday = TODAY - timedelta(days=1)
    BudgetDay.objects.filter(tenant_id=tenant.id).update(day=yesterday)
    Alert.objects.filter(tenant=tenant).update(subject=f"{tokens.encode_id(budget.id)} {yesterday}")
    assert told(tenant) == []
    events = Delivery.objects.filter(tenant=tenant, channel="webhook").values_list("event", flat=True)
    assert sorted(events) == ["alert.closed", "alert.opened"]
    use(budget, "9")
    assert len(told(tenant)) == 1
    assert Alert.objects.filter(tenant=tenant).count() == 2  # another day, told anew


def test_raised_or_deleted_budget_closes_it(tenant: Tenant) -> None:
    raised, deleted = saved_budget(tenant.id, "10"), saved_budget(tenant.id, "10", model="gpt-4o")
    for budget in (raised, deleted):
        use(budget, "9")
    assert len(told(tenant)) == 2
    BudgetRow.objects.filter(id=raised.id).update(usd_per_day=Decimal(100))
    BudgetRow.objects.filter(id=deleted.id).delete()
    assert told(tenant) == []


def test_budget_names_its_model_and_api_key_as_long_as_they_are(tenant: Tenant) -> None:
    key = new_key(tenant).row
    key.name = "<b>" * 33
    key.save(update_fields=["name"])
    use(saved_budget(tenant.id, "1", model="m" * 256, api_key_id=key.id), "0.8")
    use(saved_budget(tenant.id, "1", model="gpt-4o", api_key_id=random_id()), "0.8")
    titles = sorted(title for _, _, title in told(tenant))
    assert all(len(title) <= 200 for title in titles)
    assert titles[0].startswith("80 % of today's budget for gpt-4o of API key “")
    assert "mmm…" in titles[1]
    assert any(f"for {'m' * 256} of API key “{key.name}”." in alert.text for alert in open_alerts(tenant.id))


def test_budget_of_nothing_is_meant_so(tenant: Tenant) -> None:
    use(saved_budget(tenant.id, "0"), "0")
    assert told(tenant) == []


def test_deleted_tenants_are_told_nothing(tenant: Tenant) -> None:
    use(saved_budget(tenant.id, "1"), "1")
    query("delete from data_key where tenant_id = %s", [tenant.id])
    assert told(tenant) == []


def test_all_tenants_take_one_statement(tenant: Tenant) -> None:
    other = new_tenant()
    for each in (tenant, other):
        use(saved_budget(each.id, "1"), "1")
    found = [condition.tenant_id for condition in alert_conditions.find() if condition.kind == Alert.Kind.BUDGET]
    assert {tenant.id, other.id} <= set(found)
