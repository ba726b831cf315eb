"""The console's pages of budgets and prices: what they show, what they set, whom they refuse."""

import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from accounts import tokens
from accounts.models import APIKey, AuditEvent, random_id
from accounts.policy import Role
from gateway import budget_settings
from gateway.budget_settings import RATES
from gateway.models import Budget, BudgetDay, ModelPrice
from tests.cast import ACTOR, new_key, new_tenant
from tests.console_cast import PASSWORD, Person, forget_authentication, new_person, visitor
from tests.console_pages import get, queries
from tests.gateway_console_cast import MARKUP, add, errors
from tests.processes import RunningServer

ODD = "meta-llama/Llama 3?x=1&y=#%2F"  # a model that no path could have
NEW = {"api_key": "", "model": "", "usd_per_day": "25", "alert_percent": "80"}
PRICE = {"provider": "openai", "model": "gpt-9", "input_per_million": "2.5"}


@pytest.fixture
def owner() -> Person:
    return new_person()


def budget_of(person: Person, **changes: Any) -> Budget:
    fields: dict[str, Any] = {"api_key_id": None, "model": "", "usd_per_day": Decimal(10), "alert_percent": 80}
    return budget_settings.create_budget(person.tenant.id, **{**fields, **changes}, actor=ACTOR)


def use(budget: Budget, used: str, days_ago: int = 0) -> None:
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    BudgetDay.objects.create(tenant_id=budget.tenant_id, budget_id=budget.id, day=day, used=Decimal(used))


def price_of(person: Person, model: str = "gpt-9", provider: str = "openai", **rates: Decimal) -> ModelPrice:
    wanted = {**dict.fromkeys(RATES), **(rates or {"per_call": Decimal("0.5")})}
    found, _ = budget_settings.put_price(person.tenant.id, provider, model, wanted, ACTOR)
    return found


def rows(page: httpx.Response) -> list[str]:
    """The text of each line of the page's table."""
    found = re.findall(r"<tr>(.*?)</tr>", page.text.partition("<tbody>")[2], re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


def actions(person: Person) -> list[str]:
    events = AuditEvent.objects.filter(tenant_id=person.tenant.id, actor=person.user.email).order_by("at")
    return list(events.values_list("action", flat=True))


# Budgets


def test_budgets_show_what_today_used_of_them(server: RunningServer, owner: Person) -> None:
    key = new_key(owner.tenant).row
    APIKey.objects.filter(id=key.id).update(name=MARKUP)
    budgets = [
        budget_of(owner),
        budget_of(owner, model=MARKUP, usd_per_day=Decimal("0.000000003")),
        budget_of(owner, api_key_id=key.id, usd_per_day=Decimal(100)),
        budget_of(owner, model="m", usd_per_day=Decimal(0)),
    ]
    for budget, used in zip(budgets, ("7.999999999", "0.000000003", "80"), strict=False):
        use(budget, used)
        use(budget, "5", days_ago=1)
    page = visitor(server, owner).get(owner.path("gateway/budgets"))
    text = html.unescape(MARKUP)
    assert "<img" not in page.text
    shown = [html.unescape(row) for row in rows(page)]
    assert shown[0].startswith("All models all API keys $8.00 (79 %)")
    assert shown[1].startswith(f"{text} all API keys $0.0000 (100 %) Calls are refused")
    assert shown[2].startswith(f"All models API key {text} $80.00 (80 %) Alerted")
    assert shown[3].startswith("m all API keys $0.00 (100 %) Calls are refused")


def test_a_tenant_without_budgets_is_told_what_to_do(server: RunningServer, owner: Person) -> None:
    page = visitor(server, owner).get(owner.path("gateway/budgets"))
    assert "No budget yet" in page.text
    assert owner.path("gateway/budgets/create") in page.text


def test_a_budget_is_what_the_form_says(server: RunningServer, owner: Person) -> None:
    key = new_key(owner.tenant)
    client = visitor(server, owner)
    sent = {"api_key": key.id, "model": " gpt-9 ", "usd_per_day": "0.123456789", "alert_percent": "50"}
    for fields in (sent, NEW):
        answer = client.post(owner.path("gateway/budgets/create"), fields)
        assert answer.status_code == 302, errors(answer)
    first, second = budget_settings.list_budgets(owner.tenant.id)
    assert (first.api_key_id, first.model, first.alert_percent) == (key.row.id, "gpt-9", 50)
    assert first.usd_per_day == Decimal("0.123456789")
    assert (second.api_key_id, second.model, second.usd_per_day) == (None, "", 25)
    assert actions(owner) == ["budget.create", "budget.create"]
    again = client.post(owner.path("gateway/budgets/create"), NEW)
    assert errors(again)[""] == "There is a budget for this API key and model already: change that one."


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("usd_per_day", "", "Give USD such as 2.50, with at most 9 decimals."),
        ("usd_per_day", "-1", "Give USD such as 2.50"),
        ("usd_per_day", "NaN", "Give USD such as 2.50"),
        ("usd_per_day", "1e400", "Give USD such as 2.50"),
        ("usd_per_day", "1000000000", "Give USD such as 2.50"),
        ("usd_per_day", "0.0000000001", "Give USD such as 2.50"),
        ("alert_percent", "", "Give a whole number from 1 to 100."),
        ("alert_percent", "0", "Give a whole number from 1 to 100."),
        ("alert_percent", "101", "Give a whole number from 1 to 100."),
        ("model", "é" * 129, "These are 258 bytes; give at most 256."),
        ("model", "a\x07b", "Leave out control characters"),
        ("model", "a\x00b", "Leave out control characters"),
        ("api_key", "zzzzzzzzzzz", "There is no such API key any more"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    server: RunningServer, owner: Person, field: str, value: str, said: str
) -> None:
    answer = visitor(server, owner).post(owner.path("gateway/budgets/create"), {**NEW, field: value})
    assert answer.status_code == 422
    told = errors(answer)
    assert list(told) == [field]
    assert said in told[field]
    assert not Budget.objects.filter(tenant_id=owner.tenant.id).exists()


def test_revoked_keys_and_those_of_others_get_no_budget(server: RunningServer, owner: Person) -> None:
    revoked, internal, theirs = new_key(owner.tenant), new_key(owner.tenant), new_key(new_tenant())
    APIKey.objects.filter(id=revoked.row.id).update(revoked_at=datetime.now(UTC))
    APIKey.objects.filter(id=internal.row.id).update(internal=True)
    client = visitor(server, owner)
    for key in (revoked, internal, theirs):
        answer = client.post(owner.path("gateway/budgets/create"), {**NEW, "api_key": key.id})
        assert list(errors(answer)) == ["api_key"]


def test_a_budget_is_changed_and_what_was_used_stays(server: RunningServer, owner: Person) -> None:
    budget = budget_of(owner, model="gpt-9", usd_per_day=Decimal("2.50"))
    use(budget, "2")
    client, path = visitor(server, owner), owner.path(f"gateway/budgets/{tokens.encode_id(budget.id)}/edit")
    assert 'name="usd_per_day" value="2.5"' in client.get(path).text
    same = {"usd_per_day": "2.500", "alert_percent": "80"}
    assert client.post(path, same).status_code == 302
    assert actions(owner) == []
    assert errors(client.post(path, {**same, "alert_percent": "x"})) == {
        "alert_percent": "Give a whole number from 1 to 100."
    }
    assert client.post(path, {**same, "usd_per_day": "20"}).status_code == 302
    budget.refresh_from_db()
    assert (budget.usd_per_day, budget.alert_percent, budget.model) == (20, 80, "gpt-9")
    assert actions(owner) == ["budget.update"]
    assert budget_settings.used_today(owner.tenant.id) == {budget.id: Decimal(2)}


def test_a_budget_is_deleted_after_it_was_confirmed(server: RunningServer, owner: Person) -> None:
    budget = budget_of(owner)
    client, path = visitor(server, owner), owner.path(f"gateway/budgets/{tokens.encode_id(budget.id)}/delete")
    assert "Nothing limits this spending any more" in client.get(path).text
    assert Budget.objects.filter(id=budget.id).exists()
    assert client.post(path).status_code == 302
    assert not Budget.objects.filter(id=budget.id).exists()
    assert client.post(path).status_code == 404


# Prices


def test_a_price_is_what_the_form_says(server: RunningServer, owner: Person) -> None:
    add(owner)
    client = visitor(server, owner)
    rates = {name: f"{n}.000000001" for n, name in enumerate(RATES)}
    answer = client.post(owner.path("gateway/prices/create"), {**PRICE, **rates, "model": ODD})
    assert answer.status_code == 302, errors(answer)
    [price] = budget_settings.list_prices(owner.tenant.id)
    assert (price.provider, price.model) == ("openai", ODD)
    assert [getattr(price, name) for name in RATES] == [Decimal(rates[name]) for name in RATES]
    page = client.get(owner.path("gateway/prices"))
    [row] = rows(page)
    assert html.unescape(row).startswith(f"{ODD} openai $0.000000001 $1.000000001 $2.000000001")
    named = urlencode({"provider": "openai", "model": ODD})
    assert f"gateway/prices/edit?{html.escape(named)}" in page.text

    edit = client.get(owner.path(f"gateway/prices/edit?{named}"))
    assert 'name="per_call" value="3.000000001"' in edit.text
    sent = {"provider": "openai", "model": ODD, "per_image": "0.04"}
    assert client.post(owner.path("gateway/prices/edit"), sent).status_code == 302
    [price] = budget_settings.list_prices(owner.tenant.id)
    assert [getattr(price, name) for name in RATES] == [None, None, None, None, Decimal("0.04"), None]

    assert "Delete the price of" in client.get(owner.path(f"gateway/prices/delete?{named}")).text
    assert client.post(owner.path("gateway/prices/delete"), sent).status_code == 302
    assert budget_settings.list_prices(owner.tenant.id) == []
    assert actions(owner) == ["price.set", "price.set", "price.delete"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("provider", "nowhere", "nowhere is not one of the available choices."),
        ("provider", "", "Choose one."),
        ("model", "", "Give the model's name."),
        ("model", "taken", "There is a price of it already: change that one."),
        ("model", "é" * 129, "These are 258 bytes; give at most 256."),
        ("input_per_million", "cheap", "Give USD such as 2.50, with at most 9 decimals, or leave it empty."),
        ("per_second", "-0.1", "or leave it empty."),
        ("", "", "Give at least one price. What is left empty costs nothing."),
    ],
)
def test_what_is_wrong_in_a_price_is_told_beside_its_field(
    server: RunningServer, owner: Person, field: str, value: str, said: str
) -> None:
    add(owner)
    price_of(owner, "taken")
    sent = {**PRICE, field: value} if field else {**PRICE, "input_per_million": ""}
    answer = visitor(server, owner).post(owner.path("gateway/prices/create"), sent)
    assert answer.status_code == 422
    told = errors(answer)
    assert list(told) == [field]
    assert said in told[field]
    assert [price.model for price in budget_settings.list_prices(owner.tenant.id)] == ["taken"]


def test_without_a_provider_there_is_no_price(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    assert "Add a provider first." in client.get(owner.path("gateway/prices")).text
    assert "add the provider first" in client.get(owner.path("gateway/prices/create")).text
    assert client.post(owner.path("gateway/prices/create"), PRICE).status_code == 422


def test_many_prices_are_paged(server: RunningServer, owner: Person) -> None:
    ModelPrice.objects.bulk_create(
        ModelPrice(tenant_id=owner.tenant.id, provider="openai", model=f"model {n:04}", per_call=n) for n in range(120)
    )
    client = visitor(server, owner)
    assert len(rows(client.get(owner.path("gateway/prices")))) == 50
    last = client.get(owner.path("gateway/prices?page=3"))
    assert "101 to 120 of 120" in last.text
    assert rows(last)[-1].startswith("model 0119 openai")


# Who may


@pytest.mark.parametrize(
    ("role", "manages"),
    [(Role.ADMIN, True), (Role.DEVELOPER, False), (Role.BILLING, False), (Role.VIEWER, False)],
)
def test_roles(server: RunningServer, role: str, manages: bool) -> None:
    person = new_person(role)
    add(person)
    price_of(person)
    code = tokens.encode_id(budget_of(person).id)
    client = visitor(server, person)
    for path in ("gateway/budgets", "gateway/prices"):
        page = client.get(person.path(path))
        assert page.status_code == 200
        assert ("/create" in page.text or "/edit" in page.text or "/delete" in page.text) is manages
    named = {"provider": "openai", "model": "gpt-9"}
    for path, sent in (
        ("budgets/create", {**NEW, "model": "other"}),
        (f"budgets/{code}/edit", {"usd_per_day": "99", "alert_percent": "1"}),
        (f"budgets/{code}/delete", {}),
        ("prices/create", {**PRICE, "model": "other"}),
        ("prices/edit", {**named, "per_call": "9"}),
        ("prices/delete", named),
    ):
        path = person.path(f"gateway/{path}")
        query = "" if "create" in path else f"?{urlencode(named)}"
        assert client.get(path + query).status_code == (200 if manages else 403)
        assert client.post(path, sent).status_code == (302 if manages else 403)
    models = [budget.model for budget in budget_settings.list_budgets(person.tenant.id)]
    prices = [price.model for price in budget_settings.list_prices(person.tenant.id)]
    assert (models, prices) == ((["other"], ["other"]) if manages else ([""], ["gpt-9"]))


@pytest.mark.parametrize(
    ("page", "sent"),
    [
        ("budgets/{}/edit", {"usd_per_day": "1000000", "alert_percent": "80"}),
        ("budgets/{}/delete", {}),
        ("prices/edit", {"provider": "openai", "model": ODD, "per_call": "0"}),
        ("prices/delete", {"provider": "openai", "model": ODD}),
    ],
)
def test_what_lifts_a_limit_takes_a_recent_sign_in(
    server: RunningServer, owner: Person, page: str, sent: dict[str, str]
) -> None:
    """And goes on after the password, as it was sent."""
    add(owner)
    budget = budget_of(owner)
    price_of(owner, ODD)
    forget_authentication(owner.session)
    client = visitor(server, owner)
    asked = client.post(owner.path(f"gateway/{page.format(tokens.encode_id(budget.id))}"), sent).headers["location"]
    assert asked.startswith("/console/account/reauthenticate/")
    assert actions(owner) == []
    client.get(asked)
    assert client.post(asked, {"password": PASSWORD}).status_code == 302
    done = [action for action in actions(owner) if action.startswith(("budget.", "price."))]
    assert len(done) == 1


def test_those_of_others_do_not_exist(server: RunningServer, owner: Person) -> None:
    other = replace(owner, tenant=new_tenant())
    add(other)
    add(owner)
    price_of(other, "theirs")
    theirs = tokens.encode_id(budget_of(other, model="theirs").id)
    client = visitor(server, owner)
    for page in ("budgets", "prices"):
        assert "theirs" not in client.get(owner.path(f"gateway/{page}")).text
    for code in (theirs, tokens.encode_id(random_id()), "x", "%00"):
        for page in ("edit", "delete"):
            assert client.get(owner.path(f"gateway/budgets/{code}/{page}")).status_code == 404
            assert client.post(owner.path(f"gateway/budgets/{code}/{page}"), NEW).status_code == 404
    for model in ("theirs", "a\x00b", ""):
        named = {"provider": "openai", "model": model, "per_call": "1"}
        for page in ("edit", "delete"):
            assert client.get(owner.path(f"gateway/prices/{page}?{urlencode(named)}")).status_code == 404
            assert client.post(owner.path(f"gateway/prices/{page}"), named).status_code == 404
    assert Budget.objects.filter(tenant_id=other.tenant.id).exists()
    assert ModelPrice.objects.filter(tenant_id=other.tenant.id).exists()


def test_the_pages_make_few_queries(owner: Person) -> None:
    """Session, user, membership and tenant; the session's activity (2 at most); budgets, their day and their keys'
    names; or prices and nothing else."""
    add(owner)
    for n in range(20):
        use(budget_of(owner, api_key_id=new_key(owner.tenant).row.id, model=f"m{n}"), "1")
        price_of(owner, f"m{n}")
    get(owner, "gateway/budgets")
    for page, most in (("gateway/budgets", 9), ("gateway/prices", 7)):
        made = queries(owner, page)
        assert 4 <= len(made) <= most, made
