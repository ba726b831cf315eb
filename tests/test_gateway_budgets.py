"""Budgets and prices: how they are set, what they say of today, and what the audit log says of both."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts import tokens
from accounts.models import AuditEvent
from cacheservice.errors import Conflict
from gateway import budget_settings
from gateway.budgets import Budget, matching, resets_at
from gateway.ledger import Ledger
from gateway.models import BudgetDay
from gateway.providers import ProviderSettings, put_provider
from tests.cast import Key, new_caller
from tests.client import Answer, Client
from tests.ledger_cast import call, run_with_ledger, usd
from tests.processes import RunningServer

BUDGETS, PRICES = "/api/v1/budgets", "/api/v1/prices"


class Tenant:
    """A new one with a provider, and a client of it."""

    def __init__(self, client: Client, key: Key) -> None:
        self.client, self.key = client, key
        self.id = key.row.tenant_id
        put_provider(self.id, "openai", ProviderSettings(kind="openai"), "tests")

    def send(self, method: str, path: str, body: str = "") -> Answer:
        headers = {"content-type": "application/json"} if body else {}
        return self.client.send(method, path, body.encode(), headers)

    def audited(self, target: str) -> list[tuple[str, Any]]:
        found = AuditEvent.objects.filter(tenant_id=self.id, target=target).order_by("at")
        return [(event.action, event.details) for event in found]


@pytest.fixture
def tenant(server: RunningServer) -> Iterator[Tenant]:
    key = new_caller()
    with Client(server.url, key.token) as client:
        yield Tenant(client, key)


def test_budget_is_made_changed_and_deleted(tenant: Tenant) -> None:
    made = tenant.send("POST", BUDGETS, f'{{"usd_per_day": "12.5", "api_key_id": "{tenant.key.id}", "model": "a/b"}}')
    assert made.status == 201
    shown = made.json()
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert shown | {"id": "", "created_at": ""} == {
        "id": "",
        "api_key_id": tenant.key.id,
        "model": "a/b",
        "usd_per_day": "12.50",
        "alert_percent": 80,
        "used_usd": "0.00",
        "resets_at": f"{tomorrow}T00:00:00Z",
        "created_at": "",
    }
    path = f"{BUDGETS}/{shown['id']}"
    changed = tenant.send("PATCH", path, '{"usd_per_day": "0", "alert_percent": 50}')
    assert changed.json() == shown | {"usd_per_day": "0.00", "alert_percent": 50}
    assert tenant.send("GET", BUDGETS).json() == {"budgets": [changed.json()]}
    assert tenant.send("DELETE", path).json() == {"id": shown["id"], "deleted": True}
    assert tenant.send("DELETE", path).json() == {"id": shown["id"], "deleted": False}
    assert tenant.send("PATCH", path, '{"alert_percent": 1}').status == 404
    details = {"api_key_id": tenant.key.id, "model": "a/b", "usd_per_day": "12.50", "alert_percent": 80}
    assert tenant.audited(shown["id"]) == [
        ("budget.create", details),
        ("budget.update", details | {"usd_per_day": "0.00", "alert_percent": 50}),
        ("budget.delete", {}),
    ]


def test_budget_shows_what_today_used(tenant: Tenant) -> None:
    id = tenant.send("POST", BUDGETS, '{"usd_per_day": "1"}').json()["id"]
    budget_id = tokens.decode_id(id)

    async def scenario(ledger: Ledger) -> None:
        await ledger.reserve(call(tenant.id), [Budget(tenant.id, budget_id, None, "", usd("1"))], usd("0.25"))

    run_with_ledger(scenario)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    BudgetDay.objects.create(tenant_id=tenant.id, budget_id=budget_id, day=yesterday, used=9)
    assert tenant.send("GET", BUDGETS).json()["budgets"][0]["used_usd"] == "0.25"


def test_one_budget_for_the_same(tenant: Tenant) -> None:
    for body in ('{"usd_per_day": "1"}', '{"usd_per_day": "1", "model": "m"}'):
        assert tenant.send("POST", BUDGETS, body).status == 201
        again = tenant.send("POST", BUDGETS, body)
        assert (again.status, again.error_code()) == (409, "conflict")
    assert len(tenant.send("GET", BUDGETS).json()["budgets"]) == 2


def test_budgets_and_prices_are_bounded(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_settings, "MOST_BUDGETS", 0)
    monkeypatch.setattr(budget_settings, "MOST_PRICES", 0)
    with pytest.raises(Conflict, match="0 budgets"):
        budget_settings.create_budget(
            tenant.id, api_key_id=None, model="", usd_per_day=usd("1"), alert_percent=80, actor="tests"
        )
    with pytest.raises(Conflict, match="0 prices"):
        budget_settings.put_price(tenant.id, "openai", "m", dict.fromkeys(budget_settings.RATES), "tests")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("{}", 400, "usd_per_day"),
        ('{"usd_per_day": 5}', 400, "usd_per_day"),
        ('{"usd_per_day": "-1"}', 400, "usd_per_day"),
        ('{"usd_per_day": "1.0000000001"}', 400, "usd_per_day"),
        ('{"usd_per_day": "1000000000"}', 400, "usd_per_day"),
        ('{"usd_per_day": "1", "model": ""}', 400, "model"),
        ('{"usd_per_day": "1", "model": "a\\u0000"}', 400, "model"),
        ('{"usd_per_day": "1", "model": "a\\n"}', 400, "model"),
        ('{"usd_per_day": "1", "alert_percent": 0}', 400, "alert_percent"),
        ('{"usd_per_day": "1", "alert_percent": 101}', 400, "alert_percent"),
        ('{"usd_per_day": "1", "api_key_id": "x"}', 400, "api_key_id"),
        ('{"usd_per_day": "1", "api_key_id": "00000000000"}', 404, "no such API key"),
        ('{"usd_per_day": "1", "per": "day"}', 400, "per"),
    ],
)
def test_wrong_budget_is_refused(body: str, status: int, says: str, tenant: Tenant) -> None:
    answer = tenant.send("POST", BUDGETS, body)
    assert answer.status == status
    assert says in answer.json()["error"]["message"]
    assert tenant.send("GET", BUDGETS).json() == {"budgets": []}


def test_another_tenants_api_key_has_no_budget_here(tenant: Tenant) -> None:
    stranger = new_caller()
    answer = tenant.send("POST", BUDGETS, f'{{"usd_per_day": "1", "api_key_id": "{stranger.id}"}}')
    assert answer.status == 404


def test_price_is_set_replaced_and_deleted(tenant: Tenant) -> None:
    path = f"{PRICES}/openai/org/model%20x"
    new = tenant.send("PUT", path, '{"input_per_million": "2.5", "per_call": "0.000000001"}')
    assert new.status == 201
    nulls: dict[str, Any] = dict.fromkeys(budget_settings.RATES)
    named = {"provider": "openai", "model": "org/model x"}
    expected = {**named, **nulls, "input_per_million": "2.50", "per_call": "0.000000001"}
    assert new.json() | {"updated_at": ""} == expected | {"updated_at": ""}
    replaced = tenant.send("PUT", path, '{"per_image": "1"}')
    assert (replaced.status, replaced.json()["input_per_million"], replaced.json()["per_image"]) == (200, None, "1.00")
    assert tenant.send("GET", PRICES).json() == {"prices": [replaced.json()]}
    assert tenant.send("DELETE", path).json() == {**named, "deleted": True}
    assert tenant.send("DELETE", path).json() == {**named, "deleted": False}
    assert tenant.audited("openai/org/model x") == [
        ("price.set", nulls | {"input_per_million": "2.50", "per_call": "0.000000001"}),
        ("price.set", nulls | {"per_image": "1.00"}),
        ("price.delete", {}),
    ]


def test_price_of_calls_that_name_no_model(tenant: Tenant) -> None:
    path = f"{PRICES}/openai/-"
    new = tenant.send("PUT", path, '{"per_call": "1"}')
    assert (new.status, new.json()["model"]) == (201, "-")
    assert [each.model for each in budget_settings.list_prices(tenant.id)] == [""]
    _, again = budget_settings.put_price(tenant.id, "openai", "", dict.fromkeys(budget_settings.RATES), "tests")
    assert not again
    assert [each["model"] for each in tenant.send("GET", PRICES).json()["prices"]] == ["-"]
    assert tenant.send("DELETE", path).json() == {"provider": "openai", "model": "-", "deleted": True}
    assert not budget_settings.delete_price(tenant.id, "openai", "", "tests")
    assert [action for action, _ in tenant.audited("openai/-")] == ["price.set", "price.set", "price.delete"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nobody/m", '{"per_call": "1"}', 404),
        ("openai/" + "m" * 257, '{"per_call": "1"}', 400),
        ("openai/a%00", '{"per_call": "1"}', 400),
        ("openai/a%0A", '{"per_call": "1"}', 400),
        ("openai/m", '{"per_call": 1}', 400),
        ("openai/m", '{"per_call": "1e3"}', 400),
        ("openai/m", '{"per_hour": "1"}', 400),
        ("openai/m", "", 415),
    ],
)
def test_wrong_price_is_refused(path: str, body: str, status: int, tenant: Tenant) -> None:
    assert tenant.send("PUT", f"{PRICES}/{path}", body).status == status
    assert tenant.send("GET", PRICES).json() == {"prices": []}


def test_budgets_match_by_api_key_and_model() -> None:
    budgets = [
        Budget(1, id, key, model, usd("1")) for id, (key, model) in enumerate([(None, ""), (7, ""), (None, "m")])
    ]
    assert [each.id for each in matching(budgets, 7, "m")] == [0, 1, 2]
    assert [each.id for each in matching(budgets, 8, "m")] == [0, 2]
    assert [each.id for each in matching(budgets, 8, "M")] == [0]
    assert matching([], 7, "m") == ()


def test_those_of_every_model_match_where_the_model_is_not_known() -> None:
    rows = [(None, ""), (7, "m"), (None, "n"), (8, "m")]
    budgets = [Budget(1, id, key, model, usd("1")) for id, (key, model) in enumerate(rows)]
    assert [each.id for each in matching(budgets, 7, None)] == [0, 1, 2]
    assert [each.id for each in matching(budgets, 7, "")] == [0]


def test_days_end_at_midnight_utc() -> None:
    day = datetime(2026, 12, 31, tzinfo=UTC).date()
    assert resets_at(day) == datetime(2027, 1, 1, tzinfo=UTC)
