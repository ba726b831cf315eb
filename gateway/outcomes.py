"""What is known of a whole answer: whether it may be stored, and what was used for it."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from cacheservice.entries import nesting
from gateway.answers import Answer, Form
from gateway.apis.base import API, Body, Usage
from gateway.apis.chat_pieces import latest
from gateway.plan import decoded

# What may be stored besides JSON and streams: what APIs answer a JSON request with. Not HTML, which is an error page.
_MEDIA = ("audio/", "image/", "video/")
# The APIs that may answer with such, and with JSON that is no object: those of which it is not known what they do.
WITH_OTHERS = frozenset({"other", "unknown"})


_raw = msgspec.json.Decoder(msgspec.Raw)  # which checks JSON without making anything of it
LAST_EVENTS = 8  # among them a stream's terminal one: after it come comments at most


class Outcome(NamedTuple):
    """Of one call."""

    document: Body  # the answer, or what a stream adds up to; empty where there is none
    usage: Usage | None  # None: the answer does not say
    unstored: str  # why it is not to be stored; empty: it may be
    broken: bool  # it is not what its API answers, so nobody knows what it cost
    cost: Decimal | None = None  # USD; None: unknown


def outcome_of(api: API, answer: Answer) -> Outcome:
    """Of an answer that has come in whole, as far as the connection tells."""
    if answer.status != 200:
        return Outcome({}, Usage(), f"status {answer.status}", broken=False)
    if answer.form is Form.BYTES:
        media = api.name in WITH_OTHERS and answer.content_type.lower().startswith(_MEDIA)
        return Outcome({}, None, "" if media else "not JSON", broken=not media)
    objects = _stream(api, answer) if answer.form is Form.EVENTS else objects_of(api, answer.body())
    if objects is None:
        reason = "interrupted" if answer.form is Form.EVENTS else "not a JSON object"
        return Outcome({}, None, reason, broken=True)
    try:
        document = merged(objects)
        unstored = next(filter(None, map(api.incomplete, objects)), "")
        return Outcome(document, api.usage(document), unstored, broken=False)
    except (ValueError, msgspec.MsgspecError):
        return Outcome({}, None, "not what this API answers", broken=True)


def objects_of(api: API, body: bytes) -> Sequence[Body] | None:
    """The JSON object that it is; those in other JSON, where the API may answer so: Gemini's streams are an array of
    what others tell as events. None for what the API does not answer."""
    document = decoded(body)
    if document is not None:
        return [document]
    return _objects_in(body) if api.name in WITH_OTHERS else None


def merged(objects: Sequence[Body]) -> Body:
    """Of each member the latest, as of a stream's events."""
    document: dict[str, Any] = {}
    for each in objects:
        latest(document, each)
    return document


def _objects_in(body: bytes) -> list[Body] | None:
    """None where it is no JSON."""
    try:
        if nesting.too_deep(body):
            return None
        if b"{" not in body:  # vectors, say: a million numbers that nobody needs
            return [] if _raw.decode(body) else None
        return list(_objects(msgspec.json.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _objects(value: Any) -> Iterator[Body]:
    """Those in arrays, in their order; not those in objects."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            stack.extend(reversed(value))


def _stream(api: API, answer: Answer) -> Sequence[Body] | None:
    """What it adds up to; None where it broke off or told an error."""
    last = answer.events[-LAST_EVENTS:]
    if answer.torn or (api.has_terminal_event() and not any(api.ends(event) for event in reversed(last))):
        return None
    try:
        return [api.assemble(answer.events)]
    except ValueError:
        return None
