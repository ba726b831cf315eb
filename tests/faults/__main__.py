"""`python -m tests.faults`: every fault at its full count, and the table of docs/reliability.md.

Each is a test, run in a process of its own with `CACHE_TEST_SCALE=full`, on databases and servers of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make faults -->\n", "<!-- to here -->\n"
FAULTS = "tests/test_faults.py"


@dataclass(frozen=True)
class Fault:
    """`count` and `seen` where the test itself does not tell them."""

    name: str
    what: str
    test: str
    count: str = ""
    seen: str = ""


ALL = (
    Fault(
        "server-kill",
        "SIGKILL of a server process, one of three, under 64 clients that write, read and delete",
        f"{FAULTS}::test_killed_servers_lose_nothing_and_charge_for_nothing",
    ),
    Fault(
        "database-kill",
        "SIGKILL of all processes of PostgreSQL under 64 clients; serving again within 10 s",
        f"{FAULTS}::test_killed_database_loses_nothing_and_charges_for_nothing",
    ),
    Fault(
        "cut",
        "a connection to PostgreSQL cut at any byte of a round trip, while refunding too",
        f"{FAULTS}::test_connections_cut_at_commit_charge_nobody_for_nothing",
    ),
    Fault(
        "credits",
        "credits for 100 hits, 256 GETs at once: exactly 100 are paid",
        f"{FAULTS}::test_credits_for_some_hits_pay_for_exactly_those",
    ),
    Fault(
        "quota",
        "64 PUTs at once that straddle the quota: it is not passed, and what fits is not refused for good",
        f"{FAULTS}::test_writers_straddling_the_quota_never_pass_it",
    ),
    Fault(
        "purge",
        "purge against renewals of entries that are just expiring: no live one is removed",
        "tests/test_purge.py::test_purge_beside_renewals_removes_nothing_live",
        count="300,000",
        seen="a third each by PATCH, by PUT and by SQL",
    ),
    Fault(
        "tasks",
        "every scheduled task run twice at once, and again afterwards: effects once",
        f"{FAULTS}::test_tasks_that_run_twice_have_their_effects_once",
    ),
    Fault(
        "rollup-kill",
        "SIGKILL of a rollup before or after any of its statements: totals = Σ receipts",
        "tests/test_rollup.py::test_rollup_killed_midway_loses_nothing_and_counts_nothing_twice",
        count="200",
    ),
    Fault(
        "byte-seconds",
        "operations by six API keys on a clock of the test's own: byte-microseconds a key and a day against a replay",
        f"{FAULTS}::test_byte_seconds_are_those_of_a_replay",
    ),
    Fault(
        "midnight",
        "a UTC midnight while 64 requests are under way: each is in one day, one that it touched",
        f"{FAULTS}::test_requests_over_midnight_are_each_in_one_day",
    ),
    Fault(
        "budget",
        "a budget for 10 calls of the gateway, 800 at once from four processes: exactly 10 are let through",
        "tests/test_gateway_budget_races.py::test_budget_for_ten_calls_lets_ten_of_several_processes_pass",
        count="40",
    ),
    Fault(
        "budget-kill",
        "SIGKILL of a process while it reserves and settles: what may have been spent counts",
        "tests/test_gateway_budget_races.py::test_killed_processes_leave_their_calls_counted",
        count="40",
    ),
    Fault(
        "leavers",
        "clients of the gateway that leave midway, by either policy: no reservation stays, each call is booked once",
        "tests/test_gateway_hostile.py::test_clients_that_leave_midway_leave_no_reservation",
        count="2,000",
    ),
    Fault(
        "floods",
        "10 GB from an upstream, as JSON, as events, as one event: at most 64 MB more memory, and the client is told",
        "tests/test_gateway_hostile.py::test_floods_take_little_memory",
        count="400",
    ),
    Fault(
        "inside",
        "spellings of private addresses as a provider's URL, and a name that resolves anew: no connection inside",
        "tests/test_gateway_egress.py",
        count="579",
        seen="161 hosts three ways, 48 URLs two ways",
    ),
)


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
    parser.add_argument(
        "--only", choices=[fault.name for fault in ALL], action="append", help="then no page is written"
    )
    options = parser.parse_args()
    _say(f"seed {options.seed}\n")
    runs = [_run(fault, options.seed) for fault in ALL if fault.name in (options.only or [fault.name])]
    table = _table(runs, options.seed)
    _say(table)
    if not options.only and all(run.ended for run in runs):
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    return int(any(run.deviations for run in runs))


def _run(fault: Fault, seed: int) -> Run:
    _say(f"{fault.name}: {fault.what}\n")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cacheservice-faults-") as directory:
        results = Path(directory, "results")
        environment = {
            **os.environ,
            "CACHE_TEST_SCALE": "full",
            "CACHE_FAULTS_SEED": str(seed),
            "CACHE_FAULTS_RESULTS": str(results),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-s",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            fault.test,
        ]
        log = Path(directory, "log")
        with (
            log.open("w") as output,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.PIPE, text=True
            ) as process,
        ):
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("  "):  # progress; the rest is the service's own log
                    _say(line)
                else:
                    output.write(line)
        seconds = time.monotonic() - began
        told: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
        deviations = list(told.get("deviations", []))
        ended = bool(told) or process.returncode == 0
        if process.returncode:
            deviations = deviations or ["the test failed"]
            _say(log.read_text())
    seen = ", ".join(f"{number:,} {name}" for name, number in told.get("seen", {}).items())
    count = f"{told['count']:,}" if told else fault.count
    _say(f"  {len(deviations)} deviations, {seconds:.0f} s\n")
    return Run(fault, count, seen or fault.seen, deviations, ended, seconds)


def _table(runs: list[Run], seed: int) -> str:
    """As the page has it."""
    command = ["git", "log", "-1", "--format=%cs"]
    date = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    minutes = sum(run.seconds for run in runs) / 60
    lines = [
        f"Last run: commit of {date}, seed {seed}, {minutes:.0f} minutes on {os.cpu_count()} cores.",
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
