"""What a soak found: its curves, its numbers for docs/reliability.md, and every sample as CSV."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT
from tests.soak import load
from tests.soak.load import Books
from tests.soak.picture import Panel, Series, draw
from tests.soak.watch import DATABASE, MB, PROGRAMS, SERVER, Moment, Table

PAGE = ROOT / "docs" / "reliability.md"
PICTURE = ROOT / "docs" / "images" / "soak.svg"
BEGIN, END = "<!-- written by make soak -->\n", "<!-- end of the soak -->\n"
SIXTH = 6  # what is compared: the second sixth of the time, when entries expire as fast as they come, and the last
SHOWN_BYTES = 300_000  # of a table at the end
# A row for each thing that happened, until its retention ends or a daily task finds it of no use.
KEPT = ("receipt", "gateway_spend_event", "audit_event", "entry_tombstone", "entry_stats")  # and their partitions
CURVES = (load.HOT_HIT, load.WRITE, load.GATEWAY_HIT, load.LIST, load.PAGE, load.HEALTH)
MINUTE = 60


@dataclass(frozen=True)
class Soak:
    date: str
    seed: int
    seconds: float
    books: Books
    moments: list[tuple[float, Moment]]  # seconds since the start
    charged: int  # hits, by the service's own books
    reconciled: str  # what `manage.py reconcile` said
    deviations: list[str]

    def moment(self, sixths: int) -> Moment:
        """The first after so much of the time."""
        return next((each for at, each in self.moments if at >= self.seconds * sixths / SIXTH), self.moments[-1][1])


def write(soak: Soak, samples: Path) -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(_picture(soak))
    with samples.open("w", newline="") as file:
        csv.writer(file).writerows(_rows(soak))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + _text(soak) + END + rest.partition(END)[2])


def _text(soak: Soak) -> str:
    asked, errors = len(soak.books.samples), soak.books.errors.total()
    minutes = soak.seconds / MINUTE
    loads = sorted(moment.load for _, moment in soak.moments)
    parts = [
        f"Last run: {soak.date}, seed {soak.seed}, {minutes:.0f} minutes, {asked:,} requests, "
        f"{asked / soak.seconds:.0f} a second; {errors} of them failed or were answered wrongly. "
        f"{soak.books.hits:,} hits were acknowledged and {soak.charged:,} charged. "
        f"Reconciliation: {soak.reconciled.rstrip('.')}. On {os.cpu_count()} cores, {sum(loads) / len(loads):.1f} "
        f"processes wanted to run on average (from {loads[0]:.1f} to {loads[-1]:.1f}): where those are more, other "
        f"work on the machine moves the latencies. `{load.HEALTH}` is a request that reaches neither the store nor the "
        "database, and shows by how much.",
        "",
        *(f"- Deviation: {each}" for each in soak.deviations),
        *([""] if soak.deviations else []),
        "![Latencies, memory, processor time and table sizes over the time of the soak](images/soak.svg)",
        "",
        f"Latency in ms, of minutes {minutes / SIXTH:.0f} to {2 * minutes / SIXTH:.0f} and of the last "
        f"{minutes / SIXTH:.0f}:",
        "",
        "| request | how many | p50 | p50 at the end | p99 | p99 at the end | p99 changed by |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *_latencies(soak),
        "",
        "Memory (PSS), descriptors and processor time of all processes of a program:",
        "",
        "| program | MB | MB at the end | descriptors | at the end | processor ms a request | at the end |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *_processes(soak),
        "",
        f"Connections to PostgreSQL: {soak.moment(1).connections}, at the end {soak.moment(SIXTH).connections}, "
        f"at most {max(moment.connections for _, moment in soak.moments)}.",
        "",
        f"Tables over {SHOWN_BYTES / MB} MB, with their indexes. Those marked * keep a row for each thing that "
        "happened until their retention ends or the daily task comes, so they grow; their bytes a row tell whether "
        "they bloat:",
        "",
        "| table | MB | MB at the end | times | rows | at the end | bytes a row | at the end | dead rows at most |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *_tables(soak),
    ]
    return "\n".join(parts) + "\n"


def _latencies(soak: Soak) -> list[str]:
    sixth = soak.seconds / SIXTH
    early, late = soak.books.window(sixth, 2 * sixth), soak.books.window(soak.seconds - sixth, soak.seconds)
    lines = []
    for kind in sorted(early.keys() & late.keys(), key=lambda kind: -len(early[kind])):
        numbers = [1000 * percentile(part[kind], share) for share in (0.5, 0.99) for part in (early, late)]
        change = 100 * (numbers[3] / numbers[2] - 1)
        count = len(early[kind]) + len(late[kind])
        lines.append(f"| {kind} | {count:,} | {' | '.join(f'{n:.1f}' for n in numbers)} | {change:+.0f} % |")
    return lines


def _processes(soak: Soak) -> list[str]:
    lines = []
    for program in PROGRAMS.values():
        numbers = []
        for sixths in (1, SIXTH):
            processes = soak.moment(sixths).processes[program]
            numbers.append(
                (f"{processes.memory:.1f}", str(processes.descriptors), _milliseconds(soak, program, sixths))
            )
        (memory, files, seconds), (late_memory, late_files, late_seconds) = numbers
        lines.append(f"| {program} | {memory} | {late_memory} | {files} | {late_files} | {seconds} | {late_seconds} |")
    return lines


def _milliseconds(soak: Soak, program: str, sixths: int) -> str:
    """Of processor time a request, in the sixth that begins after the first, or that ends there."""
    begin, end = (1, 2) if sixths == 1 else (sixths - 1, sixths)
    spent = soak.moment(end).processes[program].seconds - soak.moment(begin).processes[program].seconds
    sixth = soak.seconds / SIXTH
    asked = sum(map(len, soak.books.window(begin * sixth, end * sixth).values()))
    return f"{1000 * spent / max(asked, 1):.2f}"


def _tables(soak: Soak) -> list[str]:
    early, late = soak.moment(1).tables, soak.moment(SIXTH).tables
    lines = []
    for name in sorted(late, key=lambda name: -late[name].size):
        before, after = early.get(name), late[name]
        if before is None or after.size < SHOWN_BYTES:
            continue
        dead = max(moment.tables[name].dead for _, moment in soak.moments if name in moment.tables)
        lines.append(
            f"| {name}{'*' if name.startswith(KEPT) else ''} | {before.size / MB:.1f} | {after.size / MB:.1f} | "
            f"{after.size / before.size:.2f} | {before.rows:,} | {after.rows:,} | "
            f"{_row_bytes(before)} | {_row_bytes(after)} | {dead:,} |"
        )
    return lines


def _row_bytes(table: Table) -> str:
    return f"{table.size / table.rows:,.0f}" if table.rows else "–"


def _picture(soak: Soak) -> str:
    minutes = soak.seconds / MINUTE
    latest = soak.moment(SIXTH).tables
    largest = sorted(latest, key=lambda name: -latest[name].size)[:7]

    def over_time(name: str, values: list[tuple[float, float]]) -> Series:
        return Series(name, [(at / MINUTE, value) for at, value in values])

    panels = [
        Panel("p99 of each minute, ms (logarithmic)", _curves(soak, 0.99), logarithmic=True),
        Panel("median of each minute, ms (logarithmic)", _curves(soak, 0.5), logarithmic=True),
        Panel(
            "Memory (PSS), MB",
            [
                over_time(program, [(at, moment.processes[program].memory) for at, moment in soak.moments])
                for program in PROGRAMS.values()
            ],
        ),
        Panel(
            "Tables with their indexes, MB",
            [
                over_time(name, [(at, m.tables[name].size / MB) for at, m in soak.moments if name in m.tables])
                for name in largest
            ],
        ),
        Panel(
            "Descriptors and connections",
            [
                *(
                    over_time(f"descriptors, {each}", [(at, m.processes[each].descriptors) for at, m in soak.moments])
                    for each in (SERVER, DATABASE)
                ),
                over_time("connections", [(at, moment.connections) for at, moment in soak.moments]),
            ],
        ),
        Panel(
            "Processes of the machine that run or want to (load average)",
            [over_time("load", [(at, moment.load) for at, moment in soak.moments])],
        ),
    ]
    return draw(f"A soak of {minutes:.0f} minutes, {len(soak.books.samples):,} requests", panels, minutes)


def _curves(soak: Soak, share: float) -> list[Series]:
    windows = [
        (minute, soak.books.window(minute * MINUTE, (minute + 1) * MINUTE))
        for minute in range(max(1, int(soak.seconds // MINUTE)))
    ]
    return [
        Series(
            kind,
            [(minute + 0.5, 1000 * percentile(window[kind], share)) for minute, window in windows if kind in window],
            dashed=kind == load.HEALTH,
        )
        for kind in CURVES
    ]


def _rows(soak: Soak) -> list[list[object]]:
    """A header, and a row for each moment: of the time since the one before it."""
    kinds = sorted({sample.kind for sample in soak.books.samples})
    tables = sorted({name for _, moment in soak.moments for name in moment.tables})
    header: list[object] = ["seconds", "load", "connections"]
    header += [f"{p}: {what}" for p in PROGRAMS.values() for what in ("memory MB", "descriptors", "processor seconds")]
    header += [f"{kind}: {what}" for kind in kinds for what in ("count", "p50 ms", "p99 ms")]
    header += [f"{name}: {what}" for name in tables for what in ("heap bytes", "index bytes", "rows", "dead rows")]
    rows = [header]
    before = 0.0
    for at, moment in soak.moments:
        row: list[object] = [round(at, 1), moment.load, moment.connections]
        for program in PROGRAMS.values():
            processes = moment.processes[program]
            row += [round(processes.memory, 2), processes.descriptors, processes.seconds]
        window = soak.books.window(before, at)
        for kind in kinds:
            values = window.get(kind, [])
            row += [len(values), *(round(1000 * percentile(values, share), 2) for share in (0.5, 0.99))]
        for name in tables:
            table = moment.tables.get(name, Table(0, 0, 0, 0))
            row += [table.heap, table.indexes, table.rows, table.dead]
        rows.append(row)
        before = at
    return rows


def percentile(values: list[float], share: float) -> float:
    """Of sorted values; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0
