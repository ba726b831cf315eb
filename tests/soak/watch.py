"""What processes and the database hold at a moment: memory, descriptors, processor time, connections, table sizes."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.processes import descendants

MB = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")  # a second
SERVER, WORKER, BEAT, DATABASE = "server", "worker", "beat", "PostgreSQL"
PROGRAMS = {"granian": SERVER, "worker": WORKER, "beat": BEAT, "postgres": DATABASE}

TABLES = """
select relname, pg_table_size(relid), pg_indexes_size(relid), n_live_tup, n_dead_tup
from pg_stat_user_tables where pg_table_size(relid) > 0
"""
CONNECTIONS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@dataclass(frozen=True)
class Processes:
    """All processes of a program."""

    memory: float  # MB; what they share is counted once (PSS)
    descriptors: int
    seconds: float  # of processor time so far, by those that have ended too


@dataclass(frozen=True)
class Table:
    heap: int  # bytes, with TOAST
    indexes: int  # bytes
    rows: int  # as the statistics have it
    dead: int

    @property
    def size(self) -> int:
        return self.heap + self.indexes


@dataclass(frozen=True)
class Moment:
    processes: dict[str, Processes]  # by program
    connections: int
    tables: dict[str, Table]
    load: float  # of the machine: its processes that run or want to


def look(up: int, database: psycopg.Connection[tuple[object, ...]]) -> Moment:
    """Of everything that the supervisor with this pid started."""
    tables = database.execute(TABLES).fetchall()
    [connections] = database.execute(CONNECTIONS).fetchone() or (0,)
    return Moment(
        {program: _processes(pids) for program, pids in _pids(up).items()},
        int(str(connections)),
        {str(name): Table(*(int(str(number)) for number in numbers)) for name, *numbers in tables},
        os.getloadavg()[0],
    )


def _pids(up: int) -> dict[str, set[int]]:
    """By program. A program's own children are its."""
    found: dict[str, set[int]] = {program: set() for program in PROGRAMS.values()}
    for pid in descendants(up):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if int(_stat(pid)[1]) == up:
                command = _command(pid)
                program = next(program for part, program in PROGRAMS.items() if part in command)
                found[program] |= {pid, *descendants(pid)}
    return found


def _command(pid: int) -> list[str]:
    parts = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return [Path(part).name for part in parts]


def _stat(pid: int) -> list[str]:
    """What stands behind the name in /proc/<pid>/stat: the state, the parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _processes(pids: set[int]) -> Processes:
    memory, descriptors, ticks = 0, 0, 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            memory += _pss(pid)
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            ticks += sum(map(int, _stat(pid)[11:15]))
    return Processes(memory / MB, descriptors, ticks / TICKS)


def _pss(pid: int) -> int:
    """Bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
