"""How long a bulk command waits before it tries again what the service would not do just now."""

import time

from cacheservice_client import errors
from cacheservice_client.cli import output
from cacheservice_client.errors import APIError

FRUITLESS = 3  # attempts in a row that get nothing done, after which it gives up
LONGEST = 60.0  # seconds: a rate limit's minute


def passing(status: int) -> bool:
    """Whether trying an operation again may help."""
    return status == 429 or status >= 500


class Patience:
    def __init__(self) -> None:
        self._fruitless = 0

    def pause(self, error: APIError, fruitful: bool, resets_in: str | None = None) -> float:
        """The seconds to wait. Raises the error when it has been waited enough. `resets_in`: the RateLimit-Reset of
        the answer; a batch's operations have no Retry-After."""
        self._fruitless = 0 if fruitful else self._fruitless + 1
        if self._fruitless >= FRUITLESS:
            raise error
        if error.status != 429:
            return float(2**self._fruitless) / 2
        seconds = error.retry_after or errors.seconds(resets_in) or LONGEST - time.time() % LONGEST
        return min(seconds, LONGEST) + 0.2


def tell(error: APIError, seconds: float) -> None:
    if seconds > 5:
        output.note(f"{error.code}: waiting {seconds:.0f} s")
