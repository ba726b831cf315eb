"""OpenAI's Responses: https://platform.openai.com/docs/api-reference/responses"""

from collections.abc import Sequence

from gateway.apis.base import API, Body, Event
from gateway.apis.reading import document

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


class Responses(API):
    """Its stream has more to tell than its answer, so each is stored for itself."""

    name = "responses"
    ignored = (*API.ignored, "safety_identifier", "prompt_cache_key")
    prompts = ("input", "instructions", "prompt")
    limits = ("max_output_tokens",)

    def randomness(self, body: Body) -> str | None:
        # What was said in it before may have changed since.
        return "conversation" if body.get("conversation") is not None else super().randomness(body)

    def ends(self, event: Event) -> bool:
        return _kind(event) in _TERMINAL

    def has_terminal_event(self) -> bool:
        return True

    def assemble(self, events: Sequence[Event]) -> Body:
        """The response that the terminal event holds. Raises ValueError where it failed, or there is none."""
        for event in reversed(events):
            kind = _kind(event)
            if kind in ("error", "response.failed"):
                raise ValueError("the stream tells of an error")
            if kind in _TERMINAL:
                response = document(event.data).get("response")
                if isinstance(response, dict):
                    return response
        raise ValueError("the stream holds no response that is done")

    def incomplete(self, answer: Body) -> str | None:
        found = super().incomplete(answer)
        return found if found or answer.get("status") == "completed" else "no status"


def _kind(event: Event) -> str:
    if event.name or not event.data:
        return event.name
    try:
        kind = document(event.data).get("type")
    except ValueError:
        return ""
    return kind if isinstance(kind, str) else ""
