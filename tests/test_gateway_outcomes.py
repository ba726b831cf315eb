"""What cut off answers, binary ones and arrays are to the gateway: told as they came, counted, stored only if whole."""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any

import pytest

from gateway.answers import Answer
from gateway.apis.base import API, Usage
from gateway.models import CacheStatus, Kind, SpendState
from gateway.outcomes import Outcome, outcome_of
from tests.gateway_cast import Client, client, gateway_server
from tests.small_servers import say, small_server
from tests.upstreams import upstream
from tests.wire_formats import ALL, CHAT, EMBEDDINGS, IMAGES, MESSAGES, OTHER, UNKNOWN

__all__ = ["client", "gateway_server", "upstream"]

PNG = b"\x89PNG\r\n\x1a\n"
CUT = '{"path": "a.py", "text": "imp'


def outcome(api: API, body: bytes, content_type: str = "application/json") -> Outcome:
    answer = Answer(200, ((b"content-type", content_type.encode()),))
    answer.add(body)
    answer.finish()
    return outcome_of(api, answer)


def candidate(reason: str | None = None, **members: Any) -> dict[str, Any]:
    """One of the objects that Gemini's `streamGenerateContent` tells in an array."""
    told = {"content": {"parts": [{"text": "a"}]}, **({"finishReason": reason} if reason else {})}
    return {"candidates": [told], **members}


def gemini_usage(prompt: int, output: int) -> dict[str, Any]:
    return {"promptTokenCount": prompt, "candidatesTokenCount": output}


def cut_message() -> bytes:
    """The stream of a message in which the tokens ran out within the call of a tool."""
    usage = {"input_tokens": 9, "output_tokens": 1}
    message = {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": []},
        **{"stop_reason": None, "stop_sequence": None, "usage": usage},
    }
    tool = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": tool},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in ("", CUT[:9], CUT[9:])
        ),
        {"type": "content_block_stop", "index": 0},
        {
            **{"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": None}},
            "usage": {"output_tokens": 12},
        },
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in told)


def test_a_message_cut_off_within_a_tool_call_is_whole_and_not_stored() -> None:
    found = outcome(MESSAGES, cut_message(), "text/event-stream")
    assert (found.broken, found.unstored) == (False, "stop_reason max_tokens")
    assert found.usage == Usage(9, 0, 0, 12)


@pytest.mark.parametrize("api", ALL, ids=lambda api: api.name)
@pytest.mark.parametrize("content_type", ["image/png", "audio/mpeg", "Video/MP4"])
def test_media_are_stored_of_apis_only_of_which_nothing_is_known(api: API, content_type: str) -> None:
    found = outcome(api, PNG, content_type)
    known = api not in (OTHER, UNKNOWN)
    assert (found.broken, found.unstored) == (known, "not JSON" if known else "")


@pytest.mark.parametrize(
    ("told", "unstored", "usage"),
    [
        ([candidate(), candidate("STOP", usageMetadata=gemini_usage(5, 6))], "", Usage(5, 0, 0, 6)),
        (
            [
                candidate(usageMetadata=gemini_usage(5, 1)),
                candidate("MAX_TOKENS", usageMetadata=gemini_usage(5, 6)),
                {"usageMetadata": None},
            ],
            "truncated",
            Usage(5, 0, 0, 6),
        ),
        # What comes later does not make up for it.
        ([candidate("SAFETY"), candidate("STOP")], "filtered", None),
        ([candidate(), {"error": {"code": 503}}], "error", None),
        ([{"error": {"code": 503}}, candidate("STOP")], "error", None),
        ([{"type": "error"}, {"type": "done"}], "error", None),
        ([{"status": "failed"}], "failed", None),
        ([candidate("STOP"), None, [[candidate("MAX_TOKENS")], 1]], "truncated", None),
        ([{"label": "good", "score": 0.9}], "", None),
        ([[{"label": "good", "score": 0.9}]], "", None),
        ([], "", None),
        ([[0.5, 1], [2]], "", None),
        ("an {error}", "", None),
        (7, "", None),
    ],
    ids=str,
)
def test_the_objects_of_an_array_are_looked_at_each(told: Any, unstored: str, usage: Usage | None) -> None:
    for api in (OTHER, UNKNOWN):
        found = outcome(api, json.dumps(told).encode())
        assert (found.broken, found.unstored, found.usage) == (False, unstored, usage)


@pytest.mark.parametrize("body", [b"", b"[", b"[{]", b"[1", b'[{"a": "\xff"}]', b"[" * 600 + b"]" * 600, b"{}{}"])
def test_what_is_no_json_is_broken(body: bytes) -> None:
    assert outcome(OTHER, body).broken


@pytest.mark.parametrize("api", [CHAT, EMBEDDINGS, IMAGES], ids=lambda api: api.name)
def test_an_array_of_an_api_that_has_none_is_broken(api: API) -> None:
    assert outcome(api, b'[{"choices": [{"finish_reason": "stop"}]}]').broken


def asked(**members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": secrets.token_hex(8)}]
    return {"model": "claude-sonnet-4-6", "max_tokens": 12, "messages": messages, **members}


def test_a_message_cut_off_within_a_tool_call_arrives_as_it_was_sent(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, cut_message(), "text/event-stream")) as url:
        client.provider("anthropic", Kind.ANTHROPIC, base_url=url)
        Event().wait(1.2)
        answer = client.post(asked(temperature=0, stream=True), "anthropic/v1/messages")
        assert answer.content == cut_message()
        with client.anthropic().messages.stream(**asked(), extra_body={"temperature": 0}) as stream:
            assert stream.get_final_message().stop_reason == "max_tokens"
    for event in client.events(2):
        assert (event.state, event.input_tokens, event.output_tokens) == (SpendState.SETTLED, 9, 12)
        assert event.cost
    assert client.entries() == []


def test_who_joins_a_cut_off_message_without_streaming_gets_all_that_there_is_of_it(client: Client) -> None:
    begun, go_on = Event(), Event()

    def held(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        begun.set()
        go_on.wait(10)
        say(handler, cut_message(), "text/event-stream")

    with small_server(held) as url, ThreadPoolExecutor(2) as pool:
        client.provider("anthropic", Kind.ANTHROPIC, base_url=url)
        Event().wait(1.2)
        body = asked(temperature=0)
        leading = pool.submit(client.post, {**body, "stream": True}, "anthropic/v1/messages")
        assert begun.wait(10)
        following = pool.submit(client.post, body, "anthropic/v1/messages")
        Event().wait(0.5)  # until it has joined
        go_on.set()
        assert leading.result().content == cut_message()
        whole = following.result()
    assert (whole.status_code, whole.headers["x-cache"]) == (200, "COALESCED")
    assert whole.headers["x-cache-reason"] == "COALESCED; not stored; stop_reason max_tokens"
    assert whole.json()["stop_reason"] == "max_tokens"
    assert whole.json()["content"][0]["input"] == {"INVALID_JSON": CUT}
    assert {event.cache for event in client.events(2)} == {CacheStatus.MISS, CacheStatus.COALESCED}
    assert client.entries() == []


def test_a_picture_where_json_was_asked_for_is_refused_to_everybody(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, PNG, "image/png")) as url:
        client.provider("openai", base_url=url)
        Event().wait(1.2)
        body = {"model": "gpt-image-1", "prompt": secrets.token_hex(8), "seed": 1}
        statuses = [client.post(body, "openai/v1/images/generations").status_code for _ in range(2)]
    assert statuses == [502, 502]
    assert [event.cache for event in client.events(2)] == [CacheStatus.MISS] * 2
    assert client.entries() == []


@pytest.mark.parametrize(("reason", "statuses"), [("STOP", ["MISS", "HIT"]), ("MAX_TOKENS", ["MISS", "MISS"])])
def test_an_array_that_tells_a_stream_is_counted_and_stored_if_whole(
    client: Client, reason: str, statuses: list[str]
) -> None:
    told = json.dumps([candidate(), candidate(reason, usageMetadata=gemini_usage(5, 6))]).encode()
    with small_server(lambda handler, _: say(handler, told)) as url:
        client.provider("gemini", Kind.OTHER, base_url=url)
        Event().wait(1.2)
        contents = [{"parts": [{"text": secrets.token_hex(8)}]}]
        body = {"contents": contents, "generationConfig": {"temperature": 0}}
        answers = [client.post(body, "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent") for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == statuses
    assert [answer.content for answer in answers] == [told] * 2
    assert [(event.input_tokens, event.output_tokens) for event in client.events(2)] == [(5, 6)] * 2
    assert len(client.entries()) == statuses.count("HIT")
