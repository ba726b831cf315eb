"""Every metric of a server process, declared once. docs/observability.md says what each is good for.

No label holds what a tenant chose or could make many of: no key, no tenant, no provider's name (its kind instead), no
model, no path (the route's name instead). What the database knows is read when it is asked for (metrics_database.py).
"""

import platform
from bisect import bisect_left
from decimal import Decimal
from time import perf_counter

from cacheservice.metrics_instruments import Counter, Gauge, Histogram, Kind

# Seconds. Half a millisecond is an idle hit's; above 5 s a statement is cut off; an upstream may take minutes.
FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
SIZES = (1, 2, 4, 8, 16, 32, 64)
# Methods by name; others are whatever a client thinks of.
_METHODS = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS"})
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
OPERATIONS = ("Read", "LimitedRead", "Write", "Update", "Delete", "Lease", "Authorise", "LookUp")

# Requests
REQUESTS = Counter(
    "cacheservice_requests_total",
    "Requests answered. plane: lane, django or gateway; route: the name of a route",
    ("plane", "route", "method", "status"),
)
REQUEST_SECONDS = Histogram(
    "cacheservice_request_seconds",
    "From the request's head to the end of its answer, as far as the server's buffers",
    FAST,
    ("plane",),
    [("lane",), ("django",), ("gateway",)],
)
CAUSES = (
    *(
        "database_unreachable",
        "database_silent",
        "queue_full",
        "queue_timeout",
        "pool_side",
        "pool_scans",
        "pool_ledger",
    ),
    *("request_bytes", "answer_bytes", "gateway_bytes", "django_full"),
)
UNAVAILABLE = Counter(
    "cacheservice_unavailable_total", "Operations refused with 503, by cause", ("cause",), [(each,) for each in CAUSES]
)
BYTES_IN_FLIGHT = Gauge("cacheservice_bytes_in_flight", "Bytes of large bodies and answers held just now", ("of",))

# Entries
_SPACES = [("tenant",), ("gateway",)]
HITS = Counter("cacheservice_hits_total", "Reads that found a live entry and were given its value", ("space",), _SPACES)
MISSES = Counter("cacheservice_misses_total", "Reads that found none", ("space",), _SPACES)
WRITES = Counter("cacheservice_writes_total", "Entries written", ("space",), _SPACES)
DELETES = Counter("cacheservice_deletes_total", "Entries deleted by clients", ("space",), _SPACES)

# Batches
_KINDS = [(name,) for name in OPERATIONS]
BATCH_SIZE = Histogram("cacheservice_batch_size", "Operations in a statement", SIZES, ("kind",), _KINDS)
QUEUE_SECONDS = Histogram(
    "cacheservice_queue_seconds",
    "How long the first operation of a statement waited for a connection",
    FAST,
    ("kind",),
    _KINDS,
)
STATEMENT_SECONDS = Histogram(
    "cacheservice_statement_seconds", "From sending a statement to its whole answer", FAST, ("kind",), _KINDS
)
STATEMENT_FAILURES = Counter(
    "cacheservice_statement_failures_total",
    "Statements that failed: connection_lost, conflict (tried again), timeout, reconnect, error",
    ("reason",),
    [(reason,) for reason in ("connection_lost", "conflict", "timeout", "reconnect", "error")],
)
POOL_CONNECTIONS = Gauge(
    "cacheservice_pool_connections", "Connections to PostgreSQL, open and of these busy", ("pool", "state")
)
POOL_WAITING = Gauge("cacheservice_pool_requests_waiting", "Operations that wait for a connection", ("pool",))

REPLICA_USED = Gauge(
    "cacheservice_replica_in_use", "Processes that read lists and reports from the replica; none where there is none"
)
REPLICA_LAG = Gauge("cacheservice_replica_lag_seconds", "How much it may lack, at most", kind=Kind.MOST)

# Leases
LEASE_WAITERS = Gauge("cacheservice_lease_waiters", "Requests that wait for somebody else's fill")
LEASE_LISTENING = Gauge("cacheservice_lease_listening", "Processes whose connection listens for leases' ends")
LEASE_NOTIFICATIONS = Counter(
    "cacheservice_lease_notifications_total",
    "Ends of leases that were notified: filled, free, all",
    ("kind",),
    [("filled",), ("free",), ("all",)],
)

# Gateway
GATEWAY_CALLS = Counter(
    "cacheservice_gateway_calls_total",
    "Requests by what X-Cache says; refused: before the cache was asked. kind: of API",
    ("outcome", "kind"),
)
UPSTREAM_REQUESTS = Counter(
    "cacheservice_gateway_upstream_requests_total",
    "Tries of upstreams by how they ended: a class of statuses, 429, or an error",
    ("kind", "outcome"),
)
UPSTREAM_SECONDS = Histogram(
    "cacheservice_gateway_upstream_seconds", "From sending a try to its answer's head", SLOW, ("kind",)
)
UPSTREAM_RETRIES = Counter("cacheservice_gateway_retries_total", "Tries after the first", ("kind",))
STREAMS_OPEN = Gauge("cacheservice_gateway_streams_open", "Requests for streams that are being answered")
STREAMS_OPEN.set(0)
BREAKERS_OPEN = Gauge("cacheservice_gateway_breakers_open", "Providers that are left alone after failures")
SPEND = Counter(
    "cacheservice_gateway_spend_microdollars_total", "What calls cost, in millionths of a USD, rounded down"
)
SAVED = Counter("cacheservice_gateway_saved_microdollars_total", "What hits saved, as above")
UNPRICED = Counter("cacheservice_gateway_unpriced_calls_total", "Calls whose cost is not known")
EVENTS_WAITING = Gauge("cacheservice_gateway_events_waiting", "Spend events that are not written yet")
EVENTS_LOST = Counter("cacheservice_gateway_events_lost_total", "Spend events that will not be written")

# The process
KEY_SERVICE_FAILING = Gauge(
    "cacheservice_key_service_failing", "Processes for which AWS KMS did not do what they asked of it last"
)
KEY_SERVICE_FAILING.set(0)
PROCESSES = Gauge("cacheservice_processes", "Server processes")
MEMORY = Gauge("cacheservice_process_resident_bytes", "Memory of the server processes together")
MEMORY_MOST = Gauge(
    "cacheservice_process_resident_largest_bytes", "Memory of the largest server process", kind=Kind.MOST
)
FILES = Gauge("cacheservice_process_open_fds", "Open files of the process that has most", kind=Kind.MOST)
FILES_MOST = Gauge("cacheservice_process_max_fds", "How many it may have", kind=Kind.LEAST)
CPU_SECONDS = Counter("cacheservice_process_cpu_seconds_total", "Processor time of all server processes")
LOOP_DELAY = Histogram(
    "cacheservice_event_loop_delay_seconds", "How late the event loop came to a timer, looked at once a second", FAST
)
BUILD = Gauge("cacheservice_build_info", "Always 1", ("version", "python"), Kind.MOST)
BUILD.set(1, "0.1.0", platform.python_version())


_cells: dict[tuple[str, str, str, int], list[float]] = {}
_SECONDS = {plane: REQUEST_SECONDS.row((plane,)) for plane in ("lane", "django", "gateway")}


def count_request(plane: str, route: str, method: str, status: int, began: float) -> None:
    """A request was answered, that began at `began` of perf_counter. Status 0: with nothing."""
    place = (plane, route, method, status)
    cell = _cells.get(place)
    if cell is None:
        found = _CLASSES[status // 100] if status < 600 else "none"
        cell = REQUESTS.cell((plane, route, method if method in _METHODS else "other", found))
        if method in _METHODS:
            _cells[place] = cell
    cell[0] += 1
    seconds, row = perf_counter() - began, _SECONDS[plane]
    row[bisect_left(FAST, seconds)] += 1
    row[-1] += seconds


class Money:
    """Adds dollars to a counter of whole millionths: what is left over goes with the next."""

    def __init__(self, counter: Counter) -> None:
        self._counter, self._rest = counter, Decimal(0)

    def add(self, dollars: Decimal) -> None:
        amount = dollars * 1_000_000 + self._rest
        whole = int(amount)
        self._rest = amount - whole
        if whole:
            self._counter.add(whole)


spend, saved = Money(SPEND), Money(SAVED)
