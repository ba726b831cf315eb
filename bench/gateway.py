"""The gateway before a fake upstream on the same machine: stored answers beside the lane's, what a miss adds to a call,
and what open streams take of memory."""

import http.client
import json
import os
import random
import resource
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from statistics import mean, median

import msgspec

from bench import entries, wrk
from bench.measurement import BenchError, Measurement, percentile
from bench.metering import django_on
from bench.service import HOST, ROOT, Owner, Service, copy_of_database, running_service, server_memory, vacuum
from bench.streams import OPEN, Asking, Timings
from bench.throughput import Row, in_turn, say
from tests.upstreams import RunningUpstream, running_upstream

LOOPBACK = "127.0.0.0/8"
CHAT = "/v1/chat/completions"
PROVIDER = "openai"
SCRIPT = Path(__file__).with_name("gateway.lua")
LANE, GATEWAY = "hit", "stored completion"

PROMPTS, WORDS = 1_000, 56  # of eight hexadecimal digits and a blank each: prompts of 500 bytes, answers of 1 KB
HIT_CONNECTIONS = 32
FILLERS = 4

STREAMS = 100
# About a fifth of a second until the first event, then 50 tokens a second, as chat models have it.
DIRECTIONS = "slow-200ms+drip-20ms+words-50"
EVENTS = 54  # of such an answer: a role, the words, why it ended, usage, [DONE]
STREAM_SECONDS = 4  # times the length of a run of wrk

OPEN_STREAMS = 2_000
FILES_A_STREAM = 2  # the client's connection, and the upstream's
HELD_AFTER = 2  # events
OPENING_SECONDS, IDLE_SECONDS = 40, 5
DEADLINE = 120


@dataclass(frozen=True)
class Overhead:
    """Of one kind of moment, in ms: each round's percentile directly and through the gateway."""

    what: str
    direct: list[float]
    through: list[float]

    @property
    def differences(self) -> list[float]:
        return [there - here for here, there in zip(self.direct, self.through, strict=True)]

    @property
    def added(self) -> float:
        return median(self.differences)


@dataclass(frozen=True)
class GatewayReport:
    answer_bytes: float  # of a stored completion, mean
    value_bytes: int  # of the lane's entries
    rows: list[Row]  # GET hits of the lane, and chat completions from the cache
    overheads: list[Overhead]
    streams: list[int]  # of each round, through the gateway
    busy: dict[str, float]  # share of the machine's cores while streams were measured, directly and through
    memory_mb: dict[str, float]  # of the server's worker: before, with all streams open, after, at most

    @property
    def share_of_lane(self) -> float:
        """Of medians."""
        rates = {row.what: row.middle.rate for row in self.rows}
        return rates[GATEWAY] / rates[LANE]


def measure(template: str, owner: Owner, seconds: float, rounds: int) -> GatewayReport:
    """All of it in one server process, one after the other."""
    _allow_files(FILES_A_STREAM * OPEN_STREAMS + 1000)
    dsn = copy_of_database(template, "gateway")
    allowed = {"CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    with running_upstream(record=False) as upstream:
        _make_provider(dsn, owner, upstream)
        with running_service(dsn, owner, environment=allowed) as service:
            lengths, rows = _hits(service, dsn, upstream, seconds, rounds)
            overheads, streams, busy = _misses(service, upstream, STREAM_SECONDS * seconds, rounds)
            memory = _open_streams(service, upstream)
    return GatewayReport(mean(lengths), len(entries.new_value()), rows, overheads, streams, busy, memory)


def _allow_files(count: int) -> None:
    """For this process and those it starts from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(
            f"{OPEN_STREAMS:,} streams need {count:,} open files, and only {hard:,} are allowed: ulimit -Hn"
        )
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _make_provider(dsn: str, owner: Owner, upstream: RunningUpstream) -> None:
    from django.test import override_settings

    from gateway import providers
    from gateway.models import Kind
    from gateway.providers import ProviderSettings

    wanted = ProviderSettings(kind=Kind.OPENAI, base_url=upstream.url, credential=upstream.credential.encode())
    with django_on(dsn), override_settings(GATEWAY_ALLOW_NETWORKS=[ip_network(LOOPBACK)]):
        providers.put_provider(owner.tenant_id, PROVIDER, wanted, "bench")


# Stored answers


def _hits(
    service: Service, dsn: str, upstream: RunningUpstream, seconds: float, rounds: int
) -> tuple[list[int], list[Row]]:
    """The lengths of the stored answers; and the rates of both, in turn."""
    say(f"gateway: {PROMPTS:,} chat completions and as many entries of the lane")
    bodies = [_question() for _ in range(PROMPTS)]
    path = Path(os.environ["CACHE_VAR_DIR"]) / "bodies.jsonl"
    path.write_bytes(b"\n".join(bodies) + b"\n")
    _completions(service, bodies, "MISS")
    lengths = _completions(service, bodies, "HIT")
    entries.write_entries(service, PROMPTS)
    vacuum(dsn)

    def stored() -> Measurement:
        calls = upstream.count()
        measured = _chat(service, path, seconds)
        if upstream.count() != calls:
            raise BenchError(f"{upstream.count() - calls} completions were not answered from the cache")
        return measured

    def of_lane() -> Measurement:
        return wrk.requests_of(service, "hit", HIT_CONNECTIONS, seconds, PROMPTS)

    stored(), of_lane()  # to warm up
    say(f"gateway: hits at {HIT_CONNECTIONS} connections")
    return lengths, in_turn({LANE: of_lane, GATEWAY: stored}, HIT_CONNECTIONS, rounds)


def _question() -> bytes:
    text = " ".join(secrets.token_hex(4) for _ in range(WORDS))
    return json.dumps(
        {"model": "gpt-4o-mini", "temperature": 0, "messages": [{"role": "user", "content": text}]}
    ).encode()


def _completions(service: Service, bodies: Sequence[bytes], expected: str) -> list[int]:
    """Ask for each once; the answers' lengths. Raises BenchError where `x-cache` is not as expected."""
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}

    def ask(share: Sequence[bytes]) -> list[int]:
        connection = http.client.HTTPConnection(HOST, service.port, timeout=60)
        lengths = []
        for body in share:
            connection.request("POST", f"/gateway/{PROVIDER}{CHAT}", body, headers)
            response = connection.getresponse()
            answer = response.read()
            if (response.status, response.getheader("x-cache")) != (200, expected):
                raise BenchError(f"not a {expected}: {response.status} {response.headers} {answer[:300]!r}")
            lengths.append(len(answer))
        connection.close()
        return lengths

    with ThreadPoolExecutor(FILLERS) as pool:
        return [length for share in pool.map(ask, (bodies[n::FILLERS] for n in range(FILLERS))) for length in share]


def _chat(service: Service, bodies: Path, seconds: float) -> Measurement:
    """Chat completions chosen at random, by wrk. Raises BenchError unless every answer was 200."""
    variables = {
        "BENCH_TOKEN": service.token,
        "BENCH_PATH": f"/gateway/{PROVIDER}{CHAT}",
        "BENCH_BODIES": str(bodies),
        "BENCH_SEED": str(random.randrange(1 << 31)),
    }
    command = ["wrk", "--threads", "1", "--connections", str(HIT_CONNECTIONS), "--duration", f"{seconds:.0f}s"]
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
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["status_errors"] or result["socket_errors"] or not result["requests"]:
        raise BenchError(f"stored completions at {HIT_CONNECTIONS} connections: {result}")
    return Measurement(result["requests"] / result["microseconds"] * 1e6, result["p50"], result["p99"])


# Streams


def _misses(
    service: Service, upstream: RunningUpstream, seconds: float, rounds: int
) -> tuple[list[Overhead], list[int], dict[str, float]]:
    """Percentiles of each round, directly and through the gateway in turn; how many streams; how busy the machine."""
    say(f"gateway: {STREAMS} streams at once, directly and through it")
    upstream.reset()
    upstream.direct(DIRECTIONS)
    kinds = {"direct": _direct(upstream, seconds), "through": _through(service, STREAMS, seconds)}
    rounds_of: dict[str, list[Timings]] = {name: [] for name in kinds}
    busy: dict[str, list[float]] = {name: [] for name in kinds}
    for asking in kinds.values():
        _timings(msgspec.structs.replace(asking, seconds=seconds / 4))  # to connect and to warm up
    for _ in range(rounds):
        for name, asking in kinds.items():
            before = _jiffies()
            rounds_of[name].append(_timings(asking))
            busy[name].append(_busy(before, _jiffies()))
    upstream.reset()
    overheads = [
        Overhead(
            f"{moment} at {title}",
            *(
                [percentile(sorted(getattr(timings, member)), share) for timings in rounds_of[name]]
                for name in ("direct", "through")
            ),
        )
        for moment, member in (("first byte", "first"), ("end", "last"))
        for title, share in (("p50", 0.5), ("p99", 0.99))
    ]
    counts = [len(timings.last) for timings in rounds_of["through"]]
    return overheads, counts, {name: median(shares) for name, shares in busy.items()}


def _direct(upstream: RunningUpstream, seconds: float) -> Asking:
    """As the gateway asks: with the usage event."""
    port = int(upstream.url.rpartition(":")[2])
    return Asking(port, CHAT, upstream.credential, STREAMS, seconds, usage=True, header="")


def _through(service: Service, streams: int, seconds: float) -> Asking:
    """As clients ask: without it."""
    path = f"/gateway/{PROVIDER}{CHAT}"
    return Asking(service.port, path, service.token, streams, seconds, usage=False, header="x-cache: miss\r\n")


@contextmanager
def _client(asking: Asking) -> Iterator["subprocess.Popen[str]"]:
    """A process that has been told what to ask for; killed, if it is still there at the end."""
    command = [sys.executable, "-m", "bench.streams"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(asking).decode() + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _timings(asking: Asking) -> Timings:
    with _client(asking) as process:
        return _result(process)


def _result(process: "subprocess.Popen[str]") -> Timings:
    output, errors = process.communicate(timeout=DEADLINE)
    if process.returncode:
        raise BenchError(f"streams failed: {errors.strip()[-700:]}")
    return msgspec.json.decode(output.splitlines()[-1], type=Timings)


def _open_streams(service: Service, upstream: RunningUpstream) -> dict[str, float]:
    """The worker's memory around OPEN_STREAMS answers that wait for their upstream after a few events, in MB."""
    say(f"gateway: {OPEN_STREAMS:,} open streams")
    upstream.reset()
    upstream.hold(HELD_AFTER)
    memory = {"before": server_memory(service)["VmRSS"]}
    try:
        with _client(_through(service, OPEN_STREAMS, 0)) as process:
            _wait_until_open(process, upstream)
            time.sleep(IDLE_SECONDS)
            if (count := upstream.count()) != OPEN_STREAMS:
                raise BenchError(f"{count} calls upstream, not {OPEN_STREAMS}")
            memory["open"] = server_memory(service)["VmRSS"]
            upstream.release()
            _result(process)
    finally:
        upstream.reset()
    time.sleep(IDLE_SECONDS)
    now = server_memory(service)
    return {**memory, "after": now["VmRSS"], "most": now["VmHWM"]}


def _wait_until_open(process: "subprocess.Popen[str]", upstream: RunningUpstream) -> None:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], OPENING_SECONDS)
    if not ready:
        raise BenchError(f"only {upstream.count():,} of {OPEN_STREAMS:,} streams could be open at the same time")
    if process.stdout.readline().strip() != OPEN:
        _result(process)


def _jiffies() -> list[int]:
    """Of all cores since the machine started: user, nice, system, idle, iowait, …"""
    return [int(count) for count in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]


def _busy(before: Sequence[int], after: Sequence[int]) -> float:
    """The share of the time between that the cores worked, whoever they worked for."""
    spent = [there - here for here, there in zip(before, after, strict=True)]
    return 1 - (spent[3] + spent[4]) / sum(spent)
