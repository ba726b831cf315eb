"""The APIs that the gateway knows, and streams in their formats: what the tests of them share."""

import json
from typing import Any

from hypothesis import strategies as st

from gateway.apis import api_for
from gateway.apis.base import Event
from gateway.sse import Parser

CHAT = api_for("openai", "/v1/chat/completions", None)
LEGACY = api_for("openai", "/v1/completions", None)
RESPONSES = api_for("openai", "/v1/responses", None)
MESSAGES = api_for("anthropic", "/v1/messages", None)
EMBEDDINGS = api_for("openai", "/v1/embeddings", None)
IMAGES = api_for("openai", "/v1/images/generations", None)
VIDEO = api_for("other", "/v1/videos", None)
OTHER = api_for("other", "/predict", None)
UNKNOWN = api_for("openai", "/v1/batches", None)
ALL = (CHAT, LEGACY, RESPONSES, MESSAGES, EMBEDDINGS, IMAGES, VIDEO, OTHER, UNKNOWN)

# Members that mean something, with values that mean nothing.
_NAMES = st.sampled_from(
    [
        *("messages", "input", "temperature", "seed", "n", "max_tokens", "stream", "stream_options", "content"),
        *("choices", "usage", "prompt_tokens", "data", "url", "status", "error", "finish_reason", "message", "delta"),
        *("index", "tool_calls", "stop_reason", "content_block", "output_tokens", "usageMetadata", "output", "system"),
        *("type", "text", "logprobs", "audio", "name", "role", "partial_json", "citation", "citations", "response"),
        *("prompt", "item"),
    ]
)
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_LEAVES = st.none() | st.booleans() | _NUMBERS | st.text(max_size=9)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=15
)
HOSTILE = st.dictionaries(_NAMES, _VALUES, max_size=5)


def events(*told: bytes) -> list[Event]:
    return Parser().feed(b"".join(told))


def data(*chunks: Any) -> list[Event]:
    """As OpenAI's streams tell them; bytes as they are."""
    told = (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() for chunk in chunks)
    return events(*(b"data: %s\n\n" % each for each in told))


def named(*told: dict[str, Any]) -> list[Event]:
    """As Anthropic's streams tell them."""
    return events(*(b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in told))
