"""What one short run measured, and the median of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


class BenchError(Exception):
    """The benchmark cannot go on, or what it measured is not what it meant to; one line that says why."""


@dataclass(frozen=True)
class Measurement:
    """Answers a second; latencies in microseconds."""

    rate: float
    p50: float
    p99: float


def middle(runs: Sequence[Measurement]) -> Measurement:
    return Measurement(
        median(run.rate for run in runs), median(run.p50 for run in runs), median(run.p99 for run in runs)
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted samples lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
