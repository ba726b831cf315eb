"""A small service on localhost that speaks the contract's cache and lease protocol, and that fails when it is told to.

For what a real server does only at its worst: to be slow, to cut connections, to be overloaded. The repository's
`tests/test_python_client.py` uses the real service.
"""

import base64
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

CREATED_AT, EXPIRES_AT = "2026-11-20T10:00:00Z", "2026-11-27T10:00:00Z"


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    port: int = 0  # the client's, of which each connection has another


@dataclass(frozen=True)
class Answer:
    """`drips`: from its head or its body on, it comes byte by byte."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0
    drips: Literal["head", "body"] | None = None


CUT = Answer(0, b"")  # the connection is closed instead
LOST = Answer(0, b"")  # the same, after what was asked has been done
DRIP_SECONDS = 0.2  # between two bytes


def error(status: int, code: str, **headers: str) -> Answer:
    content = {"error": {"code": code, "message": f"{code} it is.", "request_id": "request-1"}}
    return Answer(
        status, json.dumps(content).encode(), {name.replace("_", "-"): text for name, text in headers.items()}
    )


@dataclass
class Entry:
    value: bytes
    content_type: str | None
    etag: str


@dataclass
class Lease:
    token: str
    ends_at: float


class FakeService:
    def __init__(self, url: str) -> None:
        self.url = url
        self.entries: dict[str, Entry] = {}
        self.leases: dict[str, Lease] = {}
        self.received: list[Received] = []
        self.next_answers: deque[Answer] = deque()  # before all others
        self.delay_seconds = 0.0  # of each answer, after what was asked has been done
        self.changed = threading.Condition()

    def count(self, method: str) -> int:
        return sum(received.method == method for received in self.received)

    def answer(self, received: Received) -> Answer:
        with self.changed:
            self.received.append(received)
            told = self.next_answers.popleft() if self.next_answers else None
        if told is LOST:
            self._usual_answer(received)
            return CUT
        return told or self._usual_answer(received)

    def _usual_answer(self, received: Received) -> Answer:
        parts = urlsplit(received.target)
        if parts.path == "/api/v1/batch":
            return self._batch(json.loads(received.body)["operations"])
        if not parts.path.startswith("/api/v1/cache/"):
            return error(404, "not_found")
        key = unquote(parts.path.removeprefix("/api/v1/cache/"))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        answers: dict[str, Callable[..., Answer]] = {"GET": self._get, "PUT": self._put, "DELETE": self._delete}
        return answers[received.method](key, query, received)

    def _get(self, key: str, query: dict[str, str], _: Received) -> Answer:
        deadline = time.monotonic() + float(query.get("wait", 0))
        with self.changed:
            while True:
                if key in self.entries:
                    return _hit(key, self.entries[key])
                if "lease" not in query:
                    return _json(200, {"key": key, "hit": False}, {"x-cache": "MISS"})
                now = time.monotonic()
                if key not in self.leases or self.leases[key].ends_at <= now:
                    self.leases[key] = Lease(secrets.token_urlsafe(12), now + float(query["lease"]))
                    return _json(200, {"key": key, "hit": False, "lease": self.leases[key].token})
                if now >= deadline:
                    return _json(200, {"key": key, "hit": False, "lease": None})
                self.changed.wait(min(deadline, self.leases[key].ends_at) - now)

    def _put(self, key: str, query: dict[str, str], received: Received) -> Answer:
        content_type: str | None = received.headers["content-type"]
        if content_type == "application/json":
            value, content_type = json.dumps(json.loads(received.body)["value"]).encode(), None
        else:
            value = received.body
        with self.changed:
            token, lease = received.headers.get("x-cache-lease"), self.leases.get(key)
            if token is not None and (lease is None or lease.token != token or lease.ends_at <= time.monotonic()):
                return error(409, "lease_lost")
            self.leases.pop(key, None)
            etag = f'"{secrets.token_hex(8)}"'
            self.entries[key] = Entry(value, content_type, etag)
            self.changed.notify_all()
        content = {"key": key, "created_at": CREATED_AT, "expires_at": EXPIRES_AT, "size_bytes": len(value)}
        return _json(201, content, {"etag": etag})

    def _delete(self, key: str, query: dict[str, str], received: Received) -> Answer:
        with self.changed:
            token, lease = received.headers.get("x-cache-lease"), self.leases.get(key)
            if token is None or (lease is not None and lease.token == token):
                self.leases.pop(key, None)
            deleted = token is None and self.entries.pop(key, None) is not None
            self.changed.notify_all()
        return _json(200, {"key": key, "deleted": deleted})

    def _batch(self, operations: list[dict[str, Any]]) -> Answer:
        results = []
        for operation in operations:
            headers = {"content-type": "application/json"}
            received = Received(operation["op"].upper(), "", headers, json.dumps(operation).encode())
            answers: dict[str, Callable[..., Answer]] = {"GET": self._get, "PUT": self._put, "DELETE": self._delete}
            answer = answers[received.method](operation["key"], {}, received)
            results.append({"status": answer.status, "body": json.loads(answer.body)})
        return _json(200, {"results": results})


def _hit(key: str, entry: Entry) -> Answer:
    content: dict[str, Any] = {"key": key, "created_at": CREATED_AT, "expires_at": EXPIRES_AT, "hit": True}
    if entry.content_type is None:
        content["value"] = json.loads(entry.value)
    else:
        content |= {"value": base64.b64encode(entry.value).decode(), "content_type": entry.content_type}
    return _json(200, content, {"etag": entry.etag, "age": "5", "x-cache": "HIT"})


def _json(status: int, content: Any, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(content).encode(), headers or {})


@contextmanager
def running_fake_service() -> Iterator[FakeService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.answer(Received(self.command, self.path, headers, body, self.client_address[1]))
            time.sleep(answer.after_seconds + service.delay_seconds)
            if answer is CUT:
                self.close_connection = True
                return
            fields = {"content-type": "application/json", **answer.headers, "content-length": str(len(answer.body))}
            lines = [f"HTTP/1.1 {answer.status} Told", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
            head = "\r\n".join(lines).encode()
            quick = {"head": b"", "body": head, None: head + answer.body}[answer.drips]
            slow = (head + answer.body)[len(quick) :]
            self.wfile.write(quick)
            for byte in slow:
                time.sleep(DRIP_SECONDS)
                self.wfile.write(bytes([byte]))

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST = handle_one

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None: ...  # a client that gave up

    with Server(("127.0.0.1", 0), Handler) as server:
        service = FakeService(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
