"""Lines of a file into entries: batches over several connections, with what is done kept for another run."""

import asyncio
import hashlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from cacheservice_client import errors
from cacheservice_client.batches import MOST_BYTES, MOST_OPERATIONS
from cacheservice_client.cli import exits, lines, output
from cacheservice_client.cli.lines import Line
from cacheservice_client.cli.patience import Patience, passing, tell
from cacheservice_client.cli.service import AsyncService, operations
from cacheservice_client.errors import APIError, InvalidRequest, RateLimitExceeded, ValueTooLarge

ALONE_BYTES = 1_000_000  # values from this size on go by themselves
SECONDS_BETWEEN_SAVES = 1.0
BLOCK_BYTES = 1 << 18  # read at once


@dataclass(frozen=True)
class Position:
    """So many lines of a file are done, and this is their SHA-256, by which the file is known again."""

    lines: int = 0
    bytes: int = 0
    sha256: str = hashlib.sha256().hexdigest()


@dataclass
class Chunk:
    """Lines that travel together. No key is there twice."""

    lines: list[Line] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    bytes: int = 0
    end: Position = Position()


@dataclass
class Report:
    stored: int = 0
    expired: int = 0  # lines whose expires_at has passed
    failed: int = 0

    def fail(self, number: int, reason: object) -> None:
        self.failed += 1
        output.note(f"line {number}: {reason}")


class State:
    """The file of `--resume`: how far an import has come."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._saved_at = 0.0
        self.position = self._read()

    def advance(self, position: Position) -> None:
        self.position = position
        if monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        self._saved_at = monotonic()
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.write_text(json.dumps(vars(self.position)) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            raise exits.Failure(f"cannot write {self._path}: {error.strerror}") from None

    def _read(self) -> Position:
        if self._path is None:
            return Position()
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return Position(int(content["lines"]), int(content["bytes"]), str(content["sha256"]))
        except FileNotFoundError:
            return Position()
        except (OSError, ValueError, LookupError, TypeError):
            raise exits.Failure(f"{self._path} is no state of an import") from None


async def lines_of(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of an open file or pipe. Requests go on while a pipe has nothing to read."""
    parts: list[bytes] = []
    while block := await _read(descriptor):
        *whole, rest = block.split(b"\n")
        for text in whole:
            yield b"".join((*parts, text, b"\n"))
            parts.clear()
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)


async def _read(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except (NotImplementedError, OSError):  # Windows; and regular files, which never wait
        return os.read(descriptor, BLOCK_BYTES)
    try:
        await readable.wait()
        return os.read(descriptor, BLOCK_BYTES)
    finally:
        loop.remove_reader(descriptor)


class Reader:
    """Cuts a file into chunks, behind what an earlier run has done. Tells the report what no entry can be made of."""

    def __init__(self, file: AsyncIterator[bytes], done: Position, report: Report) -> None:
        self._file = file
        self._done = done
        self._report = report
        self._hash = hashlib.sha256()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Raises Failure when the file is not the one that the state is of."""
        number, read = await self._skip()
        chunk = Chunk()
        async for text in self._file:
            line = self._parsed(text, number + 1)
            if line is not None and _full(chunk, line):
                chunk.end = Position(number, read, self._hash.copy().hexdigest())
                yield chunk
                chunk = Chunk()
            if line is not None:
                chunk.lines.append(line)
                chunk.keys.add(line.key)
                chunk.bytes += len(text)
            number += 1
            read += len(text)
            self._hash.update(text)
        chunk.end = Position(number, read, self._hash.hexdigest())
        yield chunk

    async def _skip(self) -> tuple[int, int]:
        for _ in range(self._done.lines):
            self._hash.update(await anext(self._file, b""))
        if self._hash.hexdigest() != self._done.sha256:
            raise exits.Failure("the state of --resume is of another file, or of one whose beginning was other then")
        return self._done.lines, self._done.bytes

    def _parsed(self, text: bytes, number: int) -> Line | None:
        if not text.strip():
            return None
        try:
            line = lines.parse(text, number)
        except (ValueError, RecursionError) as error:
            self._report.fail(number, error)
            return None
        self._report.expired += line.expired
        return None if line.expired else line


def _full(chunk: Chunk, line: Line) -> bool:
    too_much = len(chunk.lines) == MOST_OPERATIONS or chunk.bytes + len(line.value.body) > MOST_BYTES
    return bool(chunk.lines) and (too_much or line.key in chunk.keys)


class Importer:
    """Sends up to `connections` chunks at once. A later line of a key waits until the earlier one is stored."""

    def __init__(
        self, service: AsyncService, connections: int, state: State, report: Report, progress: Callable[[int], None]
    ) -> None:
        self._service = service
        self._connections = connections
        self._state = state
        self._report = report
        self._progress = progress
        self._under_way: deque[tuple[Chunk, asyncio.Task[None]]] = deque()  # in the file's order

    async def run(self, file: AsyncIterator[bytes]) -> None:
        """Raises CacheError and Failure; the state then says how far all lines are done."""
        try:
            async for chunk in Reader(file, self._state.position, self._report).chunks():
                if any(not chunk.keys.isdisjoint(other.keys) for other, _ in self._under_way):
                    await self._wait(0)
                self._under_way.append((chunk, asyncio.create_task(self._store(chunk))))
                await self._wait(self._connections - 1)
            await self._wait(0)
        finally:
            for _, task in self._under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in self._under_way), return_exceptions=True)
            self._retire()
            self._state.save()

    async def _wait(self, most: int) -> None:
        """Until at most so many chunks are under way. Raises what kept one from being stored."""
        await asyncio.sleep(0)  # let the newest begin
        while True:
            self._retire()
            for _, task in self._under_way:
                if task.done():
                    task.result()
            running = [task for _, task in self._under_way if not task.done()]
            if len(running) <= most:
                return
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    def _retire(self) -> None:
        """Count the chunks that are stored and that have none before them that is not."""
        while self._under_way and _succeeded(self._under_way[0][1]):
            chunk, _ = self._under_way.popleft()
            self._state.advance(chunk.end)
            self._progress(chunk.end.bytes)

    async def _store(self, chunk: Chunk) -> None:
        together = [line for line in chunk.lines if _travels(line)]
        if together:
            await self._store_together(together)
        for line in chunk.lines:
            if not _travels(line):
                await self._store_alone(line)

    async def _store_together(self, lines: list[Line]) -> None:
        patience = Patience()
        while lines:
            resets_in: str | None = None
            why: APIError | None
            try:
                response = await self._service.batch(line.operation() for line in lines)
            except (InvalidRequest, ValueTooLarge) as error:
                await self._store_apart(lines, error)
                return
            except RateLimitExceeded as limit:
                again, why = lines, limit
            else:
                resets_in = response.headers.get("ratelimit-reset")
                again, why = self._done(lines, json.loads(response.body)["results"])
            if why is None:
                return
            seconds = patience.pause(why, len(again) < len(lines), resets_in)
            tell(why, seconds)
            await asyncio.sleep(seconds)
            lines = again

    def _done(self, lines: list[Line], results: list[dict[str, Any]]) -> tuple[list[Line], APIError | None]:
        """The lines to try again, and why. Raises APIError for what ends the import."""
        again, why = [], None
        for line, result in zip(lines, results, strict=True):
            if result["status"] < 300:
                self._report.stored += 1
                continue
            error = errors.of_body(result["status"], result["body"])
            if passing(error.status):
                again.append(line)
                why = error
            else:
                self._refuse(line, error)
        return again, why

    async def _store_apart(self, lines: list[Line], error: APIError) -> None:
        """The service will not have the batch itself: find the line that it is about."""
        if len(lines) == 1:
            self._refuse(lines[0], error)
            return
        half = len(lines) // 2
        await self._store_together(lines[:half])
        await self._store_together(lines[half:])

    async def _store_alone(self, line: Line) -> None:
        patience = Patience()
        while True:
            try:
                put = operations.put_encoded(line.key, line.value, ttl=line.ttl, tags=line.tags, cost=line.cost)
                await self._service.perform(put)
                self._report.stored += 1
                return
            except ValueError as error:  # a content type that no header can hold
                self._report.fail(line.number, error)
                return
            except APIError as error:
                if not passing(error.status):
                    self._refuse(line, error)
                    return
                seconds = patience.pause(error, fruitful=False)
                tell(error, seconds)
                await asyncio.sleep(seconds)

    def _refuse(self, line: Line, error: APIError) -> None:
        """What is wrong with the line is reported; what will be wrong with all lines ends the import."""
        if exits.code_of(error) != exits.USAGE:
            raise error
        self._report.fail(line.number, error)


def _succeeded(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _travels(line: Line) -> bool:
    return line.value.content_type is None and len(line.value.body) < ALONE_BYTES
