"""A tenant's webhook over the API: one URL, and a signing secret that is shown once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from accounts import sealed
from accounts.models import AuditEvent, TenantSecret
from console import alert_messages, alert_tests, settings_answers, webhooks
from console.alert_tests import TESTS_AN_HOUR
from console.models import AlertSettings, Delivery
from tests.cast import Key, new_caller, new_key
from tests.client import Answer, Client
from tests.console_cast import new_person, visitor
from tests.processes import RunningServer
from tests.test_webhooks import local, receiver, with_webhook  # noqa: F401  fixtures

WEBHOOKS = "/api/v1/webhooks"
URL = "https://example.com/hook?token=t"


@pytest.fixture
def owner(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


@pytest.fixture
def client(server: RunningServer, owner: Key) -> Iterator[Client]:
    with Client(server.url, new_key(owner.row.tenant, ["admin"]).token) as client:
        yield client


def put(client: Client, **fields: Any) -> Answer:
    return client.send("PUT", WEBHOOKS, json.dumps(fields).encode(), {"content-type": "application/json"})


def url(client: Client) -> Any:
    answer = client.send("GET", WEBHOOKS)
    assert (answer.status, set(answer.json())) == (200, {"url"})
    return answer.json()["url"]


def secret_of(owner: Key) -> str | None:
    found = sealed.get(owner.row.tenant_id, webhooks.SECRET_NAME)
    return None if found is None else found.decode()


def events(owner: Key) -> list[tuple[str, str]]:
    """By the API, oldest first."""
    found = AuditEvent.objects.filter(tenant_id=owner.row.tenant_id, actor__startswith="API key").order_by("at")
    assert all(event.details == {} for event in found)
    return [(event.action, event.target) for event in found]


def test_secret_is_shown_when_it_is_made_and_only_then(client: Client, owner: Key, server: RunningServer) -> None:
    assert url(client) is None
    made = put(client, url=URL)
    secret = secret_of(owner)
    assert secret is not None
    assert (made.status, made.json()) == (201, {"url": URL, "secret": secret})
    assert url(client) == URL
    moved = put(client, url="https://example.com/other")
    assert (moved.status, moved.json()) == (200, {"url": "https://example.com/other"})
    assert secret_of(owner) == secret
    person = new_person(tenant=owner.row.tenant)
    assert "https://example.com/other" in visitor(server, person).get(person.path("settings")).text
    assert secret not in server.log_path.read_text(errors="replace")
    assert events(owner) == [
        ("webhook.set", "https://example.com/hook"),  # a query may hold a token
        ("webhook.set", "https://example.com/other"),
    ]


def test_rotation_makes_another_secret(client: Client, owner: Key) -> None:
    first = put(client, url=URL).json()["secret"]
    answer = client.send("POST", f"{WEBHOOKS}/rotate")
    assert (answer.status, answer.json()) == (200, {"url": URL, "secret": secret_of(owner)})
    assert answer.json()["secret"] != first
    assert events(owner)[1:] == [("webhook.rotate_secret", owner.row.tenant.name)]


def test_deleted_with_its_secret(client: Client, owner: Key) -> None:
    AlertSettings.objects.create(tenant=owner.row.tenant, storage_percent=5)
    first = put(client, url=URL).json()["secret"]
    assert [client.send("DELETE", WEBHOOKS).json() for _ in range(2)] == [{"deleted": True}, {"deleted": False}]
    assert url(client) is None
    assert not TenantSecret.objects.filter(tenant=owner.row.tenant).exists()
    assert AlertSettings.objects.get(tenant=owner.row.tenant).storage_percent == 5
    assert [action for action, _ in events(owner)] == ["webhook.set", "webhook.remove"]
    again = put(client, url=URL)
    assert again.status == 201
    assert again.json()["secret"] != first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "url: the object missing required field `url`; send an https:// URL of at most 2000 characters."),
        ({"url": URL, "secret": "mine"}, "secret: the object contains unknown field"),
        ({"url": None}, "url: expected `str`"),
        ({"url": ""}, "url: expected `str` of length >= 1"),
        ({"url": f"https://example.com/{'x' * 2000}"}, "url: expected `str` of length <= 2000"),
        ({"url": "http://example.com/"}, "url: give a URL that starts with https://."),
        ({"url": "https://user:password@example.com/"}, "url: a URL with a name or password in it is not used"),
        ({"url": "https://example.com/#part"}, "url: leave out what is after #"),
        ({"url": "https://[::1/"}, "url: this is not a URL: give one like https://example.com/path."),
    ],
)
def test_what_is_refused_changes_nothing(client: Client, owner: Key, fields: Any, message: str) -> None:
    put(client, url=URL)
    secret, before = secret_of(owner), events(owner)
    answer = put(client, **fields)
    assert (answer.status, answer.error_code()) == (400, "invalid_request"), answer
    assert message in answer.error_message()
    assert (url(client), secret_of(owner), events(owner)) == (URL, secret, before)


def test_other_content_types_and_parameters_are_refused(client: Client) -> None:
    assert client.send("PUT", WEBHOOKS, b"url=https://example.com").status == 415
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
        assert client.send(method, f"{WEBHOOKS}{path}?all=1").error_code() == "invalid_request"


@pytest.mark.parametrize("path", ["/rotate", "/test"])
def test_without_a_webhook_there_is_nothing_to_do(client: Client, owner: Key, path: str) -> None:
    answer = client.send("POST", WEBHOOKS + path)
    assert (answer.status, answer.error_code()) == (404, "not_found")
    assert "PUT /api/v1/webhooks" in answer.error_message()
    assert (secret_of(owner), events(owner)) == (None, [])


def test_test_says_what_became_of_it_and_leads_nowhere_inside(client: Client, owner: Key) -> None:
    put(client, url="https://127.0.0.1/hook")
    answer = client.send("POST", f"{WEBHOOKS}/test")
    outcome = "the host leads to a private or reserved address, where nothing is sent"
    assert (answer.status, answer.json()) == (200, {"delivered": False, "outcome": outcome})
    [delivery] = Delivery.objects.filter(tenant=owner.row.tenant)
    assert (delivery.event, delivery.next_attempt_at, delivery.outcome) == ("test", None, outcome)
    assert delivery.content["data"]["sent_by"].startswith("API key ")


def test_test_that_arrives_says_so(local: None, receiver: Any) -> None:  # noqa: F811  the fixtures
    tenant, _ = with_webhook(receiver.url)
    [sent] = alert_tests.send(tenant.id, alert_messages.test_webhook(tenant.id, "API key x"), "API key x")
    assert json.loads(settings_answers.tested(sent).body) == {"delivered": True, "outcome": "it answered 200"}
    [(_, body)] = receiver.received
    assert (json.loads(body)["type"], json.loads(body)["data"]) == ("test", {"sent_by": "API key x"})


def test_tests_are_counted_with_the_consoles(client: Client, owner: Key) -> None:
    put(client, url="https://127.0.0.1/hook")
    Delivery.objects.bulk_create(
        Delivery(tenant=owner.row.tenant, channel="email", address="a", event="test", content={"sent_by": "a member"})
        for _ in range(TESTS_AN_HOUR - 1)
    )
    assert client.send("POST", f"{WEBHOOKS}/test").status == 200
    answer = client.send("POST", f"{WEBHOOKS}/test")
    assert (answer.status, answer.error_code()) == (409, "conflict")
    assert answer.error_message() == "At most 30 tests are sent an hour; wait a while."


def test_only_admin_keys_see_and_change(client: Client, server: RunningServer, owner: Key) -> None:
    put(client, url=URL)
    with Client(server.url, new_key(owner.row.tenant, ["read", "write", "delete", "gateway"]).token) as caller:
        answers = [put(caller, url="https://example.com/theirs")]
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
            answers.append(caller.send(method, WEBHOOKS + path))
    assert {answer.error_code() for answer in answers} == {"forbidden"}
    assert url(client) == URL
