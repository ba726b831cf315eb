"""When a request is tried again, and after how long: exponential back-off with full jitter, within the call's time.

Full jitter (a random pause from nothing to the back-off's) spreads clients that failed together best:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
import time

from cacheservice_client.errors import APIError, CacheError, RateLimitExceeded, Unreachable
from cacheservice_client.messages import Request

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 2.0  # seconds


class Attempts:
    """The attempts at one request. `timeout`: the seconds that all of them may take."""

    def __init__(self, request: Request, timeout: float, retries: int) -> None:
        self.began_at = time.monotonic()
        self._request = request
        self._ends_at = self.began_at + timeout + request.wait
        self._retries_left = retries
        self._backoff = FIRST_BACKOFF
        self.in_doubt = False  # whether one may have done what was asked though it failed

    def seconds_left(self) -> float:
        return max(0.001, self._ends_at - time.monotonic())

    def pause(self, error: CacheError) -> float | None:
        """The seconds to wait before the next attempt; None when there is to be none."""
        did_nothing = isinstance(error, RateLimitExceeded) or (isinstance(error, Unreachable) and not error.sent)
        self.in_doubt |= not did_nothing
        if self._retries_left == 0 or not (did_nothing or self._request.repeatable):
            return None
        self._retries_left -= 1
        asked = error.retry_after if isinstance(error, APIError) else None
        pause = (asked or 0) + random.uniform(0, self._backoff)  # noqa: S311  no secret
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)
        return pause if time.monotonic() + pause < self._ends_at else None
