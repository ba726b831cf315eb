"""An open load of GETs at a constant rate, which wrk cannot give.

A request is due every 1/rate seconds whether or not earlier ones have been answered, and its latency counts from the
moment it was due: a server that stalls cannot slow down what measures it (no coordinated omission). How late the
sender itself was is kept too: that is the precision.
"""

import random
import select
import socket
import threading
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from bench.measurement import BenchError, percentile
from bench.service import HOST, ITEMS, Service

CONNECTIONS = 64


@dataclass
class Samples:
    """In order of their being due: when (by `time.perf_counter`), how late sent, how late answered; seconds."""

    due: "array[float]" = field(default_factory=lambda: array("d"))
    sent: "array[float]" = field(default_factory=lambda: array("d"))
    answered: "array[float]" = field(default_factory=lambda: array("d"))

    def window(self, begin: float, end: float) -> "Window":
        chosen = [index for index, due in enumerate(self.due) if begin <= due < end]
        if not chosen:
            raise BenchError("no request was answered in a window of the constant load")
        answered = sorted(self.answered[index] for index in chosen)
        sent = sorted(self.sent[index] for index in chosen)
        served = sorted(self.answered[index] - self.sent[index] for index in chosen)
        return Window(
            len(chosen) / (end - begin),
            percentile(answered, 0.5) * 1e6,
            percentile(answered, 0.99) * 1e6,
            percentile(served, 0.99) * 1e6,
            percentile(sent, 0.99) * 1e6,
        )


@dataclass(frozen=True)
class Window:
    """What a stretch of time saw: answers a second; microseconds."""

    rate: float
    p50: float
    p99: float
    served_p99: float  # from the moment it was sent
    sender_p99: float  # how late it was sent


class PacedLoad:
    """`with PacedLoad(...) as load:` runs it beside what is inside; `load.samples` are complete afterwards."""

    def __init__(self, service: Service, rate: float, entries: int) -> None:
        self._port, self._interval, self._entries = service.port, 1 / rate, entries
        self._headers = f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token}\r\n\r\n".encode()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced load")
        self._problem: str | None = None
        self.samples = Samples()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._problem is not None:
            raise BenchError(f"the constant load failed: {self._problem}")

    def _run(self) -> None:
        sockets = [socket.create_connection((HOST, self._port), timeout=10) for _ in range(CONNECTIONS)]
        try:
            self._drive(sockets)
        except (OSError, BenchError) as error:
            self._problem = str(error)
        finally:
            for each in sockets:
                each.close()

    def _drive(self, sockets: list[socket.socket]) -> None:
        idle = deque(sockets)  # in turn, so that none is idle for so long that the server closes it
        busy: dict[socket.socket, tuple[float, float]] = {}
        received: dict[socket.socket, bytes] = {}
        clock = time.perf_counter
        due = clock()
        while not self._stopping.is_set() and self._problem is None:
            while due <= (now := clock()) and idle:
                sender = idle.popleft()
                sender.sendall(b"GET %sk%d%s" % (ITEMS.encode(), random.randrange(self._entries), self._headers))
                busy[sender] = (due, now)
                due += self._interval
            readable, _, _ = select.select(busy, [], [], max(due - clock(), 0) if idle else 0.1)
            for reader in readable:
                data = received.pop(reader, b"") + reader.recv(65536)
                if not _complete(data):
                    received[reader] = data
                    continue
                self._check(data)
                was_due, was_sent = busy.pop(reader)
                self.samples.due.append(was_due)
                self.samples.sent.append(was_sent - was_due)
                self.samples.answered.append(clock() - was_due)
                idle.append(reader)

    def _check(self, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200") or b"x-cache: HIT" not in answer:
            self._problem = answer[:200].decode(errors="replace")


def _complete(data: bytes) -> bool:
    if not data:
        raise BenchError("the server closed a connection of the constant load")
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)
