"""What is planned for a request: told apart by whatever makes its answer another one, bounded in time and memory."""

import asyncio
import json
import tracemalloc
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final

import pytest

from cacheservice.errors import InvalidRequest
from gateway import requests
from gateway.models import Kind
from gateway.plan import HUGE, LARGE, Asked, Plan, Planner
from gateway.policy import Policy
from gateway.providers import Upstream
from tests.client import exchange, request_bytes
from tests.gateway_cast import Client, client, gateway_server, question
from tests.small_servers import small_server
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]

PATH: Final = "/v1/chat/completions"


def provider(**changes: Any) -> Upstream:
    whole: dict[str, Any] = {
        "tenant_id": 1,
        "name": "openai",
        "kind": Kind.OPENAI,
        "base_url": "https://api.openai.com",
        "credential": None,
        "credential_header": "authorization",
        "policy": Policy(),
        "fallbacks": (),
        "revision": 1,
        **changes,
    }
    return Upstream(**whole)


def asked(
    body: Any = None,
    headers: Mapping[bytes, bytes] | None = None,
    *,
    method: str = "POST",
    query: str = "",
    own: bytes | None = None,
) -> Asked:
    sent = body if isinstance(body, bytes) else json.dumps(question("x") if body is None else body).encode()
    return Asked(method, PATH, query, headers or {}, sent, own, requests.PLAIN)


def planned(request: Asked, **provider_: Any) -> Plan:
    return Planner().plan(provider(**provider_), request)


def test_a_plan_is_known_once_it_is_made() -> None:
    planner, request = Planner(), asked()
    assert planner.known(provider(), request) is None
    made = asyncio.run(planner.make(provider(), request))
    assert planner.known(provider(), request) is made
    assert planner.known(provider(revision=2), request) is None
    assert planner.known(provider(tenant_id=2), request) is None
    assert planner.known(provider(name="other"), request) is None
    assert planner.known(provider(), asked(headers={b"api-key": b"mine"})) is None


@pytest.mark.parametrize("size", [10, LARGE + 1, HUGE + 1])
def test_plans_of_large_bodies_are_those_of_small_ones(size: int) -> None:
    request = asked(question("x" * size))
    assert asyncio.run(Planner().make(provider(), request)) == planned(request)


def test_others_get_their_turn_while_a_huge_body_is_planned() -> None:
    request = asked(b'{"model": "m", "temperature": 0, "prompt": [' + b"1," * HUGE + b"1]}")

    async def turns() -> int:
        count, work = 0, asyncio.ensure_future(Planner().make(provider(), request))
        while not work.done():
            await asyncio.sleep(0.001)
            count += 1
        assert (await work).model == "m"
        return count

    assert asyncio.run(turns()) > 5


def test_errors_come_from_the_thread_as_well() -> None:
    with pytest.raises(InvalidRequest):
        asyncio.run(Planner().make(provider(), asked(b'{"a": 1, "b": "' + b"x" * LARGE + b'", "a": 2}')))


def test_what_clients_send_takes_no_memory_in_plans() -> None:
    """A megabyte for each that is kept, otherwise."""
    planner, long = Planner(), "x" * 250_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            headers = {b"anthropic-beta": long.encode(), b"api-key": long.encode()}
            planner.plan(provider(), asked(headers=headers, query=f"{number}{long}", own=f"{number}{long}".encode()))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000


@pytest.mark.parametrize("header", [b"api-key", b"x-goog-api-key", b"xi-api-key", b"x-own"])
def test_credentials_in_headers_that_go_upstream_tell_requests_apart(header: bytes) -> None:
    fingerprints = {
        planned(asked(headers=headers), kind=Kind.OTHER, credential_header="x-own").fingerprint
        for headers in ({}, {header: b"a"}, {header: b"b"})
    }
    assert len(fingerprints) == 3


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_the_gateways_own_key_does_not(header: str) -> None:
    fingerprints = {
        planned(asked(headers={header.encode(): value}), credential_header=header).fingerprint for value in (b"a", b"b")
    }
    assert len(fingerprints) == 1


def test_a_credential_in_one_header_is_not_that_in_another() -> None:
    brought: list[dict[str, Any]] = [{"own": b"a"}, {"headers": {b"api-key": b"a"}}, {"headers": {b"xi-api-key": b"a"}}]
    assert len({planned(asked(**each)).fingerprint for each in brought}) == 3


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"model": "a", "model": "b"}', "model"),
        (b'{"model": "a", "m\\u006fdel": "b"}', "model"),
        (b'{"a": [{"b": {"n": 1, "m": 2, "n": 3}}]}', "n"),
        (b'{"n": 1, "x": ' + b"9" * 15 + b', "n": 2.5}', "n"),
        (b'{"n": 1, "n": 1, "' + b"x" * LARGE + b'": 1}', "n"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_members_that_come_twice_are_refused(body: bytes, name: str, method: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the member '{name}' more than once"):
        planned(asked(body, method=method))


@pytest.mark.parametrize("body", [b'{"a": {"n": 1}, "n": 2}', b'{"a": [{"n": 1}, {"n": 1}]}', b'{"n": 1, "N": 1}'])
def test_members_of_different_objects_or_names_are_not_the_same(body: bytes) -> None:
    assert planned(asked(body)).fingerprint


def test_the_body_of_any_method_says_what_it_may_cost() -> None:
    plan = planned(asked(question(user="me", stream=True), method="PUT"))
    assert (plan.model, plan.user, plan.streams) == ("gpt-4o-mini", "me", True)
    assert (plan.bypass, plan.fingerprint) == ("method PUT", b"")
    assert planned(asked(b"", method="GET")).model == ""


def test_headers_that_come_twice_are_one_list() -> None:
    sent = [(b"accept", b"a"), (b"x-a", b"1"), (b"accept", b"b"), (b"x-a", b"2"), (b"x-a", b"3")]
    assert requests.joined(sent) == {b"accept": b"a, b", b"x-a": b"1, 2, 3"}
    assert requests.for_upstream(sent) == (("accept", "a, b"), ("x-a", "1, 2, 3"))


def test_no_store_counts_wherever_it_stands() -> None:
    for values in ((b"no-store", b"max-age=60"), (b"max-age=60", b"no-store"), (b"private", b"no-store")):
        said = requests.directives(requests.joined([(b"cache-control", value) for value in values]))
        assert (said.read, said.store) == (False, False)


@pytest.mark.parametrize("name", [b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"])
def test_other_methods_than_the_requests_own_stay_here(name: bytes) -> None:
    assert requests.for_upstream([(name.lower(), b"POST")]) == ()


@pytest.mark.parametrize("method", ["post", "Post", "CONNECT", "TRACE", "QUERY", "X" * 500])
def test_methods_that_no_api_has_are_refused(method: str) -> None:
    scope = {"method": method, "raw_path": b"/gateway/openai/v1/x", "query_string": b""}
    with pytest.raises(InvalidRequest, match=r"^method: .*POST"):
        requests.route(scope)
    assert requests.route({**scope, "method": "PATCH"}) == ("openai", "/v1/x", "")


def test_headers_that_are_not_utf_8_are_refused_where_they_go_upstream() -> None:
    with pytest.raises(InvalidRequest, match="X-Title: it is not UTF-8"):
        requests.directives({b"x-title": "Café".encode("latin-1")})
    with pytest.raises(InvalidRequest, match="X-Upstream-Authorization: it is not UTF-8"):
        requests.directives({b"x-upstream-authorization": b"\xff"})
    assert requests.directives({b"x-title": "Café".encode(), b"cookie": b"\xff"}) == requests.PLAIN
    assert requests.for_upstream([(b"x-title", "Café".encode())]) == (("x-title", "Café"),)


@pytest.mark.parametrize("value", [b"x" * 2000, b"a\tb", b",".join(b"t%d" % number for number in range(200))])
def test_errors_in_tags_name_their_header(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Cache-Tags: "):
        requests.directives({b"x-cache-tags": value})


def test_what_this_service_says_is_not_taken_from_an_upstream(client: Client) -> None:
    """What was charged, what is left of a rate limit, what the cache did. Its own limits it may tell."""

    def answers(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        for name in ("X-Credits-Charged", "RateLimit", "RateLimit-Limit", "RateLimit-Reset", "X-Cache", "X-Cache-Cost"):
            handler.send_header(name, "evil")
        handler.send_header("X-RateLimit-Limit-Requests", "60")
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    with small_server(answers) as url:
        client.provider("own", Kind.OTHER, base_url=url)
        Event().wait(1.2)  # until the server knows of it
        answer = client.post({"temperature": 0}, "own/run")
    assert answer.status_code == 200
    assert "evil" not in str(answer.headers)
    assert answer.headers["x-ratelimit-limit-requests"] == "60"


def test_refusals_reach_the_client_and_nothing_goes_upstream(client: Client) -> None:
    def raw(method: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[int, str]:
        named = [(b"Authorization", b"Bearer " + client.key.token.encode()), (b"Connection", b"close"), *headers]
        sent = request_bytes(method.decode(), b"/gateway/openai/v1/chat/completions", named, body)
        answer = exchange(client.server.url, sent)
        return answer.status, answer.body.decode()

    whole = json.dumps(question()).encode()
    for method, body, headers, said in (
        (b"post", whole, [], "method"),
        (b"POST", b'{"model": "a", ' + whole[1:], [], "'model'"),
        (b"POST", whole, [(b"X-Title", b"\xff")], "X-Title"),
    ):
        status, told = raw(method, body, *headers)
        assert (status, said in told) == (400, True), told
    assert client.upstream.calls() == []
