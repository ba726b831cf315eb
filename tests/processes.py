"""Real processes for tests: started on free ports of 127.0.0.1, stopped by pid, bounded in time."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cacheservice.supervisor import Child, server_command, wait_until_ready

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"


@dataclass(frozen=True)
class RunningServer:
    url: str
    process: subprocess.Popen[bytes]
    log_path: Path


@contextmanager
def running_server(log_path: Path, environment: Mapping[str, str]) -> Iterator[RunningServer]:
    """granian with the application, ready to answer; stopped at the end."""
    port = free_port()
    command = server_command(HOST, port)
    child = Child.start("server", command, log_path=log_path, directory=ROOT, environment=environment)
    try:
        wait_until_ready(HOST, port, [child], timeout=60)
        yield RunningServer(f"http://{HOST}:{port}", child.process, log_path)
    finally:
        child.stop()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> set[int]:
    """The pids of a process's children, their children and so on."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Raises AssertionError, saying `what` did not happen, when the condition is still false after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Worker:
    """A process of the tests: a module that is told what to do, says so when it is ready, waits for `go`, and says what
    came of it, a line of JSON each."""

    def __init__(self, module: str, order: Mapping[str, Any]) -> None:
        command = [sys.executable, "-m", module, json.dumps(order)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said
