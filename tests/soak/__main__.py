"""`python -m tests.soak`: an hour by default; writes docs/images/soak.svg and its part of docs/reliability.md.

Exits with 1 where an answer was wrong, a hit was charged that nobody got, or the books do not add up.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from cacheservice import embedded
from tests.processes import ROOT
from tests.soak import page
from tests.soak.load import Books, Load
from tests.soak.page import Soak
from tests.soak.service import Service, running_service
from tests.soak.watch import Moment, look

EVERY_SECONDS = 10
TOLD = 4_000  # characters of a log


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1.0, help="times about 50 requests a second")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all that is chosen at random")
    parser.add_argument("--samples", type=Path, default=ROOT / "var" / "soak.csv", help="where every sample goes")
    options = parser.parse_args()
    options.samples.parent.mkdir(exist_ok=True)
    _say(f"seed {options.seed}, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="cacheservice-soak-") as temporary:
        directory = Path(temporary)
        try:
            with running_service(directory) as service:
                soak = _soak(service, directory, options.minutes * 60, options.seed, options.rate)
        except BaseException:  # why, is in what the service said
            for log in (directory / "up.log", *directory.glob("log/*.log")):
                _say(f"{log.name}:\n{log.read_text(errors='replace')[-TOLD:]}")
            raise
    page.write(soak, options.samples)
    for each in (*soak.deviations, *soak.books.said):
        _say(each)
    return int(bool(soak.deviations))


def _soak(service: Service, directory: Path, seconds: float, seed: int, rate: float) -> Soak:
    from tests.meters import discrepancies, used  # these want Django's settings, which only now are there

    dsn = embedded.dsn(directory, "cacheservice")
    books, moments = Books(), list[tuple[float, Moment]]()
    with psycopg.connect(dsn, autocommit=True) as database, Load(service, books, seed, rate):
        while (at := time.monotonic() - books.began) < seconds:
            moments.append((at, look(service.up, database)))
            _report(books, at, moments[-1][1])
            time.sleep(max(0, min(EVERY_SECONDS, books.began + seconds - time.monotonic())))
        moments.append((seconds, look(service.up, database)))
    time.sleep(2)  # what was not waited for is booked
    charged = used(service.tenant_id, dsn=dsn).hits
    deviations = discrepancies(dsn=dsn)
    if not books.hits <= charged <= books.hits + books.errors.total():
        deviations.append(f"{charged} hits charged, {books.hits} acknowledged, {books.errors.total()} unknown")
    if books.errors:
        deviations.append(f"wrong or missing answers: {dict(books.errors)}, as {books.said[0]!r}")
    command = [sys.executable, "manage.py", "reconcile"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if done.returncode:
        deviations.append(f"reconciliation: {done.stdout} {done.stderr}")
    date = datetime.now(UTC).date().isoformat()
    return Soak(date, seed, seconds, books, moments, charged, done.stdout.strip(), deviations)


def _report(books: Books, at: float, moment: Moment) -> None:
    memory = ", ".join(f"{program} {processes.memory:.0f} MB" for program, processes in moment.processes.items())
    _say(
        f"{at:5.0f} s: {len(books.samples):,} requests, {books.errors.total()} errors, {memory}, load {moment.load:.1f}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
