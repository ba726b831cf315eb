"""What answers say was used beside plain tokens, each at a price of its own: audio, and an hour in the cache."""

from typing import Any

import pytest

from gateway.apis import api_for
from gateway.apis.base import API, Usage

CHAT, MESSAGES, RESPONSES = (
    api_for("other", path) for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses")
)
OTHER = api_for("other", "/x")


def chat(input_audio: Any, output_audio: Any) -> dict[str, Any]:
    return {
        **{"prompt_tokens": 10, "completion_tokens": 5},
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": input_audio},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": output_audio},
    }


def responses(input_audio: Any, output_audio: Any) -> dict[str, Any]:
    return {
        **{"input_tokens": 10, "output_tokens": 5},
        "input_tokens_details": {"audio_tokens": input_audio},
        "output_tokens_details": {"audio_tokens": output_audio},
    }


def messages(creation: Any) -> dict[str, Any]:
    return {
        **{"input_tokens": 1, "cache_read_input_tokens": 300, "output_tokens": 7},
        **{"cache_creation_input_tokens": 20, "cache_creation": creation},
    }


@pytest.mark.parametrize("api", [CHAT, OTHER])
def test_audio_of_chat(api: API) -> None:
    assert api.usage({"usage": chat(4, 3)}) == Usage(10, 0, 0, 5, input_audio_tokens=4, output_audio_tokens=3)
    assert api.usage({"usage": chat(0, None)}) == Usage(10, 0, 0, 5)


def test_audio_of_responses() -> None:
    found = RESPONSES.usage({"usage": responses(4, 3)})
    assert found == Usage(10, 0, 0, 5, input_audio_tokens=4, output_audio_tokens=3)


@pytest.mark.parametrize("api", [MESSAGES, OTHER])
def test_what_is_cached_for_an_hour(api: API) -> None:
    creation = {"ephemeral_5m_input_tokens": 12, "ephemeral_1h_input_tokens": 8}
    assert api.usage({"usage": messages(creation)}) == Usage(321, 300, 20, 7, cache_write_1h_tokens=8)
    assert api.usage({"usage": messages(None)}) == Usage(321, 300, 20, 7)


@pytest.mark.parametrize(
    "usage",
    [
        chat(11, 0),
        chat(0, 6),
        chat("4", 0),
        chat(-1, 0),
        responses(11, 0),
        responses(0, 6),
        messages({"ephemeral_1h_input_tokens": 21}),
        messages({"ephemeral_1h_input_tokens": 1.5}),
        messages([1]),
    ],
)
def test_nonsense_is_no_usage(usage: dict[str, Any]) -> None:
    assert OTHER.usage({"usage": usage}) is None
