"""The APIs that the gateway knows: what it reads in their requests and answers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.apis import api_for
from gateway.apis.base import API, Usage
from gateway.apis.embeddings import Embeddings
from tests.wire_formats import (
    ALL,
    CHAT,
    EMBEDDINGS,
    HOSTILE,
    IMAGES,
    LEGACY,
    MESSAGES,
    OTHER,
    RESPONSES,
    UNKNOWN,
    VIDEO,
)


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("openai", "/v1/chat/completions", "chat"),
        ("openai", "/chat/completions/", "chat"),
        ("openai", "/openai/deployments/x/chat/completions?api-version=1", "chat"),
        ("other", "/v1/chat/completions", "chat"),
        ("anthropic", "/v1/chat/completions", "chat"),
        ("openai", "/v1/completions", "completions"),
        ("openai", "/v1/responses", "responses"),
        ("openai", "/v1/responses/input_tokens", "computed"),
        ("anthropic", "/v1/messages", "messages"),
        ("anthropic", "/messages", "messages"),
        ("other", "/v1/messages", "messages"),
        ("anthropic", "/v1/messages/count_tokens", "computed"),
        ("anthropic", "/v1/messages/batches", "unknown"),
        ("openai", "/v1/threads/thread_1/messages", "unknown"),
        ("other", "/threads/thread_1/messages", "other"),
        ("openai", "/v1/embeddings", "embeddings"),
        ("openai", "/v1/images/generations", "images"),
        ("openai", "/v1/videos", "video"),
        ("openai", "/v1/moderations", "computed"),
        ("openai", "/v1/files", "unknown"),
        ("other", "/", "other"),
        ("other", "", "other"),
    ],
)
def test_the_api_is_known_by_its_path(kind: str, path: str, name: str) -> None:
    assert api_for(kind, path, None).name == name


@pytest.mark.parametrize(
    ("api", "body", "reason"),
    [
        (CHAT, {"messages": []}, "temperature absent"),
        (CHAT, {"messages": [], "temperature": None}, "temperature absent"),
        (CHAT, {"messages": [], "temperature": 0}, None),
        (CHAT, {"messages": [], "temperature": 0.0}, None),
        (CHAT, {"messages": [], "temperature": 0.2}, "temperature>0"),
        (CHAT, {"messages": [], "temperature": "0"}, "temperature>0"),
        (CHAT, {"messages": [], "temperature": 1, "seed": 7}, None),
        (CHAT, {"messages": [], "seed": None}, "temperature absent"),
        (CHAT, {"messages": [], "metadata": {"temperature": 0, "seed": 1}}, "temperature absent"),
        (LEGACY, {"prompt": "x"}, "temperature absent"),
        (RESPONSES, {"input": "x"}, "temperature absent"),
        (RESPONSES, {"input": "x", "temperature": 0}, None),
        (RESPONSES, {"input": "x", "temperature": 0, "conversation": "conv_1"}, "conversation"),
        (MESSAGES, {"messages": []}, "temperature absent"),
        (MESSAGES, {"messages": [], "temperature": 0}, None),
        (EMBEDDINGS, {"input": "x"}, None),
        (IMAGES, {"prompt": "x"}, "no seed"),
        (IMAGES, {"prompt": "x", "seed": 1}, None),
        (VIDEO, {"prompt": "x"}, "no seed"),
        (OTHER, {"query": "x", "documents": ["y"]}, None),
        (OTHER, {"contents": [], "generationConfig": {"temperature": 0}}, None),
        (OTHER, {"model": "x", "prompt": "y", "options": {"seed": 1}}, None),
        (OTHER, {"input": {"prompt": "x"}}, "temperature absent"),
        (UNKNOWN, {"input_file_id": "file-1"}, "unknown API"),
    ],
)
def test_what_is_random_says_why(api: API, body: dict[str, Any], reason: str | None) -> None:
    assert api.randomness(body) == reason


PICTURE = "data:image/png;base64," + "A" * 300
SHOWN = {"type": "image_url", "image_url": {"url": PICTURE}}
CONVERSATION: dict[str, Any] = {
    "model": "M",
    "messages": [
        {"role": "system", "content": " Be  Kind\n"},
        {"role": "user", "content": [{"type": "text", "text": "Look AT"}, SHOWN]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "getX", "arguments": '{"q": 1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "Straße"},
    ],
    "tools": [{"function": {"name": "F", "description": "the current weather"}}],
    "user": "someone",
}


def test_the_texts_of_a_conversation() -> None:
    assert list(CHAT.texts(CONVERSATION)) == [" Be  Kind\n", "Look AT", "getX", '{"q": 1}', "Straße"]


def test_a_normalized_conversation() -> None:
    body = CHAT.normalized(CONVERSATION)
    contents = [message.get("content") for message in body["messages"]]
    assert contents[0] == "be kind"
    assert contents[1][0]["text"] == "look at"
    assert contents[1][1] == SHOWN
    assert body["messages"][2]["tool_calls"][0]["function"]["name"] == "getX"
    assert contents[3] == "strasse"
    assert {name: body[name] for name in ("model", "tools", "user")} == {
        name: CONVERSATION[name] for name in ("model", "tools", "user")
    }


@pytest.mark.parametrize(
    ("api", "body", "texts"),
    [
        (LEGACY, {"prompt": ["A", "B"], "suffix": "C", "stop": "D"}, ["A", "B", "C"]),
        (RESPONSES, {"instructions": "I", "input": [{"type": "message", "content": [{"text": "T"}]}]}, ["T", "I"]),
        (EMBEDDINGS, {"input": ["A", "B"], "model": "M"}, ["A", "B"]),
        (EMBEDDINGS, {"input": [1, 2]}, []),
        (IMAGES, {"prompt": "P", "size": "S"}, ["P"]),
        (
            MESSAGES,
            {
                "system": [{"type": "text", "text": "S"}],
                "messages": [
                    {"content": [{"type": "document", "source": {"type": "text", "media_type": "t", "data": "D"}}]},
                    {"content": [{"type": "image", "source": {"type": "base64", "data": "no"}}]},
                    {"content": [{"type": "tool_result", "tool_use_id": "no", "content": "R"}]},
                ],
            },
            ["S", "D", "R"],
        ),
        (OTHER, {"model": "M", "user": "U", "query": "Q", "deep": {"er": ["x"]}, "file": PICTURE}, ["Q", "x"]),
    ],
)
def test_the_texts_of_a_prompt(api: API, body: dict[str, Any], texts: list[str]) -> None:
    assert list(api.texts(body)) == texts


@pytest.mark.parametrize(
    ("api", "body", "most"),
    [
        (CHAT, {"max_tokens": 10}, 10),
        (CHAT, {"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, 60),
        (CHAT, {"n": 3}, None),
        # As lenient upstreams read them.
        (CHAT, {"max_tokens": "10", "n": 3.0}, 30),
        (CHAT, {"max_tokens": 10.0, "n": "3"}, 30),
        (CHAT, {"max_tokens": 10.5}, None),
        (CHAT, {"max_tokens": "ten"}, None),
        (CHAT, {"max_tokens": 0}, None),
        (CHAT, {"max_tokens": -1}, None),
        # Only one of them is understood: the other one may be more.
        (CHAT, {"max_tokens": 1, "max_completion_tokens": "1e6"}, None),
        # What another API calls its limit is none of this one's.
        (CHAT, {"max_tokens": None, "num_predict": 1, "options": {"max_tokens": 1}}, None),
        (LEGACY, {"max_completion_tokens": 1}, None),
        (RESPONSES, {"max_tokens": 1}, None),
        (MESSAGES, {"thinking": {"max_tokens": 1}}, None),
        (LEGACY, {"max_tokens": 5, "prompt": ["a", "b"], "n": 2}, 20),
        (LEGACY, {"max_tokens": 5, "prompt": [[1, 2], [3]]}, 10),
        (LEGACY, {"max_tokens": 5, "prompt": [1, 2, 3]}, 5),
        (LEGACY, {"max_tokens": 5, "prompt": []}, 5),
        (CHAT, {"max_tokens": True}, None),
        (CHAT, {"max_tokens": 5, "n": -1}, None),
        (LEGACY, {"max_tokens": 5, "n": 2, "best_of": 4}, 20),
        (RESPONSES, {"max_output_tokens": 7}, 7),
        (MESSAGES, {"max_tokens": 9}, 9),
        (EMBEDDINGS, {}, 0),
        (OTHER, {"generationConfig": {"maxOutputTokens": 8, "candidateCount": 2}}, 16),
    ],
)
def test_the_worst_case_of_output(api: API, body: dict[str, Any], most: int | None) -> None:
    assert api.worst_output(body) == most


@pytest.mark.parametrize(
    ("count", "choices"),
    [(None, 1), (1, 1), (100, 100), ("100", 100), (100.0, 100), ("0100", 100)]
    + [(wrong, None) for wrong in (0, -1, 1.5, "", "x", "1e2", "-1", " 1", "\u0661", True, [], [3], {"x": 1}, 1e300)],
)
def test_how_many_choices(count: Any, choices: int | None) -> None:
    assert CHAT.choices({"n": count}) == choices
    assert OTHER.choices({"n": 1, "options": {"num_return_sequences": count}}) == choices


def test_choices_are_those_of_the_api() -> None:
    assert CHAT.choices({"best_of": 5, "options": {"n": 5}}) == 1
    assert LEGACY.choices({"best_of": 5, "n": 2}) == 5
    assert OTHER.choices({"best_of": 5, "n": 2}) == 5


def test_how_many_images() -> None:
    counts = [IMAGES.images(body) for body in ({}, {"n": 3}, {"n": "3"}, {"n": None}, {"n": "x"})]
    assert counts == [1, 3, 3, 1, None]
    assert (CHAT.images({"n": 3}), VIDEO.images({"n": 3})) == (0, 0)


def test_urls_of_images_are_gone_after_an_hour() -> None:
    assert IMAGES.longest_ttl({"data": [{"url": "https://x/y.png"}]}) == 3300
    assert IMAGES.longest_ttl({"images": [{"url": "https://x/y.png"}]}) == 3300
    assert IMAGES.longest_ttl({"output": "https://x/y.png"}) == 3300
    assert IMAGES.longest_ttl({"data": [{"b64_json": "AAAA"}]}) is None
    assert CHAT.longest_ttl({"data": [{"url": "https://x/y.png"}]}) is None


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
MESSAGE = {"type": "message", "content": [], "stop_reason": "end_turn"}


@pytest.mark.parametrize(
    ("api", "answer", "reason"),
    [
        (CHAT, {"choices": [CHOICE]}, None),
        (CHAT, {"choices": [CHOICE, {**CHOICE, "finish_reason": "length"}]}, "finish_reason length"),
        (CHAT, {"choices": [{**CHOICE, "finish_reason": "content_filter"}]}, "finish_reason content_filter"),
        (CHAT, {"choices": [{**CHOICE, "finish_reason": None}]}, "no good finish_reason"),
        (CHAT, {"choices": [{**CHOICE, "finish_reason": "\r\nX-Header: 1"}]}, "no good finish_reason"),
        (CHAT, {"choices": [CHOICE], "error": {"message": "x"}}, "error"),
        (CHAT, {"choices": []}, "no choices"),
        (CHAT, {"choices": "x"}, "no choices"),
        (RESPONSES, {"status": "completed", "error": None}, None),
        (RESPONSES, {"status": "incomplete"}, "incomplete"),
        (RESPONSES, {"status": "queued"}, "under way"),
        (RESPONSES, {"status": "failed", "error": {"code": "x"}}, "error"),
        (RESPONSES, {"id": "x"}, "no status"),
        (MESSAGES, MESSAGE, None),
        (MESSAGES, {**MESSAGE, "stop_reason": "tool_use"}, None),
        (MESSAGES, {**MESSAGE, "stop_reason": "max_tokens"}, "stop_reason max_tokens"),
        (MESSAGES, {**MESSAGE, "stop_reason": "refusal"}, "stop_reason refusal"),
        (MESSAGES, {**MESSAGE, "stop_reason": "pause_turn"}, "stop_reason pause_turn"),
        (MESSAGES, {**MESSAGE, "stop_reason": None}, "no good stop_reason"),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error"}}, "error"),
        (EMBEDDINGS, {"data": [{"index": 0, "embedding": [0.1]}]}, None),
        (EMBEDDINGS, {"data": []}, "no embeddings"),
        (IMAGES, {"data": [{"b64_json": "AAAA"}]}, None),
        (IMAGES, {"data": []}, "no images"),
        (VIDEO, {"id": "v", "status": "queued"}, "under way"),
        (OTHER, {"label": "spam"}, None),
        (OTHER, {}, None),  # what is no JSON object is looked at as one without members
        (UNKNOWN, {}, None),
        (OTHER, {"a": [{"b": [{"c": {"d": [{"finish_reason": "length"}]}}]}]}, "truncated"),
        (OTHER, {"text": 'I said "finish_reason":"length"'}, None),
        (OTHER, {"finish_reason": ["length"]}, None),
        (OTHER, {"error": "x"}, "error"),
        (OTHER, {"candidates": [{"finishReason": "MAX_TOKENS"}]}, "truncated"),
        (OTHER, {"candidates": [{"finishReason": "SAFETY"}]}, "filtered"),
        (OTHER, {"candidates": [{"finishReason": "STOP"}]}, None),
    ],
)
def test_only_whole_answers_may_be_stored(api: API, answer: dict[str, Any], reason: str | None) -> None:
    assert api.incomplete(answer) == reason


@pytest.mark.parametrize(
    ("api", "answer", "usage"),
    [
        (
            CHAT,
            {
                "usage": {
                    **{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": None},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                }
            },
            Usage(10, 4, 0, 5, 2),
        ),
        (
            CHAT,
            {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None}},
            Usage(10, 0, 0, 5),
        ),
        (CHAT, {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22}}, Usage(10, 0, 0, 12)),
        (
            CHAT,
            {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 6}},
            Usage(10, 6, 0, 1),
        ),
        (CHAT, {"usage": {"prompt_tokens": "10", "completion_tokens": 5}}, None),
        (CHAT, {"usage": {"prompt_tokens": -1, "completion_tokens": 5}}, None),
        (CHAT, {"usage": {"prompt_tokens": 10**30, "completion_tokens": 5}}, None),
        (CHAT, {"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}}, None),
        (CHAT, {"usage": {"prompt_tokens": 1, "prompt_tokens_details": [1]}}, None),
        (CHAT, {"usage": None}, None),
        (CHAT, {}, None),
        (
            RESPONSES,
            {"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 4}},
            Usage(9, 3, 0, 4),
        ),
        (
            MESSAGES,
            {
                "usage": {
                    **{"input_tokens": 1, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300},
                    **{"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 5}},
                }
            },
            Usage(321, 300, 20, 7, 5),
        ),
        (MESSAGES, {"usage": {"input_tokens": 3, "output_tokens": 4}}, Usage(3, 0, 0, 4)),
        (MESSAGES, {"usage": {"input_tokens": 3}}, None),
        (EMBEDDINGS, {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8)),
        (IMAGES, {"data": [{}, {}]}, Usage(images=2)),
        (IMAGES, {"data": [{}], "usage": {"input_tokens": 2, "output_tokens": 3}}, Usage(2, 0, 0, 3, images=1)),
        (IMAGES, {"data": [{}], "usage": "x"}, None),
        (
            OTHER,
            {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "thoughtsTokenCount": 7}},
            Usage(5, 0, 0, 13, 7),
        ),
    ],
)
def test_usage(api: API, answer: dict[str, Any], usage: Usage | None) -> None:
    assert api.usage(answer) == usage


def test_embeddings_in_parts() -> None:
    api = EMBEDDINGS
    assert isinstance(api, Embeddings)
    assert api.inputs({"input": "a"}) == ["a"]
    assert api.inputs({"input": ["a", "b"]}) == ["a", "b"]
    assert api.inputs({"input": [1, 2]}) == [[1, 2]]
    assert api.inputs({"input": [[1], [2]]}) == [[1], [2]]
    assert [api.inputs({"input": given}) for given in (None, [], [None], {"a": 1}, 5)] == [None] * 5
    assert api.part({"input": ["a", "b"], "model": "m"}, ["b"]) == {"input": ["b"], "model": "m"}
    first, second = {"index": 0, "embedding": [0.1]}, {"index": 1, "embedding": [0.2]}
    assert api.vectors({"data": [second, first]}, 2) == [first, second]
    wrong: tuple[list[Any], ...] = ([first], [first, first], [None, 1], [{"index": []}, first], [])
    for found in wrong:
        with pytest.raises(ValueError, match="not one embedding"):
            api.vectors({"data": found}, 2)
    assert api.joined({"data": [], "model": "m"}, [second, first]) == {
        "data": [{**second, "index": 0}, {**first, "index": 1}],
        "model": "m",
    }


BODY_METHODS = (
    "randomness",
    "streams",
    "upstream_body",
    "worst_output",
    "choices",
    "images",
    "normalized",
    "hidden_input",
)


@settings(deadline=None)
@given(st.sampled_from(ALL), HOSTILE)
def test_nothing_in_a_body_raises(api: API, body: dict[str, Any]) -> None:
    for name in BODY_METHODS:
        getattr(api, name)(body)
    assert all(isinstance(text, str) for text in api.texts(body))


@settings(deadline=None)
@given(st.sampled_from(ALL), HOSTILE)
def test_nothing_in_an_answer_raises(api: API, answer: dict[str, Any]) -> None:
    reason = api.incomplete(answer)
    assert reason is None or reason.isprintable()
    api.usage(answer)
    api.longest_ttl(answer)
