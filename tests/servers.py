"""Servers that a test starts for itself, on this worker's test database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection
from psycopg.conninfo import make_conninfo

from tests.processes import RunningServer, descendants, running_server


def environment_here(**settings: str) -> dict[str, str]:
    """The variables of a process on this worker's test database: those of the run, and these."""
    url = make_conninfo(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"])
    return {**os.environ, "DATABASE_URL": url, **settings}


@contextmanager
def own_server(directory: Path, **settings: str) -> Iterator[RunningServer]:
    """A server with these variables, ready to answer; stopped at the end."""
    with running_server(directory / "server.log", environment_here(**settings)) as running:
        yield running


def worker_memory(server: RunningServer, field: str = "VmRSS") -> int:
    """Bytes of memory of the server's worker process: now, or with VmHWM at most since `forget_peak`."""
    return max(_status(pid, field) for pid in descendants(server.process.pid))


def forget_peak(server: RunningServer) -> None:
    for pid in descendants(server.process.pid):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0  # it is ending
