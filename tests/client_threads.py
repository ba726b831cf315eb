"""Clients that run in threads as long as a `with` lasts."""

import threading
from types import TracebackType
from typing import Self


class ClientThreads:
    """Subclasses make `_threads`, which look at `_stop`; after it they have `_join_seconds` each to end."""

    _join_seconds: float
    _threads: list[threading.Thread]

    def __init__(self) -> None:
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._join_seconds)
        assert error is not None or not any(thread.is_alive() for thread in self._threads), "a client hangs"
