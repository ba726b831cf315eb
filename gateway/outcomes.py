"""What is known of a whole answer: whether it may be stored, and what was used for it."""

from decimal import Decimal
from typing import NamedTuple

import msgspec

from cacheservice.entries import nesting
from gateway.answers import Answer, Form
from gateway.apis.base import API, Body, Usage
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
        media = answer.content_type.lower().startswith(_MEDIA)
        return Outcome({}, None, "" if media else "not JSON", broken=not media)
    document = _stream(api, answer) if answer.form is Form.EVENTS else _document(api, answer.body())
    if document is None:
        reason = "interrupted" if answer.form is Form.EVENTS else "not a JSON object"
        return Outcome({}, None, reason, broken=True)
    try:
        return Outcome(document, api.usage(document), api.incomplete(document) or "", broken=False)
    except (ValueError, msgspec.MsgspecError):
        return Outcome({}, None, "not what this API answers", broken=True)


def _document(api: API, body: bytes) -> Body | None:
    """The JSON object that it is; empty for other JSON of an API that may answer so; else None."""
    document = decoded(body)
    if document is None and api.name in WITH_OTHERS and _is_json(body):
        return {}
    return document


def _is_json(body: bytes) -> bool:
    try:
        return not nesting.too_deep(body) and bool(_raw.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _stream(api: API, answer: Answer) -> Body | None:
    """What it adds up to; None where it broke off or told an error."""
    last = answer.events[-LAST_EVENTS:]
    if answer.torn or (api.has_terminal_event() and not any(api.ends(event) for event in reversed(last))):
        return None
    try:
        return api.assemble(answer.events)
    except ValueError:
        return None
