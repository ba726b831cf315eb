"""A process of many streamed chat completions at once: `python -m bench.streams`, told on stdin what to ask for.

It speaks HTTP over bare sockets, so that its own work is small beside what it measures: see `Asking` and `Timings`.
Each prompt is one that nobody asked before.
"""

import asyncio
import gc
import random
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import uvloop

HOST = "127.0.0.1"
PROMPT_BYTES = 250  # random ones, twice that in hexadecimal
OPENING = 100  # connections, or streams, that have not begun yet
GOOD = b"HTTP/1.1 200 "
END = b"\r\n0\r\n\r\n"  # of a body in chunks
OPEN = "open"  # printed when every stream has begun, where each is asked for once


class Asking(msgspec.Struct, frozen=True):
    """What to ask for, and how often."""

    port: int
    path: str
    token: str
    streams: int  # at once, each on a connection of its own
    seconds: float  # for which each connection asks again and again; 0: once
    usage: bool  # whether to ask for the usage event
    header: str  # that each answer must have, in lower case; empty: any


class Timings(msgspec.Struct, frozen=True):
    """Of each stream: milliseconds from sending the request to the body's first byte, and to the end of the answer."""

    first: list[float]
    last: list[float]

    def add(self, asked_at: float, first_at: float, ended_at: float) -> None:
        """Of one stream, by `time.perf_counter`."""
        self.first.append(round(1000 * (first_at - asked_at), 3))
        self.last.append(round(1000 * (ended_at - asked_at), 3))


class Broken(Exception):
    """An answer was not what it should be."""


class Connection(asyncio.Protocol):
    """One stream at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self.first_at = 0.0
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by its class

    def ask(self, request: bytes) -> float:
        """Send it; the time by `time.perf_counter`."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._received, self.first_at = bytearray(), 0.0
        self.begun, self.ended = loop.create_future(), loop.create_future()
        asked_at = time.perf_counter()
        self._transport.write(request)
        return asked_at

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._received += data
        if not self.first_at and 0 <= self._received.find(b"\r\n\r\n") < len(self._received) - 4:
            self.first_at = now
            if self._received.startswith(GOOD):
                self.begun.set_result(None)
            else:
                self._fail(f"not a stream: {bytes(self._received[:700])!r}")
        if self._received.endswith(END) and not self.ended.done():
            self.ended.set_result(now)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost ({error}) after {bytes(self._received[-200:])!r}")

    def _fail(self, why: str) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_exception(Broken(why))

    def check(self, header: bytes) -> None:
        head, _, body = self._received.partition(b"\r\n\r\n")
        if header not in head.lower() or b"data: [DONE]\n\n" not in body:
            raise Broken(f"not the stream that was wanted: {bytes(self._received[:700])!r}")


def requests(asking: Asking) -> Iterator[bytes]:
    """As many as one likes."""
    head = (
        f"POST {asking.path} HTTP/1.1\r\nHost: {HOST}:{asking.port}\r\nAuthorization: Bearer {asking.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    body: dict[str, Any] = {"model": "gpt-4o-mini", "temperature": 0, "stream": True}
    if asking.usage:
        body["stream_options"] = {"include_usage": True}
    while True:
        body["messages"] = [{"role": "user", "content": secrets.token_hex(PROMPT_BYTES)}]
        content = msgspec.json.encode(body)
        yield head + b"%d\r\n\r\n" % len(content) + content


async def measure(asking: Asking) -> Timings:
    connections = await _connected(asking)
    timings = Timings([], [])
    gc.collect()
    gc.disable()  # a pause here would look like one there
    if asking.seconds:
        await asyncio.gather(*(_ask_again_and_again(each, asking, timings) for each in connections))
    else:
        await _ask_once(connections, asking, timings)
    return timings


async def _connected(asking: Asking) -> list[Connection]:
    loop, free = asyncio.get_running_loop(), asyncio.Semaphore(OPENING)

    async def connected() -> Connection:
        async with free:
            return (await loop.create_connection(Connection, HOST, asking.port))[1]

    return await asyncio.gather(*(connected() for _ in range(asking.streams)))


async def _ask_again_and_again(connection: Connection, asking: Asking, timings: Timings) -> None:
    """They begin spread over the first second: all at once they would go on in step."""
    header = asking.header.encode()
    end = time.perf_counter() + asking.seconds
    await asyncio.sleep(random.random())
    for request in requests(asking):
        if time.perf_counter() >= end:
            break
        asked_at = connection.ask(request)
        ended_at = await connection.ended
        connection.check(header)
        timings.add(asked_at, connection.first_at, ended_at)


async def _ask_once(connections: list[Connection], asking: Asking, timings: Timings) -> None:
    """All are open at the same time, if the upstream holds them; they begin as fast as the server takes them."""
    free, asked_at = asyncio.Semaphore(OPENING), [0.0] * len(connections)

    async def begin(place: int, request: bytes) -> None:
        async with free:
            asked_at[place] = connections[place].ask(request)
            await connections[place].begun

    await asyncio.gather(
        *(begin(place, request) for place, request in zip(range(len(connections)), requests(asking), strict=False))
    )
    print(OPEN, flush=True)
    for connection, asked in zip(connections, asked_at, strict=True):
        ended = await connection.ended
        connection.check(asking.header.encode())
        timings.add(asked, connection.first_at, ended)


def main() -> int:
    try:
        timings = uvloop.run(measure(msgspec.json.decode(sys.stdin.readline(), type=Asking)))
    except (Broken, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:  # buffered, even if sys.stdout is not
        output.write(msgspec.json.encode(timings) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
