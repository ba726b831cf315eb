"""Who joins another request's call: what it waits for, what it is told, and what is booked for it."""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cacheservice.entries.models import Entry, Space
from cacheservice.entries.operations import Caller
from cacheservice.entries.refunds import Charge, Named
from cacheservice.entries.store import Hit
from cacheservice.http import Message
from gateway import app, requests
from gateway.answers import Answer
from gateway.directory import Tenancy
from gateway.exchange import Exchange
from gateway.flights import Flight, Flights
from gateway.ledger import Ledger
from gateway.models import BudgetDay, CacheStatus, Kind
from gateway.outcomes import outcome_of
from gateway.plan import Asked, Planner
from gateway.policy import Policy
from gateway.providers import Upstream
from gateway.service import Gateway
from tests.client import connect, request_bytes
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, client, gateway_server, ledger_waits, new_client, question
from tests.ledger_cast import saved_budget
from tests.processes import running_server, wait_for
from tests.store_cast import database_dsn
from tests.upstreams import RunningUpstream, upstream

__all__ = ["client", "gateway_server", "upstream"]


@contextmanager
def reservations_held_up(client: Client) -> Iterator[None]:
    """The tenant has a budget with room; until this ends its row is locked, so no reservation is written."""
    budget = saved_budget(client.tenant.id, "1000")
    BudgetDay.objects.create(tenant_id=client.tenant.id, budget_id=budget.id, day=datetime.now(UTC).date(), used=0)
    with psycopg.connect(database_dsn()) as connection:
        connection.execute("select from gateway_budget_day where budget_id = %s for update", [budget.id])
        yield


def on_the_wire(client: Client, asked: Any, path: bytes = b"openai/v1/chat/completions") -> bytes:
    named = [(b"Authorization", b"Bearer " + client.key.token.encode()), (b"Content-Type", b"application/json")]
    return request_bytes("POST", b"/gateway/" + path, named, json.dumps(asked).encode())


def a_while() -> None:
    """For a request to arrive, or a hang-up to be seen; where it is not, the test shows nothing."""
    threading.Event().wait(0.4)


def test_nobody_joins_a_call_that_was_given_up(client: Client) -> None:
    """It ends only when its reservation has been written, and given back."""
    client.policy(on_disconnect="cancel")
    asked = question()
    with ThreadPoolExecutor(1) as pool:
        with reservations_held_up(client):
            with connect(client.server.url) as impatient:
                impatient.sendall(on_the_wire(client, asked))
                wait_for(ledger_waits, 10, "the budget is asked")
            a_while()
            late = pool.submit(client.post, asked)
            a_while()
        answer: httpx.Response = late.result()
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "MISS")
    assert client.upstream.count() == 1
    assert client.post(asked).headers["x-cache"] == "HIT"


def change_entries(client: Client, **columns: Any) -> None:
    client.entries(1)
    Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).update(**columns)


def at_once(client: Client, asked: Any, *each: dict[str, str]) -> list[httpx.Response]:
    """The answers to one request with each of these headers, sent while the upstream holds the first one's call."""
    client.upstream.hold()
    with ThreadPoolExecutor(len(each)) as pool:
        waiting = [pool.submit(client.post, asked, **headers) for headers in each]
        client.upstream.wait_for_calls(1)
        a_while()
        client.upstream.release()
        return [answer.result() for answer in waiting]


@pytest.mark.parametrize(
    ("columns", "headers", "reason"),
    [
        ({"created_at": "2026-01-01T00:00:00Z"}, {"Cache_Control": "max-age=60"}, "max-age"),
        ({"value": b"\x00" * 100}, {}, "unreadable"),
    ],
)
def test_an_entry_that_will_not_do_is_replaced_by_one_call(
    client: Client, columns: dict[str, Any], headers: dict[str, str], reason: str
) -> None:
    asked = question()
    old = client.post(asked)
    change_entries(client, **columns)
    client.upstream.reset()
    answers = at_once(client, asked, *[headers] * 16)
    assert client.upstream.count() == 1
    assert len({answer.content for answer in answers} | {old.content}) == 2
    told = [answer.headers["x-cache"] for answer in answers]
    assert (told.count("REFRESH"), set(told)) == (1, {"REFRESH", "COALESCED"})
    reasons = {answer.headers.get("x-cache-reason") for answer in answers}
    assert reasons == {f"REFRESH; {reason}", None}
    events = client.events(17)
    assert sum(event.cache == CacheStatus.COALESCED and event.cost == 0 for event in events) == 15
    assert client.post(asked, Cache_Control="max-age=60").headers["x-cache"] == "HIT"


def test_a_request_without_an_entry_joins_the_call_that_was_to_replace_it(client: Client) -> None:
    asked, other = question(), {"Cache_Control": "no-cache"}
    client.post(asked)
    change_entries(client, created_at="2026-01-01T00:00:00Z")
    client.upstream.reset()
    client.upstream.hold()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.post, asked, Cache_Control="max-age=60")
        client.upstream.wait_for_calls(1)
        assert client.post(asked).headers["x-cache"] == "HIT"  # who does not mind the age
        Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).delete()
        second = pool.submit(client.post, asked)
        third = pool.submit(client.post, asked, **other)  # which asked for a call of its own
        client.upstream.wait_for_calls(2)
        a_while()
        client.upstream.release()
        told = [each.result().headers["x-cache"] for each in (first, second, third)]
    assert told == ["REFRESH", "COALESCED", "REFRESH"]
    assert client.upstream.count() == 2


def test_those_who_look_just_before_the_new_answer_is_stored_find_it(client: Client) -> None:
    """And make no second call for what they were told is too old."""

    def ask_twice(asked: Any) -> list[str]:
        return [client.post(asked, Cache_Control="max-age=60").headers["x-cache"] for _ in range(2)]

    asked = [question() for _ in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.post, asked))
        client.entries(len(asked))
        change_entries(client, created_at="2026-01-01T00:00:00Z")
        assert set(map(tuple, pool.map(ask_twice, asked))) == {("REFRESH", "HIT")}


def test_a_joined_client_that_leaves_early_saved_nothing(client: Client) -> None:
    """And not an amount that nobody knows: the call goes on, and has its price."""
    asked = question()
    client.upstream.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, asked)
        client.upstream.wait_for_calls(1)
        with connect(client.server.url) as impatient:
            impatient.sendall(on_the_wire(client, asked))
            a_while()
        a_while()
        client.upstream.release()
        assert first.result().status_code == 200
    events = {event.cache: event for event in client.events(2)}
    left = events[CacheStatus.COALESCED]
    assert (left.status, left.cost, left.saved) == (0, 0, 0)
    assert events[CacheStatus.MISS].status == 200


def test_a_joined_stream_says_that_it_costs_nothing(client: Client) -> None:
    """What it saved is known only at its end."""
    first, second = at_once(client, question(stream=True), {}, {})
    told = {answer.headers["x-cache"]: answer.headers.get("x-cache-cost") for answer in (first, second)}
    assert told == {"MISS": None, "COALESCED": "0"}
    assert "x-cache-saved" not in first.headers.keys() | second.headers.keys()


@pytest.fixture
def narrow(upstream: RunningUpstream, committed_db: None, tmp_path: Path) -> Iterator[Client]:
    """With a server of its own, that has no room for answers above 100,000 bytes."""
    upstream.reset()
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    environment["CACHE_ANSWER_BYTES_IN_FLIGHT"] = "100000"
    with running_server(tmp_path / "server.log", environment) as running:
        yield new_client(running, upstream)
    upstream.reset()


def assert_overloaded(answer: httpx.Response, kind: str, cache: str) -> None:
    """In the shape of the provider's errors."""
    assert (answer.status_code, answer.headers["x-cache"]) == (503, cache)
    assert answer.headers["retry-after"] == "1"
    error = answer.json()["error"]
    if kind == Kind.ANTHROPIC:
        assert (error["type"], error["details"]["error_code"]) == ("overloaded_error", "unavailable")
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
    else:
        assert (error["type"], error["code"]) == ("server_error", "unavailable")
    assert len(answer.headers["x-cache-key"]) == 64
    assert "x-credits-charged" not in answer.headers


def test_an_answer_for_which_there_is_no_room_is_an_error_as_the_providers(narrow: Client) -> None:
    large = f"{secrets.token_hex(4)} [[words-30000]]"
    first, joined = at_once(narrow, question(large), {}, {})
    told = sorted((first, joined), key=lambda answer: answer.headers.get("x-cache", ""))
    assert_overloaded(told[0], Kind.OPENAI, "COALESCED")
    assert_overloaded(told[1], Kind.OPENAI, "MISS")
    narrow.entries(1)
    assert_overloaded(narrow.post(question(large)), Kind.OPENAI, "HIT")
    events = {event.cache: event for event in narrow.events(3)}
    for cache in (CacheStatus.COALESCED, CacheStatus.HIT):
        assert (events[cache].status, events[cache].saved) == (503, 0)
    assert events[CacheStatus.MISS].cost  # of the call, which went well


def test_messages_for_which_there_is_no_room_are_an_error_as_anthropics(narrow: Client) -> None:
    asked = {"max_tokens": 100_000, **question(f"{secrets.token_hex(4)} [[words-30000]]", model="claude-sonnet-4-6")}
    answer = narrow.post(asked, "anthropic/v1/messages", Anthropic_Version="2023-06-01")
    assert_overloaded(answer, Kind.ANTHROPIC, "MISS")


def test_known_embeddings_for_which_there_is_no_room_are_booked_as_the_error(narrow: Client) -> None:
    run = secrets.token_hex(4)
    asked = {"model": "text-embedding-3-small", "input": [f"{number} {run}" for number in range(20)]}
    one = len(narrow.post({**asked, "input": ["one"]}, "openai/v1/embeddings").content)
    asked["input"] = [f"{number} {run}" for number in range(150_000 // one)]
    cause = narrow.post(asked, "openai/v1/embeddings")
    assert cause.status_code == 503
    narrow.entries(1 + len(asked["input"]))
    answer = narrow.post(asked, "openai/v1/embeddings")
    assert (answer.status_code, answer.headers["x-cache"], answer.json()["error"]["code"]) == (
        503,
        "HIT",
        "unavailable",
    )
    [hit] = [event for event in narrow.events(3) if event.cache == CacheStatus.HIT]
    assert (hit.status, hit.saved) == (503, 0)


class Elsewhere:
    """In place of the fetcher: the first call was made by another process, long ago; later ones are made here."""

    def __init__(self) -> None:
        self.calls: list[Exchange] = []
        self.go_on = asyncio.Event()

    async def fetch(self, flight: Flight, exchange: Exchange) -> None:
        self.calls.append(exchange)
        if len(self.calls) == 1:
            await self.go_on.wait()
            charge = Charge(Named(1, 1, 1), 1, "0.001", 1)
            flight.filled = Hit(1, 2, 0, 2**60, None, b"{}", charge)
        else:
            answer = Answer(200, ((b"content-type", b"application/json"),))
            flight.begin(answer)
            answer.add(b'{"new": true}')
            flight.outcome, flight.booked = outcome_of(exchange.api, answer), True
        flight.end()


def exchange_of(gateway: Gateway, headers: dict[bytes, bytes]) -> Exchange:
    upstream = Upstream(
        tenant_id=1,
        name="other",
        kind=Kind.OTHER,
        base_url="https://api.example.com",
        credential=None,
        credential_header="authorization",
        policy=Policy(cache_random=True),
        fallbacks=(),
        revision=1,
    )
    asked = Asked("POST", "/v1/rank", "", headers, b'{"query": "a"}', None, requests.directives(headers))
    return Exchange(
        caller=Caller(1, 1, b""),
        tenancy=Tenancy({}, {}, ()),
        upstream=upstream,
        asked=asked,
        plan=gateway.planner.plan(upstream, asked),
        sent=[],
        request_id="request-1",
        at=datetime.now(UTC),
    )


def test_whoever_joins_gets_nothing_that_is_older_than_its_max_age() -> None:
    async def scenario() -> list[bytes]:
        fetcher, sent = Elsewhere(), [list[Message](), list[Message]()]
        parts: dict[str, Any] = dict.fromkeys(Gateway._fields)
        parts |= {"flights": Flights(10**6), "fetcher": fetcher, "planner": Planner(), "ledger": Ledger("")}
        gateway = Gateway(**parts)

        def ask(into: list[Message], headers: dict[bytes, bytes]) -> asyncio.Task[None]:
            async def send(message: Message) -> None:
                into.append(message)

            staying: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            return asyncio.create_task(app._fly(gateway, exchange_of(gateway, headers), staying, send))

        asking = [ask(sent[0], {}), ask(sent[1], {b"cache-control": b"max-age=60"})]
        await asyncio.sleep(0.05)
        assert len(fetcher.calls) == 1
        fetcher.go_on.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*asking)
        assert (fetcher.calls[1].cache, fetcher.calls[1].reason) == (CacheStatus.REFRESH, "max-age")
        return [messages[-1]["body"] for messages in sent]

    assert asyncio.run(scenario()) == [b"{}", b'{"new": true}']
