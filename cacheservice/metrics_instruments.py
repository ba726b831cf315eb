"""What metrics are counted in: plain numbers of this process, without locks, added to in the event loop's thread.

Adding one costs 0.2 µs, where prometheus_client's own counters, shared between processes, take 2
(docs/decisions/019). `metrics_process.py` publishes them once a second for all processes of a server.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TypeAlias

import msgspec

Labels: TypeAlias = tuple[str, ...]  # values, in the order of their names
Series: TypeAlias = list[tuple[Labels, list[float]]]  # of a histogram: its buckets, each by itself, and the sum


class Kind(Enum):
    """How the numbers of several processes become one."""

    COUNTER = "counter"  # added, those of processes that ended too
    HISTOGRAM = "histogram"  # as above
    SUM = "gauge"  # added up over the living
    MOST = "largest"  # the largest of the living
    LEAST = "smallest"


class Snapshot(msgspec.Struct):
    """The numbers of a process at an instant, by metric."""

    series: dict[str, Series] = {}


class Instrument:
    """A metric: its name as Prometheus has it, what it means, and the names of its labels."""

    all: dict[str, "Instrument"] = {}

    def __init__(self, kind: Kind, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.kind, self.name, self.meaning, self.labels = kind, name, meaning, tuple(labels)
        assert name not in self.all, name  # noqa: S101  a defect, not an input
        self.all[name] = self

    def series(self) -> Series:
        raise NotImplementedError


class Counter(Instrument):
    """Only goes up. `known`: label values that exist before anything is counted, so that the first one shows as a
    step from 0."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), known: Iterable[Labels] = ()) -> None:
        super().__init__(Kind.COUNTER, name, meaning, labels)
        self._cells: dict[Labels, list[float]] = {each: [0] for each in (known if labels else [()])}

    def add(self, amount: float = 1, *labels: str) -> None:
        self.cell(labels)[0] += amount

    def cell(self, labels: Labels) -> list[float]:
        """What holds its number: for who counts often enough to keep it."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = [0]
        return cell

    def series(self) -> Series:
        return [(labels, list(cell)) for labels, cell in self._cells.items()]


class Gauge(Instrument):
    """As it is now; set shortly before it is published."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), kind: Kind = Kind.SUM) -> None:
        super().__init__(kind, name, meaning, labels)
        self._values: dict[Labels, float] = {}

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = float(value)

    def change(self, by: float) -> None:
        """Of one without labels, which is kept in step all the time."""
        self._values[()] = self._values.get((), 0) + by

    def series(self) -> Series:
        return [(labels, [value]) for labels, value in self._values.items()]


class Histogram(Instrument):
    """How many observations were how large. `bounds`: the largest value that each bucket but the last takes."""

    def __init__(
        self, name: str, meaning: str, bounds: Sequence[float], labels: Sequence[str] = (), known: Iterable[Labels] = ()
    ) -> None:
        super().__init__(Kind.HISTOGRAM, name, meaning, labels)
        self.bounds = tuple(bounds)
        self._rows: dict[Labels, list[float]] = {each: self._empty() for each in (known if labels else [()])}

    def observe(self, value: float, *labels: str) -> None:
        row = self.row(labels)
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value

    def row(self, labels: Labels) -> list[float]:
        """Its buckets and sum: for who observes often enough to keep it."""
        row = self._rows.get(labels)
        if row is None:
            row = self._rows[labels] = self._empty()
        return row

    def series(self) -> Series:
        return [(labels, list(row)) for labels, row in self._rows.items()]

    def _empty(self) -> list[float]:
        return [0] * (len(self.bounds) + 2)


def snapshot() -> Snapshot:
    """Of this process, now."""
    return Snapshot({name: each.series() for name, each in Instrument.all.items()})


def merged(living: Iterable[Snapshot], ended: Iterable[Snapshot]) -> Snapshot:
    """Several processes' as one: of those that ended only what was counted."""
    totals: dict[str, dict[Labels, list[float]]] = {}
    for snapshots, lives in ((living, True), (ended, False)):
        for one in snapshots:
            for name, series in one.series.items():
                instrument = Instrument.all.get(name)
                if instrument is None:  # another version's, whose last counts are still there
                    continue
                if lives or instrument.kind in (Kind.COUNTER, Kind.HISTOGRAM):
                    _merge(totals.setdefault(name, {}), series, _MERGE.get(instrument.kind, _add))
    return Snapshot({name: list(rows.items()) for name, rows in totals.items()})


def _merge(into: dict[Labels, list[float]], series: Series, merge: Callable[[float, float], float]) -> None:
    for labels, values in series:
        found = into.get(labels)
        if found is None:
            into[labels] = list(values)
        elif len(found) == len(values):  # else another version's buckets
            into[labels] = [merge(old, new) for old, new in zip(found, values, strict=True)]


def _add(old: float, new: float) -> float:
    return old + new


_MERGE: dict[Kind, Callable[[float, float], float]] = {Kind.MOST: max, Kind.LEAST: min}
