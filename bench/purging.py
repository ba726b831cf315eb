"""What a purge of many expired entries does to hits, and how fast it is."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

from bench import entries
from bench.measurement import BenchError
from bench.paced import PacedLoad, Window
from bench.service import ROOT, Owner, Service, vacuum
from bench.throughput import say

SETTLE_SECONDS = 1.0
LEAST_WINDOW_SECONDS = 1.0  # a shorter one, at the end, has too few samples for a percentile
MOST_SECONDS = 900.0


@dataclass(frozen=True)
class PurgeReport:
    """`quiet` and `purging` are windows in turn; `seconds` were spent purging, `removed` entries are gone.

    The start of `manage.py` itself counts as neither: the Celery task of a running service has none.
    """

    rate: float
    removed: int
    seconds: float
    quiet: list[Window]
    purging: list[Window]

    @property
    def times_p99(self) -> float:
        """The 99th percentile of a purging window over that of the quiet one before it; the median of all."""
        return median(b.p99 / a.p99 for a, b in zip(self.quiet, self.purging, strict=False))

    @property
    def times_served_p99(self) -> float:
        """The same from the moment of sending: without the sender's own lateness, and without waits for a connection.

        The latter are the server's, so this may be too kind.
        """
        return median(b.served_p99 / a.served_p99 for a, b in zip(self.quiet, self.purging, strict=False))


def measure(
    service: Service, dsn: str, owner: Owner, *, expired: int, rate: float, live: int, window_seconds: float
) -> PurgeReport:
    """Purge `expired` entries of `owner` under GETs of `live` entries of another tenant at a constant rate."""
    say(f"loading {expired:,} expired entries")
    entries.copy_expired_entries(dsn, owner, expired)
    vacuum(dsn)
    say(f"purging them under {rate:,.0f} GETs a second")
    quiet, purging, removed = [], [], 0
    deadline = time.monotonic() + MOST_SECONDS
    with PacedLoad(service, rate, live) as load:
        time.sleep(SETTLE_SECONDS)
        start_seconds = _seconds_of_start(dsn)
        while removed < expired:
            if time.monotonic() > deadline:
                raise BenchError(f"only {removed:,} entries were purged within {MOST_SECONDS:.0f} s")
            began = time.perf_counter()
            time.sleep(window_seconds)
            quiet.append((began, time.perf_counter()))
            began = time.perf_counter()
            removed += _purge(dsn, window_seconds)
            ended = time.perf_counter()
            say(f"{removed:,} purged")
            purging.append((min(began + start_seconds, ended - 0.1), ended))
    return PurgeReport(
        rate,
        removed,
        sum(end - begin for begin, end in purging),
        [load.samples.window(*window) for window in quiet],
        [load.samples.window(*window) for window in purging if window[1] - window[0] > LEAST_WINDOW_SECONDS]
        or [load.samples.window(*purging[-1])],
    )


def _seconds_of_start(dsn: str) -> float:
    """How long `manage.py purge` takes to do nothing."""
    began = time.perf_counter()
    _purge(dsn, 0)
    return time.perf_counter() - began


def _purge(dsn: str, seconds: float) -> int:
    """`manage.py purge` for about this long; how many entries it removed."""
    command = [sys.executable, "manage.py", "purge", "--seconds", str(seconds)]
    variables = {**os.environ, "DATABASE_URL": dsn}
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=seconds + 60)
    removed = re.search(r"(\d+) expired entries removed", run.stdout)
    if run.returncode or removed is None:
        raise BenchError(f"manage.py purge failed: {run.stderr.strip()[-300:]}")
    return int(removed[1])
