"""Why a model stopped: what APIs that the gateway does not know have in common in saying so."""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.apis.reading import encoded

_REASONS: Final = re.compile(rb'"(?:finish_reason|finishReason|stop_reason|stopReason|done_reason)":"(\w{1,50})"')
_TRUNCATED: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "token_limit"}
)
_FILTERED: Final = frozenset(
    {"content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation", "blocklist"}
    | {"prohibited_content", "spii", "image_safety", "error", "error_toxic", "malformed_function_call"}
)
_UNDER_WAY: Final = frozenset({"accepted", "in_progress", "pending", "processing", "queued", "running", "starting"})
_FAILED: Final = frozenset({"canceled", "cancelled", "error", "expired", "failed", "failure", "incomplete"})


def incomplete(answer: Mapping[str, Any]) -> str | None:
    """Why an answer of any API is not whole and good; None: it seems to be. Short words for a header: nothing of the
    answer's own is in them."""
    if answer.get("error") or answer.get("type") == "error":
        return "error"
    status = _word(answer.get("status"))
    if status in _UNDER_WAY:
        return "under way"
    if status in _FAILED:
        return "incomplete" if status == "incomplete" else "failed"
    reasons = _reasons(answer)
    if reasons & _TRUNCATED:
        return "truncated"
    return "filtered" if reasons & _FILTERED else None


def _reasons(answer: Mapping[str, Any]) -> set[str]:
    """At any depth."""
    return {found.decode().lower() for found in set(_REASONS.findall(encoded(answer)))}


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""
