"""Removing expired entries. Readers never see them; this gives their space back.

Safe to run twice at once and beside renewals: rows that someone is writing are skipped, and a renewed row no longer
qualifies (`sql.PURGE`). Every batch is a transaction of its own, sized so that it stays far below a second, and
between batches the database rests three times as long as the last one took, so that hits hardly feel it.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection, transaction

from cacheservice.entries import sql

FIRST_BATCH, LEAST, MOST = 100, 50, 5000
AIM_SECONDS = 0.01  # for a batch
REST = 3  # times as long as a batch took; 1 raised the 99th percentile of hits 2.3 times (docs/performance.md)
MOST_REST_SECONDS = 1.0  # after one that the disk held up

Progress = Callable[[int], None]


def purge(*, seconds: float = 50.0, progress: Progress | None = None) -> int:
    """Remove what has expired by now, for at most about `seconds`; returns how many entries that were."""
    deadline = time.monotonic() + seconds
    after, limit, removed = datetime.min.replace(tzinfo=UTC), FIRST_BATCH, 0
    while time.monotonic() < deadline:
        began = time.monotonic()
        count, last = _remove(after, limit)
        took = time.monotonic() - began
        removed += count
        if progress is not None:
            progress(removed)
        if count < limit:
            break
        after = last
        limit = max(LEAST, min(MOST, int(limit * AIM_SECONDS / max(took, 0.001))))
        time.sleep(min(REST * took, MOST_REST_SECONDS))
    return removed


def _remove(after: datetime, limit: int) -> tuple[int, datetime]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.COMMIT_WITHOUT_FLUSH)  # what a crash brings back is purged again
        cursor.execute(sql.PURGE, {"after": after, "limit": limit})
        count, last = cursor.fetchone()
    return count, last
