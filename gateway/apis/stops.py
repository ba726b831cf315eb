"""Why a model stopped: what APIs that the gateway does not know have in common in saying so."""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.apis.reading import encoded, nested

_REASONS: Final = re.compile(rb'"(?:finish_reason|finishReason|stop_reason|stopReason|done_reason)":"(\w{1,50})"')
# Gemini's, whose list of bad ones grows; others that spell it so have a few good ones more.
# https://ai.google.dev/api/generate-content#FinishReason
_FINISHES: Final = re.compile(rb'"finishReason":"([^"]*)"')
_GOOD_FINISHES: Final = frozenset(
    {"stop", "success", "complete", "completed", "finish", "end_turn", "endoftext", "eos", "eos_token"}
    | {"stop_sequence", "tool_calls", "tool-calls", "tool_use", "function_call"}
)
# What Gemini, Imagen and Veo have only where they answer nothing, or less: whatever it says.
_BLOCKED: Final = re.compile(rb'"(?:blockReason|rai(?:Media)?FilteredReasons?)":(?!null|\[\]|"")')
_TRUNCATED: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "token_limit"}
)
_FILTERED: Final = frozenset(
    {"content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation", "blocklist"}
    | {"prohibited_content", "spii", "image_safety", "error", "error_toxic", "malformed_function_call"}
)
# Of jobs: what they call it, and the words for it.
_STATUSES: Final = ("status", "state", "task_status", "taskStatus", "job_status", "jobStatus", "processing_status")
_UNDER_WAY: Final = frozenset(
    {"accepted", "canceling", "cancelling", "created", "dreaming", "enqueued", "finalizing", "in_progress", "in_queue"}
    | {"initializing", "job_state_pending", "job_state_queued", "job_state_running", "not_started", "pending"}
    | {"preparing", "processing", "queued", "queueing", "running", "scheduled", "started", "starting", "submitted"}
    | {"throttled", "uploading", "validating", "waiting"}
)
_TO_ASK_AGAIN: Final = ("polling_url", "pollingUrl")  # what only an answer has that is not there yet
_FAILED: Final = frozenset({"canceled", "cancelled", "error", "expired", "failed", "failure", "incomplete"})


def incomplete(answer: Mapping[str, Any]) -> str | None:
    """Why an answer of any API is not whole and good; None: it seems to be. Short words for a header: nothing of the
    answer's own is in them."""
    if answer.get("error") or answer.get("type") == "error":
        return "error"
    statuses = {_word(value) for value in nested(answer, _STATUSES)}
    if statuses & _UNDER_WAY or _is_job(answer):
        return "under way"
    if statuses & _FAILED:
        return "incomplete" if "incomplete" in statuses else "failed"
    written = encoded(answer)
    reasons = _words(_REASONS, written)
    if reasons & _TRUNCATED:
        return "truncated"
    filtered = reasons & _FILTERED or _words(_FINISHES, written) - _GOOD_FINISHES or _BLOCKED.search(written)
    return "filtered" if filtered else None


def _is_job(answer: Mapping[str, Any]) -> bool:
    """Whether it says where its result will be: by an address, or as a long-running operation of Google's."""
    if any(True for _ in nested(answer, _TO_ASK_AGAIN)):
        return True
    name = answer.get("name")
    return isinstance(name, str) and "operations/" in name and answer.get("done") is not True


def _words(expression: re.Pattern[bytes], written: bytes) -> set[str]:
    """At any depth."""
    return {found.decode().lower() for found in set(expression.findall(written))}


def _word(value: Any) -> str:
    return value.lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else ""
