"""How a client is set up, checked at once so that a mistake shows where it was made."""

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from cacheservice_client.values import Dumps, Loads

OnError = Literal["raise", "miss"]

LONGEST_TIMEOUT = 86_400  # seconds; sockets take no math.inf


@dataclass(frozen=True)
class Settings:
    """Raises ValueError, without the API key in it."""

    url: str
    api_key: str = field(repr=False)
    timeout: float
    retries: int
    on_error: OnError
    loads: Loads
    dumps: Dumps

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: give the service's URL, such as https://cache.example.com")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url: give it without a user, a password, a query and a fragment")
        if not re.fullmatch(r"[!-~]+", self.api_key):
            raise ValueError("api_key: it is empty, or has white space or other characters that no API key has")
        if not 0 < self.timeout <= LONGEST_TIMEOUT:
            raise ValueError("timeout: give seconds, more than 0 and at most a day's")
        if self.retries < 0:
            raise ValueError("retries: give 0 or more")
        if self.on_error not in ("raise", "miss"):
            raise ValueError("on_error: give 'raise' or 'miss'")


def from_environment(name: str) -> str:
    """Raises ValueError when the variable is missing or empty."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ValueError(
            f"{name} is not set: give the environment the service's URL as CACHE_URL, a key as CACHE_API_KEY"
        )
    return value
