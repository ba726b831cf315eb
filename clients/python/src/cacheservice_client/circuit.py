"""The short circuit: after an outage calls are not even tried for a while, so that a dead cache costs one call its
timeout, not each."""

import time
from collections.abc import Callable

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds; each failed trial doubles the pause
LONGEST_RETRY_AFTER = 60.0  # a rate limit's minute


class Circuit:
    """Closed: calls go through. Open: none does until the pause is over; then one tries, and the others see what it
    finds. Without a lock: the worst that a race of threads does is one trial more."""

    def __init__(self, trial_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`trial_seconds`: how long one trial may take before the next begins."""
        self._trial_seconds = trial_seconds
        self._clock = clock
        self._pause = 0.0  # 0: closed
        self._opened_at = self._open_until = 0.0

    def lets_through(self) -> bool:
        if not self._pause:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._trial_seconds
        return True

    def succeeded(self) -> None:
        self._pause = 0.0

    def failed(self, began_at: float, retry_after: float | None) -> None:
        """An outage. Calls that began before the circuit opened tell nothing new. `retry_after`: the seconds for which
        the service asked to be left alone."""
        if self._pause and began_at < self._opened_at:
            return
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._opened_at = self._clock()
        self._open_until = self._opened_at + max(self._pause, min(retry_after or 0, LONGEST_RETRY_AFTER))
