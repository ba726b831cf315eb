"""How the console's pages read billing's reports: on the store's connection for them, as the API does."""

from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync

from cacheservice.entries import store


def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A `billing.rows.Rows`."""
    found: list[tuple[Any, ...]] = async_to_sync(store.current().rows)(statement, parameters)
    return found


def statistics(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The same for what may be some seconds behind, from a replica where there is one."""
    found: list[tuple[Any, ...]] = async_to_sync(store.current().reading().rows)(statement, parameters)
    return found
