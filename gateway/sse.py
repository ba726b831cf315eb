"""Server-sent events, taken apart as they come, each with the very bytes that it came in.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re

from gateway.apis.base import Event

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024
MOST_EVENTS = 500_000  # of a stream: small ones take ten times their bytes. A model's whole output is below 200,000

# The line end before the blank line, and the blank line. A `\r` may be the first half of a `\r\n`: after a `\r\n` it is
# waited for the next byte; after another line end it is not, so that streams with bare `\r`s lag by nothing. What
# ends an event is therefore told by the bytes alone, not by how they were cut into pieces.
# Each alternative begins with the byte itself: so `re` skips to the next such byte, five times as fast.
_END = re.compile(rb"\n\n|\r\n\r(?:\n|(?=[^\n]))|\r\r|\n(?<!\r\n)\r")
_MOST_OF_AN_END = 3  # bytes of it that may have come already
# What says nothing to anybody: a run of blank lines and of events of which no line is `data` or `event`. It is taken as
# one, so that megabytes of them are not as many objects. How such a run is cut is nothing that anybody could see.
_LINE_END = rb"(?:\r?\n|\r(?=[^\n]))"
_IDLE = re.compile(rb"(?:\n+|(?:(?!data|event|\xef\xbb\xbf)[^\r\n]++" + _LINE_END + rb")*+" + _LINE_END + rb")++")
_BOM = b"\xef\xbb\xbf"


class Parser:
    """Of one stream. Comments and blank lines come as events without data, those of a piece together. Where the others
    begin and end is told by the bytes alone, not by how they were cut into pieces."""

    __slots__ = ("_buffer", "_first", "_left", "_max", "_searched")

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._searched = 0  # how many bytes of the buffer hold no end of an event
        self._first = True
        self._left = MOST_EVENTS
        self._max = max_event_bytes

    @property
    def rest(self) -> bytes:
        """The event that has not ended yet."""
        return bytes(self._buffer)

    def feed(self, piece: bytes) -> list[Event]:
        """The events that end with this piece. Raises ValueError where one has more bytes than allowed, or there
        are too many; the parser is of no use then."""
        buffer = self._buffer
        buffer += piece
        events: list[Event] = []
        start = 0
        while end := self._end(start):
            self._check_size(end - start)
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"the stream has more than {MOST_EVENTS} events")
            events.append(self._event(bytes(buffer[start:end])))
            start = end
            self._searched = end
        if start:
            del buffer[:start]
        self._searched = len(buffer)
        self._check_size(len(buffer))
        return events

    def finish(self) -> list[Event]:
        """At the end of the stream: the event whose lines are whole and lack nothing but the blank line, as some
        servers end theirs; nothing is left then. One that ends within a line stays the rest."""
        if not self._buffer.endswith((b"\n", b"\r")):
            return []
        event = self._event(self.rest)
        self._buffer.clear()
        return [event]

    def _end(self, start: int) -> int:
        """Where the event that begins at `start` ends; 0: not yet."""
        # What was looked at already is not looked at again: it is no idle run, or one that lacks its end.
        fresh = start >= self._searched or self._searched <= 1
        found = (_IDLE.match(self._buffer, start) if fresh else None) or _END.search(
            self._buffer, max(start, self._searched - _MOST_OF_AN_END)
        )
        # No match object may live on: it would keep the buffer from growing.
        return found.end() if found else 0

    def _check_size(self, size: int) -> None:
        if size > self._max:
            raise ValueError(f"an event has more than {self._max} bytes")

    def _event(self, raw: bytes) -> Event:
        first, self._first = self._first, False
        return Event(raw, len(_BOM) if first and raw.startswith(_BOM) else 0)
