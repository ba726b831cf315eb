"""Anthropic's Messages: https://docs.anthropic.com/en/api/messages-streaming"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.apis.base import API, Body, Event
from gateway.apis.reading import document, items, loads, member
from gateway.apis.usages import Usage, messages_usage

_GOOD = frozenset({"end_turn", "stop_sequence", "tool_use"})
_BAD = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn", "refusal"})
# What the message's last event says of it; in its first they are null.
_SAID_LAST = ("stop_reason", "stop_sequence", "stop_details", "container")
# The members of blocks that are told in pieces, and the pieces' kinds.
_TEXTS = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}
# A tool's input that is no JSON has its text as this one member in a document, which is how Anthropic says to wrap it.
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming
_NO_JSON = "INVALID_JSON"


class Messages(API):
    """A stream's events add up to a message, and a message is told as events."""

    name = "messages"
    converts = True
    prompts = ("system", "messages")
    limits = ("max_tokens",)

    def ends(self, event: Event) -> bool:
        return event.name == "message_stop"

    def has_terminal_event(self) -> bool:
        return True

    def incomplete(self, answer: Body) -> str | None:
        if answer.get("type") != "message" or answer.get("error") or not isinstance(answer.get("content"), list):
            return "error"
        reason = answer.get("stop_reason")
        if not isinstance(reason, str) or reason not in _GOOD | _BAD:
            return "no good stop_reason"
        if reason in _BAD:
            return f"stop_reason {reason}"
        return "incomplete" if any(map(_has_no_json, answer["content"])) else None

    def usage(self, answer: Body) -> Usage | None:
        return messages_usage(answer)

    def assemble(self, events: Sequence[Event]) -> Body:
        message: dict[str, Any] | None = None
        blocks: dict[int, _Block] = {}
        for event in events:
            if not event.data or event.name == "ping":
                continue
            told = document(event.data)
            kind = told.get("type")
            if kind == "error" or event.name == "error":
                raise ValueError("the stream tells of an error")
            if kind == "message_start":
                message = _object(told, "message")
            elif message is None:
                raise ValueError("the stream does not begin with a message")
            elif kind == "content_block_start":
                blocks[_index(told)] = _Block(_object(told, "content_block"))
            elif kind == "content_block_delta":
                _known(blocks, _index(told)).add(_object(told, "delta"))
            elif kind == "message_delta":
                _finish(message, told)
        if message is None:
            raise ValueError("the stream holds no message")
        return {**message, "content": [blocks[index].whole() for index in sorted(blocks)]}

    def replay(self, answer: Body) -> list[bytes]:
        content = answer.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise ValueError("this is no message")
        usage = answer.get("usage")
        unsaid: dict[str, Any] = {name: None for name in _SAID_LAST if name in answer}
        if isinstance(usage, dict) and "output_tokens" in usage:
            unsaid["usage"] = {**usage, "output_tokens": 0}
        told = [_event("message_start", {"message": {**answer, "content": [], **unsaid}})]
        for index, block in enumerate(content):
            start, deltas = _taken_apart(block)
            told.append(_event("content_block_start", {"index": index, "content_block": start}))
            told += [_event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
            told.append(_event("content_block_stop", {"index": index}))
        last: dict[str, Any] = {"delta": {name: answer[name] for name in _SAID_LAST if name in answer}}
        if isinstance(usage, dict):
            last["usage"] = usage
        return [*told, _event("message_delta", last), _event("message_stop", {})]


class _Block:
    """A block of content so far."""

    __slots__ = ("_members", "_texts")

    def __init__(self, start: dict[str, Any]) -> None:
        self._members = start
        self._texts: dict[str, list[str]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        """Strings go on where they left off, a citation is one more; what the delta does not name stays."""
        for name, value in delta.items():
            if name == "type":
                continue
            if name == "citation":
                self._members["citations"] = cited = items(self._members.get("citations"))
                cited.append(value)
            elif isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            elif value is not None:
                self._members[name] = value

    def whole(self) -> dict[str, Any]:
        block = dict(self._members)
        for name, pieces in self._texts.items():
            text = "".join(pieces)
            if name == "partial_json":
                if text:
                    block["input"] = _input(text)
            else:
                known = block.get(name)
                block[name] = known + text if isinstance(known, str) else text
        return block


def _input(text: str) -> Any:
    """Of a tool. Where the tokens ran out it breaks off anywhere, and is shown with nothing lost."""
    try:
        return loads(text.encode())
    except ValueError:
        return {_NO_JSON: text}


def _has_no_json(block: Any) -> bool:
    given = member(block, "input")
    return isinstance(given, dict) and given.keys() == {_NO_JSON}


def _taken_apart(block: Mapping[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """A block as it starts, and the deltas that make it whole."""
    texts = {name: block[name] for name in _TEXTS if block.get(name) and isinstance(block[name], str)}
    citations = items(block.get("citations"))
    start = {**block, **dict.fromkeys(texts, "")}
    if citations:
        start["citations"] = []
    with_input = "input" in block and block["input"] != {}
    if with_input:
        start["input"] = {}

    def deltas() -> Iterator[dict[str, Any]]:
        for name, text in texts.items():
            yield {"type": _TEXTS[name], name: text}
        for citation in citations:
            yield {"type": "citations_delta", "citation": citation}
        if with_input:
            yield {"type": "input_json_delta", "partial_json": msgspec.json.encode(block["input"]).decode()}

    return start, deltas()


def _finish(message: dict[str, Any], told: dict[str, Any]) -> None:
    """Take over what a `message_delta` says: its counts are of the whole message."""
    said = {**_object(told, "delta"), **{name: told[name] for name in told if name not in ("type", "delta", "usage")}}
    message.update((name, value) for name, value in said.items() if value is not None or name not in message)
    counted = member(told, "usage")
    if isinstance(counted, dict):
        usage = message.get("usage")
        usage = message["usage"] = usage if isinstance(usage, dict) else {}
        usage.update((name, value) for name, value in counted.items() if value is not None or name not in usage)


def _object(told: dict[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _index(told: dict[str, Any]) -> int:
    index = told.get("index")
    if type(index) is not int:
        raise ValueError("a block's index is no number")
    return index


def _known(blocks: dict[int, _Block], index: int) -> _Block:
    if index not in blocks:
        raise ValueError("a piece of a block that has not started")
    return blocks[index]


def _event(kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))
