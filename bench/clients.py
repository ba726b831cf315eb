"""The Python SDK and its command line: what a `get` costs beside the bare HTTP library, how fast an import is, and when
waiting callers have a value that one of them made."""

import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench.measurement import BenchError
from bench.service import HOST, ITEMS, ROOT, Service
from bench.throughput import say

SOURCES = ROOT / "clients" / "python" / "src"
GETS = 2_000
IMPORTED = 50_000
PROCESSES, CALLERS = 4, 125
MAKING_SECONDS = 1.0


@dataclass(frozen=True)
class ClientsReport:
    get_times: float  # the SDK's median time of a hit, in times of the bare library's
    imported_per_second: float
    callers: int
    last_had_ms: Sequence[float]  # of each run: from the end of `make` until the last caller had the value
    calls_of_make: Sequence[int]


def measure(service: Service, directory: Path, rounds: int) -> ClientsReport:
    sys.path.insert(0, str(SOURCES))
    say("the SDK's get")
    times = statistics.median(_get_times(service) for _ in range(rounds))
    say(f"{PROCESSES * CALLERS} callers of a cold key")
    runs = [_cold_key(service, number) for number in range(rounds)]
    say(f"importing {IMPORTED:,} entries")
    imported = statistics.median(_imported_per_second(service, directory, number) for number in range(rounds))
    return ClientsReport(times, imported, PROCESSES * CALLERS, [had for had, _ in runs], [calls for _, calls in runs])


def _get_times(service: Service) -> float:
    """Both in turn, hit by hit."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # Django's settings would have every request logged
    from cacheservice_client import Cache

    url = f"http://{HOST}:{service.port}"
    with (
        Cache(url=url, api_key=service.token) as cache,
        httpx2.Client(headers={"Authorization": f"Bearer {service.token}"}) as bare,
    ):
        sdk_seconds, bare_seconds = [], []
        for number in range(GETS):
            key = f"k{number}"
            sdk_seconds.append(_seconds(lambda key=key: cache.get(key)))  # type: ignore[misc]
            bare_seconds.append(_seconds(lambda key=key: bare.get(f"{url}{ITEMS}{key}").json()))  # type: ignore[misc]
    return statistics.median(sdk_seconds) / statistics.median(bare_seconds)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _imported_per_second(service: Service, directory: Path, number: int) -> float:
    """Entries of 1 kB under fresh keys, from the command's start to its end."""
    path = directory / "import.jsonl"
    with path.open("w") as file:
        for entry in range(IMPORTED):
            value = {"answer": f"{entry} " + "x" * 1000}
            file.write(json.dumps({"key": f"imported-{number}-{entry}", "value": value, "ttl": 604800}) + "\n")
    began = time.perf_counter()
    run = _python(service, ["-m", "cacheservice_client.cli", "import", str(path)])
    output = run.communicate(timeout=300)[0]
    seconds = time.perf_counter() - began
    path.unlink()
    if run.returncode:
        raise BenchError(f"cachectl import failed: {output[-300:]}")
    return IMPORTED / seconds


def _cold_key(service: Service, number: int) -> tuple[float, int]:
    """Milliseconds from the end of `make` until the last of all callers had the value, and the calls of `make`."""
    start = time.time() + 3
    arguments = ["-m", "bench.callers", f"cold-{number}", str(CALLERS), str(MAKING_SECONDS), str(start)]
    processes = [_python(service, arguments) for _ in range(PROCESSES)]
    outcomes = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    made_at = [at for outcome in outcomes for at in outcome["made_at"]]
    return 1000 * (max(outcome["last_had_at"] for outcome in outcomes) - max(made_at)), len(made_at)


def _python(service: Service, arguments: Sequence[str]) -> "subprocess.Popen[str]":
    client = {"CACHE_URL": f"http://{HOST}:{service.port}", "CACHE_API_KEY": service.token}
    environment = {**os.environ, **client, "PYTHONPATH": f"{SOURCES}{os.pathsep}{ROOT}"}
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
