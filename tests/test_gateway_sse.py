"""Server-sent events: each with its own bytes, however the stream was cut into pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.apis.base import Event
from gateway.sse import MOST_EVENTS, Parser

LINES = st.sampled_from(
    [
        *(b"data: x", b"data:x", b"data", b"data: ", b'data: {"a": "b:c"}', "data: ä\u2028b".encode()),
        *(b"event: e", b"id: 1", b"retry: 5", b": ping", b"", b"nonsense", b"\xef\xbb\xbfdata: y"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.one_of(
    st.lists(st.tuples(LINES, ENDS).map(b"".join)).map(b"".join),
    st.tuples(ENDS, st.lists(LINES)).map(lambda told: told[0].join(told[1]) + told[0] * 2),
    st.lists(st.sampled_from([b"\r", b"\n", b"d", b"data:"])).map(b"".join),
)


def events_of(*pieces: bytes) -> tuple[list[Event], bytes]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)], parser.rest


def told_by(events: list[Event]) -> list[Event]:
    """Without those in which nothing is told: how many they are is left to how the stream was cut."""
    return [event for event in events if event.data or event.name]


def reference(stream: bytes) -> list[tuple[str, bytes]]:
    """The standard's own words, line by line; comments and blank lines left out."""
    told, name, data = [], "", None
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in text.split(b"\n")[:-1]:
        if not line:
            if data:
                told.append((name, b"\n".join(data)))
            name, data = "", None
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            data = [*(data or []), value]
        elif field == b"event":
            name = value.decode()
    return [(name, data) for name, data in told if data]


@settings(deadline=None)
@given(STREAMS, st.data())
def test_events_do_not_depend_on_how_the_stream_is_cut(stream: bytes, data: st.DataObject) -> None:
    whole, rest = events_of(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for cut in (pieces, [stream[at : at + 1] for at in range(len(stream))]):
        events, left = events_of(*cut)
        assert (told_by(events), left) == (told_by(whole), rest)
        assert b"".join(event.raw for event in events) == b"".join(event.raw for event in whole)


@settings(deadline=None)
@given(STREAMS)
def test_no_byte_is_lost(stream: bytes) -> None:
    events, rest = events_of(stream)
    assert b"".join(event.raw for event in events) + rest == stream


@settings(deadline=None)
@given(STREAMS)
def test_events_are_those_of_the_standard(stream: bytes) -> None:
    parser = Parser()
    told = [(event.name, event.data) for event in parser.feed(stream) if event.data]
    if parser.rest.endswith((b"\r", b"\n")) and len(told) < len(reference(stream)):
        # The last line may end an event as soon as it is known to be one.
        told += [(event.name, event.data) for event in parser.finish()]
    assert told == reference(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_comes_with_its_blank_line(end: bytes) -> None:
    raw = end.join([b": hello", b"event: message_start", b"data: one", b"data:  two", b"", b""])
    assert events_of(raw) == ([Event(raw)], b"")
    assert (Event(raw).name, Event(raw).data) == ("message_start", b"one\n two")


def test_a_ping_is_an_event_without_data() -> None:
    assert events_of(b": ping\n\n", b"\n") == ([Event(b": ping\n\n"), Event(b"\n")], b"")
    assert (Event(b": ping\n\n").name, Event(b": ping\n\n").data) == ("", b"")


@pytest.mark.parametrize(
    "idle", [b"\n", b"\r\n", b":\n\n", b": ping\r\n\r\n", b"a\n\n", b"id: 1\nretry: 5\n\n", b":\r\r"]
)
def test_megabytes_that_tell_nothing_are_few_events(idle: bytes) -> None:
    """Each as an object of its own would take a hundred times its bytes."""
    times = 1_000_000 // len(idle)
    stream = b"data: x\n\n" + idle * times + b"data: y\n\n"
    for size in (len(stream), 65_536):
        parser = Parser()
        events = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
        assert b"".join(event.raw for event in events) == stream
        assert [event.data for event in events if event.data] == [b"x", b"y"]
        assert len(events) < 50
        assert not any(event.name for event in events)


def test_a_stream_has_a_bounded_number_of_events() -> None:
    parser = Parser()
    assert len(parser.feed(b"data\n\n" * MOST_EVENTS)) == MOST_EVENTS
    with pytest.raises(ValueError, match="more than 500000 events"):
        parser.feed(b"data\n\n")


def test_fields_of_an_event() -> None:
    event = Event(
        b": data: no\ndatabase: no\n data: no\ndata\nxdata: no\rdata:\r\ndata:  two: 2\nevent:a\nevent: b\n\n"
    )
    assert (event.name, event.data) == ("b", b"\n\n two: 2")
    assert Event(b"\xef\xbb\xbfdata: x\n\n", 3).data == b"x"
    assert Event(b"data: x").data == b"x"


def test_a_carriage_return_alone_does_not_end_what_a_line_feed_may_go_on_with() -> None:
    parser = Parser()
    assert parser.feed(b"data: x\r\n\r") == []
    assert parser.feed(b"\n") == [Event(b"data: x\r\n\r\n")]


def test_the_end_of_a_stream_without_its_blank_line() -> None:
    parser = Parser()
    assert parser.feed(b"data: [DONE]\n") == []
    assert parser.rest == b"data: [DONE]\n"
    assert parser.finish() == [Event(b"data: [DONE]\n")]
    assert parser.rest == b""
    torn = Parser()
    torn.feed(b'data: {"half')
    assert (torn.finish(), torn.rest) == ([], b'data: {"half')


@pytest.mark.parametrize("pieces", [[b"data: 12345\n\n"], [b"data: 1", b"2345\n", b"\n"], [b"\n", b"data: 123456789"]])
def test_an_event_is_bounded(pieces: list[bytes]) -> None:
    parser = Parser(12)
    with pytest.raises(ValueError, match="more than 12 bytes"):
        for piece in pieces:
            parser.feed(piece)
    assert len(Parser(13).feed(b"data: 12345\n\n" * 3)) == 3


def test_an_event_of_many_pieces() -> None:
    """A megabyte in pieces of a few bytes: what was looked at is not looked at again."""
    parser = Parser()
    for _ in range(250_000):
        assert parser.feed(b"data") == []
    assert len(parser.feed(b"\n\n")) == 1
