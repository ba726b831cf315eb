"""The main table: the four kinds of requests beside pgbench's reads, by the number of connections."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import pgbench, wrk
from bench.measurement import Measurement, middle
from bench.service import Owner, Service

PGBENCH, INSERT, BARE = "pgbench", "insert", "bare"
NAMES = {
    PGBENCH: "pgbench read",
    INSERT: "pgbench insert, commit",
    BARE: "bare ASGI",
    "hit": "GET hit",
    "miss": "GET miss",
    "put": "PUT",
    "mix": "80 % GET, 20 % PUT",
}
Run = Callable[[], Measurement]


@dataclass(frozen=True)
class Row:
    """One kind of request at a number of connections: every run, and against the pgbench run of the same round."""

    what: str
    connections: int
    runs: list[Measurement]
    share_of_pgbench: float | None

    @property
    def middle(self) -> Measurement:
        return middle(self.runs)


def measure(
    service: Service,
    bare: Service,
    dsn: str,
    owner: Owner,
    *,
    connections: Sequence[int],
    seconds: float,
    rounds: int,
    entries: int,
) -> list[Row]:
    """Every kind in turn, round after round, so that the machine's noise falls on all alike."""
    rows = []
    for count in connections:
        say(f"{count} connections")
        kinds: dict[str, Run] = {
            PGBENCH: partial(pgbench.single_row_reads, dsn, owner.tenant_id, count, seconds, entries),
            INSERT: partial(pgbench.single_row_inserts, dsn, count, seconds),
            BARE: partial(wrk.bare, bare, count, seconds),
        }
        for what in wrk.WHATS:
            kinds[what] = partial(wrk.requests_of, service, what, count, seconds, entries)
        rows += in_turn(kinds, count, rounds)
    return rows


def in_turn(kinds: dict[str, Run], connections: int, rounds: int) -> list[Row]:
    """A round is one run of each kind."""
    runs: dict[str, list[Measurement]] = {what: [] for what in kinds}
    for _ in range(rounds):
        for what, run in kinds.items():
            runs[what].append(run())
    return [Row(what, connections, of_one, _share(of_one, runs.get(PGBENCH))) for what, of_one in runs.items()]


def find(rows: Sequence[Row], what: str, connections: int) -> Row:
    return next(row for row in rows if (row.what, row.connections) == (what, connections))


def say(line: str) -> None:
    """Progress, beside the tables."""
    print(f"… {line}", file=sys.stderr, flush=True)


def _share(runs: list[Measurement], yardstick: list[Measurement] | None) -> float | None:
    if yardstick is None or runs is yardstick:
        return None
    return median(run.rate / other.rate for run, other in zip(runs, yardstick, strict=True))
