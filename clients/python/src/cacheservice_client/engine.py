"""How an operation is carried out: tried again where that helps, left be while the service is out, and taken for a miss
where the application prefers that to an error."""

import logging
import time
from dataclasses import replace
from typing import TypeVar

from cacheservice_client import errors
from cacheservice_client.circuit import Circuit
from cacheservice_client.errors import APIError, CacheError, RateLimitExceeded, Unavailable, Unreachable
from cacheservice_client.flights import Flights
from cacheservice_client.messages import Request, Response
from cacheservice_client.operations import Operation
from cacheservice_client.retries import Attempts
from cacheservice_client.settings import Settings
from cacheservice_client.transport import Transport

T = TypeVar("T")

logger = logging.getLogger("cacheservice_client")
SECONDS_BETWEEN_WARNINGS = 60.0  # of one kind

# What keeps the service from answering anybody. Not a 500, which one entry may have to itself.
_OUTAGES = (Unreachable, RateLimitExceeded, Unavailable)


class ShortCircuit(Unreachable):
    """Not tried: the service was out a moment ago."""

    def __init__(self) -> None:
        super().__init__("Not tried: the service was out a moment ago.", False)


class Engine:
    """Written once for both clients, as coroutines: those of the blocking client never suspend."""

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self.settings = settings
        self.transport = transport
        self.flights = Flights()
        self._circuit = Circuit(settings.timeout)
        self._warned_at: dict[tuple[str, str], float] = {}

    def forget(self) -> None:
        """Begin anew, as a forked process must: what its parent has under way will never come to an end here."""
        self.transport.forget()
        self.flights = Flights()

    async def perform(self, operation: Operation[T]) -> T:
        """The operation's result, or what stands in for it. Raises CacheError."""
        try:
            return await self.attempt(operation)
        except CacheError as error:
            if operation.otherwise is None or not self.tolerates(error):
                raise
            return operation.otherwise()

    async def attempt(self, operation: Operation[T]) -> T:
        """The same without anything that stands in."""
        if operation.otherwise is not None and self._tolerant and not self._circuit.lets_through():
            raise ShortCircuit
        response = await self._response(operation.request)
        try:
            return operation.parse(response)
        except (LookupError, TypeError, ValueError) as error:
            raise errors.UnexpectedAnswer(
                f"{response.status} with a body that is not the service's: {error!r}"
            ) from error

    def tolerates(self, error: CacheError) -> bool:
        """Whether on_error="miss" hides this error. It then tells the log."""
        if not self._tolerant or not error.tolerable:
            return False
        self.warn("The cache is out, and the application goes on without it: %s", error)
        return True

    def warn(self, message: str, error: CacheError) -> None:
        """Tell the log, at most once a minute of a kind, and not of calls that were not tried."""
        if isinstance(error, ShortCircuit):
            return
        kind = message, error.code if isinstance(error, APIError) else type(error).__name__
        now = time.monotonic()
        if now >= self._warned_at.get(kind, now):
            self._warned_at[kind] = now + SECONDS_BETWEEN_WARNINGS
            logger.warning(message, error)

    @property
    def _tolerant(self) -> bool:
        return self.settings.on_error == "miss"

    async def _response(self, request: Request) -> Response:
        """An answer that trying again would not better."""
        attempts = Attempts(request, self.settings.timeout, self.settings.retries)
        while True:
            try:
                response = await self.transport.send(request, attempts.seconds_left())
                error = _passing_error(response)
            except Unreachable as unreachable:
                error = unreachable
            if error is None:
                self._circuit.succeeded()
                return replace(response, in_doubt=True) if attempts.in_doubt else response
            pause = attempts.pause(error)
            if pause is None:
                if isinstance(error, _OUTAGES):
                    self._circuit.failed(attempts.began_at, getattr(error, "retry_after", None))
                raise error
            await self.transport.sleep(pause)


def _passing_error(response: Response) -> CacheError | None:
    return errors.of_response(response) if response.status == 429 or response.status >= 500 else None
