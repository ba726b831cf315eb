"""What only the database knows: how far the tasks are behind, what is held, and what they did.

Read when /metrics is asked for, at most every ten seconds a process, over the store's connections for reports: so it
can delay no hit, each statement is cut off like any other, and nothing is opened for it. Each statement looks at a
bounded number of rows, also when a worker has been away for a week. While the database is away all this is left out.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from asgiref.sync import async_to_sync

from cacheservice.entries import store
from cacheservice.errors import APIError
from cacheservice.metrics_instruments import Labels

KEPT_SECONDS = 10.0
COUNTED: Final = 100_000  # of what is counted; there may be more


class Figure(NamedTuple):
    """A metric that one statement gives."""

    name: str
    meaning: str
    counts: bool = False  # it only goes up
    labels: tuple[str, ...] = ()


PURGE_LAG = Figure("cacheservice_purge_lag_seconds", "How long ago the oldest entry expired that is still there")
ROLLUP_LAG = Figure("cacheservice_rollup_lag_seconds", "The age of the oldest receipt that is not folded")
LEASES = Figure("cacheservice_leases_held", f"Leases that hold, counted up to {COUNTED}")
RESERVATIONS = Figure("cacheservice_gateway_reservations_open", f"Calls under way that budgets count, up to {COUNTED}")
RESERVATION_AGE = Figure("cacheservice_gateway_reservation_age_seconds", "The age of the oldest of them")
TASK_RUNS = Figure("cacheservice_task_runs_total", "Runs of tasks", True, ("task",))
TASK_FAILURES = Figure("cacheservice_task_failures_total", "Runs that failed", True, ("task",))
TASK_SUCCESS = Figure(
    "cacheservice_task_last_success_timestamp_seconds", "When the last good run ended", labels=("task",)
)
TASK_SECONDS = Figure("cacheservice_task_last_run_seconds", "How long the last run took", labels=("task",))
DIFFERENCES = Figure(
    "cacheservice_reconciliation_differences", "Numbers that did not add up in the last reconciliation of all tenants"
)
DATABASE_UP = Figure("cacheservice_database_up", "Whether all figures of the database could be read: 1 or 0")
ALL: Final = (
    *(PURGE_LAG, ROLLUP_LAG, LEASES, RESERVATIONS, RESERVATION_AGE),
    *(TASK_RUNS, TASK_FAILURES, TASK_SUCCESS, TASK_SECONDS, DIFFERENCES, DATABASE_UP),
)
Reading: TypeAlias = tuple[Figure, Labels, float]

PURGE: Final = """
select coalesce(extract(epoch from statement_timestamp() - min(e.expires_at)), 0)::float
from tenant t cross join lateral (
  select expires_at from entry e where e.tenant_id = t.id and e.expires_at <= statement_timestamp()
  order by expires_at limit 1
) e
"""

# A tenant's receipts stand in the order in which they were written, more or less: the first few tell its oldest.
ROLLUP: Final = """
select coalesce(extract(epoch from statement_timestamp() - min(r.at)), 0)::float
from tenant t cross join lateral (
  select at from receipt r where r.tenant_id = t.id and not r.folded limit 20
) r
"""

HELD: Final = """
select count(*) from (
  select 1 from lease where expires_at > statement_timestamp() and token <> 0 limit %(counted)s
) l
"""

RESERVED: Final = """
select count(*), coalesce(extract(epoch from statement_timestamp() - min(at)), 0)::float
from (select at from gateway_spend_event where state = 1 order by at limit %(counted)s) e
"""

TASKS: Final = """
select name, runs, failures, extract(epoch from succeeded_at)::float, seconds, found from task_run order by name
"""


class _Kept:
    """The last readings, and until when they will do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._until = 0.0

    def readings(self, read: Callable[[], list[Reading]]) -> list[Reading]:
        """Who comes while they are read waits for them: one a time asks the database."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._readings = read()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._readings


_kept = _Kept()


def readings() -> list[Reading]:
    """All figures, at most ten seconds old; for a thread of Django's."""
    return _kept.readings(async_to_sync(read))


async def read() -> list[Reading]:
    """All figures now; those that cannot be read are left out."""
    found: list[Reading] = []
    up = 1.0
    for statement, interpret in _STATEMENTS:
        try:
            rows = await store.current().rows(statement, {"counted": COUNTED})
        except APIError:
            up = 0.0
            break  # the others would wait as long
        found += interpret(rows)
    return [*found, (DATABASE_UP, (), up)]


def _one(figure: Figure) -> Callable[[list[tuple[Any, ...]]], list[Reading]]:
    return lambda rows: [(figure, (), rows[0][0])]


def _reserved(rows: list[tuple[Any, ...]]) -> list[Reading]:
    [(count, age)] = rows
    return [(RESERVATIONS, (), count), (RESERVATION_AGE, (), age)]


def _tasks(rows: list[tuple[Any, ...]]) -> list[Reading]:
    found: list[Reading] = []
    for name, runs, failures, succeeded_at, seconds, differences in rows:
        place = (name.removeprefix("cacheservice.").replace(".tasks.", "."),)
        if runs:
            found += [(TASK_RUNS, place, runs), (TASK_FAILURES, place, failures), (TASK_SECONDS, place, seconds)]
        if succeeded_at is not None:
            found.append((TASK_SUCCESS, place, succeeded_at))
        if differences is not None:
            found.append((DIFFERENCES, (), differences))
    return found


_STATEMENTS: Final = (
    (PURGE, _one(PURGE_LAG)),
    (ROLLUP, _one(ROLLUP_LAG)),
    (HELD, _one(LEASES)),
    (RESERVED, _reserved),
    (TASKS, _tasks),
)
