"""Embeddings through the gateway: cached by input string, and only what is missing goes upstream."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event
from typing import Any

import httpx
import psycopg
import pytest

from gateway.models import BudgetDay, CacheStatus
from tests.cast import new_key
from tests.client import connect, request_bytes
from tests.gateway_cast import Client, client, gateway_server, ledger_waits
from tests.ledger_cast import saved_budget
from tests.processes import wait_for
from tests.store_cast import database_dsn
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]
MODEL = "text-embedding-3-small"


def texts(count: int) -> list[str]:
    run = secrets.token_hex(4)
    return [f"text {number} of {run}" for number in range(count)]


def post(client: Client, given: Any, **members: Any) -> httpx.Response:
    return client.post({"model": MODEL, "input": given, **members}, "openai/v1/embeddings")


def embeddings_request(client: Client, given: Any) -> bytes:
    """As it stands on the wire."""
    named = [(b"Authorization", b"Bearer " + client.key.token.encode()), (b"Content-Type", b"application/json")]
    body = json.dumps({"model": MODEL, "input": given}).encode()
    return request_bytes("POST", b"/gateway/openai/v1/embeddings", named, body)


@contextmanager
def refusal_held_up(client: Client) -> Iterator[None]:
    """The client's API key may spend nothing, and is told so when this ends: until then its budget is locked."""
    budget = saved_budget(client.tenant.id, "0", api_key_id=client.key.row.id)
    BudgetDay.objects.create(tenant_id=client.tenant.id, budget_id=budget.id, day=datetime.now(UTC).date(), used=0)
    with psycopg.connect(database_dsn()) as connection:
        connection.execute("select from gateway_budget_day where budget_id = %s for update", [budget.id])
        yield


def vectors(answer: httpx.Response) -> list[Any]:
    items = answer.json()["data"]
    assert [item["index"] for item in items] == list(range(len(items)))
    return [item["embedding"] for item in items]


def test_of_a_hundred_strings_with_ninety_known_ten_go_upstream_and_all_come_back_in_order(client: Client) -> None:
    strings = texts(100)
    whole = vectors(client.post({"model": MODEL, "input": strings}, "openai/v1/embeddings", Cache_Control="no-store"))
    known = strings[:45] + strings[55:]
    post(client, known)
    client.entries(90)
    client.upstream.reset()
    answer = post(client, strings)
    assert vectors(answer) == whole
    [call] = client.upstream.calls()
    assert call.json["input"] == strings[45:55]
    assert answer.headers["x-cache"] == "MISS"
    assert answer.headers["x-cache-reason"] == "MISS; 10 of 100 went upstream"
    event = client.events(3)[-1]
    assert event.cost is not None and event.saved is not None
    assert abs(event.saved - 9 * event.cost) < event.cost / 10  # the strings are about as long as each other


def test_what_is_known_needs_no_call(client: Client) -> None:
    strings = texts(3)
    first = post(client, strings)
    client.entries(3)
    again = post(client, list(reversed(strings)))
    assert again.headers["x-cache"] == "HIT"
    assert vectors(again) == list(reversed(vectors(first)))
    assert post(client, strings[0]).headers["x-cache"] == "HIT"
    assert client.upstream.count() == 1
    assert [event.cache for event in client.events(3)] == [CacheStatus.MISS, CacheStatus.HIT, CacheStatus.HIT]


def test_the_official_sdk(client: Client) -> None:
    sdk, strings = client.openai(), texts(4)
    first = sdk.embeddings.create(model=MODEL, input=strings)
    client.entries(4)
    again = sdk.embeddings.create(model=MODEL, input=strings)
    assert [item.embedding for item in first.data] == [item.embedding for item in again.data]
    assert first.usage.prompt_tokens > 0
    assert client.upstream.count() == 1


def test_a_string_that_comes_twice_is_sent_once(client: Client) -> None:
    one, other = texts(2)
    answer = post(client, [one, other, one])
    assert vectors(answer)[0] == vectors(answer)[2] != vectors(answer)[1]
    [call] = client.upstream.calls()
    assert call.json["input"] == [one, other]


def test_strings_that_the_policy_does_not_tell_apart_are_sent_once(client: Client) -> None:
    client.policy(text="normalized")
    [run] = texts(1)
    given = [f"Hello {run}", f"hello  {run} ", f"unique {run}"]
    answer = post(client, given)
    assert answer.headers["x-cache-reason"] == "MISS; 2 of 2 went upstream"
    hello, same, unique = vectors(answer)
    assert hello == same != unique
    [call] = client.upstream.calls()
    assert call.json["input"] == [given[0], given[2]]
    client.entries(2)
    again = post(client, given[1:])
    assert again.headers["x-cache"] == "HIT"
    assert vectors(again) == [same, unique]
    refreshed = client.post({"model": MODEL, "input": given}, "openai/v1/embeddings", Cache_Control="no-cache")
    assert vectors(refreshed) == [hello, same, unique]


def test_formats_and_dimensions_have_entries_of_their_own(client: Client) -> None:
    [text] = texts(1)
    for members in ({}, {"encoding_format": "base64"}, {"dimensions": 8}):
        assert post(client, text, **members).headers["x-cache"] == "MISS"


def test_tokens_are_cached_as_a_whole(client: Client) -> None:
    tokens = [secrets.randbelow(10_000) for _ in range(8)]
    assert post(client, tokens).headers["x-cache"] == "MISS"
    client.entries(1)
    assert post(client, tokens).headers["x-cache"] == "HIT"


def test_requests_that_overlap_in_flight_share_their_calls(client: Client) -> None:
    strings = texts(6)
    client.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, strings[:4])
        client.upstream.wait_for_calls(1)
        second = pool.submit(post, client, strings[2:])
        client.upstream.wait_for_calls(2)
        client.upstream.release()
        answers = [first.result(), second.result()]
    assert [call.json["input"] for call in client.upstream.calls()] == [strings[:4], strings[4:]]
    assert vectors(answers[0])[2:] == vectors(answers[1])[:2]


def test_those_who_wait_for_a_call_that_was_given_up_make_one_in_its_place(client: Client) -> None:
    client.policy(on_disconnect="cancel")
    shared, one, other = texts(3)
    client.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        with connect(client.server.url) as impatient:
            impatient.sendall(embeddings_request(client, [shared]))
            client.upstream.wait_for_calls(1)
            waiting = [pool.submit(post, client, [shared, own]) for own in (one, other)]
            client.upstream.wait_for_calls(3)  # for what is theirs alone: so they wait for the rest
        wait_for(lambda: client.upstream.calls()[0].disconnected, 10, "the upstream sees the hang-up")
        client.upstream.release()
        answers = [future.result() for future in waiting]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert vectors(answers[0])[0] == vectors(answers[1])[0]
    inputs = [call.json["input"] for call in client.upstream.calls()]
    assert sorted(inputs[1:3]) == sorted([[one], [other]])
    assert [inputs[0], *inputs[3:]] == [[shared], [shared]]


def test_those_who_wait_for_a_call_that_is_refused_ask_themselves(client: Client) -> None:
    shared, own = texts(2)
    other = Client(client.server, client.upstream, client.tenant, new_key(client.tenant))
    with ThreadPoolExecutor(2) as pool, refusal_held_up(client):
        poor = pool.submit(post, client, [shared])
        wait_for(ledger_waits, 10, "the budget is asked")
        waiting = pool.submit(post, other, [shared, own])
        client.upstream.wait_for_calls(1)
    assert (poor.result().status_code, poor.result().json()["error"]["code"]) == (402, "budget_exceeded")
    answer = waiting.result()
    assert answer.status_code == 200
    assert answer.headers["x-cache-reason"] == "MISS; 2 of 2 went upstream"
    assert [call.json["input"] for call in client.upstream.calls()] == [[own], [shared]]
    whole = other.post({"model": MODEL, "input": [shared, own]}, "openai/v1/embeddings", Cache_Control="no-store")
    assert vectors(answer) == vectors(whole)
    assert answer.json()["usage"] == whole.json()["usage"]
    spent = sum((event.cost or Decimal(0) for event in client.events(4) if event.cache == CacheStatus.MISS), Decimal(0))
    assert f"{spent.normalize():f}" == answer.headers["x-cache-cost"] == whole.headers["x-cache-cost"]


def test_those_who_wait_get_the_failure_of_the_upstream_as_it_is(client: Client) -> None:
    client.policy(retries=0, first_byte_seconds=2)
    [shared] = texts(1)
    client.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, [shared])
        client.upstream.wait_for_calls(1)
        answers = [pool.submit(post, client, [shared]).result(), first.result()]
    client.upstream.release()
    assert [answer.status_code for answer in answers] == [504, 504]
    assert [answer.json()["error"]["code"] for answer in answers] == ["upstream_timeout"] * 2
    assert client.upstream.count() == 1


def both_at_once(client: Client, first: list[str], second: list[str]) -> list[httpx.Response]:
    """The second is sent while the upstream holds the first one's call."""
    client.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post, client, first)]
        client.upstream.wait_for_calls(1)
        waiting.append(pool.submit(post, client, second))
        Event().wait(0.4)  # until it waits, or has a call of its own
        client.upstream.release()
        return [answer.result() for answer in waiting]


def test_what_the_upstream_says_of_one_input_is_not_said_of_another(client: Client) -> None:
    client.policy(retries=0)
    [good] = texts(1)
    bad = f"{secrets.token_hex(4)} [[status-400]]"
    refused, answered = both_at_once(client, [good, bad], [good])
    assert (refused.status_code, refused.headers["x-cache"]) == (400, "MISS")
    assert (answered.status_code, answered.headers["x-cache"]) == (200, "MISS")
    assert len(vectors(answered)) == 1
    assert [call.json["input"] for call in client.upstream.calls()] == [[good, bad], [good]]
    assert [event.status for event in client.events(2)] == [400, 200]


@pytest.mark.parametrize(("status", "same"), [(400, True), (429, False), (500, False)])
def test_what_the_upstream_says_of_both_is_said_once(client: Client, status: int, same: bool) -> None:
    client.policy(retries=0)
    [one] = texts(1)
    bad = f"{secrets.token_hex(4)} [[status-{status}]]"
    answers = both_at_once(client, [one, bad], [one, bad] if same else [bad])
    assert [answer.status_code for answer in answers] == [status, status]
    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "COALESCED"]
    assert client.upstream.count() == 1


def test_an_error_reaches_the_client_and_nothing_is_stored(client: Client) -> None:
    client.policy(retries=0)
    answer = post(client, [*texts(2), "[[status-500]]"])
    assert answer.status_code == 500
    assert answer.json()["error"]
    assert client.entries() == []


def test_refreshing_asks_for_all(client: Client) -> None:
    strings = texts(2)
    post(client, strings)
    client.entries(2)
    answer = client.post({"model": MODEL, "input": strings}, "openai/v1/embeddings", Cache_Control="no-cache")
    assert answer.headers["x-cache"] == "REFRESH"
    assert client.upstream.count() == 2
