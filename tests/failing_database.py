"""What the tests of failures share: a proxy that breaks connections, and clients that check what they were told."""

import asyncio
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cacheservice.embedded import Server
from tests.client_threads import ClientThreads
from tests.processes import HOST, ROOT, RunningServer, descendants, running_server

LOST = 0  # the status of a request whose connection broke
CLIENT_TIMEOUT_SECONDS = 20.0
READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"
UP, DOWN = "up", "down"  # to PostgreSQL, and from it


class Proxy:
    """Stands between a store and PostgreSQL on the store's loop, and breaks on demand what passes through it."""

    def __init__(self, dsn: str) -> None:
        self._target = dsn
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._armed: tuple[str, int] | None = None
        self.cuts = 0
        self.silent = False  # what is sent does not arrive
        self.silent_once_ready = False  # links made now carry the start-up and nothing after it

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def dsn(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return make_conninfo(self._target, host=HOST, port=port, sslmode="disable", gssencmode="disable")

    def cut(self) -> None:
        """Break every link."""
        for link in self._links:
            for writer in link:
                writer.transport.abort()

    def cut_after(self, direction: str, count: int) -> None:
        """Break the link over which the next `count` bytes in this direction have passed, and those bytes only."""
        self._armed = direction, count

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = conninfo_to_dict(self._target)
        host, port = str(target["host"]), str(target.get("port", "5432"))
        try:
            if host.startswith("/"):
                up_reader, up_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            else:
                up_reader, up_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        link = writer, up_writer
        self._links.add(link)
        passed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, UP, link, passed))
                group.create_task(self._pump(up_reader, writer, DOWN, link, passed))
        finally:
            self._links.discard(link)
            for each in link:
                each.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: str,
        link: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        started: asyncio.Event,
    ) -> None:
        mute_once_ready = self.silent_once_ready
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.silent or (mute_once_ready and started.is_set()):
                    continue
                if direction == DOWN and READY_FOR_QUERY in data:
                    started.set()
                if self._armed and self._armed[0] == direction:
                    count = self._armed[1] - len(data)
                    self._armed = direction, count
                    if count <= 0:
                        self._armed = None
                        self.cuts += 1
                        writer.write(data[: len(data) + count])
                        await asyncio.sleep(0)
                        break
                writer.write(data)
                await writer.drain()
        for each in link:
            if not each.is_closing():
                with suppress(OSError):
                    each.write_eof()
                each.close()


class Answered(NamedTuple):
    """One request: when it was sent, how long its answer took, and what that was."""

    began: float
    seconds: float
    status: int
    retry_after: str | None
    what: str


@dataclass
class Key:
    """What a key may hold: several values while the outcome of a write is unknown."""

    allowed: list[object] = field(default_factory=lambda: [None])
    certain: bool = True


class Client:
    """One connection to a server; an answer is (status, body), with status LOST when the connection broke."""

    def __init__(self, url: str, token: str, log: list[Answered] | None = None) -> None:
        self._address = urlsplit(url)
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self.log: list[Answered] = [] if log is None else log

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        began = time.monotonic()
        status, retry_after, content = LOST, None, b""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    self._address.hostname or "", self._address.port, timeout=CLIENT_TIMEOUT_SECONDS
                )
            data = None if body is None else json.dumps(body).encode()
            self._connection.request(method, path, body=data, headers=headers)
            response = self._connection.getresponse()
            content, status, retry_after = response.read(), response.status, response.getheader("Retry-After")
        except (OSError, http.client.HTTPException):
            self.close()
        self.log.append(Answered(began, time.monotonic() - began, status, retry_after, f"{method} {path}"))
        return status, content

    def get(self, key: str) -> tuple[int, object]:
        """Its status and value; None for a miss."""
        status, body = self.request("GET", f"/api/v1/cache/{key}")
        return status, json.loads(body).get("value") if status == 200 else None

    def put(self, key: str, value: object) -> int:
        return self.request("PUT", f"/api/v1/cache/{key}", {"value": value})[0]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Load(ClientThreads):
    """Concurrent clients, each writing keys of its own and reading them back, that keep what they were told.

    A key whose last write has an unknown outcome (503, or no answer) is written no more: it may hold either value, and
    the one that was acknowledged before must be there or the newer one. `wrong` holds what contradicts that.
    """

    _join_seconds = CLIENT_TIMEOUT_SECONDS * 3

    def __init__(self, url: str, token: str, *, clients: int = 16, seed: int = 1) -> None:
        self.answers: list[Answered] = []
        self.wrong: list[str] = []
        self.keys: dict[str, Key] = {}
        self._url, self._token = url, token
        super().__init__()
        self._threads = [threading.Thread(target=self._run, args=(number, seed)) for number in range(clients)]

    def _run(self, number: int, seed: int) -> None:
        chance = random.Random(f"{seed} {number}")
        with Client(self._url, self._token, self.answers) as client:
            for generation in range(1_000_000):
                name = f"{seed}-{number}-{generation}"
                key = self.keys[name] = Key()
                for _ in range(chance.randrange(1, 8)):
                    if self._stop.is_set():
                        return
                    self._write_and_read(client, name, key, chance)
                    if not key.certain:
                        time.sleep(0.01)  # what asks for patience gets some
                        break

    def _write_and_read(self, client: Client, name: str, key: Key, chance: random.Random) -> None:
        # Now and then more than is read in a batch: fetched by another way, over other connections.
        value = chance.randbytes(100_000 if chance.random() < 0.02 else chance.randrange(1500)).hex()
        status = client.put(name, value)
        if status in (200, 201):
            key.allowed = [value]
        elif status in (503, LOST):
            key.allowed.append(value)
            key.certain = False
        else:
            self.wrong.append(f"PUT {name} answered {status}")
        self._read(client, name, key)

    def _read(self, client: Client, name: str, key: Key) -> None:
        status, value = client.get(name)
        if status == 200:
            if value not in key.allowed:
                self.wrong.append(f"GET {name} answered another value: {str(value)[:50]}")
        elif status not in (503, LOST):
            self.wrong.append(f"GET {name} answered {status}")

    def verify(self) -> int:
        """Read all keys again, after the load; returns how many hold an acknowledged value for certain."""
        with Client(self._url, self._token) as client:
            for name, key in self.keys.items():
                status, value = client.get(name)
                if status != 200 or value not in key.allowed:
                    self.wrong.append(f"afterwards GET {name}: {status} {str(value)[:50]}")
        return sum(key.certain and key.allowed != [None] for key in self.keys.values())

    def count(self, *statuses: int) -> int:
        return sum(answer.status in statuses for answer in self.answers)

    def wait_for(self, count: int, *statuses: int, seconds: float = 30.0) -> None:
        """Until so many more answers with one of these statuses came. Raises AssertionError when they do not."""
        wanted, deadline = self.count(*statuses) + count, time.monotonic() + seconds
        while self.count(*statuses) < wanted:
            assert time.monotonic() < deadline, f"not {count} more answers of {statuses} within {seconds} s"
            time.sleep(0.02)


@contextmanager
def bounded_resources(server: RunningServer, *, descriptors: int = 60, megabytes: int = 150) -> Iterator[None]:
    """Fails when the server's processes hold so many more descriptors or so much more memory afterwards."""
    before = _resources(server.process.pid)
    yield
    time.sleep(1)  # clients that have just gone
    after = _resources(server.process.pid)
    assert after[0] <= before[0] + descriptors, f"descriptors: {before[0]} before, {after[0]} after"
    assert after[1] <= before[1] + megabytes, f"MB of memory: {before[1]} before, {after[1]} after"


def _resources(pid: int) -> tuple[int, int]:
    """Open descriptors and resident megabytes of a process and all below it."""
    open_files = megabytes = 0
    for each in {pid, *descendants(pid)}:
        with suppress(FileNotFoundError, ProcessLookupError):
            open_files += len(list(Path(f"/proc/{each}/fd").iterdir()))
            pages = int(Path(f"/proc/{each}/statm").read_text().split()[1])
            megabytes += pages * 4096 >> 20
    return open_files, megabytes


@dataclass(frozen=True)
class Service:
    """A server on a database of its own, with a tenant's token."""

    database: Server
    server: RunningServer
    token: str

    def load(self, seed: int) -> Load:
        return Load(self.server.url, self.token, seed=seed)

    def client(self) -> Client:
        return Client(self.server.url, self.token)

    def serves(self) -> bool:
        with self.client() as client:
            return client.put("serves", True) in (200, 201)


@contextmanager
def own_service(directory: Path, environment: Mapping[str, str], password: str = "") -> Iterator[Service]:
    """Its database does not flush to disk: tests kill processes, not the machine. It accepts any password."""
    with Server(directory / "var", {"fsync": "off"}) as database:
        dsn = make_conninfo(database.dsn(), password=password) if password else database.dsn()
        complete = {**os.environ, **environment, "DATABASE_URL": dsn}
        _manage(complete, "migrate", "--verbosity", "0")
        _manage(complete, "create_tenant", "tests", "--plan", "self-hosted")
        [token] = re.findall("ck_live_[0-9A-Za-z_]+", _manage(complete, "create_api_key", "tests"))
        with running_server(directory / "server.log", complete) as server:
            yield Service(database, server, token)


def _manage(environment: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
