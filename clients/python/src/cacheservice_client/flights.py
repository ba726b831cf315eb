"""Coalescing within a process: of the threads or tasks that want one key at once, one flies and the others wait."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from cacheservice_client.errors import CacheError


@dataclass(frozen=True, slots=True)
class Landed:
    """`value` makes it anew for each passenger: none can change another's."""

    value: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The cache failed, as it would fail the others."""

    error: CacheError


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Its pilot failed or was cancelled: another one tries."""


Outcome = Landed | Failed | Abandoned
Flight = Future[Outcome]  # never an exception, which would be reported as unseen when nobody waits


class Flights:
    """The keys that are being fetched or made in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def board(self, key: str) -> tuple[Flight, bool]:
        """The flight to this key, and whether the caller is its pilot, who must `end` it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Future()
            return flight, True

    def end(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            flight = self._flights.pop(key, None)
        if flight is not None:  # else this process was forked by the maker, and has no passengers
            flight.set_result(outcome)
