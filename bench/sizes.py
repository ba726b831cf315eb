"""Whether GET stays as fast as the table grows: servers on databases of several sizes, measured in turn."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from bench import entries, wrk
from bench.service import Owner, copy_of_database, running_service, vacuum
from bench.throughput import Row, Run, in_turn, say

CONNECTIONS = 32


def measure(dsn: str, owner: Owner, sizes: Sequence[int], seconds: float, rounds: int) -> dict[int, Row]:
    """GET hits of random keys, by the number of entries. `dsn` names the template: the tenant and no entries."""
    with ExitStack() as running:
        services = {}
        for size in sizes:
            say(f"loading {size:,} entries")
            database = copy_of_database(dsn, f"size_{size}")
            entries.copy_entries(database, owner, size)
            vacuum(database)
            services[size] = running.enter_context(running_service(database, owner))
        say("GET by number of entries")
        for size, service in services.items():
            wrk.requests_of(service, "hit", CONNECTIONS, seconds, size)  # fills PostgreSQL's buffers
        kinds: dict[str, Run] = {
            str(size): partial(wrk.requests_of, service, "hit", CONNECTIONS, seconds, size)
            for size, service in services.items()
        }
        return {int(row.what): row for row in in_turn(kinds, CONNECTIONS, rounds)}
