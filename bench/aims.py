"""What the service promises itself, on two cores, and whether a run reached it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clients import ClientsReport
from bench.gateway import HIT_CONNECTIONS, OPEN_STREAMS, STREAMS, GatewayReport
from bench.metering import MeteringReport
from bench.purging import PurgeReport
from bench.throughput import NAMES, PGBENCH, Row, find

# (kind of request, connections, least share of pgbench's reads a second)
SHARES = (("hit", 32, 0.17), ("hit", 128, 0.25), ("put", 32, 0.12), ("put", 128, 0.12))
MOST_P50_TIMES = 5.0
MOST_MEMORY_MB = 160.0
MOST_SIZE_SPREAD = 0.20
MOST_PURGE_TIMES = 2.0
MOST_RECEIPT_BYTES = 40.0
LEAST_FOLDED_HITS = 100_000
MOST_USAGE_MS = 100.0
MOST_GET_TIMES = 1.6
LEAST_IMPORTED = 5_000
MOST_LAST_HAD_MS = 50.0
MOST_PAGE_MS = 100.0
LEAST_SHARE_OF_LANE = 0.6
MOST_ADDED_MS = {"p50": 2.0, "p99": 6.0}
MOST_OPEN_STREAMS_MB = 400.0


@dataclass(frozen=True)
class Aim:
    name: str
    aim: str
    measured: str
    reached: bool


def of_throughput(rows: Sequence[Row]) -> list[Aim]:
    aims = []
    measured = {row.connections for row in rows}
    for what, connections, least in SHARES:
        if connections in measured:
            share = find(rows, what, connections).share_of_pgbench or 0.0
            name = f"{NAMES[what]} at {connections}, of pgbench's reads/s"
            aims.append(Aim(name, f"≥ {least:.2f}", f"{share:.3f}", share >= least))
    if 1 in measured:
        times = find(rows, "hit", 1).middle.p50 / find(rows, PGBENCH, 1).middle.p50
        name = "p50 of a GET hit at 1, of pgbench's"
        aims.append(Aim(name, f"≤ {MOST_P50_TIMES:.0f} ×", f"{times:.1f} ×", times <= MOST_P50_TIMES))
    return aims


def of_memory(memory: dict[str, float]) -> Aim:
    most = memory["VmHWM"]
    measured = f"{memory['VmRSS']:.0f} MB, at most {most:.0f}"
    return Aim("server process, resident", f"≤ {MOST_MEMORY_MB:.0f} MB", measured, most <= MOST_MEMORY_MB)


def of_sizes(rows: dict[int, Row]) -> Aim:
    rates = [row.middle.rate for row in rows.values()]
    spread = 1 - min(rates) / max(rates)
    name = "GET at " + ", ".join(f"{size:,}" for size in rows) + " entries"
    return Aim(name, f"within {MOST_SIZE_SPREAD:.0%}", f"{spread:.0%} apart", spread <= MOST_SIZE_SPREAD)


def of_purge(report: PurgeReport) -> Aim:
    times, served = report.times_p99, report.times_served_p99
    name = f"p99 of GET hits while {report.removed:,} are purged"
    return Aim(
        name, f"≤ {MOST_PURGE_TIMES:.0f} ×", f"{times:.2f} × ({served:.2f} × once sent)", times <= MOST_PURGE_TIMES
    )


def of_metering(report: MeteringReport) -> list[Aim]:
    size, folded = report.receipt_bytes, report.folded_hits_per_second
    aims = [
        Aim(
            f"receipts at {report.connections} connections",
            f"≤ {MOST_RECEIPT_BYTES:.0f} bytes a hit",
            f"{size:.1f}",
            size <= MOST_RECEIPT_BYTES,
        ),
        Aim("hits folded by a rollup", f"≥ {LEAST_FOLDED_HITS:,}/s", f"{folded:,.0f}/s", folded >= LEAST_FOLDED_HITS),
    ]
    for name, seconds in report.usage_seconds.items():
        measured = 1000 * seconds
        aim = f"usage of a year, 50 keys, {name}"
        aims.append(Aim(aim, f"≤ {MOST_USAGE_MS:.0f} ms", f"{measured:.0f} ms", measured <= MOST_USAGE_MS))
    return aims


def of_clients(report: ClientsReport) -> list[Aim]:
    times, imported, last = report.get_times, report.imported_per_second, statistics.median(report.last_had_ms)
    once = set(report.calls_of_make) == {1}
    return [
        Aim(
            "a hit by the SDK, of the bare library's",
            f"≤ {MOST_GET_TIMES} ×",
            f"{times:.2f} ×",
            times <= MOST_GET_TIMES,
        ),
        Aim(
            f"{report.callers} callers of a cold key: the last has it",
            f"≤ {MOST_LAST_HAD_MS:.0f} ms, 1 call",
            f"{last:.0f} ms, {'1 call' if once else report.calls_of_make}",
            last <= MOST_LAST_HAD_MS and once,
        ),
        Aim("cachectl import", f"≥ {LEAST_IMPORTED:,}/s", f"{imported:,.0f}/s", imported >= LEAST_IMPORTED),
    ]


def of_console(pages: dict[str, float]) -> list[Aim]:
    return [
        Aim(f"console: {path}", f"≤ {MOST_PAGE_MS:.0f} ms", f"{milliseconds:.0f} ms", milliseconds <= MOST_PAGE_MS)
        for path, milliseconds in pages.items()
        if milliseconds
    ]


def of_gateway(report: GatewayReport) -> list[Aim]:
    share, most = report.share_of_lane, max(report.memory_mb.values())
    name = f"stored chat completions at {HIT_CONNECTIONS}, of the lane's GET hits/s"
    aims = [Aim(name, f"≥ {LEAST_SHARE_OF_LANE:.2f}", f"{share:.2f}", share >= LEAST_SHARE_OF_LANE)]
    for overhead in report.overheads:
        name, most_added = f"a miss adds to the {overhead.what}, {STREAMS} streams", MOST_ADDED_MS[overhead.what[-3:]]
        measured = f"{overhead.added:.1f} ms"
        aims.append(Aim(name, f"≤ {most_added:.0f} ms", measured, overhead.added <= most_added))
    name, measured = f"server process with {OPEN_STREAMS:,} streams open", f"{most:.0f} MB"
    return [*aims, Aim(name, f"≤ {MOST_OPEN_STREAMS_MB:.0f} MB", measured, most <= MOST_OPEN_STREAMS_MB)]
