"""A provider of AI as a process of its own: what the gateway's tests and benchmarks call upstream.

How a request asks for slow, broken, huge or failing answers is in upstream/directions.py.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cacheservice.supervisor import Child, wait_until_ready
from tests.processes import HOST, ROOT, free_port, wait_for

CREDENTIAL = "sk-upstream-of-tests-0123456789"


@dataclass(frozen=True)
class Call:
    """A request that the upstream got. `status` is what it answered, 0 where it cut the connection, None so far not."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    status: int | None
    disconnected: bool  # whether the client left before the answer's end

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RunningUpstream:
    url: str  # without a path: OpenAI's base URL is `url + "/v1"`, Anthropic's `url`
    credential: str = field(repr=False)
    process: subprocess.Popen[bytes]

    def calls(self) -> list[Call]:
        """What it received since the last reset, oldest first; nothing where it does not record."""
        found: list[dict[str, Any]] = self._control("/_calls")["calls"]
        return [_call(told) for told in found]

    def count(self) -> int:
        """How many calls it received since the last reset."""
        count: int = self._control("/_calls")["count"]
        return count

    def reset(self) -> None:
        """No calls, none held, nothing directed."""
        self._control("/_reset", b"")

    def hold(self, after_events: int = 0) -> None:
        """From now on no answer begins until `release`; or each stream waits once it sent so many events."""
        self._control("/_hold", json.dumps(after_events).encode())

    def release(self) -> None:
        self._control("/_release", b"")

    def direct(self, directions: str) -> None:
        """What all calls are to do from now on, as in `status-503`; an empty string ends it."""
        self._control("/_direct", directions.encode())

    def wait_for_calls(self, count: int, seconds: float = 10) -> None:
        wait_for(lambda: self.count() >= count, seconds, f"{count} calls upstream")

    def _control(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body), timeout=30) as answer:
            result: dict[str, Any] = json.loads(answer.read())
            return result


def _call(told: dict[str, Any]) -> Call:
    headers = {name.lower(): value for name, value in told.pop("headers")}
    return Call(headers=headers, body=base64.b64decode(told.pop("body")), **told)


@contextmanager
def running_upstream(credential: str = CREDENTIAL, *, record: bool = True) -> Iterator[RunningUpstream]:
    """The upstream, ready to answer; stopped at the end. For benchmarks `record=False`: it counts calls, no more."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="upstream-") as directory:
        child = Child.start(
            "upstream",
            [sys.executable, "-m", "tests.upstream", str(port), *([] if record else ["--no-record"])],
            log_path=Path(directory) / "upstream.log",
            directory=ROOT,
            environment={**os.environ, "UPSTREAM_CREDENTIAL": credential},
        )
        try:
            wait_until_ready(HOST, port, [child], timeout=30)
            yield RunningUpstream(f"http://{HOST}:{port}", credential, child.process)
        finally:
            child.stop()


@pytest.fixture(scope="session")
def upstream() -> Iterator[RunningUpstream]:
    """One for the whole run; tests reset it."""
    with running_upstream() as running:
        yield running
