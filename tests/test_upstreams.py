"""The upstream of the gateway's tests speaks the real formats: the official SDKs take it for their providers."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.upstreams import RunningUpstream, upstream

__all__ = ["upstream"]

MODEL = "gpt-4o-mini"
CLAUDE = "claude-sonnet-4-6"
PROMPT = "Grüße  an\nalle 😀"
ANSWER = f"You said: {PROMPT}"
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
ARGUMENTS = {"city": "Zürich", "days": 42}


@pytest.fixture(autouse=True)
def fresh(upstream: RunningUpstream) -> None:
    upstream.reset()


@pytest.fixture
def client(upstream: RunningUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=upstream.credential, base_url=f"{upstream.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(upstream: RunningUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=upstream.credential, base_url=upstream.url, max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, prompt: str = PROMPT, model: str = MODEL, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)


def message(claude: anthropic.Anthropic, prompt: str = PROMPT, model: str = CLAUDE, **more: Any) -> Any:
    return claude.messages.create(model=model, max_tokens=1000, messages=[{"role": "user", "content": prompt}], **more)


def post(upstream: RunningUpstream, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {upstream.credential}"}
    return httpx.post(f"{upstream.url}{path}", json=body, headers=headers, timeout=10)


def test_a_chat_answer_says_the_prompt_counts_its_words_and_has_its_own_id(client: openai.OpenAI) -> None:
    first, second = chat(client), chat(client)

    assert first.choices[0].message.content == second.choices[0].message.content == ANSWER
    assert first.choices[0].finish_reason == "stop"
    assert (first.usage.prompt_tokens, first.usage.completion_tokens, first.usage.total_tokens) == (4, 6, 10)
    assert first.id != second.id


def test_a_streamed_chat_tells_the_same_and_its_usage_when_asked(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 10
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1

    assert all(chunk.usage is None for chunk in chat(client, stream=True))


def test_the_bytes_of_a_stream_are_openais(upstream: RunningUpstream) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    answer = post(upstream, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, nothing = answer.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["usage"] is None for chunk in told] == [True] * (len(told) - 1) + [False]
    assert "usage" not in post(upstream, "/v1/chat/completions", body).text


def test_choices(client: openai.OpenAI) -> None:
    answer = chat(client, "Hi", n=3)

    assert [choice.message.content for choice in answer.choices] == [
        "You said: Hi",
        "You said (2): Hi",
        "You said (3): Hi",
    ]
    assert answer.usage.completion_tokens == 3 + 4 + 4
    assert {chunk.choices[0].index for chunk in chat(client, "Hi", n=3, stream=True)} == {0, 1, 2}


def test_a_chat_calls_a_tool_and_then_answers(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    [choice] = chat(client, tools=tools).choices

    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)

    chunks = [chunk.choices[0].delta.tool_calls[0] for chunk in chat(client, tools=tools, stream=True) if _calls(chunk)]
    assert chunks[0].function.name == "weather" and chunks[0].id
    assert json.loads("".join(chunk.function.arguments for chunk in chunks)) == ARGUMENTS

    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Hi"},
            choice.message.model_dump(include={"role", "tool_calls"}),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
        tools=tools,  # type: ignore[arg-type]
    )
    assert answer.choices[0].message.content == "You said: Hi"


def _calls(chunk: Any) -> bool:
    return bool(chunk.choices[0].delta.tool_calls)


def test_structured_answers(client: openai.OpenAI) -> None:
    class Forecast(BaseModel):
        city: str
        days: int

    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], response_format=Forecast
    )
    assert answer.choices[0].message.parsed == Forecast(city="Zürich", days=42)


def test_an_answer_is_cut_at_max_tokens(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    cut = chat(client, "one two three", max_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("You said: one ", "length")
    assert chat(client, "one [[length]]").choices[0].finish_reason == "length"
    assert chat(client, "one", model="content_filter").choices[0].finish_reason == "content_filter"
    assert message(claude, "one [[length]]").stop_reason == "max_tokens"
    assert message(claude, "one", model="content_filter").stop_reason == "refusal"


def test_reasoning_and_cached_tokens(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    usage = chat(client, "one two three four [[reasoning]]").usage
    assert usage.prompt_tokens_details.cached_tokens == 2
    assert usage.completion_tokens_details.reasoning_tokens == 10
    assert usage.completion_tokens == 6 + 10

    usage = client.responses.create(model=MODEL, input="one two three four [[reasoning]]").usage
    assert usage is not None
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (2, 10)

    answer = message(claude, "one two three four [[reasoning]]")
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (3, 2, 16)


def test_legacy_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["one", "two"], max_tokens=9)
    assert [choice.text for choice in answer.choices] == ["You said: one", "You said: two"]
    assert answer.usage and answer.usage.total_tokens == 2 + 6

    stream = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="one", stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = stream
    assert "".join(chunk.choices[0].text for chunk in chunks) == "You said: one"
    assert last.usage and last.usage.completion_tokens == 3


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=PROMPT, instructions="Be kind.")
    assert (answer.output_text, answer.status) == (ANSWER, "completed")
    assert answer.usage and (answer.usage.input_tokens, answer.usage.output_tokens) == (6, 6)

    cut = client.responses.create(model=MODEL, input="one two three", max_output_tokens=3)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_streamed_responses(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=PROMPT) as stream:
        events = list(stream)
        assert stream.get_final_response().output_text == ANSWER
    assert [event.type for event in events][:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert events[-1].type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER

    with client.responses.stream(model=MODEL, input="one [[length]]") as stream:
        assert list(stream)[-1].type == "response.incomplete"


def test_responses_call_tools(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
    [call] = client.responses.create(model=MODEL, input="Hi", tools=[tool]).output
    assert call.type == "function_call" and json.loads(call.arguments) == ARGUMENTS

    with client.responses.stream(model=MODEL, input="Hi", tools=[tool]) as stream:
        [streamed] = stream.get_final_response().output
    assert streamed.type == "function_call" and json.loads(streamed.arguments) == ARGUMENTS


def test_embeddings(client: openai.OpenAI, upstream: RunningUpstream) -> None:
    texts = ["one", "two words", "one"]
    packed = client.embeddings.create(model="text-embedding-3-small", input=texts)  # the SDK asks for base64
    assert upstream.calls()[-1].json["encoding_format"] == "base64"
    plain = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")

    vectors = [item.embedding for item in packed.data]
    assert vectors == [item.embedding for item in plain.data]
    assert [len(vector) for vector in vectors] == [1536] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(math.hypot(*vectors[0]), 1, rel_tol=1e-6)
    signed = int.from_bytes(hashlib.sha256(b"one").digest()[:1], signed=True)
    assert math.copysign(1, vectors[0][0]) == math.copysign(1, signed)
    assert packed.usage.prompt_tokens == 4

    tokens = client.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]], dimensions=8)
    assert ([len(item.embedding) for item in tokens.data], tokens.usage.total_tokens) == ([8, 8], 3)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="text-embedding-3-small", input=[])


def test_images(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a red square", n=2)
    assert answer.data and answer.usage
    assert [base64.b64decode(image.b64_json or "")[:4] for image in answer.data] == [b"\x89PNG"] * 2
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 544)

    [image] = client.images.generate(model="dall-e-3", prompt="a red square").data or []
    assert image.url and image.url.startswith("https://")


def test_models_and_transcriptions(client: openai.OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve("other").id == "other"
    first = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF\0\xff"))
    other = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF\0\xfe"))
    assert first.text.startswith("You said ") and first.text != other.text


def test_any_json(upstream: RunningUpstream) -> None:
    body = {"anything": [1, "zwei", None]}
    first, second = (post(upstream, "/v1/echo", body).json() for _ in range(2))
    assert first["echo"] == second["echo"] == body
    assert first["id"] != second["id"]


def test_messages(claude: anthropic.Anthropic) -> None:
    answer = message(claude, system="Be kind.")
    assert ([block.text for block in answer.content], answer.stop_reason) == ([ANSWER], "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (6, 6)
    assert answer.id != message(claude).id

    counted = claude.messages.count_tokens(model=CLAUDE, messages=[{"role": "user", "content": PROMPT}])
    assert counted.input_tokens == 4


def test_streamed_messages(claude: anthropic.Anthropic) -> None:
    raw = [event.type for event in message(claude, "Hi", stream=True)]
    assert raw == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    with claude.messages.stream(model=CLAUDE, max_tokens=99, messages=[{"role": "user", "content": PROMPT}]) as stream:
        assert "".join(stream.text_stream) == ANSWER
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 4, 6)


def test_messages_use_tools(claude: anthropic.Anthropic) -> None:
    tools: Any = [{"name": "weather", "input_schema": WEATHER}]
    [block] = message(claude, tools=tools).content
    assert (block.type, block.name, block.input) == ("tool_use", "weather", ARGUMENTS)

    asked: Any = [{"role": "user", "content": PROMPT}]
    with claude.messages.stream(model=CLAUDE, max_tokens=99, messages=asked, tools=tools) as stream:
        final = stream.get_final_message()
    [block] = final.content
    assert block.type == "tool_use" and block.input == ARGUMENTS and final.stop_reason == "tool_use"

    asked += [{"role": "assistant", "content": [{"type": "tool_use", "id": block.id, "name": "weather", "input": {}}]}]
    asked += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}]}]
    told = claude.messages.create(model=CLAUDE, max_tokens=99, messages=asked, tools=tools)
    assert told.content[0].type == "text" and told.content[0].text == "You said: sunny"


def test_errors_have_each_providers_shape(
    client: openai.OpenAI, claude: anthropic.Anthropic, upstream: RunningUpstream
) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        chat(client.with_options(api_key="sk-wrong"))
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.RateLimitError) as limited:
        chat(client, model="status-429-3s")
    assert limited.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.InternalServerError):
        chat(client, model="status-500")
    with pytest.raises(openai.NotFoundError):
        client.files.list()

    with pytest.raises(anthropic.AuthenticationError) as denied:
        message(claude.with_options(api_key="sk-wrong"))
    assert isinstance(denied.value.body, dict)
    assert denied.value.body["error"] == {"type": "authentication_error", "message": "invalid x-api-key"}
    with pytest.raises(anthropic.InternalServerError):
        message(claude, model="status-529")
    headers = {"x-api-key": upstream.credential}
    assert httpx.post(f"{upstream.url}/v1/messages", json={}, headers=headers).status_code == 400
    assert upstream.calls()[-1].status == 400
