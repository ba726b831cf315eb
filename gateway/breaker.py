"""A circuit breaker for each provider: one that fails again and again is left alone for a while.

After FAILURES failures in a row nothing is sent for OPEN_SECONDS; then one request at a time tries it, and its outcome
decides. What is said to have failed is for the caller to judge; only answers count here. Each process knows for itself.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

FAILURES: Final = 5
OPEN_SECONDS: Final = 10.0
MOST: Final = 10_000  # circuits that have failures; beyond, the one that failed longest ago is forgotten

Place: TypeAlias = tuple[int, str]  # tenant, provider


class Open(NamedTuple):
    """The provider is left alone."""

    seconds: float  # until the next request tries it
    failures: int  # in a row
    why: str  # the last of them


@dataclass(slots=True)
class _Circuit:
    failures: int
    why: str
    paused_until: float  # by the clock: up to then nothing is sent once there are FAILURES
    probing: bool = False  # the probe is under way


class Breaker:
    """Of one process. Healthy providers take no memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds, going forward only."""
        self._clock = clock
        self._circuits: OrderedDict[Place, _Circuit] = OrderedDict()

    def admit(self, place: Place) -> Open | None:
        """None: send, and say how it ended. The first after the pause is the probe; while it is under way, nothing
        else is sent for another pause, so that a probe that never ends blocks nobody for good."""
        found = self.state(place)
        circuit = self._circuits.get(place)
        if found is None and circuit is not None and circuit.failures >= FAILURES:
            circuit.paused_until, circuit.probing = self._clock() + OPEN_SECONDS, True
        return found

    def state(self, place: Place) -> Open | None:
        """What `admit` would say; nothing changes."""
        circuit = self._circuits.get(place)
        if circuit is None or circuit.failures < FAILURES:
            return None
        left = circuit.paused_until - self._clock()
        return Open(left, circuit.failures, circuit.why) if left > 0 else None

    def held(self) -> int:
        """How many providers are left alone."""
        return sum(self.state(place) is not None for place in self._circuits)

    def succeeded(self, place: Place) -> None:
        self._circuits.pop(place, None)

    def failed(self, place: Place, why: str) -> None:
        """`why` ends “the last time …” and holds no secret."""
        circuit = self._circuits.pop(place, None) or _Circuit(0, why, 0.0)
        circuit.failures, circuit.why, circuit.probing = circuit.failures + 1, why, False
        if circuit.failures >= FAILURES:
            circuit.paused_until = self._clock() + OPEN_SECONDS
        self._circuits[place] = circuit
        if len(self._circuits) > MOST:
            self._circuits.popitem(last=False)

    def gave_up(self, place: Place) -> None:
        """The request ended without telling anything of the provider: if it was the probe, the next one is it."""
        circuit = self._circuits.get(place)
        if circuit is not None and circuit.probing:
            circuit.paused_until, circuit.probing = self._clock(), False
