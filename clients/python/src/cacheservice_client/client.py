"""What `Cache` and `AsyncCache` have in common: how they are made."""

import os
import weakref
from typing import Any, ClassVar, TypeVar

from cacheservice_client import values
from cacheservice_client.engine import Engine
from cacheservice_client.filling import Filler
from cacheservice_client.operations import Operations
from cacheservice_client.settings import OnError, Settings, from_environment
from cacheservice_client.transport import Transport
from cacheservice_client.values import Dumps, Loads

C = TypeVar("C", bound="Client")

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


class Client:
    """A client of one service, for as many threads or tasks as there are; make one and keep it.

    - `timeout`: the seconds that a call may take, its retries included; a wait for a lease comes on top.
    - `retries`: how often a call is tried again on 429, 5xx and when no answer came.
    - `on_error`: "miss" lets the application go on without a cache that is out: get finds nothing, put, touch, delete
      and batch do nothing, get_or_create makes the value. list, clear and usage raise all the same.
    - `loads`, `dumps`: what turns JSON into values and back, such as `partial(json.loads, parse_float=Decimal)`.
    """

    _transport: ClassVar[type[Transport]]

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        timeout: float = 5.0,
        retries: int = 2,
        on_error: OnError = "raise",
        loads: Loads = values.loads,
        dumps: Dumps = values.dumps,
    ) -> None:
        """Raises ValueError; sends nothing."""
        self._settings = Settings(url, api_key, timeout, retries, on_error, loads, dumps)
        self._operations = Operations(loads, dumps)
        self._engine = Engine(self._settings, self._transport(self._settings))
        self._filler = Filler(self._engine, self._operations)
        _engines.add(self._engine)

    @classmethod
    def from_env(
        cls: type[C],
        *,
        timeout: float = 5.0,
        retries: int = 2,
        on_error: OnError = "raise",
        loads: Loads = values.loads,
        dumps: Dumps = values.dumps,
    ) -> C:
        """A client of the service at CACHE_URL with the key CACHE_API_KEY. Raises ValueError when one is not set."""
        return cls(
            url=from_environment("CACHE_URL"),
            api_key=from_environment("CACHE_API_KEY"),
            timeout=timeout,
            retries=retries,
            on_error=on_error,
            loads=loads,
            dumps=dumps,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._settings.url!r}, on_error={self._settings.on_error!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a cache is not pickled, since its API key would be: make one in each process")


def _forget_all() -> None:
    for engine in _engines:
        engine.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)
