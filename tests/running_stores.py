"""Stores that run between the lines of a test that is not async: what is asked of Django's ORM can stand in between."""

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from cacheservice.entries.store import Store
from tests.store_cast import database_dsn, outcomes

HANGS_AFTER_SECONDS = 60

Outcome = TypeVar("Outcome")


class RunningStores(list[Store]):
    """`with RunningStores(2) as stores:` has two, as two server processes would, on one loop that runs in `run`."""

    def __init__(self, count: int = 1, dsn: str = "") -> None:
        super().__init__()
        self._count, self._dsn = count, dsn

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner().__enter__()
        for _ in range(self._count):
            store = self.run(_make(self._dsn or database_dsn()))
            self.append(store)
            self.run(store.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            for store in self:
                self.run(store.close())
        finally:
            self._runner.__exit__(kind, error, tb)

    def run(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Raises TimeoutError when it hangs."""
        return self._runner.run(asyncio.wait_for(work, HANGS_AFTER_SECONDS))

    def at_once(self, work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        """What each returned or raised."""
        return self.run(outcomes(work))


async def _make(dsn: str) -> Store:
    return Store(dsn)  # its parts are bound to the running loop
