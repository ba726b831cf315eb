"""Embeddings through the gateway: cached by input string, and only what is missing goes upstream."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from gateway.models import CacheStatus
from tests.gateway_cast import Client, client, gateway_server
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]
MODEL = "text-embedding-3-small"


def texts(count: int) -> list[str]:
    run = secrets.token_hex(4)
    return [f"text {number} of {run}" for number in range(count)]


def post(client: Client, given: Any, **members: Any) -> httpx.Response:
    return client.post({"model": MODEL, "input": given, **members}, "openai/v1/embeddings")


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
