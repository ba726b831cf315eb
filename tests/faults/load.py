"""Clients of real servers that write and read at once, and keep the books on what they were told."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.client_threads import ClientThreads
from tests.meters import discrepancies, hits, used
from tests.processes import wait_for
from tests.store_cast import query

LOST = 0  # the status of a request whose connection broke
TIMEOUT_SECONDS = 20.0
LARGE = 100_000  # bytes: more than is read together with others

Urls = Callable[[], Sequence[str]]  # of the servers that are up


class Got(NamedTuple):
    status: int
    version: int | None  # of the entry, where the answer names one
    body: bytes


@dataclass
class Key:
    """What a key may hold: several values while the outcome of a write is unknown; None: nothing."""

    allowed: list[bytes | None] = field(default_factory=lambda: [None])
    certain: bool = True


class Books:
    """What the clients were told of one tenant from now on. `hits` is by version; the unknown counts by key."""

    def __init__(self, tenant_id: int, dsn: str = "") -> None:
        self.tenant_id, self._dsn = tenant_id, dsn
        self._used_before, self._hits_before = used(tenant_id, dsn=dsn), hits(tenant_id, dsn=dsn)
        self.keys: dict[str, Key] = {}
        self.key_of: dict[int, str] = {}  # versions' keys
        self.hits: Counter[int] = Counter()
        self.unknown_reads: Counter[str] = Counter()  # hits, or misses
        self.counts: Counter[str] = Counter()  # of misses, writes, deletes, and "unknown …" of the latter two
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def deviations(self) -> list[str]:
        """What the service's own books say otherwise. Nobody may be asking it meanwhile."""
        found = discrepancies(self.tenant_id, dsn=self._dsn)
        counted, charged = used(self.tenant_id, dsn=self._dsn), hits(self.tenant_id, dsn=self._dsn)
        charged.subtract(self._hits_before)
        rows = query("select version, key from entry where tenant_id = %s", [self.tenant_id], dsn=self._dsn)
        key_of = {**dict(rows), **self.key_of}
        beyond: Counter[str] = Counter()
        for version in {*charged, *self.hits}:
            key, more = key_of.get(version), charged[version] - self.hits[version]
            if more < 0 or (more and key is None):
                found.append(f"version {version} of '{key}': {charged[version]} charged, {self.hits[version]} known")
            elif key is not None:
                beyond[key] += more
        found += [
            f"'{key}': {more} hits charged beyond those known, and {self.unknown_reads[key]} unknown"
            for key, more in beyond.items()
            if more > self.unknown_reads[key]
        ]
        unknown = {"misses": self.unknown_reads.total()}
        unknown |= {name: self.counts[f"unknown {name}"] for name in ("writes", "deletes")}
        for name, more in unknown.items():
            number, known = getattr(counted, name) - getattr(self._used_before, name), self.counts[name]
            if not known <= number <= known + more:
                found.append(f"{number} {name} counted, {known} known and {more} unknown")
        return found


class Load(ClientThreads):
    """`with Load(…) as load:` so many clients write, read and delete keys of their own through whatever server is up.

    A key whose last write has an unknown outcome (503, or no answer) is written no more. At the end each client reads
    all its keys again.
    """

    _join_seconds = 3 * TIMEOUT_SECONDS

    def __init__(
        self, urls: Urls, tokens: Sequence[str], books: Books, *, clients: int, seed: str, refunded_503: bool
    ) -> None:
        """With `refunded_503` what was answered 503 is not charged in the end; else it may be."""
        self._urls, self._tokens, self._books, self._seed, self._refunded_503 = urls, tokens, books, seed, refunded_503
        self._lock = threading.Lock()
        super().__init__()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def wait_for(self, count: int, *statuses: int, seconds: float = 60.0) -> None:
        """Until so many more answers with one of these statuses have come."""
        wanted = self._count(statuses) + count
        wait_for(lambda: self._count(statuses) >= wanted, seconds, f"{count} more answers of {statuses}")

    def _count(self, statuses: Sequence[int]) -> int:
        return sum(self._books.statuses[status] for status in statuses)

    def _run(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        client = _Client(self._urls, chance)
        mine: list[str] = []
        while not self._stop.is_set():
            name = f"{self._seed}-{number}-{len(mine)}"
            mine.append(name)
            key = self._books.keys[name] = Key()
            for _ in range(chance.randrange(1, 6)):
                if self._stop.is_set() or not key.certain:
                    break
                self._change(client, name, key, chance)
                self._read(client, chance.choice(mine), chance)
        for name in mine:
            for _ in range(200):  # until it is known: somebody is up, or soon will be
                if self._read(client, name, chance) == 200:
                    break
                time.sleep(0.05)
            else:
                self._books.wrong.append(f"'{name}' cannot be read afterwards")
        client.close()

    def _change(self, client: "_Client", name: str, key: Key, chance: random.Random) -> None:
        kind = "deletes" if chance.random() < 0.15 else "writes"
        value = None
        if kind == "writes":
            value = chance.randbytes(LARGE if chance.random() < 0.02 else chance.randrange(1, 1500))
        got = client.ask("PUT" if value is not None else "DELETE", name, chance.choice(self._tokens), value)
        with self._lock:
            self._books.statuses[got.status] += 1
            if got.status in (200, 201):
                was_there, key.allowed = key.allowed != [None], [value]
                self._books.counts[kind] += kind == "writes" or was_there
                if got.version is not None:
                    self._books.key_of[got.version] = name
                elif json.loads(got.body)["deleted"] != was_there:
                    self._books.wrong.append(f"DELETE '{name}': {got.body!r} where it {was_there=}")
            elif got.status in (503, LOST):
                key.allowed.append(value)
                key.certain = False
                self._books.counts[f"unknown {kind}"] += 1
            else:
                self._books.wrong.append(f"{kind} '{name}': {got.status} {got.body[:200]!r}")

    def _read(self, client: "_Client", name: str, chance: random.Random) -> int:
        """Returns 200 where it is known what the key holds."""
        key = self._books.keys[name]
        got = client.ask("GET", name, chance.choice(self._tokens))
        with self._lock:
            self._books.statuses[got.status] += 1
            if got.status == 200 and got.version is not None:
                self._books.hits[got.version] += 1
                self._books.key_of[got.version] = name
                if got.body not in key.allowed:
                    self._books.wrong.append(f"'{name}' holds {got.body[:50]!r}")
            elif got.status == 404:
                self._books.counts["misses"] += 1
                if None not in key.allowed:
                    self._books.wrong.append(f"'{name}' is gone")
            elif got.status == LOST or (got.status == 503 and not self._refunded_503):
                self._books.unknown_reads[name] += 1
            elif got.status != 503:
                self._books.wrong.append(f"GET '{name}': {got.status} {got.body[:200]!r}")
        return 200 if got.status == 404 else got.status


class _Client:
    """One connection at a time, to any server that is up."""

    def __init__(self, urls: Urls, chance: random.Random) -> None:
        self._urls, self._chance = urls, chance
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, name: str, token: str, value: bytes | None = None) -> Got:
        headers = {"Authorization": f"Bearer {token}"}
        if value is not None:
            headers["Content-Type"] = "application/octet-stream"
        try:
            connection = self._connection = self._connection or self._connect()
            query_string = "?raw=true" if method == "GET" else ""
            connection.request(method, f"/api/v1/cache/{name}{query_string}", value, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return Got(LOST, None, b"")
        if response.status == 503:
            time.sleep(0.02)  # it asks for patience
        return Got(response.status, _version(response.getheader("ETag")), body)

    def _connect(self) -> http.client.HTTPConnection:
        """Raises ConnectionError when nobody is up just now."""
        urls = self._urls()
        if not urls:
            time.sleep(0.05)
            raise ConnectionError
        url = urlsplit(self._chance.choice(urls))
        return http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _version(etag: str | None) -> int | None:
    """As receipts have it."""
    if etag is None:
        return None
    unsigned = int(etag.strip('"'), 16)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned
