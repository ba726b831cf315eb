"""`python -m tests.faults`: every fault at its full count, and the table of docs/reliability.md.

Each is a test or several, run in a process of their own with `CACHE_TEST_SCALE=full`, on databases and servers of their
own. `--only NAME --seed N` repeats one as it was.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.catalogue import ALL, CASES, Fault

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make faults -->\n", "<!-- to here -->\n"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:randomly")
PASSED = re.compile(r"(\d+) passed")
TOLD = 20_000  # characters of a log


@dataclass(frozen=True)
class Run:
    fault: Fault
    count: str
    seen: str
    deviations: list[str]
    ended: bool  # it tells of all that it tried
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all that is chosen at random")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default: %(default)s)")
    parser.add_argument(
        "--only", choices=[fault.name for fault in ALL], action="append", help="then no page is written"
    )
    parser.add_argument("--resume", type=Path, help="a file that keeps what is done: what it has is not run again")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    options = parser.parse_args()
    if options.list:
        _say("".join(f"{fault.name}: {fault.what}\n" for fault in ALL))
        return 0
    chosen = [fault for fault in ALL if fault.name in (options.only or [fault.name])]
    _say(f"seed {options.seed}, {len(chosen)} faults, {options.jobs} at once\n")
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda fault: _resumed(fault, options.seed, options.resume), chosen))
    minutes = max(time.monotonic() - began, sum(run.seconds for run in runs) / options.jobs) / 60
    table = _table(runs, options.seed, options.jobs, minutes)
    _say(table)
    if not options.only and all(run.ended for run in runs):
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    return int(any(run.deviations for run in runs))


def _resumed(fault: Fault, seed: int, path: Path | None) -> Run:
    """As it is known of an earlier run with this seed, that found nothing; else it is run."""
    if path is None:
        return _run(fault, seed)
    lines = path.read_text().splitlines() if path.exists() else []
    for told in map(json.loads, lines):
        if (told.pop("name"), told.pop("seed")) == (fault.name, seed):
            return Run(fault, **told)
    run = _run(fault, seed)
    if not run.deviations:
        known = {name: value for name, value in vars(run).items() if name != "fault"}
        with path.open("a") as file:
            file.write(json.dumps({"name": fault.name, "seed": seed, **known}) + "\n")
    return run


def _run(fault: Fault, seed: int) -> Run:
    _say(f"{fault.name}: {fault.what}\n")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cacheservice-faults-") as directory:
        results, log = Path(directory, "results"), Path(directory, "log")
        code = _run_tests(fault, seed, results, log)
        seconds = time.monotonic() - began
        told: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
        deviations = list(told.get("deviations", []))
        output = log.read_text(errors="replace")
    passed = PASSED.search(output)
    if code:
        deviations = deviations or ["the test failed"]
        _say(f"{fault.name} failed:\n{output[-TOLD:]}\n")
    seen = ", ".join(f"{number:,} {name}" for name, number in told.get("seen", {}).items())
    count = f"{told['count']:,}" if told else fault.count or f"{int(passed.group(1)) if passed else 0:,} tests"
    _say(f"{fault.name}: {len(deviations)} deviations, {seconds:.0f} s\n")
    return Run(fault, count, seen or fault.seen, deviations, bool(told) or code == 0, seconds)


def _run_tests(fault: Fault, seed: int, results: Path, log: Path) -> int:
    """Their exit status. Progress is said at once, the rest goes into the log."""
    environment = {
        **os.environ,
        "CACHE_TEST_SCALE": "full",
        "CACHE_TEST_CASES": str(CASES),
        "CACHE_FAULTS_SEED": str(seed),
        "CACHE_FAULTS_RESULTS": str(results),
    }
    command = [*PYTEST, f"--hypothesis-seed={seed}", *fault.tests]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("  "):  # progress; the rest is the service's own log
                _say(f"{fault.name}:{line}")
            else:
                output.write(line)
    return process.returncode


def _table(runs: list[Run], seed: int, jobs: int, minutes: float) -> str:
    """As the page has it."""
    command = ["git", "log", "-1", "--format=%h of %cs"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        f"Last run: commit {commit}, seed {seed}; {minutes:.0f} minutes, {jobs} at once, {os.cpu_count()} cores.",
        "",
        "| what was tried | how often | what happened meanwhile | deviations | seconds |",
        "|---|---:|---|---:|---:|",
        *(
            f"| {run.fault.what} | {run.count} | {run.seen} | {len(run.deviations)} | {run.seconds:.0f} |"
            for run in runs
        ),
    ]
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
