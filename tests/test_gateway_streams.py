"""Streams through the gateway: the first event leaves at once, the whole is stored, and either form serves both."""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from gateway.models import CacheStatus, SpendState
from tests.client import NO_TLS
from tests.gateway_cast import Client, client, gateway_server, question
from tests.processes import wait_for
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]


def message(text: str | None = None, **members: Any) -> dict[str, Any]:
    """The same of Anthropic's, for its SDK."""
    asked = {"max_tokens": 100, **question(text, model="claude-sonnet-4-6"), **members}
    temperature = asked.pop("temperature")  # which its SDK does not know
    return {**asked, "extra_body": {"temperature": temperature}}


def lines(answer: httpx.Response) -> list[str]:
    return [line for line in answer.text.split("\n\n") if line]


def test_a_stream_is_replayed_with_the_same_events(client: Client) -> None:
    asked = question(stream=True)
    first, second = client.post(asked), client.post(asked)
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["MISS", "HIT"]
    assert first.headers["content-type"].startswith("text/event-stream")
    assert first.content == second.content
    assert lines(first)[-1] == "data: [DONE]"
    assert client.upstream.count() == 1


def test_the_usage_that_nobody_asked_for_is_taken_out_again(client: Client) -> None:
    asked = question(stream=True)
    plain = client.post(asked)
    with_usage = client.post({**asked, "stream_options": {"include_usage": True}})
    [call] = client.upstream.calls()
    assert call.json["stream_options"]["include_usage"] is True
    assert with_usage.headers["x-cache"] == "HIT"
    assert "usage" not in plain.text
    usages = [json.loads(line[6:])["usage"] for line in lines(with_usage)[:-1]]
    assert usages[-1]["prompt_tokens"] > 0
    assert not any(usages[:-1])
    miss = client.events(2)[0]
    assert miss.cost is not None
    assert (miss.input_tokens, miss.output_tokens) == (usages[-1]["prompt_tokens"], usages[-1]["completion_tokens"])


def test_a_stored_answer_serves_streams_and_others_alike(client: Client) -> None:
    sdk = client.openai()
    for first_streams in (True, False):
        asked = question()
        whole, streamed = [], []
        for streams in (first_streams, not first_streams):
            if streams:
                chunks = list(sdk.chat.completions.create(**asked, stream=True))
                streamed.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
                assert chunks[-1].choices[0].finish_reason == "stop"
            else:
                whole.append(sdk.chat.completions.create(**asked).choices[0].message.content)
            client.entries(1)
        assert whole == streamed
    assert client.upstream.count() == 2


def test_anthropic_messages_are_converted_both_ways(client: Client) -> None:
    sdk = client.anthropic()
    for first_streams in (True, False):
        asked = message()
        told = []
        for streams in (first_streams, not first_streams):
            if streams:
                with sdk.messages.stream(**asked) as stream:
                    told.append(stream.get_final_message().model_dump())
            else:
                told.append(sdk.messages.create(**asked).model_dump())
            client.entries(1)
        assert told[0]["content"] == told[1]["content"]
        assert told[0]["usage"]["output_tokens"] == told[1]["usage"]["output_tokens"]
        assert told[0]["id"] == told[1]["id"]
    assert client.upstream.count() == 2
    assert {event.cache for event in client.events(4)} == {CacheStatus.MISS, CacheStatus.HIT}


def test_other_streams_are_kept_apart_from_their_documents(client: Client) -> None:
    asked = {"model": "gpt-4o-mini", "input": secrets.token_hex(8), "temperature": 0}
    path = "openai/v1/responses"
    told = [client.post({**asked, "stream": streams}, path).headers["x-cache"] for streams in (True, False)]
    assert told == ["MISS", "MISS"]
    client.entries(2)
    told = [client.post({**asked, "stream": streams}, path).headers["x-cache"] for streams in (True, False)]
    assert told == ["HIT", "HIT"]


def test_the_first_event_leaves_while_the_upstream_still_works(client: Client) -> None:
    client.upstream.hold(after_events=1)
    with client.openai().chat.completions.create(**question(), stream=True) as stream:
        chunks = iter(stream)
        first = next(chunks)  # comes although the upstream has not gone on
        assert first.choices
        client.upstream.release()
        assert len(list(chunks)) > 1


def test_followers_of_a_stream_get_its_events_as_they_come(client: Client) -> None:
    asked = question(stream=True)
    client.upstream.hold(after_events=2)
    with httpx.Client(timeout=30, verify=NO_TLS) as http:
        headers = {"Authorization": f"Bearer {client.key.token}"}
        url = f"{client.url}/openai/v1/chat/completions"
        with http.stream("POST", url, json=asked, headers=headers) as leader:
            events = leader.iter_bytes()
            assert next(events)
            with http.stream("POST", url, json=asked, headers=headers) as follower:
                followed = follower.iter_bytes()
                assert b"data:" in next(followed)  # held upstream, and yet here
                assert follower.headers["x-cache"] == "COALESCED"
                client.upstream.release()
                assert b"[DONE]" in b"".join(followed)
            assert b"[DONE]" in b"".join(events)
    assert client.upstream.count() == 1
    leading, following = client.events(2)
    assert {leading.cache, following.cache} == {CacheStatus.MISS, CacheStatus.COALESCED}


def test_a_document_and_a_stream_share_a_flight(client: Client) -> None:
    asked = question()
    client.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, {**asked, "stream": True})
        client.upstream.wait_for_calls(1)
        second = pool.submit(client.post, asked)
        client.upstream.release()
        streamed, whole = first.result(), second.result()
    assert client.upstream.count() == 1
    assert whole.json()["choices"][0]["message"]["content"]
    assert lines(streamed)[-1] == "data: [DONE]"


@pytest.mark.parametrize("direction", ["truncated", "unfinished", "error-in-stream", "length"])
def test_a_stream_that_is_not_whole_is_not_stored(client: Client, direction: str) -> None:
    text = f"{secrets.token_hex(4)} [[{direction}]]"
    if direction == "length":
        assert list(client.openai().chat.completions.create(**question(text), stream=True))
    else:
        with pytest.raises(openai.APIError):
            list(client.openai().chat.completions.create(**question(text), stream=True))
    [event] = client.events(1)
    assert event.state == (SpendState.SETTLED if direction == "length" else SpendState.UNKNOWN)
    assert client.entries() == []


@pytest.mark.parametrize(("policy", "stored"), [("finish", 1), ("cancel", 0)])
def test_when_the_client_has_gone_the_policy_says_what_becomes_of_the_call(
    client: Client, policy: str, stored: int
) -> None:
    client.policy(on_disconnect=policy)
    client.upstream.hold(after_events=1)
    headers = {"Authorization": f"Bearer {client.key.token}"}
    with httpx.Client(timeout=30, verify=NO_TLS) as http:
        url = f"{client.url}/openai/v1/chat/completions"
        with http.stream("POST", url, json=question(stream=True), headers=headers) as answer:
            assert next(answer.iter_bytes())
    if policy == "cancel":
        wait_for(lambda: client.upstream.calls()[0].disconnected, 10, "the upstream sees the hang-up")
    client.upstream.release()
    [event] = client.events(1)
    assert event.state == (SpendState.SETTLED if policy == "finish" else SpendState.UNKNOWN)
    assert len(client.entries(stored)) == stored
