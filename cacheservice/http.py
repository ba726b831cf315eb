"""What the lane and Django's plane share of HTTP: answers, bodies and their bounds, request ids."""

import asyncio
import itertools
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import structlog
from django.conf import settings

from cacheservice import metrics
from cacheservice.errors import APIError, InvalidRequest, Unavailable, ValueTooLarge, seconds_of_minute_left

log = structlog.get_logger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")
# On every answer: never sniffed as HTML, never kept by a cache in between that does not know the API key.
COMMON_HEADERS: tuple[Header, ...] = ((b"cache-control", b"private, no-store"), (b"x-content-type-options", b"nosniff"))
UNCOUNTED_BYTES = 64 * 1024  # bodies up to this need no share of the bytes in flight
PIECE_BYTES = 256 * 1024  # larger answers are sent in pieces, each when the client has taken those before
# A random part for each process and a count: unique like random ids, without a system call a request.
_PROCESS, _COUNTER = secrets.token_hex(4), itertools.count()
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Answer(NamedTuple):
    """A whole response. `headers` holds what is particular to it; `send_answer` adds the common ones."""

    status: int
    headers: tuple[Header, ...]
    body: bytes
    charge: Any = None  # what it cost, to be refunded where it cannot be sent


def error_answer(error: APIError, request_id: str) -> Answer:
    return Answer(error.status, (JSON, *error.headers), error.body(request_id))


def request_id(sent: bytes | None) -> str:
    """The client's own id, if it sent a sane one, else a fresh one."""
    if sent is not None and _SANE_REQUEST_ID.fullmatch(sent):
        return sent.decode()
    return f"{_PROCESS}{next(_COUNTER):08x}"


class LargeAnswers:
    """The bytes of large answers that the process's clients have yet to take: slow readers must not fill memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0

    @property
    def in_flight(self) -> int:
        return self._bytes

    @contextmanager
    def share(self, size: int) -> Iterator[None]:
        """Raises Unavailable when too much is being sent already."""
        if self._bytes + size > self._most:
            metrics.UNAVAILABLE.add(1, "answer_bytes")
            raise Unavailable("Too many large values are being sent at once: try again shortly.")
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


large_answers = LargeAnswers(settings.ANSWER_BYTES_IN_FLIGHT)


def rate_headers(rate: tuple[int, int] | None) -> tuple[Header, ...]:
    """What an authenticated client is told of its rate limit: requests a minute, and used; None: it has none."""
    if rate is None:
        return ()
    limit, used = rate
    return (
        (b"ratelimit-limit", b"%d" % limit),
        (b"ratelimit-remaining", b"%d" % max(0, limit - used)),
        (b"ratelimit-reset", b"%d" % seconds_of_minute_left()),
    )


class Sending:
    """A request's `send`, which knows the status that went out; 0: none so far."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        return self._send(message)


async def send_answer(
    send: Send,
    answer: Answer,
    request_id: str,
    *,
    head: bool = False,
    refusal: Callable[[APIError, str], Answer] = error_answer,
) -> bool:
    """Send it whole; for a HEAD request without its body. A large one goes out as fast as the client takes it, or
    becomes a 503, as `refusal` has it, when too many do: then this is False."""
    if head or len(answer.body) <= UNCOUNTED_BYTES:
        await _send(send, answer, request_id, head)
        return True
    try:
        with large_answers.share(len(answer.body)):
            async with asyncio.timeout(settings.ANSWER_TIMEOUT_SECONDS):
                await _send(send, answer, request_id, head)
    except Unavailable as error:
        await _send(send, refusal(error, request_id), request_id, head)
        return False
    except TimeoutError:  # the status is out: all that is left is to hang up
        log.info("slow_reader", request_id=request_id, size=len(answer.body))
    return True


async def _send(send: Send, answer: Answer, request_id: str, head: bool) -> None:
    length = () if head else ((b"content-length", b"%d" % len(answer.body)),)
    headers = [*answer.headers, *length, *COMMON_HEADERS, (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if head or len(answer.body) <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": b"" if head else answer.body})
        return
    body = memoryview(answer.body)
    for start in range(0, len(body), PIECE_BYTES):
        piece = bytes(body[start : start + PIECE_BYTES])
        await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE_BYTES < len(body)})


async def disconnected(receive: Receive) -> None:
    """Returns when the client has hung up. Once a request: cut short, it leaves the next to say so of who is there."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _new_process() -> None:
    global _PROCESS
    _PROCESS = secrets.token_hex(4)


os.register_at_fork(after_in_child=_new_process)


class Patience:
    """A time limit for what rarely waits, as a context manager: it raises TimeoutError in the task that waits too long.

    One timer looks after all who wait, a tenth of the limit apart; one for each, as `asyncio.timeout` has it, takes
    5 µs to set and to clear, a tenth of what a whole hit takes. Not to be nested in one task.
    """

    LOOKS = 10

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any] | None, float] = {}  # in the order of their beginning
        self._loop: asyncio.AbstractEventLoop | None = None  # that the timer is set in

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._since[asyncio.current_task(loop)] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._seconds / self.LOOKS, self._look, loop)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = asyncio.current_task()
        if self._since.pop(task, None) is None and task is not None:  # `_look` has cancelled it
            others = task.uncancel()
            if kind is asyncio.CancelledError and not others:
                raise TimeoutError from None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        over = loop.time() - self._seconds
        while self._since:
            task, since = next(iter(self._since.items()))
            if since > over:
                break
            del self._since[task]
            if task is not None:
                task.cancel()
        if self._since:
            loop.call_later(self._seconds / self.LOOKS, self._look, loop)
        else:
            self._loop = None


class BodyReader:
    """Reads request bodies within bounds: bytes and seconds each, and bytes over all that are in flight."""

    def __init__(self, *, bytes_in_flight: int, timeout: float) -> None:
        self._most = self._free = bytes_in_flight
        self._timeout = timeout
        self._patience = Patience(timeout)

    @property
    def in_flight(self) -> int:
        """Bytes."""
        return self._most - self._free

    @staticmethod
    def is_large(headers: MutableMapping[bytes, bytes]) -> bool:
        """Whether the body will count among the bytes in flight, or may: a chunked one does not say its size."""
        return b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > UNCOUNTED_BYTES

    async def read(self, receive: Receive, headers: MutableMapping[bytes, bytes], limit: int) -> bytes:
        """The whole body, chunked or not. The caller must `release` it when it has been dealt with.

        Raises ValueTooLarge beyond `limit`, InvalidRequest when it ends early or does not arrive in time, Unavailable
        when too many bytes are in flight.
        """
        declared = -1 if b"transfer-encoding" in headers else int(headers.get(b"content-length", b"0"))
        if declared > limit:
            raise ValueTooLarge(f"body: it has {declared} bytes; at most {limit} are taken.")
        try:
            with self._patience:
                return await self._read(receive, limit, declared)
        except TimeoutError:
            raise InvalidRequest(f"body: it did not arrive within {self._timeout:g} seconds; send it again.") from None

    def release(self, body: bytes) -> None:
        if len(body) > UNCOUNTED_BYTES:
            self._free += len(body)

    async def _read(self, receive: Receive, limit: int, declared: int) -> bytes:
        """`declared`: how many bytes come; then no message is waited for that would only say that these were all. -1:
        the client does not say."""
        message = await receive()
        body: bytes = message.get("body", b"")
        whole = not message.get("more_body") or len(body) == declared
        if message["type"] == "http.request" and whole and len(body) <= UNCOUNTED_BYTES:
            return body
        received, counted = bytearray(body), 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise InvalidRequest("body: it ended early; send as many bytes as Content-Length says.")
                size = len(received)
                if size > limit:
                    raise ValueTooLarge(f"body: it has more than {limit} bytes, which is the most that is taken.")
                if size > UNCOUNTED_BYTES and size > counted:
                    if size - counted > self._free:
                        metrics.UNAVAILABLE.add(1, "request_bytes")
                        raise Unavailable("Too many large bodies are being sent at once: try again shortly.")
                    self._free -= size - counted
                    counted = size
                if not message.get("more_body") or size == declared:
                    break
                message = await receive()
                received += message.get("body", b"")
            return bytes(received)
        except BaseException:
            received.clear()  # the exception's traceback would keep it while it is answered
            self._free += counted
            raise
