"""What the gateway must know of an API to cache it. Each API is a module beside this one with one class.

An API's object holds no state: one instance serves every request. Bodies are decoded JSON objects (`dict`), never
changed in place. Nothing here does I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

Body = Mapping[str, Any]


class Event(NamedTuple):
    """One server-sent event."""

    raw: bytes  # as it came, with the blank line that ends it
    name: str  # of its `event:` field; empty without one
    data: bytes  # of its `data:` fields


class Usage(NamedTuple):
    """What a provider says it counted."""

    input_tokens: int = 0  # all of them, those from a cache included
    cached_tokens: int = 0  # of the input: read from the provider's own cache
    cache_write_tokens: int = 0  # of the input: written to it
    output_tokens: int = 0  # all of them, reasoning included
    reasoning_tokens: int = 0  # of the output
    images: int = 0


class API:
    """What holds for any JSON API that the gateway knows nothing of; the known ones say more."""

    name: ClassVar[str] = "other"
    # Whether a stored answer serves requests that stream and those that do not, by `assemble` and `replay`.
    converts: ClassVar[bool] = False
    # Members of a request's body that do not change its answer.
    ignored: ClassVar[tuple[str, ...]] = ("stream", "stream_options", "user", "metadata")

    def randomness(self, body: Body) -> str | None:
        """Why the answer would be another one each time, such as `temperature>0`; None where it would not.

        Here: a `temperature` above 0, or none given where there is a prompt, without a `seed`; images and video
        without a `seed`.
        """
        raise NotImplementedError

    def texts(self, body: Body) -> Iterator[str]:
        """The prompt's texts: what time-sensitive words and personal data are looked for in, and `normalized` is about.

        Here: every string of the body but for its ignored members and `model`.
        """
        raise NotImplementedError

    def normalized(self, body: Body) -> Body:
        """The body as the fingerprint is made of under the policy `normalized`: in each of the prompt's texts, runs of
        white space are one space, none at the ends, and Unicode case-folded."""
        raise NotImplementedError

    def streams(self, body: Body) -> bool:
        """Whether the client asks for a stream."""
        return body.get("stream") is True

    def upstream_body(self, body: Body) -> Body:
        """What goes upstream: where it streams, with the usage event asked for."""
        return body

    def client_events(self, event: Event, body: Body) -> bytes:
        """The event as the client `body` came from should see it: without the usage that it did not ask for; empty
        where nothing is left. Of stored events too."""
        return event.raw

    def ends(self, event: Event) -> bool:
        """Whether it is the stream's terminal event. Where an API has none, the end of the body is."""
        raise NotImplementedError

    def has_terminal_event(self) -> bool:
        return False

    def incomplete(self, answer: Body) -> str | None:
        """Why a whole JSON answer with status 200 is not to be stored: it was truncated, filtered, is an error, or
        still under way. None: it may be."""
        raise NotImplementedError

    def longest_ttl(self, answer: Body) -> int | None:
        """Seconds after which what the answer names is gone (URLs of images); None: never."""
        return None

    def usage(self, answer: Body) -> Usage | None:
        """What the answer says was used; None where it does not."""
        raise NotImplementedError

    def assemble(self, events: Sequence[Event]) -> Body:
        """The JSON answer that the events of a whole stream add up to. Where it does not convert: what `incomplete` and
        `usage` need of it (the last event's error, stop reason and usage). Raises ValueError for what is no such
        stream, or one that told an error."""
        raise NotImplementedError

    def replay(self, answer: Body) -> list[bytes]:
        """The events of a stream that tells a stored JSON answer, usage included. Only where it converts."""
        raise NotImplementedError

    def worst_output(self, body: Body) -> int | None:
        """How many output tokens the body allows at most, all choices together; None: it does not say."""
        raise NotImplementedError

    def images(self, body: Body) -> int:
        """How many images the body asks for."""
        return 0
