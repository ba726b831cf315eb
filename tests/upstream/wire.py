"""What the formats have in common: what an answer is made of, its words, and the errors of each provider."""

import hashlib
import itertools
import os
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from tests.upstream.directions import Directions, without_directions

Body = Mapping[str, Any]

REASONING_TOKENS = 10
_RUN = os.urandom(4).hex()
_count = itertools.count(1)
_PIECE = re.compile(r"\s*\S+\s*|\s+")
_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_OPENAI_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


class Whole(NamedTuple):
    """An answer in one piece."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


class Stream(NamedTuple):
    """An answer as server-sent events, and the one that tells an error in their place."""

    events: list[bytes]
    error: bytes


Answer = Whole | Stream


class BadRequest(Exception):
    """The provider refuses the request with this status; the message is its error's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


def unique(prefix: str) -> str:
    """An id that no other answer has, of no other run either."""
    return f"{prefix}{_RUN}{next(_count):010d}"


def now() -> int:
    return int(time.time())


def tokens(text: str) -> int:
    """Words: what this provider calls a token."""
    return len(text.split())


def said(content: object) -> str:
    """The text of a message's content: a string, or parts of which some have a text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content if isinstance(part, dict))
    return ""


def _part(part: Body) -> str:
    return str(part["text"]) if "text" in part else said(part.get("content"))


class Text(NamedTuple):
    """An answer's text in tokens, and whether it had to end before its end."""

    pieces: list[str]
    cut: bool

    def __str__(self) -> str:
        return "".join(self.pieces)


def answer_text(prompt: str, directions: Directions, limit: object, choice: int = 0) -> Text:
    """`You said: <prompt>` in tokens; at most `limit` of them where it is a number."""
    number = f" ({choice + 1})" if choice else ""
    pieces = _PIECE.findall(f"You said{number}: {without_directions(prompt)}")
    if directions.words:
        pieces = [f"{piece.strip()} " for piece in itertools.islice(itertools.cycle(pieces), directions.words)]
    most = limit if isinstance(limit, int) else len(pieces)
    if directions.finish == "length":
        most = min(most, max(1, len(pieces) // 2))
    return Text(pieces[:most], cut=most < len(pieces))


def example(schema: Body) -> Any:
    """A value that a JSON schema allows: arguments of tools, and structured answers."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: example(member) for name, member in schema.get("properties", {}).items()}
        case "array":
            return [example(schema.get("items", {}))]
        case "integer":
            return 42
        case "number":
            return 4.5
        case "boolean":
            return True
        case _:
            return "Zürich"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def halves(text: str) -> Iterable[str]:
    """A text in two deltas, as streams tell the arguments of tools."""
    middle = max(1, len(text) // 2)
    return text[:middle], text[middle:]


def openai_error(status: int, message: str) -> Whole:
    return Whole(encoded({"error": openai_error_object(status, message)}), status)


def openai_error_object(status: int, message: str) -> dict[str, object]:
    kind, code = _OPENAI_ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"message": message, "type": kind, "param": None, "code": code}


def anthropic_error(status: int, message: str) -> Whole:
    kind = _ANTHROPIC_ERRORS.get(status, "api_error")
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": unique("req_")}
    return Whole(encoded(error), status)
