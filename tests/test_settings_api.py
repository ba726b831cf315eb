"""A tenant's settings over the API: as the console's page changes them, with an API key as the one who does."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.models import AuditEvent, Tenant
from billing.models import Account
from console.models import AlertSettings
from console.settings_answers import ShownSettings
from console.settings_forms import checked_addresses
from tests.cast import Key, new_caller, new_key, new_tenant
from tests.client import Answer, Client
from tests.console_cast import new_person, visitor
from tests.processes import RunningServer

SETTINGS = "/api/v1/settings"
DEFAULTS = {"storage_percent": 80, "low_balance": "10.00", "month_credits": None, "emails": []}


@pytest.fixture
def owner(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


@pytest.fixture
def client(server: RunningServer, owner: Key) -> Iterator[Client]:
    with Client(server.url, new_key(owner.row.tenant, ["admin"]).token) as client:
        yield client


def send(client: Client, body: Any, query: str = "") -> Answer:
    return client.send("PATCH", SETTINGS + query, json.dumps(body).encode(), {"content-type": "application/json"})


def change(client: Client, **fields: Any) -> Any:
    answer = send(client, fields)
    assert answer.status == 200, answer
    assert answer.json() == shown(client)
    return answer.json()


def shown(client: Client) -> Any:
    answer = client.send("GET", SETTINGS)
    assert answer.status == 200, answer
    msgspec.convert(answer.json(), ShownSettings)
    return answer.json()


def events(tenant: Tenant) -> list[tuple[str, str, Any]]:
    """By the API, oldest first."""
    found = AuditEvent.objects.filter(tenant_id=tenant.id, actor__startswith="API key").order_by("at")
    return [(event.action, event.target, event.details) for event in found]


def unverified(tenant: Tenant) -> None:
    """As though somebody had signed up for it, whose address nobody knows to be theirs."""
    Account.objects.filter(tenant=tenant).update(unverified=True)


def test_settings_of_a_new_tenant(client: Client, owner: Key) -> None:
    name = owner.row.tenant.name
    assert shown(client) == {"name": name, "default_ttl": None, "max_ttl": None, "alerts": DEFAULTS}
    assert events(owner.row.tenant) == []


def test_all_of_it_is_changed_and_holds(client: Client, owner: Key, server: RunningServer) -> None:
    tenant, name = owner.row.tenant, f"acme {secrets.token_hex(6)}"
    former = tenant.name
    alerts = {"storage_percent": 1, "low_balance": "0.00", "month_credits": "2500.50", "emails": ["ops@example.com"]}
    wanted = {"name": name, "default_ttl": 60, "max_ttl": 3600, "alerts": alerts}
    assert change(client, **wanted | {"name": f"  {name} "}) == wanted
    with Client(server.url, owner.token) as caller:
        account = caller.send("GET", "/api/v1/account").json()
        assert (account["tenant"]["name"], account["ttl"]["default_seconds"]) == (name, 60)
        assert caller.put("k", 1, ttl=3601).error_code() == "invalid_request"
    assert name in visitor(server, person := new_person(tenant=tenant)).get(person.path("settings")).text
    in_units = {**alerts, "low_balance": 0, "month_credits": 250_050}
    assert events(tenant) == [
        ("tenant.rename", name, {"former": former}),
        ("tenant.set_ttls", name, {"default_ttl": 60, "max_ttl": 3600}),
        ("tenant.set_alerts", name, in_units),
    ]


def test_what_is_left_out_stays(client: Client, owner: Key) -> None:
    change(client, max_ttl=3600, alerts={"low_balance": "7", "emails": ["a@example.com", "b@example.com"]})
    change(client, default_ttl=60)
    assert change(client, max_ttl=None, alerts={"low_balance": None, "month_credits": "5.5"}) == {
        "name": owner.row.tenant.name,
        "default_ttl": 60,
        "max_ttl": None,
        "alerts": {
            "storage_percent": 80,
            "low_balance": None,
            "month_credits": "5.50",
            "emails": ["a@example.com", "b@example.com"],
        },
    }
    AlertSettings.objects.filter(tenant=owner.row.tenant).update(webhook_url="https://example.com/")
    change(client, alerts={"emails": []})
    assert AlertSettings.objects.get(tenant=owner.row.tenant).webhook_url == "https://example.com/"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "body: it changes nothing; send one or more of name, default_ttl, max_ttl, alerts"),
        ({"alerts": {}}, "alerts: it changes nothing; send one or more of storage_percent"),
        ({"plan": "pro"}, "plan: the object contains unknown field"),
        ({"alerts": {"webhook_url": "https://example.com"}}, "webhook_url"),
        ({"name": ""}, "name: expected `str` of length >= 1; send 1 to 100 characters"),
        ({"name": " "}, "name: "),
        ({"name": "x" * 101}, "name: expected `str` of length <= 100; send 1 to 100 characters"),
        ({"name": "a\tb"}, "name: "),
        ({"name": None}, "name: "),
        ({"default_ttl": 0}, "default_ttl: expected `int` >= 1; send whole seconds from 1 to 31536000, or null"),
        ({"max_ttl": 31_536_001}, "max_ttl: expected `int` <= 31536000"),
        ({"max_ttl": "1 d"}, "max_ttl: expected `int | null`"),
        ({"default_ttl": 61, "max_ttl": 60}, "default_ttl: 61 seconds are above max_ttl, which is 60; lower the one"),
        ({"alerts": None}, "alerts: "),
        ({"alerts": {"storage_percent": 101}}, "alerts.storage_percent: expected `int` <= 100; send whole percents"),
        ({"alerts": {"storage_percent": None}}, "alerts.storage_percent: "),
        ({"alerts": {"low_balance": 5}}, "alerts.low_balance: expected `str | null`, got `int`; send credits as a"),
        ({"alerts": {"low_balance": "-1"}}, "alerts.low_balance: "),
        ({"alerts": {"month_credits": "0.001"}}, "alerts.month_credits: "),
        ({"alerts": {"month_credits": "1" * 13}}, "alerts.month_credits: "),
        ({"alerts": {"emails": "a@example.com"}}, "alerts.emails: expected `array`"),
        (
            {"alerts": {"emails": ["nobody"]}},
            "alerts.emails: “nobody” is no e-mail address; correct it or leave it out",
        ),
        ({"alerts": {"emails": ["a@example.com", 1]}}, "alerts.emails[1]: expected `str`"),
        ({"alerts": {"emails": [f"{'x' * 60}@{'y' * 60}.{'z' * 60}.{'y' * 60}.{'z' * 8}.com"]}}, "alerts.emails"),
        ({"alerts": {"emails": ['"a,b"@example.com']}}, "alerts.emails[0]: expected `str` matching"),
        ({"alerts": {"emails": ["a@example.com\n"]}}, "alerts.emails: “a@example.com\n” is no e-mail address"),
        ({"alerts": {"emails": [f"{n}@example.com" for n in range(11)]}}, "alerts.emails: expected `array` of length"),
    ],
)
def test_what_is_refused_changes_nothing(client: Client, owner: Key, fields: Any, message: str) -> None:
    before = shown(client)
    answer = send(client, fields)
    assert (answer.status, answer.error_code()) == (400, "invalid_request"), answer
    assert message in answer.error_message()
    assert shown(client) == before
    assert events(owner.row.tenant) == []


def test_an_address_that_the_database_has_no_room_for_is_none() -> None:
    long = f"{'x' * 60}@{'y' * 60}.{'z' * 60}.{'y' * 60}.{'z' * 8}.com"
    validate_email(long)
    with pytest.raises(ValidationError, match="is no e-mail address"):
        checked_addresses(["a@example.com", long])


def test_one_field_that_is_refused_leaves_the_others(client: Client, owner: Key) -> None:
    taken = new_tenant().name
    for wrong, message in (
        ({"name": taken}, "name: another tenant has it already; choose another one."),
        ({"name": secrets.token_hex(8), "default_ttl": 9, "max_ttl": 8}, "default_ttl: 9 seconds are above"),
    ):
        answer = send(client, {"max_ttl": 100, "alerts": {"storage_percent": 5}} | wrong)
        assert (answer.status, message in answer.error_message()) == (400, True), answer
        assert shown(client)["alerts"] == DEFAULTS
        assert (shown(client)["name"], shown(client)["max_ttl"]) == (owner.row.tenant.name, None)
    assert events(owner.row.tenant) == []


def test_other_content_types_and_parameters_are_refused(client: Client) -> None:
    assert client.send("PATCH", SETTINGS, b"name=x").status == 415
    assert send(client, {"max_ttl": 5}, "?dry=1").error_code() == "invalid_request"
    assert client.send("GET", f"{SETTINGS}?all=1").error_code() == "invalid_request"


def test_strangers_get_alerts_once_an_owner_is_verified(client: Client, owner: Key) -> None:
    tenant = owner.row.tenant
    unverified(tenant)
    member = new_person("viewer", tenant).user
    answer = send(client, {"max_ttl": 60, "alerts": {"emails": ["stranger@example.com"]}})
    assert (answer.status, answer.error_code()) == (403, "forbidden")
    assert "an owner has to verify their e-mail address" in answer.error_message()
    assert (shown(client)["alerts"], shown(client)["max_ttl"], events(tenant)) == (DEFAULTS, None, [])
    assert change(client, alerts={"emails": [member.email]})["alerts"]["emails"] == [member.email]
    EmailAddress.objects.filter(user=member).update(verified=False)
    change(client, alerts={"emails": [member.email], "storage_percent": 5})  # what was there may stay
    Account.objects.filter(tenant=tenant).update(unverified=False)
    change(client, alerts={"emails": ["stranger@example.com"]})


def test_only_admin_keys_see_and_change(server: RunningServer, owner: Key) -> None:
    with Client(server.url, new_key(owner.row.tenant, ["read", "write", "delete", "gateway"]).token) as caller:
        assert caller.send("GET", SETTINGS).error_code() == "forbidden"
        assert send(caller, {"max_ttl": 5}).error_code() == "forbidden"
    assert events(owner.row.tenant) == []
