"""A reverse proxy in a thread, as small as one can be that loses nothing when its servers are restarted in turn.

It does what docs/runbooks/upgrade.md asks of a proxy: it asks each server for /readyz, sends requests to those that are
ready, in turn, keeps connections to them, and repeats a request that is safe to repeat when a connection broke before
an answer came. It waits when it knows of no server that is ready.
"""

import asyncio
import re
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from tests.processes import HOST, wait_for

LOOK_SECONDS = 0.1
# A tenth of a second apart: as long as Caddy lets a request wait for a server (lb_try_duration), and some.
ATTEMPTS = 100
IDEMPOTENT = (b"GET", b"HEAD", b"PUT", b"DELETE")

Link = tuple[StreamReader, StreamWriter]


@contextmanager
def balancer(ports: Sequence[int]) -> Iterator[str]:
    """In front of the servers on these ports; its URL, once one of them is ready."""
    front = _Balancer(ports)
    thread = threading.Thread(target=asyncio.run, args=(front.run(),))
    thread.start()
    try:
        wait_for(lambda: bool(front.port and any(front.ready.values())), 60, "a server is ready")
        yield f"http://{HOST}:{front.port}"
    finally:
        front.stop()
        thread.join()


class _Balancer:
    def __init__(self, ports: Sequence[int]) -> None:
        self.ready = dict.fromkeys(ports, False)
        self.port = 0
        self._idle: dict[int, list[Link]] = {port: [] for port in ports}
        self._turn = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        looking = asyncio.create_task(self._look())
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        await self._end.wait()
        server.close()
        for task in (looking, *self._tasks):
            task.cancel()
        await asyncio.gather(looking, *self._tasks, return_exceptions=True)
        for _, writer in (link for idle in self._idle.values() for link in idle):
            await _close(writer)
        await asyncio.sleep(LOOK_SECONDS)  # for the connections of those that were cancelled while they closed them

    def stop(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)

    async def _look(self) -> None:
        while True:
            for port in self.ready:
                self.ready[port] = await _is_ready(port)
            await asyncio.sleep(LOOK_SECONDS)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = head + await reader.readexactly(_length(head))
                writer.write(await self._ask(request))
                await writer.drain()
        except (OSError, IncompleteReadError):
            pass  # the client is gone
        finally:
            await _close(writer)

    async def _ask(self, request: bytes) -> bytes:
        method = request.partition(b" ")[0]
        for _ in range(ATTEMPTS if method in IDEMPOTENT else 1):
            if ready := [port for port, is_ready in self.ready.items() if is_ready]:
                port = ready[next(self._turn) % len(ready)]
                with suppress(OSError, IncompleteReadError):
                    return await self._ask_one(port, method, request)
            await asyncio.sleep(LOOK_SECONDS)
        return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

    async def _ask_one(self, port: int, method: bytes, request: bytes) -> bytes:
        reader, writer = self._idle[port].pop() if self._idle[port] else await asyncio.open_connection(HOST, port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            body = b"" if method == b"HEAD" else await reader.readexactly(_length(head))
        except BaseException:
            await _close(writer)
            raise
        if b"connection: close" in head.lower():
            head = re.sub(rb"(?i)connection: close\r\n", b"", head)  # which is said to us
            await _close(writer)
        else:
            self._idle[port].append((reader, writer))
        return head + body


async def _is_ready(port: int) -> bool:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            await _close(writer)
    return False


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


async def _close(writer: StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
