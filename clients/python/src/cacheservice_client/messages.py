"""HTTP requests and responses as plain objects, which know nothing of how they travel."""

from collections.abc import Mapping
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """`target` is the path, percent-encoded, and query behind the service's URL.

    `repeatable`: to send it again does what to send it once does, so that it may be tried again when nobody knows
    whether it arrived. `wait`: the seconds for which the service may hold back its answer on purpose.
    """

    method: str
    target: str
    body: bytes | None = None
    headers: Headers = ()
    repeatable: bool = True
    wait: float = 0


@dataclass(frozen=True, slots=True)
class Response:
    """The headers' names are found in any case.

    `in_doubt`: an earlier attempt, whose answer was lost, may have done what this one was to do.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    in_doubt: bool = False
