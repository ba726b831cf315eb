"""The tables on stdout, and the same as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.aims import Aim
from bench.gateway import EVENTS, STREAMS, GatewayReport
from bench.purging import PurgeReport
from bench.throughput import NAMES, Row


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    print()
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells), flush=True)


def throughput(rows: Sequence[Row]) -> None:
    table(
        ("requests", "connections", "per second", "runs from", "to", "p50 ms", "p99 ms", "of pgbench"),
        [
            (
                NAMES.get(row.what, row.what),
                str(row.connections),
                f"{row.middle.rate:,.0f}",
                f"{min(run.rate for run in row.runs):,.0f}",
                f"{max(run.rate for run in row.runs):,.0f}",
                f"{row.middle.p50 / 1000:.3f}",
                f"{row.middle.p99 / 1000:.3f}",
                "" if row.share_of_pgbench is None else f"{row.share_of_pgbench:.3f}",
            )
            for row in rows
        ],
    )


def gateway(report: GatewayReport) -> None:
    print(f"\nvalues of {report.value_bytes:,} bytes in the lane, stored completions of {report.answer_bytes:,.0f}")
    throughput(report.rows)
    table(
        (f"{STREAMS} streams of {EVENTS} events", "directly ms", "through ms", "added ms", "from", "to"),
        [
            (
                overhead.what,
                f"{median(overhead.direct):,.1f}",
                f"{median(overhead.through):,.1f}",
                f"{overhead.added:.1f}",
                f"{min(overhead.differences):.1f}",
                f"{max(overhead.differences):.1f}",
            )
            for overhead in report.overheads
        ],
    )
    busy = ", ".join(f"{share:.0%} {how}" for how, share in report.busy.items())
    print(f"streams a round: {report.streams}; all cores busy: {busy}")
    memory = ", ".join(f"{megabytes:.0f} {when}" for when, megabytes in report.memory_mb.items())
    print(f"the server process's resident memory in MB: {memory}")


def sizes(rows: dict[int, Row]) -> None:
    table(
        ("entries", "GET hits per second", "p50 ms", "p99 ms"),
        [
            (
                f"{size:,}",
                f"{row.middle.rate:,.0f}",
                f"{row.middle.p50 / 1000:.3f}",
                f"{row.middle.p99 / 1000:.3f}",
            )
            for size, row in rows.items()
        ],
    )


def purge(report: PurgeReport) -> None:
    table(
        (f"{report.rate:,.0f} GETs per second", "p50 ms", "p99 ms", "p99 once sent", "p99 of the sender"),
        [
            (
                name,
                f"{w.p50 / 1000:.3f}",
                f"{w.p99 / 1000:.3f}",
                f"{w.served_p99 / 1000:.3f}",
                f"{w.sender_p99 / 1000:.3f}",
            )
            for name, windows in (("without purge", report.quiet), ("purging", report.purging))
            for w in windows
        ],
    )
    speed = report.removed / report.seconds
    print(f"{report.removed:,} entries purged in {report.seconds:.0f} s: {speed:,.0f} a second")


def variants(rows: Sequence[Row], connections: Sequence[int]) -> None:
    """One line a variant: requests/s and p99 by connections, GET hits then PUTs."""
    for what in ("hit", "put"):
        chosen = [row for row in rows if row.what.startswith(f"{what} ")]
        names = list(dict.fromkeys(row.what for row in chosen))
        header = [NAMES[what], *(f"{unit} at {n}" for n in connections for unit in ("per second", "p99 ms"))]
        lines = []
        for name in names:
            line = [name.removeprefix(f"{what} ")]
            for row in (row for row in chosen if row.what == name):
                line += [f"{row.middle.rate:,.0f}", f"{row.middle.p99 / 1000:.2f}"]
            lines.append(line)
        table(header, lines)


def aims(reached: Sequence[Aim]) -> None:
    rows = [(aim.name, aim.aim, aim.measured, "yes" if aim.reached else "NO") for aim in reached]
    table(("aim", "", "measured", "reached"), rows)


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {"cores": os.cpu_count(), "cpu": model, "kernel": platform.release(), "python": platform.python_version()}


def write_json(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=1, default=asdict) + "\n")
