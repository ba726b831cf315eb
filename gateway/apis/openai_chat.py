"""OpenAI's chat completions, and the completions before them, which many others speak too.

https://platform.openai.com/docs/api-reference/chat
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from gateway.apis.base import API, DONE, Body, Event
from gateway.apis.chat_pieces import Choice, latest
from gateway.apis.reading import document, items, member

# Of OpenAI, and of those who speak as it does.
_GOOD = frozenset({"stop", "tool_calls", "function_call", "eos", "eos_token", "stop_sequence", "end_turn", "tool_use"})
_BAD = frozenset({"length", "content_filter"})
# With the comma that it leaves behind. In a string the quotes would be escaped.
_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])|"usage"\s*:\s*null\s*,\s*')
_NULL = re.compile(rb'"usage"\s*:\s*null')
_CHUNK, _WHOLE = "chat.completion.chunk", "chat.completion"


class ChatCompletions(API):
    """A stream's chunks add up to an answer, and an answer is told as chunks."""

    name = "chat"
    converts = True
    ignored = (*API.ignored, "safety_identifier", "prompt_cache_key")
    prompts = ("messages", "prompt", "suffix")
    limits: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    counts: ClassVar[tuple[str, ...]] = ("n",)

    def upstream_body(self, body: Body) -> Body:
        options = body.get("stream_options")
        if not self.streams(body) or _wants_usage(body) or not isinstance(options, dict | None):
            return body
        return {**body, "stream_options": {**(options or {}), "include_usage": True}}

    def client_events(self, event: Event, body: Body) -> bytes:
        place = event.raw.rfind(b'"usage"')
        if place < 0 or _wants_usage(body):
            return event.raw
        if _NULL.match(event.raw, place):  # as all but one have it: not worth decoding
            return _NO_USAGE.sub(b"", event.raw, count=1)
        try:
            chunk = document(event.data)
        except ValueError:
            return event.raw
        return b"" if chunk.get("usage") is not None and chunk.get("choices") == [] else event.raw

    def ends(self, event: Event) -> bool:
        return event.data == DONE

    def has_terminal_event(self) -> bool:
        return True

    def incomplete(self, answer: Body) -> str | None:
        choices = items(answer.get("choices"))
        if answer.get("error"):
            return "error"
        if not choices:
            return "no choices"
        for choice in choices:
            if member(choice, "error"):
                return "error"
            reason = member(choice, "finish_reason")
            reason = reason.lower() if isinstance(reason, str) else ""
            if reason not in _GOOD:
                return f"finish_reason {reason}" if reason in _BAD else "no good finish_reason"
        return None

    def assemble(self, events: Sequence[Event]) -> Body:
        answer: dict[str, Any] = {}
        choices: dict[int, Choice] = {}
        before: dict[str, Any] = {}
        for event in events:
            data = event.data
            if data == DONE:
                break
            if not data:
                continue
            chunk = document(data)
            if chunk.get("error") or event.name == "error":
                raise ValueError("the stream tells of an error")
            for piece in items(chunk.pop("choices", None)):
                index = member(piece, "index") or 0
                if type(index) is not int:
                    raise ValueError("a choice's index is no number")
                choices.setdefault(index, Choice()).add(piece)
            chunk.pop("obfuscation", None)  # noise, to hide how long the chunks are
            if chunk != before:  # most say what the one before said
                latest(answer, chunk)
                before = chunk
        if not choices:
            raise ValueError("the stream holds no choices")
        if answer.get("object") == _CHUNK:
            answer["object"] = _WHOLE
        usage = {"usage": answer.pop("usage")} if "usage" in answer else {}
        return {**answer, "choices": [choices[index].whole(index) for index in sorted(choices)], **usage}

    def replay(self, answer: Body) -> list[bytes]:
        choices = items(answer.get("choices"))
        if not choices or not all(isinstance(choice, dict) for choice in choices):
            raise ValueError("this is no completion")
        common = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
        if answer.get("object") == _WHOLE:
            common["object"] = _CHUNK
        usage = {"usage": None} if "usage" in answer else {}
        pieces = [piece for place, choice in enumerate(choices) for piece in Choice.pieces(choice, place)]
        told = [_event({**common, "choices": [piece], **usage}) for piece in pieces]
        if answer.get("usage") is not None:
            told.append(_event({**common, "choices": [], "usage": answer["usage"]}))
        return [*told, b"data: " + DONE + b"\n\n"]


class Completions(ChatCompletions):
    """Of a prompt: the choices are texts, not messages."""

    name = "completions"
    limits = ("max_tokens",)
    counts = ("n", "best_of")

    def choices(self, body: Body) -> int | None:
        """Of each of the prompts: a list of strings, or of lists of tokens, is several."""
        each, prompts = super().choices(body), items(body.get("prompt"))
        several = bool(prompts) and isinstance(prompts[0], (str, list))
        return each * len(prompts) if each and several else each


def _wants_usage(body: Body) -> bool:
    return member(body.get("stream_options"), "include_usage") is True


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
