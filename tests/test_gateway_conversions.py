"""Streams made into answers, and answers into streams, for clients of either kind.

What the official SDKs add up from a replay is the answer, too.
"""

import json
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.apis.base import API, Event
from tests.wire_formats import ALL, CHAT, HOSTILE, IMAGES, LEGACY, MESSAGES, OTHER, RESPONSES, data, events, named

CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "system_fingerprint": "f"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
LOGPROB = {"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": []}


def chunk(delta: Any = None, index: int = 0, **members: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "finish_reason": None, **members}
    return {**CHUNK, "choices": [choice], "usage": None, "obfuscation": "xyz"}


def test_a_stream_of_chunks_adds_up_to_a_completion() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
    stream = data(
        chunk({"role": "assistant", "content": "", "refusal": None}, logprobs=None),
        chunk({"role": "assistant", "content": "He"}, logprobs={"content": [LOGPROB], "refusal": None}),
        chunk({"content": "llo"}, logprobs={"content": [LOGPROB], "refusal": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning_content": "m"}),
        chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}, 1),
        chunk({"tool_calls": [{"index": 1, "id": "t2", "function": {"name": "go", "arguments": "{}"}}]}, 1),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"a"'}}]}, 1),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}, 1),
        chunk({}, finish_reason="stop"),
        chunk({}, 1, finish_reason="tool_calls"),
        {**CHUNK, "choices": [], "usage": USAGE, "service_tier": "default"},
        b"[DONE]",
    )
    looked = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    gone = {"id": "t2", "function": {"name": "go", "arguments": "{}"}}
    assert CHAT.assemble(stream) == {
        **{**CHUNK, "object": "chat.completion", "service_tier": "default", "usage": USAGE},
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "hmm"},
                "logprobs": {"content": [LOGPROB, LOGPROB], "refusal": None},
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": None, "tool_calls": [looked, gone]},
                "finish_reason": "tool_calls",
            },
        ],
    }
    assert [CHAT.ends(event) for event in stream[-2:]] == [False, True]


def test_tools_without_an_index_and_padded_audio() -> None:
    stream = data(
        chunk({"tool_calls": [{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "f"}}]}),
        chunk({"audio": {"id": "x", "data": "YQ=="}}),
        chunk({"audio": {"data": "YmM=", "transcript": "s"}}),
        chunk({"function_call": {"name": "f", "arguments": "{"}}),
        chunk({"function_call": {"arguments": "}"}}),
    )
    message = CHAT.assemble(stream)["choices"][0]["message"]
    assert [call["id"] for call in message["tool_calls"]] == ["a", "b"]
    assert message["audio"] == {"id": "x", "data": "YWJj", "transcript": "s"}
    assert message["function_call"] == {"name": "f", "arguments": "{}"}


SEE, DOCS = {"type": "text", "text": "See "}, {"type": "reference", "reference_ids": [1]}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        (["", [THOUGHT], "The ", "answer", ""], [THOUGHT, {"type": "text", "text": "The answer"}]),
        (["", [THOUGHT], "The answer"], [THOUGHT, {"type": "text", "text": "The answer"}]),
        (
            ["See ", "docs", [DOCS], " e", "nd"],
            [{"type": "text", "text": "See docs"}, DOCS, {"type": "text", "text": " end"}],
        ),
        (["See", [DOCS], [DOCS]], [{"type": "text", "text": "See"}, DOCS, DOCS]),
        ([[], [SEE], "the ", "docs", [DOCS]], [{"type": "text", "text": "See the docs"}, DOCS]),
        ([[SEE], None, [SEE], "x"], [SEE, {"type": "text", "text": "See x"}]),
        ([[None], "a", "b"], [None, {"type": "text", "text": "ab"}]),
        ([[{"type": "text", "text": None}], "a"], [{"type": "text", "text": None}, {"type": "text", "text": "a"}]),
        (["a", []], "a"),
        ([[], "a", "b"], "ab"),
        ([[DOCS], ""], [DOCS]),
    ],
)
def test_content_told_as_strings_and_as_lists_loses_nothing(pieces: list[Any], content: Any) -> None:
    stream = data(*(chunk({"content": piece}) for piece in pieces), chunk({}, finish_reason="stop"), b"[DONE]")
    answer = CHAT.assemble(stream)
    assert answer["choices"][0]["message"]["content"] == content
    assert json.loads(msgspec.json.encode(answer)) == answer
    assert CHAT.assemble(events(*CHAT.replay(answer))) == answer


def test_a_stream_of_texts_adds_up_to_a_completion() -> None:
    common = {"id": "c1", "object": "text_completion", "created": 5, "model": "m"}
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.5], "top_logprobs": None, "text_offset": [0]}
    pieces = [
        {"index": 0, "text": "a", "logprobs": logprobs, "finish_reason": None},
        {"index": 0, "text": "b", "logprobs": logprobs, "finish_reason": "stop"},
    ]
    answer = LEGACY.assemble(data(*({**common, "choices": [piece]} for piece in pieces), b"[DONE]"))
    joined = {"tokens": ["a", "a"], "token_logprobs": [-1.5, -1.5], "top_logprobs": None, "text_offset": [0, 0]}
    assert answer == {**common, "choices": [{"index": 0, "text": "ab", "logprobs": joined, "finish_reason": "stop"}]}
    assert LEGACY.assemble(events(*LEGACY.replay(answer))) == answer


@pytest.mark.parametrize(
    ("api", "stream"),
    [
        (CHAT, []),
        (CHAT, data(b"[DONE]")),
        (CHAT, data(chunk({"content": "a"}), {"error": {"message": "overloaded"}})),
        (CHAT, data(b"{")),
        (CHAT, data(b"[" * 5000 + b"]" * 5000)),
        (CHAT, data(b'{"choices": [{"delta": {"x": ' + b'{"x": ' * 300 + b"1" + b"}" * 300 + b"}}]}")),
        (MESSAGES, []),
        (MESSAGES, named({"type": "error", "error": {"type": "overloaded_error", "message": "x"}})),
        (MESSAGES, named({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}})),
        (RESPONSES, named({"type": "response.created", "response": {}})),
        (RESPONSES, named({"type": "response.failed", "response": {"error": {"code": "x"}}})),
        (RESPONSES, named({"type": "error", "message": "x"})),
        (IMAGES, named({"type": "image_generation.partial_image", "b64_json": "A"})),
        (OTHER, data(b"[DONE]")),
        (OTHER, data({"error": "x"})),
    ],
)
def test_what_is_no_whole_stream_is_refused(api: API, stream: list[Event]) -> None:
    with pytest.raises(ValueError):
        api.assemble(stream)


def test_usage_is_asked_for_and_taken_out_again() -> None:
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_obfuscation": False}}
    assert CHAT.upstream_body(asked)["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert asked["stream_options"] == {"include_obfuscation": False}
    assert CHAT.upstream_body({"stream": True, "stream_options": None})["stream_options"] == {"include_usage": True}
    for body in ({}, {"stream": False}, {"stream": True, "stream_options": {"include_usage": True}}):
        assert CHAT.upstream_body(body) is body
    told = r'{"choices":[{"delta":{"content":"\"usage\":null, {\"usage\": null}"}}],"x":1.0, "usage" : null}'
    piece, last = data(told.encode(), {"choices": [], "usage": USAGE})
    wanted = {"stream": True, "stream_options": {"include_usage": True}}
    assert CHAT.client_events(piece, wanted) == piece.raw
    assert CHAT.client_events(last, wanted) == last.raw
    assert CHAT.client_events(piece, asked) == piece.raw.replace(b', "usage" : null', b"")
    assert CHAT.client_events(last, asked) == b""
    first, both, filtered, odd = data(
        b'{"usage":null,"choices":[]}', {"choices": [{}], "usage": USAGE}, {"choices": [], "filter": []}, b'{"usage"'
    )
    assert CHAT.client_events(first, asked) == b'data: {"choices":[]}\n\n'
    for kept in (both, filtered, odd):
        assert CHAT.client_events(kept, asked) == kept.raw


MESSAGE = {
    **{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []},
    **{"stop_reason": None, "stop_sequence": None},
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 1, "service_tier": "standard"},
}


def test_a_stream_of_events_adds_up_to_a_message() -> None:
    def start(index: int, **block: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def delta(index: int, kind: str, **members: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}

    stream = named(
        {"type": "message_start", "message": MESSAGE},
        start(0, type="thinking", thinking="", signature=""),
        {"type": "ping"},
        delta(0, "thinking_delta", thinking="a"),
        delta(0, "thinking_delta", thinking="b"),
        delta(0, "signature_delta", signature="sig"),
        {"type": "content_block_stop", "index": 0},
        start(1, type="text", text=""),
        delta(1, "text_delta", text="He"),
        delta(1, "text_delta", text="llo"),
        delta(1, "citations_delta", citation={"cited_text": "x"}),
        start(2, type="tool_use", id="t", name="look", input={}),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"a": [1'),
        delta(2, "input_json_delta", partial_json=".0]}"),
        start(3, type="tool_use", id="u", name="now", input={}),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 12, "input_tokens": None},
        },
        {"type": "message_stop"},
    )
    assert MESSAGES.assemble(stream) == {
        **{**MESSAGE, "stop_reason": "tool_use"},
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 12, "service_tier": "standard"},
        "content": [
            {"type": "thinking", "thinking": "ab", "signature": "sig"},
            {"type": "text", "text": "Hello", "citations": [{"cited_text": "x"}]},
            {"type": "tool_use", "id": "t", "name": "look", "input": {"a": [1.0]}},
            {"type": "tool_use", "id": "u", "name": "now", "input": {}},
        ],
    }
    assert [MESSAGES.ends(event) for event in stream[-2:]] == [False, True]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (['{"path": "a.py", "text": "imp', "ort"], {"INVALID_JSON": '{"path": "a.py", "text": "import'}),
        (["{"], {"INVALID_JSON": "{"}),
        (["[" * 5000], {"INVALID_JSON": "[" * 5000}),
        (["", ""], {}),
        (["{}"], {}),
    ],
)
def test_a_tool_call_that_is_cut_off_keeps_its_text(told: list[str], wanted: Any) -> None:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in told]
    tool = {"type": "tool_use", "id": "t", "name": "write", "input": {}}
    stream = named(
        {"type": "message_start", "message": MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": tool},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 12}},
        {"type": "message_stop"},
    )
    answer = MESSAGES.assemble(stream)
    assert answer["content"] == [{**tool, "input": wanted}]
    assert MESSAGES.incomplete(answer) == "stop_reason max_tokens"
    assert MESSAGES.incomplete({**answer, "stop_reason": "tool_use"}) == ("incomplete" if wanted else None)
    assert MESSAGES.assemble(events(*MESSAGES.replay(answer))) == answer


def test_the_end_of_a_response() -> None:
    done = {"id": "r", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}}
    stream = named({"type": "response.created", "response": {}}, {"type": "response.completed", "response": done})
    assert RESPONSES.assemble(stream) == done
    assert [RESPONSES.ends(event) for event in stream] == [False, True]
    assert RESPONSES.ends(data({"type": "response.incomplete"})[0])


def test_the_end_of_an_image() -> None:
    stream = named(
        {"type": "image_generation.partial_image", "b64_json": "A"},
        {"type": "image_generation.completed", "b64_json": "B", "usage": {"input_tokens": 1, "output_tokens": 2}},
    )
    answer = IMAGES.assemble(stream)
    assert answer["data"] == [{"b64_json": "B"}]
    assert (IMAGES.incomplete(answer), IMAGES.ends(stream[0]), IMAGES.ends(stream[1])) == (None, False, True)


def test_a_stream_of_an_api_that_is_not_known() -> None:
    answer = OTHER.assemble(data({"a": 1}, {"candidates": [{"finishReason": "MAX_TOKENS"}], "a": None}, b"[DONE]"))
    assert answer == {"a": 1, "candidates": [{"finishReason": "MAX_TOKENS"}]}
    assert OTHER.incomplete(answer) == "truncated"


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
OBJECTS = st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.booleans() | st.none(), max_size=3)
TOKENS = st.integers(0, 10**6)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"id": TEXT, "type": st.just("function"), "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT})}
    ),
    min_size=1,
    max_size=3,
)
CHAT_MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXT},
    optional={"refusal": st.none() | TEXT, "tool_calls": CALLS, "reasoning_content": TEXT},
)
COMPLETIONS = st.fixed_dictionaries(
    {
        **{"id": TEXT, "object": st.just("chat.completion"), "created": TOKENS, "model": TEXT},
        "choices": st.lists(
            st.fixed_dictionaries(
                {"message": CHAT_MESSAGES, "finish_reason": st.sampled_from(["stop", "tool_calls"])},
                optional={"logprobs": st.none() | st.just({"content": [LOGPROB], "refusal": None})},
            ),
            min_size=1,
            max_size=3,
        ).map(lambda choices: [{"index": index, **choice} for index, choice in enumerate(choices)]),
    },
    optional={
        "usage": st.fixed_dictionaries(dict.fromkeys(USAGE, TOKENS)),
        **{"system_fingerprint": st.none() | TEXT, "service_tier": st.just("default")},
    },
)
BLOCKS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXT, "signature": TEXT}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": TEXT}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": TEXT, "name": TEXT, "input": OBJECTS}),
)
ANTHROPIC_MESSAGES = st.fixed_dictionaries(
    {
        **{"id": TEXT, "type": st.just("message"), "role": st.just("assistant"), "model": TEXT},
        "content": st.lists(BLOCKS, max_size=4),
        "stop_reason": st.sampled_from(["end_turn", "tool_use", "stop_sequence"]),
        "stop_sequence": st.none() | TEXT,
        "usage": st.fixed_dictionaries(
            {"input_tokens": TOKENS, "output_tokens": TOKENS},
            optional={"cache_read_input_tokens": TOKENS, "service_tier": st.just("standard")},
        ),
    }
)


@settings(deadline=None)
@given(COMPLETIONS)
def test_a_completion_survives_its_replay(answer: dict[str, Any]) -> None:
    replayed = events(*CHAT.replay(answer))
    assert CHAT.assemble(replayed) == answer
    shown = events(*(CHAT.client_events(event, {"stream": True}) for event in replayed))
    assert CHAT.assemble(shown) == {name: value for name, value in answer.items() if name != "usage"}
    assert not any(b'"usage":' in event.data for event in shown)


@settings(deadline=None)
@given(COMPLETIONS)
def test_the_openai_sdk_adds_a_replay_up_to_the_completion(answer: dict[str, Any]) -> None:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in events(*CHAT.replay(answer))[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(event.data))
    wanted = ChatCompletion.model_validate(answer)
    summed = state.current_completion_snapshot
    for choice, other in zip(wanted.choices, summed.choices, strict=True):
        assert (choice.finish_reason, choice.message.content) == (other.finish_reason, other.message.content)
        assert choice.message.refusal == other.message.refusal
        calls: list[Any] = [call.to_dict() for call in choice.message.tool_calls or []]
        assert [call.to_dict() for call in other.message.tool_calls or []] == [
            {**call, "function": {**call["function"], "parsed_arguments": None}, "index": index}
            for index, call in enumerate(calls)
        ]
    assert (summed.usage and summed.usage.to_dict()) == (wanted.usage and wanted.usage.to_dict())


@settings(deadline=None)
@given(ANTHROPIC_MESSAGES)
def test_a_message_survives_its_replay(answer: dict[str, Any]) -> None:
    assert MESSAGES.assemble(events(*MESSAGES.replay(answer))) == answer


@settings(deadline=None)
@given(ANTHROPIC_MESSAGES)
def test_the_anthropic_sdk_adds_a_replay_up_to_the_message(answer: dict[str, Any]) -> None:
    summed: Any = None
    buffers: dict[int, bytes] = {}
    for event in events(*MESSAGES.replay(answer)):
        told = json.loads(event.data)
        assert told["type"] == event.name
        summed = accumulate_event(event=told, current_snapshot=summed, json_bufs=buffers)
    assert summed.to_dict(exclude_none=True) == Message.model_validate(answer).to_dict(exclude_none=True)


@settings(deadline=None)
@given(st.sampled_from(ALL), st.lists(HOSTILE, max_size=4), st.booleans())
def test_nothing_in_a_stream_raises_but_value_errors(api: API, told: list[dict[str, Any]], wanted: bool) -> None:
    stream = data(*told)
    body = {"stream": True, "stream_options": {"include_usage": wanted}}
    for event in stream:
        api.ends(event)
        api.client_events(event, body)
    try:
        answer = api.assemble(stream)
    except ValueError:
        return
    api.incomplete(answer)
    api.usage(answer)


BEGINNING = {"type": "message_start", "message": {"usage": 1}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {}}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["content_block_delta", "content_block_start", "message_delta"]), HOSTILE)))
def test_nothing_in_the_events_of_a_message_raises_but_value_errors(told: list[tuple[str, dict[str, Any]]]) -> None:
    hostile = [{"index": 0, "delta": {}, **members, "type": kind} for kind, members in told]
    try:
        MESSAGES.assemble(named(BEGINNING, BLOCK, *hostile))
    except ValueError:
        return


@settings(deadline=None)
@given(st.sampled_from([CHAT, LEGACY, MESSAGES]), HOSTILE)
def test_nothing_in_an_answer_breaks_its_replay(api: API, answer: dict[str, Any]) -> None:
    try:
        told = api.replay(answer)
    except ValueError:
        return
    assert len(events(*told)) == len(told)
