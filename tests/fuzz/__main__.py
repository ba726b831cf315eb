"""Runs every target under atheris, each in a process of its own, and prints a table; an error exit where one failed.

What fails is written to a file, to be put into tests/fuzz/seeds/<target>/ with the fix.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
# libFuzzer's: an input that takes longer than this many seconds, or more memory than this many MB, is a failure too.
MOST_SECONDS, MOST_MEGABYTES = 10, 2048
# The parsers need Django's settings, and nothing that these name.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "cacheservice.settings",
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "CACHE_SECRET_KEY": "fuzzing needs no secret, but 32 characters",
    "CACHE_MASTER_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "CACHE_LOG_LEVEL": "ERROR",
}


class Outcome(NamedTuple):
    name: str
    runs: int
    seconds: float
    failed: bool
    said: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--only", nargs="*", help="these targets")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--list", action="store_true", help="the targets' names, and nothing else")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "fuzz", help="where inputs go")
    options = parser.parse_args()
    names = _names()
    if options.list:
        _say("\n".join(names))
        return 0
    wanted = options.only or names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"no such target: {', '.join(unknown)}; --list names them")
    options.findings.mkdir(parents=True, exist_ok=True)
    _say(f"{'target':28} {'executions':>12} {'seconds':>8}")
    failed = []
    with ThreadPoolExecutor(options.at_once) as pool:
        for outcome in pool.map(lambda name: _fuzz(name, options.seconds, options.findings), wanted):
            mark = "  FAILED" if outcome.failed else ""
            _say(f"{outcome.name:28} {outcome.runs:12,} {outcome.seconds:8.0f}{mark}")
            if outcome.failed:
                failed.append(outcome)
    for outcome in failed:
        _say(f"\n{outcome.name}\n{outcome.said}")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _names() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", "--list"],
        cwd=ROOT,
        env=_environment(),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # atheris tells of each module that it measures
        text=True,
    )
    return done.stdout.split()


def _fuzz(name: str, seconds: int, findings: Path) -> Outcome:
    command = [
        *(sys.executable, "-m", "tests.fuzz.one", name, f"-max_total_time={seconds}", f"-timeout={MOST_SECONDS}"),
        *(f"-rss_limit_mb={MOST_MEGABYTES}", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1"),
    ]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    runs = re.search(r"stat::number_of_executed_units: (\d+)", said)
    tail = "\n".join(said.splitlines()[-40:])
    return Outcome(name, int(runs[1]) if runs else 0, time.monotonic() - began, done.returncode != 0, tail)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CACHE_", "DATABASE_"))}
    path = os.pathsep.join((str(ROOT), str(ROOT / "clients/python/src")))
    return {**kept, **ENVIRONMENT, "PYTHONPATH": path}


if __name__ == "__main__":
    sys.exit(main())
