"""Small HTTP servers in the test's own event loop, which answer with whatever bytes a test wants, or with none."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass
class Exchange:
    """A request, and the connection that it came on."""

    number: int  # of the request, from 1
    line: str
    headers: list[tuple[str, str]]  # names as they came
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", *headers: str) -> None:
        head = "".join(f"{header}\r\n" for header in headers)
        await self.send(f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def hang(self) -> None:
        """Return when the client has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


Answer = Callable[[Exchange], Awaitable[None]]


@dataclass
class RawServer:
    port: int
    host: str = HOST
    connections: int = 0  # so far
    gone: int = 0  # of them: those that are closed
    requests: list[Exchange] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def until_gone(self, count: int) -> None:
        """Wait until so many connections are closed."""
        async with asyncio.timeout(10):
            while self.gone < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def raw_server(answer: Answer, host: str = HOST, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """While it is open, each request is given to `answer`; an answer that ends with ConnectionError, as by
    `cut_off`, ends the connection."""
    running = RawServer(0, host)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        try:
            while exchange := await _request(reader, writer, len(running.requests) + 1):
                running.requests.append(exchange)
                await answer(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            running.gone += 1

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, host, 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cut_off() -> ConnectionError:
    """To be raised by an answer."""
    return ConnectionError("the test ends this connection")


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Exchange | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.rstrip().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (text.partition(":") for text in rest)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Exchange(number, line, headers, await reader.readexactly(length), reader, writer)
