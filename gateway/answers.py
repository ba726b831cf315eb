"""An upstream's answer as it comes in, or as it was stored: what it is made of, and how it is shown to a client."""

from enum import Enum
from functools import lru_cache
from typing import TypeAlias

import msgspec

from cacheservice.entries.store import Hit
from gateway.apis.base import API, Body, Event
from gateway.sse import Parser

Header: TypeAlias = tuple[bytes, bytes]
EVENT_STREAM = "text/event-stream"
MAX_EVENT_BYTES = 16 * 1024 * 1024  # a picture in base64 fits


class Form(Enum):
    """What an answer is made of."""

    JSON = "json"  # one document, given when it is whole
    EVENTS = "events"  # a stream of server-sent events
    BYTES = "bytes"  # anything else, passed on as it comes


@lru_cache(maxsize=256)
def form_of(content_type: str) -> Form:
    essence = content_type.partition(";")[0].strip().lower()
    if essence == EVENT_STREAM:
        return Form.EVENTS
    if essence == "application/json" or essence.endswith("+json"):
        return Form.JSON
    return Form.BYTES


class Answer:
    """As it comes in, piece by piece."""

    __slots__ = ("_parser", "content_type", "events", "form", "headers", "pieces", "size", "status")

    def __init__(self, status: int, headers: tuple[Header, ...]) -> None:
        self.status, self.headers = status, headers
        self.content_type = dict(headers).get(b"content-type", b"").decode("latin-1")
        self.form = form_of(self.content_type)
        self.size = 0
        self.pieces: list[bytes] = []
        self.events: list[Event] = []
        self._parser = Parser(MAX_EVENT_BYTES) if self.form is Form.EVENTS else None

    def add(self, piece: bytes) -> None:
        """Raises ValueError for an event that is too large."""
        self.size += len(piece)
        if self._parser is None:
            self.pieces.append(piece)
        else:
            self.events += self._parser.feed(piece)

    def finish(self) -> None:
        """Nothing more comes."""
        if self._parser is not None:
            self.events += self._parser.finish()

    def forget(self) -> None:
        """Its bytes, for good. Where it broke off, the error's traceback refers to whoever had the lists: megabytes
        that would stay until a full garbage collection."""
        self.pieces.clear()
        self.events.clear()
        self._parser = None

    @property
    def torn(self) -> bool:
        """Whether a stream ends in the middle of an event."""
        return self._parser is not None and bool(self._parser.rest)

    def body(self) -> bytes:
        if self.form is Form.EVENTS:
            return b"".join(event.raw for event in self.events)
        return b"".join(self.pieces)


def events_of(stream: bytes) -> list[Event]:
    parser = Parser(max(len(stream), 1))
    return [*parser.feed(stream), *parser.finish()]


def shown(api: API, asked: Body, form: Form, body: bytes, *, streams: bool) -> bytes:
    """A whole answer as the client gets it: as a stream or as one document, whichever it asked for (`streams`).

    Raises ValueError for what cannot be shown so: a broken document or stream.
    """
    if form is Form.EVENTS and streams:
        return b"".join(api.client_events(event, asked) for event in events_of(body))
    if form is Form.EVENTS and api.converts:
        return msgspec.json.encode(api.assemble(events_of(body)))
    if form is Form.JSON and streams and api.converts:
        replayed = api.replay(msgspec.json.decode(body))
        return b"".join(api.client_events(event, asked) for event in events_of(b"".join(replayed)))
    return body


def content_type_shown(api: API, form: Form, content_type: str, *, streams: bool) -> str:
    """Of what `shown` gives."""
    if api.converts and form is not Form.BYTES:
        return EVENT_STREAM if streams else "application/json"
    return content_type


def stored_content_type(form: Form, content_type: str) -> str | None:
    """As entries keep it: None is JSON."""
    return None if form is Form.JSON else content_type


def stored_form(hit: Hit) -> tuple[Form, str]:
    content_type = hit.content_type or "application/json"
    return form_of(content_type), content_type
