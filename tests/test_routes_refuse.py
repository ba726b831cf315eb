"""Every route refuses who may not ask. The URL table is walked: a route that nobody declared here fails."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from accounts.models import APIKey, Invitation, Membership, Tenant, TenantSecret, User
from billing.models import Invoice
from cacheservice.urls import urlpatterns
from console.models import AlertSettings
from console.settings_changes import set_webhook
from gateway.models import Budget, ModelPrice, Provider
from gateway.providers import ProviderSettings, delete_provider, put_provider
from tests.cast import Cast, Key, cast_fixture, new_caller, new_key  # noqa: F401  a fixture
from tests.client import Answer, Client
from tests.processes import RunningServer

PUBLIC = {"openapi": "/api/v1/openapi.json", "docs": "/docs", "healthz": "/healthz", "readyz": "/readyz"}
PUBLIC["metrics"] = "/metrics"  # on this machine; tests/test_metrics.py has who may see it
VALUE = "only tenant A may see this"


@dataclass(frozen=True)
class Operation:
    """A method of a route with the scope that it needs, a request that works, and what a stranger gets for it.

    {key} stands for the key of an entry of tenant A and the name of a provider of it with a price, {id} for the id of
    an API key of it, of a budget, of a member and of an invitation.
    """

    route: str
    method: str
    path: str
    scope: str
    stranger: Callable[[Answer, str], bool]
    body: str = ""
    in_batch: bool = False  # refused for a missing scope by the operation's own result
    status: int = 200  # for who may

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body[:20]}"

    def send(self, client: Client, key: str, id: str) -> Answer:
        headers = {"content-type": "application/json"} if self.body else {}
        path = self.path.replace("{key}", key).replace("{id}", id)
        return client.send(self.method, path, self.body.replace("{key}", key).encode(), headers)

    def outcome(self, answer: Answer) -> tuple[int, str]:
        """The status and the error's code."""
        if self.method == "HEAD":  # has no body to tell its code
            codes = {401: "invalid_api_key", 403: "forbidden"}
            return answer.status, codes.get(answer.status, "")
        if self.in_batch and answer.status == 200:
            [result] = answer.json()["results"]
            return result["status"], result["body"].get("error", {}).get("code", "")
        return answer.status, answer.error_code() if answer.status >= 400 else ""


def answers(status: int, **fields: Any) -> Callable[[Answer, str], bool]:
    """The status, and the body's fields as given; {key} stands for the key."""

    def holds(answer: Answer, key: str) -> bool:
        content = answer.json() if answer.body else {}
        return answer.status == status and {name: content.get(name) for name in fields} == {
            name: key if value == "{key}" else value for name, value in fields.items()
        }

    return holds


def one_api_key(answer: Answer, key: str) -> bool:
    """The stranger's own."""
    return answer.status == 200 and len(answer.json()["keys"]) == 1


def one_result(status: int, **fields: Any) -> Callable[[Answer, str], bool]:
    def holds(answer: Answer, key: str) -> bool:
        [result] = answer.json()["results"]
        return result["status"] == status and {name: result["body"].get(name) for name in fields} == fields

    return holds


ITEM, CACHE, BATCH = "/api/v1/cache/{key}", "/api/v1/cache", "/api/v1/batch"
PROVIDERS, BUDGETS, PRICES = (f"/api/v1/{name}" for name in ("providers", "budgets", "prices"))
INVITATIONS, WEBHOOKS = "/api/v1/invitations", "/api/v1/webhooks"
EMPTY: dict[str, Any] = {"keys": [], "total": 0, "storage_used_bytes": 0, "next_cursor": None}
NOTHING_USED = {
    "hits": 0, "misses": 0, "writes": 0, "duplicates": 0, "deletes": 0, "credits": "0.00", "byte_seconds": "0.000000",
    "gb_months": "0.000000000", "saved_usd": "0.00", "hit_ratio": None, "duplicate_rate": None,
}  # fmt: skip
OPERATIONS = [
    Operation("item", "GET", ITEM, "read", answers(200, key="{key}", hit=False)),
    Operation("item", "GET", f"{ITEM}?raw=true", "read", answers(404)),
    Operation("item", "HEAD", ITEM, "read", answers(404)),
    Operation("item", "PUT", ITEM, "write", answers(201, key="{key}"), '{"value": "theirs"}'),
    Operation("item", "PATCH", ITEM, "write", answers(404), '{"ttl": 1, "tags": []}'),
    Operation("item", "DELETE", ITEM, "delete", answers(200, key="{key}", deleted=False)),
    Operation("collection", "GET", CACHE, "read", answers(200, **EMPTY)),
    Operation("collection", "GET", f"{CACHE}?prefix={{key}}", "read", answers(200, **EMPTY)),
    Operation("collection", "GET", f"{CACHE}?tag=a-tag", "read", answers(200, **EMPTY)),
    Operation("collection", "GET", f"{CACHE}?include=stats", "read", answers(200, **EMPTY)),
    Operation("collection", "DELETE", f"{CACHE}?all=true", "delete", answers(200, deleted=0)),
    Operation("collection", "DELETE", f"{CACHE}?prefix={{key}}", "delete", answers(200, deleted=0)),
    Operation("collection", "DELETE", f"{CACHE}?tag=a-tag", "delete", answers(200, deleted=0)),
    Operation("batch", "POST", BATCH, "read", one_result(200, hit=False),
              '{"operations": [{"op": "get", "key": "{key}"}]}', in_batch=True),
    Operation("batch", "POST", BATCH, "write", one_result(201, size_bytes=1),
              '{"operations": [{"op": "put", "key": "{key}", "value": 1}]}', in_batch=True),
    Operation("batch", "POST", BATCH, "delete", one_result(200, deleted=False),
              '{"operations": [{"op": "delete", "key": "{key}"}]}', in_batch=True),
    Operation("account", "GET", "/api/v1/account", "read",
              answers(200, credits={"balance": "0.00", "charged_this_month": "0.00"})),
    Operation("usage", "GET", "/api/v1/usage", "read", answers(200, total=NOTHING_USED)),
    Operation("usage", "GET", "/api/v1/usage?by=api_key", "read", answers(200, usage=[], total=NOTHING_USED)),
    Operation("usage", "GET", "/api/v1/usage?by=tag", "read", answers(200, usage=[])),
    Operation("top-entries", "GET", "/api/v1/usage/top", "read", answers(200, entries=[])),
    Operation("invoices", "GET", "/api/v1/invoices", "admin", answers(200, invoices=[], next_cursor=None)),
    Operation("invoice-preview", "GET", "/api/v1/invoices/preview", "admin", answers(200, lines=[], total_usd="0.00")),
    Operation("invoice", "GET", "/api/v1/invoices/1", "admin", answers(404)),
    Operation("api-keys", "GET", "/api/v1/keys?limit=1000", "admin", one_api_key),
    Operation("api-keys", "POST", "/api/v1/keys", "admin", answers(201, name="x"),
              '{"name": "x", "scopes": ["read"]}', status=201),
    Operation("api-key", "GET", "/api/v1/keys/{id}", "admin", answers(404)),
    Operation("api-key", "PATCH", "/api/v1/keys/{id}", "admin", answers(404), '{"name": "theirs"}'),
    Operation("api-key", "DELETE", "/api/v1/keys/{id}", "admin", answers(404)),
    Operation("members", "GET", "/api/v1/members", "admin", answers(200, members=[])),
    Operation("member", "PATCH", "/api/v1/members/{id}", "admin", answers(404), '{"role": "billing"}'),
    Operation("member", "DELETE", "/api/v1/members/{id}", "admin", answers(404)),
    Operation("invitations", "GET", INVITATIONS, "admin", answers(200, invitations=[])),
    Operation("invitations", "POST", INVITATIONS, "admin", answers(201, role="viewer"),
              '{"email": "{key}@example.com", "role": "viewer"}', status=201),
    Operation("invitation", "DELETE", f"{INVITATIONS}/{{id}}", "admin", answers(404)),
    Operation("invitation-sending", "POST", f"{INVITATIONS}/{{id}}/send", "admin", answers(404)),
    Operation("settings", "GET", "/api/v1/settings", "admin", answers(200, default_ttl=None)),
    Operation("settings", "PATCH", "/api/v1/settings", "admin", answers(200, default_ttl=60), '{"default_ttl": 60}'),
    Operation("webhook", "GET", WEBHOOKS, "admin", answers(200, url=None)),
    Operation("webhook", "PUT", WEBHOOKS, "admin", answers(201, url="https://example.com/hook"),
              '{"url": "https://example.com/hook"}'),
    Operation("webhook", "DELETE", WEBHOOKS, "admin", answers(200, deleted=False)),
    Operation("webhook-rotation", "POST", f"{WEBHOOKS}/rotate", "admin", answers(404)),
    Operation("webhook-test", "POST", f"{WEBHOOKS}/test", "admin", answers(404)),
    Operation("audit", "GET", "/api/v1/audit?actor=nobody", "admin", answers(200, events=[])),
    Operation("gateway-providers", "GET", PROVIDERS, "admin", answers(200, providers=[])),
    Operation("gateway-provider", "GET", f"{PROVIDERS}/{{key}}", "admin", answers(404)),
    Operation("gateway-provider", "PUT", f"{PROVIDERS}/{{key}}", "admin",
              answers(201, name="{key}", has_credential=False), '{"kind": "other", "base_url": "https://x.example.com"}'),
    Operation("gateway-provider", "DELETE", f"{PROVIDERS}/{{key}}", "admin",
              answers(200, name="{key}", deleted=False)),
    Operation("gateway-budgets", "GET", BUDGETS, "read", answers(200, budgets=[])),
    Operation("gateway-budgets", "POST", BUDGETS, "admin", answers(201, usd_per_day="5.00", model="{key}"),
              '{"usd_per_day": "5", "model": "{key}"}', status=201),
    Operation("gateway-budget", "PATCH", f"{BUDGETS}/{{id}}", "admin", answers(404), '{"usd_per_day": "9"}'),
    Operation("gateway-budget", "DELETE", f"{BUDGETS}/{{id}}", "admin", answers(200, deleted=False)),
    Operation("gateway-prices", "GET", PRICES, "read", answers(200, prices=[])),
    Operation("gateway-price", "PUT", f"{PRICES}/{{key}}/a/model", "admin", answers(404), '{"per_call": "2"}'),
    Operation("gateway-price", "DELETE", f"{PRICES}/{{key}}/a/model", "admin", answers(404)),
    Operation("gateway-spend", "GET", "/api/v1/spend", "read", answers(200, spend=[])),
    Operation("gateway-spend-prompts", "GET", "/api/v1/spend/prompts", "read", answers(200, prompts=[])),
    Operation("api-key-rotation", "POST", "/api/v1/keys/{id}/rotate", "admin", answers(404), "{}"),
]  # fmt: skip
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@pytest.fixture(params=["server", "server_without_lane"])
def running(request: pytest.FixtureRequest) -> RunningServer:
    server: RunningServer = request.getfixturevalue(request.param)
    return server


@dataclass(frozen=True)
class Entry:
    """An entry of tenant A, and who may see it. There is a provider of the same name."""

    owner: Client
    key: str
    api_key: Key  # of the same tenant

    def everything(self) -> tuple[bytes, str | None]:
        """And the API key as it is, but for its use, and the provider of the entry's name."""
        hit = self.owner.get(self.key)
        assert hit.json()["value"] == VALUE
        rows = self.owner.list(f"?prefix={self.key}").body.partition(b'"storage_used')[0]
        [api_key] = APIKey.objects.filter(id=self.api_key.row.id).values("name", "digest", "revoked_at")
        tenant_id = self.api_key.row.tenant_id
        [provider] = Provider.objects.filter(tenant_id=tenant_id, name=self.key).values()
        [price] = ModelPrice.objects.filter(tenant_id=tenant_id, provider=self.key).values()
        [budget] = Budget.objects.filter(tenant_id=tenant_id).values()
        people = [list(each.objects.filter(tenant_id=tenant_id).values()) for each in (Membership, Invitation)]
        settings = [list(each.objects.filter(tenant_id=tenant_id).values()) for each in (AlertSettings, TenantSecret)]
        told = (api_key, provider, price, budget, people, settings)
        return hit.body + rows + repr(told).encode(), hit.header("etag")

    def send(self, operation: Operation, client: Client) -> Answer:
        return operation.send(client, self.key, self.api_key.id)


@pytest.fixture
def entry(running: RunningServer, cast: Cast) -> Iterator[Entry]:
    key = f"a-{secrets.token_hex(8)}"
    issue_invoice(cast.tenant_a)
    set_provider(cast.tenant_a, key)
    set_budget(cast.second.row)
    set_people(cast.second.row)
    with Client(running.url, cast.first.token) as owner:
        assert owner.put(key, VALUE, tags=["a-tag"]).status == 201
        yield Entry(owner, key, cast.second)
    delete_provider(cast.tenant_a.id, key, "the tests")  # a tenant may have only so many


def issue_invoice(tenant: Tenant) -> None:
    """Number 1, if it is not there."""
    content = {"seller": "us", "bill_to": VALUE, "rounding_rule": "", "lines": []}
    fields = {"kind": "invoice", "month": date(2020, 1, 1), "plan": "pro", "document": content, "total": 0}
    Invoice.objects.get_or_create(tenant_id=tenant.id, number=1, defaults=fields)


def set_provider(tenant: Tenant, name: str) -> None:
    """One without a credential, so that another host may be set for it; and the price of a model."""
    put_provider(tenant.id, name, ProviderSettings(kind="openai"), "the tests")
    ModelPrice.objects.create(tenant_id=tenant.id, provider=name, model="a/model", per_call=1)


def set_budget(api_key: APIKey) -> None:
    """One with the API key's id, if it is not there."""
    Budget.objects.get_or_create(tenant_id=api_key.tenant_id, id=api_key.id, defaults={"usd_per_day": 1})


def set_people(api_key: APIKey) -> None:
    """A member and an invitation with the API key's id, sent an hour ago, and a webhook into nowhere, if they are not
    there."""
    tenant_id, id = api_key.tenant_id, api_key.id
    if Membership.objects.filter(id=id).exists():
        return
    user = User.objects.create(email=f"{id}@example.com", password="!")
    Membership.objects.create(id=id, tenant_id=tenant_id, user=user, role="viewer")
    week = timezone.now() + timedelta(days=7, hours=-1)
    Invitation.objects.create(id=id, tenant_id=tenant_id, email="a@example.com", role="viewer", expires_at=week)
    set_webhook(api_key.tenant, "https://127.0.0.1/hook", "the tests")


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every route of the table by its name."""
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, prefix + str(each.pattern))
        else:
            yield each.name or f"without a name: {prefix}{each.pattern}", each


def methods(pattern: URLPattern) -> set[str]:
    """The methods that the route's view has. A function could have any: only public ones are functions."""
    view = getattr(pattern.callback, "view_class", None)
    assert view is not None, f"{pattern} is a function: declare it public or make it a view"
    return {name.upper() for name in view.http_method_names if hasattr(view, name)} - {"OPTIONS"}


# Pages for people who signed in: `test_console_access.py` walks the console's.
FOR_PEOPLE = ("console/account/", "console/", "staff/")
EVERYTHING: list[Any] = urlpatterns
FOR_PROGRAMS = [each for each in EVERYTHING if str(each.pattern) not in FOR_PEOPLE]
TABLE = dict(routes(FOR_PROGRAMS))


def test_every_route_is_declared() -> None:
    assert len(TABLE) == len(list(routes(FOR_PROGRAMS))), "two routes have one name"
    there = {(name, method) for name, each in TABLE.items() if name not in PUBLIC for method in methods(each)}
    assert there == {(operation.route, operation.method) for operation in OPERATIONS}


def test_undeclared_route_would_be_found() -> None:
    """The walk itself: it sees routes in included tables, and a method that was added to a view."""
    [item] = [each for each in FOR_PROGRAMS if each.name == "item"]
    included = URLResolver(item.pattern, [item])
    assert [name for name, _ in routes([included])] == ["item"]
    assert methods(item) == {"GET", "HEAD", "PUT", "PATCH", "DELETE"}


@each_operation
def test_request_works_for_who_may(operation: Operation, running: RunningServer) -> None:
    """With a key that has nothing but the scope: else the refusals below would prove nothing."""
    caller, key = new_caller(), secrets.token_hex(8)
    with Client(running.url, caller.token) as client:
        assert client.put(key, VALUE, tags=["a-tag"]).status == 201
    issue_invoice(caller.row.tenant)
    set_provider(caller.row.tenant, key)
    set_budget(caller.row)
    set_people(caller.row)
    with Client(running.url, new_key(caller.row.tenant, [operation.scope]).token) as client:
        status, code = operation.outcome(operation.send(client, key, caller.id))
    assert (status, code) == (operation.status, "")


@pytest.mark.parametrize("who", ["none", "malformed", "unknown", "expired", "revoked"])
@each_operation
def test_refuses_who_has_no_valid_key(
    operation: Operation, who: str, running: RunningServer, entry: Entry, cast: Cast
) -> None:
    before = entry.everything()
    tokens = {
        "none": None,
        "malformed": cast.first.token[:-1] + ("A" if cast.first.token[-1] != "A" else "B"),
        "unknown": cast.outsider,
        "expired": cast.expired.token,
        "revoked": cast.revoked.token,
    }
    with Client(running.url, tokens[who]) as client:
        answer = entry.send(operation, client)
    assert operation.outcome(answer) == (401, "invalid_api_key")
    assert VALUE.encode() not in answer.body
    assert entry.everything() == before


@each_operation
def test_refuses_a_key_without_the_scope(
    operation: Operation, running: RunningServer, entry: Entry, cast: Cast
) -> None:
    before = entry.everything()
    with Client(running.url, cast.without[operation.scope].token) as client:
        answer = entry.send(operation, client)
    assert operation.outcome(answer) == (403, "forbidden")
    assert operation.method == "HEAD" or f"'{operation.scope}'".encode() in answer.body
    assert VALUE.encode() not in answer.body
    assert entry.everything() == before


@each_operation
def test_other_tenant_neither_sees_nor_changes(operation: Operation, running: RunningServer, entry: Entry) -> None:
    before = entry.everything()
    with Client(running.url, new_caller().token) as stranger:
        answer = entry.send(operation, stranger)
    assert operation.stranger(answer, entry.key), answer
    assert VALUE.encode() not in answer.body
    assert before[1] not in dict(answer.headers).values()
    assert entry.everything() == before


def test_other_tenants_etag_and_cursor_open_nothing(running: RunningServer, entry: Entry, cast: Cast) -> None:
    before = entry.everything()
    assert before[1] is not None
    entry.owner.put(f"{entry.key}-second", 1)
    cursor = entry.owner.list(f"?prefix={entry.key}&limit=1").json()["next_cursor"]
    assert cursor
    with Client(running.url, new_caller().token) as stranger:
        assert stranger.get(entry.key, headers={"If-None-Match": before[1]}).json() == {"key": entry.key, "hit": False}
        assert stranger.put(entry.key, 1, headers={"If-Match": before[1]}).error_code() == "precondition_failed"
        assert stranger.delete(entry.key, headers={"If-Match": before[1]}).error_code() == "precondition_failed"
        assert stranger.list(f"?prefix={entry.key}&cursor={cursor}").json()["keys"] == []


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_route_answers_without_a_key(name: str, running: RunningServer, cast: Cast) -> None:
    assert name in TABLE, f"{name} is no route: take it off the list"
    for token in (None, cast.outsider, cast.revoked.token):
        with Client(running.url, token) as client:
            assert client.send("GET", PUBLIC[name]).status == 200


def test_static_files_are_public(running: RunningServer) -> None:
    with Client(running.url) as client:
        files = re.findall(rb'(?:src|href)="(/static/[^"]+)"', client.send("GET", "/docs").body)
        assert files
        for path in files:
            assert client.send("GET", path).status == 200, path
        assert client.send("GET", "/static/../pyproject.toml").status == 404
        assert client.send("GET", "/static/%2e%2e/pyproject.toml").status == 404


def undeclared() -> Iterator[tuple[str, str]]:
    """Methods that a route does not have."""
    for path in {each.path.partition("?")[0] for each in OPERATIONS}:
        declared = {each.method for each in OPERATIONS if each.path.partition("?")[0] == path}
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - declared:
            yield path, method
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        yield PUBLIC["openapi"], method


@pytest.mark.parametrize(("path", "method"), sorted(undeclared()))
def test_other_method_is_the_contracts_405(path: str, method: str, running: RunningServer, cast: Cast) -> None:
    with Client(running.url, cast.first.token) as client:
        answer = client.send(
            method, path.replace("{key}", "x").replace("{id}", "x"), b"{}", {"content-type": "application/json"}
        )
    assert (answer.status, answer.error_code()) == (405, "method_not_allowed")
    allowed = set((answer.header("allow") or "").split(", "))
    declared = {each.method for each in OPERATIONS if each.path.partition("?")[0] == path}
    assert allowed == (declared or {"GET", "HEAD"})


def test_unknown_routes_tell_nothing(running: RunningServer, cast: Cast) -> None:
    for token in (None, cast.first.token, cast.revoked.token):
        with Client(running.url, token) as client:
            for path in ("/api/v1/nowhere", "/api/v2/cache", "/api", "/admin", "/.env", "/static/nothing", "/"):
                answer = client.send("GET", path)
                assert (answer.status, answer.error_code()) == (404, "not_found"), path
                assert json.loads(answer.body)["error"]["message"].startswith("There is no route"), path
