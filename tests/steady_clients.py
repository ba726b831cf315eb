"""Clients that write and read through a proxy or a server all the time, and note whatever goes wrong."""

import http.client
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.processes import wait_for
from tests.store_cast import FULL, scaled

CLIENTS, KEYS = scaled(4, 8), 50
PAUSE_SECONDS = 0.0 if FULL else 0.01  # between requests: what goes on meanwhile needs the machine too


class Clients:
    """Each writes keys of its own and reads them back, one request after the other on a connection that is kept, until
    the end. `failures` has each request that was not answered as it should have been."""

    def __init__(self, url: str, token: str, prefix: str = "") -> None:
        self._prefix = prefix
        self._address = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._stop = threading.Event()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, count: int) -> None:
        """Until so many more requests are answered."""
        wanted = self.answers.total() + count
        wait_for(lambda: self.answers.total() >= wanted or bool(self.failures), 600, f"{count} more answers")

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            path = f"/api/v1/cache/{self._prefix}{number}-{turn % KEYS}"
            value = b'"%d %s"' % (turn, b"x" * (turn * 37 % 3000))
            self._ask(connection, "PUT", path, b'{"value":%s,"ttl":3600}' % value, (200, 201), b"")
            self._ask(connection, "GET", f"{path}?raw=true", None, (200,), value)
            self._stop.wait(PAUSE_SECONDS)
        connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        statuses: Sequence[int],
        content: bytes,
    ) -> None:
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            got = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{method} {path}: {error!r}")
            connection.close()
            return
        self.answers[method] += 1
        if response.status not in statuses or (content and got != content):
            self.failures.append(f"{method} {path}: {response.status} {got[:200]!r}")
