"""Runs of wrk, and the proof that each measured what it says."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.measurement import BenchError, Measurement
from bench.service import HOST, ITEMS, Service

SCRIPT = Path(__file__).with_name("requests.lua")
MISSING = "wrk is not installed: sudo apt-get install wrk"
WHATS = ("hit", "miss", "put", "mix")
LEAST_SHARE = 0.99  # of hits among a hit run's answers; keys and ages of other lengths blur it by half a percent


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        raise BenchError(MISSING)


def requests_of(service: Service, what: str, connections: int, seconds: float, entries: int) -> Measurement:
    """`what` (see WHATS) over random keys k0 … k<entries-1>. Raises BenchError unless every answer was as meant."""
    result = _run(service, what, connections, seconds, entries)
    if result["status_errors"] or result["socket_errors"] or not result["requests"]:
        raise BenchError(f"{what} at {connections} connections: {result}")
    if what in ("hit", "miss"):
        _check_hits(service, what, result["bytes"] / result["requests"], entries)
    return Measurement(result["requests"] / result["microseconds"] * 1e6, result["p50"], result["p99"])


def bare(service: Service, connections: int, seconds: float) -> Measurement:
    """GETs of an application that does nothing."""
    result = _run(service, "hit", connections, seconds, 1)
    if result["status_errors"] or result["socket_errors"]:
        raise BenchError(f"bare application at {connections} connections: {result}")
    return Measurement(result["requests"] / result["microseconds"] * 1e6, result["p50"], result["p99"])


def _run(service: Service, what: str, connections: int, seconds: float, entries: int) -> dict[str, Any]:
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    variables = {
        "BENCH_TOKEN": service.token,
        "BENCH_WHAT": what,
        "BENCH_ENTRIES": str(entries),
        "BENCH_SEED": str(random.randrange(1 << 31)),
    }
    run = subprocess.run(
        [*command, "--script", str(SCRIPT), f"http://{HOST}:{service.port}/"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if run.returncode or not lines:
        raise BenchError(f"wrk failed: {(run.stderr or run.stdout).strip()[-300:]}")
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def _check_hits(service: Service, what: str, mean_bytes: float, entries: int) -> None:
    """A hit and a miss are both 200, but of very different length, so the mean length tells the share of hits.

    Looking at each answer in Lua would measure Lua.
    """
    hit = _length(service, f"{ITEMS}k{random.randrange(entries)}", "HIT")
    miss = _length(service, f"{ITEMS}absent{random.randrange(entries)}", "MISS")
    hits = (mean_bytes - miss) / (hit - miss)
    share = hits if what == "hit" else 1 - hits
    if share < LEAST_SHARE:
        raise BenchError(f"only {share:.1%} of the answers were a {what}")


def _length(service: Service, path: str, expected: str) -> int:
    """About the bytes of the whole answer, headers and all. Raises BenchError for another x-cache than expected."""
    status, headers, body = service.get(path)
    if status != 200 or headers.get("x-cache") != expected:
        raise BenchError(f"{path}: {status} with x-cache {headers.get('x-cache')}, not {expected}")
    return len("HTTP/1.1 200 OK\r\n\r\n") + sum(len(name) + len(headers[name]) + 4 for name in headers) + len(body)
