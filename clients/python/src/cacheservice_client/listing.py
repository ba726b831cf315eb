"""The entries of a list, page after page."""

from collections.abc import AsyncIterator

from cacheservice_client.engine import Engine
from cacheservice_client.operations import Operations, Tags
from cacheservice_client.results import Entry


async def entries(
    engine: Engine, operations: Operations, tag: Tags, prefix: str | None, page_size: int, stats: bool
) -> AsyncIterator[Entry]:
    """A page is asked for when the one before has been gone through."""
    cursor: str | None = None
    while True:
        page = await engine.perform(operations.page(tag, prefix, page_size, stats, cursor))
        for entry in page.entries:
            yield entry
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
