"""A choice of a chat completion, put together from a stream's pieces, and taken apart into pieces again."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

MOST_NESTING = 100

# Said once, or again in each piece; others' strings go on where they left off.
_SAID_ONCE = frozenset({"role", "id", "type"})
_EMPTY: Mapping[type, Any] = {str: "", list: [], dict: {}}


class _Text(list[str]):
    """The pieces of a string that goes on: joined once, at the end."""


def latest(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Take over the members of a piece; null says nothing new."""
    for name, value in piece.items():
        if value is not None or name not in whole:
            whole[name] = value


class Choice:
    """The pieces of one choice so far."""

    __slots__ = ("_calls", "_indexes", "_members", "_message")

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}  # what it has beside the message
        self._message: dict[str, Any] | None = None
        self._calls: list[dict[str, Any]] = []  # of tools
        self._indexes: dict[int, int] = {}  # of the stream to that of the list

    def add(self, piece: Any) -> None:
        """One of a chunk's `choices`. Raises ValueError where it is none."""
        if not isinstance(piece, dict):
            raise ValueError("a choice is no object")
        for name, value in piece.items():
            if name == "delta":
                self._say(value)
            elif name in ("logprobs", "text"):
                _join(self._members, {name: value})
            elif value is not None or name not in self._members:
                self._members[name] = value

    def whole(self, index: int) -> dict[str, Any]:
        """As it is in an answer that was not streamed."""
        if self._message is None:
            return {**_plain(self._members), "index": index}
        message = {"role": "assistant", "content": None, **self._message}
        if self._calls:
            message["tool_calls"] = [_plain(call) for call in self._calls]
        audio = message.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("data"), _Text):
            message["audio"] = {**audio, "data": _joined_base64(audio["data"])}
        return {"index": index, "message": _plain(message), **_plain({**self._members, "index": index})}

    def _say(self, delta: Any) -> None:
        if self._message is None:
            self._message = {}
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise ValueError("a delta is no object")
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta = {**delta, "tool_calls": []}
            for call in calls:
                self._call(call)
        _join(self._message, delta)

    def _call(self, piece: Any) -> None:
        if not isinstance(piece, dict):
            raise ValueError("a tool call is no object")
        index = piece.pop("index", None)
        known: dict[str, Any] = {}
        if index is None:  # then each is whole
            self._calls.append(known)
        elif type(index) is not int:
            raise ValueError("a tool call's index is no number")
        elif index in self._indexes and not _is_another(self._calls[self._indexes[index]], piece):
            known = self._calls[self._indexes[index]]
        else:
            self._indexes[index] = len(self._calls)
            self._calls.append(known)
        _join(known, piece)

    @staticmethod
    def pieces(choice: Mapping[str, Any], place: int) -> Iterator[dict[str, Any]]:
        """A whole choice as a stream's chunks tell it: its role, each text, the tool calls, why it ended. Raises
        ValueError where it is none."""
        index = choice.get("index", place)
        if "message" not in choice:
            yield {**choice, "index": index}
            return
        message = choice["message"]
        if not isinstance(message, dict):
            raise ValueError("a choice's message is no object")
        told = {
            name: value
            for name, value in message.items()
            if value and isinstance(value, (str, list, dict)) and name not in _SAID_ONCE
        }
        opening = {name: _EMPTY[type(value)] if name in told else value for name, value in message.items()}
        logprobs = {"logprobs": choice["logprobs"]} if "logprobs" in choice else {}
        unended = {"finish_reason": None} if "finish_reason" in choice else {}
        calls = told.pop("tool_calls", None)
        if calls is not None:
            del opening["tool_calls"]
        yield {"index": index, "delta": opening, **logprobs, **unended}
        for name, value in told.items():
            yield {"index": index, "delta": {name: value}, **unended}
        for number, call in enumerate(calls or ()):
            if not isinstance(call, dict):
                raise ValueError("a tool call is no object")
            yield {"index": index, "delta": {"tool_calls": [{**call, "index": number}]}, **unended}
        rest = {name: value for name, value in choice.items() if name not in ("message", "logprobs", "index")}
        yield {"index": index, "delta": {}, **rest}


def _is_another(known: Mapping[str, Any], piece: Mapping[str, Any]) -> bool:
    """Whether the piece begins another call than the one that has its index: some (Gemini) tell all of them under 0.
    By its id, and a name: others (vLLM) give each piece of a call a new id, but only its first one a name."""
    began, begins = known.get("id"), piece.get("id")
    if not began or not begins or begins == began:
        return False
    return any(isinstance(held, dict) and held.get("name") for held in (piece.get("function"), piece.get("custom")))


def _join(whole: dict[str, Any], piece: Mapping[str, Any], depth: int = 0) -> None:
    """Add a piece: strings and lists go on, objects are joined in the same way, the rest is as said last."""
    if depth == MOST_NESTING:
        raise ValueError("pieces nested too deeply")
    for name, value in piece.items():
        known = whole.get(name)
        if isinstance(value, dict):
            if not isinstance(known, dict):
                known = whole[name] = {}
            _join(known, value, depth + 1)
        elif isinstance(value, (str, list)) and isinstance(known, (str, list)) and known:
            # Some repeat in each piece what a tool is called.
            if value and name not in _SAID_ONCE and not (name == "name" and value == known):
                whole[name] = _longer(known, value)
        elif value is not None or name not in whole:
            whole[name] = value


def _longer(known: str | list[Any], value: str | list[Any]) -> list[Any]:
    """What is known, with what comes after it. Some (Mistral) tell content as strings and as lists of parts in turn:
    then it is a list, in which the strings are parts too."""
    if isinstance(known, str):
        known = _Text((known,))
    if isinstance(known, _Text):
        if isinstance(value, list):
            return [{"type": "text", "text": known}, *value]
        known.append(value)
    elif isinstance(value, list):
        known.extend(value)
    elif _is_text(known[-1]):
        known[-1]["text"] = _longer(known[-1]["text"], value)
    else:
        known.append({"type": "text", "text": value})
    return known


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), (str, _Text))


def _plain(value: Any) -> Any:
    """With its texts joined. Only what `_join` has made is looked through."""
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, list):
        return [{**part, "text": _plain(part["text"])} if _is_text(part) else part for part in value]
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    return value


def _joined_base64(pieces: list[str]) -> str:
    """Each piece of audio is padded for itself."""
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except ValueError:
        return "".join(pieces)
