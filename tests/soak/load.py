"""Steady load of every kind, each at a rate of its own, from threads that check what they are told.

A request is due at its time whether or not the one before it has been answered, and its latency counts from then.
"""

import hashlib
import http.client
import json
import math
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from tests.client_threads import ClientThreads
from tests.processes import HOST
from tests.soak.service import Service

CACHE = "/api/v1/cache"
TIMEOUT_SECONDS = 60
MOST_A_CLIENT = 2.0  # requests a second
NAMES = 2_000  # of entries that are written, read, deleted and expire all the time
STORED_PROMPTS = 200
PAGES = ("", "entries", "keys", "gateway", "billing", "settings")  # of the console
HOT = "the hot entry"
KEPT_ERRORS = 50

HEALTH = "no work (/healthz)"
HOT_HIT, HIT, MISS, WRITE, REPLACE = "hot hit", "hit", "miss", "write", "write of the hot entry"
LARGE_HIT, LARGE_WRITE, DELETE = "hit of 100 KB", "write of 100 KB", "delete"
LIST, BATCH, LEASE, USAGE, PAGE = "list", "batch of 8", "lease and fill", "usage", "console page"
GATEWAY_HIT, GATEWAY_STREAM = "gateway hit", "gateway miss, streamed"


class Sample(NamedTuple):
    at: float  # seconds since the start, when it was due
    kind: str
    seconds: float


class Wrong(Exception):
    """An answer is not what it should be."""


@dataclass
class Books:
    """What the clients were told."""

    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    hits: int = 0  # acknowledged, so charged
    errors: Counter[str] = field(default_factory=Counter)  # by kind
    said: list[str] = field(default_factory=list)  # of the first errors

    def window(self, begin: float, end: float) -> dict[str, list[float]]:
        """Latencies in seconds, sorted, by kind."""
        found: dict[str, list[float]] = defaultdict(list)
        for index in range(len(self.samples) - 1, -1, -1):
            at, kind, seconds = self.samples[index]
            if at < begin - TIMEOUT_SECONDS:
                break
            if begin <= at < end:
                found[kind].append(seconds)
        return {kind: sorted(values) for kind, values in found.items()}


class Load(ClientThreads):
    """`with Load(service, books, seed, rate):` asks until the end of the block; rates are multiplied by `rate`."""

    _join_seconds = 2 * TIMEOUT_SECONDS

    def __init__(self, service: Service, books: Books, seed: int, rate: float) -> None:
        self._service, self._books, self._seed = service, books, seed
        self._lock = threading.Lock()
        super().__init__()
        kinds: dict[str, tuple[float, Callable[[_Client], str]]] = {  # how many a second
            HEALTH: (4, self._health),
            HOT_HIT: (20, self._hot_hit),
            "read": (8, self._read),
            MISS: (4, self._miss),
            WRITE: (6, self._write),
            REPLACE: (0.5, self._replace),
            "large": (0.5, self._large),
            DELETE: (1, self._delete),
            LIST: (0.5, self._list),
            BATCH: (0.5, self._batch),
            LEASE: (0.5, self._lease),
            USAGE: (0.2, self._usage),
            PAGE: (0.3, self._page),
            GATEWAY_HIT: (3, self._gateway_hit),
            GATEWAY_STREAM: (0.5, self._gateway_stream),
        }
        self._threads = []
        for name, (per_second, ask) in kinds.items():
            clients = math.ceil(per_second / MOST_A_CLIENT)  # else one that is late makes the next ones late
            for number in range(clients):
                arguments = name, f"{seed} {name} {number}", clients / (per_second * rate), ask
                self._threads.append(threading.Thread(target=self._run, args=arguments))

    def __enter__(self) -> Self:
        with _Client(self._service, random.Random(self._seed)) as client:
            self._replace(client)
            for number in range(STORED_PROMPTS):
                self._ask_gateway(client, number, stream=False)
        self._books.began = time.monotonic()
        return super().__enter__()

    def _run(self, name: str, seed: str, interval: float, ask: Callable[["_Client"], str]) -> None:
        chance = random.Random(seed)
        due = time.monotonic() + interval * chance.random()
        with _Client(self._service, chance) as client:
            while not self._stop.wait(max(0, due - time.monotonic())):
                try:
                    kind = ask(client)
                except (Wrong, OSError, http.client.HTTPException, ValueError) as error:
                    client.close()
                    with self._lock:
                        self._books.errors[name] += 1
                        if len(self._books.said) < KEPT_ERRORS:
                            self._books.said.append(f"{name}: {type(error).__name__} {error}"[:300])
                else:
                    seconds = time.monotonic() - due
                    self._books.samples.append(Sample(due - self._books.began, kind, seconds))
                due += interval

    def _hit(self, count: int = 1) -> None:
        with self._lock:
            self._books.hits += count

    # What is asked; each returns the kind that it was.

    def _health(self, client: "_Client") -> str:
        client.expect("GET", "/healthz", 200)
        return HEALTH

    def _hot_hit(self, client: "_Client") -> str:
        self._check(HOT, client.expect("GET", f"{CACHE}/{_path(HOT)}?raw=true", 200, hot=True))
        return HOT_HIT

    def _read(self, client: "_Client") -> str:
        name = _name(client.chance)
        answer = client.ask("GET", f"{CACHE}/{_path(name)}?raw=true")
        if answer.status == 404:
            return MISS
        self._check(name, answer)
        return HIT

    def _check(self, name: str, answer: "_Answer") -> None:
        if answer.status != 200:
            raise Wrong(f"{answer.status} {answer.body[:200]!r}")
        self._hit()
        if answer.body != _value(name):
            raise Wrong(f"'{name}' holds something else: {answer.body[:50]!r}")

    def _miss(self, client: "_Client") -> str:
        client.expect("GET", f"{CACHE}/absent-{client.chance.getrandbits(64)}?raw=true", 404)
        return MISS

    def _write(self, client: "_Client") -> str:
        client.write(_name(client.chance), ttl=client.chance.randrange(60, 600))
        return WRITE

    def _replace(self, client: "_Client") -> str:
        client.write(HOT, ttl=3600)
        return REPLACE

    def _large(self, client: "_Client") -> str:
        name = f"large {client.chance.randrange(20)}"
        if client.chance.random() < 0.3:
            client.write(name, ttl=300)
            return LARGE_WRITE
        answer = client.ask("GET", f"{CACHE}/{_path(name)}?raw=true")
        if answer.status == 404:
            return MISS
        self._check(name, answer)
        return LARGE_HIT

    def _delete(self, client: "_Client") -> str:
        client.expect("DELETE", f"{CACHE}/{_path(_name(client.chance))}", 200)
        return DELETE

    def _list(self, client: "_Client") -> str:
        client.expect("GET", f"{CACHE}?tag=tag-{client.chance.randrange(5)}&limit=50&include=stats", 200)
        return LIST

    def _batch(self, client: "_Client") -> str:
        operations = [{"op": "get", "key": _name(client.chance)} for _ in range(8)]
        answer = client.expect("POST", "/api/v1/batch", 200, {"operations": operations})
        results = json.loads(answer.body)["results"]
        if {result["status"] for result in results} != {200}:
            raise Wrong(f"{results}"[:200])
        self._hit(sum(result["body"]["hit"] for result in results))
        return BATCH

    def _lease(self, client: "_Client") -> str:
        name = f"leased {client.chance.randrange(50)}"
        answer = client.ask("GET", f"{CACHE}/{_path(name)}?lease=30")
        told = json.loads(answer.body)
        if answer.status != 200:
            raise Wrong(f"{answer.status} {answer.body[:200]!r}")
        if told["hit"]:
            self._hit()
            return HIT
        client.write(name, ttl=20, lease=told["lease"])
        return LEASE

    def _usage(self, client: "_Client") -> str:
        client.expect("GET", "/api/v1/usage?group_by=hour&by=api_key", 200)
        return USAGE

    def _page(self, client: "_Client") -> str:
        path = self._service.console + client.chance.choice(PAGES)
        client.expect("GET", path, 200, headers={"Cookie": self._service.cookie})
        return PAGE

    def _gateway_hit(self, client: "_Client") -> str:
        self._ask_gateway(client, client.chance.randrange(STORED_PROMPTS), stream=False)
        return GATEWAY_HIT

    def _gateway_stream(self, client: "_Client") -> str:
        self._ask_gateway(client, client.chance.getrandbits(64), stream=True)
        return GATEWAY_STREAM

    def _ask_gateway(self, client: "_Client", number: int, *, stream: bool) -> None:
        message = {"role": "user", "content": f"What is {number}? [[words-40]]"}
        body = {"model": "gpt-4o-mini", "temperature": 0, "stream": stream, "messages": [message]}
        answer = client.expect("POST", "/gateway/openai/v1/chat/completions", 200, body)
        if stream and not answer.body.rstrip().endswith(b"data: [DONE]"):
            raise Wrong(f"a stream ends with {answer.body[-100:]!r}")
        if answer.cache == "HIT":
            self._hit()


class _Answer(NamedTuple):
    status: int
    cache: str  # X-Cache
    body: bytes


class _Client:
    """One connection."""

    def __init__(self, service: Service, chance: random.Random) -> None:
        self._service, self.chance = service, chance
        self._connection = http.client.HTTPConnection(HOST, service.port, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()  # a further request opens it again

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, hot: bool = False
    ) -> _Answer:
        """By the hot API key, or by any."""
        token = self._service.tokens[0] if hot else self.chance.choice(self._service.tokens)
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        if headers and "Cookie" in headers:
            del sent["Authorization"]
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        return _Answer(response.status, response.getheader("X-Cache", ""), response.read())

    def expect(self, method: str, path: str, status: int, body: Any = None, **more: Any) -> _Answer:
        answer = self.ask(method, path, body, **more)
        if answer.status != status:
            raise Wrong(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        return answer

    def write(self, name: str, *, ttl: int, lease: str | None = None) -> None:
        """Raises Wrong unless it is stored."""
        headers = {"Content-Type": "application/octet-stream"}
        if lease is not None:
            headers["X-Cache-Lease"] = lease
        path = f"{CACHE}/{_path(name)}?ttl={ttl}&tag=tag-{self.chance.randrange(5)}&cost=0.01"
        answer = self.ask("PUT", path, _value(name), headers)
        if answer.status not in (200, 201):
            raise Wrong(f"PUT '{name}': {answer.status} {answer.body[:200]!r}")


def _name(chance: random.Random) -> str:
    return f"entry {chance.randrange(NAMES)}"


def _path(name: str) -> str:
    return name.replace(" ", "%20")


def _value(name: str) -> bytes:
    """What an entry of this name holds, whoever wrote it: 200 bytes to 4 KB, or 100 KB, that do not compress."""
    chance = random.Random(hashlib.sha256(name.encode()).digest())
    return chance.randbytes(100_000 if name.startswith("large") else chance.randrange(200, 4_000))
