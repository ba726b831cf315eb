"""Whom the gateway refuses: in the provider's own shape, with nothing charged, nothing asked upstream, nothing told."""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from django.db import connection

from accounts import keys, tokens
from accounts.models import SCOPES, random_id
from billing.limits import set_api_key_limits
from cacheservice.entries.models import Entry, Space
from gateway.models import Kind, SpendEvent
from tests.cast import ACTOR, Key, expire, new_key, revoke
from tests.client import NO_TLS
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, client, gateway_server, new_client, question
from tests.processes import running_server, wait_for
from tests.upstreams import RunningUpstream, upstream

__all__ = ["client", "gateway_server", "upstream"]
CHAT = "openai/v1/chat/completions"


def nothing_happened(client: Client, count: int = 0) -> None:
    assert client.upstream.count() == count
    assert SpendEvent.objects.filter(tenant_id=client.tenant.id).count() == count
    assert Entry.objects.filter(tenant_id=client.tenant.id).count() == count


def ask_openai(client: Client, token: str) -> None:
    with client.openai(api_key=token) as sdk:
        sdk.chat.completions.create(**question())


def ask_anthropic(client: Client, token: str) -> None:
    with client.anthropic(api_key=token) as sdk:
        sdk.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "x"}])


@pytest.fixture
def sdk_client(client: Client) -> Client:
    """One whose SDKs take another key."""

    class Other(Client):
        def openai(self, **options: Any) -> openai.OpenAI:
            made: openai.OpenAI = super().openai(**{name: v for name, v in options.items() if name != "api_key"})
            return made.with_options(api_key=options["api_key"])

        def anthropic(self, **options: Any) -> anthropic.Anthropic:
            made: anthropic.Anthropic = super().anthropic(
                **{name: v for name, v in options.items() if name != "api_key"}
            )
            return made.with_options(api_key=options["api_key"])

    return Other(client.server, client.upstream, client.tenant, client.key)


BAD_TOKENS: dict[str, Callable[[Client], str]] = {
    "malformed": lambda _: "sk-nonsense",
    "wrong checksum": lambda client: client.key.token[:-1] + ("a" if client.key.token[-1] != "a" else "b"),
    "unknown": lambda _: tokens.new_token(random_id()),
    "of a known id": lambda client: tokens.new_token(client.key.row.id),
    "expired": lambda client: expire(new_key(client.tenant)).token,
    "revoked": lambda client: revoke(new_key(client.tenant)).token,
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_keys_that_do_not_hold(sdk_client: Client, kind: str) -> None:
    token = BAD_TOKENS[kind](sdk_client)
    with pytest.raises(openai.AuthenticationError) as raised:
        ask_openai(sdk_client, token)
    assert raised.value.code == "invalid_api_key"
    with pytest.raises(anthropic.AuthenticationError) as told:
        ask_anthropic(sdk_client, token)
    assert told.value.type == "authentication_error"
    assert token not in str(raised.value) + str(told.value)
    nothing_happened(sdk_client)


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic YTpi"}, {"x-api-key": ""}])
def test_no_key_at_all(client: Client, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{client.url}/{CHAT}", json=question(), headers=headers, timeout=30, verify=NO_TLS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    nothing_happened(client)


def test_a_key_that_held_a_moment_ago(client: Client) -> None:
    asked = question()
    assert client.post(asked).status_code == 200
    client.entries(1)
    client.events(1)
    revoke(client.key)
    answer = client.post(asked)
    assert answer.status_code == 401
    assert "x-cache-cost" not in answer.headers
    nothing_happened(client, 1)


@pytest.mark.parametrize("scopes", [["read"], [scope for scope in SCOPES if scope != "gateway"]])
@pytest.mark.parametrize("body", [question("x"), {**question(), "temperature": 1}, {"model": "m", "input": ["a"]}])
def test_keys_without_the_scope(client: Client, scopes: list[str], body: dict[str, Any]) -> None:
    path = "openai/v1/embeddings" if "input" in body else CHAT
    other = Client(client.server, client.upstream, client.tenant, new_key(client.tenant, scopes))
    for headers in ({}, {"Cache_Control": "no-store"}, {"Cache_Control": "no-cache"}, {"Cache_Control": "max-age=5"}):
        answer = other.post(body, path, **headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    with pytest.raises(openai.PermissionDeniedError):
        other.openai().models.list()
    with pytest.raises(anthropic.PermissionDeniedError):
        other.anthropic().messages.create(
            model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
    nothing_happened(client)


def test_they_learn_of_no_provider_and_no_mistake_either(client: Client) -> None:
    """Whoever may not ask is told only that."""
    other = Client(client.server, client.upstream, client.tenant, new_key(client.tenant, ["read"]))
    assert other.post(question(), "nowhere/v1/chat/completions").status_code == 403
    assert other.post(question(), CHAT, X_Cache_TTL="no").status_code == 403
    assert other.post(question(), "nowhere").status_code == 403


def test_providers_of_other_tenants_and_none(client: Client) -> None:
    stranger = new_client(client.server, client.upstream)
    stranger.provider("theirs")
    answers = [client.post(question(), f"{name}/v1/chat/completions") for name in ("theirs", "nowhere")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert [answer.json()["error"]["code"] for answer in answers] == ["provider_unknown"] * 2
    assert answers[0].text.replace("theirs", "nowhere") == answers[1].text or "request_id" in answers[0].text
    assert client.post(question(), "OPENAI/v1/chat/completions").status_code == 404
    nothing_happened(client)


def test_the_sdks_raise_not_found(client: Client) -> None:
    sdk = client.openai(base_url=f"{client.url}/nowhere/v1")
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(**question())
    anthropics = client.anthropic(base_url=f"{client.url}/nowhere")
    with pytest.raises(anthropic.NotFoundError) as raised:
        anthropics.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert raised.value.type == "not_found_error"


def test_tenants_share_no_entries(client: Client) -> None:
    asked = question()
    stranger = new_client(client.server, client.upstream)
    assert client.post(asked).headers["x-cache"] == "MISS"
    client.entries(1)
    assert stranger.post(asked).headers["x-cache"] == "MISS"
    assert client.post(asked, X_Cache_Key="k").headers["x-cache"] == "MISS"
    client.entries(2)
    assert stranger.post(asked, X_Cache_Key="k").headers["x-cache"] == "MISS"


def test_addresses_that_are_not_on_the_keys_list(client: Client) -> None:
    listed = keys.create_api_key(
        client.tenant, name="listed", scopes=["gateway"], actor=ACTOR, allowed_networks=["203.0.113.0/24"]
    )
    other = Client(client.server, client.upstream, client.tenant, Key(*listed))
    for path in ("nowhere/v1/x", CHAT, "openai/v1/embeddings"):
        body = {"model": "m", "input": ["x"]} if path.endswith("embeddings") else question()
        assert other.post(body, path).status_code == 403
    with pytest.raises(openai.PermissionDeniedError):
        other.openai().chat.completions.create(**question())
    nothing_happened(client)


def test_a_list_that_a_key_gets_while_it_is_used(client: Client) -> None:
    assert client.post(question()).status_code == 200
    keys.update_api_key(client.key.row, actor=ACTOR, allowed_networks=["203.0.113.0/24"])
    assert client.post(question(), "nowhere/v1/x").status_code == 403
    assert client.post(question()).status_code == 403
    keys.update_api_key(client.key.row, actor=ACTOR, allowed_networks=["127.0.0.0/8"])
    assert client.post(question(), "nowhere/v1/x").status_code == 404
    assert client.post(question()).status_code == 200


def _limited(client: Client, limit: int) -> None:
    """Not across the end of a minute."""
    wait_for(lambda: datetime.now(UTC).second < 45, 60, "a minute with time left")
    set_api_key_limits(client.key.row, requests_per_minute=limit, actor=ACTOR)


def test_rate_limits_are_the_requests_and_told_as_the_provider_does(client: Client) -> None:
    """However many statements a request takes."""
    _limited(client, 4)
    asked = question()
    assert client.post(asked).status_code == 200
    assert client.post({**asked, "temperature": 1}).status_code == 200
    embedded = {"model": "text-embedding-3-small", "input": [secrets.token_hex(4) for _ in range(10)]}
    assert client.post(embedded, "openai/v1/embeddings").status_code == 200
    assert client.post(asked, Cache_Control="no-cache").status_code == 200
    with pytest.raises(openai.RateLimitError) as raised:
        client.openai().chat.completions.create(**question())
    assert raised.value.code == "rate_limit_exceeded"
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 60
    with pytest.raises(anthropic.RateLimitError):
        client.anthropic().messages.create(
            model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
    assert client.upstream.count() == 4


def test_bodies_that_are_too_large(client: Client) -> None:
    large = "x" * (11 * 1024 * 1024)
    with pytest.raises(openai.APIStatusError) as raised:
        client.openai().chat.completions.create(**question(large))
    assert raised.value.status_code == 413
    with pytest.raises(anthropic.APIStatusError) as told:
        client.anthropic().messages.create(
            model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": large}]
        )
    assert (told.value.status_code, told.value.type) == (413, "request_too_large")
    nothing_happened(client)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Cache-TTL", "0"),
        ("X-Cache-TTL", "-1"),
        ("X-Cache-TTL", "1209601"),
        ("X-Cache-TTL", "1e3"),
        ("X-Cache-TTL", "\xb2"),
        ("X-Cache-Tags", ",".join(f"t{n}" for n in range(200))),
        ("X-Cache-Tags", "x" * 2000),
        ("X-Cache-Tags", "a\tb"),
        ("X-Cache-Key", "k" * 2000),
        ("X-Cache-Key", "a\tb"),
        ("X-Cache-Key", ""),
        ("X-Cache-User", "u" * 2000),
        ("X-Cache-User", "\xff\xfe"),
        ("Cache-Control", "max-age=soon"),
        ("Cache-Control", "max-age"),
    ],
)
def test_headers_that_say_nothing_sensible(client: Client, name: str, value: str) -> None:
    headers = [(b"authorization", f"Bearer {client.key.token}".encode()), (name.encode(), value.encode("latin-1"))]
    answer = httpx.post(f"{client.url}/{CHAT}", json=question(), headers=headers, timeout=30, verify=NO_TLS)
    assert answer.status_code == 400
    assert name.lower() in answer.json()["error"]["message"].lower()
    theirs = [*headers, (b"anthropic-version", b"2023-06-01")]
    body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": []}
    told = httpx.post(f"{client.url}/anthropic/v1/messages", json=body, headers=theirs, timeout=30, verify=NO_TLS)
    assert (told.json()["type"], told.json()["error"]["type"]) == ("error", "invalid_request_error")
    nothing_happened(client)


@pytest.mark.parametrize("value", ["Zoë", "日本 😀", "a'b\"c;--", "../..", "\u202e", "<script>"])
def test_odd_users_tags_and_keys_are_kept_as_they_are(client: Client, value: str) -> None:
    headers = [(b"authorization", f"Bearer {client.key.token}".encode())]
    headers += [(name, value.encode()) for name in (b"x-cache-user", b"x-cache-tags", b"x-cache-key")]
    answer = httpx.post(f"{client.url}/{CHAT}", json=question(), headers=headers, timeout=30, verify=NO_TLS)
    assert answer.status_code == 200
    [told] = [sent for name, sent in answer.headers.raw if name.lower() == b"x-cache-key"]
    assert told == value.encode()
    assert [event.user for event in client.events(1)] == [value]
    assert [entry.tags for entry in client.entries(1)] == [[value]]


# The gateway's space


def api(client: Client, key: Key, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key.token}", **options.pop("headers", {})}
    return httpx.request(
        method, f"{client.server.url}/api/v1/{path}", headers=headers, timeout=30, verify=NO_TLS, **options
    )


def test_the_entries_of_the_gateway_are_out_of_reach_of_the_cache_api(client: Client) -> None:
    asked = question()
    everything = new_key(client.tenant)
    first = client.post(asked, X_Cache_Tags="mine")
    fingerprint = first.headers["x-cache-key"]
    client.entries(1)
    assert api(client, everything, "GET", f"cache/{fingerprint}").json()["hit"] is False
    assert api(client, everything, "DELETE", f"cache/{fingerprint}").json()["deleted"] is False
    assert api(client, everything, "PATCH", f"cache/{fingerprint}", json={"ttl": 60}).status_code == 404
    assert fingerprint not in api(client, everything, "GET", "cache").text
    assert fingerprint not in api(client, everything, "GET", "cache?tag=mine").text
    operations = [{"op": op, "key": fingerprint} for op in ("get", "delete")]
    batch = api(client, everything, "POST", "batch", json={"operations": operations})
    assert batch.status_code == 200, batch.text
    assert "choices" not in batch.text
    for query in ("tag=mine", "prefix=", f"prefix={fingerprint[:8]}", "all=true"):
        api(client, everything, "DELETE", f"cache?{query}")
    assert Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).count() == 1
    hit = client.post(asked)
    assert (hit.headers["x-cache"], hit.content) == ("HIT", first.content)


def test_nobody_plants_an_answer_by_the_cache_api(client: Client) -> None:
    writer, asked = new_key(client.tenant), question()
    fingerprint = client.post(asked, Cache_Control="no-store").headers["x-cache-key"]
    assert api(client, writer, "PUT", f"cache/{fingerprint}", json={"value": {"choices": "evil"}}).status_code == 201
    answer = client.post(asked)
    assert (answer.headers["x-cache"], "evil" in answer.text) == ("MISS", False)
    client.entries(1)
    assert api(client, writer, "GET", f"cache/{fingerprint}").json()["value"] == {"choices": "evil"}
    assert "evil" not in client.post(asked).text


def test_a_key_of_the_clients_own_is_no_fingerprint(client: Client) -> None:
    asked = question()
    victim = client.post(asked, Cache_Control="no-store").headers["x-cache-key"]
    client.post(question("evil"), X_Cache_Key=victim)
    client.entries(1)
    assert client.post(asked).headers["x-cache"] == "MISS"


def test_a_custom_key_cannot_spell_another_requests_parts(client: Client) -> None:
    """A canonical body as the key, a query that ends as the key's mark does."""
    asked = question("victim")
    body = '{"messages":[{"content":"victim","role":"user"}],"model":"gpt-4o-mini","temperature":0}'
    assert client.post(question("evil"), X_Cache_Key=body).status_code == 200
    client.entries(1)
    assert client.post(asked).headers["x-cache"] == "MISS"
    assert client.post(asked, CHAT + "?key%20False", X_Cache_Key=body).headers["x-cache"] == "MISS"


# Secrets


@pytest.fixture
def alone(upstream: RunningUpstream, committed_db: None, tmp_path: Path) -> Iterator[Client]:
    """With a server of its own, whose log is read."""
    upstream.reset()
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK, "CACHE_ACCESS_LOG": "on"}
    with running_server(tmp_path / "server.log", environment) as running:
        yield new_client(running, upstream)
    upstream.reset()


def dump() -> str:
    """Every row of every table, as text."""
    found: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("select table_name from information_schema.tables where table_schema = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'select t::text from "{table}" t')
            found += [row[0] for row in cursor.fetchall() if row[0] is not None]
    return "\n".join(found)


def test_secrets_and_prompts_stay_out_of_everything_that_is_kept_or_told(alone: Client) -> None:
    own, theirs, prompt = (f"canary-{name}-{secrets.token_hex(8)}" for name in ("own", "stored", "prompt"))
    alone.provider("stored", credential=theirs.encode())
    alone.provider("dead", base_url="http://127.0.0.1:9", credential=theirs.encode())
    alone.provider("odd", Kind.OTHER, credential=theirs.encode(), credential_header="x-odd")
    told: list[str] = []
    directions = ["status-500", "status-400", "truncated", "drop", "badjson", "huge", "error-in-stream", "redirect-/x"]
    bodies: Sequence[dict[str, Any]] = [question(f"{prompt} [[{direction}]]") for direction in [*directions, "gzip"]]
    for body in [*bodies, question(prompt), {**question(prompt), "stream": True}]:
        for name, headers in (
            ("openai", {}),
            ("stored", {}),
            ("dead", {}),
            ("odd", {}),
            ("openai", {"X_Upstream_Authorization": f"Bearer {own}"}),
            ("dead", {"X_Upstream_Authorization": f"Bearer {own}"}),
        ):
            answer = alone.post(body, f"{name}/v1/chat/completions", **headers)
            told += [answer.text, str(answer.headers)]
    alone.post({"model": "text-embedding-3-small", "input": [prompt]}, "openai/v1/embeddings")
    alone.post(question(prompt), "openai/v1/../x")
    alone.post(question(prompt), X_Cache_TTL="x")
    wait_for(lambda: SpendEvent.objects.filter(tenant_id=alone.tenant.id).count() > 30, 20, "events")
    kept = dump()
    logged = alone.server.log_path.read_text(errors="replace")
    answers = "\n".join(told)
    for name, secret in (("own", own), ("stored", theirs), ("prompt", prompt), ("key", alone.key.token)):
        for where, text in (("the log", logged), ("the tables", kept), ("answers", answers)):
            if (name, where) == ("prompt", "answers"):
                continue  # an answer may quote its prompt
            assert secret not in text, f"{name} in {where}"
            assert not re.search(re.escape(secret.encode().hex()), text), f"{name} in {where}, as bytes"


def test_prompts_are_kept_where_the_policy_says_so_and_only_there(client: Client) -> None:
    prompt = secrets.token_hex(16)
    client.post(question(prompt))
    client.policy(keep_prompts=True)
    wait_for(lambda: bool(client.post(question(prompt)) and client.events(1)[-1].prompt), 10, "the policy holds")
    assert prompt in (client.events(1)[-1].prompt or "")
    assert client.events(1)[0].prompt is None
