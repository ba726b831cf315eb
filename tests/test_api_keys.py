"""`/api/v1/keys`: what a key of the scope `admin` may do with its tenant's keys, what is refused, what is recorded."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from accounts import keys, tokens
from accounts.key_answers import APIKeyPage, NewAPIKey, ShownAPIKey
from accounts.key_requests import CreateAPIKey
from accounts.models import SCOPES, APIKey, AuditEvent
from billing.limits import set_api_key_limits, set_tenant_limits
from billing.models import CreditWindow
from tests.cast import ACTOR, Key, new_caller, new_key, revoke
from tests.client import Answer, Client
from tests.processes import RunningServer

KEYS = "/api/v1/keys"
MB = 10**6


@pytest.fixture
def owner(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


@pytest.fixture
def client(server: RunningServer, owner: Key) -> Iterator[Client]:
    with Client(server.url, owner.token) as client:
        yield client


def send(client: Client, method: str, path: str = "", body: Any = None) -> Answer:
    headers = {} if body is None else {"content-type": "application/json"}
    return client.send(method, KEYS + path, b"" if body is None else json.dumps(body).encode(), headers)


def create(client: Client, **fields: Any) -> Any:
    answer = send(client, "POST", body={"name": "made", "scopes": ["read"], **fields})
    assert answer.status == 201, answer
    content = answer.json()
    msgspec.convert(content, NewAPIKey)
    return content


def shown(client: Client, id: str) -> Any:
    answer = send(client, "GET", f"/{id}")
    assert answer.status == 200, answer
    msgspec.convert(answer.json(), ShownAPIKey)
    return answer.json()


def works(client: Client, token: str) -> bool:
    with Client(client.url, token) as other:
        status = other.get("k").status
    assert status in (200, 401)
    return status == 200


def events(owner: Key) -> list[tuple[str, str, str, Any]]:
    """By the API, oldest first."""
    found = AuditEvent.objects.filter(tenant_id=owner.row.tenant_id, actor__startswith="API key").order_by("at")
    return [(event.actor, event.action, event.target, event.details) for event in found]


# Creating


def test_created_key_works_and_is_shown_whole(client: Client, owner: Key) -> None:
    made = create(client, name="web", scopes=["write", "read"])
    token = made.pop("token")
    assert token.startswith(made["prefix"])
    assert made["created_at"].startswith(f"{datetime.now(UTC):%Y-%m-%dT%H}")
    assert made == {
        "id": made["id"],
        "name": "web",
        "scopes": ["read", "write"],
        "prefix": f"ck_live_{made['id']}",
        "created_at": made["created_at"],
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "former_secret_until": None,
        "requests_per_minute": None,
        "storage_quota": None,
        "credit_limit": None,
        "allowed_networks": None,
    }
    assert shown(client, made["id"]) == made
    with Client(client.url, token) as web:
        assert web.put("k", 1).status == 201
        assert web.get("k").json()["value"] == 1
        assert web.delete("k").error_code() == "forbidden"
        assert send(web, "GET").error_code() == "forbidden"
    row = APIKey.objects.get(id=tokens.decode_id(made["id"]))
    assert row.tenant_id == owner.row.tenant_id
    assert row.digest == tokens.digest(token.encode())
    assert events(owner) == [
        (f"API key {owner.id}", "api_key.create", made["id"], {"name": "web", "scopes": ["read", "write"]})
    ]


def test_created_with_everything(client: Client, owner: Key) -> None:
    made = create(
        client,
        scopes=list(SCOPES),
        expires_at="2999-12-31T23:59:59Z",
        requests_per_minute=100,
        storage_quota=5 * MB,
        credit_limit="2.5",
        allowed_networks=["127.0.0.1", "2001:DB8::/32", "127.0.0.1/32"],
    )
    assert made["expires_at"] == "2999-12-31T23:59:59Z"
    assert (made["requests_per_minute"], made["storage_quota"], made["credit_limit"]) == (100, 5 * MB, "2.50")
    assert made["allowed_networks"] == ["127.0.0.1/32", "2001:db8::/32"]
    assert {**shown(client, made["id"]), "token": made["token"]} == made
    row = APIKey.objects.get(id=tokens.decode_id(made["id"]))
    assert (row.credit_limit, row.scopes) == (250, keys.scope_mask(list(SCOPES)))
    assert CreditWindow.objects.get(api_key_id=row.id).units == 0
    with Client(client.url, made["token"]) as other:
        assert other.get("k").header("ratelimit-limit") == "100"
    assert [(action, details) for _, action, _, details in events(owner)] == [
        (
            "api_key.create",
            {"name": "made", "scopes": sorted(SCOPES), "allowed_networks": ["127.0.0.1/32", "2001:db8::/32"]},
        ),
        ("api_key.set_limits", {"requests_per_minute": 100, "storage_quota": 5 * MB, "credit_limit": 250}),
    ]


def test_ttl_is_when_it_expires(client: Client) -> None:
    made = create(client, ttl=3600)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert timedelta(seconds=3599) <= left <= timedelta(seconds=3601)
    short = create(client, ttl=1)
    while works(client, short["token"]):
        pass
    assert shown(client, short["id"])["revoked_at"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name: "),
        ({"name": "x" * 101}, "name: expected `str` of length <= 100; send 1 to 100 characters"),
        ({"name": "a\nb"}, "name: "),
        ({"name": 5}, "name: "),
        ({"scopes": []}, "scopes: "),
        ({"scopes": ["root"]}, "scopes[0]: Invalid enum value 'root'; send a list of one or more of read, write, "),
        ({"scopes": "read"}, "scopes: "),
        ({"ttl": 0}, "ttl: expected `int` >= 1; send whole seconds from 1 to 315360000, or leave it out"),
        ({"ttl": 315_360_001}, "ttl: "),
        ({"ttl": 5, "expires_at": "2999-01-01T00:00:00Z"}, "ttl: 'expires_at' says it already; send one of the two."),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at: 2020-01-01T00:00:00Z has passed; send a time in UTC"),
        ({"expires_at": "2999-02-30T00:00:00Z"}, "expires_at: there is no such time as '2999-02-30T00:00:00Z'; send "),
        ({"expires_at": "2999-01-01"}, "expires_at: "),
        ({"requests_per_minute": 0}, "requests_per_minute: expected `int` >= 1; send 1 to 1000000, or null"),
        ({"requests_per_minute": 10**6 + 1}, "requests_per_minute: "),
        ({"storage_quota": 0}, "storage_quota: "),
        (
            {"storage_quota": 10**15 + 1},
            f"storage_quota: expected `int` <= {10**15}; send 1 to {10**15} bytes, or null",
        ),
        ({"storage_quota": 1.5}, "storage_quota: "),
        ({"credit_limit": "0.00"}, "credit_limit: '0.00' is nothing; send credits as a decimal string"),
        ({"credit_limit": "-1"}, "credit_limit: "),
        ({"credit_limit": "0.001"}, "credit_limit: "),
        ({"credit_limit": 5}, "credit_limit: expected `str | null`, got `int`; send credits as a decimal string with "),
        (
            {"allowed_networks": []},
            "allowed_networks: expected `array` of length >= 1; send a list of 1 to 32 networks",
        ),
        ({"allowed_networks": ["10.0.0.0/8"] * 33}, "allowed_networks: "),
        (
            {"allowed_networks": ["10.1.0.0/8"]},
            "allowed_networks: '10.1.0.0/8' has bits beyond its prefix; the network ",
        ),
        ({"allowed_networks": ["here"]}, "allowed_networks: 'here' is no network; send one such as 203.0.113.0/24 or"),
        ({"alowed_networks": ["10.0.0.0/8"]}, "alowed_networks: the object contains unknown field"),
        ({"id": "00000000000"}, "id: the object contains unknown field"),
    ],
)
def test_what_cannot_be_created(client: Client, owner: Key, fields: Any, message: str) -> None:
    answer = send(client, "POST", body={"name": "made", "scopes": ["read"], **fields})
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith(message)
    assert APIKey.objects.filter(tenant=owner.row.tenant).count() == 1
    assert events(owner) == []


@pytest.mark.parametrize("body", [{}, {"name": "made"}, {"scopes": ["read"]}, [], None, 5])
def test_what_is_no_key_at_all(client: Client, body: Any) -> None:
    answer = client.send("POST", KEYS, json.dumps(body).encode(), {"content-type": "application/json"})
    assert (answer.status, answer.error_code()) == (400, "invalid_request")


def test_other_content_types_and_parameters_are_refused(client: Client, owner: Key) -> None:
    body = json.dumps({"name": "made", "scopes": ["read"]}).encode()
    assert client.send("POST", KEYS, body, {"content-type": "text/plain"}).error_code() == "unsupported_media_type"
    assert client.send("POST", KEYS, body).error_code() == "unsupported_media_type"
    for method, path in (
        ("POST", "?name=made"), ("GET", "?nothing=1"), ("GET", f"/{owner.id}?a=1"), ("PATCH", f"/{owner.id}?a=1"),
        ("DELETE", f"/{owner.id}?a=1"), ("POST", f"/{owner.id}/rotate?overlap=1"),
    ):  # fmt: skip
        assert send(client, method, path, {"name": "x"}).error_code() == "invalid_request"
    assert APIKey.objects.filter(tenant=owner.row.tenant, revoked_at=None).count() == 1


def test_schema_names_every_scope() -> None:
    for scope in SCOPES:
        msgspec.convert({"name": "x", "scopes": [scope]}, CreateAPIKey)


# Listing


def test_list_goes_through_all_newest_first_without_secrets(client: Client, owner: Key) -> None:
    made = [create(client, name=f"key {number}") for number in range(5)]
    APIKey.objects.filter(tenant=owner.row.tenant).update(internal=False)
    hidden = new_key(owner.row.tenant)
    APIKey.objects.filter(id=hidden.row.id).update(internal=True)
    send(client, "DELETE", f"/{made[2]['id']}")
    seen: list[Any] = []
    cursor = ""
    while True:
        answer = send(client, "GET", f"?limit=2{cursor}")
        page = answer.json()
        msgspec.convert(page, APIKeyPage)
        for secret in (*(key["token"] for key in made), owner.token):
            assert secret.encode() not in answer.body
            assert secret[len("ck_live_") + 12 :].encode() not in answer.body
        seen += page["keys"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [key["id"] for key in seen] == [key["id"] for key in reversed(made)] + [owner.id]
    assert [key["name"] for key in seen if key["revoked_at"]] == ["key 2"]
    assert send(client, "GET").json() == {"keys": seen, "next_cursor": None}
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = send(client, method, f"/{hidden.id}{path}", {"name": "x"} if method == "PATCH" else None)
        assert answer.error_code() == "not_found"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=00000000000", "cursor="])
def test_list_refuses(client: Client, query: str) -> None:
    assert send(client, "GET", f"?{query}").error_code() == "invalid_request"


def test_other_tenants_cursor_opens_nothing(client: Client) -> None:
    assert send(client, "GET", f"?cursor={new_caller().id}").error_code() == "invalid_request"


# Changing


def test_patch_changes_what_it_names(client: Client, owner: Key) -> None:
    made = create(client, requests_per_minute=5, allowed_networks=["127.0.0.1"])
    del made["token"]
    path = f"/{made['id']}"
    for change in (
        {"name": "renamed"},
        {"requests_per_minute": None, "storage_quota": MB},
        {"credit_limit": "7.00"},
        {"allowed_networks": ["10.0.0.0/8"]},
        {"allowed_networks": None, "credit_limit": None, "storage_quota": None, "name": "again"},
    ):
        made.update(change)
        answer = send(client, "PATCH", path, change)
        assert answer.status == 200
        assert answer.json() == shown(client, made["id"]) == made
    assert [(action, details) for _, action, _, details in events(owner)[2:]] == [
        ("api_key.update", {"name": "renamed"}),
        ("api_key.set_limits", {"requests_per_minute": None, "storage_quota": MB}),
        ("api_key.set_limits", {"credit_limit": 700}),
        ("api_key.update", {"allowed_networks": ["10.0.0.0/8"]}),
        ("api_key.set_limits", {"storage_quota": None, "credit_limit": None}),
        ("api_key.update", {"name": "again", "allowed_networks": None}),
    ]
    assert {actor for actor, *_ in events(owner)} == {f"API key {owner.id}"}


def test_more_requests_than_the_tenants_are_the_operators_to_give(client: Client, owner: Key) -> None:
    made = create(client)
    path, key = f"/{made['id']}", APIKey.objects.get(id=tokens.decode_id(made["id"]))
    set_tenant_limits(owner.row.tenant, requests_per_minute=120, actor=ACTOR)

    def refused(method: str, path: str, body: Any) -> None:
        answer = send(client, method, path, body)
        assert (answer.status, answer.error_code()) == (400, "invalid_request")
        assert answer.error_message().startswith("requests_per_minute: an API key of this tenant may make at most 120 ")

    refused("POST", "", {"name": "made", "scopes": ["read"], "requests_per_minute": 121})
    refused("PATCH", path, {"name": "renamed", "requests_per_minute": 10**6})
    assert APIKey.objects.filter(tenant=owner.row.tenant).count() == 2
    assert (shown(client, made["id"])["name"], shown(client, made["id"])["requests_per_minute"]) == ("made", None)
    assert create(client, requests_per_minute=120)["requests_per_minute"] == 120
    set_api_key_limits(key, requests_per_minute=5000, actor=ACTOR)
    for change in ({"storage_quota": MB}, {"name": "renamed", "requests_per_minute": 5000}):
        assert send(client, "PATCH", path, change).json()["requests_per_minute"] == 5000
    refused("PATCH", path, {"requests_per_minute": 5001})


def test_patch_holds_at_once_in_every_process(client: Client, server_without_lane: RunningServer, owner: Key) -> None:
    made = create(client)
    path = f"/{made['id']}"
    for url in (client.url, server_without_lane.url):
        with Client(url, made["token"]) as other:
            assert other.get("k").status == 200
    send(client, "PATCH", path, {"allowed_networks": ["203.0.113.0/24"], "requests_per_minute": 5})
    for url in (client.url, server_without_lane.url):
        with Client(url, made["token"]) as other:
            assert other.get("k").error_code() == "forbidden"
    send(client, "PATCH", path, {"allowed_networks": None})
    for url in (client.url, server_without_lane.url):
        with Client(url, made["token"]) as other:
            assert other.get("k").header("ratelimit-limit") == "5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "body: it changes nothing; send one or more of name, requests_per_minute, storage_quota, credit_limit, "),
        ({"scopes": ["admin"]}, "scopes: the object contains unknown field"),
        ({"expires_at": None}, "expires_at: the object contains unknown field"),
        ({"name": None}, "name: "),
        ({"name": "fine", "storage_quota": 0}, "storage_quota: "),
        ({"name": "fine", "credit_limit": "0"}, "credit_limit: '0' is nothing"),
        ({"name": "fine", "storage_quota": 5, "allowed_networks": ["here"]}, "allowed_networks: 'here' is no network"),
    ],
)
def test_patch_refuses_and_changes_nothing(client: Client, owner: Key, change: Any, message: str) -> None:
    made = create(client)
    before = shown(client, made["id"])
    answer = send(client, "PATCH", f"/{made['id']}", change)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith(message)
    assert shown(client, made["id"]) == before
    assert [action for _, action, _, _ in events(owner)] == ["api_key.create"]


def test_key_does_not_lock_itself_out(client: Client, owner: Key) -> None:
    answer = send(client, "PATCH", f"/{owner.id}", {"name": "lost", "allowed_networks": ["203.0.113.0/24"]})
    assert answer.error_message() == (
        "allowed_networks: they lack 127.0.0.1, from where this very API key asks; add it, or use another key."
    )
    assert (shown(client, owner.id)["name"], events(owner)) == ("test", [])
    assert send(client, "PATCH", f"/{owner.id}", {"allowed_networks": ["127.0.0.0/8"]}).status == 200
    assert shown(client, owner.id)["allowed_networks"] == ["127.0.0.0/8"]
    other = create(client)
    assert send(client, "PATCH", f"/{other['id']}", {"allowed_networks": ["203.0.113.0/24"]}).status == 200


# Revoking


def test_revoking_holds_at_once_and_again_changes_nothing(
    client: Client, server_without_lane: RunningServer, owner: Key
) -> None:
    made = create(client)
    assert works(client, made["token"])
    with Client(server_without_lane.url, made["token"]) as elsewhere:
        assert elsewhere.get("k").status == 200
        first = send(client, "DELETE", f"/{made['id']}")
        assert first.status == 200
        assert elsewhere.get("k").status == 401
    assert not works(client, made["token"])
    assert first.json()["revoked_at"] is not None
    assert send(client, "DELETE", f"/{made['id']}").json() == first.json() == shown(client, made["id"])
    assert [action for _, action, _, _ in events(owner)] == ["api_key.create", "api_key.revoke"]


def test_revoked_key_changes_no_more(client: Client, owner: Key) -> None:
    made = create(client)
    send(client, "DELETE", f"/{made['id']}")
    before = shown(client, made["id"])
    for answer in (
        send(client, "PATCH", f"/{made['id']}", {"name": "x", "storage_quota": 5}),
        send(client, "PATCH", f"/{made['id']}", {"credit_limit": "5.00"}),
        send(client, "POST", f"/{made['id']}/rotate", {}),
    ):
        assert answer.error_code() == "invalid_request"
        assert answer.error_message() == "this API key is revoked; create a new one."
    assert shown(client, made["id"]) == before
    assert len(events(owner)) == 2


def test_key_may_revoke_itself(client: Client, owner: Key) -> None:
    assert send(client, "DELETE", f"/{owner.id}").json()["revoked_at"] is not None
    assert send(client, "GET").error_code() == "invalid_api_key"


# Rotating


def test_rotation_with_an_overlap(client: Client, owner: Key) -> None:
    made = create(client, requests_per_minute=500)
    answer = send(client, "POST", f"/{made['id']}/rotate", {"overlap": 3600})
    assert answer.status == 200
    rotated = answer.json()
    msgspec.convert(rotated, NewAPIKey)
    assert rotated["token"] != made["token"]
    assert works(client, made["token"])
    assert works(client, rotated["token"])
    left = datetime.fromisoformat(rotated["former_secret_until"]) - datetime.now(UTC)
    assert timedelta(seconds=3500) < left <= timedelta(seconds=3600)
    unchanged = {name: value for name, value in made.items() if name not in ("token", "former_secret_until")}
    assert {name: rotated[name] for name in unchanged} == unchanged
    assert events(owner)[-1][1:] == ("api_key.rotate", made["id"], {"overlap_seconds": 3600})
    again = send(client, "POST", f"/{made['id']}/rotate", {"overlap": 0}).json()
    assert [works(client, token) for token in (made["token"], rotated["token"], again["token"])] == [False, False, True]
    assert again["former_secret_until"] is None


def test_overlap_is_a_day_by_default(client: Client) -> None:
    made = create(client)
    bodies: tuple[Any, ...] = (None, {})
    for body in bodies:
        rotated = send(client, "POST", f"/{made['id']}/rotate", body).json()
        left = datetime.fromisoformat(rotated["former_secret_until"]) - datetime.now(UTC)
        assert timedelta(hours=23) < left <= timedelta(hours=24)


@pytest.mark.parametrize("body", [{"overlap": -1}, {"overlap": 2_592_001}, {"overlap": "1"}, {"hours": 1}, []])
def test_rotation_refuses(client: Client, owner: Key, body: Any) -> None:
    made = create(client)
    answer = send(client, "POST", f"/{made['id']}/rotate", body)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert works(client, made["token"])
    assert len(events(owner)) == 1
    assert send(client, "POST", f"/{made['id']}/rotate", {"overlap": 2_592_000}).status == 200


def test_expired_key_is_not_rotated(client: Client, owner: Key) -> None:
    made = create(client)
    past = datetime.now(UTC) - timedelta(hours=1)
    APIKey.objects.filter(id=tokens.decode_id(made["id"])).update(expires_at=past)
    message = send(client, "POST", f"/{made['id']}/rotate", {}).error_message()
    assert message == "this API key has expired; create a new one."


def test_key_may_rotate_itself(client: Client, owner: Key) -> None:
    rotated = send(client, "POST", f"/{owner.id}/rotate", {"overlap": 0}).json()
    assert send(client, "GET").error_code() == "invalid_api_key"
    with Client(client.url, rotated["token"]) as renewed:
        assert send(renewed, "GET", f"/{owner.id}").status == 200


# Whose


def test_keys_of_nobody_and_of_other_tenants_are_not_found(client: Client, owner: Key) -> None:
    stranger = new_caller()
    for id in (stranger.id, tokens.encode_id(5), "x", "0" * 12, "%2e%2e", secrets.token_hex(200)):
        for method, path, body in (
            ("GET", "", None), ("PATCH", "", {"name": "theirs"}), ("DELETE", "", None), ("POST", "/rotate", {}),
        ):  # fmt: skip
            answer = send(client, method, f"/{id}{path}", body)
            assert (answer.status, answer.error_code()) == (404, "not_found")
    assert works(client, stranger.token)
    assert APIKey.objects.get(id=stranger.row.id).name == "test"
    assert events(owner) == []


def test_only_admin_keys_manage_keys(client: Client, owner: Key) -> None:
    for scopes in ([scope for scope in SCOPES if scope != "admin"], ["read"]):
        with Client(client.url, new_key(owner.row.tenant, scopes).token) as other:
            for method, path, body in (
                ("GET", "", None), ("POST", "", {"name": "x", "scopes": ["read"]}), ("GET", f"/{owner.id}", None),
                ("PATCH", f"/{owner.id}", {"name": "x"}), ("DELETE", f"/{owner.id}", None),
                ("POST", f"/{owner.id}/rotate", {}),
            ):  # fmt: skip
                assert send(other, method, path, body).error_code() == "forbidden"
    with Client(client.url, revoke(new_key(owner.row.tenant)).token) as revoked:
        assert send(revoked, "GET").error_code() == "invalid_api_key"
    assert works(client, owner.token)
    assert events(owner) == []
