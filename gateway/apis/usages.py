"""What providers say they counted, in the shapes in which they say it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.apis.reading import count, member


class Usage(NamedTuple):
    """What a provider says it counted."""

    input_tokens: int = 0  # all of them, those from a cache included
    cached_tokens: int = 0  # of the input: read from the provider's own cache
    cache_write_tokens: int = 0  # of the input: written to it
    output_tokens: int = 0  # all of them, reasoning included
    reasoning_tokens: int = 0  # of the output
    images: int = 0
    input_audio_tokens: int = 0  # of the input
    output_audio_tokens: int = 0  # of the output
    cache_write_1h_tokens: int = 0  # of those written to the cache: for an hour, which costs more than five minutes


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    """In whichever shape; None where the answer has none, or one with nonsense in it."""
    usage, gemini = answer.get("usage"), answer.get("usageMetadata")
    try:
        if isinstance(usage, dict):
            if "prompt_tokens" in usage or "completion_tokens" in usage:
                return _of_chat(usage)
            if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
                return _of_messages(usage)
            if "input_tokens" in usage or "output_tokens" in usage:
                return _of_responses(usage)
        if isinstance(gemini, dict):
            return _of_gemini(gemini)
    except ValueError:
        pass
    return None


def messages_usage(answer: Mapping[str, Any]) -> Usage | None:
    """Anthropic's, which may leave out the members that tell it from the others."""
    usage = answer.get("usage")
    try:
        return _of_messages(usage) if isinstance(usage, dict) and "output_tokens" in usage else None
    except ValueError:
        return None


def _of_chat(usage: dict[str, Any]) -> Usage:
    """https://platform.openai.com/docs/api-reference/chat/object"""
    details, output_details = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    prompt = count(usage.get("prompt_tokens"))
    # Some (xAI, Gemini) leave reasoning out of the completion's tokens, but not out of the total.
    output = max(count(usage.get("completion_tokens")), count(usage.get("total_tokens")) - prompt)
    # DeepSeek's name for it is of the usage itself.
    cached = count(details.get("cached_tokens")) or count(usage.get("prompt_cache_hit_tokens"))
    return _checked(
        Usage(
            prompt,
            cached,
            count(details.get("cache_write_tokens")),
            output,
            count(output_details.get("reasoning_tokens")),
            input_audio_tokens=count(details.get("audio_tokens")),
            output_audio_tokens=count(output_details.get("audio_tokens")),
        )
    )


def _of_responses(usage: dict[str, Any]) -> Usage:
    """https://platform.openai.com/docs/api-reference/responses/object"""
    details, output_details = _object(usage, "input_tokens_details"), _object(usage, "output_tokens_details")
    return _checked(
        Usage(
            count(usage.get("input_tokens")),
            count(details.get("cached_tokens")),
            count(details.get("cache_write_tokens")),
            count(usage.get("output_tokens")),
            count(output_details.get("reasoning_tokens")),
            input_audio_tokens=count(details.get("audio_tokens")),
            output_audio_tokens=count(output_details.get("audio_tokens")),
        )
    )


def _of_messages(usage: dict[str, Any]) -> Usage:
    """https://docs.anthropic.com/en/api/messages: the input's three parts are counted apart."""
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return _checked(
        Usage(
            count(usage.get("input_tokens")) + read + written,
            read,
            written,
            count(usage.get("output_tokens")),
            count(_object(usage, "output_tokens_details").get("thinking_tokens")),
            cache_write_1h_tokens=count(_object(usage, "cache_creation").get("ephemeral_1h_input_tokens")),
        )
    )


def _of_gemini(usage: dict[str, Any]) -> Usage:
    """https://ai.google.dev/api/generate-content#UsageMetadata: thoughts are counted beside the candidates."""
    thoughts = count(usage.get("thoughtsTokenCount"))
    return _checked(
        Usage(
            count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount")),
            count(usage.get("cachedContentTokenCount")),
            0,
            count(usage.get("candidatesTokenCount")) + thoughts,
            thoughts,
        )
    )


def _object(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """Empty where it is null or absent. Raises ValueError where it is something else."""
    found = member(usage, name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found or {}


def _checked(usage: Usage) -> Usage:
    if usage.cached_tokens + usage.cache_write_tokens > usage.input_tokens:
        raise ValueError("more of the input is cached than there is")
    if usage.cache_write_1h_tokens > usage.cache_write_tokens:
        raise ValueError("more is cached for an hour than is cached")
    if usage.input_audio_tokens > usage.input_tokens or usage.output_audio_tokens > usage.output_tokens:
        raise ValueError("more is audio than there is")
    if usage.reasoning_tokens > usage.output_tokens:
        raise ValueError("more of the output is reasoning than there is")
    return usage
